"""Records as a picture in SVG: a line for the server and for each connection, an arrow for each packet."""
from html import escape

from .records import EVENT, TraceRecord, plain_text, show_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Tuple

MOST_DRAWN = 2000  # records; a picture with more helps nobody
_COLUMN, _ROW_HEIGHT, _MARGIN, _TOP = 330, 24, 90, 50
_STYLE = ("text{font:12px monospace}.t{fill:#666}.w{fill:#b00}.n{fill:#06c}line{stroke:#999}.a{stroke:#000}"
          ".b{stroke:#b00}.h{font-weight:bold;text-anchor:middle}.m{text-anchor:middle}")


class Drawing:
    """Collects records, the first MOST_DRAWN, and draws them.

    Owner: the thread that runs the proxy.
    """

    def __init__(self) -> None:
        self.left_out = 0
        self._records = []  # type: List[TraceRecord]

    def __repr__(self) -> str:
        return "<Drawing of %d records>" % len(self._records)

    def take(self, record: TraceRecord) -> None:
        """Take a record.  Events of connections are not drawn."""
        if record.kind == EVENT:
            return
        if len(self._records) < MOST_DRAWN:
            self._records.append(record)
        else:
            self.left_out += 1

    def draw(self) -> str:
        """The picture."""
        places, server = self._arrange()
        width = 2 * _MARGIN + _COLUMN * len(places)
        height = _TOP + _ROW_HEIGHT * (len(self._records) + 2)
        parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">' % ((width, height) * 2),
                 "<style>%s</style>" % _STYLE, '<rect width="100%" height="100%" fill="#fff"/>']
        labels = {record.connection: record.peer for record in self._records}
        for place, name in [(server, "server")] + [(place, labels[number]) for number, place in places.items()]:
            parts.append('<text class="h" x="%d" y="20">%s</text><line x1="%d" x2="%d" y1="28" y2="%d"/>' % (
                place, escape(name), place, place, height))
        for row, record in enumerate(self._records):
            parts += self._arrow(record, places[record.connection], server, _TOP + _ROW_HEIGHT * row)
        if self.left_out:
            parts.append('<text class="w" x="4" y="%d">%d more records are left out</text>' % (height - 8, self.left_out))
        return "\n".join(parts + ["</svg>"]) + "\n"

    def _arrange(self) -> "Tuple[Dict[int, int], int]":
        """The place of each connection, and the place of the server: workers stand to the right of it, others to the left."""
        roles = {record.connection: record.role for record in self._records}
        left = [number for number in sorted(roles) if roles[number] != "worker"]
        right = [number for number in sorted(roles) if roles[number] == "worker"]
        places = {number: _MARGIN + _COLUMN * index for index, number in enumerate(left)}
        server = _MARGIN + _COLUMN * len(left)
        places.update({number: server + _COLUMN * (index + 1) for index, number in enumerate(right)})
        return places, server

    def _arrow(self, record: TraceRecord, place: int, server: int, y: int) -> "List[str]":
        start, end = (place, server) if record.from_client else (server, place)
        tip = 7 if end < start else -7
        first = self._records[0].time
        label = " ".join([record.name] + [show_value(value, len(value), 12) for _, value in record.arguments[:2]])
        wrong = "; ".join(record.marks)
        lines = ['<text class="t" x="4" y="%d">%.1f ms</text>' % (y, (record.time - first) * 1000),
                 '<line class="%s" x1="%d" x2="%d" y1="%d" y2="%d"/>' % ("b" if wrong else "a", start, end, y, y),
                 '<path d="M%d %d l%d -4 v8 z"/>' % (end, y, tip)]
        title = "; ".join(record.notes + record.marks)
        lines.append('<text class="m%s" x="%d" y="%d">%s<title>%s</title></text>' % (
            " w" if wrong else "", (place + server) // 2, y - 4, escape(label[:44]),
            escape(plain_text(title.encode("utf-8", "backslashreplace")))))
        return lines

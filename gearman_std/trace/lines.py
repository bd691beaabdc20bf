"""Records as lines of text: one line each; on request, what the protocol says about it and what its bytes mean."""
from time import localtime, strftime

from ..wire.meanings import ERROR_MEANINGS, MEANINGS, SERVER, TEXT_MEANINGS
from ..wire.protocol import ERROR, HEADER_SIZE, PACKETS, REQUEST_MAGIC, packet_name
from .records import CONNECTS, ENDS, EVENT, FAILS, OVER, RESETS, SHOWN_BYTES, TraceRecord, plain_text, show_value
from .units import HTTP_MESSAGE, LINE, MAGICS, PACKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List, Tuple

_ROW = 16    # bytes in a row of hexadecimal numbers
_INDENT = " " * 4
_EVENT_WORDS = {CONNECTS: "connects", ENDS: "sends no more", RESETS: "breaks the connection", FAILS: "cannot be reached",
                OVER: "connection over"}
_HTTP_SAYS = ("Run a job of the function that the path names, or show me something.", "This is the result.")


class LineMaker:
    """Makes lines of records; a value is cut after `width` bytes.

    Owner: whoever made it.
    """

    def __init__(self, width: int = SHOWN_BYTES, hexadecimal: bool = False, explain: bool = False) -> None:
        self._width = width
        self._hexadecimal = hexadecimal
        self._explain = explain
        self._second = 0  # of the last record
        self._clock = ""  # the same as people read it

    def __repr__(self) -> str:
        return "<LineMaker of width %d>" % self._width

    def make(self, record: TraceRecord) -> str:
        """The line or lines of a record."""
        second = int(record.time)
        if second != self._second:
            self._second, self._clock = second, strftime("%H:%M:%S", localtime(second))
        begin = "%s.%06d %-10s %s " % (self._clock, (record.time - second) * 1000000, record.peer,
                                       ">" if record.from_client else "<")
        if record.kind == EVENT:
            line = begin + self._event(record)
        else:
            width = self._width
            last = len(record.arguments) - 1
            parts = [record.name]
            for index, (name, value) in enumerate(record.arguments):
                parts.append("%s=%s" % (name, show_value(value, record.last_size if index == last else len(value), width)))
            line = begin + " ".join(parts)
        if record.notes:
            line += "  # " + "; ".join(record.notes)
        for mark in record.marks:
            line += "  !! " + mark
        if not (self._hexadecimal or self._explain):
            return line + "\n"
        lines = [line]
        if self._explain:
            lines += explain(record)
        if self._hexadecimal and record.kind != EVENT:
            lines += hexadecimal_lines(record, self._width)
        return "\n".join(lines) + "\n"

    @staticmethod
    def _event(record: TraceRecord) -> str:
        who = "" if record.from_client else "server "
        words = who + _EVENT_WORDS[record.name]
        values = dict(record.arguments)
        return words + ("" if not values else " from %s to %s" % tuple(map(plain_text, (values["from"], values["to"]))))


def explain(record: TraceRecord) -> "List[str]":
    """What the protocol says about a record, in indented lines."""
    from textwrap import wrap
    lines = []  # type: List[str]
    for sentence in _sentences(record):
        lines += wrap(sentence, 100, initial_indent=_INDENT, subsequent_indent=_INDENT + "  ")
    return lines


def _sentences(record: TraceRecord) -> "Iterator[str]":
    if record.kind == HTTP_MESSAGE:
        yield _HTTP_SAYS[0 if record.from_client else 1]
    elif record.kind == LINE and record.name in TEXT_MEANINGS and record.from_client:
        meaning = TEXT_MEANINGS[record.name]
        yield meaning.says
        yield "The server is to: answer with %s." % ("lines; the last one is a dot" if meaning.listing else "a line")
    elif record.type in MEANINGS:
        packet = MEANINGS[record.type]
        yield "%s says: %s" % ("The server" if not record.from_client else record.peer, packet.says)
        if record.type == ERROR and record.arguments:
            code = record.arguments[0][1].decode("ascii", "backslashreplace")
            if code in ERROR_MEANINGS:
                yield "%s: %s." % (code, ERROR_MEANINGS[code])
        if record.from_client:
            expected = {SERVER: packet.expected.get(SERVER)}
        else:
            expected = {who: what for who, what in packet.expected.items() if who != SERVER}
            expected = {record.role: expected[record.role]} if record.role in expected else expected
        for who, what in expected.items():
            if what:
                yield "The %s is to: %s" % (who, what)
        if packet.answers and record.from_client:
            yield "Answer: %s, or ERROR." % ", ".join(map(packet_name, packet.answers))


# --- Bytes.

def hexadecimal_lines(record: TraceRecord, width: int = SHOWN_BYTES) -> "List[str]":
    """The bytes of each field, at most `width` of a field, and what they mean, in indented lines."""
    lines = []  # type: List[str]
    for field, size, meaning in _fields(record):
        shown = field[:width]
        for start in range(0, max(1, len(shown)), _ROW):
            row = shown[start:start + _ROW]
            figures = " ".join("%02x" % byte for byte in row)
            words = meaning if not start else ""
            lines.append(("%s%-48s %s" % (_INDENT, figures, words)).rstrip())
        if size > len(shown):
            lines.append("%s… %d bytes more" % (_INDENT, size - len(shown)))
    return lines


def _fields(record: TraceRecord) -> "Iterator[Tuple[bytes, int, str]]":
    """The fields of a record: for each, the bytes that were kept, how many bytes there were, and what they mean."""
    data = record.data
    if record.kind != PACKET or len(data) < HEADER_SIZE or data[:4] not in MAGICS:
        yield data, record.size, "%s: %s" % (record.name, _quote(data))
        return
    way = "a request, to the server" if data[:4] == REQUEST_MAGIC else "a response, from the server"
    yield data[:4], 4, "magic: %s" % way
    packet_type = record.type or 0
    yield data[4:8], 4, "type %d, %s" % (packet_type, record.name)
    yield data[8:12], 4, "size: %d bytes follow" % int.from_bytes(data[8:12], "big")
    position, left = HEADER_SIZE, record.size - HEADER_SIZE
    meaning = MEANINGS.get(packet_type)
    names = PACKETS[packet_type][2] if packet_type in PACKETS else ()
    words = dict(zip(names, meaning.arguments)) if meaning is not None else {}
    values = record.arguments
    if len(values) > 1 and sum(len(value) + 1 for _, value in values[:-1]) + record.last_size > left:
        values = [pair for pair in values if pair[1] or pair[0] != "aggregator"]  # the packet is without it
    for index, (name, value) in enumerate(values):
        last = index == len(values) - 1
        size = left if last else len(value)
        if size:
            yield data[position:position + size], size, "%s %s%s" % (
                name, _quote(value), ": " + words[name] if name in words else "")
        position += size
        left -= size
        if not last:
            yield data[position:position + 1], 1, "end of %s%s" % (name, "" if size else ", which is empty")
            position += 1
            left -= 1


def _quote(value: bytes) -> str:
    text = plain_text(value[:24])
    return '"%s%s"' % (text, "…" if len(value) > 24 else "")

"""What a trace consists of: one record for each packet, line of text, HTTP message and event of a connection; also as JSON."""
from ..errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple
    from .jobs import TracedJob

EVENT = "event"  # a kind of record beside the kinds of units: something happens to the connection
CONNECTS, ENDS, RESETS, FAILS, OVER = "connects", "ends", "resets", "fails", "over"

SHOWN_BYTES = 60  # bytes of a value that are shown, unless the command line gives another width


class TraceRecord:
    """One thing that passed, or that happened to a connection.

    `arguments` are pairs of name and value; the last value may be cut, and `last_size` is its true size.  `notes` tell what the
    record belongs to, `marks` what is wrong with it.  `size` is how many bytes there were, and `data` those that were kept.

    Owner: whoever it was made for.
    """

    __slots__ = ("number", "time", "connection", "server", "peer", "role", "client_id", "from_client", "kind", "name", "type",
                 "arguments", "last_size", "size", "data", "whole", "job", "function", "notes", "marks")

    def __init__(self, time: float, kind: str, name: str, from_client: bool, data: bytes = b"", size: int = 0,
                 whole: bool = True) -> None:
        self.number = 0      # in the trace
        self.time = time     # seconds since 1970
        self.connection = 0  # its number
        self.server = ""     # its address
        self.peer = ""       # who is at the client's end of the connection, as shown
        self.role = ""
        self.client_id = b""
        self.from_client = from_client
        self.kind = kind
        self.name = name
        self.type = None     # type: Optional[int] # of a packet
        self.arguments = []  # type: List[Tuple[str, bytes]]
        self.last_size = 0
        self.size = size
        self.data = data
        self.whole = whole
        self.job = None      # type: Optional[TracedJob]
        self.function = b""
        self.notes = []      # type: List[str]
        self.marks = []      # type: List[str]

    def __repr__(self) -> str:
        return "<TraceRecord %d: %s %s %s>" % (self.number, self.peer, ">" if self.from_client else "<", self.name)

    @property
    def sent_by(self) -> str:
        """Which end of the connection it comes from, `client` or `server`."""
        return "client" if self.from_client else "server"


def plain_text(data: bytes) -> str:
    """Bytes as text that is safe for a terminal: whatever cannot be printed is written as an escape."""
    text = data.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}.get(letter) or letter.encode("unicode_escape").decode("ascii")


def show_value(value: bytes, size: int, width: int) -> str:
    """A value as a word or in quotes; a long one is cut, and its size is added."""
    if size <= width and value.isalnum():
        return value.decode("ascii")
    text = plain_text(value[:width])
    if not text or size > width or not set(text).isdisjoint(" \"'=#"):
        text = '"%s"' % text.replace('"', '\\"')
    return text if size <= width else "%s… (%d bytes)" % (text, size)


def record_to_json(record: TraceRecord, width: int = SHOWN_BYTES) -> "Dict[str, Any]":
    """A record as plain values; `bytes` are the bytes that were kept, in base64."""
    from base64 import b64encode
    plain = {"number": record.number, "time": round(record.time, 6), "connection": record.connection, "server": record.server,
             "peer": record.peer, "role": record.role, "from": record.sent_by, "kind": record.kind,
             "name": record.name}  # type: Dict[str, Any]
    if record.client_id:
        plain["client_id"] = record.client_id.decode("utf-8", "backslashreplace")
    if record.type is not None:
        plain["type"] = record.type
    if record.kind != EVENT:
        plain["size"] = record.size
        plain["arguments"] = {name: value[:width].decode("utf-8", "backslashreplace") for name, value in record.arguments}
        plain["bytes"] = b64encode(record.data).decode("ascii")
        if len(record.data) < record.size or not record.whole:
            plain["whole"] = False
    if record.job is not None:
        plain["job"] = record.job.facts()
    if record.notes:
        plain["notes"] = record.notes
    if record.marks:
        plain["marks"] = record.marks
    return plain


def gap_to_json(count: int) -> "Dict[str, Any]":
    """What stands, as plain values, in the place of records that were left out."""
    return {"left_out": count}


def record_from_json(plain: "Any") -> TraceRecord:
    """A record from what `record_to_json` made, with what a replay needs.  Raises ProtocolError."""
    from base64 import b64decode
    if isinstance(plain, dict) and "left_out" in plain:
        raise ProtocolError("the recording is not complete: %s records are left out; record into a file, with -o" % (
            plain["left_out"],))
    try:
        data = b64decode(plain.get("bytes", ""), validate=True)
        record = TraceRecord(float(plain["time"]), str(plain["kind"]), str(plain["name"]), plain["from"] == "client",
                             data, int(plain.get("size", len(data))), bool(plain.get("whole", True)))
        record.number, record.connection, record.peer = int(plain["number"]), int(plain["connection"]), str(plain["peer"])
        if plain.get("type") is not None:
            record.type = int(plain["type"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError("not a record of a trace: %s: %.80r" % (type(error).__name__, plain)) from None
    return record

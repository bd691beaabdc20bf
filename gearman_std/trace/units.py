"""One direction of a connection, cut into packets, lines of text and HTTP messages.

`wire.protocol.PacketReader` reads what a server can obey, and stops at what makes no sense.  The reader here never stops: it
returns also what makes no sense, and keeps the bytes.
"""
import re
from collections import namedtuple
from struct import Struct

from ..wire.protocol import HEADER_SIZE, MAX_LINE_SIZE, REQUEST_MAGIC, RESPONSE_MAGIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Deque, List, Union
    Chunk = Union[bytes, memoryview]

# The kinds of units: a packet, a line of the text protocol, an HTTP message, the beginning of TLS, other bytes.
PACKET, LINE, HTTP_MESSAGE, TLS, RUBBISH = "packet", "line", "http", "tls", "rubbish"

Unit = namedtuple("Unit", "kind data size whole")
Unit.__doc__ = """What passed: its kind, its first bytes, its size in bytes, and whether it is whole."""

MAGICS = (REQUEST_MAGIC, RESPONSE_MAGIC)
ANY_MAGIC = re.compile(b"\0RE[QS]")
_PACKET_HEAD = Struct(">4sII")
_REQUEST_LINE = re.compile(rb"[A-Z]+ \S+ HTTP/1\.[01]\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] \d\d\d")
_LENGTH_FIELD = re.compile(rb"\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r?\n", re.IGNORECASE)
_CHUNKED_FIELD = re.compile(rb"\ntransfer-encoding:[^\r\n]*chunked[ \t]*\r?\n", re.IGNORECASE)
_TLS_RECORD = b"\x16\x03"
_HEAD_KEPT = 65536  # bytes of the head of an HTTP message that are looked at

# The modes of a reader: what it is reading.
_FIRST, _COUNTED, _LONG_LINE, _FIELDS_OF_HTTP, _CHUNK_SIZE, _TRAILER, _TO_THE_END, _SEARCHING, _OPAQUE = range(9)


class UnitReader:
    """Cuts one direction of a connection into units; of each, at most `keep` bytes are kept.

    `methods` are the methods of the HTTP requests that have no response yet: the reader of requests adds to them, the reader of
    responses takes from them.

    Owner: the conversation that it is part of.
    """

    __slots__ = ("_requests", "_keep", "_methods", "_mode", "_kind", "_kept", "_size", "_left", "_partial", "_begun", "_head",
                 "_chunked")

    def __init__(self, requests: bool, keep: int, methods: "Deque[bytes]") -> None:
        self._requests = requests
        self._keep = keep
        self._methods = methods
        self._mode = _FIRST
        self._kind = PACKET
        self._kept = bytearray()  # the first bytes of the unit
        self._size = 0            # bytes of the unit so far
        self._left = 0            # bytes of it, or of its chunk, that are still to come
        self._partial = b""       # what cannot be read before more has come; it is not counted yet
        self._begun = False       # a unit has come
        self._head = bytearray()  # of an HTTP message
        self._chunked = False

    def __repr__(self) -> str:
        return "<UnitReader of %s, %d bytes of a unit>" % ("requests" if self._requests else "responses", self._size)

    def feed(self, data: "Chunk") -> "List[Unit]":
        """Take the next bytes; return the units that they complete."""
        units = []  # type: List[Unit]
        if self._mode == _OPAQUE:
            return units
        position = 0
        if self._mode == _COUNTED:
            position = self._count(data, 0, units)
        if position < len(data):
            self._read(bytes(data) if not position else bytes(data[position:]), units)
        return units

    def end(self) -> "List[Unit]":
        """No more bytes come; return what there is of a unit that is not whole."""
        units = []  # type: List[Unit]
        partial, self._partial = self._partial, b""
        if self._mode == _FIRST:
            self._kind = LINE if partial[:1] != b"\0" else PACKET
        self._take(partial)
        if self._size:
            self._emit(units, self._mode in (_TO_THE_END, _SEARCHING))
        self._mode = _OPAQUE
        return units

    def _read(self, data: bytes, units: "List[Unit]") -> None:
        if self._partial:
            data = self._partial + data
            self._partial = b""
        position, end = 0, len(data)
        unpack, keep = _PACKET_HEAD.unpack_from, self._keep
        while position < end:
            if self._mode == _FIRST:
                if not data[position] and end - position >= HEADER_SIZE:
                    magic, _, size = unpack(data, position)
                    stop = position + HEADER_SIZE + size
                    if stop <= end and magic in MAGICS:  # a whole packet, which is most of what there is
                        units.append(Unit(PACKET, data[position:min(stop, position + keep)], stop - position, True))
                        position = stop
                        continue
                position = self._begin(data, position, units)
            else:
                position = _STEPS[self._mode](self, data, position, units)
        if self._mode == _SEARCHING and self._size:
            self._emit(units)
        self._begun = self._begun or bool(units)

    # ---------------------------------------------------------------------------------------------------------------- steps
    # Each reads from a position on, and returns the position where the next step begins.

    def _begin(self, data: bytes, position: int, units: "List[Unit]") -> int:
        if data[position]:
            return self._begin_text(data, position, units)
        head = data[position:position + HEADER_SIZE]
        if not head.startswith(MAGICS) and not any(magic.startswith(head) for magic in MAGICS):
            self._mode, self._kind = _SEARCHING, RUBBISH
            return position
        if len(head) < HEADER_SIZE:
            return self._wait(data, position)
        self._mode, self._kind, self._chunked = _COUNTED, PACKET, False
        self._left = HEADER_SIZE + _PACKET_HEAD.unpack(head)[2]
        return self._count(data, position, units)

    def _begin_text(self, data: bytes, position: int, units: "List[Unit]") -> int:
        if not self._begun and _TLS_RECORD.startswith(data[position:position + 2]):
            if len(data) - position < 2:
                return self._wait(data, position)
            self._take(data[position:])
            self._kind = TLS
            self._emit(units)
            self._mode = _OPAQUE  # for ever
            return len(data)
        newline = data.find(b"\n", position)
        magic = ANY_MAGIC.search(data, position, newline if newline >= 0 else len(data))
        if magic is not None:
            self._kind = RUBBISH
            self._take(data[position:magic.start()])
            self._emit(units)
            return magic.start()
        if newline < 0:
            if len(data) - position < MAX_LINE_SIZE:
                return self._wait(data, position)
            self._mode, self._kind = _LONG_LINE, LINE
            return position
        line = data[position:newline + 1]
        if (_REQUEST_LINE if self._requests else _STATUS_LINE).match(line):
            self._mode, self._kind = _FIELDS_OF_HTTP, HTTP_MESSAGE
            self._head = bytearray()
            return position
        self._kind = LINE
        self._take(line)
        self._emit(units)
        return newline + 1

    def _read_long_line(self, data: bytes, position: int, units: "List[Unit]") -> int:
        stop = data.find(b"\n", position) + 1
        magic = ANY_MAGIC.search(data, position, stop or len(data))
        if magic is not None or stop:
            if magic is not None:
                stop, self._kind = magic.start(), RUBBISH
            self._take(data[position:stop])
            self._emit(units)
            return stop
        stop = max(position, len(data) - len(REQUEST_MAGIC) + 1)
        self._take(data[position:stop])
        return self._wait(data, stop)

    def _read_field(self, data: bytes, position: int, units: "List[Unit]") -> int:
        """Read a line of an HTTP message: of its head, or between its chunks."""
        stop = data.find(b"\n", position) + 1
        if not stop and len(data) - position < MAX_LINE_SIZE:
            return self._wait(data, position)
        line = data[position:stop or len(data)]
        self._take(line)
        if self._mode == _FIELDS_OF_HTTP:
            if len(self._head) < _HEAD_KEPT:
                self._head += line
            if not line.strip() and stop:
                self._begin_body(units)
        elif self._mode == _CHUNK_SIZE:
            digits = line.partition(b";")[0].strip()
            if not digits:
                return stop or len(data)  # the end of the chunk before
            try:
                self._left = int(digits, 16)
            except ValueError:
                self._left = -1
            if self._left < 0:
                self._mode = _TO_THE_END
            else:
                self._mode = _COUNTED if self._left else _TRAILER
        elif not line.strip() and stop:
            self._emit(units)
        return stop or len(data)

    def _begin_body(self, units: "List[Unit]") -> None:
        head = bytes(self._head)
        length = _LENGTH_FIELD.search(head)
        self._left = int(length.group(1)) if length else 0
        self._chunked = _CHUNKED_FIELD.search(head) is not None
        until_end = not self._requests and length is None
        if self._requests:
            self._methods.append(head.partition(b" ")[0])
        elif self._has_no_body(head):
            self._left, self._chunked, until_end = 0, False, False
        if self._chunked:
            self._mode = _CHUNK_SIZE
        elif until_end:
            self._mode = _TO_THE_END
        elif self._left:
            self._mode = _COUNTED
        else:
            self._emit(units)

    def _has_no_body(self, head: bytes) -> bool:
        """Whether a response has no body, as the response to HEAD."""
        status = head.split(b" ")[1][:3]
        if status.startswith(b"1"):
            return True  # the final response is still to come
        method = self._methods.popleft() if self._methods else b""
        return method == b"HEAD" or status in (b"204", b"304")

    def _count(self, data: "Chunk", position: int, units: "List[Unit]") -> int:
        stop = min(len(data), position + self._left)
        self._left -= stop - position
        if self._size < self._keep:
            self._take(data[position:stop])
        else:
            self._size += stop - position
        if not self._left:
            if self._chunked:
                self._mode = _CHUNK_SIZE
            else:
                self._emit(units)
        return stop

    def _read_to_the_end(self, data: bytes, position: int, units: "List[Unit]") -> int:
        self._take(data[position:])
        return len(data)

    def _search(self, data: bytes, position: int, units: "List[Unit]") -> int:
        """Skip bytes until a packet begins."""
        magic = ANY_MAGIC.search(data, position)
        if magic is not None:
            self._take(data[position:magic.start()])
            self._mode = _FIRST
            if self._size:
                self._emit(units)
            return magic.start()
        stop = max(position, len(data) - len(REQUEST_MAGIC) + 1)
        self._take(data[position:stop])
        return self._wait(data, stop)

    # ---------------------------------------------------------------------------------------------------------------- bytes

    def _wait(self, data: bytes, position: int) -> int:
        """Keep the rest until more has come."""
        self._partial = data[position:]
        return len(data)

    def _take(self, data: "Chunk") -> None:
        """Count bytes as part of the unit."""
        room = self._keep - len(self._kept)
        if room > 0:
            self._kept += data[:room]
        self._size += len(data)

    def _emit(self, units: "List[Unit]", whole: bool = True) -> None:
        """The unit is whole, or no more of it will come: add it to the units."""
        units.append(Unit(self._kind, bytes(self._kept), self._size, whole))
        self._kept = bytearray()
        self._size = 0
        if self._mode != _SEARCHING:
            self._mode = _FIRST


_STEPS = {_COUNTED: UnitReader._count, _LONG_LINE: UnitReader._read_long_line, _FIELDS_OF_HTTP: UnitReader._read_field,
          _CHUNK_SIZE: UnitReader._read_field, _TRAILER: UnitReader._read_field, _TO_THE_END: UnitReader._read_to_the_end,
          _SEARCHING: UnitReader._search}

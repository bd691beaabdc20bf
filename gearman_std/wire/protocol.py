"""The wire format: the packet table, bytes to packets, packets to bytes.

A packet is twelve bytes of header, the magic ``\\0REQ`` or ``\\0RES``, the type and the size of the rest as big-endian 32-bit
numbers, followed by the arguments, separated by NUL; the last one runs to the declared size.  On the stream a server reads,
a unit that does not start with NUL is a line of the administrative text protocol.

Source: the PROTOCOL document of gearmand, and what gearmand 1.1.20 was seen to do.
"""
from struct import Struct

from ..errors import ProtocolError, ServerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, List, Optional, Sequence, Tuple, Union
    Data = Union[bytes, memoryview]
    Packet = Tuple[int, Sequence[Data]]

REQUEST_MAGIC = b"\0REQ"
RESPONSE_MAGIC = b"\0RES"

(CAN_DO, CANT_DO, RESET_ABILITIES, PRE_SLEEP, UNUSED, NOOP, SUBMIT_JOB, JOB_CREATED, GRAB_JOB, NO_JOB, JOB_ASSIGN, WORK_STATUS,
 WORK_COMPLETE, WORK_FAIL, GET_STATUS, ECHO_REQ, ECHO_RES, SUBMIT_JOB_BG, ERROR, STATUS_RES, SUBMIT_JOB_HIGH, SET_CLIENT_ID,
 CAN_DO_TIMEOUT, ALL_YOURS, WORK_EXCEPTION, OPTION_REQ, OPTION_RES, WORK_DATA, WORK_WARNING, GRAB_JOB_UNIQ, JOB_ASSIGN_UNIQ,
 SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG, SUBMIT_JOB_SCHED, SUBMIT_JOB_EPOCH, SUBMIT_REDUCE_JOB,
 SUBMIT_REDUCE_JOB_BACKGROUND, GRAB_JOB_ALL, JOB_ASSIGN_ALL, GET_STATUS_UNIQUE, STATUS_RES_UNIQUE) = range(1, 43)

# The option of servers where WORK_EXCEPTION ends a job for every client, also for clients that did not ask for exceptions.
# gearmand 1.1.20 sends these a WORK_FAIL with a NUL after the handle, and libgearman goes on waiting.
EXCEPTION_ENDS_JOB = b"exception-ends-job"

# Who may send a packet: a request goes to the server, a response comes from it.
REQUEST, RESPONSE, BOTH = "request", "response", "both"

# By type: name, direction, names of the arguments.
PACKETS = {
    CAN_DO: ("CAN_DO", REQUEST, ("function",)),
    CANT_DO: ("CANT_DO", REQUEST, ("function",)),
    RESET_ABILITIES: ("RESET_ABILITIES", REQUEST, ()),
    PRE_SLEEP: ("PRE_SLEEP", REQUEST, ()),
    UNUSED: ("UNUSED", RESPONSE, ()),
    NOOP: ("NOOP", RESPONSE, ()),
    SUBMIT_JOB: ("SUBMIT_JOB", REQUEST, ("function", "unique", "workload")),
    JOB_CREATED: ("JOB_CREATED", RESPONSE, ("handle",)),
    GRAB_JOB: ("GRAB_JOB", REQUEST, ()),
    NO_JOB: ("NO_JOB", RESPONSE, ()),
    JOB_ASSIGN: ("JOB_ASSIGN", RESPONSE, ("handle", "function", "workload")),
    WORK_STATUS: ("WORK_STATUS", BOTH, ("handle", "numerator", "denominator")),
    WORK_COMPLETE: ("WORK_COMPLETE", BOTH, ("handle", "data")),
    WORK_FAIL: ("WORK_FAIL", BOTH, ("handle",)),
    GET_STATUS: ("GET_STATUS", REQUEST, ("handle",)),
    ECHO_REQ: ("ECHO_REQ", REQUEST, ("data",)),
    ECHO_RES: ("ECHO_RES", RESPONSE, ("data",)),
    SUBMIT_JOB_BG: ("SUBMIT_JOB_BG", REQUEST, ("function", "unique", "workload")),
    ERROR: ("ERROR", RESPONSE, ("code", "text")),
    STATUS_RES: ("STATUS_RES", RESPONSE, ("handle", "known", "running", "numerator", "denominator")),
    SUBMIT_JOB_HIGH: ("SUBMIT_JOB_HIGH", REQUEST, ("function", "unique", "workload")),
    SET_CLIENT_ID: ("SET_CLIENT_ID", REQUEST, ("client_id",)),
    CAN_DO_TIMEOUT: ("CAN_DO_TIMEOUT", REQUEST, ("function", "timeout_ms")),
    ALL_YOURS: ("ALL_YOURS", REQUEST, ()),
    WORK_EXCEPTION: ("WORK_EXCEPTION", BOTH, ("handle", "data")),
    OPTION_REQ: ("OPTION_REQ", REQUEST, ("option",)),
    OPTION_RES: ("OPTION_RES", RESPONSE, ("option",)),
    WORK_DATA: ("WORK_DATA", BOTH, ("handle", "data")),
    WORK_WARNING: ("WORK_WARNING", BOTH, ("handle", "data")),
    GRAB_JOB_UNIQ: ("GRAB_JOB_UNIQ", REQUEST, ()),
    JOB_ASSIGN_UNIQ: ("JOB_ASSIGN_UNIQ", RESPONSE, ("handle", "function", "unique", "workload")),
    SUBMIT_JOB_HIGH_BG: ("SUBMIT_JOB_HIGH_BG", REQUEST, ("function", "unique", "workload")),
    SUBMIT_JOB_LOW: ("SUBMIT_JOB_LOW", REQUEST, ("function", "unique", "workload")),
    SUBMIT_JOB_LOW_BG: ("SUBMIT_JOB_LOW_BG", REQUEST, ("function", "unique", "workload")),
    SUBMIT_JOB_SCHED: ("SUBMIT_JOB_SCHED", REQUEST,
                       ("function", "unique", "minute", "hour", "day_of_month", "month", "day_of_week", "workload")),
    SUBMIT_JOB_EPOCH: ("SUBMIT_JOB_EPOCH", REQUEST, ("function", "unique", "epoch", "workload")),
    # The aggregator is what libgearman sends between the reducer and the workload; the PROTOCOL document leaves it out.
    SUBMIT_REDUCE_JOB: ("SUBMIT_REDUCE_JOB", REQUEST, ("function", "unique", "reducer", "aggregator", "workload")),
    SUBMIT_REDUCE_JOB_BACKGROUND: ("SUBMIT_REDUCE_JOB_BACKGROUND", REQUEST,
                                   ("function", "unique", "reducer", "aggregator", "workload")),
    GRAB_JOB_ALL: ("GRAB_JOB_ALL", REQUEST, ()),
    JOB_ASSIGN_ALL: ("JOB_ASSIGN_ALL", RESPONSE, ("handle", "function", "unique", "reducer", "workload")),
    GET_STATUS_UNIQUE: ("GET_STATUS_UNIQUE", REQUEST, ("unique",)),
    STATUS_RES_UNIQUE: ("STATUS_RES_UNIQUE", RESPONSE, ("unique", "known", "running", "numerator", "denominator", "clients")),
}  # type: Dict[int, Tuple[str, str, Tuple[str, ...]]]

# What the reader reports besides packets: a line of text, and wrong packets that can be answered with an ERROR and skipped.
TEXT_LINE, WRONG_MAGIC, TOO_FEW_ARGUMENTS, TOO_LARGE = range(max(PACKETS) + 1, max(PACKETS) + 5)

# Limits of the format, in bytes.
HEADER_SIZE = 12
MAX_PACKET_SIZE = 256 * 1024 * 1024  # the default of the reader's settable limit
MAX_FIELD_SIZE = 8191                # any argument but the last; the argument of CAN_DO and CANT_DO may have one byte more
LARGEST_SIZE = 0xffffffff  # bytes of a packet without its header; the number has 32 bits
_LIMIT_IS = ", the limit is "
MAX_HANDLE_SIZE = 63
MAX_UNIQUE_SIZE = 64
MAX_LINE_SIZE = 8192
LARGE_BODY = 65536  # a body this long is collected in place and its last argument handed on as a memoryview

_HEADER = Struct(">4sII")
pack_header = _HEADER.pack  # magic, packet type, size of the body
_HEADER_IN_TWO = Struct(">QI")  # the same with magic and type as one number
_ARGUMENT_COUNTS = {number: len(arguments) for number, (_, _, arguments) in PACKETS.items()}
_ENDS_WITH_DATA = frozenset(number for number, (_, _, arguments) in PACKETS.items()
                            if arguments and arguments[-1] in ("workload", "data", "text"))
_MAY_LACK_DATA = frozenset((WORK_COMPLETE, WORK_DATA, WORK_WARNING, WORK_EXCEPTION))
# A large body of which this much has arrived gets room for as much again.  A generous reader gives it at once room for a
# workload of 1 MiB and the fields before it (benchmark: round trip, 1 MiB).
_ROOM_FROM = 16384
_GENEROUS_FROM = 4096
_GENEROUS_ROOM = 1024 * 1024 + 4096
_MANY_PIECES = 64
_HEAD_ROOM = 4 * (MAX_FIELD_SIZE + 1)  # more than the fields before a workload have, of what is skipped
_TLS_HANDSHAKE = 22  # the first byte of TLS, whose sender would wait for ever for an answer to half a line (RFC 8446, 5.1)


def _shapes(magic: bytes) -> "Dict[int, Tuple[int, int]]":
    """By magic and type as one number: what a reader that expects this magic reports, and the number of NULs between its
    arguments, -1 if it has none."""
    shapes = {}
    for other in (REQUEST_MAGIC, RESPONSE_MAGIC):
        for packet_type in PACKETS:
            kind, _ = _HEADER_IN_TWO.unpack(_HEADER.pack(other, packet_type, 0))
            shapes[kind] = (packet_type, _ARGUMENT_COUNTS[packet_type] - 1) if other == magic else (WRONG_MAGIC, -1)
    return shapes


_SHAPES = {magic: _shapes(magic) for magic in (REQUEST_MAGIC, RESPONSE_MAGIC)}


def packet_name(packet_type: int) -> str:
    """The name of a packet type, or its number if it has none."""
    return PACKETS[packet_type][0] if packet_type in PACKETS else "type %d" % packet_type


def show_beginnings(arguments: "Iterable[Data]") -> "List[bytes]":
    """The beginnings of arguments, for the text of an error."""
    return [bytes(argument[:64]) for argument in arguments]


def unexpected(packet_type: int, arguments: "Sequence[Data]") -> ProtocolError:
    """The error for a packet that no server should send, or not now."""
    if packet_type == TOO_FEW_ARGUMENTS:
        return ProtocolError("too few arguments in %s" % bytes(arguments[0]).decode())
    if packet_type == WRONG_MAGIC:
        return ProtocolError("a packet with the magic of a request, b'\\0REQ', from a server")
    return ProtocolError("unexpected %s: %r" % (packet_name(packet_type), show_beginnings(arguments)))


def parse_number(text: bytes) -> int:
    """The number at the beginning of a text, 0 if there is none, as the C server reads it."""
    text = bytes(text).strip()
    if text.isdigit():
        return int(text[:40])
    sign = -1 if text.startswith(b"-") else 1
    digits = text.lstrip(b"+-") if text[:1] in (b"+", b"-") else text
    end = 0
    while end < len(digits) and end < 40 and digits[end:end + 1].isdigit():
        end += 1
    return sign * int(digits[:end]) if end else 0


def pack_request(packet_type: int, *arguments: "Data") -> bytes:
    """A request packet, from a client or worker to a server."""
    body = b"\0".join(arguments)
    return _HEADER.pack(REQUEST_MAGIC, packet_type, len(body)) + body


def pack_response(packet_type: int, *arguments: "Data") -> bytes:
    """A response packet, from a server to a client or worker."""
    body = b"\0".join(arguments)
    return _HEADER.pack(RESPONSE_MAGIC, packet_type, len(body)) + body


def request_head(packet_type: int, last_size: int, *leading: bytes) -> bytes:
    """All of a request packet but its last argument of `last_size` bytes, so that a large one need not be copied."""
    return _head(REQUEST_MAGIC, packet_type, last_size, leading)


def response_head(packet_type: int, last_size: int, *leading: bytes) -> bytes:
    """All of a response packet but its last argument of `last_size` bytes, so that a large one need not be copied."""
    return _head(RESPONSE_MAGIC, packet_type, last_size, leading)


def _head(magic: bytes, packet_type: int, last_size: int, leading: "Tuple[bytes, ...]") -> bytes:
    fields = b"\0".join(leading + (b"",))
    return _HEADER.pack(magic, packet_type, len(fields) + last_size) + fields


def encode(value: "Union[str, bytes]") -> bytes:
    """Text as UTF-8, bytes as they are.

    Raises TypeError for anything else.
    """
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError("expected str or bytes, not %s" % type(value).__name__)


def encode_data(value: "Union[str, Data]") -> "Data":
    """The same for data that may be large: a memoryview of bytes, which nobody can change before they are sent, is not copied.

    Raises TypeError for anything else.
    """
    if isinstance(value, memoryview):
        fixed = isinstance(value.obj, bytes) and value.ndim == 1 and value.itemsize == 1 and value.contiguous
        return value[:] if fixed else bytes(value)  # a new memoryview, because the caller may release the given one
    return encode(value)


def encode_function(name: "Union[str, bytes]") -> bytes:
    """A function's name as the wire carries it.

    Raises ValueError if it is empty, holds a NUL, or is longer than 8191 bytes.
    """
    return _encode_field("function name", name, MAX_FIELD_SIZE)


def encode_unique(unique: "Union[str, bytes]") -> bytes:
    """A unique as the wire carries it.

    Raises ValueError if it is empty, holds a NUL, or is longer than 63 bytes (gearmand cuts a 64th off).
    """
    return _encode_field("unique", unique, MAX_UNIQUE_SIZE - 1)


def encode_handle(handle: "Union[str, bytes]") -> bytes:
    """A handle as the wire carries it.

    Raises ValueError if it is empty, holds a NUL, or is longer than 63 bytes.
    """
    return _encode_field("handle", handle, MAX_HANDLE_SIZE)


def encode_reducer(name: "Union[str, bytes]") -> bytes:
    """A reducer's name as the wire carries it.

    Raises ValueError if it is empty, holds a NUL, or is longer than 64 bytes.
    """
    return _encode_field("reducer's name", name, MAX_UNIQUE_SIZE)


def _encode_field(what: str, value: "Union[str, bytes]", limit: int) -> bytes:
    try:
        field = encode(value)
    except TypeError as error:
        raise TypeError("the %s is %r: %s" % (what, value, error)) from None
    except UnicodeEncodeError:
        raise ValueError("the %s %r is no text; bytes can be any (see os.fsencode)" % (what, value)) from None
    if not field:
        raise ValueError("the %s is empty" % what)
    if b"\0" in field:
        raise ValueError("the %s holds a NUL byte: %r" % (what, field[:80]))
    if len(field) > limit:
        raise ValueError("the %s has %d bytes, more than %d: %r…" % (what, len(field), limit, field[:40]))
    return field


def told_limit(error: ServerError) -> "Optional[int]":
    """How many bytes a packet may have, if a server's ERROR says, in the words of `PacketReader`, that one was larger."""
    _, found, limit = str(error).rpartition(_LIMIT_IS)
    return int(limit) if error.code == "ARGUMENT_TOO_LARGE" and found and limit.isdecimal() else None


class PacketReader:
    """Turns the bytes of one stream into packets; takes time in proportion to the bytes, however they arrive.

    `magic` is the expected magic; with `text`, units that do not start with NUL are lines, reported as TEXT_LINE and counted in
    `lines`.  `max_size` limits a packet's body, `max_line` a line, in bytes.
    A wrong packet that can be skipped is reported in its place as WRONG_MAGIC, or as TOO_FEW_ARGUMENTS with the packet's name
    as the argument.  Otherwise the stream ends: `error` is set, and later bytes are ignored.  `held` counts the bytes of a unit
    whose end has not arrived.  With `skip`, a packet that comes in pieces and is too large, or for which there is no memory, is
    reported as TOO_LARGE with its type, its size, and its arguments except the last, which is skipped.

    The last argument of a large packet is a memoryview, every other argument is bytes.

    Owner: whoever owns the connection.
    """

    __slots__ = ("error", "lines", "held", "_shapes", "_text", "_max_size", "_max_line", "_careful", "_pieces", "_needed",
                 "_large", "_large_type", "_large_size", "_skip", "_skipping")

    def __init__(self, magic: bytes = REQUEST_MAGIC, text: bool = True, max_size: int = MAX_PACKET_SIZE,
                 max_line: int = MAX_LINE_SIZE, skip: bool = False) -> None:
        self.error = None  # type: Optional[ProtocolError]
        self.lines = 0
        self.held = 0
        self._shapes = _SHAPES[magic]
        self._text = text
        self._max_size = max_size
        self._max_line = max_line
        self._careful = min(MAX_FIELD_SIZE, max_size)  # the size above which a packet is looked at closely
        self._pieces = []  # type: List[bytes] # the beginning of a unit that is not large
        self._needed = 0   # bytes that must be there before it makes sense to look at _pieces again
        self._large = None  # type: Optional[bytearray]
        self._large_type = 0
        self._large_size = 0  # of the body
        self._skip = skip
        self._skipping = False  # only the beginning of the large packet is kept

    def __repr__(self) -> str:
        return "<PacketReader %s>" % (self.error or "%d bytes of a unit" % self.held)

    def feed(self, data: bytes) -> "List[Packet]":
        """Take the next bytes of the stream; return the packets that they complete, each a pair of type and arguments."""
        packets = []  # type: List[Packet]
        if self.held or self.error is not None:
            data = self._resume(data, packets)
            if self.error is not None:
                return packets
        find_shape, careful = self._shapes.get, self._careful
        unpack, append = _HEADER_IN_TWO.unpack_from, packets.append
        position, end = 0, len(data)
        last = end - HEADER_SIZE
        # One loop without calls and with guards that fail only for odd packets: it costs as much as all else the server
        # does for a job (benchmark: echo).
        while position <= last:
            kind, size = unpack(data, position)
            shape = find_shape(kind)
            if shape is None or size > careful:
                if data[position]:
                    position = self._line(data, position, packets)
                    if position < 0:
                        return packets
                    continue
                self._check(data[position:position + 32])
                if self.error is not None:
                    return packets
            packet_type, cuts = shape  # type: ignore
            start = position + 12
            position = start + size
            if position > end:
                self._keep_beginning(data[start - 12:], packet_type, size)
                return packets
            if cuts > 0:
                arguments = data[start:position].split(b"\0", cuts)  # type: List[Data] # type: ignore
                if len(arguments) > cuts and size <= careful:
                    append((packet_type, arguments))
                    continue
                self._odd_arguments(packet_type, arguments, packets)
                if self.error is not None:
                    return packets
            else:
                append((packet_type, () if cuts else (data[start:position],)))
        while position < end:  # there is less than a header
            if not data[position]:
                self._keep(data[position:], HEADER_SIZE)
                return packets
            position = self._line(data, position, packets)
            if position < 0:
                return packets
        return packets

    def room(self, generous: bool = True) -> "Optional[memoryview]":
        """A place to receive the next part of a large packet without copying, if much of it has arrived; or None.

        Then call `filled`; release the room before you call anything else.  Without `generous`, a peer that declares a large
        size and does not send it costs only a small multiple of the bytes that it has sent.
        """
        large = self._large
        if large is None or self._skipping or self.held < (_GENEROUS_FROM if generous else _ROOM_FROM):
            return None
        filled = self.held - HEADER_SIZE
        if filled == len(large):
            room = max(2 * filled, _GENEROUS_ROOM if generous else 0)
            try:
                grown = bytearray(min(room, self._large_size))
            except MemoryError:
                self._start_to_skip()
                return None
            grown[:filled] = large
            self._large = large = grown
        return memoryview(large)[filled:]

    def _start_to_skip(self) -> None:
        """Keep no more than the fields of a large packet.  Called while a MemoryError is handled."""
        if not self._skip or self._large is None:
            raise
        self._skipping = True
        del self._large[_HEAD_ROOM:]

    def filled(self, size: int) -> "List[Packet]":
        """Note that `size` bytes were received into the room; return the packet if they complete it."""
        self.held += size
        if self.held < HEADER_SIZE + self._large_size:
            return []
        self.held = 0
        packets = []  # type: List[Packet]
        body, packet_type = self._large, self._large_type
        self._large = None
        assert body is not None
        count = _ARGUMENT_COUNTS.get(packet_type, 0)
        if self._skipping:
            self._skipping = False
            fields = bytes(memoryview(body)[:_HEAD_ROOM]).split(b"\0", count - 1)[:-1]
            packets.append((TOO_LARGE, [b"%d" % packet_type, b"%d" % self._large_size] + fields))
            return packets
        if count == 0:
            return [(packet_type, ())]
        arguments = []  # type: List[Data]
        start = 0
        for _ in range(count - 1):
            end = body.find(0, start)
            if end < 0:
                break
            arguments.append(bytes(memoryview(body)[start:end]))
            start = end + 1
        arguments.append(memoryview(body)[start:])
        self._odd_arguments(packet_type, arguments, packets)
        return packets

    def _resume(self, data: bytes, packets: "List[Packet]") -> bytes:
        """Complete what was held back; return the bytes still to be parsed."""
        if self.error is not None:
            return b""
        if self._large is not None:
            size = min(len(data), HEADER_SIZE + self._large_size - self.held)
            if not self._skipping or self.held < HEADER_SIZE + _HEAD_ROOM:
                try:
                    del self._large[self.held - HEADER_SIZE:]  # the room that was not filled
                    self._large += data if size == len(data) else data[:size]
                except MemoryError:
                    self._start_to_skip()
            packets += self.filled(size)
            return data[size:]
        self._pieces.append(data)
        self.held += len(data)
        if self.held < self._needed:
            if len(self._pieces) == _MANY_PIECES:  # each piece takes memory of its own
                self._pieces = [b"".join(self._pieces)]
            return b""
        data = b"".join(self._pieces)
        self._pieces = []
        self.held = 0
        return data

    def _keep_beginning(self, data: bytes, packet_type: int, size: int) -> None:
        """Keep the beginning of a packet whose body has `size` bytes."""
        if size < LARGE_BODY:
            self._keep(data, HEADER_SIZE + size)
            return
        self._large = bytearray(memoryview(data)[HEADER_SIZE:])
        self._skipping = size > self._max_size
        self._large_type = packet_type
        self._large_size = size
        self.held = len(data)

    def _keep(self, data: bytes, needed: int) -> None:
        self._pieces = [data]
        self.held = len(data)
        self._needed = needed

    def _line(self, data: bytes, position: int, packets: "List[Packet]") -> int:
        """Read a line of text; return where the next unit begins, or -1 if there is nothing more to read."""
        if not self._text:
            self.error = ProtocolError("not a packet: %r" % data[position:position + 32])
            return -1
        if data[position] == _TLS_HANDSHAKE:
            self.error = ProtocolError("TLS, which is not spoken here")
            return -1
        newline = data.find(b"\n", position, position + self._max_line)
        if newline >= 0:
            self.lines += 1
            packets.append((TEXT_LINE, (data[position:newline],)))
            return newline + 1
        if len(data) - position > self._max_line:
            self.error = ProtocolError("a line longer than %d bytes: %r…" % (self._max_line, data[position:position + 32]),
                                       limit="line")
        else:
            self._keep(data[position:], 0)
        return -1

    def _check(self, sample: bytes) -> None:
        """Set the error for a header after which the stream cannot go on."""
        magic, packet_type, size = _HEADER.unpack_from(sample)
        if magic not in (REQUEST_MAGIC, RESPONSE_MAGIC):
            self.error = ProtocolError("bad magic: %r" % sample)
        elif packet_type not in PACKETS:
            self.error = ProtocolError("unknown packet type %d: %r" % (packet_type, sample))
        elif size > self._max_size and not (self._skip and packet_type in _ENDS_WITH_DATA):
            self.error = ProtocolError("%s of %d bytes%s%d" % (packet_name(packet_type), size, _LIMIT_IS, self._max_size),
                                       b"ARGUMENT_TOO_LARGE", "packet")
        elif packet_type not in _ENDS_WITH_DATA and size > max(1, _ARGUMENT_COUNTS[packet_type]) * (MAX_FIELD_SIZE + 1):
            self.error = ProtocolError("%s of %d bytes: %r…" % (packet_name(packet_type), size, sample))

    def _odd_arguments(self, packet_type: int, arguments: "List[Data]", packets: "List[Packet]") -> None:
        """Report a packet with large arguments or with too few."""
        count = _ARGUMENT_COUNTS[packet_type]
        if packet_type in (SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND) and len(arguments) == count - 1:
            arguments.insert(3, b"")  # the PROTOCOL document has no aggregator
        elif packet_type in _MAY_LACK_DATA and len(arguments) == 1:
            arguments.append(b"")  # Perl's worker leaves out a result that is empty or 0
        if len(arguments) < count:
            packets.append((TOO_FEW_ARGUMENTS, (packet_name(packet_type).encode(),)))
        elif count > 1 and max(map(len, arguments[:-1])) > MAX_FIELD_SIZE:
            self.error = ProtocolError("%s with an argument of more than %d bytes: %r…"
                                       % (packet_name(packet_type), MAX_FIELD_SIZE, bytes(arguments[0][:32])))
        else:
            packets.append((packet_type, arguments))

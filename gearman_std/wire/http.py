"""HTTP on the server's side, without a socket: bytes become requests, answers become bytes.

`HTTPSession` reads one request after the other.  Its subclasses know what a request asks for, and how the core's packets answer
it: `wire.http_jobs` for jobs, `web.session` for people and monitors.

Source: RFC 9110 and 9112.
"""
from ..errors import ProtocolError
from .protocol import ECHO_REQ, ECHO_RES, RESPONSE_MAGIC, PacketReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Sequence, Tuple
    from .protocol import Data, Packet

MAX_HEAD_SIZE = 65536     # bytes of a request before its body
RETRY_AFTER = 5           # seconds after which a client may repeat a request that was refused for lack of room

HTTP_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")
_ALL_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH")
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HOST = b"-._~%!$&'()*+,;=:[]0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_CONTROLS = bytes(byte if byte >= 32 and byte != 127 else 32 for byte in range(256))

_REASONS = {
    200: b"OK", 202: b"Accepted", 400: b"Bad Request", 403: b"Forbidden", 404: b"Not Found", 405: b"Method Not Allowed",
    409: b"Conflict", 411: b"Length Required", 413: b"Content Too Large", 414: b"URI Too Long", 417: b"Expectation Failed",
    421: b"Misdirected Request", 431: b"Request Header Fields Too Large", 500: b"Internal Server Error",
    501: b"Not Implemented", 503: b"Service Unavailable", 505: b"HTTP Version Not Supported"}

# The status for each code of an ERROR packet; if a request cannot be read, the code is the status itself.
_STATUSES = {b"QUEUE_ERROR": 503, b"TOO_MANY_CONNECTIONS": 503, b"JOB_EXISTS": 409, b"FORBIDDEN": 403,
             b"ARGUMENT_TOO_LARGE": 400}


def pack_refusal(code: bytes, text: bytes) -> bytes:
    """The response, instead of an ERROR packet, on a connection that is closed before anything is read from it."""
    status = refusal_status(code)
    return pack_head(HTTP_VERSIONS[-1], status, refusal_fields(code, status), len(text) + 1, False) + text + b"\n"


def refusal_status(code: bytes) -> int:
    """The status for the code of an ERROR packet."""
    return int(code) if code.isdigit() else _STATUSES.get(code, 500)


def refusal_fields(code: bytes, status: int) -> "List[Tuple[bytes, bytes]]":
    """The headers that go with the code of an ERROR packet."""
    fields = [(b"X-Gearman-Command", b"ERROR")]
    if not code.isdigit():
        fields.append((b"X-Gearman-Error", code))
    if status == 503:
        fields.append((b"Retry-After", b"%d" % RETRY_AFTER))
    return fields


def pack_head(version: bytes, status: int, fields: "Sequence[Tuple[bytes, bytes]]", size: int, stays: bool) -> bytes:
    """The head of a response whose body has `size` bytes, or is chunked if that is negative; it says whether the connection
    stays open."""
    lines = [b"%b %d %b" % (version, status, _REASONS[status])]
    lines += [b"%b: %b" % field for field in fields]
    if size >= 0:
        lines.append(b"Content-Length: %d" % size)
    elif version != HTTP_VERSIONS[0]:
        lines.append(b"Transfer-Encoding: chunked")
    lines += [b"Server: gearman_std", b"Connection: " + (b"keep-alive" if stays else b"close")]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def refused(status: int, text: str, limit: str = "") -> ProtocolError:
    """The error for a request that cannot be read or served; `limit` names the limit that it exceeds."""
    return ProtocolError(text, b"%d" % status, limit)


def split_target(target: bytes) -> "Tuple[bytes, bytes]":
    """The host and the path in the target of a request, the path with what follows it; only a whole URL has a host."""
    if target.startswith(b"/"):
        return b"", target
    scheme, found, rest = target.partition(b"://")
    host = rest.replace(b"?", b"/").replace(b"#", b"/").partition(b"/")[0]
    if not found or scheme.lower() not in (b"http", b"https") or not host or host.translate(None, _HOST):
        raise refused(400, "neither a path nor a URL of HTTP: %r" % target[:80])
    path = rest[len(host):]
    return host, path if path.startswith(b"/") else b""


class HTTPSession(PacketReader):
    """One connection that speaks HTTP: a reader of its requests, which also writes the responses.

    It takes one request after the other.  What a client sends while its request is being served is ignored, and the connection
    closed after that response, so that the client knows.  `max_size` limits the body of a request, in bytes.  `serving` says
    that a request was handed to the core and has no response yet, `over` that the last response was made.

    Owner: whoever owns the connection.
    """

    __slots__ = ("over", "serving", "max_body", "version", "method", "host", "stays", "headers", "_packets", "_buffer",
                 "_searched", "_head_size", "_body_size")

    methods = (b"GET", b"HEAD", b"POST")  # type: Tuple[bytes, ...] # those that mean something

    def __init__(self, max_size: int) -> None:
        super().__init__()
        self.over = False
        self.max_body = max_size
        self._packets = PacketReader(RESPONSE_MAGIC, text=False, max_size=0xffffffff)  # of what the core sends
        self._buffer = bytearray()
        self.version = HTTP_VERSIONS[-1]
        self.begin()

    def begin(self) -> None:
        """Be ready for a request."""
        self.serving = False   # the request was handed to the core
        self.method = b""      # until the first line of a request was read
        self.host = b""        # that of the target, or else of the headers (RFC 9112, 3.2.2)
        self.stays = False     # the connection is to stay open after the response
        self.headers = {}      # type: Dict[bytes, List[bytes]]
        self._searched = 0     # bytes in _buffer that are known to hold no end of a line
        self._head_size = 0
        self._body_size = -1   # until all headers were read

    def __repr__(self) -> str:
        return "<%s %s>" % (type(self).__name__, self.error or (
            "over" if self.over else "serving" if self.serving else "%d bytes of a request" % self.held))

    # ------------------------------------------------------------------------------------------------ what subclasses know

    def take_path(self, path: bytes) -> None:
        """Take the path of a request, with what follows it; it is empty for a URL without one.  Raises ProtocolError, made by
        `refused`."""
        raise NotImplementedError  # pragma: no cover - each subclass knows it

    def take_head(self) -> None:
        """Take the headers of a request; the same error."""

    def take_request(self, body: bytearray) -> "List[Packet]":
        """The request is complete; return the packets for the core that it makes."""
        raise NotImplementedError  # pragma: no cover - each subclass knows it

    def on_packet(self, packet_type: int, arguments: "Sequence[Data]") -> "List[Data]":
        """Take a packet of the core; return what is to be sent to the client."""
        raise NotImplementedError  # pragma: no cover - each subclass knows it

    # -------------------------------------------------------------------------------------------------------------- requests

    def feed(self, data: bytes) -> "List[Packet]":
        """Take the next bytes of the stream; return the packets for the core that they make."""
        packets = []  # type: List[Packet]
        if self.error is not None or self.over:
            return packets
        self._buffer += data
        try:
            while not self.serving and self._step(packets):
                continue
        except ProtocolError as error:
            self.error = error.with_traceback(None)  # its frames know this object
        if self.serving or self.error is not None:
            if self._buffer.strip(b"\r\n"):  # some clients send an empty line after the body
                self.stays = False
            self._buffer = bytearray()
            self._head_size = 0
        self.held = self._head_size + len(self._buffer)
        return packets

    def _step(self, packets: "List[Packet]") -> bool:
        """Read a line or a body; return whether there was a whole one."""
        buffer = self._buffer
        if self._body_size >= 0:
            if len(buffer) < self._body_size:
                return False
            self._end_body(packets)
            return True
        if not self.method and buffer and not buffer[:1].isalpha() and buffer[0] not in b"\r\n":
            raise refused(400, "not a request of HTTP: %r" % bytes(buffer[:32]))
        end = buffer.find(b"\n", self._searched)
        if self._head_size + (end if end >= 0 else len(buffer)) > MAX_HEAD_SIZE:
            raise refused(431, "a request with more than %d bytes before its body" % MAX_HEAD_SIZE, "line")
        if end < 0:
            self._searched = len(buffer)
            return False
        line = bytes(buffer[:end - 1 if buffer[end - 1:end] == b"\r" else end])
        del buffer[:end + 1]
        self._searched = 0
        self._head_size += end + 1
        if not self.method:
            if line:
                self._read_request(line)
            else:
                self._head_size = 0
        elif line:
            self._read_header(line)
        else:
            self._end_head(packets)
        return True

    def _read_request(self, line: bytes) -> None:
        words = line.split(b" ")
        if len(words) != 3 or words[0].translate(None, _TOKEN) or not words[2].startswith(b"HTTP/"):
            raise refused(400, "not a request of HTTP: %r" % line[:80])
        method, target, version = words
        if not (len(version) == 8 and version[5:6].isdigit() and version[6:7] == b"." and version[7:].isdigit()):
            raise refused(400, "not a request of HTTP: %r" % line[:80])
        if version[5:6] != b"1":
            raise refused(505, "not HTTP/1.1: %r" % version)
        self.method = method
        self.version = version if version in HTTP_VERSIONS else HTTP_VERSIONS[-1]
        if method not in _ALL_METHODS:
            raise refused(501, "not a method of HTTP: %r" % method[:80])
        if method not in self.methods:
            raise refused(405, "a method that means nothing here: %r" % method)
        self.host, path = split_target(target)
        self.take_path(path)

    def _read_header(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        value = value.strip(b" \t")
        if not colon or not name or name.translate(None, _TOKEN) or b"\0" in value or b"\r" in value:
            raise refused(400, "not a header: %r" % line[:80])
        self.headers.setdefault(name.lower(), []).append(value)

    def header(self, name: bytes, default: bytes = b"") -> bytes:
        """The value of a header; if it comes several times, all values with commas between them."""
        return b",".join(self.headers.get(name, (default,)))

    def _end_head(self, packets: "List[Packet]") -> None:
        """The head of a request is complete."""
        hosts = self.headers.get(b"host", [])
        if len(hosts) > 1 or not hosts and self.version != b"HTTP/1.0" or hosts and hosts[0].translate(None, _HOST):
            raise refused(400, "a request has one Host, not %r" % b" and ".join(hosts)[:80])
        self.host = self.host or b"".join(hosts)
        coding = self.header(b"transfer-encoding").lower()
        if coding == b"chunked":
            raise refused(411, "a body must have a Content-Length, and no Transfer-Encoding")
        if b"transfer-encoding" in self.headers:
            raise refused(501, "a Transfer-Encoding that is not known here: %r" % coding[:80])
        size = self.header(b"content-length", b"0")
        if not size.isdigit():
            raise refused(400, "not a Content-Length: %r" % size[:80])
        size = size.lstrip(b"0")
        if len(size) > 18 or int(size or b"0") > self.max_body:
            raise refused(413, "a body of %s bytes, the limit is %d" % (size[:18].decode(), self.max_body), "packet")
        self._body_size = int(size or b"0")
        expectation = self.header(b"expect").lower()
        if expectation not in (b"", b"100-continue"):
            raise refused(417, "an expectation that means nothing here: %r" % expectation[:80])
        if expectation and len(self._buffer) < self._body_size and self.version != b"HTTP/1.0":
            packets.append((ECHO_REQ, (_CONTINUE,)))  # so that it comes back through the core, like everything that is sent
        wishes = [wish.strip(b" \t") for wish in self.header(b"connection").lower().split(b",")]
        self.stays = b"close" not in wishes and (self.version != b"HTTP/1.0" or b"keep-alive" in wishes)
        self.take_head()

    def _end_body(self, packets: "List[Packet]") -> None:
        """The request is complete."""
        body, self._buffer = self._buffer, self._buffer[self._body_size:]
        del body[self._body_size:]
        self.serving = True
        packets += self.take_request(body)

    # ------------------------------------------------------------------------------------------------------------- responses

    def respond(self, pieces: "Sequence[Data]") -> "List[Data]":
        """Take what the core sends; return what is to be sent to the client."""
        sent = []  # type: List[Data]
        for piece in pieces:
            for packet_type, arguments in self._packets.feed(piece):  # type: ignore[arg-type]
                if self.over:
                    continue
                if packet_type == ECHO_RES:
                    sent.append(arguments[0])
                else:
                    sent += self.on_packet(packet_type, arguments)
        return sent

    @property
    def allowed(self) -> "Tuple[bytes, ...]":
        """The methods to use instead of the one that was refused."""
        return self.methods

    def refuse(self, code: bytes, text: bytes) -> "List[Data]":
        """The response for an ERROR packet."""
        status = refusal_status(code)
        fields = refusal_fields(code, status)
        if status == 405:
            fields.append((b"Allow", b", ".join(self.allowed)))
        return self.answer(status, fields, [text, b"\n"])

    def answer(self, status: int, fields: "List[Tuple[bytes, bytes]]", body: "List[Data]") -> "List[Data]":
        """A whole response; the next request follows, or the end of the connection."""
        response = [pack_head(self.version, status, fields, sum(map(len, body)), self.stays)]  # type: List[Data]
        if self.method != b"HEAD":
            response += body
        self.end()
        return response

    def end(self) -> None:
        """The response is complete."""
        self.over = not self.stays
        self.begin()

"""HTTP on the server's side: requests become submits, what the core says to that becomes responses.

    POST /reverse HTTP/1.1                          HTTP/1.1 200 OK
    Content-Length: 5                               X-Gearman-Job-Handle: H:host:1
    X-Gearman-Priority: high                  ->    X-Gearman-Command: WORK_COMPLETE
                                                    Content-Length: 5
    hello                                           Server: gearman_std
                                                    Connection: keep-alive

                                                    olleh

The function is the path without the slashes before it, as it stands, also of a whole URL, which who speaks to a proxy sends.
X-Gearman-Unique is the unique, by default ``-``, with which equal workloads are one job; X-Gearman-Background
is ``true`` or not; X-Gearman-Priority is ``high``, ``low`` or neither.

Source: RFC 9110 and 9112, and what the HTTP of gearmand 1.1.20 was seen to do.
"""
from ..errors import ProtocolError
from .protocol import (ECHO_REQ, ECHO_RES, ERROR, JOB_CREATED, LARGE_BODY, MAX_FIELD_SIZE, OPTION_REQ, RESPONSE_MAGIC,
                       SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG,
                       WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL, WORK_WARNING, PacketReader, packet_name)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Sequence, Tuple
    from .protocol import Data, Packet

MAX_HEAD_SIZE = 65536     # bytes of a request before its body
MAX_WARNINGS = 20         # more of one job are dropped, as clients limit how many headers they take
MAX_WARNING_SIZE = 1000   # bytes; what is longer is cut
RETRY_AFTER = 5           # seconds after which a client may try again what was refused for want of room

_HTTP_METHODS = (b"GET", b"HEAD", b"POST", b"PUT")
_OTHER_METHODS = (b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH")  # which mean nothing here
_HTTP_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HOST = b"-._~%!$&'()*+,;=:[]0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NO_CONTROLS = bytes(byte if byte >= 32 and byte != 127 else 32 for byte in range(256))

_REASONS = {
    200: b"OK", 400: b"Bad Request", 403: b"Forbidden", 404: b"Not Found", 405: b"Method Not Allowed", 409: b"Conflict",
    411: b"Length Required", 413: b"Content Too Large", 414: b"URI Too Long", 417: b"Expectation Failed",
    431: b"Request Header Fields Too Large", 500: b"Internal Server Error", 501: b"Not Implemented",
    503: b"Service Unavailable", 505: b"HTTP Version Not Supported"}

# What an ERROR packet means here; the code of what cannot be read is the status itself.
_STATUSES = {b"QUEUE_ERROR": 503, b"TOO_MANY_CONNECTIONS": 503, b"JOB_EXISTS": 409, b"FORBIDDEN": 403,
             b"ARGUMENT_TOO_LARGE": 400}

_SUBMITS = {
    (b"", False): SUBMIT_JOB, (b"high", False): SUBMIT_JOB_HIGH, (b"low", False): SUBMIT_JOB_LOW,
    (b"", True): SUBMIT_JOB_BG, (b"high", True): SUBMIT_JOB_HIGH_BG, (b"low", True): SUBMIT_JOB_LOW_BG}


def pack_refusal(code: bytes, text: bytes) -> bytes:
    """The response, in place of an ERROR packet, to a connection that is closed before anything is read from it."""
    status, fields = _refusal_fields(code)
    return _pack_head(_HTTP_VERSIONS[-1], status, fields, len(text) + 1, False) + text + b"\n"


def _refusal_fields(code: bytes) -> "Tuple[int, List[Tuple[bytes, bytes]]]":
    """The status for the code of an ERROR packet, and the headers that go with it."""
    fields = [(b"X-Gearman-Command", b"ERROR")]
    if code.isdigit():
        status = int(code)
    else:
        status = _STATUSES.get(code, 500)
        fields.append((b"X-Gearman-Error", code))
    if status == 503:
        fields.append((b"Retry-After", b"%d" % RETRY_AFTER))
    elif status == 405:
        fields.append((b"Allow", b", ".join(_HTTP_METHODS)))
    return status, fields


def _pack_head(version: bytes, status: int, fields: "Sequence[Tuple[bytes, bytes]]", size: int, stays: bool) -> bytes:
    """All of a response but its body of `size` bytes; the connection stays open after it, or not."""
    lines = [b"%b %d %b" % (version, status, _REASONS[status])]
    lines += [b"%b: %b" % field for field in fields]
    lines += [b"Content-Length: %d" % size, b"Server: gearman_std", b"Connection: " + (b"keep-alive" if stays else b"close")]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _refused(status: int, text: str, limit: str = "") -> ProtocolError:
    return ProtocolError(text, b"%d" % status, limit)


def _request_path(target: bytes) -> bytes:
    """The path in the target of a request, and what comes after it."""
    if target.startswith(b"/"):
        return target
    scheme, found, rest = target.partition(b"://")
    authority, slash, path = rest.partition(b"/")
    if not found or scheme.lower() not in (b"http", b"https") or not authority:
        raise _refused(400, "neither a path nor a URL of HTTP: %r" % target[:80])
    return b"" if b"?" in authority or b"#" in authority else slash + path


class HTTPSession(PacketReader):
    """One connection that speaks HTTP: a reader of its requests, which also writes the responses.

    It takes one request after the other.  What a client sends while its request is being served is ignored, and the connection
    closed after that response, so that the client knows.  `max_size` limits the body of a request, and that of a response, for
    which all that the worker sends is collected; in bytes.  `serving` says that a request was handed to the core and has no
    response yet, `over` that the last response was made.

    Owner: whoever owns the connection.
    """

    __slots__ = ("over", "serving", "_max_body", "_packets", "_buffer", "_searched", "_version", "_method", "_function",
                 "_headers", "_head_size", "_body_size", "_stays", "_handle", "_parts", "_parts_size", "_warnings")

    def __init__(self, max_size: int) -> None:
        super().__init__()
        self.over = False
        self._max_body = max_size
        self._packets = PacketReader(RESPONSE_MAGIC, text=False, max_size=0xffffffff)  # of what the core sends
        self._buffer = bytearray()
        self._version = _HTTP_VERSIONS[-1]
        self._begin()

    def _begin(self) -> None:
        """Be ready for a request."""
        self._searched = 0      # bytes in _buffer that are known to hold no end of a line
        self.serving = False   # the request was handed to the core
        self._method = b""      # until the first line of a request was read
        self._function = b""
        self._headers = {}      # type: Dict[bytes, List[bytes]]
        self._head_size = 0
        self._body_size = -1    # until all headers were read
        self._stays = False     # the connection is to stay open after the response
        self._handle = b""
        self._parts = []        # type: List[Data] # of the response's body
        self._parts_size = 0
        self._warnings = []     # type: List[bytes]

    def __repr__(self) -> str:
        return "<HTTPSession %s>" % (self.error or (
            "over" if self.over else "serving %s" % self._function.decode("latin-1") if self.serving else
            "%d bytes of a request" % self.held))

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
            self.error = error
        if self.serving or self.error is not None:
            if self._buffer.strip(b"\r\n"):  # some clients send an empty line after the body
                self._stays = False
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
            self._submit(packets)
            return True
        if not self._method and buffer and not buffer[:1].isalpha() and buffer[0] not in b"\r\n":
            raise _refused(400, "not a request of HTTP: %r" % bytes(buffer[:32]))
        end = buffer.find(b"\n", self._searched)
        if self._head_size + (end if end >= 0 else len(buffer)) > MAX_HEAD_SIZE:
            raise _refused(431, "a request with more than %d bytes before its body" % MAX_HEAD_SIZE, "line")
        if end < 0:
            self._searched = len(buffer)
            return False
        line = bytes(buffer[:end - 1 if buffer[end - 1:end] == b"\r" else end])
        del buffer[:end + 1]
        self._searched = 0
        self._head_size += end + 1
        if not self._method:
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
            raise _refused(400, "not a request of HTTP: %r" % line[:80])
        method, target, version = words
        if not (len(version) == 8 and version[5:6].isdigit() and version[6:7] == b"." and version[7:].isdigit()):
            raise _refused(400, "not a request of HTTP: %r" % line[:80])
        if version[5:6] != b"1":
            raise _refused(505, "not HTTP/1.1: %r" % version)
        self._method = method
        self._version = version if version in _HTTP_VERSIONS else _HTTP_VERSIONS[-1]
        if method in _OTHER_METHODS:
            raise _refused(405, "a method that means nothing here: %r" % method)
        if method not in _HTTP_METHODS:
            raise _refused(501, "not a method of HTTP: %r" % method[:80])
        self._function = _request_path(target).lstrip(b"/")
        if not self._function:
            raise _refused(404, "a function is wanted after the slash")
        if len(self._function) > MAX_FIELD_SIZE:
            raise _refused(414, "the name of a function has %d bytes, more than %d" % (len(self._function), MAX_FIELD_SIZE))
        if self._function.translate(_NO_CONTROLS) != self._function:
            raise _refused(400, "the name of a function with control characters: %r" % self._function[:80])

    def _read_header(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        value = value.strip(b" \t")
        if not colon or not name or name.translate(None, _TOKEN) or b"\0" in value or b"\r" in value:
            raise _refused(400, "not a header: %r" % line[:80])
        self._headers.setdefault(name.lower(), []).append(value)

    def _header(self, name: bytes, default: bytes = b"") -> bytes:
        """What the header says; if it comes several times, all that, with commas in between."""
        return b",".join(self._headers.get(name, (default,)))

    def _end_head(self, packets: "List[Packet]") -> None:
        """The head of a request is complete."""
        hosts = self._headers.get(b"host", [])
        if len(hosts) > 1 or not hosts and self._version != b"HTTP/1.0" or hosts and hosts[0].translate(None, _HOST):
            raise _refused(400, "a request has one Host, not %r" % b" and ".join(hosts)[:80])
        coding = self._header(b"transfer-encoding").lower()
        if coding == b"chunked":
            raise _refused(411, "a body must have a Content-Length, and no Transfer-Encoding")
        if b"transfer-encoding" in self._headers:
            raise _refused(501, "a Transfer-Encoding that is not known here: %r" % coding[:80])
        size = self._header(b"content-length", b"0")
        if not size.isdigit():
            raise _refused(400, "not a Content-Length: %r" % size[:80])
        size = size.lstrip(b"0")
        if len(size) > 18 or int(size or b"0") > self._max_body:
            raise _refused(413, "a body of %s bytes, the limit is %d" % (size[:18].decode(), self._max_body), "packet")
        self._body_size = int(size or b"0")
        expectation = self._header(b"expect").lower()
        if expectation not in (b"", b"100-continue"):
            raise _refused(417, "an expectation that means nothing here: %r" % expectation[:80])
        if expectation and len(self._buffer) < self._body_size and self._version != b"HTTP/1.0":
            packets.append((ECHO_REQ, (_CONTINUE,)))  # so it comes back through the core, as all that is to be sent
        wishes = [wish.strip(b" \t") for wish in self._header(b"connection").lower().split(b",")]
        self._stays = b"close" not in wishes and (self._version != b"HTTP/1.0" or b"keep-alive" in wishes)

    def _submit(self, packets: "List[Packet]") -> None:
        """The request is complete."""
        body, self._buffer = self._buffer, self._buffer[self._body_size:]
        del body[self._body_size:]
        if self._method in (b"GET", b"HEAD"):
            body = bytearray()  # as gearmand has it
        workload = memoryview(body) if len(body) >= LARGE_BODY else bytes(body)  # type: Data
        priority = self._header(b"x-gearman-priority").lower()
        packet_type = _SUBMITS[priority if priority in (b"high", b"low") else b"", self._background]
        packets.append((OPTION_REQ, (b"exceptions",)))
        packets.append((packet_type, (self._function, self._header(b"x-gearman-unique", b"-"), workload)))
        self.serving = True

    @property
    def _background(self) -> bool:
        return self._header(b"x-gearman-background").lower() == b"true"

    # ------------------------------------------------------------------------------------------------------------- responses

    def respond(self, pieces: "Sequence[Data]") -> "List[Data]":
        """Take what the core sends; return what is to be sent to the client."""
        sent = []  # type: List[Data]
        for piece in pieces:
            for packet_type, arguments in self._packets.feed(piece):  # type: ignore[arg-type]
                if not self.over:
                    sent += self._on_packet(packet_type, arguments)
        return sent

    def _on_packet(self, packet_type: int, arguments: "Sequence[Data]") -> "List[Data]":
        if packet_type == ECHO_RES:
            return [arguments[0]]
        if packet_type == ERROR:
            return self._refuse(bytes(arguments[0]), bytes(arguments[1]))
        if packet_type == JOB_CREATED:
            self._handle = bytes(arguments[0])
            return self._answer(200, packet_type) if self._background else []
        if packet_type == WORK_WARNING:
            if len(self._warnings) < MAX_WARNINGS:
                self._warnings.append(bytes(arguments[1][:MAX_WARNING_SIZE]).translate(_NO_CONTROLS))
            return []
        if packet_type in (WORK_DATA, WORK_COMPLETE, WORK_EXCEPTION):
            if packet_type == WORK_EXCEPTION:
                self._parts, self._parts_size = [], 0  # its text is all that the client gets
            self._parts_size += len(arguments[1])
            if self._parts_size > self._max_body:
                self._stays = False
                return self._refuse(b"500", b"The result has more than %d bytes" % self._max_body)
            self._parts.append(arguments[1])
        if packet_type == WORK_COMPLETE:
            return self._answer(200, packet_type)
        if packet_type in (WORK_FAIL, WORK_EXCEPTION):
            return self._answer(500, packet_type)
        return []  # progress, and that exceptions are wanted, mean nothing to a client of HTTP

    def _refuse(self, code: bytes, text: bytes) -> "List[Data]":
        status, fields = _refusal_fields(code)
        return self._finish(status, fields, [text, b"\n"])

    def _answer(self, status: int, packet_type: int) -> "List[Data]":
        fields = [(b"X-Gearman-Job-Handle", self._handle), (b"X-Gearman-Command", packet_name(packet_type).encode())]
        fields += [(b"X-Gearman-Warning", warning) for warning in self._warnings]
        return self._finish(status, fields, self._parts)

    def _finish(self, status: int, fields: "List[Tuple[bytes, bytes]]", body: "List[Data]") -> "List[Data]":
        """The response, after which comes the next request, or the end."""
        response = [_pack_head(self._version, status, fields, sum(map(len, body)), self._stays)]  # type: List[Data]
        if self._method != b"HEAD":
            response += body
        self.over = not self._stays
        self._begin()
        return response

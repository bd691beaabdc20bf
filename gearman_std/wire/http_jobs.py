"""Jobs by HTTP: requests become submits, and the core's answers become responses.

    POST /reverse HTTP/1.1                          HTTP/1.1 200 OK
    Content-Length: 5                               X-Gearman-Job-Handle: H:host:1
    X-Gearman-Priority: high                  ->    X-Gearman-Command: WORK_COMPLETE
                                                    Content-Length: 5
    hello                                           Server: gearman_std
                                                    Connection: keep-alive

                                                    olleh

The function is the path as it stands, without its leading slashes; a whole URL, as clients of a proxy send it, works too.
X-Gearman-Unique is the unique; the default is ``-``, with which equal workloads are one job.  X-Gearman-Background is ``true``
or not; X-Gearman-Priority is ``high``, ``low`` or neither.

A background submit is answered with 200 or, if the end of the job will be kept, with 202 and a Location.  GET of that path,
``/api/jobs/HANDLE/result``, answers as if the submit had waited, or with 202 again as long as the job has not ended.

Source: what the HTTP of gearmand 1.1.20 was seen to do.
"""
from .http import NO_CONTROLS, HTTPSession, refused
from .protocol import (ERROR, JOB_CREATED, LARGE_BODY, MAX_FIELD_SIZE, OPTION_REQ, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_HIGH,
                       STATUS_RES, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG, WORK_COMPLETE, WORK_DATA,
                       WORK_EXCEPTION, WORK_FAIL, WORK_WARNING, packet_name)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Optional, Sequence, Tuple
    from .protocol import Data, Packet

MAX_WARNINGS = 20         # further warnings of a job are dropped, because clients limit how many headers they take
MAX_WARNING_SIZE = 1000   # bytes; longer warnings are cut
ASK_AGAIN = 1             # seconds after which a client may ask again for the result of a job that has not ended

_SUBMITS = {
    (b"", False): SUBMIT_JOB, (b"high", False): SUBMIT_JOB_HIGH, (b"low", False): SUBMIT_JOB_LOW,
    (b"", True): SUBMIT_JOB_BG, (b"high", True): SUBMIT_JOB_HIGH_BG, (b"low", True): SUBMIT_JOB_LOW_BG}


class JobSession(HTTPSession):
    """One connection on which jobs are submitted by HTTP.

    `max_size` also limits a response, in bytes: all that the worker sends is collected for it.  `keeps` tells whether the ends
    of a function's background jobs are kept; `ask_for` makes the packets that ask for an end by its handle.

    Owner: whoever owns the connection.
    """

    __slots__ = ("_function", "_handle", "_wanted", "_parts", "_parts_size", "_warnings", "_keeps", "_ask_for")

    methods = (b"GET", b"HEAD", b"POST", b"PUT")

    def __init__(self, max_size: int, keeps: "Optional[Callable[[bytes], bool]]" = None,
                 ask_for: "Optional[Callable[[bytes], List[Packet]]]" = None) -> None:
        self._keeps = keeps
        self._ask_for = ask_for
        super().__init__(max_size)

    def begin(self) -> None:
        super().begin()
        self._function = b""
        self._wanted = b""      # the handle of the job whose result is asked for
        self._handle = b""
        self._parts = []        # type: List[Data] # of the response's body
        self._parts_size = 0
        self._warnings = []     # type: List[bytes]

    def __repr__(self) -> str:
        return "<JobSession serving %s>" % self._function.decode("latin-1") if self.serving else super().__repr__()

    def take_path(self, path: bytes) -> None:
        self._function = path.lstrip(b"/")
        if not self._function:
            raise refused(404, "a function is wanted after the slash")
        if len(self._function) > MAX_FIELD_SIZE:
            raise refused(414, "the name of a function has %d bytes, more than %d" % (len(self._function), MAX_FIELD_SIZE))
        if self._function.translate(NO_CONTROLS) != self._function:
            raise refused(400, "the name of a function with control characters: %r" % self._function[:80])

    def take_request(self, body: bytearray) -> "List[Packet]":
        if self.method in (b"GET", b"HEAD"):
            body = bytearray()  # as in gearmand
            parts = self._function.split(b"/")
            if self._ask_for is not None and len(parts) == 4 and parts[:2] + parts[3:] == [b"api", b"jobs", b"result"]:
                self._wanted = unquoted(parts[2])
                return self._ask_for(self._wanted)
        workload = memoryview(body) if len(body) >= LARGE_BODY else bytes(body)  # type: Data
        priority = self.header(b"x-gearman-priority").lower()
        packet_type = _SUBMITS[priority if priority in (b"high", b"low") else b"", self._background]
        return [(OPTION_REQ, (b"exceptions",)),
                (packet_type, (self._function, self.header(b"x-gearman-unique", b"-"), workload))]

    @property
    def _background(self) -> bool:
        return self.header(b"x-gearman-background").lower() == b"true"

    def on_packet(self, packet_type: int, arguments: "Sequence[Data]") -> "List[Data]":
        if packet_type == ERROR:
            return self.refuse(bytes(arguments[0]), bytes(arguments[1]))
        if packet_type == JOB_CREATED:
            self._handle = bytes(arguments[0])
            if not self._background or self._wanted:
                return []
            if self._keeps is None or not self._keeps(self._function):
                return self._report(200, packet_type)
            return self._report(202, packet_type, [(b"Location", b"/api/jobs/" + quoted(self._handle) + b"/result")])
        if packet_type == STATUS_RES:
            self._handle = bytes(arguments[0])
            return self._report(202, packet_type, [(b"Retry-After", b"%d" % ASK_AGAIN)])
        if packet_type == WORK_WARNING:
            if len(self._warnings) < MAX_WARNINGS:
                self._warnings.append(bytes(arguments[1][:MAX_WARNING_SIZE]).translate(NO_CONTROLS))
            return []
        if packet_type in (WORK_DATA, WORK_COMPLETE, WORK_EXCEPTION):
            if packet_type == WORK_EXCEPTION:
                self._parts, self._parts_size = [], 0  # its text is all that the client gets
            self._parts_size += len(arguments[1])
            if self._parts_size > self.max_body:
                self.stays = False
                return self.refuse(b"500", b"The result has more than %d bytes" % self.max_body)
            self._parts.append(arguments[1])
        if packet_type == WORK_COMPLETE:
            return self._report(200, packet_type)
        if packet_type in (WORK_FAIL, WORK_EXCEPTION):
            return self._report(500, packet_type)
        return []  # a client of HTTP gets no progress, and no answer about options

    def _report(self, status: int, packet_type: int, more: "Sequence[Tuple[bytes, bytes]]" = ()) -> "List[Data]":
        """The response that says how the job ended, that it was accepted, or that it has not ended; `more` are headers."""
        fields = [(b"X-Gearman-Job-Handle", self._handle), (b"X-Gearman-Command", packet_name(packet_type).encode())]
        fields += [(b"X-Gearman-Warning", warning) for warning in self._warnings]
        fields += more
        return self.answer(status, fields, self._parts)


def quoted(handle: bytes) -> bytes:
    """A handle as a part of a path."""
    from urllib.parse import quote
    return quote(handle, safe=":").encode()


def unquoted(part: bytes) -> bytes:
    """The handle in a part of a path."""
    from urllib.parse import unquote_to_bytes
    return unquote_to_bytes(part)

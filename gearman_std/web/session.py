"""HTTP for people and monitors, without a socket: requests become questions for the core, its answers become responses.

A request becomes a packet of the type ASK, which no peer can send.  Its argument is the question, which the core runs in turns,
as it does with a text command.  The question yields packets: a WORK_DATA for each piece of the body and a WORK_COMPLETE at the
end, or an ERROR.

Other sites must not reach the server through a browser.  So the Host of a request must be an address or a name of this server:
otherwise a site could give its own name the address of this server (DNS rebinding).  And a request that changes something must
have the header X-Gearman-Steer, which no form of another site can send.
"""
from ..core.turns import ASK
from ..errors import ProtocolError
from ..wire.http import HTTP_VERSIONS, HTTPSession, pack_head, refused
from ..wire.protocol import ERROR, WORK_COMPLETE, WORK_DATA, pack_response
from .exchange import WebRequest
from .routes import find_route
from .sharing import SharedAnswers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, FrozenSet, Iterator, List, Sequence, Tuple
    from ..core.core import Core
    from ..core.peers import Peer
    from ..wire.protocol import Data, Packet
    from .exchange import Answer

MAX_BODY_SIZE = 65536  # bytes of a request's body

_SAFETY = [
    (b"Content-Security-Policy", b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
     b"img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"),
    (b"X-Content-Type-Options", b"nosniff"), (b"X-Frame-Options", b"DENY"), (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"), (b"Cache-Control", b"no-store")]


class WebSession(HTTPSession):
    """One connection of a browser or a monitor.

    `hosts` are the names of this server, in small letters; `shared` has the answers for pages that ask the same.

    Owner: whoever owns the connection.
    """

    __slots__ = ("_hosts", "_shared", "_request", "_status", "_fields", "_first", "_begun")

    def __init__(self, hosts: "FrozenSet[str]", shared: SharedAnswers) -> None:
        self._hosts = hosts
        self._shared = shared
        super().__init__(MAX_BODY_SIZE)

    def __repr__(self) -> str:
        return "<WebSession serving %s>" % self._request.shown if self.serving else super().__repr__()

    def begin(self) -> None:
        super().begin()
        self._request = WebRequest(b"")
        self._status = 200
        self._fields = []      # type: List[Tuple[bytes, bytes]]
        self._first = b""      # type: Data # the first piece of the body, until it is known whether it is all
        self._begun = False    # the head of a response in chunks was sent

    # -------------------------------------------------------------------------------------------------------------- requests

    def take_path(self, path: bytes) -> None:
        self._request = WebRequest(path or b"/")

    def take_head(self) -> None:
        if not self._is_ours(self.host.decode("latin-1").lower()):
            raise refused(421, "this server is not called %r" % self.host[:80])
        if self.method == b"POST" and not self.header(b"x-gearman-steer"):
            raise refused(403, "a POST must have the header X-Gearman-Steer")
        self._request.accept = self.header(b"accept").lower()

    def _is_ours(self, host: str) -> bool:
        """Whether a Host is a name of this server, or an address: another site can have neither."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name.startswith("[") and name.endswith("]"):
            return True
        return name in self._hosts or not name or name.replace(".", "").isdigit()

    def take_request(self, body: bytearray) -> "List[Packet]":
        if body and self.method == b"POST":
            self._request.read(bytes(body))
        question = self._make_question(self.method, self._request), self.method == b"POST"  # type: Any
        return [(ASK, question)]

    def _make_question(self, method: bytes, request: WebRequest) -> "Any":
        def question(core: "Core", peer: "Peer") -> "Iterator[bytes]":
            try:
                answer = self._find_answer(method, request, core, peer)
                self._status, self._fields = answer.status, answer.fields()
                for piece in answer.pieces:
                    yield pack_response(WORK_DATA, b"", piece) if piece else b""
            except ProtocolError as error:
                yield pack_response(ERROR, error.code, str(error).encode("utf-8", "backslashreplace"))
            else:
                if method == b"POST":
                    self._shared.clear()  # so that the page shows what it has ordered
                yield pack_response(WORK_COMPLETE, b"", b"")
        return question

    def _find_answer(self, method: bytes, request: WebRequest, core: "Core", peer: "Peer") -> "Answer":
        route = find_route(method, request)
        if method != b"GET" or "part" not in request.query:
            return route(core, peer, request)
        key = tuple(request.parts), tuple(sorted(request.query.items())), peer.rights
        return self._shared.find(key, core.now, lambda: route(core, peer, request))

    # ------------------------------------------------------------------------------------------------------------- responses

    def on_packet(self, packet_type: int, arguments: "Sequence[Data]") -> "List[Data]":
        if packet_type == ERROR:
            if self._begun:  # too late for an error: the end of the connection tells that the body is not complete
                self.stays = False
                self.end()
                return []
            return self.refuse(bytes(arguments[0]), bytes(arguments[1]))
        if packet_type == WORK_DATA:
            piece = arguments[1]
            if self._begun:
                return self._chunk(piece)
            if not self._first:
                self._first = piece
                return []
            if self.version == HTTP_VERSIONS[0]:
                self.stays = False  # the end of the connection is the end of the body
            self._begun = True
            head = [pack_head(self.version, self._status, self._fields + _SAFETY, -1, self.stays)]  # type: List[Data]
            return head + self._chunk(self._first) + self._chunk(piece)
        if not self._begun:
            return self.answer(self._status, self._fields, [self._first])
        last = self._chunk(b"")
        self.end()
        return last

    @property
    def allowed(self) -> "Tuple[bytes, ...]":
        if self.method not in self.methods:
            return self.methods
        return (b"GET", b"HEAD") if self.method == b"POST" else (b"POST",)  # a path takes questions or orders

    def answer(self, status: int, fields: "List[Tuple[bytes, bytes]]", body: "List[Data]") -> "List[Data]":
        if body and not any(name == b"Content-Type" for name, _ in fields):
            fields = fields + [(b"Content-Type", b"text/plain; charset=utf-8")]
        return super().answer(status, fields + _SAFETY, body)

    def _chunk(self, piece: "Data") -> "List[Data]":
        """A piece of the body as a chunk; an empty piece is the end of the body."""
        if self.method == b"HEAD":
            return []
        if self.version == HTTP_VERSIONS[0]:
            return [piece]
        return [b"%x\r\n" % len(piece), piece, b"\r\n"]

"""What both ends do with a connected socket: TCP options, and TLS that behaves like a plain socket."""
import errno
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable
    from .protocol import Data

_TLS_PART = 131072  # bytes


def set_up_tcp(connected: socket.socket) -> None:
    """Have a TCP socket send at once, and notice a peer that is gone after a minute of silence."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 60000)):
        option = getattr(socket, name, None)
        if option is not None:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


class TLSStream:
    """A TLS socket that says "not now" as a plain one does, and sends several pieces one after the other.

    Owner: whoever owns the connection.
    """

    __slots__ = ("_socket", "fileno", "close", "setblocking", "pending")

    def __init__(self, wrapped: "Any") -> None:
        self._socket = wrapped
        self.fileno = wrapped.fileno
        self.close = wrapped.close
        self.setblocking = wrapped.setblocking
        self.pending = wrapped.pending

    def __repr__(self) -> str:
        return "<TLSStream %r>" % (self._socket,)

    def recv(self, size: int) -> bytes:
        """As a socket's."""
        return self._retry(self._socket.recv, size)  # type: ignore[no-any-return]

    def recv_into(self, room: memoryview) -> int:
        """As a socket's."""
        return self._retry(self._socket.recv_into, room)  # type: ignore[no-any-return]

    def send(self, data: "Data") -> int:
        """As a socket's."""
        # Part by part, as OpenSSL does not say how far it came before the end of what it was given.
        part = data if len(data) <= _TLS_PART else memoryview(data)[:_TLS_PART]
        return self._retry(self._socket.send, part)  # type: ignore[no-any-return]

    def sendmsg(self, pieces: "Iterable[Data]") -> int:
        """As a socket's, but one piece is enough for it."""
        return self.send(next(iter(pieces)))

    def do_handshake(self) -> None:
        """As an SSL socket's."""
        self._retry(self._socket.do_handshake)

    def getpeercert(self) -> "Any":
        """As an SSL socket's."""
        return self._socket.getpeercert()

    @staticmethod
    def _retry(method: "Callable[..., Any]", *arguments: "Any") -> "Any":
        import ssl
        try:
            return method(*arguments)
        except ssl.SSLWantReadError:
            raise BlockingIOError(errno.EAGAIN, "TLS needs to read") from None
        except ssl.SSLWantWriteError:
            raise BlockingIOError(errno.EAGAIN, "TLS needs to write") from None

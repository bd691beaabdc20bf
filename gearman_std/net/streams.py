"""What both ends do with a connected socket: TCP options, and TLS that behaves like a plain socket."""
import errno
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Tuple
    from ..wire.protocol import Data

KEEPALIVE = (30, 10, 3)  # idle seconds, interval in seconds, count: a peer that is gone is noticed after a minute
MOST_KEEPALIVE = (32767, 32767, 127)  # the largest that Linux takes
_TLS_PART = 131072  # bytes
_QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)


def set_up_tcp(connected: socket.socket, keepalive: "Tuple[int, int, int]" = KEEPALIVE, patience: float = 0.0) -> None:
    """Make a TCP socket send at once, and notice a peer that is gone.

    `keepalive` is: after how many seconds of silence the system asks whether the peer is there, how many seconds later it asks
    again, and how often it asks.  Sent data may be unconfirmed, or find no room at the peer, for as long as all that takes, or
    for `patience` seconds if that is longer.
    """
    idle, interval, count = keepalive
    unconfirmed = min(1000 * max(idle + interval * count, patience), 0x7fffffff)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", idle), ("TCP_KEEPINTVL", interval), ("TCP_KEEPCNT", count),
                        ("TCP_USER_TIMEOUT", int(unconfirmed))):
        option = getattr(socket, name, None)
        if option is not None:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


def acknowledge_at_once(connected: "Any") -> None:
    """Make the system acknowledge at once what a TCP socket has received.

    By default it takes up to 40 ms; libgearman has a small send buffer, and waits that long many times in a large packet.
    """
    if _QUICK_ACK is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
        try:
            connected.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
        except OSError:
            return  # the connection is lost, which the next receive will tell


def end_connection(connected: "Any") -> None:
    """Close a connection so that the other end sees it, even while a child of a fork holds the socket, too."""
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except (OSError, ValueError):  # it is lost already; a ValueError is about TLS that never began
        return
    finally:
        connected.close()


def certificate_error(error: OSError, path: "Any", reason: str = "") -> OSError:
    """The same error with the name of the file, which OpenSSL leaves out, and with `reason`, if that is given."""
    if not reason and error.errno and not hasattr(error, "library"):  # none of OpenSSL's, and PyPy has no text for it
        reason = os.strerror(error.errno)
    return OSError(error.errno, "cannot use the certificates or the key of %s: %s" % (path, reason or error.strerror or error))


class TLSStream:
    """A TLS socket that raises BlockingIOError as a plain one does, and has `sendmsg`.

    Owner: whoever owns the connection.
    """

    __slots__ = ("_socket", "fileno", "setblocking", "family", "setsockopt", "pending",
                 "getpeercert", "receive_waits_to_send", "send_waits_to_receive")

    def __init__(self, wrapped: "Any") -> None:
        self._socket = wrapped
        self.fileno = wrapped.fileno
        self.setblocking = wrapped.setblocking
        self.family = wrapped.family
        self.setsockopt = wrapped.setsockopt
        self.pending = wrapped.pending
        self.getpeercert = wrapped.getpeercert
        self.receive_waits_to_send = False  # the last recv or handshake cannot go on before something can be sent
        self.send_waits_to_receive = False  # and the last send before something can be received

    def __repr__(self) -> str:
        return "<TLSStream %r>" % (self._socket,)

    def recv(self, size: int) -> bytes:
        """As a socket's."""
        return self._receive(self._socket.recv, size)  # type: ignore[no-any-return]

    def recv_into(self, room: memoryview) -> int:
        """As a socket's."""
        return self._receive(self._socket.recv_into, room)  # type: ignore[no-any-return]

    def do_handshake(self) -> None:
        """As an SSL socket's."""
        self._receive(self._socket.do_handshake)

    def _receive(self, method: "Callable[..., Any]", *arguments: "Any") -> "Any":
        from ssl import SSLWantReadError, SSLWantWriteError
        self.receive_waits_to_send = False
        try:
            return method(*arguments)
        except SSLWantReadError:
            raise BlockingIOError(errno.EAGAIN, "TLS needs to read") from None
        except SSLWantWriteError:
            self.receive_waits_to_send = True
            raise BlockingIOError(errno.EAGAIN, "TLS needs to write") from None

    def send(self, data: "Data") -> int:
        """As a socket's."""
        from ssl import SSLWantReadError, SSLWantWriteError
        self.send_waits_to_receive = False
        # Part by part, as OpenSSL does not say how far it came before the end of what it was given.
        part = data if len(data) <= _TLS_PART else memoryview(data)[:_TLS_PART]
        try:
            return self._socket.send(part)  # type: ignore[no-any-return]
        except SSLWantWriteError:
            raise BlockingIOError(errno.EAGAIN, "TLS needs to write") from None
        except SSLWantReadError:
            self.send_waits_to_receive = True
            raise BlockingIOError(errno.EAGAIN, "TLS needs to read") from None

    def sendmsg(self, pieces: "Iterable[Data]") -> int:
        """As a socket's, but one piece is enough for it."""
        return self.send(next(iter(pieces)))

    def end_sending(self) -> None:
        """Send no more, but go on receiving: end TCP without TLS's farewell, after which Python could not receive."""
        socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def shutdown(self, how: int) -> None:
        """As a socket's, after TLS's farewell; what is received after that stays encrypted."""
        self._say_farewell()
        self._socket.shutdown(how)

    def close(self) -> None:
        """As a socket's, after TLS's farewell."""
        self._say_farewell()
        self._socket.close()

    def leave(self) -> None:
        """Close the socket without the farewell, which would end the connection for the other process, too."""
        self._socket.close()

    def _say_farewell(self) -> None:
        """Send TLS's farewell, if that is possible without waiting."""
        try:
            self._socket.unwrap()
        except (OSError, ValueError):  # the other end is gone, or its own farewell not here yet, or there was no handshake
            return

"""Where a server listens: TCP over IPv4 and IPv6, and Unix sockets."""
import errno
import os
import socket

from .addresses import split_address
from .streams import set_up_tcp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Sequence, Tuple


class Listener:
    """One listening socket.

    Owner: the dispatcher thread.
    """

    def __init__(self, listening: socket.socket) -> None:
        self.socket = listening
        name = listening.getsockname()
        # (host, port), or the path of a Unix socket
        self.address = name if isinstance(name, (str, bytes)) else name[:2]  # type: Any

    def __repr__(self) -> str:
        return "<Listener on %s>" % (self.address,)

    def accept(self) -> "Tuple[socket.socket, bytes]":
        """The next connection, non-blocking and set up, and the peer's IP address (`unix` for a Unix socket)."""
        connection, address = self.socket.accept()
        connection.setblocking(False)
        if self.socket.family == getattr(socket, "AF_UNIX", None):
            return connection, b"unix"
        set_up_tcp(connection)
        return connection, address[0].encode()

    def close(self) -> None:
        """Stop listening; the file of a Unix socket goes."""
        self.socket.close()
        if isinstance(self.address, str):
            try:
                os.unlink(self.address)
            except FileNotFoundError:
                return


def open_listeners(specs: "Sequence[Any]", port: int, backlog: int) -> "List[Listener]":
    """Listen on every address named: `host`, `host:port`, `[::1]:port`, a (host, port) pair, `unix:/path` or `/path`.

    An empty list means every IPv4 and IPv6 address.  Raises OSError, naming the address, if one cannot be had.
    """
    listeners = []  # type: List[Listener]
    try:
        for spec in specs or ("",):
            host, number = split_address(spec, port)
            if host.startswith("/"):
                listeners.append(Listener(_listen_unix(host, backlog)))
            else:
                listeners += [Listener(one) for one in _listen_tcp(host, number, backlog)]
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _listen_tcp(host: str, port: int, backlog: int) -> "List[socket.socket]":
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened = []  # type: List[socket.socket]
    failure = None
    for family, kind, protocol, _, address in found:
        if family not in (socket.AF_INET, socket.AF_INET6) or address in [one.getsockname() for one in opened]:
            continue
        if opened and not port:
            address = (address[0], opened[0].getsockname()[1]) + tuple(address[2:])  # type: ignore[assignment]
        try:
            opened.append(_bind_tcp(family, kind, protocol, address, backlog))
        except OSError as error:
            failure = OSError(error.errno, "cannot listen on %s port %s: %s" % (host or "any address", address[1], error.strerror))
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                break
    if failure is not None and (not opened or failure.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)):
        for one in opened:
            one.close()
        raise failure
    return opened


def _bind_tcp(family: int, kind: int, protocol: int, address: "Any", backlog: int) -> socket.socket:
    listening = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(backlog)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _listen_unix(path: str, backlog: int) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listening.bind(path)
        listening.listen(backlog)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, "cannot listen on %s: %s" % (path, error.strerror)) from None
    return listening


def _remove_stale(path: str) -> None:
    """Remove the file of a Unix socket that nobody answers on, as a killed server leaves it."""
    if not os.path.exists(path):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)

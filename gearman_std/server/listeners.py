"""Where a server listens: TCP over IPv4 and IPv6, Unix sockets, and sockets that another program opened."""
import errno
import os
import socket
import stat
import struct

from ..net.addresses import machine_name, split_address
from ..net.streams import KEEPALIVE, end_connection, set_up_tcp
from .access import PeerFacts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, FrozenSet, List, Optional, Sequence, Tuple, Union
    from ..net.addresses import Address, ServerAddress
    Place = Union["Listener", Tuple[Address, bool, str]]

JOBS, WEB = "jobs", "web"  # what HTTP can be for: to submit jobs, or to look at the server

_AF_UNIX = getattr(socket, "AF_UNIX", None)
_SO_PEERCRED = getattr(socket, "SO_PEERCRED", None)
# The prefixes of an address: whether TLS is spoken there, and, if HTTP is, what it is for.
SCHEMES = {"tls:": (True, ""), "tcp:": (False, ""), "https:": (True, JOBS), "http:": (False, JOBS),
           "webs:": (True, WEB), "web:": (False, WEB)}
_PORT_TRIES = 16  # how often to try: a port that is free for one family of addresses may be taken for the other
_OWN_DESCRIPTORS = "/proc/self/fd"
KNOWS_UIDS = _SO_PEERCRED is not None  # the system tells who is at the other end of a Unix socket


class Listener:
    """One listening socket.  `secure`: TLS is spoken on its connections.  `http`: HTTP is spoken instead of Gearman's protocol;
    JOBS or WEB says for what.

    `path` is the file of a Unix socket, which is removed at the end.  With `own`, only this server accepts there, so that
    closing it ends it for children of forks, too.

    Owner: the dispatcher thread.
    """

    def __init__(self, listening: socket.socket, secure: bool = False, path: str = "", http: str = "",
                 own: bool = False) -> None:
        listening.setblocking(False)
        self.socket = listening
        self.secure = secure
        self.http = http
        self.keepalive = KEEPALIVE
        self.patience = 0.0  # seconds, as in `streams.set_up_tcp`
        self._path = path
        self._file = os.lstat(path) if path else None  # type: Any
        self._own = own
        name = listening.getsockname()
        # (host, port), or the path of a Unix socket
        self.address = name if isinstance(name, (str, bytes)) else (_numeric_host(name), name[1])  # type: ServerAddress

    def __repr__(self) -> str:
        return "<Listener on %r%s%s>" % (self.address, ", TLS" if self.secure else "",
                                         ", HTTP for %s" % self.http if self.http else "")

    def accept(self) -> "Tuple[socket.socket, PeerFacts]":
        """The next connection, non-blocking and set up, and who is at its other end."""
        connection, address = self.socket.accept()
        try:
            connection.setblocking(False)
            if self.socket.family == _AF_UNIX:
                return connection, PeerFacts(uid=_uid_of_peer(connection))
            set_up_tcp(connection, self.keepalive, self.patience)
            return connection, PeerFacts(_numeric_host(address))
        except OSError as error:  # some systems refuse to set options on a connection that is gone already
            end_connection(connection)
            raise ConnectionAbortedError(error.errno, error.strerror) from None
        except BaseException:
            end_connection(connection)
            raise

    def close(self) -> None:
        """Stop listening."""
        if self._own:
            end_connection(self.socket)
        else:
            self.socket.close()
        if self._path:
            try:
                if os.path.samestat(os.lstat(self._path), self._file):  # and not another server's by now
                    os.unlink(self._path)
            except OSError:  # it is gone, or its folder belongs to the user that the program was before
                return

    def leave(self) -> None:
        """Close this process's socket: it belongs to the parent process."""
        self.socket.close()


def _numeric_host(address: "Any") -> str:
    """The host in an address of a TCP socket, with the zone of a link-local one, without which nobody can connect to it."""
    host = str(address[0])
    if len(address) == 4 and address[3] and "%" not in host:
        try:
            return "%s%%%s" % (host, socket.if_indextoname(address[3]))
        except OSError:  # that link has just gone
            return "%s%%%d" % (host, address[3])
    return host


def _uid_of_peer(connection: socket.socket) -> "Optional[int]":
    if _SO_PEERCRED is None:
        return None
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


def read_places(specs: "Sequence[Any]", port: int, secure: bool) -> "List[Place]":
    """Where to listen: each address with whether TLS and whether HTTP is spoken there, or a `Listener`.

    A spec is `host`, `host:port`, `[::1]:port`, a (host, port) pair, `unix:/path`, `/path`, or a `Listener` for a socket that
    is open already.  An empty host means every IPv4 and IPv6 address.  `secure` says whether TLS is spoken on TCP.  A string
    can override that with a prefix: `tls:` or `tcp:`; or, for HTTP with or without TLS, `https:` or `http:` for jobs, `webs:`
    or `web:` for people and monitors.  With these two, a port alone is a port of 127.0.0.1.  Raises ValueError and TypeError.
    """
    if port > 65535:
        raise ValueError("port is %r, more than 65535" % (port,))
    places = []  # type: List[Place]
    for spec in specs:
        if isinstance(spec, Listener):
            places.append(spec)
            continue
        named = isinstance(spec, str) and "://" not in spec
        scheme = next((one for one in SCHEMES if spec.startswith(one)), "") if named else ""
        tls, http = SCHEMES.get(scheme, (secure, ""))
        place = spec[len(scheme):] if named else spec
        address = split_address("127.0.0.1:" + place if http == WEB and place.isdigit() else place, port)
        if scheme and address[0].startswith("/"):
            raise ValueError("neither TCP nor TLS nor HTTP is spoken on a Unix socket: %r" % (spec,))
        places.append((address, tls and not address[0].startswith("/"), http))
    return places


def names_for_browsers(places: "Sequence[Place]") -> "FrozenSet[str]":
    """The names by which browsers may call the server, in lower case: the machine's, and those in the places themselves."""
    return frozenset([machine_name().lower(), "localhost"] + [
        place[0][0].lower() for place in places if not isinstance(place, Listener) and place[2] == WEB])


def open_listeners(places: "Sequence[Place]", backlog: int, socket_mode: "Optional[int]" = None) -> "List[Listener]":
    """Listen on every place that `read_places` found.

    `socket_mode` is for the files of Unix sockets, None for the system's default.  Raises OSError, naming the address, if the
    server cannot listen there.
    """
    listeners = [place for place in places if isinstance(place, Listener)]
    try:
        for place in places:
            if isinstance(place, Listener):
                continue
            (host, number), secure, http = place
            if host.startswith("/"):
                listeners.append(Listener(_listen_unix(host, backlog, socket_mode), path=host, own=True))
            else:
                listeners += [Listener(one, secure, http=http, own=True) for one in _listen_tcp(host, number, backlog)]
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _listen_tcp(host: str, port: int, backlog: int) -> "List[socket.socket]":
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name server could have such a host name
        reason = getattr(error, "strerror", None) or error
        raise OSError(getattr(error, "errno", None), "cannot listen on %s: %s" % (host, reason)) from None
    tries = 1 if port else _PORT_TRIES
    while True:
        tries -= 1
        opened, failure = _bind_all(found, host, port, backlog)
        if failure is None or opened and failure.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return opened  # all, except for a family of addresses that this machine does not have
        for one in opened:
            one.close()
        if failure.errno != errno.EADDRINUSE or not tries:
            raise failure


def _bind_all(found: "Sequence[Any]", host: str, port: int,
              backlog: int) -> "Tuple[List[socket.socket], Optional[OSError]]":
    """Listen on every address found, all with the same port; return the listeners, and the error that stopped it."""
    opened = []  # type: List[socket.socket]
    failure = None  # type: Optional[OSError]
    for family, kind, protocol, _, address in found:
        if family not in (socket.AF_INET, socket.AF_INET6) or address in [one.getsockname() for one in opened]:
            continue
        if opened and not port:
            address = (address[0], opened[0].getsockname()[1]) + tuple(address[2:])
        try:
            opened.append(_bind_tcp(family, kind, protocol, address, backlog))
        except OSError as error:
            where = "%s port %r" % (host or "any address", address[1])
            failure = OSError(error.errno, "cannot listen on %s: %s" % (where, error.strerror))
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                break
    return opened, failure


def _bind_tcp(family: int, kind: int, protocol: int, address: "Any", backlog: int) -> socket.socket:
    listening = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return listening


def _listen_unix(path: str, backlog: int, mode: "Optional[int]") -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listening.bind(path)
        if mode is not None:
            _set_mode(path, mode)  # before anybody can connect
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, "cannot listen on %s: %s" % (path, error.strerror)) from None
    return listening


def _set_mode(path: str, mode: int) -> None:
    """Set the permissions of a socket's file, but not of anything that another user has put in its place."""
    if not hasattr(os, "O_PATH") or not os.path.isdir(_OWN_DESCRIPTORS):
        os.chmod(path, mode)
        return
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(errno.EEXIST, "something else has taken its place")
        os.chmod("%s/%d" % (_OWN_DESCRIPTORS, descriptor), mode)
    finally:
        os.close(descriptor)


def _remove_stale(path: str) -> None:
    """Remove the file of a Unix socket that nobody answers on, as a killed server leaves it."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return  # bind will say that it is in the way
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            return  # somebody listens and is busy

"""The proxy: sockets and one selector between clients and their servers.  Bytes are passed on before they are looked at.

The proxy behaves as if it were not there: an end that reads slowly holds up the other end; if one end stops sending, the other
may go on; if one end breaks the connection, it is broken for the other end, too.
"""
import errno
import os
import socket
import struct
import time
from selectors import EVENT_READ, EVENT_WRITE

from ..errors import NoServer
from ..net.addresses import join_address, show_address
from ..net.connection import tls_context
from ..net.selector import PatientSelector
from ..net.streams import KEEPALIVE, TLSStream, acknowledge_at_once, set_up_tcp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Set
    from ..net.addresses import Address
    from .units import Chunk

_READ_SIZE = 1 << 18       # bytes taken from one end at once, and the most that wait for the other
_LARGE = 65536             # bytes: a read that brings so many is acknowledged at once, as a large packet may be under way
_ACCEPTED_AT_ONCE = 64
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 0.1               # seconds without accepting after there were no descriptors
_CROWDED_PAUSE = 0.01      # seconds until the next try to connect to a Unix socket whose queue was full
_ENDLESS_PATIENCE = 1e6    # seconds that an end may take to read what was sent
_GOES_ON, _IS_TO_END, _IS_TO_BREAK = range(3)
_RESET = struct.pack("ii", 1, 0)  # for SO_LINGER: closing throws away what was not sent, and resets the connection


class Upstream:
    """A server that the proxy connects to: its address, and the TLS context if it speaks TLS.

    Raises NoServer for a name that cannot be found.

    Owner: nobody, it does not change.
    """

    __slots__ = ("address", "label", "targets", "context", "hostname")

    def __init__(self, address: "Address", tls: "Any" = None) -> None:
        host, port = self.address = address
        self.label = join_address(address)
        self.context = None  # type: Any
        self.hostname = ""
        if host.startswith("/"):
            self.targets = [(socket.AF_UNIX, 0, host)]  # type: List[Any] # family, protocol, address
            return
        if tls:
            self.context, hostname = tls_context(tls)
            self.hostname = hostname or host
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise NoServer("cannot find %s: %s" % (host, reason)) from None
        self.targets = [(family, protocol, target) for family, _, protocol, _, target in found]

    def __repr__(self) -> str:
        return "<Upstream %s%s>" % (self.label, ", TLS" if self.context is not None else "")


class LinkEnd:
    """One end of a connection: its socket, what waits to be sent there, and the state of both directions.

    Owner: the thread that runs the proxy.
    """

    __slots__ = ("link", "socket", "waiting", "from_client", "ended", "told", "deaf", "broken", "watched", "wants", "other")

    def __init__(self, link: "ProxyLink", connected: "Any", from_client: bool) -> None:
        self.link = link
        self.socket = connected
        self.from_client = from_client
        self.waiting = b""      # type: Chunk # for this end, from the other
        self.ended = False      # it sends no more
        self.told = False       # it was told that the other end sends no more
        self.deaf = False       # it takes no more
        self.broken = False     # it has broken the connection
        self.watched = 0        # events that the selector waits for
        self.wants = 0          # events that TLS waits for before something can be received
        self.other = self       # the other end; itself until there is one

    def __repr__(self) -> str:
        who = "client" if self.from_client else "server"
        return "<LinkEnd of %s, %d bytes waiting%s>" % (who, len(self.waiting), ", ended" if self.ended else "")


class ProxyLink:
    """One connection through the proxy: the client's end, and the server's end once the proxy has connected.

    Owner: the thread that runs the proxy.
    """

    __slots__ = ("number", "upstream", "client", "server", "targets", "ready", "fate", "over")

    def __init__(self, number: int, upstream: Upstream, connected: "Any") -> None:
        self.number = number
        self.upstream = upstream
        self.client = LinkEnd(self, connected, True)
        self.server = None      # type: Optional[LinkEnd]
        self.targets = list(upstream.targets)  # the server's addresses that were not tried
        self.ready = False      # both ends are there
        self.fate = _GOES_ON    # what happens to it after what has come was told to the tracer
        self.over = False

    def __repr__(self) -> str:
        return "<ProxyLink %d to %s>" % (self.number, self.upstream.label)


class Proxy:
    """Accepts connections, connects each to its listener's server, and tells `tracer` what passes.

    `ways` are pairs of a listener, such as a `server.listeners.Listener`, and an `Upstream`.  `complain` is called with a text
    about what goes wrong.

    Owner: the thread that runs it; `stop` and `finish` may be called from any thread and from signal handlers.
    """

    def __init__(self, ways: "Sequence[Any]", tracer: "Any", complain: "Callable[[str], None]") -> None:
        self.links = {}  # type: Dict[ProxyLink, None]
        self._tracer = tracer
        self._complain = complain
        self._selector = PatientSelector()
        self._began = time.time() - time.monotonic()
        self._number = 0
        self._stopping = False
        self._last = None  # type: Optional[float] # when `run` returns at the latest
        self._accept_again = None  # type: Optional[float] # when to accept again
        self._crowded = []  # type: List[ProxyLink] # whose server's Unix socket had a full queue
        self._unreachable = set()  # type: Set[str] # servers, until one connection succeeds
        self._buffer = memoryview(bytearray(_READ_SIZE))
        self.ways = list(ways)
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._selector.register(self._woken, EVENT_READ, None)
        for listener, upstream in self.ways:
            self._selector.register(listener.socket, EVENT_READ, (listener, upstream))

    def __repr__(self) -> str:
        return "<Proxy of %d connections>" % len(self.links)

    @property
    def waker(self) -> int:
        """A descriptor for `signal.set_wakeup_fd`: a byte that is written there wakes the proxy."""
        return self._waker.fileno()

    def stop(self) -> None:
        """Have `run` return."""
        self._stopping = True
        self._wake()

    def finish(self, patience: float) -> None:
        """Have `run` return when no connection is left, in `patience` seconds at the latest."""
        self._last = time.monotonic() + patience
        self._wake()

    def _wake(self) -> None:
        try:
            self._waker.send(b"x")
        except OSError:  # it is awake already, or closed
            return

    def run(self, each_turn: "Callable[[], Optional[float]]" = lambda: None) -> None:
        """Pass on what comes until `stop` or `finish` ends it.

        `each_turn` is called after each turn; it returns in how many seconds it wants to be called again, or None.
        """
        soon = None  # type: Optional[float]
        while not self._stopping:
            events = self._selector.select(self._wait(soon))
            for key, mask in events:
                data = key.data
                if data is None:
                    self._drain_waker()
                elif not isinstance(data, LinkEnd):
                    self._accept(*data)
                elif not data.link.over:
                    self._serve(data, mask)
            if self._accept_again is not None and time.monotonic() >= self._accept_again:
                self._listen(True)
            crowded, self._crowded = self._crowded, []
            for link in crowded:
                self._connect(link, "")
            soon = each_turn()
            if self._last is not None and (time.monotonic() >= self._last or not self.links and not events):
                return

    def _wait(self, soon: "Optional[float]") -> "Optional[float]":
        """For how many seconds to wait for sockets, at most `soon`; None for no limit."""
        limits = [] if soon is None else [soon]
        if self._accept_again is not None:
            limits.append(_PAUSE)
        if self._crowded:
            limits.append(_CROWDED_PAUSE)
        if self._last is not None:
            limits.append(_PAUSE if self.links else 0.0)
        return min(limits) if limits else None

    def close(self) -> None:
        """Close all that is open."""
        for link in list(self.links):
            self._close(link)
        for listener, _ in self.ways:
            listener.close()
        self._selector.close()
        self._waker.close()
        self._woken.close()

    def _drain_waker(self) -> None:
        try:
            self._woken.recv(4096)
        except BlockingIOError:
            return

    # ----------------------------------------------------------------------------------------------------------- connecting

    def _accept(self, listener: "Any", upstream: Upstream) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connected, address = listener.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTORS:
                    raise
                self._complain("cannot accept a connection: %s" % error.strerror)
                self._listen(False)
                return
            self._number += 1
            link = ProxyLink(self._number, upstream, connected)
            self.links[link] = None
            address = address[:2] if isinstance(address, tuple) else ""
            self._tell("opened", link, self._now(), show_address(address) or "a Unix socket", upstream.label)
            try:
                connected.setblocking(False)
                if address:
                    set_up_tcp(connected, KEEPALIVE, _ENDLESS_PATIENCE)
            except OSError:  # it is gone already; the next read will show that
                pass
            self._connect(link, "")

    def _listen(self, listening: bool) -> None:
        """Accept connections again, or stop that for a while."""
        self._accept_again = None if listening else time.monotonic() + _PAUSE
        for listener, upstream in self.ways:
            if listening:
                self._selector.register(listener.socket, EVENT_READ, (listener, upstream))
            else:
                self._selector.unregister(listener.socket)

    def _connect(self, link: ProxyLink, reason: str) -> None:
        """Try the next address of the server; `reason` is why the one before failed."""
        while link.targets:
            family, protocol, target = link.targets.pop(0)
            try:
                connecting = socket.socket(family, socket.SOCK_STREAM, protocol)
            except OSError as error:  # no such family here, or too many open files
                reason = error.strerror or str(error)
                continue
            try:
                connecting.setblocking(False)
                if not isinstance(target, str):
                    set_up_tcp(connecting, KEEPALIVE, _ENDLESS_PATIENCE)
                connecting.connect(target)
            except BlockingIOError:
                if not isinstance(target, str):
                    self._watch_server(link, connecting)
                    return
                connecting.close()
                link.targets.insert(0, (family, protocol, target))
                self._crowded.append(link)
                return
            except OSError as error:
                reason = error.strerror or str(error)
            else:
                self._watch_server(link, connecting)
                return
            connecting.close()
        self._fail(link, reason)

    def _fail(self, link: ProxyLink, reason: str) -> None:
        """The server of a connection cannot be reached."""
        if link.upstream.label not in self._unreachable:
            self._unreachable.add(link.upstream.label)
            self._complain("cannot connect to %s: %s" % (link.upstream.label, reason))
        self._tell("failed", link, self._now(), reason)
        link.fate = _IS_TO_BREAK
        self._close(link)

    def _watch_server(self, link: ProxyLink, connecting: "Any") -> None:
        link.server = LinkEnd(link, connecting, False)
        self._watch(link.server, EVENT_WRITE)

    def _connected(self, link: ProxyLink, end: LinkEnd) -> None:
        """Go on with connecting to the server: see whether it has failed, do the next step of TLS's handshake, or begin."""
        try:
            if not isinstance(end.socket, TLSStream):
                code = end.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, os.strerror(code))
                if link.upstream.context is not None:
                    self._watch(end, 0)
                    end.socket = TLSStream(link.upstream.context.wrap_socket(
                        end.socket, server_hostname=link.upstream.hostname, do_handshake_on_connect=False))
            if isinstance(end.socket, TLSStream):
                end.socket.do_handshake()
        except BlockingIOError:
            self._watch(end, EVENT_WRITE if end.socket.receive_waits_to_send else EVENT_READ)
            return
        except (OSError, ValueError) as error:  # a ValueError is what Python 3.6 raises for the certificate of another host
            self._watch(end, 0)
            end.socket.close()
            link.server = None
            self._connect(link, getattr(error, "strerror", None) or str(error))
            return
        self._unreachable.discard(link.upstream.label)
        link.ready = True
        link.client.other, end.other = end, link.client
        self._rewatch(link.client)
        self._rewatch(end)

    # -------------------------------------------------------------------------------------------------------------- passing

    def _serve(self, end: LinkEnd, events: int) -> None:
        """Receive and send what the selector says is possible at an end."""
        link = end.link
        if not link.ready:
            self._connected(link, end)
            return
        if events & EVENT_WRITE and end.waiting:
            self._send(end)
        if (events & EVENT_READ or end.wants) and not end.ended and not end.other.waiting:
            self._receive(end)
        if link.fate != _GOES_ON:
            self._close(link)
        else:
            self._rewatch(end)
            self._rewatch(end.other)

    def _receive(self, end: LinkEnd) -> None:
        """Receive from an end, pass the bytes on, then tell the tracer."""
        other = end.other
        end.wants = 0
        try:
            size = end.socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            if getattr(end.socket, "receive_waits_to_send", False):
                end.wants = EVENT_WRITE
            return
        except OSError as error:
            if end.told and isinstance(end.socket, TLSStream) and not isinstance(error, ConnectionError):
                self._ends(end)  # TLS complains only that there was no farewell
                return
            end.ended = end.broken = True
            self._tell("ended", end.link, end.from_client, self._now(), True)
            end.link.fate = _IS_TO_BREAK
            return
        if not size:
            self._ends(end)
            return
        now = self._now()
        data = self._buffer[:size]
        if not other.deaf:
            other.waiting = data
            self._send(other)
            if other.waiting:
                other.waiting = memoryview(bytes(other.waiting))  # a copy: all connections use the same buffer
        if size >= _LARGE:
            acknowledge_at_once(end.socket)
        self._tell("took", end.link, end.from_client, now, data)

    def _send(self, end: LinkEnd) -> None:
        """Send an end what waits for it."""
        try:
            sent = end.socket.send(end.waiting)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            # It takes no more, but what it has sent can still be read.
            end.deaf = True
            end.broken = error.errno == errno.ECONNRESET
            end.waiting = b""
        else:
            end.waiting = end.waiting[sent:] if sent < len(end.waiting) else b""
        if end.deaf and end.ended:
            end.link.fate = _IS_TO_BREAK if end.broken else _IS_TO_END
        elif not end.waiting and end.other.ended:
            self._pass_end(end.other)

    def _ends(self, end: LinkEnd) -> None:
        """An end sends no more."""
        end.ended = True
        self._tell("ended", end.link, end.from_client, self._now(), end.broken)
        self._pass_end(end)

    def _pass_end(self, end: LinkEnd) -> None:
        """Tell the other end that this one sends no more, unless bytes still wait for the other end."""
        other = end.other
        if other.waiting:
            return
        if not other.told and not other.deaf:
            other.told = True
            try:
                if isinstance(other.socket, TLSStream):
                    other.socket.end_sending()
                else:
                    other.socket.shutdown(socket.SHUT_WR)
            except OSError:
                other.deaf = True
        if end.deaf or other.ended and not end.waiting:
            end.link.fate = _IS_TO_BREAK if end.broken else _IS_TO_END

    def _close(self, link: ProxyLink) -> None:
        """The connection is over."""
        if link.over:
            return
        link.over = True
        del self.links[link]
        for end in (link.client, link.server):
            if end is None:
                continue
            self._watch(end, 0)
            if link.fate == _IS_TO_BREAK:
                self._break(end)
            else:
                end.socket.close()
        self._tell("closed", link, self._now())

    @staticmethod
    def _break(end: LinkEnd) -> None:
        """Close a socket so that its peer sees a broken connection."""
        try:
            end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:  # it is broken already
            pass
        if isinstance(end.socket, TLSStream):
            end.socket.leave()
        else:
            end.socket.close()

    # ------------------------------------------------------------------------------------------------------------- watching

    def _rewatch(self, end: LinkEnd) -> None:
        """Have the selector wait for what is to be done at an end."""
        events = end.wants
        if not end.ended and not end.other.waiting:
            events |= EVENT_READ
        if end.waiting:
            events |= EVENT_READ if getattr(end.socket, "send_waits_to_receive", False) else EVENT_WRITE
        if events != end.watched:
            self._watch(end, events)

    def _watch(self, end: LinkEnd, events: int) -> None:
        if not end.watched and events:
            self._selector.register(end.socket, events, end)
        elif end.watched and events:
            self._selector.modify(end.socket, events, end)
        elif end.watched:
            self._selector.unregister(end.socket)
        end.watched = events

    # -------------------------------------------------------------------------------------------------------------- telling

    def _now(self) -> float:
        return self._began + time.monotonic()

    def _tell(self, what: str, link: ProxyLink, *arguments: "Any") -> None:
        """Tell the tracer.  An error of the tracer does not stop the bytes."""
        try:
            getattr(self._tracer, what)(link.number, *arguments)
        except Exception as error:
            self._complain("the trace of connection %d is not complete: %s: %s" % (link.number, type(error).__name__, error))

"""Sockets for the core: accept, read, flush, time, wake-up, stop.

One thread, the dispatcher, waits in a selector.  After each wake-up it reads what is there, lets the core decide, writes the
store's records to disk, then sends each peer all that the core has for it: disk before reply, and at most one send per peer.
"""
import errno
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque

from .access import Access, PeerFacts
from .addresses import DEFAULT_PORT
from .core import Core
from .jobs import FunctionPolicy
from .listeners import KNOWS_UIDS, Listener, open_listeners, read_places
from .peers import Limits, Peer
from .protocol import ERROR, MAX_PACKET_SIZE, PacketReader, pack_response
from .streams import KEEPALIVE, TLSStream
from .tls import Handshakes, ServerTLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple, Type, Union
    from types import TracebackType
    from .protocol import Data

_logger_server = logging.getLogger("gearman_std.server")

READ_SIZE = 65536       # bytes of one turn of a peer, but for large packets
SEND_PIECES = 64        # pieces handed to the system in one sendmsg
SWEEP_INTERVAL = 5.0    # seconds between looks at peers that make no progress
ACCEPT_PAUSE = 1.0      # seconds without accepting after file descriptors ran out
MAX_WAIT = 3600.0       # seconds of one wait; a selector takes no more than 24 days


class Channel:
    """One connection: its socket, its Peer, and what could not be sent at once.

    Owner: the dispatcher thread.
    """

    __slots__ = ("socket", "send", "peer", "reader", "backlog", "backlog_size", "reading", "ended", "mark", "mark_time")

    def __init__(self, connection: "Any", peer: Peer, reader: PacketReader) -> None:
        self.socket = connection
        self.send = connection.send
        self.peer = peer
        self.reader = reader
        self.backlog = deque()  # type: Deque[memoryview]
        self.backlog_size = 0   # bytes in backlog
        self.reading = True     # the selector watches for input
        self.ended = False      # the core has forgotten the peer; only the backlog is still to be sent
        self.mark = (0, 0)      # bytes of a half-read packet and of the backlog, as of the last sweep
        self.mark_time = 0.0    # since when the mark has not moved, monotonic seconds

    def __repr__(self) -> str:
        return "<Channel %r, %d bytes unsent%s>" % (self.peer, self.backlog_size, ", ended" if self.ended else "")


class SecureChannel(Channel):
    """A connection with TLS, which the selector calls, as TLS may have to send to receive, and the other way round.

    Owner: the dispatcher thread.
    """

    __slots__ = ("_serve",)

    def __init__(self, stream: "Any", peer: Peer, reader: PacketReader, serve: "Callable[[SecureChannel], None]") -> None:
        super().__init__(stream, peer, reader)
        self._serve = serve

    def __repr__(self) -> str:
        return "<Secure%s" % super().__repr__()[1:]

    def __call__(self, _: "Any") -> None:
        self._serve(self)


class Server:
    """A job server.

        with Server(port=0) as server:
            print(server.address)        # ('127.0.0.1', 40123)

    runs it in a thread of its own; `serve` runs it in the calling thread until `stop`.

    `listen` names the addresses (see `listeners.read_places`), by default every IPv4 and IPv6 address when the server is run
    with `serve`, and 127.0.0.1 in a ``with`` block.  `socket_mode` is for the files of Unix sockets (see os.chmod), `keepalive`
    for TCP (see `streams.set_up_tcp`).  With `tls` (see `tls.ServerTLS`), TLS is spoken on every TCP address that does not
    begin with ``tcp:``, and a peer has `handshake_timeout` seconds to agree on it.  `access` tells who may do what.
    `wakeup` is how many sleeping workers a new job wakes: None as few as
    needed, 0 all.  `policy` is for functions that have none of their own in `policies`.  `max_packet_size` and `max_unsent`
    (what may wait for one peer to read) are in bytes, `max_connections` 0 means no limit; a peer that leaves a packet half sent
    or its results unread for `stall_timeout` seconds is disconnected.
    Raises ValueError for settings that cannot be, and OSError for files of `tls` that cannot be used; `bind` and all that call
    it raise OSError if an address cannot be had.

    Owner: the dispatcher thread, the one in `serve`.
    """

    def __init__(self, port: int = DEFAULT_PORT, listen: "Sequence[Any]" = (), *, backlog: int = 1024,
                 handle_prefix: "Optional[Union[str, bytes]]" = None, exceptions: bool = False, wakeup: "Optional[int]" = None,
                 policy: "Optional[FunctionPolicy]" = None, policies: "Optional[Dict[Any, FunctionPolicy]]" = None,
                 limits: "Optional[Limits]" = None, max_packet_size: int = MAX_PACKET_SIZE, max_connections: int = 0,
                 max_unsent: int = MAX_PACKET_SIZE, stall_timeout: float = 60.0, tls: "Any" = None,
                 handshake_timeout: float = 10.0, access: "Optional[Access]" = None, socket_mode: "Optional[int]" = None,
                 keepalive: "Tuple[int, int, int]" = KEEPALIVE, version: str = "", verbosity: str = "ERROR",
                 clock: "Callable[[], float]" = time.monotonic, wall_clock: "Callable[[], float]" = time.time) -> None:
        if handle_prefix is None:
            handle_prefix = "H:" + socket.gethostname()[:40]
        prefix = handle_prefix.encode() if isinstance(handle_prefix, str) else bytes(handle_prefix)
        if not prefix or len(prefix) > 51 or any(byte <= 32 for byte in prefix):
            raise ValueError("a handle prefix has 1 to 51 bytes and no blanks: %r" % handle_prefix)
        self._tls = tls if tls is None or isinstance(tls, ServerTLS) else ServerTLS(tls)
        self._port = port
        self._places = read_places(listen, port, self._tls is not None)
        self._access = access or Access()
        self._check_security()
        self._socket_mode = socket_mode
        self._keepalive = keepalive
        self._backlog_setting = backlog
        self._max_packet_size = max_packet_size
        self._max_connections = max_connections
        self._max_unsent = max_unsent
        self._stall_timeout = stall_timeout
        self._clock = clock
        self._wall_clock = wall_clock
        self.core = Core(prefix, exceptions=exceptions, wakeup=wakeup, policy=policy,
                         policies={name.encode() if isinstance(name, str) else name: policy
                                   for name, policy in (policies or {}).items()},
                         limits=limits, version=(version or "gearman_std").encode(), pid=os.getpid(),
                         verbosity=verbosity.encode())
        self._listeners = []          # type: List[Listener]
        self._selector = selectors.DefaultSelector()
        self._handshakes = Handshakes(self._selector, handshake_timeout, self._welcome_secure, self._no_tls)
        self._channels = {}           # type: Dict[Channel, None]
        self._unread = {}             # type: Dict[Channel, None] # what TLS holds of them, the selector does not see
        self._calls = deque()         # type: Deque[Tuple[Callable[..., Any], Tuple[Any, ...]]]
        self._accept_pause_until = 0.0
        self._sweep_at = 0.0
        self._finishing = False
        self._thread = None           # type: Optional[threading.Thread]
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ, self._on_wake)

    def __repr__(self) -> str:
        return "<Server on %s: %r>" % (", ".join(map(str, self.addresses)) or "no address", self.core)

    # ------------------------------------------------------------------------------------------- called by any thread

    @property
    def addresses(self) -> "List[Any]":
        """Where it listens: (host, port) pairs, and paths of Unix sockets."""
        return [listener.address for listener in self._listeners]

    @property
    def address(self) -> "Any":
        """The first of its addresses."""
        return self.addresses[0]

    def stop(self, graceful: bool = False) -> None:
        """Ask it to stop, at once or when no job is left; may be called from a signal handler, and again to hurry."""
        self.call_soon(self.core.stop, graceful)

    def call_soon(self, function: "Callable[..., Any]", *arguments: "Any") -> None:
        """Have the dispatcher thread call a function."""
        self._calls.append((function, arguments))
        try:
            self._wake_sender.send(b"\0")
        except (BlockingIOError, OSError):
            # A full pipe means that the dispatcher is about to wake anyway, a closed one that it has ended.
            return

    def reload(self) -> None:
        """Have the files of TLS read again; may be called from a signal handler."""
        self.call_soon(self._reload)

    def start(self) -> None:
        """Bind, and serve in a new thread."""
        if not self._places:
            self._places = read_places(["127.0.0.1"], self._port, self._tls is not None)
        self.bind()
        self._thread = threading.Thread(target=self.serve, name="gearman_std-server", daemon=True)
        self._thread.start()

    def join(self, timeout: "Optional[float]" = None) -> None:
        """Wait until the thread that `start` made has ended, at most `timeout` seconds."""
        if self._thread is not None:
            self._thread.join(timeout)

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, kind: "Optional[Type[BaseException]]", error: "Optional[BaseException]",
                 traceback: "Optional[TracebackType]") -> None:
        self.stop()
        self.join()

    # ------------------------------------------------------------------------------------- called by the dispatcher thread

    def bind(self) -> None:
        """Open the store and the addresses; `serve` does so if nobody did."""
        if self._listeners:
            return
        try:
            places = self._places or read_places([""], self._port, self._tls is not None)
            self._listeners = open_listeners(places, self._backlog_setting, self._socket_mode)
        except BaseException:
            self._close()
            raise
        for listener in self._listeners:
            listener.keepalive = self._keepalive
            self._selector.register(listener.socket, selectors.EVENT_READ, self._on_accept)

    def serve(self) -> None:
        """Serve until told to stop."""
        self.bind()
        _logger_server.info("listening on %s", ", ".join(map(str, self.addresses)))
        try:
            self._loop()
        finally:
            self._close()

    def _loop(self) -> None:
        core, select, clock, wall_clock = self.core, self._selector.select, self._clock, self._wall_clock
        handshakes = self._handshakes
        core.tick(clock(), wall_clock())
        while True:
            wait = core.settle()
            while core.unsent:
                self._flush()
                wait = core.settle()
            if core.stopping and self._may_end():
                return
            ready = select(self._wait(wait))
            core.tick(clock(), wall_clock())
            for key, events in ready:
                target = key.data
                if target.__class__ is not Channel:
                    target(key.fileobj)
                elif events & selectors.EVENT_READ:
                    self._read(target)
                else:
                    self._write(target)
            if self._unread:
                self._read_on()
            if handshakes.open:
                handshakes.give_up(core.now)
            if core.now >= self._sweep_at:
                self._sweep()

    def _read(self, channel: Channel) -> None:
        """One turn of a peer: read once, and obey."""
        reader = channel.reader
        room = reader.room()
        try:
            if room is None:
                data = channel.socket.recv(READ_SIZE)
                size = len(data)
            else:
                size = channel.socket.recv_into(room)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            _logger_server.debug("lost %r: %s", channel.peer, error)
            self._lose(channel)
            return
        if not size:
            self._end(channel)
            return
        peer = channel.peer
        try:
            self.core.receive(peer, reader.feed(data) if room is None else reader.filled(size))
            if reader.error is not None and not peer.closing:
                _logger_server.info("%r: %s", peer, reader.error)
                self._count("streams_refused")
                self.core.refuse(peer, reader.error)
            if peer.closing and not peer.outgoing and not channel.backlog:
                self._lose(channel)
        except Exception:
            _logger_server.exception("a fault of ours, dropping %r", peer)
            self._lose(channel)

    def _flush(self) -> None:
        """Send each peer what the core has for it."""
        core = self.core
        unsent = core.unsent[:]
        core.unsent.clear()
        for peer in unsent:
            outgoing = peer.outgoing
            channel = peer.channel
            if not outgoing:
                continue
            if channel.backlog or peer.bulky:
                self._send_pieces(channel)
                continue
            # One join and one send for all packets of a wake-up (benchmark: every round trip).
            data = outgoing[0] if len(outgoing) == 1 else b"".join(outgoing)
            outgoing.clear()
            try:
                sent = channel.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                _logger_server.debug("lost %r: %s", peer, error)
                self._lose(channel)
                continue
            if sent != len(data):
                channel.backlog.append(memoryview(data)[sent:])
                channel.backlog_size += len(data) - sent
                self._watch(channel)
            elif peer.closing:
                self._lose(channel)

    def _send_pieces(self, channel: Channel) -> None:
        """Send what may be large without joining it."""
        peer = channel.peer
        for piece in peer.outgoing:
            channel.backlog.append(memoryview(piece))
            channel.backlog_size += len(piece)
        peer.outgoing.clear()
        peer.bulky = False
        if channel.backlog_size > self._max_unsent:
            _logger_server.warning("%r does not read, dropping it with %d bytes unsent", peer, channel.backlog_size)
            self._count("peers_dropped_unread")
            self._lose(channel)
        else:
            self._write(channel)

    def _write(self, channel: Channel) -> None:
        """Send as much of the backlog as the socket takes."""
        backlog = channel.backlog
        try:
            while backlog:
                if len(backlog) == 1:
                    sent = channel.send(backlog[0])
                else:
                    sent = channel.socket.sendmsg([backlog[index] for index in range(min(len(backlog), SEND_PIECES))])
                channel.backlog_size -= sent
                while sent:
                    if sent < len(backlog[0]):
                        backlog[0] = backlog[0][sent:]
                        break
                    sent -= len(backlog.popleft())
        except (BlockingIOError, InterruptedError):
            self._watch(channel)
        except OSError as error:
            _logger_server.debug("lost %r: %s", channel.peer, error)
            self._lose(channel)
        else:
            if channel.peer.closing:
                self._lose(channel)
            else:
                self._watch(channel)

    def _watch(self, channel: Channel) -> None:
        """Have the selector look for what is possible: no reading from a peer that leaves much unread itself."""
        reading = self._may_read(channel)
        writing = bool(channel.backlog)
        if channel.__class__ is SecureChannel:
            stream = channel.socket
            if reading and stream.pending():
                self._unread[channel] = None
            reading, writing = (reading and not stream.receive_waits_to_send or writing and stream.send_waits_to_receive,
                                writing and not stream.send_waits_to_receive or reading and stream.receive_waits_to_send)
        events = (selectors.EVENT_READ if reading else 0) | (selectors.EVENT_WRITE if writing else 0)
        self._selector.modify(channel.socket, events, channel)

    def _may_read(self, channel: Channel) -> bool:
        return not channel.ended and channel.backlog_size <= self._max_unsent // 16

    def _end(self, channel: Channel) -> None:
        """The peer sends nothing more, or nothing more is wanted of it: forget it, and close when all is sent."""
        channel.ended = True
        peer = channel.peer
        peer.closing = True
        self.core.disconnect(peer)
        if channel.backlog:
            self._watch(channel)
        elif not peer.outgoing:
            self._lose(channel)

    def _lose(self, channel: Channel) -> None:
        """Close a connection."""
        if channel not in self._channels:
            return
        del self._channels[channel]
        self._selector.unregister(channel.socket)
        channel.socket.close()
        channel.backlog.clear()
        if not channel.ended:
            channel.ended = True
            self.core.disconnect(channel.peer)
        if channel.peer.outgoing:
            channel.peer.outgoing.clear()
            self.core.unsent[:] = [peer for peer in self.core.unsent if peer is not channel.peer]
        if self._accept_pause_until:
            self._resume_accepting()

    def _on_accept(self, listening: "Any") -> None:
        listener = next(one for one in self._listeners if one.socket is listening)
        for _ in range(64):
            try:
                connection, facts = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                _logger_server.warning("cannot accept: %s; pausing", error)
                self._count("accept_pauses")
                self._pause_accepting()
                return
            if self._max_connections and len(self._channels) + len(self._handshakes.open) >= self._max_connections:
                self._count("connections_refused")
                self._turn_away(connection, b"TOO_MANY_CONNECTIONS", b"The server has no room for another connection")
            elif self._tls is not None and listener.secure:
                self._handshakes.begin(self._tls, connection, facts, self.core.now)
            else:
                self._welcome(connection, facts)

    def _welcome(self, connection: "Any", facts: PeerFacts) -> "Optional[Channel]":
        """Make a channel of a connection, whose socket the selector does not watch yet, if there is anything that it may do."""
        rights = self._access.rights(facts)
        if not rights:
            _logger_server.warning("turning away %r, which may do nothing", facts)
            self._count("connections_forbidden")
            self._turn_away(connection, b"FORBIDDEN", b"Nothing is allowed to this connection")
            return None
        peer = Peer(connection.fileno(), facts.address.encode() or b"unix")
        reader = PacketReader(max_size=self._max_packet_size)
        channel = (SecureChannel(connection, peer, reader, self._serve_secure) if isinstance(connection, TLSStream)
                   else Channel(connection, peer, reader))
        peer.channel = channel
        self._channels[channel] = None
        self._selector.register(connection, selectors.EVENT_READ, channel)
        self.core.connect(peer, rights)
        return channel

    def _turn_away(self, connection: "Any", code: bytes, text: bytes) -> None:
        try:
            connection.send(pack_response(ERROR, code, text))
        except OSError as error:
            _logger_server.debug("lost a connection that was turned away: %s", error)
        connection.close()

    def _welcome_secure(self, stream: TLSStream, facts: PeerFacts) -> None:
        channel = self._welcome(stream, facts)
        if channel is not None:
            self._serve_secure(channel)  # it may have been quick

    def _no_tls(self, facts: PeerFacts, reason: str) -> None:
        _logger_server.warning("no TLS with %s: %s", facts.address, reason)
        self._count("tls_handshakes_failed")
        if self._accept_pause_until:
            self._resume_accepting()

    def _serve_secure(self, channel: Channel) -> None:
        """One turn of a peer with TLS: send and receive, whatever the socket is ready for."""
        if channel.backlog:
            self._write(channel)
        if self._may_read(channel) and channel in self._channels:
            self._read(channel)
        if channel in self._channels and (channel.backlog or not channel.ended):
            self._watch(channel)

    def _read_on(self) -> None:
        """Another turn for those whose data waits where the selector does not see it."""
        unread, self._unread = self._unread, {}
        for channel in unread:
            if channel in self._channels:
                self._serve_secure(channel)

    def _reload(self) -> None:
        if self._tls is None:
            return
        try:
            self._tls.reload()
        except OSError as error:
            _logger_server.error("%s; going on with what was read before", error.strerror)
        else:
            _logger_server.info("the files of TLS were read again")

    def _check_security(self) -> None:
        """Raises ValueError if an address is to speak TLS without settings, or an access list names what can never be known."""
        if self._tls is None and any(place.secure if isinstance(place, Listener) else place[1] for place in self._places):
            raise ValueError("to speak TLS, a certificate is needed")
        if self._access.certificate_names and (self._tls is None or not self._tls.checks_peers):
            raise ValueError("to allow something by certificate, TLS with a certificate authority is needed")
        if self._access.uids and not KNOWS_UIDS:
            raise ValueError("this system does not tell which user is at the other end of a Unix socket")

    def _pause_accepting(self) -> None:
        if not self._accept_pause_until:
            for listener in self._listeners:
                self._selector.unregister(listener.socket)
        self._accept_pause_until = self.core.now + ACCEPT_PAUSE

    def _resume_accepting(self) -> None:
        self._accept_pause_until = 0.0
        for listener in self._listeners:
            self._selector.register(listener.socket, selectors.EVENT_READ, self._on_accept)

    def _on_wake(self, receiver: socket.socket) -> None:
        try:
            while receiver.recv(4096):
                continue
        except (BlockingIOError, InterruptedError):
            while self._calls:
                function, arguments = self._calls.popleft()
                function(*arguments)

    def _wait(self, wait: "Optional[float]") -> "Optional[float]":
        """How long the selector may wait: the core's wish, and our own."""
        now = self.core.now
        waits = [] if wait is None else [min(wait, MAX_WAIT)]
        if self._unread:
            return 0.0
        if self._channels:
            waits.append(self._sweep_at - now)
        if self._handshakes.open:
            waits.append(self._handshakes.next_deadline - now)
        if self._accept_pause_until:
            waits.append(self._accept_pause_until - now)
        return max(0.0, min(waits)) if waits else None

    def _sweep(self) -> None:
        """Look for peers that make no progress, and for what was paused."""
        now = self.core.now
        if self._accept_pause_until and now >= self._accept_pause_until:
            self._resume_accepting()
        self._sweep_at = now + SWEEP_INTERVAL
        for channel in list(self._channels):
            mark = (channel.reader.held, channel.backlog_size)
            if mark == (0, 0) or mark != channel.mark:
                channel.mark = mark
                channel.mark_time = now
            elif now - channel.mark_time >= self._stall_timeout:
                _logger_server.warning("%r makes no progress, dropping it", channel)
                self._count("peers_dropped_stalled")
                self._lose(channel)

    def _count(self, name: str) -> None:
        self.core.counters[name] = self.core.counters.get(name, 0) + 1

    def _may_end(self) -> bool:
        """Whether a stop that was asked for can be now; a graceful one first closes the listeners."""
        if self.core.stopping == "now":
            return True
        if not self._finishing:
            self._finishing = True
            _logger_server.info("stopping when no job is left")
            self._close_listeners()
        return self.core.idle

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            if not self._accept_pause_until:
                self._selector.unregister(listener.socket)
            listener.close()
        self._listeners = []
        self._accept_pause_until = 0.0

    def _close(self) -> None:
        self._close_listeners()
        for channel in list(self._channels):
            channel.socket.close()
        self._handshakes.close()
        self._channels.clear()
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()
        _logger_server.info("stopped")

"""Sockets for the core: accept, read, flush, time, wake-up, stop.

One thread, the dispatcher, waits in a selector.  After each wake-up it reads what is there, lets the core decide, writes the
store's records to disk, then sends each peer all that the core has for it: disk before reply, and at most one send per peer.
What is for clients may gather while others have something to say, GATHER_TIME seconds at most, and leaves as soon as nobody
has; what is for workers, who are to be kept busy, never waits (benchmark: round trip, 8 clients).

No peer may harm the others, so everything that one can make the server do is bounded:

- Read at once: READ_SIZE, but for a large packet, which is received where it will stay.
- Obeyed at once: a few packets.  More of them, lines of text, and what takes long wait for turns; the peers with packets
  waiting take turns, TURN_TIME seconds for all of them in each round of the loop, and are not read from meanwhile.  A listing
  is made as its peer reads it.
- Unsent: who has much unread is neither read from nor obeyed until it has read; who has `max_unsent` unread when more comes is
  disconnected.  Those whose packets it did not read are not held up: a slow client must not stop a worker that others need.
- Time: who has left a packet half sent, or its output unread, and does not go on for `stall_timeout` seconds is disconnected.
"""
import logging
import os
import selectors
import socket
import threading
import time
from collections import OrderedDict, deque

from ..core.core import Core
from ..core.jobs import FunctionPolicy
from ..core.limits import Limits
from ..core.peers import Peer
from ..net.addresses import DEFAULT_PORT, show_address
from ..net.forks import leave_in_children
from ..net.signals import WokenBySignals
from ..net.streams import KEEPALIVE, TLSStream, acknowledge_at_once, end_connection
from ..net.threads import start_thread
from ..store.sqlite import JobStore
from ..store.storekeeper import StoreKeeper
from ..timers import growing_pause
from ..version import VERSION
from ..wire.http import pack_refusal
from ..wire.http_jobs import JobSession
from ..wire.protocol import ERROR, MAX_LINE_SIZE, MAX_PACKET_SIZE, PacketReader, encode_function, pack_response
from .access import Access, PeerFacts
from .channel import Channel, SecureChannel
from .gate import NEVER, Gate, stop_watching
from .handles import take_handle_numbers
from .listeners import KNOWS_UIDS, Listener, open_listeners, read_places
from .settings import check_settings, pack_prefix
from .stalls import PROGRESS, Stalls
from .tls import Handshakes, ServerTLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple, Type, Union
    from types import TracebackType

_logger_server = logging.getLogger("gearman_std.server")

READ_SIZE = 65536       # bytes read from a peer at once, but for large packets
GENEROUS = 64           # peers with half a packet, up to which each gets room for 1 MiB at once
JOIN_PIECES = 64        # more small packets than that for one peer are looked at more closely before they are joined
TURN_PACKETS = 64       # packets obeyed at once; who sent more takes turns
TURN_TIME = 0.002       # seconds for the turns of all peers in one round of the loop
MAX_WAIT = 60.0         # seconds the selector may wait for something due, as the wall clock may be set meanwhile
ANSWER_AHEAD = 65536    # bytes of a long answer that may be unsent before more of it is made
FLUSH_PEERS = 256       # peers that are sent something before others are heard again
GATHER_TIME = 0.001     # seconds for which output for clients may gather
LOOKS = 10              # how often the selector is asked without waiting before it waits, after a round that had work
MAX_STUMBLES = 20       # faults of ours in a row, that are no single peer's, after which it ends
STUMBLE_PAUSE, LONGEST_STUMBLE_PAUSE = 0.01, 1.0  # seconds before it goes on after one
_let_others_run = getattr(os, "sched_yield", lambda: None)  # type: Callable[[], None]

# What the server counts, for the text command `show totals`.
_COUNTERS = ("connections_accepted", "connections_refused", "connections_forbidden", "tls_handshakes_failed", "accept_pauses",
             "packets_too_large", "lines_too_long", "streams_refused", "peers_dropped_unread", "peers_dropped_stalled",
             "faults")
_STAGE = ("clock", "wall_clock", "make_selector")  # what `Server` takes by name from who plays with time


class Server:
    """A job server.

        with Server(port=0) as server:
            print(server.address)        # ('127.0.0.1', 40123)

    runs it in a thread of its own; `serve` runs it in the calling thread until `stop`.

    A server serves once.  `listen` names the addresses (see `listeners.read_places`), by default every IPv4 and IPv6 address
    when the server is run with `serve`, and 127.0.0.1 in a ``with`` block; HTTP is spoken on those that begin with ``http:``
    or ``https:`` (see the module wire.http_jobs for what it can do).  `socket_mode` is for the files of Unix sockets (see
    os.chmod), `keepalive` for TCP (see `streams.set_up_tcp`).  With `tls` (see `tls.ServerTLS`), TLS is spoken on every TCP
    address that does not begin with ``tcp:``, and a peer has `handshake_timeout` seconds to agree on it.  `access` tells who
    may do what.  `wakeup` is how many sleeping workers a new job wakes: None as few as needed, 0 all.  `policy` is for
    functions that have none of their own in `policies`.

    Limits, of which 0 means none: `max_packet_size` and `max_line_size` in bytes; `max_unsent`, the bytes that may wait for one
    peer to read them when more come for it (one packet more is let pass); `max_connections`; `stall_timeout`, the seconds in
    which a peer that has left a packet half sent, or its output unread, must end that or go on by 64 KiB.  `limits` are those
    of jobs and functions.  `store` is a JobStore, or the path of its file, that keeps the background jobs.

    Raises ValueError or TypeError for settings that cannot be, and OSError for files of `tls` that cannot be used; `bind` and
    all that call it raise OSError if an address cannot be had, `open_store` and all that call it StoreError if the store cannot
    be used.

    Owner: the dispatcher thread, the one in `serve`.
    """

    # Time and what waits; tests have their own, see _STAGE.
    _clock = staticmethod(time.monotonic)                     # type: Callable[[], float]
    _wall_clock = staticmethod(time.time)                     # type: Callable[[], float]
    _make_selector = staticmethod(selectors.DefaultSelector)  # type: Callable[[], Any]

    def __init__(self, port: int = DEFAULT_PORT, listen: "Sequence[Any]" = (), *, backlog: int = 1024,
                 handle_prefix: "Optional[Union[str, bytes]]" = None, exceptions: bool = False, wakeup: "Optional[int]" = None,
                 policy: "Optional[FunctionPolicy]" = None, policies: "Optional[Dict[Any, FunctionPolicy]]" = None,
                 limits: "Optional[Limits]" = None, max_packet_size: int = MAX_PACKET_SIZE,
                 max_line_size: int = MAX_LINE_SIZE, max_connections: int = 0, max_unsent: int = MAX_PACKET_SIZE,
                 stall_timeout: float = 60.0, tls: "Any" = None, handshake_timeout: float = 10.0,
                 access: "Optional[Access]" = None, socket_mode: "Optional[int]" = None,
                 keepalive: "Tuple[int, int, int]" = KEEPALIVE,
                 store: "Union[None, str, os.PathLike[str], JobStore]" = None, version: str = "",
                 verbosity: str = "ERROR", **stage: "Any") -> None:
        for name, part in stage.items():
            if name not in _STAGE:
                raise TypeError("Server has no setting %r" % name)
            setattr(self, "_" + name, part)
        check_settings(locals())
        self._tls = tls if tls is None or isinstance(tls, ServerTLS) else ServerTLS(tls)
        self._port = port
        self._places = read_places(listen, port, self._tls is not None)
        self._access = access or Access()
        self._check_security()
        self._handshake_timeout = handshake_timeout
        self._socket_mode = socket_mode
        self._keepalive = keepalive
        self._backlog_setting = backlog
        self._max_packet_size = max_packet_size or 0xffffffff
        self._max_line_size = max_line_size or 0xffffffff
        self._max_connections = max_connections or NEVER
        self._max_unsent = (max_unsent or NEVER) + self._max_packet_size
        self._clogged_at = min(max_unsent or MAX_PACKET_SIZE, MAX_PACKET_SIZE) // 16  # bytes unsent
        self._stalls = Stalls(stall_timeout or NEVER)
        self.core = Core(pack_prefix(handle_prefix), exceptions=exceptions, wakeup=wakeup, durable=store is not None,
                         policy=policy, policies={encode_function(name): policy for name, policy in (policies or {}).items()},
                         limits=limits, version=(version or VERSION).encode(), pid=os.getpid(),
                         verbosity=verbosity.encode(), numbers=take_handle_numbers)
        self._keeper = None           # type: Optional[StoreKeeper]
        if store is not None:
            self._keeper = StoreKeeper(self.core, store if isinstance(store, JobStore) else JobStore(store))
        self.core.counters.update(dict.fromkeys(_COUNTERS, 0))
        self.addresses = []           # type: List[Any] # where it listens, or did: (host, port), or the path of a Unix socket
        self._channels = {}           # type: Dict[Channel, None]
        self._unread = {}             # type: Dict[Channel, None] # what TLS holds of them, the selector does not see
        self._looks = LOOKS
        self._turns = OrderedDict()   # type: OrderedDict[Channel, None] # who has packets waiting that can be obeyed
        self._unfinished = self._stalls.unfinished  # who has something half sent or unread
        self._stumbles = 0            # faults of ours in a row, that were no single peer's
        self._gathering = []          # type: List[Peer] # those whose output waits for more of it
        self._gather_until = 0.0
        self._calls = deque()         # type: Deque[Tuple[Callable[..., Any], Tuple[Any, ...]]]
        self._finishing = False
        self._served = False
        self._process = 0             # the one that bound it
        self._thread = None           # type: Optional[threading.Thread]
        self._selector = None         # type: Any
        self._handshakes = None       # type: Any
        self._gate = None             # type: Any
        self._wake_receiver = None    # type: Any
        self._wake_sender = None      # type: Any

    def __repr__(self) -> str:
        return "<Server on %s: %r>" % (", ".join(map(show_address, self.addresses)) or "no address", self.core)

    # ------------------------------------------------------------------------------------------- called by any thread

    @property
    def address(self) -> "Any":
        """The first of its addresses; RuntimeError if it has none yet."""
        if not self.addresses:
            raise RuntimeError("the server has no address before it is bound")
        return self.addresses[0]

    @property
    def running(self) -> bool:
        """Whether it serves."""
        return self._served and self._selector is not None

    @property
    def starting(self) -> str:
        """What takes long while the store is opened, for people; nothing without a store."""
        return self._keeper.reading if self._keeper is not None else ""

    @property
    def stored(self) -> bool:
        """Whether all was written that the store was to hold at the end, as far as it has come; True without a store."""
        return self._keeper is None or self._keeper.complete

    def stop(self, graceful: bool = False) -> None:
        """Ask it to stop: at once, or when no job is left and all is sent; a graceful stop can be hurried by another one.

        May be called from a signal handler.  A server that was not started yet will stop as soon as it serves.
        """
        self.call_soon(self.core.stop, graceful)

    def call_soon(self, function: "Callable[..., Any]", *arguments: "Any") -> None:
        """Have the dispatcher thread call a function, when it serves; an exception of it is logged."""
        self._calls.append((function, arguments))
        if self._wake_sender is not None:
            try:
                self._wake_sender.send(b"\0")
            except OSError:
                # A full pipe means that the dispatcher is about to wake anyway, a closed one that it has ended.
                return

    def reload(self) -> None:
        """Have the files of TLS read again; may be called from a signal handler."""
        self.call_soon(self._reload)

    def start(self) -> None:
        """Bind, and serve in a new thread."""
        if self._thread is not None:
            raise RuntimeError("the server was started before")
        if not self._places:
            self._places = read_places(["127.0.0.1"], self._port, self._tls is not None)
        self.bind()
        self.open_store()
        try:
            self._thread = start_thread(self.serve, "gearman_std-server")
        except OSError:
            self.close()
            raise

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
        """Open the addresses; `serve` does so if nobody did."""
        if self._served:
            raise RuntimeError("a server serves once; make another")
        if self._selector is not None:
            return
        self._process = os.getpid()
        leave_in_children(self)
        try:
            self._selector = self._make_selector()
            self._wake_receiver, self._wake_sender = socket.socketpair()
            self._wake_receiver.setblocking(False)
            self._wake_sender.setblocking(False)
            self._selector.register(self._wake_receiver, selectors.EVENT_READ, self._on_wake)
            self._handshakes = Handshakes(self._selector, self._handshake_timeout, self._welcome_secure, self._no_tls)
            places = self._places or read_places([""], self._port, self._tls is not None)
            listeners = open_listeners(places, self._backlog_setting, self._socket_mode)
            for listener in listeners:
                listener.keepalive = self._keepalive
                listener.patience = self._stalls.timeout  # else the system would end sooner who is slow to read
            self._gate = Gate(self._selector, listeners, self._on_connection, self._on_pause, self._now)
        except BaseException:
            self.close()
            raise
        self.addresses = [listener.address for listener in listeners]
        if self._calls:  # who called before there was anything to wake
            self._wake_sender.send(b"\0")

    def open_store(self) -> None:
        """Open the store, if there is one, and take in its jobs, before anybody is heard; `serve` does so if nobody did."""
        if self._keeper is not None:
            self.core.tick(self._clock(), self._wall_clock())
            try:
                self._keeper.open()
            except BaseException:
                self.close()
                raise

    def serve(self) -> None:
        """Serve until told to stop."""
        self.bind()
        self.open_store()
        self._served = True
        _logger_server.info("listening on %s", ", ".join(map(show_address, self.addresses)))
        try:
            with WokenBySignals(self._wake_sender.fileno()):
                self._loop()
        except Exception:
            _logger_server.exception("a fault of ours, the server ends")
            raise
        finally:
            self.close()
            _logger_server.info("stopped")

    def close(self) -> None:
        """Close everything at once, as `serve` does at its end; for those who called `bind` and then cannot serve.

        In a child of a fork that only closes what this process has of it, and the server goes on in the other one.
        """
        if self._process not in (0, os.getpid()):
            self.leave()
            return
        if self._keeper is not None:
            self._keeper.close()
        for channel in self._channels:
            channel.close()
        for thing in (self._gate, self._handshakes):
            if thing is not None:
                thing.close()
        self._let_go()

    def leave(self) -> None:
        """In a child of a fork: close this process's sockets without a word; the server goes on in the other process.

        From Python 3.7 on that has been done before anything else runs in the child.
        """
        for thing in list(self._channels) + [self._gate, self._handshakes]:
            if thing is not None:
                thing.leave()
        self._calls.clear()
        self._let_go()

    def _let_go(self) -> None:
        self._channels.clear()
        self._turns.clear()
        self._unfinished.clear()
        for thing in (self._selector, self._wake_receiver, self._wake_sender):
            if thing is not None:
                thing.close()
        self._selector = self._gate = self._handshakes = None

    def _loop(self) -> None:
        """Serve, whatever goes wrong, as long as something goes right in between."""
        while True:
            try:
                self._go_round()
                return
            except Exception:
                self._stumbles += 1
                if self._stumbles > MAX_STUMBLES:
                    raise
                self._note_fault("a fault of ours, going on")
                time.sleep(growing_pause(STUMBLE_PAUSE, LONGEST_STUMBLE_PAUSE, self._stumbles - 1))

    def _go_round(self) -> None:
        """Serve until told to stop.  What happens with one connection is caught here, and costs that one alone."""
        core, select, clock, wall_clock = self.core, self._selector.select, self._clock, self._wall_clock
        handshakes, readable, ready = self._handshakes, selectors.EVENT_READ, []  # type: Tuple[Any, int, List[Any]]
        gate, keeper, gathering = self._gate, self._keeper, self._gathering
        looks = 0
        core.tick(clock(), wall_clock())
        while self._selector is not None:  # as it is in a child that one of its functions, or a signal, has made of this thread
            gather = bool(ready and looks and not core.stopping)
            if gathering and (not gather or core.now >= self._gather_until):
                gather = False
                self._release()
            core.settle()
            while True:
                if keeper is not None and keeper.due():
                    keeper.save()
                elif core.unsent:
                    self._flush(gather)
                    if len(core.unsent) >= FLUSH_PEERS:
                        break  # others get their turn before the rest is sent
                else:
                    break
                core.settle()
            if core.stopping and self._may_end():
                return
            # A peer that just got something may answer at once, so a few looks come before sleep, which costs more than they
            # do (benchmark: round trip, serial).
            ready = select(0.0 if looks or self._turns or self._unread or core.unsent else self._wait_time())
            if ready:
                looks = self._looks
            elif looks:
                looks -= 1
                if not gathering:
                    _let_others_run()
            core.tick(clock(), wall_clock())
            for key, events in ready:
                target = key.data
                try:
                    if target.__class__ is not Channel:
                        target(key.fileobj)
                        continue
                    if events != readable:
                        self._write(target)
                    if events & readable:
                        self._read(target)
                except Exception:
                    self._fault(target)
            if self._unread:
                self._read_on()
            if self._turns or core.turns.chores:
                self._give_turns()
            if handshakes.open:
                handshakes.give_up(core.now)
            if core.now >= self._stalls.look_at:
                self._sweep()
            if core.now >= gate.opens_at:
                gate.open()
            self._stumbles = 0

    def _read(self, channel: Channel) -> None:
        """Read once from a peer, and obey, unless it is much."""
        reader = channel.reader
        if channel.waiting:
            return  # there is enough of it to obey already
        room = reader.room(len(self._unfinished) < GENEROUS) if reader.held else None
        try:
            if room is None:
                data = channel.socket.recv(READ_SIZE)
                size = len(data)
            else:
                size = channel.socket.recv_into(room)
                acknowledge_at_once(channel.socket)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            _logger_server.debug("lost %r: %s", channel.peer, error)
            self._lose(channel)
            return
        if not size:
            self._end(channel)
            return
        if channel.ended:
            return  # it was told already why nothing more is wanted of it
        peer = channel.peer
        packets = reader.feed(data) if room is None else reader.filled(size)
        if len(packets) > TURN_PACKETS or reader.lines and packets:
            channel.wait(packets)
            self._turns[channel] = None
        else:
            rest = self.core.receive(peer, packets)
            if rest:
                channel.wait(rest)
                self._turns[channel] = None
        if reader.held or channel in self._unfinished:
            self._stalls.note(channel, PROGRESS if packets else size, self.core.now)
        if reader.error is not None or peer.closing:
            self._give_up(channel)

    def _give_turns(self) -> None:
        """Do what waits for a later turn, some of each peer's packets after some of another's, for a while at most."""
        turns, chores, clock = self._turns, self.core.turns.chores, self._clock
        end = clock() + TURN_TIME
        while turns or chores:
            if chores:
                self._work()
            if turns:
                self._give_turn(turns.popitem(last=False)[0])
            if clock() >= end:
                return

    def _give_turn(self, channel: Channel) -> None:
        if not self._may_read(channel):
            return  # it has gone, or `_watch` lets it go on when it has read
        packets = channel.take(1 if channel.reader.lines else TURN_PACKETS)
        try:
            packets = self.core.receive(channel.peer, packets)
            if packets:
                channel.put_back(packets)
            if channel.waiting:
                self._turns[channel] = None
            channel.moved += PROGRESS
            if channel.reader.error is not None or channel.peer.closing:
                self._give_up(channel)
        except Exception:
            self._fault(channel)

    def _work(self) -> None:
        """Do a step of what nobody waits for."""
        try:
            self.core.turns.work()
        except Exception:
            _logger_server.exception("a fault of ours in what nobody waited for")
            self._count("faults")

    def _give_up(self, channel: Channel) -> None:
        """The peer's stream, or the peer itself, has come to an end: see that it goes when it has been told."""
        peer, error = channel.peer, channel.reader.error
        if not peer.closing:
            if channel.waiting or error is None:
                return  # what came before the error is obeyed first
            _logger_server.info("%r: %s", peer, error)
            self._count({"packet": "packets_too_large", "line": "lines_too_long"}.get(error.limit, "streams_refused"))
            self.core.refuse(peer, error)
        channel.waiting.clear()
        if channel.backlog:
            self._watch(channel)
        elif not peer.outgoing:
            self._hang_up(channel)

    def _fault(self, target: "Any") -> None:
        """An exception that nobody expected came while we served one connection, which it costs, and nobody else."""
        if isinstance(target, Channel):
            self._note_fault("a fault of ours, dropping %r", target.peer)
            self._lose(target)
        else:
            self._note_fault("a fault of ours with %r", target)

    def _note_fault(self, text: str, *arguments: "Any") -> None:
        if os.getpid() != self._process:  # a child of a fork, whose exception is to end it, and not to make it a second server
            raise
        self._count("faults")
        try:
            _logger_server.exception(text, *arguments)
        except Exception:  # there is not even memory to say it, so that the count has to do
            return

    def _surely(self, function: "Callable[..., Any]", *arguments: "Any") -> None:
        """Call a function, a second time if it fails, whose failure must not keep us from what comes after it."""
        for _ in range(2):
            try:
                function(*arguments)
                return
            except Exception:
                self._note_fault("a fault of ours, going on")

    def _flush(self, gather: bool) -> None:
        """Send each peer what the core has for it; what is for clients, and not large, may gather."""
        core, gathering = self.core, self._gathering
        unsent = core.unsent[:FLUSH_PEERS]
        del core.unsent[:FLUSH_PEERS]
        for peer in unsent:
            outgoing = peer.outgoing
            channel = peer.channel
            if not outgoing:
                continue
            try:
                # TLS that has come to the end of what it receives may send nothing more, so there an answer goes out before the
                # next look.
                if gather and not (peer.abilities or peer.bulky or peer.closing or channel.__class__ is SecureChannel):
                    if not gathering:
                        self._gather_until = core.now + GATHER_TIME
                    gathering.append(peer)
                    continue
                pieces = len(outgoing)
                if channel.backlog or peer.bulky or pieces > JOIN_PIECES:
                    self._send_much(channel)
                    continue
                # One join and one send for all packets of a wake-up (benchmark: every round trip).
                data = outgoing[0] if pieces == 1 else b"".join(outgoing)
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
                    channel.put((memoryview(data)[sent:],))
                    self._watch(channel)
                    self._stalls.note(channel, sent, core.now)
                elif peer.closing:
                    self._hang_up(channel)
            except Exception:
                self._fault(channel)

    def _release(self) -> None:
        self.core.unsent += self._gathering
        self._gathering.clear()

    def _send_much(self, channel: Channel) -> None:
        """Send what may be large without joining it, unless the peer has too much unread."""
        peer = channel.peer
        unsent = channel.cost() + sum(map(len, peer.outgoing))
        if unsent > self._max_unsent:
            _logger_server.warning("%r does not read, dropping it with %d bytes unsent", peer, unsent)
            self._count("peers_dropped_unread")
            self._lose(channel)
            return
        channel.put(peer.outgoing)
        peer.outgoing.clear()
        peer.bulky = channel.http is not None
        self._write(channel)

    def _write(self, channel: Channel) -> None:
        """Send as much of the backlog as the socket takes."""
        try:
            channel.write()
        except OSError as error:
            _logger_server.debug("lost %r: %s", channel.peer, error)
            self._lose(channel)
            return
        if channel.peer.closing and not channel.backlog:
            self._hang_up(channel)
            return
        self._watch(channel)
        if channel.backlog:
            self._stalls.note(channel, 0, self.core.now)

    def _watch(self, channel: Channel) -> None:
        """Have the selector look for what is possible, and the peer take turns; but not while it has much unread itself."""
        reading = self._may_read(channel)
        writing = bool(channel.backlog)
        if channel.waiting and reading:
            self._turns[channel] = None
        if channel.__class__ is SecureChannel:
            stream = channel.socket
            if reading and stream.pending():
                self._unread[channel] = None
            reading, writing = (reading and not stream.receive_waits_to_send or writing and stream.send_waits_to_receive,
                                writing and not stream.send_waits_to_receive or reading and stream.receive_waits_to_send)
        events = (selectors.EVENT_READ if reading else 0) | (selectors.EVENT_WRITE if writing else 0)
        self._selector.modify(channel.socket, events, channel)

    def _may_read(self, channel: Channel) -> bool:
        limit = ANSWER_AHEAD if channel.peer.errand is not None else self._clogged_at
        return not channel.peer.closing and channel.backlog_size <= limit

    def _end(self, channel: Channel) -> None:
        """The peer sends nothing more: forget it, and close when all is sent."""
        if channel.ended:
            self._lose(channel)
            return
        self._forget(channel)
        if channel.backlog:
            self._watch(channel)
        elif not channel.peer.outgoing:
            self._lose(channel)

    def _hang_up(self, channel: Channel) -> None:
        """All is sent that was to be sent: close, but let a peer that still sends come to the point where it reads why."""
        if channel.ended:
            self._lose(channel)
            return
        self._forget(channel)
        try:
            channel.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            _logger_server.debug("lost %r: %s", channel.peer, error)
            self._lose(channel)
            return
        self._selector.modify(channel.socket, selectors.EVENT_READ, channel)
        self._stalls.begin(channel, self.core.now)

    def _forget(self, channel: Channel) -> None:
        """Nothing more is wanted of a peer."""
        channel.ended = True
        channel.peer.closing = True
        self._gather_until = self.core.now  # what it may still read does not wait
        self._surely(self.core.disconnect, channel.peer)

    def _lose(self, channel: Channel) -> None:
        """Close a connection."""
        if channel not in self._channels:
            return
        del self._channels[channel]
        self._unfinished.pop(channel, None)
        stop_watching(self._selector, channel.socket)
        self._surely(channel.close)
        if not channel.ended:
            self._forget(channel)
        if channel.peer.outgoing:
            channel.peer.outgoing.clear()
            self.core.unsent[:] = [peer for peer in self.core.unsent if peer is not channel.peer]
        self._gate.open()  # there is room again

    def _on_connection(self, connection: "Any", facts: PeerFacts, listener: Listener) -> None:
        try:
            self._take_in(connection, facts, listener)
        except Exception:
            self._note_fault("a fault of ours, dropping a connection from %r", facts)
            self._surely(end_connection, connection)

    def _take_in(self, connection: "Any", facts: PeerFacts, listener: Listener) -> None:
        if len(self._channels) + len(self._handshakes.open) >= self._max_connections:
            self._count("connections_refused")
            self._turn_away(connection, listener, b"TOO_MANY_CONNECTIONS", b"The server has no room for another connection")
        elif self._tls is not None and listener.secure:
            self._handshakes.begin(self._tls, connection, facts, listener, self.core.now)
        else:
            self._welcome(connection, facts, listener)

    def _on_pause(self) -> None:
        self._count("accept_pauses")

    def _now(self) -> float:
        return self.core.now

    def _welcome(self, connection: "Any", facts: PeerFacts, listener: Listener) -> "Optional[Channel]":
        """Make a channel of a connection, whose socket the selector does not watch yet, if there is anything that it may do."""
        rights = self._access.rights(facts)
        if not rights:
            _logger_server.warning("turning away %r, which may do nothing", facts)
            self._count("connections_forbidden")
            self._turn_away(connection, listener, b"FORBIDDEN", b"Nothing is allowed to this connection")
            return None
        peer = Peer(connection.fileno(), facts.shown.encode() or b"unix")
        reader = (JobSession(self._max_packet_size) if listener.http
                  else PacketReader(max_size=self._max_packet_size, max_line=self._max_line_size))
        channel = (SecureChannel(connection, peer, reader, self._serve_secure) if isinstance(connection, TLSStream)
                   else Channel(connection, peer, reader))
        peer.channel = channel
        try:
            self._selector.register(connection, selectors.EVENT_READ, channel)
        except (OSError, ValueError) as error:
            _logger_server.warning("cannot watch another connection, pausing: %s", error)
            end_connection(connection)
            self._gate.pause()
            return None
        try:
            self._channels[channel] = None
            self._count("connections_accepted")
            self.core.connect(peer, rights)
            if listener.http:
                self._stalls.begin(channel, self.core.now)
        except Exception:
            self._fault(channel)
            return None
        return channel

    def _turn_away(self, connection: "Any", listener: Listener, code: bytes, text: bytes) -> None:
        try:
            connection.send(pack_refusal(code, text) if listener.http else pack_response(ERROR, code, text))
        except OSError as error:
            _logger_server.debug("lost a connection that was turned away: %s", error)
        end_connection(connection)

    def _welcome_secure(self, stream: TLSStream, facts: PeerFacts, listener: Listener) -> None:
        try:
            channel = self._welcome(stream, facts, listener)
        except Exception:
            self._note_fault("a fault of ours, dropping a connection from %r", facts)
            self._surely(end_connection, stream)
            return
        if channel is not None:
            self._serve_surely(channel)  # it may have been quick

    def _no_tls(self, facts: PeerFacts, reason: str) -> None:
        _logger_server.warning("no TLS with %s: %s", facts.shown, reason)
        self._count("tls_handshakes_failed")
        self._gate.open()  # there is room again

    def _serve_secure(self, channel: Channel) -> None:
        """One turn of a peer with TLS: send and receive, whatever the socket is ready for."""
        if channel.backlog:
            self._write(channel)
        if channel in self._channels and (self._may_read(channel) or channel.ended and not channel.backlog):
            self._read(channel)
        if channel in self._channels and (channel.backlog or not channel.peer.closing):
            self._watch(channel)

    def _serve_surely(self, channel: Channel) -> None:
        try:
            self._serve_secure(channel)
        except Exception:
            self._fault(channel)

    def _read_on(self) -> None:
        """Another turn for those whose data waits where the selector does not see it."""
        unread, self._unread = self._unread, {}
        for channel in unread:
            if channel in self._channels:
                self._serve_surely(channel)

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

    def _on_wake(self, receiver: "Any") -> None:
        try:
            receiver.recv(4096)
        except OSError:
            return  # not now; what it was about is still there at the next round
        for _ in range(len(self._calls)):
            if not self._calls:
                return  # the last one has forked, and this is the child
            function, arguments = self._calls.popleft()
            try:
                function(*arguments)
            except Exception:
                _logger_server.exception("a function that was to be called soon failed")

    def _wait_time(self) -> "Optional[float]":
        """How long the selector may wait: the core's wish, and our own."""
        wait = self.core.wait_time()
        planned = min(self._stalls.look_at, self._gate.opens_at)
        if self._keeper is not None:
            planned = min(planned, self._keeper.next_time())
        if self._handshakes.open:
            planned = min(planned, self._handshakes.next_deadline)
        planned -= self.core.now
        if wait is not None:
            planned = min(planned, wait)
        return None if planned == NEVER else max(0.0, min(planned, MAX_WAIT))

    def _sweep(self) -> None:
        """Drop peers that have something half sent or unread, and do not go on."""
        for channel in self._stalls.look(self.core.now):
            if channel.http is not None and not channel.reader.held and not channel.backlog:
                _logger_server.debug("closing %r, which asks for nothing", channel)
            elif not channel.ended or channel.backlog:
                _logger_server.warning("%r makes no progress, dropping it", channel)
                self._count("peers_dropped_stalled")
            self._lose(channel)

    def _count(self, name: str) -> None:
        self.core.counters[name] += 1

    def _may_end(self) -> bool:
        """Whether a stop that was asked for can be now; a graceful one first closes the listeners."""
        if self.core.stopping == "now":
            return True
        if not self._finishing:
            self._finishing = True
            _logger_server.info("stopping when no job runs and no client waits for one, the others stay in the store"
                                if self._keeper is not None else "stopping when no job is left")
            self._gate.close()
        return (self.core.idle and not any(channel.backlog for channel in self._unfinished)
                and not any(channel.peer.errand for channel in self._turns))

"""Sockets for the core: accept, read, flush, time, wake-up, stop.

One thread, the dispatcher, waits in a selector.  After each wake-up it reads what is there, lets the core decide, and hands the
records for the store to the thread that writes them.  Then it sends each peer all that the core has for it, except for what has
to wait until the store has its records: disk before reply, and at most one send per peer.
Output for clients may gather for at most GATHER_TIME seconds while other peers have something to say; output for workers, which
are to be kept busy, never waits (benchmark: round trip, 8 clients).

A connection comes in by the gate and the entrance and becomes a channel; the module channels says what is bounded so that no
peer harms the others.
"""
import errno
import os
import selectors
import socket
import threading
from collections import deque

from ..arguments import as_float, check_path
from ..core.core import Core
from ..core.jobs import FunctionPolicy
from ..core.limits import Limits
from ..core.functions import Statistics
from ..errors import Deposed, StoreError
from ..net.addresses import DEFAULT_PORT, show_address
from ..net.forks import leave_in_children
from ..net.logs import own_logger
from ..net.signals import WokenBySignals
from ..net.streams import KEEPALIVE
from ..net.system import REAL_SYSTEM, System
from ..net.threads import start_thread
from ..store.sqlite import JobStore
from ..store.store import Store
from ..store.storekeeper import StoreKeeper
from ..timers import Timers, growing_pause
from ..version import VERSION
from ..wire.protocol import MAX_LINE_SIZE, MAX_PACKET_SIZE, encode_function
from .access import Access
from .channel import Channel
from .channels import FLUSH_PEERS, Channels
from .entrance import Entrance, check_security
from .faults import Faults
from .gate import NEVER
from .handles import take_handle_numbers
from .listeners import names_for_browsers, open_listeners, read_places
from .settings import check_settings, pack_prefix
from .tls import ServerTLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, NoReturn, Optional, Sequence, Tuple, Type, TypeVar, Union
    from types import TracebackType
    from ..net.addresses import ServerAddress
    from .listeners import Listener
    ServerType = TypeVar("ServerType", bound="Server")

_logger_server = own_logger("gearman_std.server")

STOP_TIME = 10.0        # seconds that a stop waits until the peers that wait for the store have their answers
READ_TIME = 0.004       # seconds for reading the store in one round of the loop
MAX_WAIT = 60.0         # seconds that the selector waits at most, because the wall clock may be set meanwhile
STANDBY_INTERVAL = 0.05  # seconds between two looks of a server that stands by
LEAVE_ADDRESSES = 10.0  # seconds that the server before it has to close its addresses, once it has left the store
HEAR_TIME = 0.002       # seconds for hearing a crowd in one round of the loop; the rest of it is heard in the next rounds
CROWD = 16              # peers that are ready at once
DUE_TIME = 0.002        # seconds for calls that are due in one round of the loop
LOOKS = 10              # how often the selector is asked without waiting before it waits, after a round that had work
MAX_STUMBLES = 20       # errors of ours in a row, none of them caused by a single peer, after which it ends
STUMBLE_PAUSE, LONGEST_STUMBLE_PAUSE = 0.01, 1.0  # seconds before it goes on after one
_let_others_run = getattr(os, "sched_yield", lambda: None)  # type: Callable[[], None]

# The server's own counters, for the text command `show totals`.
_COUNTERS = ("connections_accepted", "connections_refused", "connections_forbidden", "tls_handshakes_failed", "accept_pauses",
             "packets_too_large", "lines_too_long", "streams_refused", "peers_dropped_unread", "peers_dropped_stalled",
             "faults")


class Server:
    """A job server.

        with Server(port=0) as server:
            print(server.address)        # ('127.0.0.1', 40123)

    runs it in a thread of its own; `serve` runs it in the calling thread until `stop`.

    A server serves once.  `listen` names the addresses (see `listeners.read_places`); the default is every IPv4 and IPv6
    address with `serve`, and 127.0.0.1 in a ``with`` block.  HTTP is spoken on addresses that begin with ``http:`` or
    ``https:`` (see the module wire.http_jobs for what it can do).  `socket_mode` is for the files of Unix sockets (see
    os.chmod), `keepalive` for TCP (see `streams.set_up_tcp`).  With `tls` (see `tls.ServerTLS`), TLS is spoken on every TCP
    address that does not begin with ``tcp:``, and a peer has `handshake_timeout` seconds to agree on it.  `access` says who
    may do what.  `wakeup` is how many sleeping workers a new job wakes: None for as few as needed, 0 for all.  `policy` is for
    functions that have no policy of their own in `policies`.

    These limits can be 0 for none: `max_packet_size` and `max_line_size`, in bytes; `max_unsent`, the bytes that may wait for a
    peer to read them when more come for it (one more packet is let through); `max_connections`; `stall_timeout`, the seconds
    within which a peer that has half sent a packet, or not read its output, must finish that or go on by 64 KiB.  `limits` are
    the limits of jobs and functions.  `statistics` remembers how jobs went, for one server.  `store` keeps the background jobs:
    a JobStore or the path of its file, or another Store.

    Raises ValueError or TypeError for settings that are not valid, and OSError for files of `tls` that cannot be used.  `bind`,
    and all methods that call it, raise OSError if the server cannot listen on an address; `open_store`, `serve` and `start`
    raise StoreError if the store cannot be used.

    Owner: the dispatcher thread, the one in `serve`.
    """

    def __init__(self, port: int = DEFAULT_PORT, listen: "Sequence[Any]" = (), *, backlog: int = 1024,
                 handle_prefix: "Optional[Union[str, bytes]]" = None, exceptions: bool = False, wakeup: "Optional[int]" = None,
                 policy: "Optional[FunctionPolicy]" = None, policies: "Optional[Dict[Any, FunctionPolicy]]" = None,
                 limits: "Optional[Limits]" = None, statistics: "Optional[Statistics]" = None,
                 max_packet_size: int = MAX_PACKET_SIZE, max_line_size: int = MAX_LINE_SIZE, max_connections: int = 0,
                 max_unsent: int = MAX_PACKET_SIZE,
                 stall_timeout: float = 60.0, tls: "Any" = None, handshake_timeout: float = 10.0,
                 access: "Optional[Access]" = None, socket_mode: "Optional[int]" = None,
                 keepalive: "Tuple[int, int, int]" = KEEPALIVE,
                 store: "Union[None, str, os.PathLike[str], Store]" = None, version: str = "",
                 verbosity: str = "ERROR", _system: "System" = REAL_SYSTEM,
                 **clocks: "NoReturn") -> None:
        check_settings(locals())
        for name in clocks:
            if name not in ("clock", "wall_clock"):  # which 1.0.0 took
                raise TypeError("Server has no setting %r" % name)
        self._system = System(**clocks) if clocks else _system
        self._tls = tls if tls is None or isinstance(tls, ServerTLS) else ServerTLS(tls)
        self._port = port
        self._places = read_places(listen, port, self._tls is not None)
        check_security(access or Access(), self._tls, self._places)
        self._handshake_timeout = as_float(handshake_timeout)  # type: float
        self._socket_mode = socket_mode
        self._keepalive = keepalive
        self._backlog_setting = backlog
        self._stall_timeout = as_float(stall_timeout)  # type: float
        self.core = Core(pack_prefix(handle_prefix), exceptions=exceptions, wakeup=wakeup, durable=store is not None,
                         policy=policy, policies={encode_function(name): policy for name, policy in (policies or {}).items()},
                         limits=limits, statistics=statistics, version=(version or VERSION).encode(), pid=os.getpid(),
                         verbosity=verbosity.encode(), numbers=take_handle_numbers)
        self._keeper = None           # type: Optional[StoreKeeper]
        if store is not None:
            if not isinstance(store, Store):
                check_path("store", store)
                store = JobStore(store)
            self._keeper = StoreKeeper(self.core, store, self._system.boot_clock)
        self.core.counters.update(dict.fromkeys(_COUNTERS, 0))
        self.addresses = []           # type: List[ServerAddress] # where it listens, or did
        self.hands_on = False         # when it is deposed, its addresses stay open for the server that is to `take_place`
        self._left = []               # type: List[Listener] # those
        self._deadlines = Timers()    # of calls, in monotonic seconds
        self._faults = Faults(self.core.counters)
        self._channels = Channels(self.core, self._deadlines, self._faults, max_unsent, max_packet_size or 0xffffffff,
                                  self._stall_timeout)
        self._entrance = Entrance(self.core, self._channels, self._faults, access or Access(), self._tls, max_connections,
                                  max_packet_size or 0xffffffff, max_line_size or 0xffffffff,
                                  names_for_browsers(self._places))
        self._looks = LOOKS
        self._stumbles = 0            # errors of ours in a row, none of them caused by a single peer
        self._calls = deque()         # type: Deque[Tuple[Callable[..., Any], Tuple[Any, ...]]]
        self._ready = None            # type: Optional[Callable[[], Any]] # called when it has begun
        self._standing_by = False
        self._bind_by = 0.0           # until then it tries again to listen where somebody else does, in monotonic seconds
        self._reading = False         # the reading of the store has begun
        self._begun = False           # it serves in full
        self._failure = None          # type: Optional[Exception] # that ended it before
        self._finishing = False
        self._settle_by = None        # type: Optional[float] # when a stop waits no longer
        self._served = False
        self._thread = None           # type: Optional[threading.Thread]
        self._selector = None         # type: Any
        self._wake_receiver = None    # type: Any
        self._wake_sender = None      # type: Any

    def __repr__(self) -> str:
        return "<Server on %s: %r>" % (", ".join(map(show_address, self.addresses)) or "no address", self.core)

    # ------------------------------------------------------------------------------------------- called by any thread

    @property
    def address(self) -> "ServerAddress":
        """The first of its addresses; raises RuntimeError if it has none yet."""
        if not self.addresses:
            raise RuntimeError("the server has no address before it is bound")
        return self.addresses[0]

    @property
    def running(self) -> bool:
        """Whether it serves."""
        return self._served and self._selector is not None

    @property
    def starting(self) -> str:
        """How far it has read its store, as a text for people; empty when all is read, or without a store."""
        return "" if self._keeper is None or self._begun else self._keeper.starting

    @property
    def standing_by(self) -> bool:
        """Whether it waits in `stand_by`."""
        return self._standing_by

    @property
    def stored(self) -> bool:
        """Whether everything that the store was to hold has been written so far; True without a store."""
        return self._keeper is None or self._keeper.complete

    def stop(self, graceful: bool = False) -> None:
        """Ask it to stop: at once or, if `graceful`, when no job is left and all is sent; a second call can stop it at once.

        May be called from a signal handler.  A server that was not started yet will stop as soon as it serves.
        """
        self.call_soon(self.core.stop, graceful)

    def call_soon(self, function: "Callable[..., Any]", *arguments: "Any") -> None:
        """Let the dispatcher thread call a function when it serves; an exception in the function is logged."""
        self._calls.append((function, arguments))
        self._wake()

    def _wake(self) -> None:
        """Wake the dispatcher thread."""
        if self._wake_sender is not None:
            try:
                self._wake_sender.send(b"\0")
            except OSError:
                # A full pipe means that the dispatcher is about to wake anyway, a closed one that it has ended.
                return

    def reload(self) -> None:
        """Read the files of TLS again; may be called from a signal handler."""
        self.call_soon(self._reload)

    def start(self) -> None:
        """Bind, and serve in a new thread; returns when the store, if there is one, has been read."""
        if self._thread is not None:
            raise RuntimeError("the server was started before")
        if not self._places:
            self._places = read_places(["127.0.0.1"], self._port, self._tls is not None)
        self.bind()
        begun = threading.Event()
        try:
            try:
                self._thread = start_thread(self._serve_in_thread, "gearman_std-server", begun)
            except OSError:
                self.close()
                raise
            begun.wait()
        except BaseException:  # such as Ctrl-C, also when the thread has just begun
            self.stop()
            raise
        if self._failure is not None:
            self.join()
            raise self._failure

    def _serve_in_thread(self, begun: threading.Event) -> None:
        try:
            self.serve(begun.set)
        except Exception:
            if self._failure is None:
                raise  # else `start` does
        finally:
            begun.set()

    def join(self, timeout: "Optional[float]" = None) -> None:
        """Wait until the thread that `start` made has ended, at most `timeout` seconds."""
        if self._thread is not None:
            self._thread.join(timeout)

    def __enter__(self: "ServerType") -> "ServerType":
        self.start()
        return self

    def __exit__(self, kind: "Optional[Type[BaseException]]", error: "Optional[BaseException]",
                 traceback: "Optional[TracebackType]") -> None:
        self.stop()
        self.join()

    # ------------------------------------------------------------------------------------- called by the dispatcher thread

    def stand_by(self, begun: "Optional[Callable[[], Any]]" = None) -> bool:
        """Wait, before it listens, until no other server has the store; return False if it is told to stop meanwhile.

        `begun` is called if one has it.  Raises StoreError if the store cannot be used at the first look (later it is tried
        again and again), and RuntimeError if there is none.
        """
        if self._keeper is None:
            raise RuntimeError("a server that stands by needs a store")
        if self._keeper.take():
            return True
        _logger_server.info("standing by: another server has %s", self._keeper.name)
        self._standing_by = True
        if begun is not None:
            begun()
        trouble = ""
        while True:
            self._make_calls()
            if self.core.stopping:
                _logger_server.info("stopped while it stood by")
                return False
            try:
                if self._keeper.take():
                    break
            except StoreError as error:  # such as that of a database that is started again
                if str(error) != trouble:
                    _logger_server.warning("still standing by: %s", error)
                trouble = str(error)
            self._system.sleep(STANDBY_INTERVAL)
        _logger_server.warning("taking over: no other server has %s any longer", self._keeper.name)
        self._standing_by = False
        self._bind_by = self._system.clock() + LEAVE_ADDRESSES
        return True

    def bind(self) -> None:
        """Open the addresses; `serve` does so if nobody did."""
        if self._served:
            raise RuntimeError("a server serves once; make another")
        if self._selector is not None:
            return
        self._faults.process = os.getpid()
        leave_in_children(self)
        try:
            self._selector = self._system.make_selector()
            self._wake_receiver, self._wake_sender = socket.socketpair()
            self._wake_receiver.setblocking(False)
            self._wake_sender.setblocking(False)
            self._selector.register(self._wake_receiver, selectors.EVENT_READ, self._on_wake)
            places = self._places or read_places([""], self._port, self._tls is not None)
            listeners = self._open_listeners(places)
            for listener in listeners:
                listener.keepalive = self._keepalive
                listener.patience = self._stall_timeout or NEVER  # otherwise the system would end slow readers sooner
            self._channels.open(self._selector, self._system.clock, self._system.boot_clock)
            self._entrance.open(self._selector, listeners, self._system.clock, self._deadlines, self._handshake_timeout)
        except BaseException:
            self.close()
            raise
        self.addresses = [listener.address for listener in listeners]
        if self._calls:  # calls that came before there was anything to wake
            self._wake_sender.send(b"\0")

    def take_place(self, deposed: "Server") -> None:
        """As `bind`, with the addresses of another server that was deposed and `hands_on`: who connected meanwhile is served.

        So a server need not be allowed any longer to open them.
        """
        self._left, deposed._left = deposed._left, []
        self.bind()

    def _open_listeners(self, places: "Any") -> "List[Any]":
        if self._left:
            listeners, self._left = self._left, []
            return listeners
        while True:
            try:
                return open_listeners(places, self._backlog_setting, self._socket_mode)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or self._system.clock() >= self._bind_by:
                    raise
            self._system.sleep(STANDBY_INTERVAL)
            self._make_calls()
            if self.core.stopping:
                return []

    def open_store(self) -> None:
        """Open the store, if there is one, and read it, before anybody is answered; `serve` answers questions meanwhile."""
        if self._keeper is not None:
            self.core.tick(self._system.clock(), self._system.wall_clock())
            try:
                self._keeper.open()
            except BaseException:
                self.close()
                raise

    def serve(self, ready: "Optional[Callable[[], Any]]" = None) -> None:
        """Serve until told to stop.

        While the store is opened and read, only questions that are not about one job are answered, and all else waits; then
        `ready` is called.  Raises what `ready` raises, and Deposed when another server has taken over the jobs in the store:
        then all connections are closed at once, and nothing more is acknowledged or handed out; make another Server, which
        begins anew, and may `take_place`.
        """
        self.bind()
        self._ready = ready
        self._served = True
        if self._keeper is not None:
            self._channels.begin_early()
            self._channels.doubt = self._keeper.doubt
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
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Close everything at once, as `serve` does at its end; for callers of `bind` that then cannot serve.

        In a child of a fork, this only closes the child's own sockets, and the server goes on in the parent process.
        """
        if self._faults.process != os.getpid():
            self.leave()
            return
        if self._keeper is not None:
            deposed = self._keeper.deposed is not None or isinstance(self._failure, Deposed)  # the latter while it was read
            if deposed and self.hands_on and self._entrance.gate is not None:
                self._left = self._entrance.gate.hand_on()
                self.hands_on = False
        self._channels.close()  # before the store, however long that takes: it has no answer for them any longer
        self._entrance.close()  # or they would connect again, and wait as long
        if self._keeper is not None:
            self._keeper.close()
        self._let_go()

    def close_addresses(self) -> None:
        """Close what it left open when it was deposed, as no other server takes its place."""
        while self._left:
            self._left.pop().close()

    def leave(self) -> None:
        """In a child of a fork: close this process's sockets without telling the peers; the server goes on in the parent.

        From Python 3.7 on, this happens before anything else runs in the child.
        """
        self._channels.leave()
        self._entrance.leave()
        while self._left:
            self._left.pop().leave()
        self._calls.clear()
        self._let_go()

    def _let_go(self) -> None:
        for thing in (self._selector, self._wake_receiver, self._wake_sender):
            if thing is not None:
                thing.close()
        self._selector = None

    def _loop(self) -> None:
        """Serve, and go on after errors of ours as long as something goes right in between."""
        while True:
            try:
                self._go_round()
                return
            except Exception:
                self._stumbles += 1
                if self._stumbles > MAX_STUMBLES:
                    raise
                self._faults.note("a fault of ours, going on")
                self._system.sleep(growing_pause(STUMBLE_PAUSE, LONGEST_STUMBLE_PAUSE, self._stumbles - 1))

    def _go_round(self) -> None:
        """Serve until told to stop.  An exception that belongs to one connection is caught here, and costs only that one."""
        core, select, clock, wall_clock = self.core, self._selector.select, self._system.clock, self._system.wall_clock
        channels, deadlines = self._channels, self._deadlines
        read, gathering, readable = channels.read, channels.gathering, selectors.EVENT_READ
        held_back = getattr(self._selector, "held_back", [])
        put_back = getattr(self._selector, "put_back", None)  # type: Any # where not more than some are told of, there is none
        agreeing = self._entrance.handshakes.ready
        ready = []  # type: List[Any]
        looks = 0
        core.tick(clock(), wall_clock())
        begun = self._begun
        keeper = self._keeper if begun else None
        while self._selector is not None:  # as it is in a child that one of its functions, or a signal, has made of this thread
            gather = bool(ready and looks and not core.stopping)
            if gathering and (not gather or core.now >= channels.gather_until):
                gather = False
                channels.release()
            core.settle()
            while True:
                if keeper is not None and keeper.due():
                    keeper.save()
                    if keeper.deposed is not None:
                        self._failure = keeper.deposed
                        return
                    if keeper.proved_until != NEVER:
                        channels.prove(keeper.proved_until)
                        keeper.proved_until = NEVER
                    core.settle()
                elif core.unsent:
                    if not channels.flush(gather):
                        assert keeper is not None
                        keeper.doubt()
                        break
                    if len(core.unsent) >= FLUSH_PEERS and not core.stopping:
                        break  # others get their turn before the rest is sent, unless this may be the last round
                else:
                    if keeper is not None and channels.proved_until != NEVER and not core.ledger.going_on:
                        channels.proved_until = NEVER  # all that was released with that proof has been sent
                    break
            if core.ledger.resumed:  # by `save`, or by the last step of a batch whose new jobs went on in steps
                channels.resume()
            if core.stopping and self._may_end() or self._failure is not None:
                return
            # A peer that just got something may answer at once, so look a few times before going to sleep, which costs more
            # than the looks (benchmark: round trip, serial).
            ready = select(0.0 if looks else self._wait_time())
            if ready:
                looks = self._looks
            elif looks:
                looks -= 1
                if not gathering:
                    _let_others_run()
            core.tick(clock(), wall_clock())
            if held_back:
                channels.note_ended(held_back)
            part_with = put_back if len(ready) > CROWD else None
            heard = iter(ready)
            for key, events in heard:
                target = key.data
                try:
                    if target.__class__ is not Channel:
                        target(key.fileobj)
                    else:
                        if events != readable:
                            channels.write(target)
                        if events & readable:
                            read(target)
                except Exception:
                    self._fault(target)
                if part_with is not None and clock() - core.now >= HEAR_TIME:
                    part_with(list(heard))
                    break
            if agreeing:
                self._entrance.agree()
            if channels.unread:
                channels.read_on()
            if channels.turns or core.turns.chores or channels.leaving or channels.returning:
                channels.give_turns()
            if deadlines.entries:
                self._do_what_is_due()
            if not begun:
                begun = self._begin()
                keeper = self._keeper if begun else None
            self._stumbles = 0

    def _begin(self) -> bool:
        """Do a part of what has to be done before it serves in full; return whether all is done.

        An exception that is raised here ends the server.
        """
        keeper, clock = self._keeper, self._system.clock
        if self.core.stopping:
            return False
        try:
            if keeper is not None:
                if not self._reading:
                    self._reading = True
                    keeper.begin(self._wake)
                end = clock() + READ_TIME
                while not keeper.go_on():
                    if keeper.waiting or clock() >= end:
                        return False
                keeper.begin_to_write(self._wake)
            self._begun = True
            self._channels.begin()
            if self._ready is not None:
                self._ready()
        except Exception as error:
            self._failure = error
        return self._begun

    @property
    def _may_begin(self) -> bool:
        """Whether `_begin` has something to do."""
        return not (self._begun or self.core.stopping or self._keeper is not None and self._keeper.waiting)

    def _fault(self, target: "Any") -> None:
        if isinstance(target, Channel):
            self._channels.fault(target)
        else:
            self._faults.note("a fault of ours with %r", target)

    def _do_what_is_due(self) -> None:
        """Make the calls that are due; if they take long, the rest of them in the next rounds."""
        begun = None  # type: Optional[float]
        while begun is None or self._system.clock() - begun < DUE_TIME:
            call = self._deadlines.pop_due(self.core.now)
            if call is None:
                return
            if begun is None:
                begun = self._system.clock()
            try:
                call()
            except Exception:
                self._faults.note("a fault of ours with %r", call)

    def _reload(self) -> None:
        if self._tls is None:
            return
        try:
            self._tls.reload()
        except OSError as error:
            _logger_server.error("%s; going on with what was read before", error.strerror)
        else:
            _logger_server.info("the files of TLS were read again")

    def _on_wake(self, receiver: "Any") -> None:
        try:
            receiver.recv(4096)
        except OSError:
            return  # not now; what it was about is still there at the next round
        self._make_calls()

    def _make_calls(self) -> None:
        """Make the calls that were to be made soon."""
        for _ in range(len(self._calls)):
            if not self._calls:
                return  # the last one has forked, and this is the child
            function, arguments = self._calls.popleft()
            try:
                function(*arguments)
            except Exception:
                _logger_server.exception("a function that was to be called soon failed")

    def _wait_time(self) -> "Optional[float]":
        """How long the selector may wait, for the core and for the server itself."""
        if self._channels.busy or self._entrance.handshakes.ready or self.core.unsent or self._may_begin:
            return 0.0
        wait = self.core.wait_time()
        planned = self._deadlines.next_time()
        if self._keeper is not None and self._begun:
            planned = min(NEVER if planned is None else planned, self._keeper.next_time())
        if planned is not None:
            wait = min(NEVER if wait is None else wait, planned - self.core.now)
        return None if wait is None or wait == NEVER else max(0.0, min(wait, MAX_WAIT))

    def _may_end(self) -> bool:
        """Whether it can stop now, if it was asked to; a graceful stop first closes the listeners."""
        if self.core.stopping == "now":
            return self._has_settled()
        if not self._finishing:
            self._finishing = True
            _logger_server.info("stopping when no job runs and no client waits for one, the others stay in the store"
                                if self._keeper is not None else "stopping when no job is left")
            self._entrance.gate.close()
        return self.core.idle and not self._channels.answering and self._has_settled()

    def _has_settled(self) -> bool:
        """Whether the peers that wait for the store have their answers, or the time for that is over."""
        if self._keeper is None or self._keeper.settled and not (self._channels.unproved or self._channels.late):
            return True
        now = self.core.now
        if self._settle_by is None:
            self._settle_by = now + STOP_TIME
            self._deadlines.add(self._settle_by, self._wake)
        return now >= self._settle_by

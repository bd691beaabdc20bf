"""The connections of a server: read, obeyed, sent to, and ended.

No peer may harm the others, so everything that one can make the server do is bounded:

- Heard at once: of a crowd that is ready, those who fit into HEAR_TIME seconds; the others in the next rounds of the loop.
- Read at once: READ_SIZE, but for a large packet, which is received where it will stay.
- Obeyed at once: a few packets.  More of them, lines of text, requests of HTTP, and what takes long wait for turns; the peers
  with packets waiting take turns, TURN_TIME seconds for all of them in each round of the loop, and are not read from meanwhile.
  A listing is made as its peer reads it.
- Forgotten at once: what peers leave behind when they go is cleared away in the same turns, because many may go at once.
  Those whose time is over, and calls that are due, are done in steps, too.
- TLS: handshakes get HANDSHAKE_TIME seconds in each round of the loop (see the module tls).
- Unsent: a peer that has much unread is neither read from nor obeyed until it has read; one that has `max_unsent` bytes unread
  when more comes is disconnected.  The peers whose packets it does not read are not held up: a slow client must not stop a
  worker that others need.  A peer that cannot be sent much because it waits for the store is not read from either, until the
  store has answered.
- Time: a peer that leaves a packet half sent, or its output unread, for `stall_timeout` seconds is disconnected.
"""
import socket
from collections import OrderedDict, deque
from selectors import EVENT_READ, EVENT_WRITE

from ..core.handlers import obeyed_early
from ..core.peers import Peer
from ..net.logs import own_logger
from ..net.streams import acknowledge_at_once
from ..wire.protocol import MAX_PACKET_SIZE
from .channel import (CLOSED, CLOSING, ENDED, FINISHING, HELD_UP, LINGERING, LOST, OPEN, READY, REFUSED, SENT, UNREADY, Channel,
                      SecureChannel)
from .faults import Faults
from .gate import NEVER, stop_watching
from .stalls import PROGRESS, Stalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Iterator, List, Optional
    from ..core.core import Core
    from ..timers import Timers
    from ..wire.protocol import Data, Packet

_logger_channels = own_logger("gearman_std.server")

READ_SIZE = 65536       # bytes read from a peer at once, except for large packets
GENEROUS = 64           # peers with half a packet, up to which each gets room for 1 MiB at once
JOIN_PIECES = 64        # more small packets than that for one peer are looked at more closely before they are joined
TURN_PACKETS = 64       # packets obeyed at once; who sent more takes turns
TURN_TIME = 0.002       # seconds for the turns of all peers in one round of the loop
ANSWER_AHEAD = 65536    # bytes of a long answer that may be unsent before more of it is made
FLUSH_PEERS = 256       # peers that are sent something before others are heard again
HELD_INTERVAL = 1.0     # seconds between looks at how much waits for the store
GATHER_TIME = 0.001     # seconds for which output for clients may gather


class Channels:
    """All connections of a server that are open, and what each round of its loop does with them.

    `deadlines` is the server's; `faults` takes the exceptions that nobody expected, each of which costs the one connection that
    it came with.

    Owner: the dispatcher thread.
    """

    def __init__(self, core: "Core", deadlines: "Timers", faults: Faults, max_unsent: int, max_packet_size: int,
                 stall_timeout: float) -> None:
        self.all = {}                # type: Dict[Channel, None]
        self.held_up = None          # type: Optional[Dict[Channel, None]] # while the store is read; None when that is over
        self.returning = deque()     # type: Deque[Channel] # those of them that have still to be taken back, when it is over
        self.turns = OrderedDict()   # type: OrderedDict[Channel, None] # who has packets waiting that can be obeyed
        self.leaving = deque()       # type: Deque[Peer] # who is gone, and of whom the core has still to forget what it knows
        self.unread = {}             # type: Dict[Channel, None] # whose data TLS holds, where the selector does not see it
        self.gathering = []          # type: List[Peer] # those whose output waits for more of it
        self.gather_until = 0.0
        self.unproved = []           # type: List[Peer] # what these are to get waits for the next proof
        self.proved_until = NEVER    # until when what was released last may be sent, monotonic seconds
        self.late = []               # type: List[Channel] # whose backlog waits for that proof, too
        self.doubt = lambda: None    # type: Callable[[], Any] # called when a backlog waits for a new proof
        self.stalls = Stalls(stall_timeout or NEVER, deadlines, self.sweep)
        self.unfinished = self.stalls.unfinished  # who has something half sent or unread
        self.selector = None         # type: Any
        self.room_again = lambda: None  # type: Callable[[], Any] # called when there is one connection less
        self._core = core
        self._clock = None           # type: Any # it tells the time in monotonic seconds
        self._boot_clock = None      # type: Any # the same of proofs
        self._faults = faults
        self._at_once = TURN_PACKETS  # packets that are obeyed at once; who sent more takes turns
        self._max_unsent = (max_unsent or NEVER) + max_packet_size
        self._deadlines = deadlines
        self._held_sweep = None      # type: Any # the timer of the next look at how much waits for the store
        self._clogged_at = min(max_unsent or MAX_PACKET_SIZE, MAX_PACKET_SIZE) // 16  # bytes unsent

    def __repr__(self) -> str:
        return "<Channels: %d, %d with packets waiting, %d gathering, %d to be undone>" % (
            len(self.all), len(self.turns), len(self.gathering), len(self.leaving))

    @property
    def busy(self) -> bool:
        """Whether there is work to do even if no socket is ready."""
        return bool(self.turns or self.leaving or self.returning or self.unread)

    @property
    def answering(self) -> bool:
        """Whether some peer still waits for something that it asked for."""
        return (any(channel.backlog for channel in self.unfinished)
                or any(channel.peer.errand for those in (self.turns, self.returning) for channel in those))

    def open(self, selector: "Any", clock: "Callable[[], float]", boot_clock: "Callable[[], float]") -> None:
        """Be ready for channels, which the selector watches."""
        self.selector = selector
        self._clock = clock
        self._boot_clock = boot_clock

    def add(self, channel: Channel) -> None:
        """A connection that the selector watches."""
        self.all[channel] = None

    # --------------------------------------------------------------------------------------------------------- reading

    def read(self, channel: Channel) -> None:
        """Read once from a peer and obey what it sent; of many packets, the rest waits for a turn."""
        reader = channel.reader
        if channel.waiting:
            return  # there is enough of it to obey already
        room = reader.room(len(self.unfinished) < GENEROUS) if reader.held else None
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
            _logger_channels.debug("lost %r: %s", channel.peer, error)
            self.lose(channel)
            return
        if not size:
            self._end(channel)
            return
        if channel.state is not OPEN:
            return  # it was told already why nothing more is wanted of it
        peer = channel.peer
        packets = reader.feed(data) if room is None else reader.filled(size)
        if len(packets) > self._at_once or packets and (reader.lines or channel.http is not None):
            channel.wait(packets)
            self.turns[channel] = None
        else:
            rest = self._core.receive(peer, packets)
            if rest:
                channel.wait(rest)
                if peer.put_off and not peer.closing:
                    self._put_off(channel)
                else:
                    self.turns[channel] = None
        if reader.held or channel in self.unfinished:
            self.stalls.note(channel, PROGRESS if packets else size, self._core.now)
        if reader.error is not None or peer.closing:
            self._give_up(channel)
        if peer.holds:
            self._look_at_held(channel)

    def read_on(self) -> None:
        """Give another turn to peers whose data waits where the selector does not see it."""
        unread, self.unread = self.unread, {}
        for channel in unread:
            if channel.state is not CLOSED:
                self.serve_surely(channel)

    def _may_read(self, channel: Channel) -> bool:
        limit = ANSWER_AHEAD if channel.peer.errand is not None else self._clogged_at
        return channel.state is OPEN and channel.backlog_size <= limit

    def note_ended(self, held_back: "List[Any]") -> None:
        """The selector knows that the connections of these have ended, and will say so later."""
        for channel in held_back:
            if isinstance(channel, Channel):
                channel.peer.ended = True

    # ----------------------------------------------------------------------------------------------------------- turns

    def give_turns(self) -> None:
        """Do what waits for a later turn, some of each peer's packets after some of another's, for a while at most."""
        turns, chores, clock = self.turns, self._core.turns.chores, self._clock
        leaving, returning = self.leaving, self.returning
        end = clock() + TURN_TIME
        while turns or chores or leaving or returning:
            if chores:
                self._work()
            if leaving:
                self._faults.surely(self._core.disconnect, leaving.popleft())
            if returning:
                self._take_back(returning.popleft())
            if turns:
                self._give_turn(turns.popitem(last=False)[0])
            if clock() >= end:
                return

    def _give_turn(self, channel: Channel) -> None:
        if not self._may_read(channel):
            return  # it has gone, or `watch` lets it go on when it has read
        try:
            packets = channel.take(1 if channel.reader.lines or not self._at_once else TURN_PACKETS)
            if self.held_up is not None and not obeyed_early(packets[0]):
                self._hold_up(channel, packets)
                return
            packets = self._core.receive(channel.peer, packets)
            if packets:
                channel.put_back(packets)
            if channel.peer.put_off and not channel.peer.closing:
                self._put_off(channel)
            elif channel.waiting:
                self.turns[channel] = None
            channel.moved += PROGRESS
            if channel.reader.error is not None or channel.peer.closing:
                self._give_up(channel)
            if channel.peer.holds:
                self._look_at_held(channel)
        except Exception:
            self.fault(channel)

    def begin_early(self) -> None:
        """Until `begin`, as the store is not read yet, obey only what needs no jobs; hold up who asks for anything else."""
        self.held_up = {}
        self._core.loading = True
        self._at_once = 0  # since each packet is looked at

    def begin(self) -> None:
        """Obey everything from now on; those who were held up take turns in the order in which they came to that."""
        self.returning.extend(self.held_up or ())
        self.held_up = None
        self._core.loading = False
        self._at_once = TURN_PACKETS

    def resume(self) -> None:
        """Go on with those whose packets were put off until the store had what they waited for."""
        ledger = self._core.ledger
        resumed, ledger.resumed = ledger.resumed, []
        self.returning.extend(peer.channel for peer in resumed if peer.channel is not None)  # else it has been closed

    def _take_back(self, channel: Channel) -> None:
        if channel.state is HELD_UP:
            try:
                channel.move(READY)
                stop_watching(self.selector, channel.socket)
                self.selector.register(channel.socket, EVENT_READ, channel)
                self.watch(channel)
            except Exception:
                self.fault(channel)

    def _put_off(self, channel: Channel) -> None:
        channel.move(UNREADY)
        self.watch(channel)

    def _look_at_held(self, channel: Channel) -> None:
        """Put a peer off if much of what it is to get waits for the store."""
        peer = channel.peer
        if channel.state is OPEN and not peer.closing and peer.measure() > self._clogged_at:
            peer.put_off = True
            self._put_off(channel)

    def _sweep_held(self) -> None:
        """Drop peers for whom too much waits for the store, such as what others send them."""
        ledger, self._held_sweep = self._core.ledger, None
        held = ledger.holding + (ledger.under_way.holding if ledger.under_way is not None else [])
        for peer in held:
            channel = peer.channel
            if channel is not None and peer.holds and peer.measure() > self._max_unsent:
                self._drop_unread(channel, "waits for the store", peer.held_size)
        if held:
            self._plan_held_sweep()

    def _plan_held_sweep(self) -> None:
        self._held_sweep = self._deadlines.add(self._core.now + HELD_INTERVAL, self._sweep_held)

    def _hold_up(self, channel: Channel, packets: "List[Packet]") -> None:
        assert self.held_up is not None
        channel.put_back(packets)
        channel.move(UNREADY)
        self.held_up[channel] = None
        self.watch(channel)

    def _work(self) -> None:
        """Do a step of what nobody waits for."""
        try:
            self._core.turns.work()
        except Exception:
            self._faults.note("a fault of ours in what nobody waited for")

    # --------------------------------------------------------------------------------------------------------- sending

    def flush(self, gather: bool) -> bool:
        """Send each peer what the core has for it; what is for clients, and not large, may gather.

        Returns False if the proof is too old for something of that; that, and all that comes after it, then waits for the next.
        """
        core, gathering = self._core, self.gathering
        proved_until, clock = self.proved_until, self._boot_clock
        proved = proved_until != NEVER
        unsent = core.unsent[:FLUSH_PEERS]
        del core.unsent[:FLUSH_PEERS]
        for peer in unsent:
            outgoing = peer.outgoing
            channel = peer.channel
            if not outgoing or channel is None:  # it has been closed
                continue
            holds = peer.holds
            if holds:
                if self._held_sweep is None:
                    self._plan_held_sweep()
                if not holds[0][1]:
                    peer.parked = True  # all of it waits for the store
                    continue
            if proved and clock() >= proved_until:
                return self._suspend(unsent, peer)
            try:
                # TLS that has come to the end of what it receives may send nothing more, so there an answer goes out before the
                # next look.
                if gather and not (peer.abilities or peer.bulky or peer.closing or proved
                                   or channel.__class__ is SecureChannel):
                    if not gathering:
                        self.gather_until = core.now + GATHER_TIME
                    gathering.append(peer)
                    continue
                if holds:
                    outgoing = peer.take_ready()
                pieces = len(outgoing)
                if channel.backlog or peer.bulky or pieces > JOIN_PIECES:
                    self._send_much(channel, outgoing)
                    continue
                # One join and one send for all packets of a wake-up (benchmark: every round trip).
                data = outgoing[0] if pieces == 1 else b"".join(outgoing)
                if proved and clock() >= proved_until:  # as late as can be
                    if outgoing is peer.outgoing:
                        return self._suspend(unsent, peer)
                    channel.put((data,))
                    channel.proved_until = proved_until
                    self._await_proof(channel)
                    continue
                outgoing.clear()
                try:
                    send = channel.send  # an attribute, which CPython 3.11 is slow to call as a method
                    sent = send(data)
                except (BlockingIOError, InterruptedError):
                    sent = 0
                except OSError as error:
                    _logger_channels.debug("lost %r: %s", peer, error)
                    self.lose(channel)
                    continue
                if sent != len(data):
                    channel.put((memoryview(data)[sent:],))
                    channel.proved_until = proved_until
                    self.watch(channel)
                    self.stalls.note(channel, sent, core.now)
                elif peer.closing and not peer.outgoing:
                    self._hang_up(channel)
            except Exception:
                self.fault(channel)
        if proved and not (core.unsent or core.ledger.going_on):  # what waits for the last step was proved with the rest
            self.proved_until = NEVER
        return True

    def _suspend(self, unsent: "List[Peer]", peer: "Peer") -> bool:
        """The proof is too old for what this peer, and those after it, are to get: keep all of that for the next proof.

        What others get from now on does not depend on it, unless the batch that was proved still goes on in steps.
        """
        core = self._core
        self.unproved += unsent[unsent.index(peer):] + core.unsent + self.gathering
        core.unsent.clear()
        self.gathering.clear()
        if not core.ledger.going_on:
            self.proved_until = NEVER
        return False

    def release(self) -> None:
        """Let the next flush send what has gathered."""
        self._core.unsent += self.gathering
        self.gathering.clear()

    def _send_much(self, channel: Channel, pieces: "List[Data]") -> None:
        """Send what may be large without joining it, unless the peer has too much unread."""
        peer = channel.peer
        unsent = channel.cost() + sum(map(len, pieces))
        if unsent > self._max_unsent:
            self._drop_unread(channel, "does not read", unsent)
            return
        channel.put(pieces)
        if self.proved_until != NEVER:
            channel.proved_until = self.proved_until
        pieces.clear()
        peer.bulky = channel.http is not None
        if channel.http is not None and channel.http.over and channel.state is OPEN:
            self._close_when_sent(channel)
        self.write(channel)

    def _drop_unread(self, channel: Channel, why: str, unsent: int) -> None:
        _logger_channels.warning("%r %s, dropping it with %d bytes unsent", channel.peer, why, unsent)
        self._count("peers_dropped_unread")
        self.lose(channel)

    def write(self, channel: Channel) -> None:
        """Send as much of the backlog as the socket takes, unless it has to be proved anew before."""
        if channel.proved_until != NEVER and self._boot_clock() >= channel.proved_until:
            self._await_proof(channel)
            return
        try:
            channel.write()
        except OSError as error:
            _logger_channels.debug("lost %r: %s", channel.peer, error)
            self.lose(channel)
            return
        if channel.peer.closing and not channel.backlog and not channel.peer.outgoing:
            self._hang_up(channel)
            return
        self.watch(channel)
        if channel.backlog:
            self.stalls.note(channel, 0, self._core.now)
        else:
            channel.proved_until = NEVER

    def _await_proof(self, channel: Channel) -> None:
        """The proof is too old for the backlog, which may have a job in it: send it after the next proof."""
        if not channel.late:
            channel.late = True
            self.late.append(channel)
            self.watch(channel)
            self.doubt()

    def prove(self, until: float) -> None:
        """The jobs were proved to be this server's: what waited for that may be sent until this time, in monotonic seconds."""
        self.proved_until = until
        self._core.unsent += self.unproved
        self.unproved.clear()
        late, self.late = self.late, []
        for channel in late:
            channel.late = False
            channel.proved_until = until
            if channel.state is not CLOSED:
                try:
                    self.write(channel)
                except Exception:
                    self.fault(channel)

    def watch(self, channel: Channel) -> None:
        """Let the selector report what the peer can do next, and let it take turns; while it has much unread, only writing."""
        if channel.state is CLOSED:
            return
        reading = self._may_read(channel)
        writing = bool(channel.backlog) and not channel.late
        if channel.waiting and reading:
            self.turns[channel] = None
        if channel.__class__ is SecureChannel:
            stream = channel.socket
            if reading and stream.pending():
                self.unread[channel] = None
            reading, writing = (reading and not stream.receive_waits_to_send or writing and stream.send_waits_to_receive,
                                writing and not stream.send_waits_to_receive or reading and stream.receive_waits_to_send)
        events = (EVENT_READ if reading else 0) | (EVENT_WRITE if writing else 0)
        if channel.state is OPEN or channel.state is LINGERING:
            self.selector.modify(channel.socket, events, channel)
            return
        stop_watching(self.selector, channel.socket)  # if it is watched; selectors take no socket to look for nothing
        if events:
            self.selector.register(channel.socket, events, channel)

    def serve_secure(self, channel: Channel) -> None:
        """One turn of a peer with TLS: send and receive, whatever the socket is ready for."""
        if channel.backlog:
            self.write(channel)
        if self._may_read(channel) or channel.state is LINGERING:
            self.read(channel)
        if channel.state is OPEN or channel.backlog:
            self.watch(channel)

    def serve_surely(self, channel: Channel) -> None:
        """The same, whatever goes wrong."""
        try:
            self.serve_secure(channel)
        except Exception:
            self.fault(channel)

    # ---------------------------------------------------------------------------------------------------------- ending

    def _end(self, channel: Channel) -> None:
        """The peer sends nothing more: forget it, and close when all is sent."""
        if channel.state is LINGERING:
            self._close(channel, ENDED)
        elif channel.state is OPEN:
            if not channel.backlog and not channel.peer.outgoing:
                self.lose(channel)
                return
            channel.move(ENDED)
            self._forget(channel.peer)
            self.watch(channel)  # no longer for reading: its end would be told again and again

    def _give_up(self, channel: Channel) -> None:
        """The peer's stream, or the peer itself, has come to an end: close the connection when everything was sent."""
        peer, error = channel.peer, channel.reader.error
        if not peer.closing:
            if channel.waiting or error is None:
                return  # what came before the error is obeyed first
            _logger_channels.info("%r: %s", peer, error)
            self._count({"packet": "packets_too_large", "line": "lines_too_long"}.get(error.limit, "streams_refused"))
            self._core.refuse(peer, error)
        self._close_when_sent(channel)
        if channel.backlog or peer.outgoing:
            self.watch(channel)
        else:
            self._hang_up(channel)

    def _close_when_sent(self, channel: Channel) -> None:
        channel.move(REFUSED)
        channel.waiting.clear()

    def _hang_up(self, channel: Channel) -> None:
        """Everything was sent: close; but a peer that is still sending is first let finish, so that it reads why."""
        if channel.state is not CLOSING:
            self._close(channel, SENT if channel.state is FINISHING else LOST)
            return
        try:
            channel.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            _logger_channels.debug("lost %r: %s", channel.peer, error)
            self.lose(channel)
            return
        channel.move(SENT)
        self._forget(channel.peer)
        stop_watching(self.selector, channel.socket)
        self.selector.register(channel.socket, EVENT_READ, channel)
        self.stalls.begin(channel, self._core.now)

    def _forget(self, peer: Peer) -> None:
        """Nothing more is wanted of a peer."""
        peer.closing = True
        self.gather_until = self._core.now  # what it may still read does not wait
        self.leaving.append(peer)

    def lose(self, channel: Channel) -> None:
        """Close a connection."""
        self._close(channel, LOST)

    def _close(self, channel: Channel, event: str) -> None:
        if channel.state is CLOSED:
            return
        known = channel.state not in (FINISHING, LINGERING)
        channel.move(event)
        del self.all[channel]
        self.unfinished.pop(channel, None)
        stop_watching(self.selector, channel.socket)
        self._faults.surely(channel.close)
        if known:
            self._forget(channel.peer)
        self.room_again()

    def fault(self, channel: Channel) -> None:
        """An exception that nobody expected came while we served one connection, which it costs, and nobody else."""
        self._faults.note("a fault of ours, dropping %r", channel.peer)
        self.lose(channel)

    def sweep(self) -> None:
        """Drop peers that have something half sent or unread, and do not go on; in steps, as they may be many."""
        self._core.turns.finish(self._drop_stalled(self.stalls.look(self._core.now)))

    def _drop_stalled(self, steps: "Iterator[List[Channel]]") -> "Iterator[bytes]":
        for over in steps:
            for channel in over:
                if channel.http is not None and not channel.reader.held and not channel.backlog:
                    _logger_channels.debug("closing %r, which asks for nothing", channel)
                elif channel.state is not LINGERING:
                    _logger_channels.warning("%r makes no progress, dropping it", channel)
                    self._count("peers_dropped_stalled")
                self._faults.surely(self.lose, channel)
            yield b""

    def _count(self, name: str) -> None:
        self._core.counters[name] += 1

    def close(self) -> None:
        """Close all."""
        for channel in self.all:
            channel.close()
        self._let_go()

    def leave(self) -> None:
        """Close this process's sockets without a word: the connections are those of the process it forked from."""
        for channel in self.all:
            channel.leave()
        self._let_go()

    def _let_go(self) -> None:
        for those in (self.all, self.turns, self.leaving, self.returning, self.unread, self.unfinished, self.late,
                      self.unproved):
            those.clear()

"""The stage of an ImmediateClient: a job server's core, one worker and a clock of its own, run by the threads that call."""
import threading
import time
from collections import deque
from itertools import count
from math import ceil

from .client.guard import Guarded
from .client.network import Network
from .client.wait import Reading
from .core.core import Core
from .core.orders import cancel_job
from .core.peers import Peer
from .errors import ClientBusy, JobTimeout, NoWorker
from .net.connection import Connection, Deadline
from .net.system import System
from .timers import Timers
from .wire.protocol import LARGEST_SIZE, RESPONSE_MAGIC, PacketReader
from .wire.worker_session import WorkerSession
from .worker.job import Reporter, WorkerJob
from .worker.running import RETRY, run_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Set, Tuple, Union
    from .client.link import Link
    from .net.addresses import Address
    from .wire.protocol import Data, Packet
    from .wire.worker_session import Assignment
    from .worker.job import Ability
    from .worker.worker import Worker

STAGE_PLACE = "immediate"  # the name in place of a server's
_NEVER = float("inf")
_GLANCE = 0.001       # real seconds from one look to the next at what the other threads do


class StageNetwork(Network):
    """The network of an ImmediateClient: it leads to a stage.

    Owner: as Network's.
    """

    def __init__(self, addresses: "Sequence[Address]", stage: "Stage", system: System) -> None:
        super().__init__(addresses, None, None, None, system)
        self._stage = stage

    def __repr__(self) -> str:
        return "<Stage%s" % super().__repr__()[1:]

    def take_in(self) -> None:
        """Give the tasks what has arrived for them here."""
        if self._arrived():
            self.wait(lambda: not self._arrived(), Deadline(None))

    def _arrived(self) -> "List[int]":
        """The numbers of the wires of this network on which something has arrived."""
        mine = [link.connection for link in self.links]
        numbers = [connection.fileno() for connection in mine if connection is not None]
        return [number for number in self._stage.ready if number in numbers]

    def _connect(self, link: "Link", deadline: Deadline, counts: bool = True) -> None:
        """Connect, which takes no time.  While a thread waited for another one to do it, it might run a job, and that might
        wait for the one that is not even submitted."""
        self.exclusively(self._join, link)

    def _join(self, link: "Link") -> None:
        me = threading.get_ident()
        if self._claim(link, me) is not None:
            self._connected(link, self.open(link.address, None), None)

    def _notice_end(self, link: "Link") -> None:
        """Notice that there is another core, before a job is sent to the one that there was."""
        while link.connection is not None and self._stage.is_over(link.connection.fileno()):
            self._transfer(link)

    def _start_reading(self, me: int) -> "Reading":
        """Let each thread read for itself, because another one may be busy with a job for long."""
        try:
            reading = self._idle.pop()
        except IndexError:
            reading = Reading()
        reading.thread = me
        return reading

    def _watch(self, reading: "Reading") -> None:
        reading.version = self._version
        reading.watched = [(link, link.connection, link.connection.fileno(), False)
                           for link in self.links if link.connection is not None]

    def _read(self, reading: "Reading", deadline: Deadline, done: "Callable[[], bool]") -> "List[int]":
        """Do what there is to do until something has arrived, or this thread has what it waits for.

        Raises NoWorker or JobTimeout for a wait that would never end.
        """
        stage = self._stage
        news = stage.news  # while this one works, another thread may leave it callbacks to call
        while True:
            if reading.version != self._version:
                self.exclusively(self._watch, reading)
            ready = self._arrived()
            if ready or self.exclusively(done):  # another thread may be about to take it in, or may have done so
                stage.look_again()
                return ready
            if stage.work(stage.clock()):
                continue
            left = deadline.left()
            end = None if left is None else stage.clock() + left
            if stage.rest(end, news):
                return []
            if self._arrived() or self.exclusively(done):
                continue
            if not stage.work(end):
                if left is None:
                    raise stage.explain_stop()
                return []

    def _transfer(self, link: "Link") -> None:
        super()._transfer(link)
        self._stage.look_again()  # another thread may have what it waits for

    def _call(self, callback: "Callable[..., None]", arguments: "Tuple[Any, ...]") -> None:
        callers, call = self._stage.callers, object()
        try:
            try:
                callers[call] = threading.get_ident()
                super()._call(callback, arguments)
            finally:
                callers.pop(call, None)
        finally:  # once more, as the one above may have been interrupted
            callers.pop(call, None)
            self._stage.look_again()

    def _callback_failed(self) -> None:
        raise  # so that failed assertions in a test's callbacks are seen


class StageConnection(Connection):
    """A connection to a stage, which answers at once.

    Owner: as Connection's.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<StageConnection>"

    def wait(self, timeout: "Optional[float]") -> bool:
        return True


class StageWire:
    """The socket of a StageConnection: one client's end at a stage.

    Owner: the stage's turn.
    """

    __slots__ = ("peer", "reader", "over", "_stage")

    def __init__(self, stage: "Stage", number: int) -> None:
        self.peer = Peer(number, b"127.0.0.1")
        self.reader = PacketReader()
        self.over = False  # whether the other end is gone
        self._stage = stage

    def __repr__(self) -> str:
        return "<StageWire of %r%s>" % (self.peer, ", over" if self.over else "")

    @property
    def ready(self) -> bool:
        """Whether there is something to receive, or the end."""
        return self.over or bool(self.peer.outgoing)

    def fileno(self) -> int:
        """A number that no other wire has."""
        return self.peer.number

    def send(self, data: "Data") -> int:
        """As a socket's."""
        self._stage.change(self._stage.take, self, bytes(data))
        return len(data)

    def recv(self, size: int) -> bytes:
        """As a socket's."""
        received = self._stage.change(self._stage.give, self, size)
        if received is None:
            raise BlockingIOError("nothing has arrived")
        return received  # type: ignore[no-any-return]

    def recv_into(self, room: memoryview) -> int:
        """As a socket's."""
        data = self.recv(len(room))
        room[:len(data)] = data
        return len(data)

    def shutdown(self, how: int) -> None:
        """As a socket's; closing ends it too."""

    def close(self) -> None:
        """As a socket's."""
        self._stage.let_go(self)


class Stage(Guarded):
    """A job server's core and one worker, run by the calling thread, with a clock of its own.

    Threads that run jobs may wait for each other, see `rest`.  If an exception, such as a signal's handler raises, leaves the
    core half changed, another one takes its place, as after the crash of a server: what was under way is lost.

    Owner: the thread that has its turn, which is over while a function runs.
    """

    turn_patience = 30.0  # seconds

    def __init__(self, worker: "Worker") -> None:
        super().__init__()
        self.worker = worker
        self.leaving = False        # as a shift's
        self._now = 0.0
        self._began = float(ceil(time.time()))
        self._running = {}          # type: Dict[WorkerJob, int] # the thread of each job that runs
        self.callers = {}           # type: Dict[object, int] # the thread of each callback that is being called
        self._numbers = count(1)
        self.news = 0               # another number whenever something has happened
        self._resting = {}          # type: Dict[int, float] # the threads that rest, with the time when each goes on
        self._wires = {}            # type: Dict[int, StageWire] # of clients, by number
        self._closed = deque()      # type: Deque[StageWire] # wires whose peers are to be disconnected
        self._cores = 0
        self._begin()

    def _begin(self) -> None:
        self._cores += 1            # so that handles do not come twice
        name = STAGE_PLACE if self._cores == 1 else "%s-%d" % (STAGE_PLACE, self._cores)
        self.core = Core(b"H:" + name.encode())
        self.core.tick(self._now, self._began + self._now)
        self._retries = Timers()    # when jobs are to be tried again
        self.taken = {}             # type: Dict[WorkerJob, Tuple[Assignment, Ability]] # jobs of the worker
        self.link = StageLink(self)

    def __repr__(self) -> str:
        return "<Stage after %.3f s: %r>" % (self._now, self.core)

    def clock(self) -> float:
        """Seconds since the beginning."""
        return self._now

    def wall_clock(self) -> float:
        """Unix time."""
        return self._began + self._now

    def check_free(self) -> None:
        """Raises ClientBusy if this thread was interrupted in the middle of a change here."""
        self.exclusively(bool)

    def change(self, act: "Callable[..., Any]", *arguments: "Any") -> "Any":
        """Call a function that changes the core, while no other thread does; return its result."""
        return self.exclusively(self._change, act, arguments)

    def _change(self, act: "Callable[..., Any]", arguments: "Tuple[Any, ...]") -> "Any":
        self._changing = self
        while self._closed:
            if self._closed[0].peer in self.core.peers:
                self.core.disconnect(self._closed[0].peer)
            self._closed.popleft()
        outcome = act(*arguments)
        self._changing = None
        return outcome

    def _mend(self, error: "Optional[BaseException]") -> None:
        """Have another core in the place of one that is half changed."""
        for wire in list(self._wires.values()):
            wire.over = True
        self._begin()
        self._changing = None

    def _leave_to_parent(self) -> None:
        """This is the child of a fork: the other threads are the parent's."""
        me = threading.get_ident()
        self._running = {job: thread for job, thread in self._running.items() if thread == me}
        self.callers = {call: thread for call, thread in self.callers.items() if thread == me}
        self._resting = {}
        super()._leave_to_parent()

    @property
    def within_job(self) -> bool:
        """Whether the calling thread is running a job."""
        return threading.get_ident() in list(self._running.values())

    @property
    def ready(self) -> "List[int]":
        """The numbers of the clients' wires on which something has arrived."""
        return [number for number, wire in list(self._wires.items()) if wire.ready]

    def is_over(self, number: int) -> bool:
        """Whether a client's wire leads nowhere any more."""
        wire = self._wires.get(number)
        return wire is None or wire.over

    def cancel(self, handle: bytes) -> bool:
        """As the text command; return whether there was such a job."""
        return self.change(self._cancel, handle)  # type: ignore[no-any-return]

    def connect(self, address: "Address", timeout: "Optional[float]", tls: "Any") -> Connection:
        """One more connection of a client."""
        return StageConnection(address, self.change(self._add_wire))

    def let_go(self, wire: StageWire) -> None:
        """A client has closed its end."""
        wire.over = True
        self._wires.pop(wire.fileno(), None)
        self._closed.append(wire)
        try:
            self.change(bool)
        except ClientBusy:
            return  # the next change lets it go

    def explain_stop(self) -> "Union[NoWorker, JobTimeout]":
        """The error that says why nothing goes on, however long one waits."""
        names = self.exclusively(self._waiting_names)
        others = set(list(self._running.values())) - {threading.get_ident()}
        if names:
            missing = b", ".join(names).decode("utf-8", "replace")
            return NoWorker("this would wait for ever: no function was registered as %s" % missing)
        return JobTimeout("this would wait for ever: %s" % (
            "all jobs that run wait, too" if others else "nothing is left to run"))

    def look_again(self) -> None:
        """Something has happened, so that threads that rest may have something to do."""
        self.news = next(self._numbers)
        self._resting.clear()  # after that, see `_begin_rest`

    def rest(self, end: "Optional[float]", news: "Optional[int]" = None,
             handles: "Optional[Set[Optional[bytes]]]" = None) -> bool:
        """Wait a moment if other threads may have something to do; return whether it did.  This one has nothing before `end`.

        The other threads are those that run jobs or call callbacks; with `handles`, those that run these jobs.  One that rests,
        too, does not count, unless its `end` comes first: then time passes for that one first.
        """
        me = threading.get_ident()
        try:
            rests = self.exclusively(self._begin_rest, me, _NEVER if end is None else end, news, handles)
            if rests:
                time.sleep(_GLANCE)
            return rests is not False
        finally:
            self._resting.pop(me, None)

    def _begin_rest(self, me: int, until: float, news: "Optional[int]", handles: "Optional[Set[Optional[bytes]]]"
                    ) -> "Optional[bool]":
        """Whether a thread is to rest; None if something has happened since it looked."""
        running = list(self._running.items())
        self._resting[me] = until
        if news is not None and news != self.news:
            return None
        if handles is not None:
            goes_on = any(thread != me and job.handle in handles for job, thread in running)
        else:
            goes_on = any(thread != me and self._resting.get(thread, -1.0) < until
                          for thread in [thread for _, thread in running] + list(self.callers.values()))
        if not goes_on:
            self._resting.pop(me, None)
        return goes_on

    def work(self, end: "Optional[float]") -> bool:
        """Run one job, or move on to the time when something is due, `end` at most; return whether there was anything to do."""
        runs = []              # type: List[Tuple[WorkerJob, Ability]]
        outcome = False        # type: Any
        data = b"interrupted"  # type: Any
        try:
            try:
                worked = self.change(self._begin_work, end, runs)  # type: bool
                for job, ability in runs:
                    outcome, data = run_job(job, ability, self.worker,
                                            lambda error: isinstance(error, (Exception, SystemExit)))
                return worked
            finally:
                self._end_work(runs, outcome, data)
        finally:  # once more, as the one above may have been interrupted
            self._end_work(runs, outcome, data)

    def _end_work(self, runs: "List[Tuple[WorkerJob, Ability]]", outcome: "Any", data: "Any") -> None:
        for job, _ in runs:
            if job in self._running:
                self.change(self._end, job, outcome, data)
                self.look_again()

    # --------------------------------------------------------------------------------------------- called by whose turn it is

    def obey(self, peer: Peer, packets: "List[Packet]") -> None:
        """Let the core obey packets, however long that takes."""
        while packets:
            packets = self.core.receive(peer, packets)
        self.core.settle()

    def take(self, wire: StageWire, data: bytes) -> None:
        """Take what a client sends; nothing comes of it if its peer is gone, which the next `give` tells."""
        if not wire.over:
            self.obey(wire.peer, wire.reader.feed(data))

    def give(self, wire: StageWire, size: int) -> "Optional[bytes]":
        """What there is for a client, so much at most; None if there is nothing, b"" at the end."""
        outgoing = wire.peer.outgoing
        if not outgoing:
            return b"" if wire.over else None
        data = b"".join(outgoing)
        outgoing[:] = [data[size:]] if len(data) > size else []
        return data[:size]

    def say(self, job: WorkerJob, put: "Callable[..., None]", *arguments: "Any") -> None:
        """Send something about a running job."""
        if job in self.taken:
            put(self.link.session, self.taken[job][0], *arguments)
            self.link.send()

    def _add_wire(self) -> StageWire:
        number = next(self._numbers)
        wire = StageWire(self, number)
        self.core.connect(wire.peer)
        self._wires[number] = wire
        return wire

    def _cancel(self, handle: bytes) -> bool:
        job = self.core.jobs.get(handle)
        if job is not None:
            cancel_job(self.core, job)
            self.core.settle()
        return job is not None

    def _waiting_names(self) -> "List[bytes]":
        return [name for name, function in self.core.functions.items() if any(function.waiting)]

    def _begin_work(self, end: "Optional[float]", runs: "List[Tuple[WorkerJob, Ability]]") -> bool:
        job = self._next_job()
        if job is None:
            return self._move_on(end)
        runs.append((job, self.taken[job][1]))
        self._running[job] = threading.get_ident()
        return True

    def _next_job(self) -> "Optional[WorkerJob]":
        self.link.learn(self.worker.abilities)
        job = self._retries.pop_due(self._now)  # type: Optional[WorkerJob]
        if job is not None:
            job.attempt += 1
            return job
        assignment = self.link.grab()
        if assignment is None:
            return None
        job = WorkerJob(assignment, self.link)
        self.taken[job] = assignment, self.worker.abilities[assignment.function]
        return job

    def _end(self, job: WorkerJob, outcome: "Any", data: "Any") -> None:
        session = self.link.session
        if job in self.taken:
            if outcome is RETRY:
                self._retries.add(self._now + data, job)
            elif outcome:
                session.complete(self.taken.pop(job)[0], data)
            else:
                session.exception(self.taken.pop(job)[0], data)
            self.link.send()
        self._running.pop(job, None)

    def _move_on(self, end: "Optional[float]") -> bool:
        self.core.settle()
        wait = self.core.wait_time()
        times = [] if wait is None else [self._now + wait]
        retry = self._retries.next_time()
        times += [] if retry is None else [retry]
        due = min(times) if times else None
        moves = due is not None and (end is None or due <= end)
        until = due if moves else end
        if until is not None:
            if until > self._now:
                self._now = until
                self.look_again()
            self.core.tick(self._now, self.wall_clock())
            if self.core.turns.chores:
                self.core.turns.work()
            self.core.settle()
        return moves


class StageLink(Reporter):
    """A stage's worker: it exchanges the packets, and its jobs report here.

    Owner: the stage's turn.
    """

    __slots__ = ("session", "_stage", "_peer", "_reader", "_known")

    def __init__(self, stage: Stage) -> None:
        super().__init__(STAGE_PLACE, LARGEST_SIZE, stage.worker.serializer)
        self.session = WorkerSession([], b"", confirmed=True)
        self._stage = stage
        self._peer = Peer(0, b"127.0.0.1")
        self._reader = PacketReader(RESPONSE_MAGIC, text=False)
        self._known = set()  # type: Set[bytes]
        stage.core.connect(self._peer)

    def __repr__(self) -> str:
        return "<StageLink %r>" % (self.session,)

    @property
    def lost(self) -> bool:
        return self._stage.link is not self

    @property
    def stopping(self) -> bool:
        return self._stage.leaving

    def say(self, job: WorkerJob, put: "Callable[..., None]", *arguments: "Any") -> None:
        """Send something about a running job."""
        self._stage.change(self._stage.say, job, put, *arguments)

    def learn(self, abilities: "Dict[bytes, Ability]") -> None:
        """Register new functions, and withdraw those that are gone."""
        for name, ability in list(abilities.items()):  # another thread may add one
            if name not in self._known:
                self._known.add(name)
                self.session.can_do(name, ability.timeout_ms)
        gone = self._known - abilities.keys()
        if gone:
            self._known -= gone
            self.session.withdraw(gone)
        self.send()

    def send(self) -> None:
        """Send what the session has to say."""
        outgoing, self.session.outgoing = self.session.outgoing, []
        if outgoing:
            self._stage.obey(self._peer, PacketReader().feed(b"".join(outgoing)))  # these are whole packets

    def grab(self) -> "Optional[Assignment]":
        """The next job, if there is one."""
        self._receive()
        if not self.session.can_grab:
            return None
        self.session.grab()
        self.send()
        assignment = self._receive()
        self.send()
        return assignment

    def _receive(self) -> "Optional[Assignment]":
        assignment = None
        while self._peer.outgoing:
            data = b"".join(self._peer.outgoing)
            self._peer.outgoing.clear()
            for packet_type, arguments in self._reader.feed(data):
                outcome = self.session.receive(packet_type, arguments)
                if isinstance(outcome, tuple):
                    assignment = outcome
        return assignment

"""Everything the job server decides.

The core has no socket, thread, lock or clock.  In: `connect`, `receive`, `disconnect`, `tick`, `restore`.  Out: bytes in
`peer.outgoing`, each such peer listed once in `unsent`; `records` for the store; `peer.closing`; `stopping`.  A peer's mistake
never raises: it is answered with an ERROR packet.

What becomes of a job, whose states and arrows are the table of the module jobs, is decided here:

    its submit, and a start of the server    store; or `place`: hold, delay or push
    its record is on disk                    hold, delay or push             stored
    its time has come                        push                            _do_what_is_due
    the equal job before it has ended        delay or push                   _promote
    a worker grabs                           start                           assign
    WORK_COMPLETE                            end; delay if it recurs         finish
    WORK_FAIL, WORK_EXCEPTION                delay while attempts are left   attempt_failed
                                             else set_aside, or end
    its worker is lost, or is too slow       push while retries are left     _attempt_lost
                                             else set_aside, or end
    its last watcher has left                end, unless it runs             _end_if_in_vain
    cancel                                   end                             cancel
    drop function with force                 set_aside, or end               drop_job
    purge; requeue, which makes it anew      end                             purge, requeue
"""
from ..errors import ProtocolError
from ..schedule import Schedule
from ..timers import Timers
from ..wire.protocol import parse_number
from .chain import Chain, untie
from .functions import Registry
from .handlers import handler_table
from .handles import Handles
from .jobs import (DELAYED, GONE, HELD, NO_WATCHERS, POSITIONS, RUNNING, SET_ASIDE, STORING, WAITING, Function,
                   FunctionPolicy, Job, place_of)
from .ledger import Ledger, record_of_job
from .limits import REFUSAL_COUNTERS, TOO_MANY_ABILITIES, TOO_MANY_FUNCTIONS, Limits, tell_refusal
from .peers import ASLEEP, AWAKE, WOKEN, Peer
from .results import Results, forget_overdue, keep_end
from .rights import ALL_RIGHTS
from .roster import Roster
from .statistics import END_CANCELLED, END_COMPLETED, END_FAILED, END_LOST, MAX_TEXT_SIZE, Statistics
from .turns import MANY, NO_PACKETS, STEP, Turns
from .uniques import Uniques, predecessor_of, unique_key
from .watchers import leave, tell_failure, unwatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, FrozenSet, Iterable, Iterator, List, Optional
    from ..wire.protocol import Data, Packet
    from .ledger import AddRecord

CLOCK_STEP = 1.0       # seconds by which a clock that nobody sets may differ from the monotonic one between two looks


class Core:
    """The job server without its sockets.

    `handle_prefix` stands before the colon and the number in every handle.  `wakeup` is how many sleeping workers a new job
    wakes: 0 all, None as few as needed, and more after a while if it still waits.  With `durable`, background jobs are
    acknowledged only after the server called `stored`.  `numbers` is called with the number of the last handle, when a block of
    them is used up, and returns the one before the next block; without it they are counted from 1.

    Owner: the server's dispatcher thread.
    """

    def __init__(self, handle_prefix: bytes = b"H:localhost", exceptions: bool = False, wakeup: "Optional[int]" = None,
                 durable: bool = False, policy: "Optional[FunctionPolicy]" = None,
                 policies: "Optional[Dict[bytes, FunctionPolicy]]" = None, limits: "Optional[Limits]" = None,
                 version: bytes = b"gearman_std", pid: int = 0, verbosity: bytes = b"ERROR",
                 numbers: "Optional[Callable[[int], int]]" = None) -> None:
        self.exceptions = exceptions
        self.limits = limits or Limits()
        self.version = version
        self.pid = pid
        self.verbosity = verbosity
        self.handles = Handles(handle_prefix, numbers)
        self.now = 0.0   # monotonic seconds, as of the last tick
        self.wall = 0.0  # unix time, as of the last tick
        self.second = 0  # the whole seconds of `now`
        self._second_ends = float("-inf")     # when that is another
        self.began = None               # type: Optional[float] # the first `now`
        self.loading = False            # the server is still reading its store
        self.statistics = Statistics()
        self.peers = {}                 # type: Dict[Peer, None]
        self.registry = Registry(self.limits, policy or FunctionPolicy(), dict(policies or {}), self.statistics)
        self.functions = self.registry.by_name
        self.jobs = {}                  # type: Dict[bytes, Job] # by handle: all but those set aside
        self.aside = {}                 # type: Dict[bytes, Job] # by handle
        self.totals = self.registry.totals  # of functions that are gone, and what belongs to none
        # What else is counted, for `show totals`; the server adds to it.
        self.counters = dict.fromkeys(list(REFUSAL_COUNTERS.values()) + ["late_results"], 0)  # type: Dict[str, int]
        self.size = 0                   # bytes of all workloads
        self.unsent = []                # type: List[Peer] # one list for ever, as every peer knows it; the server empties it
        self.draining = False           # no new jobs are accepted
        self.stopping = ""              # "now" or "graceful"
        self.store_trouble = b""        # why background jobs cannot be accepted at present
        self.job_chain = Chain()
        self.aside_chain = Chain()
        self.turns = Turns()
        self.roster = Roster(self.functions, wakeup)
        self.ledger = Ledger(durable)
        self.uniques = Uniques()
        self.results = Results(self.limits.kept_bytes)
        self.time_limits = Timers()     # of running jobs, by `now`
        self.delayed = Timers()         # of jobs that wait for a date, by `wall`
        self.retries = Timers()         # of jobs that wait for their next attempt, by `now`
        self._foreground = []           # type: List[Job] # with a graceful stop ahead, those that clients may still wait for
        self._foreground_known = False  # they are all that there are
        self._handlers = {}             # type: Dict[FrozenSet[str], List[Callable[..., None]]] # by rights

    def __repr__(self) -> str:
        return "<Core: %d peers, %d functions, %d jobs, %d set aside>" % (
            len(self.peers), len(self.functions), len(self.jobs), len(self.aside))

    # ---------------------------------------------------------------------------------------------- called by the server

    def connect(self, peer: Peer, rights: "FrozenSet[str]" = ALL_RIGHTS) -> None:
        """Take note of a new connection and of what it may do."""
        peer.rights = rights
        handlers = self._handlers.get(rights)
        if handlers is None:
            handlers = self._handlers[rights] = handler_table(rights)
        peer.handlers = handlers
        peer.unsent = self.unsent
        peer.exceptions = self.exceptions
        self.peers[peer] = None

    def receive(self, peer: Peer, packets: "Iterable[Packet]") -> "List[Packet]":
        """Obey the packets of a peer, in their order; return those that wait for its next turn, as others take long."""
        handlers, turns = peer.handlers, self.turns
        peer.heard = self.now
        turns.packets = packets = iter(packets)  # whoever does what takes long takes the rest out
        for packet_type, arguments in packets:
            handlers[packet_type](self, peer, arguments)
        rest = turns.rest
        if rest:
            turns.rest = NO_PACKETS
        return rest

    def refuse(self, peer: Peer, error: ProtocolError) -> None:
        """Give a peer up whose stream cannot be read any further."""
        if error.code:
            peer.error(error.code, str(error).encode("utf-8", "backslashreplace"))
        peer.closing = True

    def disconnect(self, peer: Peer) -> None:
        """Forget a connection: its jobs go back into their queues, what only it was waiting for is dropped."""
        self.peers.pop(peer, None)  # not there the second time, when the server tries again what has failed
        peer.gone = True
        self.turns.abandon(peer)
        if peer.watching:
            self.turns.finish(self._abandon_jobs(peer))
        self.turns.finish(self._withdraw(peer))  # before its jobs wait again, each of which wakes another by itself
        if peer.running:
            self.turns.finish(self._give_back(peer, b"the worker was lost"))

    def _abandon_jobs(self, peer: Peer) -> "Iterator[Data]":
        """A client is lost: it watches no job any longer."""
        while peer.watching:
            for _ in range(min(len(peer.watching), STEP)):
                job, _ = peer.watching.popitem()
                if leave(peer, job):
                    self._end_if_in_vain(job)
            if peer.watching:
                yield b""

    def _give_back(self, peer: Peer, error: bytes) -> "Iterator[Data]":
        """The jobs of a worker go back that it can no longer do, in the order in which it got them."""
        running, peer.running = peer.running, {}
        jobs = []  # type: List[Job] # the last one first
        while running:  # emptied bit by bit, as all of it at once would take long if there are very many
            jobs += [running.popitem()[1] for _ in range(min(len(running), MANY))]
            if running:
                yield b""
        while jobs:
            for job in [jobs.pop() for _ in range(min(len(jobs), STEP))]:
                if job.worker is not peer:
                    continue
                if job.function.name in peer.abilities:
                    peer.running[job.handle] = job
                else:
                    self._attempt_lost(job, error)
            if jobs:
                yield b""

    def tick(self, now: float, wall: float) -> None:
        """Take note of the time, monotonic and unix, and do what is due."""
        set_back = wall - now < self.wall - self.now - CLOCK_STEP
        self.now = now
        self.wall = wall
        if now >= self._second_ends:
            self.second = int(now)
            self._second_ends = self.second + 1
            if self.began is None:
                self.began = now
            if self.results.overdue(now):
                self.turns.finish(forget_overdue(self))
        if set_back:
            self.turns.finish(self._bring_forward())
        if self.time_limits.entries or self.delayed.entries or self.retries.entries:
            self._do_what_is_due()
        escalations = self.roster.escalations
        if escalations and escalations[0][0] <= now:
            self.roster.escalate(now)
        if now >= self.registry.forget_at:
            self.registry.forget_unused(now)

    def _do_what_is_due(self) -> None:
        """End attempts that take too long, and have jobs wait in their queues whose time has come."""
        now, wall = self.now, self.wall
        for _ in range(STEP):  # the rest at the next tick, which `wait_time` does not put off
            job = self.time_limits.pop_due(now)
            if job is None:
                break
            job.timer = None
            if job.background:
                self._attempt_lost(job, b"the time limit ran out")
            else:
                job.function.totals.lost += 1
                self._note_end(job, END_LOST, b"the time limit ran out")
                self._take_out(job)
                self._fail(job)
        for _ in range(STEP):
            job = self.delayed.pop_due(wall) or self.retries.pop_due(now)
            if job is None:
                break
            job.timer = None
            job.function.release(job)
            self._enqueue(job)
            self.put_behind(job)

    def _bring_forward(self) -> "Iterator[Data]":
        """The wall clock was set back: have jobs that recur come when they are due by the clock as it is now."""
        for count, jobs in enumerate(self.job_chain.walk()):
            if count:
                yield b""
            for job in jobs:
                if job.state is DELAYED and job.schedule is not None and not job.attempts:
                    due = self._due_by_the_clock(job)
                    if due < job.due:
                        self.delay_again(job, due)

    def _due_by_the_clock(self, job: Job) -> float:
        """When a job is due that recurs, by the clock as it is now."""
        try:
            return job.schedule.corrected(job.due, self.wall)  # type: ignore[no-any-return]
        except ValueError:  # the clock is beyond the calendar
            return float(job.due)

    def settle(self) -> None:
        """Finish what the packets of one wake-up began."""
        roster = self.roster
        if self.stopping:
            self._hold_back()
        if roster.changed:
            roster.settle()
        if roster.expecting:
            for _ in range(min(len(roster.expecting), STEP)):
                self._push_job(roster.expecting.popleft())

    def wait_time(self) -> "Optional[float]":
        """The seconds until something is due, or None."""
        if self.turns.chores or self.roster.expecting:
            return 0.0
        waits = []
        when = self.time_limits.next_time()
        if when is not None:
            waits.append(when - self.now)
        when = self.delayed.next_time()
        if when is not None:
            waits.append(when - self.wall)
        when = self.retries.next_time()
        if when is not None:
            waits.append(when - self.now)
        if self.registry.overdue(self.now):
            waits.append(0.0)  # with those that are to come there is no hurry
        when = self.roster.next_escalation()
        if when is not None:
            waits.append(when - self.now)
        return max(0.0, min(waits)) if waits else None

    def stored(self) -> None:
        """All records are on disk: what waited for that goes on."""
        self.store_trouble = b""
        for job in self.ledger.kept():
            if job.state is STORING:
                job.function.release(job)
                self.place(job)
                if job.due and job.state is WAITING:
                    self.put_behind(job)  # its time has come since it was recorded

    def not_stored(self, reason: bytes) -> None:
        """The records could not be written: refuse the jobs that are new among them, and further ones until `stored`.

        The other records are kept for later, and so is the removal of the refused ones, whose rows may have reached the disk
        although writing them failed.
        """
        self.store_trouble = reason
        self.totals.refused += len(self.ledger.promises)
        for job in self.ledger.broken(reason):
            self._refuse_stored(job)

    def _refuse_stored(self, job: Job) -> None:
        """Have a job in the background no more; it goes on only if a client waits for it, and once."""
        job.background = False
        job.schedule = None
        if job.watchers and self.stopping:  # a graceful stop does not know that it is one to wait for
            self._foreground.append(job)
            self.roster.handing_out = True
        if job.state is STORING and job.watchers:
            job.function.release(job)
            self.place(job)
        elif job.state is SET_ASIDE:
            self._leave_aside(job)
        elif job.state is not GONE and not job.watchers:
            self._end_if_in_vain(job)

    def restore(self, record: "AddRecord") -> Job:
        """Take in a job from the store, in the order of the store.  Raises ValueError if its schedule is none."""
        age = max(0.0, self.wall - record.created)  # the clock may have been set back
        function = self.add_function(record.function)
        job = Job(record.handle, function, record.unique, record.workload, record.priority, True, self.now - age)
        job.reducer, job.due, job.attempts, job.error = record.reducer, record.due, record.attempts, record.error
        if record.schedule is not None:
            job.schedule = Schedule(record.schedule)
        job.position = record.position
        self.ledger.position = max(self.ledger.position, job.position)
        self._take_in(job)
        if record.state == SET_ASIDE:
            self._keep_aside(job)
            return job
        self._list(job)
        if record.state == HELD:
            predecessor = function.uniques.get(unique_key(job.unique, job.workload))
            if predecessor is not None and predecessor.successor is None:
                predecessor.successor = job
        self.uniques.add(job)
        if record.state == WAITING:
            self._enqueue(job)
            job.since = job.created
            return job
        if job.schedule is not None and not job.attempts and job.due > self.wall:
            job.due = self._due_by_the_clock(job)
        self.place(job)
        if job.state is WAITING:  # its time came while no server ran
            self.put_behind(job)
        return job

    def _take_in(self, job: Job) -> None:
        """Count a job that is there from now on."""
        self.size += len(job.workload)
        job.function.admit(job)

    def _list(self, job: Job) -> None:
        """Have a job found by its handle, and in listings."""
        self.jobs[job.handle] = job
        self.job_chain.add(job)

    def snapshot(self) -> "List[Any]":
        """Records of all background jobs, in the order in which to restore them, and of what is kept of others."""
        return [self.record_of(job) for job in self.background_jobs()] + self.results.records()

    def record_of(self, job: Job) -> "AddRecord":
        """The record that adds a job as it is now."""
        return record_of_job(job, self.now, self.wall)

    def background_jobs(self) -> "List[Job]":
        """All background jobs, in the order in which to restore them."""
        running = [job for job in self.jobs.values() if job.state is RUNNING]
        waiting = [job for function in self.functions.values() for job in function.jobs_waiting()]
        others = [job for job in self.jobs.values() if job.state not in (RUNNING, WAITING)]
        return [job for job in running + waiting + others + list(self.aside.values()) if job.background]

    @property
    def records(self) -> "List[Any]":
        """What the store has to be told."""
        return self.ledger.records

    # ------------------------------------------------------------------------------------------------ orders from an admin

    def drain(self, draining: bool) -> None:
        """Accept no new jobs, or accept them again."""
        self.draining = draining

    def stop(self, graceful: bool) -> None:
        """Ask the server to stop: at once, or gracefully: no new jobs are accepted, and it ends when it is `idle`."""
        if graceful and not self.stopping and self.ledger.durable:
            self.turns.finish(self._find_foreground())
        if self.stopping != "now":
            self.stopping = "graceful" if graceful else "now"
        self.draining = True

    @property
    def idle(self) -> bool:
        """Whether a graceful stop may end: no job is left or, with a store, none runs and no client waits for one."""
        if self.turns.chores:
            return False
        if not self.ledger.durable:
            return not self.jobs
        return not self.roster.handing_out and not any(peer.running for peer in self.peers)

    def _hold_back(self) -> None:
        """With a graceful stop ahead, background jobs stay in the store once no client waits any longer."""
        if not self.ledger.durable or not self.roster.handing_out:
            return
        foreground = self._foreground
        while foreground and (foreground[-1].background or foreground[-1].state is GONE):
            foreground.pop()
        if not foreground and self._foreground_known:
            self.roster.handing_out = False

    def _find_foreground(self) -> "Iterator[Data]":
        """Find the jobs that clients may wait for; no others come, as a server that stops takes none."""
        for count, jobs in enumerate(self.job_chain.walk()):
            if count:
                yield b""
            self._foreground += [job for job in jobs if not job.background]
        self._foreground_known = True

    @property
    def handle_prefix(self) -> bytes:
        """What stands before the colon and the number in every handle."""
        return self.handles.prefix

    @property
    def numbers(self) -> "Optional[Callable[[int], int]]":
        """What gives blocks of numbers."""
        return self.handles.numbers

    @property
    def number(self) -> int:
        """That of the last handle given out."""
        return self.handles.number

    def take_numbers(self, after: int = 0) -> None:
        """Have the next handles numbered from a new block, beyond all that were given out and `after`."""
        self.handles.take_block(after)

    def add_function(self, name: bytes) -> Function:
        """The function of that name, made if it is new."""
        return self.registry.add(name, self.now)

    def drop_job(self, job: Job) -> None:
        """Set a job aside that does not run, or end it if it is no background job, as its function is dropped."""
        if job.state not in (RUNNING, SET_ASIDE, GONE):
            self._note_end(job, END_CANCELLED, b"its function was dropped")
            self._take_out(job)
            self._give_up(job, b"its function was dropped")

    def cancel(self, job: Job) -> None:
        """End a job wherever it is; its watchers get WORK_FAIL, a worker's later result is ignored with an ERROR."""
        if job.state is GONE:
            return
        job.function.totals.cancelled += 1
        if job.state is SET_ASIDE:
            self.purge(job)
        else:
            keep_end(self, job, END_CANCELLED, self.now - job.since if job.state is RUNNING else 0.0)
            self._note_end(job, END_CANCELLED)
            self._take_out(job)
            self._fail(job)

    def run_now(self, job: Job) -> bool:
        """Have a job that waits for a date, or for its next attempt, wait in its queue at once; False for another job."""
        if job.state is not DELAYED:
            return False
        self._take_out(job)
        self._enqueue(job)
        self.put_behind(job)
        return True

    def requeue(self, job: Job) -> None:
        """Give a job that was set aside a new start."""
        if job.state is not SET_ASIDE:
            return
        old, function = job, self.add_function(job.function.name)
        self._leave_aside(old)
        # As another object, since what was set aside has no way back: it ends.
        job = Job(old.handle, function, old.unique, old.workload, old.priority, True, old.created)
        job.reducer, job.due, job.joins, job.schedule = old.reducer, old.due, old.joins, old.schedule
        if self.ledger.storing.pop(old, job) is None:
            self.ledger.storing[job] = None
        if old.attempts:
            job.due = 0.0  # that was the time of an attempt
        self._take_in(job)
        self._list(job)
        self.uniques.add(job)
        self.place(job)
        self.put_behind(job)

    def purge(self, job: Job) -> None:
        """Forget a job that was set aside."""
        if job.state is SET_ASIDE:
            keep_end(self, job, END_FAILED, 0.0, job.error)
            self._leave_aside(job)
            self.ledger.remove(job)

    def _leave_aside(self, job: Job) -> None:
        """The end of a job that was set aside."""
        del self.aside[job.handle]
        untie(job)
        self.size -= len(job.workload)
        job.function.release(job)
        job.function.end(job)
        self.registry.note_unused(job.function, self.now)

    def pause(self, function: Function) -> None:
        """Give out no more jobs of a function."""
        function.pause()

    def resume(self, function: Function) -> None:
        """Give out the jobs of a function again."""
        function.resume()
        self.registry.note_unused(function, self.now)
        self.turns.finish(self.roster.wake_for_all(function, self.now))

    # ---------------------------------------------------------------------------------------------------------- abilities

    def register(self, peer: Peer, name: bytes, time_limit: float) -> None:
        """A peer can do a function, within so many seconds if that is not 0."""
        most = self.limits.abilities
        if name not in peer.abilities and most and len(peer.abilities) >= most:
            tell_refusal(self.counters, peer, TOO_MANY_ABILITIES)
        elif not self.registry.make_room_for(name):
            tell_refusal(self.counters, peer, TOO_MANY_FUNCTIONS)
        else:
            self.roster.register(peer, self.add_function(name), time_limit)

    def unregister(self, peer: Peer, name: bytes) -> None:
        """A peer can no longer do a function; its jobs of this go back."""
        if name not in peer.abilities:
            return
        function = self.functions[name]
        self.roster.unregister(peer, function)
        self._after_unregistering(function, peer.sleep != ASLEEP)
        if peer.running and function.running:
            self.turns.undertake(peer, self._give_back(peer, b"the worker gave it back"), lasts=True)

    def unregister_all(self, peer: Peer) -> None:
        """A peer can do nothing any longer; its jobs go back."""
        self.turns.finish(self._withdraw(peer))
        if peer.running:
            self.turns.undertake(peer, self._give_back(peer, b"the worker gave it back"), lasts=True)

    def _withdraw(self, peer: Peer) -> "Iterator[Data]":
        awake = peer.sleep != ASLEEP
        for count, function in enumerate(self.roster.unregister_all(peer), 1):
            self._after_unregistering(function, awake)
            if not count % STEP:
                yield b""

    def _after_unregistering(self, function: Function, awake: bool) -> None:
        if not function.workers:
            self.registry.note_unused(function, self.now)
        if awake:
            self.roster.pass_on(function, self.now)

    # -------------------------------------------------------------------------------------------------------- the arrows

    def place(self, job: Job) -> None:
        """Give a new job the state that it begins with."""
        if job.unique and predecessor_of(job) is not None:
            job.function.hold(job)
        elif job.due > self.wall and job.attempts:  # restored: the clock may have been set back
            self._retry_after(job, min(job.due - self.wall, job.function.policy.delay(job.attempts, 1.0)))
        elif job.due > self.wall:
            self._delay(job, job.due)
            self.roster.rouse(job.function, self.roster.wakeup or 0)  # as gearmand does; the job itself will wake them again
        else:
            self._enqueue(job)

    def put_behind(self, job: Job) -> None:
        """A job has another state, and its place is behind all others: have a restart know that."""
        ledger = self.ledger
        if ledger.durable:
            ledger.put_behind(job, self.number)
            lead = (ledger.position - place_of(self.number)) // POSITIONS
            if lead > 0:  # after as many jobs as lie between two new ones
                self.handles.number += lead
            ledger.update(job, self.wall)

    def _end_if_in_vain(self, job: Job) -> None:
        """The last watcher left: a foreground job that does not run is in vain."""
        if not job.background and job.state is not RUNNING:
            self._take_out(job)
            self._forget(job)

    def _enqueue(self, job: Job) -> None:
        job.since = self.now
        job.function.push(job)
        self.roster.wake(job.function, self.now)

    def _delay(self, job: Job, due: float) -> None:
        """Have a job wait for a date."""
        job.due = due
        job.function.delay(job, self.delayed.add(due, job))

    def delay_again(self, job: Job, due: float) -> None:
        """Have a job that waits for a date wait for another."""
        self._take_out(job)
        self._delay(job, due)
        self.put_behind(job)

    def _retry_after(self, job: Job, pause: float) -> None:
        """Have a job wait for its next attempt, however the wall clock is set meanwhile."""
        job.due = self.wall + pause
        job.function.delay(job, self.retries.add(self.now + pause, job))

    def _take_out(self, job: Job) -> None:
        """Take a job out of the state in which it is; from a worker, whose later packets for it get JOB_NOT_FOUND."""
        if job.state is RUNNING:
            job.worker.running.pop(job.handle, None)
            job.progress = None
            if job.timer is not None:
                self.time_limits.cancel(job.timer)
                job.timer = None
            job.function.stop(job)
            return
        if job.timer is not None:
            (self.retries if job.attempts else self.delayed).cancel(job.timer)
            job.timer = None
        job.function.release(job)

    def joins_in_turns(self, peer: Peer, packet_type: int) -> bool:
        """Whether a peer has so many abilities that it takes turns to see what waits for it; the packet comes after it."""
        if len(peer.abilities) <= MANY:
            return False
        self.turns.undertake(peer, self.roster.join_in_steps(peer), lasts=True, then=[(packet_type, ())])
        return True

    def assign(self, peer: Peer) -> "Optional[Job]":
        """Give a peer the next job that it can do."""
        roster = self.roster
        ability_set = peer.ability_set or roster.join(peer)
        if peer.sleep:
            if peer.sleep == ASLEEP:
                ability_set.sleepers.pop(peer, None)
            peer.sleep = AWAKE
        job = ability_set.take(peer) if roster.handing_out else None
        if job is None:
            return None
        peer.running[job.handle] = job
        now, function = self.now, job.function
        if function.noted != self.second:
            self.statistics.note(function, self.second, now, 1)
        job.waited = waited = now - job.since
        job.since = now
        if function.statistics is not None:
            function.statistics.waited.observe(waited)
        if peer.time_limits:
            time_limit = peer.time_limits.get(function)
            if time_limit is not None:
                job.timer = self.time_limits.add(now + time_limit, job)
        return job

    def _push_job(self, peer: Peer) -> None:
        """Give a peer that said ALL_YOURS the job for which it was woken."""
        if peer.sleep == WOKEN and not peer.closing:
            job = self.assign(peer)
            if job is not None:
                peer.hand_over(job, peer.all_yours)
            else:
                self.roster.fall_asleep(peer)

    def _attempt_lost(self, job: Job, error: bytes) -> None:
        """A running job came to no end: try again, unless it did that too often or nobody cares any longer."""
        job.function.totals.lost += 1
        self._note_end(job, END_LOST, error)
        self._take_out(job)
        job.attempts += 1
        if not job.background and not job.watchers:
            self._forget(job)
            return
        job.collected = None
        retries = job.function.policy.retries
        if retries and job.attempts >= retries:
            self._give_up(job, error)
            return
        job.error = error
        job.function.totals.requeued += 1
        self._enqueue(job)
        self.put_behind(job)

    def attempt_failed(self, job: Job, error: bytes, exception: "Optional[Data]", handle: bytes) -> None:
        """A worker failed a job: a background job tries again if the policy says so, all else ends.

        `handle` is as the worker wrote it, which may be with a NUL at its end.
        """
        job.worker.failed += 1
        self._note_end(job, END_FAILED, error)
        self._take_out(job)
        policy = job.function.policy
        if job.background and policy.attempts > 1:
            job.attempts += 1
            if job.attempts < policy.attempts:
                job.collected = None
                job.error = error
                jitter = (parse_number(job.handle.rpartition(b":")[2]) + job.attempts) * 2654435761 % 1000 / 1000.0
                self._retry_after(job, policy.delay(job.attempts, jitter))
                self.put_behind(job)
                job.function.totals.requeued += 1
                return
        tell_failure(self.turns, job, exception, handle)
        job.function.totals.failed += 1
        if job.background and policy.attempts > 1:
            unwatch(job)
            self._set_aside(job, error)
        else:
            keep_end(self, job, END_FAILED, self.now - job.since, b"" if exception is None else exception)
            self._end(job)

    def _note_end(self, job: Job, outcome: str, text: bytes = b"") -> None:
        """Remember how an attempt ended that is still running, or a job that is not."""
        function, worker = job.function, job.worker
        if function.noted != self.second:
            self.statistics.note(function, self.second, self.now)
        statistics = function.statistics
        if statistics is not None:
            end = (job.handle, job.unique, outcome, self.wall, job.waited, self.now - job.since if worker is not None else 0.0,
                   worker.identity if worker is not None else None, text[:MAX_TEXT_SIZE])
            statistics.ends.append(end)
            if outcome is not END_CANCELLED:
                statistics.last_failure = end

    def _give_up(self, job: Job, error: bytes) -> None:
        """No attempts are left."""
        if job.background:
            tell_failure(self.turns, job, None, job.handle)
            unwatch(job)
            self._set_aside(job, error)
        else:
            self._fail(job)

    def _fail(self, job: Job) -> None:
        """End a job, taken out of its state, without a result."""
        tell_failure(self.turns, job, None, job.handle)
        job.function.totals.failed += 1
        unwatch(job)
        self._forget(job)

    def finish(self, job: Job) -> None:
        """A running job is complete."""
        function, worker = job.function, job.worker
        # What `_note_end` and `_take_out` do (benchmark: every job).
        if function.noted != self.second:
            self.statistics.note(function, self.second, self.now)
        statistics = function.statistics
        if statistics is not None:
            ran = self.now - job.since
            statistics.ran.observe(ran)
            end = (job.handle, job.unique, END_COMPLETED, self.wall, job.waited, ran, worker.identity, b"")
            statistics.last_success = end
            statistics.ends.append(end)
        function.totals.completed += 1
        worker.completed += 1
        worker.running.pop(job.handle, None)
        if job.timer is not None:
            self.time_limits.cancel(job.timer)
            job.timer = None
        function.stop(job)
        if job.extras.schedule is not None:
            self._end(job)
            return
        # What `_end` and `unwatch` do (benchmark: every job).
        for peer in job.watchers:
            peer.watching.pop(job, None)
        job.watchers = NO_WATCHERS
        self._forget(job)

    def _end(self, job: Job) -> None:
        """Forget a job that was taken out of its state, unless it recurs."""
        if job.watchers:
            unwatch(job)
        if job.schedule is None:
            self._forget(job)
            return
        job.attempts = 0
        job.progress = None
        try:
            job.due = job.schedule.next_time(max(self.wall, job.due))  # the latter if the clock was set back meanwhile
        except ValueError as error:
            self._set_aside(job, str(error).encode())
            return
        self._delay(job, self._due_by_the_clock(job))
        self.put_behind(job)
        if job.successor is not None:
            self._promote(job)

    def _set_aside(self, job: Job, error: bytes) -> None:
        """Keep a background job until somebody requeues or purges it."""
        job.error = error
        job.function.totals.set_aside += 1
        del self.jobs[job.handle]
        untie(job)
        self._keep_aside(job)
        self.uniques.remove(job)
        self.put_behind(job)
        if job.successor is not None:
            self._promote(job)
        elif job.unique:
            self._disown(job)

    def _keep_aside(self, job: Job) -> None:
        self.aside[job.handle] = job
        self.aside_chain.add(job)
        job.function.set_aside(job)

    def _forget(self, job: Job) -> None:
        """The end of a job that was taken out of its last state."""
        del self.jobs[job.handle]
        # What `untie` does (benchmark: every job).
        earlier, later = job.earlier, job.later
        earlier.later = later
        later.earlier = earlier
        job.earlier = job.later = None
        self.size -= len(job.workload)
        function = job.function
        function.end(job)
        if not function.workers:
            self.registry.note_unused(function, self.now)
        if job.unique:
            self.uniques.remove(job)
            if job.successor is not None:
                self._promote(job)
            else:
                self._disown(job)
        if job.background:
            self.ledger.remove(job)

    def _promote(self, job: Job) -> None:
        """The job that waited for the end of this one gets its turn."""
        successor, job.successor = job.successor, None
        assert successor is not None
        self.uniques.add(successor)
        if successor.state is HELD:
            successor.function.release(successor)
            self.place(successor)
            self.put_behind(successor)
        else:
            self.ledger.update(successor, self.wall)

    def _disown(self, successor: Job) -> None:
        """A job is gone that may have been waiting for the end of another."""
        predecessor = predecessor_of(successor)
        if predecessor is not None:
            predecessor.successor = None

"""The core: everything that the job server decides.  Here is its whole interface, and a table of where each decision is made.

The core has no socket, thread, lock or clock.  In: `connect`, `receive`, `disconnect`, `tick`, `restore`, `stored`, `stop`.
Out: bytes in `peer.outgoing`, each such peer listed once in `unsent`; `ledger.records` for the store; `peer.closing`;
`stopping`.  A peer's mistake never raises: it is answered with an ERROR packet.

What the core knows is in the module state.  Who may ask for what is in the module handlers for packets, and in the module text
for text commands.  The states of a job, and the arrows between them, are a table in the module jobs.  These functions decide
which arrow a job takes; their first argument is the core:

    its submit, a start of the server        store; or hold, delay or push   submits.submit, storing.restore_job
    another server's take-over               hold, delay, push, set_aside    storing.adopt_job
    its record is on disk                    hold, delay or push             storing.let_stored_go_on
    its time has come                        push                            clock.do_what_is_due
    the equal job before it has ended        delay or push                   transitions.promote
    a worker grabs                           start                           attempts.assign
    WORK_COMPLETE                            end; delay if it recurs         attempts.finish
    WORK_FAIL, WORK_EXCEPTION                delay while attempts are left   attempts.attempt_failed
                                             else set_aside, or end
    its worker is lost, or is too slow       push while retries are left     attempts.attempt_lost
                                             else set_aside, or end
    its last watcher has left                end, unless it runs             transitions.end_in_vain
    cancel                                   end                             orders.cancel_job
    run job                                  push                            orders.run_now
    drop function with force                 set_aside, or end               orders.drop_job
    purge; requeue, which makes it anew      end                             orders.purge_job, orders.requeue_job
"""
from .abilities import give_back, withdraw
from .attempts import push_job
from .clock import bring_forward, do_what_is_due
from .handlers import handler_table
from .jobs import RUNNING, WAITING
from .ledger import record_of_job
from .results import forget_overdue
from .rights import ALL_RIGHTS
from .standing import standing_orders
from .state import CoreState
from .stopping import begin_stop, hold_back, may_end
from .storing import adopt_job, let_stored_go_on, refuse_unstored, restore_job, restore_jobs, restore_usual_jobs
from .tables import LARGE_TABLE, in_layers, in_parts
from .transitions import end_in_vain
from .turns import NO_PACKETS, STEP
from .watchers import leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, FrozenSet, Iterable, Iterator, List, Optional
    from ..errors import ProtocolError
    from ..wire.protocol import Data, Packet
    from .jobs import Job
    from .ledger import AddRecord, UsualJobs
    from .peers import Peer

CLOCK_STEP = 1.0       # seconds; a wall clock that loses more against the monotonic one from one look to the next was set back


class Core(CoreState):
    """The job server without its sockets.  Its arguments and its owner are described at CoreState."""

    def connect(self, peer: "Peer", rights: "FrozenSet[str]" = ALL_RIGHTS) -> None:
        """Take note of a new connection and of what it may do."""
        peer.rights = rights
        handlers = self.handler_tables.get(rights)
        if handlers is None:
            handlers = self.handler_tables[rights] = handler_table(rights)
        peer.handlers = handlers
        peer.unsent = self.unsent
        peer.exceptions = self.exceptions
        self.peers[peer] = None

    def receive(self, peer: "Peer", packets: "Iterable[Packet]") -> "List[Packet]":
        """Obey the packets of a peer, in their order; return those that wait for its next turn, because one takes long."""
        handlers, turns = peer.handlers, self.turns
        peer.heard = self.now
        turns.packets = packets = iter(packets)  # a handler that takes long takes the rest out
        for packet_type, arguments in packets:
            handlers[packet_type](self, peer, arguments)
        rest = turns.rest
        if rest:
            turns.rest = NO_PACKETS
        return rest

    def refuse(self, peer: "Peer", error: "ProtocolError") -> None:
        """Give up a peer whose stream cannot be read any further."""
        if error.code:
            peer.error(error.code, str(error).encode("utf-8", "backslashreplace"))
        peer.closing = True

    def disconnect(self, peer: "Peer") -> None:
        """Forget a connection: its jobs go back into their queues, and jobs that only it was waiting for are dropped."""
        self.peers.pop(peer, None)  # it is not there the second time, when the server repeats a call that failed
        peer.gone = True
        self.turns.abandon(peer)
        if peer.watching:
            self.turns.finish(self._abandon_jobs(peer))
        self.turns.finish(withdraw(self, peer))  # before its jobs wait again, each of which wakes another by itself
        if peer.running:
            self.turns.finish(give_back(self, peer, b"the worker was lost"))

    def _abandon_jobs(self, peer: "Peer") -> "Iterator[Data]":
        """A client is lost: it watches no job any longer."""
        while peer.watching:
            for _ in range(min(len(peer.watching), STEP)):
                job, _ = peer.watching.popitem()
                if leave(peer, job):
                    end_in_vain(self, job)
            if peer.watching:
                yield b""

    def tick(self, now: float, wall: float) -> None:
        """Take note of the time, monotonic and unix, and do what is due."""
        self.now = now
        self.wall = wall
        ahead = wall - now
        if ahead < self.ahead - CLOCK_STEP:  # it was set back
            self.turns.finish(bring_forward(self))
        self.ahead = ahead
        if now >= self.second_ends:
            self.second = int(now)
            self.second_ends = self.second + 1
            self.each_second()
            if self.statistics.active:
                self.turns.finish(self.statistics.end_steps(now))
            if self.began is None:
                self.began = now
            if len(self.jobs) > LARGE_TABLE // 2:  # submits do not look themselves (benchmark: background submit)
                self.jobs = in_parts(self.jobs)
            if len(self.ledger.storing) > LARGE_TABLE // 2:
                self.ledger.storing = in_layers(self.ledger.storing)
            if self.results.overdue(now):
                self.turns.finish(forget_overdue(self))
            if self.registry.overdue(now):
                self.turns.finish(self.registry.forget_unused(now))
        if self.time_limits.entries or self.delayed.entries or self.retries.entries:
            do_what_is_due(self)
        escalations = self.roster.escalations
        if escalations and escalations[0][0] <= now:
            self.roster.escalate(now)

    def settle(self) -> None:
        """Finish what the packets of one wake-up began."""
        roster = self.roster
        if self.stopping:
            hold_back(self)
        if roster.changed:
            roster.settle()
        if roster.expecting:
            for _ in range(min(len(roster.expecting), STEP)):
                push_job(self, roster.expecting.popleft())

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
        when = self.roster.next_escalation()
        if when is not None:
            waits.append(when - self.now)
        return max(0.0, min(waits)) if waits else None

    def stop(self, graceful: bool) -> None:
        """Ask the server to stop: at once, or gracefully: no new jobs are accepted, and it ends when it is `idle`."""
        begin_stop(self, graceful)

    @property
    def idle(self) -> bool:
        """Whether a graceful stop may end."""
        return may_end(self)

    # ------------------------------------------------------------------------------------------------------- for the store

    def expect_jobs(self, count: int) -> None:
        """So many jobs are to be restored."""
        if count > LARGE_TABLE // 2:
            self.jobs = in_parts(self.jobs)  # while it is small, as all that is in it then is looked up once more each time

    def restore(self, record: "AddRecord") -> "Job":
        """Take in a job from the store, in the order of the store.  Raises ValueError if its schedule is not valid."""
        return restore_job(self, record)

    def restore_all(self, records: "Iterable[AddRecord]") -> None:
        """The same for many, quickly; the error names the job."""
        restore_jobs(self, records)

    def restore_usual(self, jobs: "UsualJobs") -> None:
        """The same for jobs that have nothing unusual, more quickly still."""
        restore_usual_jobs(self, jobs)

    def adopt(self, record: "AddRecord") -> "Optional[Job]":
        """Take in a job that another server had, in the order of its store, while this one runs; None if it is here already.
        Raises ValueError if its schedule is not valid."""
        return adopt_job(self, record)

    def stored(self) -> None:
        """The records that were handed over are on disk: what waited for them goes on."""
        let_stored_go_on(self)

    def not_stored(self, reason: bytes, written: bool = True) -> None:
        """The records are not on disk, though some may be `written`: refuse the new jobs, and further ones until `stored`."""
        refuse_unstored(self, reason, written)

    def background_jobs(self) -> "List[Job]":
        """All background jobs, in the order in which to restore them."""
        jobs = [job for some in self.job_chain.walk() for job in some]
        running = [job for job in jobs if job.state is RUNNING]
        waiting = [job for function in self.functions.values() for job in function.jobs_waiting()]
        others = [job for job in jobs if job.state not in (RUNNING, WAITING)]
        aside = [job for some in self.aside_chain.walk() for job in some]
        return [job for job in running + waiting + others + aside if job.background]

    def record_of(self, job: "Job") -> "AddRecord":
        """The record that adds a job as it is now."""
        return record_of_job(job, self.now, self.wall)

    def snapshot(self) -> "List[Any]":
        """Records of all background jobs, in the order in which to restore them, of what is kept of ended ones, and of the
        orders that stand."""
        return [self.record_of(job) for job in self.background_jobs()] + list(self.results.records()) + list(
            standing_orders(self))

    @property
    def numbers(self) -> "Optional[Callable[[int], int]]":
        """What gives blocks of numbers."""
        return self.handles.numbers

    def take_numbers(self, after: int = 0) -> None:
        """Number the next handles from a new block, beyond all numbers that were given out and beyond `after`."""
        self.handles.take_block(after)

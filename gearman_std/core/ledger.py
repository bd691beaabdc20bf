"""What the store has still to be told, and who waits until it knows."""
from ..wire.protocol import ERROR, pack_response
from .jobs import DELAYED, HELD, SET_ASIDE, STORING, WAITING, place_of
from .uniques import predecessor_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple
    from .jobs import Job
    from .peers import Peer


class Ledger:
    """Records for the store, and the promises that wait for them.  Only background jobs are recorded.

    A record is a tuple: ``("add", handle, function, unique, workload, reducer, priority, due, attempts, state, error, schedule,
    created, position)`` (times in unix seconds), ``("update", handle, state, attempts, due, error, position)``, ``("change",
    handle, column, value)`` or ``("remove", handle)``.

    Positions order the jobs of one priority, and those that are due at one time, whether they were stored when they got their
    places or not: a new job has the one that the number of its handle tells, and one that is put behind all others that of
    the last number given out, and a count.

    Owner: the Core.
    """

    __slots__ = ("durable", "records", "storing", "first_storing", "promises", "position")

    def __init__(self, durable: bool) -> None:
        self.durable = durable  # whether there is a store
        self.records = []       # type: List[Tuple[Any, ...]]
        self.storing = {}       # type: Dict[Job, None] # new jobs that wait for the store
        self.first_storing = 0  # the number of the first new job among them, 0 if there is none
        self.position = 0       # the last one given to a job that was put behind all others
        self.promises = []      # type: List[Tuple[Peer, int]] # whose piece of `outgoing` is a JOB_CREATED not yet true

    def __repr__(self) -> str:
        return "<Ledger: %d records, %d promises>" % (len(self.records), len(self.promises))

    def add(self, job: "Job", now: float, wall: float) -> None:
        """A background job is new, or a job became one."""
        self.records.append(job_record(job, now, wall))

    def update(self, job: "Job", wall: float) -> None:
        """A job has another state."""
        if self.durable and job.background:
            self.records.append(("update", job.handle, _stored_state(job, wall), job.attempts, job.due, job.error,
                                 job.position))

    def put_behind(self, job: "Job", number: int) -> None:
        """A job is put behind all others; `number` is that of the last handle."""
        # New jobs enter their queues when they are stored, so the others are before them.
        last = self.first_storing - 1 if self.first_storing else number
        self.position = job.position = max(self.position, place_of(last)) + 1

    def change(self, job: "Job", column: str, value: "Any") -> None:
        """Another property of a job has changed: its workload, its priority or its schedule."""
        if self.durable and job.background:
            self.records.append(("change", job.handle, column, value))

    def remove(self, job: "Job") -> None:
        """A job is gone."""
        if self.durable and job.background:
            self.records.append(("remove", job.handle))

    def withdraw(self, job: "Job") -> None:
        """What was recorded of a job since the store was last written is out of date."""
        self.records = [record for record in self.records if record[1] != job.handle]

    def promise(self, peer: "Peer") -> None:
        """The next piece that is sent to a peer, JOB_CREATED, is true only when the records are on disk."""
        self.promises.append((peer, len(peer.outgoing)))

    def kept(self) -> "List[Job]":
        """All records are on disk; returns the new jobs that waited for that."""
        self.records = []
        self.promises = []
        self.first_storing = 0
        storing, self.storing = list(self.storing), {}
        return storing

    def broken(self, reason: bytes) -> "List[Job]":
        """The records could not be written: turn the promises into errors, and the new jobs' records into removals.

        Returns the new jobs.
        """
        for peer, index in self.promises:
            if index < len(peer.outgoing):  # else the connection is lost
                peer.outgoing[index] = pack_response(ERROR, b"QUEUE_ERROR", reason)
        records, storing = self.records, self.kept()
        refused = {job.handle for job in storing}
        self.records = [record for record in records if record[1] not in refused]
        self.records += [("remove", job.handle) for job in storing]
        return storing


def job_record(job: "Job", now: float, wall: float) -> "Tuple[Any, ...]":
    """The record that adds a job as it is."""
    extras = job.extras
    state = WAITING if job.state is STORING and not job.unique and not job.due else _stored_state(job, wall)
    return ("add", job.handle, job.function.name, job.unique, job.workload, extras.reducer, job.priority, job.due, job.attempts,
            state, extras.error, extras.schedule.text if extras.schedule else None,
            wall - (now - job.created), job.position)


def _stored_state(job: "Job", wall: float) -> str:
    """The state that a restart brings a job back to."""
    state = job.state
    if state is STORING:
        return HELD if job.unique and predecessor_of(job) is not None else DELAYED if job.due > wall else WAITING
    return state if state in (DELAYED, HELD, SET_ASIDE) else WAITING

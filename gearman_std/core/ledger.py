"""What the store has still to be told, and who waits until it knows."""
from collections import namedtuple

from .jobs import DELAYED, HELD, SET_ASIDE, STORING, WAITING, place_of
from .uniques import predecessor_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple
    from .jobs import Job
    from .peers import Peer
    Record = Any  # one of the six

# What a store is told of a job, by the record's `kind`.  Times are in unix seconds; what `created` and the like are, stands in
# the schema of the store.
ADD, UPDATE, CHANGE, REMOVE, KEEP, FORGET = "add", "update", "change", "remove", "keep", "forget"
AddRecord = namedtuple("AddRecord", "kind handle function unique workload reducer priority due attempts state error schedule "
                                    "created position")
UpdateRecord = namedtuple("UpdateRecord", "kind handle state attempts due error position")
ChangeRecord = namedtuple("ChangeRecord", "kind handle column value")
RemoveRecord = namedtuple("RemoveRecord", "kind handle")
# How a job ended, until that is forgotten.  `ended` is in unix seconds, `waited` and `ran` are durations; `text` is why it
# failed, `data` what its worker sent before its `result`; both are None if they were too large.
KeepRecord = namedtuple("KeepRecord", "kind handle function unique outcome ended waited ran attempts text data result")
ForgetRecord = namedtuple("ForgetRecord", "kind handle")
_new_record = tuple.__new__  # type: Any # as the record's class does it, with a call less (benchmark: durable submit)


class Ledger:
    """Records for the store, and the promises that wait for them.  Only background jobs are recorded.

    Positions order the jobs of one priority, and those that are due at one time, whether they were stored when they got their
    places or not: a new job has the one that the number of its handle tells, and one that is put behind all others that of
    the last number given out, and a count.

    Owner: the Core.
    """

    __slots__ = ("durable", "records", "storing", "first_storing", "promises", "position")

    def __init__(self, durable: bool) -> None:
        self.durable = durable  # whether there is a store
        self.records = []       # type: List[Any]
        self.storing = {}       # type: Dict[Job, None] # new jobs that wait for the store
        self.first_storing = 0  # the number of the first new job among them, 0 if there is none
        self.position = 0       # the last one given to a job that was put behind all others
        self.promises = []      # type: List[Tuple[Peer, int]] # who was promised what, see there

    def __repr__(self) -> str:
        return "<Ledger: %d records, %d promises>" % (len(self.records), len(self.promises))

    def add(self, job: "Job", now: float, wall: float) -> None:
        """A background job is new, or a job became one."""
        self.records.append(record_of_job(job, now, wall))

    def update(self, job: "Job", wall: float) -> None:
        """A job has another state."""
        if self.durable and job.background:
            self.records.append(UpdateRecord(UPDATE, job.handle, _stored_state(job, wall), job.attempts, job.due, job.error,
                                             job.position))

    def put_behind(self, job: "Job", number: int) -> None:
        """A job is put behind all others; `number` is that of the last handle."""
        # New jobs enter their queues when they are stored, so the others are before them.
        last = self.first_storing - 1 if self.first_storing else number
        self.position = job.position = max(self.position, place_of(last)) + 1

    def change(self, job: "Job", column: str, value: "Any") -> None:
        """Another property of a job has changed: its workload, its priority or its schedule."""
        if self.durable and job.background:
            self.records.append(ChangeRecord(CHANGE, job.handle, column, value))

    def remove(self, job: "Job") -> None:
        """A job is gone."""
        if self.durable and job.background:
            self.records.append(_new_record(RemoveRecord, (REMOVE, job.handle)))

    def keep(self, record: KeepRecord) -> None:
        """It is kept how a job ended."""
        if self.durable:
            self.records.append(record)

    def forget(self, handle: bytes) -> None:
        """It is no longer kept how a job ended."""
        if self.durable:
            self.records.append(ForgetRecord(FORGET, handle))

    def withdraw(self, job: "Job") -> None:
        """What was recorded of a job since the store was last written is out of date."""
        self.records = [record for record in self.records if record.handle != job.handle]

    def promise(self, peer: "Peer", reply: bytes) -> None:
        """Send a peer a JOB_CREATED that is true only when the records are on disk."""
        self.promises.append((peer, peer.promise(reply)))

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
        for peer, place in self.promises:
            peer.break_promise(place, reason)
        records, storing = self.records, self.kept()
        refused = {job.handle for job in storing}
        self.records = [record for record in records if record.handle not in refused]
        self.records += [RemoveRecord(REMOVE, job.handle) for job in storing]
        return storing


def record_of_job(job: "Job", now: float, wall: float) -> AddRecord:
    """The record that adds a job as it is."""
    extras = job.extras
    state = WAITING if job.state is STORING and not job.unique and not job.due else _stored_state(job, wall)
    return _new_record(AddRecord, (  # type: ignore[no-any-return]
        ADD, job.handle, job.function.name, job.unique, job.workload, extras.reducer, job.priority, extras.due, job.attempts,
        state, extras.error, extras.schedule.text if extras.schedule else None, wall - (now - job.created), job.position))


def _stored_state(job: "Job", wall: float) -> str:
    """The state that a restart brings a job back to."""
    state = job.state
    if state is STORING:
        return HELD if job.unique and predecessor_of(job) is not None else DELAYED if job.due > wall else WAITING
    return state if state in (DELAYED, HELD, SET_ASIDE) else WAITING

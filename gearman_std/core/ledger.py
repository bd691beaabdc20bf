"""The records that the store has not got yet, and who waits until it has them."""
from collections import namedtuple
from itertools import islice

from .handles import handle_number
from .jobs import DELAYED, HELD, NO_EXTRAS, SET_ASIDE, STORING, WAITING, place_of
from .uniques import predecessor_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, MutableMapping, Optional, Tuple
    from ..wire.protocol import Data
    from .jobs import Job
    from .limits import Limits
    from .peers import Peer
    Record = Any  # one of the seven
    Piece = Any  # what a store gives back at once: a list of records, or UsualJobs

# The records that a store is given, by their `kind`; all but the last are about a job.  Times are in unix seconds.  The store's
# schema explains `created` and the other fields.
ADD, UPDATE, CHANGE, REMOVE, KEEP, FORGET, ORDER = "add", "update", "change", "remove", "keep", "forget", "order"
AddRecord = namedtuple("AddRecord", "kind handle function unique workload reducer priority due attempts state error schedule "
                                    "created position")
UpdateRecord = namedtuple("UpdateRecord", "kind handle state attempts due error position")
ChangeRecord = namedtuple("ChangeRecord", "kind handle column value")
RemoveRecord = namedtuple("RemoveRecord", "kind handle")
# How a job ended; ForgetRecord takes that back.  `waited` and `ran` are durations in seconds; `text` is why the job failed;
# `data` is what its worker sent before its `result`; `data` and `result` are None if they were too large.
KeepRecord = namedtuple("KeepRecord", "kind handle function unique outcome ended waited ran attempts text data result")
ForgetRecord = namedtuple("ForgetRecord", "kind handle")
# An order that stands (see the module standing): for a function, or for the server if `function` is empty.  The value None
# takes the order back.  The handle is always empty.
OrderRecord = namedtuple("OrderRecord", "kind handle name function value")
# Many usual jobs at once, as a store gives them back: they wait, were never tried, and have no reducer, date or schedule.  Each
# field is a sequence with one value for each job, the value that its AddRecord would have.
UsualJobs = namedtuple("UsualJobs", "handles functions uniques workloads priorities created")
_NO_BOUND = float("inf")
_new_record = tuple.__new__  # type: Any # as the record's class does it, with a call less (benchmark: durable submit)

# What the store is given at once, and who waits for it.
Batch = namedtuple("Batch", "number records promises storing holding proving")


def records_of_usual(jobs: UsualJobs) -> "List[AddRecord]":
    """The records that add these jobs."""
    return [AddRecord(ADD, handle, function, unique, workload, None, priority, 0.0, 0, WAITING, b"", None, created,
                      place_of(handle_number(handle)))
            for handle, function, unique, workload, priority, created in zip(*jobs)]


class Ledger:
    """Records for the store, and who waits until it has them.  Only background jobs are recorded.

    Records gather in a batch.  `hand_over` gives the batch to the store; until the store has it, or has refused it, the next
    batch gathers.  A peer that must not be told anything before a batch is on disk is held, see `hold`.

    Positions order the jobs of one priority, and jobs that are due at the same time.  The position of a new job follows from
    the number of its handle.  A job that is put behind all others gets the position of the last number given out, plus a count.

    Owner: the Core; the records of a batch are not changed between `hand_over` and `next_stored`.
    """

    __slots__ = ("durable", "records", "storing", "first_storing", "first_gathered", "promises", "holding", "position", "batch",
                 "under_way", "going_on", "refusal", "refused_batch", "refused_size", "holds_back", "resumed", "size",
                 "size_under_way", "anew", "shared", "proving", "submitters", "foreground", "most_bytes", "_limits", "_room",
                 "_byte_room")

    def __init__(self, durable: bool, limits: "Limits") -> None:
        self.durable = durable   # whether there is a store
        self.records = []        # type: List[Any]
        self.storing = {}        # type: MutableMapping[Job, int] # new jobs whose records gather, with the place of each record
        self.first_storing = 0   # the number of the first new job that waits for the store, 0 if none does
        self.first_gathered = 0  # the same among the jobs whose records still gather
        self.position = 0        # the last position given to a job that was put behind all others
        self.promises = []       # type: List[Tuple[Peer, int]] # who was promised something, and the reply's place
        self.holding = []        # type: List[Peer] # who waits for the batch that gathers
        self.submitters = 0      # how many peers in `holding` wait only because of a promise
        self.foreground = 0      # foreground jobs that came while new jobs waited for the store, since a batch was handed over
        self.batch = 1           # the number of the batch that gathers
        self.under_way = None    # type: Optional[Batch] # the batch that the store has been given
        self.going_on = False    # the store has stored that batch, and its new jobs, and who waited, go on in steps
        self.refusal = None      # type: Any # the Refusal that goes on in steps, None if none does
        self.refused_batch = 0   # the number of the last batch that was refused since the store was in order
        self.refused_size = 0    # bytes of all new jobs and results that were refused since the store was in order
        self.holds_back = True   # peers wait for the store; while it refuses records, none does
        self.resumed = []        # type: List[Peer] # their packets were put off, and are to be obeyed now
        self.size = 0            # bytes of the workloads in the records that gather
        self.shared = False      # another server may take the jobs over: without a proof that none has, no job is handed out
        self.proving = []        # type: List[Peer] # who waits for such a proof, even if no record gathers
        self.anew = False        # the store is written anew, from the jobs as they are found one after the other
        self.most_bytes = 0      # the largest job that the store can take, in bytes; 0 for no limit
        self._limits = limits
        self._make_room(0, 0)

    def __repr__(self) -> str:
        return "<Ledger: %d records, %d promises%s>" % (
            len(self.records), len(self.promises), "" if self.under_way is None else ", a batch under way")

    def add(self, job: "Job", now: float, wall: float) -> None:
        """Record a job that is new, or was a foreground job until now."""
        self.storing[job] = len(self.records)
        self.records.append(record_of_job(job, now, wall))
        self.size += len(job.workload)

    def add_again(self, job: "Job", now: float, wall: float) -> None:
        """Record a job anew: its record still gathers, but it has another workload or schedule now."""
        place, record = self.storing[job], record_of_job(job, now, wall)
        if place < len(self.records) and self.records[place].handle == job.handle:
            self.size += len(job.workload) - len(self.records[place].workload)
            self.records[place] = record
        else:  # in trouble, its record or earlier ones may have been written already; the last record counts
            self.records.append(record)

    def begin_anew(self) -> None:
        """Drop the records: the store is going to be written anew, from the jobs as they are."""
        self.records = []
        self.size = 0
        self.anew = True

    def note_first(self, number: int) -> None:
        """Note that a new job with this number waits for the store."""
        self.first_gathered = number
        self.first_storing = self.first_storing or number

    def stores(self, job: "Job") -> bool:
        """Whether the store is to get a job that it does not have yet."""
        return job in self.storing or self.under_way is not None and job in self.under_way.storing

    def refuses(self, job: "Job") -> bool:
        """Whether the store has refused the job, and the job is still to be told."""
        return self.refusal is not None and self.refusal.has(job)

    def exchange(self, old: "Job", new: "Job", now: float, wall: float) -> None:
        """One Job object takes the place of another with the same handle."""
        for storing in (self.storing,) if self.under_way is None else (self.storing, self.under_way.storing):
            if old in storing:
                storing[new] = storing.pop(old)
        if self.refusal is not None:
            self.refusal.exchange(old, new)
        if self.anew:
            self.records.append(record_of_job(new, now, wall))

    def is_too_large(self, *fields: "Optional[Data]") -> bool:
        """Whether the store cannot take a job with these fields."""
        return 0 < self.most_bytes < sum(len(field) for field in fields if field is not None)

    def is_full(self, size: int) -> bool:
        """Whether so much waits for the store that a job of `size` bytes is too much."""
        return (len(self.records) >= self._room or self.size + size > self._byte_room
                and (bool(self.records) or self.size_under_way > 0))

    @property
    def is_crowded(self) -> bool:
        """Whether so many submits wait for the store that no other may, not even one that joins a job."""
        return 0 < self._limits.unstored_jobs <= self.promised

    def _make_room(self, records: int, size: int) -> None:
        """Set the room that is left beside a batch of so many records, with `size` bytes of new jobs, that the store has."""
        limits = self._limits
        self.size_under_way = size
        self._room = limits.unstored_jobs - records if limits.unstored_jobs else _NO_BOUND
        self._byte_room = limits.unstored_job_bytes - size if limits.unstored_job_bytes else _NO_BOUND

    def update(self, job: "Job", wall: float) -> None:
        """Record that a job has another state."""
        if self.durable and job.background:
            self.records.append(UpdateRecord(UPDATE, job.handle, _stored_state(job, wall), job.attempts, job.due, job.error,
                                             job.position))

    def put_behind(self, job: "Job", number: int) -> None:
        """Give a job the position behind all others; `number` is that of the last handle."""
        # New jobs that are not stored yet are in no queue: this job comes before them.
        last = self.first_storing - 1 if self.first_storing else number
        self.position = job.position = max(self.position, place_of(last)) + 1

    def change(self, job: "Job", column: str, value: "Any") -> None:
        """Record that a job's workload, priority or schedule has changed."""
        if self.durable and job.background:
            self.records.append(ChangeRecord(CHANGE, job.handle, column, value))
            if column == "workload":
                self.size += len(value)

    def remove(self, job: "Job") -> None:
        """Record that a background job is gone; called only if there is a store."""
        self.records.append(_new_record(RemoveRecord, (REMOVE, job.handle)))

    def keep(self, record: KeepRecord) -> None:
        """Record how a job ended."""
        if self.durable:
            self.records.append(record)

    def forget(self, handle: bytes) -> None:
        """Record that the end of a job is no longer kept."""
        if self.durable:
            self.records.append(ForgetRecord(FORGET, handle))

    def order(self, name: str, function: bytes, value: "Optional[bytes]") -> None:
        """Record an order that stands; with None, that the order is taken back."""
        if self.durable:
            self.records.append(OrderRecord(ORDER, b"", name, function, value))

    # ------------------------------------------------------------------------------------------------------------ who waits

    def promise(self, peer: "Peer", reply: bytes) -> None:
        """Send a peer a JOB_CREATED that is true only when the records are on disk.

        Not called while the store refuses records, because nothing is promised then.
        """
        holds = peer.holds
        if not holds or holds[-1][0] < self.batch:
            assert self.holds_back, self
            self.hold(peer)
            self.submitters += 1
        self.promises.append((peer, peer.taken + len(peer.outgoing)))  # its place, for `break_promise`
        peer.send(reply)

    def hold(self, peer: "Peer", batch: int = 0) -> None:
        """Hold what is sent to a peer from now on until the store has this batch; 0 is the batch that gathers."""
        if batch <= self.refused_batch:
            batch = self.batch  # what is kept of a refused batch is written before the batch that gathers
        holds = peer.holds
        if self.holds_back and self.durable and (not holds or holds[-1][0] < batch):
            if batch == self.batch:
                self.holding.append(peer)
            elif self.under_way is not None and self.under_way.number == batch:
                self.under_way.holding.append(peer)
            else:
                return  # the store has that batch
            peer.hold(batch)

    def prove(self, peer: "Peer") -> None:
        """Hold what is sent to a peer from now on until the store has proved that the jobs are still this server's."""
        self.hold(peer)
        self.proving.append(peer)

    def held(self, job: "Job", send: "Callable[[Peer], None]") -> "Callable[[Peer], None]":
        """A `send` for the end of a job that tells the job's watchers only when the store knows of the end."""
        if not self.durable or not job.background:
            return send
        batch = self.batch

        def send_held(peer: "Peer") -> None:
            self.hold(peer, batch)
            send(peer)
        return send_held

    # ---------------------------------------------------------------------------------------------------------- the batches

    @property
    def promised(self) -> int:
        """How many promises wait for the store."""
        return len(self.promises) + (len(self.under_way.promises) if self.under_way is not None else 0)

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for the batch that gathers."""
        return bool(self.records or self.holding)

    @property
    def can_wait(self) -> bool:
        """Whether only clients that submit wait for the batch that gathers, and there is room for as much again as gathers."""
        return (len(self.holding) == self.submitters and 2 * len(self.records) < self._room
                and 2 * self.size < self._byte_room)

    def hand_over(self) -> "List[Any]":
        """Hand over the batch that has gathered; return its records."""
        assert self.under_way is None, self
        self.under_way = Batch(self.batch, self.records, self.promises, self.storing, self.holding, self.proving)
        self.batch += 1
        self.records, self.promises, self.storing, self.holding, self.proving = [], [], {}, [], []
        self.first_gathered = self.submitters = self.foreground = 0
        self._make_room(len(self.under_way.records), self.size)
        self.size = 0
        return self.under_way.records  # type: ignore[no-any-return]

    def next_stored(self, most: int) -> "List[Job]":
        """The batch that was handed over is on disk: return its next new jobs, `most` at most."""
        batch = self.under_way
        assert batch is not None, self
        storing = batch.storing
        self.going_on = len(storing) > most
        if not self.going_on:
            jobs = list(storing)
            storing.clear()
            self.first_storing = self.first_gathered
            return jobs
        jobs = list(islice(storing, most))
        for job in jobs:
            del storing[job]
        for done in (batch.records, batch.promises):  # to free them takes as long as the rest
            del done[-most:]
        self.first_storing = next((handle_number(job.handle) for job in storing if job.state is STORING), self.first_gathered)
        return jobs

    def release_next(self, most: int) -> bool:
        """All new jobs of the batch go on: let the next `most` peers that waited for it have their answers; return whether
        these were the last ones."""
        batch = self.under_way
        assert batch is not None, self
        holding = batch.holding
        for peer in holding[:most]:
            self.release(peer, batch.number)
        self.going_on = len(holding) > most
        if self.going_on:
            del holding[:most]
            return False
        self.take_back()
        self.refused_batch = self.refused_size = 0
        return True

    def take_back(self) -> Batch:
        """Take back the batch that was handed over, or else the one that gathers."""
        if self.under_way is None:
            self.hand_over()
        batch, self.under_way = self.under_way, None
        self.going_on = False
        assert batch is not None
        self._make_room(0, 0)
        return batch

    def release(self, peer: "Peer", number: int) -> None:
        """A peer no longer waits for this batch, nor for one before that."""
        if peer.release(number):
            self.resumed.append(peer)


def record_of_job(job: "Job", now: float, wall: float) -> AddRecord:
    """The record that adds a job as it is."""
    extras = job.extras
    if job.state is STORING and extras is NO_EXTRAS and not job.unique:
        # The same as below, faster, for a usual new job (benchmark: durable background submit).
        return _new_record(AddRecord, (  # type: ignore[no-any-return]
            ADD, job.handle, job.function.name, b"", job.workload, None, job.priority, 0.0, 0, WAITING, b"", None,
            wall - (now - job.created), job.position))
    return _new_record(AddRecord, (  # type: ignore[no-any-return]
        ADD, job.handle, job.function.name, job.unique, job.workload, extras.reducer, job.priority, extras.due, job.attempts,
        _stored_state(job, wall), extras.error, extras.schedule.text if extras.schedule else None, wall - (now - job.created),
        job.position))


def _stored_state(job: "Job", wall: float) -> str:
    """The state that a job has after a restart."""
    state = job.state
    if state is STORING:
        return HELD if job.unique and predecessor_of(job) is not None else DELAYED if job.due > wall else WAITING
    return state if state in (DELAYED, HELD, SET_ASIDE) else WAITING

"""Background jobs and their store: a start or a take-over takes jobs in; new jobs wait for the disk, or are refused."""
import itertools

from ..schedule import Schedule
from .jobs import DELAYED, GONE, HELD, NO_EXTRAS, SET_ASIDE, STORING, WAITING, Job, place_of
from .refusal import Refusal
from .tables import grown
from .transitions import end_in_vain, keep_aside, leave_aside, list_job, place, put_behind, take_back
from .uniques import last_equal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, Iterator, List, Optional, Tuple
    from ..wire.protocol import Data
    from .jobs import Function
    from .ledger import AddRecord, UsualJobs
    from .state import CoreState

STORED_STEP = 5000  # new jobs that go on in one step when they are on disk
REFUSED_STEP = 500  # promises, new jobs or records that are dealt with in one step when they are refused


def restore_jobs(core: "CoreState", records: "Iterable[AddRecord]") -> None:
    """Take in jobs from the store, in its order.  Raises ValueError, which names the job, if a schedule is not valid."""
    functions, ledger, uniques, now, wall = core.functions, core.ledger, core.uniques, core.now, core.wall
    usual = []  # type: List[Job]
    for record in records:
        _, handle, name, unique, workload, reducer, priority, due, attempts, state, error, schedule, created, position = record
        if state != WAITING or reducer is not None or schedule is not None or due or error:
            _list_usual(core, usual)  # so that all are listed in their order
            usual = []
            try:
                restore_job(core, record)
            except ValueError as mistake:
                raise ValueError("job %s: %s" % (handle.decode("latin-1"), mistake)) from None
            continue
        # The same as `restore_job`, faster, for a usual job (benchmark: start).
        function = functions.get(name) or core.add_function(name)
        job = Job(handle, function, unique, workload, priority, True, now - (wall - created) if created < wall else now)
        job.attempts = attempts
        job.position = position
        if position > ledger.position:
            ledger.position = position
        usual.append(job)
        function.push_restored(job)
        if unique:
            uniques.add(job)
        if function.workers:
            core.roster.wake(function, now)
    _list_usual(core, usual)


def restore_usual_jobs(core: "CoreState", usual: "UsualJobs") -> None:
    """The same as `restore_job`, faster, for usual jobs (benchmark: start)."""
    functions, now, wall = core.functions, core.now, core.wall
    named = {name: (functions.get(name) or core.add_function(name), []) for name in dict.fromkeys(
        usual.functions)}  # type: Dict[bytes, Tuple[Function, List[Job]]] # with its jobs
    jobs = []
    for handle, name, unique, workload, priority, created in zip(*usual):
        function, some = named[name]
        job = Job(handle, function, unique, workload, priority, True, now - (wall - created) if created < wall else now)
        jobs.append(job)
        some.append(job)
    for function, some in named.values():
        function.push_all(some)
    if any(usual.uniques):
        for job in jobs:
            if job.unique:
                core.uniques.add(job)
    if any([function.workers for function, _ in named.values()]):
        for job in jobs:
            if job.function.workers:
                core.roster.wake(job.function, now)
    _list_usual(core, jobs)


def _list_usual(core: "CoreState", jobs: "List[Job]") -> None:
    """The same as `list_job` and `take_back`, for jobs that do not recur."""
    core.size += sum([len(job.workload) for job in jobs])
    core.jobs.update(zip([job.handle for job in jobs], jobs))
    core.jobs = grown(core.jobs)
    core.job_chain.extend(jobs)


def restore_job(core: "CoreState", record: "AddRecord") -> Job:
    """Take in a job from the store, in the order of the store.  Raises ValueError if its schedule is not valid."""
    job = _take_in(core, record)
    job.position = position = record.position
    if position > core.ledger.position:
        core.ledger.position = position
    if record.state == SET_ASIDE:
        keep_aside(core, job)
        return job
    list_job(core, job)
    if record.state == HELD:
        _wait_for_equals(job)
    if job.unique:
        core.uniques.add(job)
    if record.state == WAITING:
        job.function.push(job)
        if job.function.workers:
            core.roster.wake(job.function, core.now)
        return job
    # Its time came while no server ran, or what it was held back by is gone.
    if _place_by_the_clock(core, job) or job.state != record.state:
        put_behind(core, job)
    return job


def adopt_job(core: "CoreState", record: "AddRecord") -> "Optional[Job]":
    """Take in a job of another server while this one runs; return the job, or None if it is here already.

    Called in the order of the store.  The job is put behind the jobs that wait, and behind an equal one.  Raises ValueError if
    its schedule is not valid.
    """
    if record.handle in core.jobs or record.handle in core.aside:
        return None
    job = _take_in(core, record)
    core.counters["jobs_adopted"] += 1
    if record.state == SET_ASIDE:
        keep_aside(core, job)
        put_behind(core, job)
        return job
    list_job(core, job)
    equal = last_equal(job)
    # An equal job may wait for a date for a year: this job does not wait for that one.
    if equal is not None and (equal.state is not DELAYED or equal.attempts):
        equal.successor = job
    core.uniques.add(job)
    place(core, job)
    if job.state is WAITING and record.state == WAITING:
        job.since = job.created
    put_behind(core, job)
    return job


def _take_in(core: "CoreState", record: "AddRecord") -> Job:
    """Make the job of a record, and count it; it has no state yet."""
    _, handle, name, unique, workload, reducer, priority, due, attempts, _, error, schedule, created, _ = record
    age = core.wall - created  # negative if the clock was set back
    function = core.functions.get(name) or core.add_function(name)
    job = Job(handle, function, unique, workload, priority, True, core.now - age if age > 0 else core.now)
    job.attempts = attempts
    if reducer is not None or due or error or schedule is not None:
        job.reducer, job.due, job.error = reducer, due, error
        if schedule is not None:
            job.schedule = Schedule(schedule)
    take_back(core, job)
    return job


def _wait_for_equals(job: Job) -> None:
    equal = last_equal(job)
    if equal is not None:
        equal.successor = job


def _place_by_the_clock(core: "CoreState", job: Job) -> bool:
    """Give a job its first state; return whether it recurs and its time was another one, as the clock was set back."""
    due = job.due
    place(core, job)
    return job.schedule is not None and not job.attempts and job.due != due


def let_stored_go_on(core: "CoreState") -> None:
    """The records that were handed over are on disk: let what waited for them go on, in steps if it is very much."""
    core.store_trouble = b""
    core.ledger.holds_back = True
    core.turns.finish(_let_go_on(core))


def _let_go_on(core: "CoreState") -> "Iterator[Data]":
    ledger = core.ledger
    while True:
        first = ledger.first_storing
        jobs = ledger.next_stored(STORED_STEP)
        # Meanwhile, so many jobs were put behind all others that their positions lie beyond those of these new jobs.
        _place_stored(core, jobs, bool(first) and ledger.position > place_of(first))
        if not ledger.going_on:
            break
        yield b""
    while not ledger.release_next(STORED_STEP):
        yield b""


def _place_stored(core: "CoreState", jobs: "List[Job]", late: bool) -> None:
    """Put new jobs that are on disk into their queues; if `late`, behind all, not where their handles would put them."""
    now, wake = core.now, core.roster.wake
    for job in jobs:
        if job.state is STORING:
            function = job.function
            if job.extras is NO_EXTRAS and not job.unique and not late:
                # The same as below, faster, for a usual job (benchmark: durable background submit).
                function.push_stored(job)
                job.since = now
                if function.workers:
                    wake(function, now)
                continue
            function.release(job)
            if _place_by_the_clock(core, job) or (job.due or late) and job.state is WAITING:
                put_behind(core, job)  # its time may have come since it was recorded
                late = True  # the next ones are behind it


def refuse_unstored(core: "CoreState", reason: bytes, written: bool) -> None:
    """The records that were handed over are not on disk: refuse the new jobs, and further ones until `stored` is called.

    The other records are kept for later.  `written` says that rows of refused jobs may have reached the disk although the write
    failed; then records that remove these rows are kept, too.
    """
    ledger = core.ledger
    assert ledger.refusal is None, ledger
    core.store_trouble = reason
    core.registry.refuse(ledger.promised)
    ledger.refusal = Refusal(ledger)
    ledger.refused_batch = ledger.batch - 1
    ledger.first_storing = 0
    ledger.holds_back = ledger.shared
    core.turns.finish(_refuse_in_steps(core, ledger.refusal, reason, written))


def _refuse_in_steps(core: "CoreState", refusal: Refusal, reason: bytes, written: bool) -> "Iterator[Data]":
    """Do what `refuse_unstored` promises, in steps if it is very much."""
    done = 0
    for count in itertools.chain(refusal.break_promises(reason, REFUSED_STEP), _refuse_jobs(core, refusal, written),
                                 refusal.keep_the_rest(REFUSED_STEP)):
        done += count
        if done >= REFUSED_STEP:
            yield b""
            done = 0
    core.ledger.refusal = None


def _refuse_jobs(core: "CoreState", refusal: Refusal, written: bool) -> "Iterator[int]":
    for jobs in refusal.jobs(written, REFUSED_STEP):
        for job in jobs:
            _refuse_job(core, job)
        yield len(jobs)


def _refuse_job(core: "CoreState", job: Job) -> None:
    """Let a job that is no longer a background job go on, and run once, if a client waits for it; else end it."""
    job.schedule = None
    core.recurring.pop(job, None)
    if job.watchers and core.stopping:  # so that a graceful stop waits for it
        core.foreground.append(job)
        core.roster.handing_out = True
    if job.state is STORING and job.watchers:
        job.function.release(job)
        place(core, job)
    elif job.state is SET_ASIDE:
        leave_aside(core, job)
    elif job.state is not GONE and not job.watchers:
        end_in_vain(core, job)

"""How a job goes from one state into another, with all that belongs to it: timers, wake-ups, records, uniques, watchers.

The table in the module core names the functions that decide this.
"""
from .chain import untie
from .jobs import HELD, POSITIONS, RUNNING, place_of
from .tables import grown
from .turns import STEP
from .uniques import predecessor_of, unique_key
from .watchers import tell_failure, unwatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..schedule import Schedule
    from .jobs import Job
    from .state import CoreState


def take_back(core: "CoreState", job: "Job") -> None:
    """Count a job that comes from the store, or that was set aside."""
    core.size += len(job.workload)
    job.function.readmit(job)


def list_job(core: "CoreState", job: "Job") -> None:
    """Let a job be found by its handle, and shown in listings."""
    core.jobs[job.handle] = job
    core.jobs = grown(core.jobs)
    core.job_chain.add(job)
    if job.schedule is not None:
        recur(core, job, job.schedule)


def recur(core: "CoreState", job: "Job", schedule: "Schedule") -> None:
    """Let a job recur, by a schedule."""
    job.schedule = schedule
    core.recurring[job] = None
    core.recurring = grown(core.recurring)


def place(core: "CoreState", job: "Job") -> None:
    """Give a new job its first state."""
    if job.unique and predecessor_of(job) is not None:
        job.function.hold(job)
    elif job.due > core.wall and job.attempts:  # restored: the clock may have been set back
        retry_after(core, job, min(job.due - core.wall, job.function.policy.delay(job.attempts, 1.0)))
    elif job.due > core.wall:
        delay_until(core, job, job.due if job.schedule is None else due_by_the_clock(core, job))
        # As gearmand does, though the job itself will wake them again; not thousands, which would keep the others waiting.
        core.roster.rouse_many(job.function, STEP if core.roster.wakeup is None else core.roster.wakeup)
    else:
        enqueue(core, job)


def put_behind(core: "CoreState", job: "Job") -> None:
    """A job has a new state, and a place behind all others: record that for a restart."""
    ledger = core.ledger
    if ledger.durable:
        ledger.put_behind(job, core.number)
        lead = (ledger.position - place_of(core.number)) // POSITIONS
        if lead > 0:  # all positions between two new jobs are used up
            core.handles.number += lead
        ledger.update(job, core.wall)


def enqueue(core: "CoreState", job: "Job") -> None:
    """Put a job into its queue."""
    job.since = core.now
    job.function.push(job)
    core.roster.wake(job.function, core.now)


def delay_until(core: "CoreState", job: "Job", due: float) -> None:
    """Let a job wait for a date."""
    job.due = due
    job.function.delay(job, core.delayed.add(due, job))


def delay_again(core: "CoreState", job: "Job", due: float) -> None:
    """Give a job that waits for a date another date."""
    take_out(core, job)
    delay_until(core, job, due)
    put_behind(core, job)


def retry_after(core: "CoreState", job: "Job", pause: float) -> None:
    """Let a job wait for its next attempt, which does not depend on the wall clock."""
    job.due = core.wall + pause
    job.function.delay(job, core.retries.add(core.now + pause, job))


def due_by_the_clock(core: "CoreState", job: "Job") -> float:
    """When a recurring job is due, by the clock as it is now."""
    try:
        return job.schedule.corrected(job.due, core.wall)  # type: ignore[no-any-return]
    except ValueError:  # the clock is beyond the calendar
        return float(job.due)


def take_out(core: "CoreState", job: "Job") -> None:
    """Take a job out of its state; if it runs, its worker's later packets for it get JOB_NOT_FOUND."""
    if job.state is RUNNING:
        job.worker.running.pop(job.handle, None)
        job.progress = None
        if job.timer is not None:
            core.time_limits.cancel(job.timer)
            job.timer = None
        job.function.stop(job)
        return
    if job.timer is not None:
        (core.retries if job.attempts else core.delayed).cancel(job.timer)
        job.timer = None
    job.function.release(job)


def give_up(core: "CoreState", job: "Job", error: bytes) -> None:
    """End a job that has no attempts left, or set it aside."""
    if job.background:
        tell_failure(core.ledger, core.turns, job, None, job.handle)
        unwatch(job)
        job.function.count("failed")
        set_job_aside(core, job, error)
    else:
        fail_job(core, job)


def fail_job(core: "CoreState", job: "Job") -> None:
    """End a job that was taken out of its state, without a result."""
    tell_failure(core.ledger, core.turns, job, None, job.handle)
    job.function.count("failed")
    unwatch(job)
    core.recurring.pop(job, None)
    forget_job(core, job)


def end_job(core: "CoreState", job: "Job") -> None:
    """Forget a job that was taken out of its state, unless it recurs."""
    if job.watchers:
        unwatch(job)
    if job.schedule is None:
        forget_job(core, job)
        return
    job.attempts = 0
    job.progress = None
    try:
        job.due = job.schedule.next_time(max(core.wall, job.due))  # job.due is later if the clock was set back meanwhile
    except ValueError as error:
        set_job_aside(core, job, str(error).encode())
        return
    delay_until(core, job, due_by_the_clock(core, job))
    put_behind(core, job)
    if job.successor is not None:
        promote(core, job)


def set_job_aside(core: "CoreState", job: "Job", error: bytes) -> None:
    """Keep a background job until somebody requeues or purges it."""
    job.error = error
    job.function.count("set_aside")
    del core.jobs[job.handle]
    core.recurring.pop(job, None)
    untie(job)
    keep_aside(core, job)
    core.uniques.remove(job)
    put_behind(core, job)
    if job.unique:
        _let_go(core, job)


def keep_aside(core: "CoreState", job: "Job") -> None:
    """List a job, which is in no other list any longer, among those set aside."""
    core.aside[job.handle] = job
    core.aside = grown(core.aside)
    core.aside_chain.add(job)
    job.function.set_aside(job)


def leave_aside(core: "CoreState", job: "Job") -> None:
    """End a job that was set aside."""
    del core.aside[job.handle]
    untie(job)
    core.size -= len(job.workload)
    job.function.release(job)
    job.function.end(job)
    core.registry.note_unused(job.function, core.now)


def end_in_vain(core: "CoreState", job: "Job") -> None:
    """The last watcher has left: end a foreground job, unless it runs."""
    if not job.background and job.state is not RUNNING:
        take_out(core, job)
        forget_job(core, job)


def forget_job(core: "CoreState", job: "Job") -> None:
    """End a job that was taken out of its last state."""
    job.function.end(job)
    strike_off(core, job)


def strike_off(core: "CoreState", job: "Job") -> None:
    """Forget a job that is gone."""
    del core.jobs[job.handle]
    # What `untie` does (benchmark: every job).
    earlier, later = job.earlier, job.later
    earlier.later = later
    later.earlier = earlier
    job.earlier = job.later = None
    core.size -= len(job.workload)
    if not job.function.workers:
        core.registry.note_unused(job.function, core.now)
    if job.unique:
        core.uniques.remove(job)
        _let_go(core, job)
    if job.background and core.ledger.durable:
        core.ledger.remove(job)


def promote(core: "CoreState", job: "Job") -> None:
    """Let the job that waited for the end of this one go on."""
    successor, job.successor = job.successor, None
    assert successor is not None
    core.uniques.add(successor)
    if successor.state is HELD:
        successor.function.release(successor)
        place(core, successor)
        put_behind(core, successor)
    else:
        core.ledger.update(successor, core.wall)
    if successor.successor is not None and successor.function.uniques.get(
            unique_key(successor.unique, successor.workload)) is not successor:
        promote(core, successor)  # as that is not found by its unique: the job before it recurs, and is found itself


def _let_go(core: "CoreState", job: "Job") -> None:
    """A job is gone: the job that waited for it goes on; if the gone job waited for another, it waits for that one instead."""
    predecessor = predecessor_of(job)
    if predecessor is not None:
        predecessor.successor, job.successor = job.successor, None
    elif job.successor is not None:
        promote(core, job)

"""What an admin can order for a job."""
from .attempts import note_end
from .jobs import DELAYED, GONE, RUNNING, SET_ASIDE, Job
from .results import keep_end
from .statistics import END_CANCELLED, END_FAILED
from .transitions import enqueue, fail_job, give_up, leave_aside, list_job, place, put_behind, take_back, take_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .state import CoreState


def cancel_job(core: "CoreState", job: Job) -> None:
    """End a job wherever it is; its watchers get WORK_FAIL, a worker's later result is ignored with an ERROR."""
    if job.state is GONE:
        return
    job.function.count("cancelled")
    if job.state is SET_ASIDE:
        purge_job(core, job)
    else:
        keep_end(core, job, END_CANCELLED, core.now - job.since if job.state is RUNNING else 0.0)
        note_end(core, job, END_CANCELLED)
        take_out(core, job)
        fail_job(core, job)


def drop_job(core: "CoreState", job: Job) -> None:
    """Set aside a job that does not run, because its function is dropped; a foreground job ends."""
    if job.state not in (RUNNING, SET_ASIDE, GONE):
        note_end(core, job, END_CANCELLED, b"its function was dropped")
        take_out(core, job)
        give_up(core, job, b"its function was dropped")


def run_now(core: "CoreState", job: Job) -> bool:
    """Put a job that waits for a date, or for its next attempt, into its queue at once; return False for any other job."""
    if job.state is not DELAYED:
        return False
    take_out(core, job)
    job.due = core.wall  # so that the next time of a recurring job is the one that this run comes before
    enqueue(core, job)
    put_behind(core, job)
    return True


def requeue_job(core: "CoreState", job: Job) -> None:
    """Give a job that was set aside a new start."""
    if job.state is not SET_ASIDE:
        return
    old, function = job, core.add_function(job.function.name)
    leave_aside(core, old)
    # A new Job object, because no arrow leads back from the state in which it was set aside: the old one ends.
    job = Job(old.handle, function, old.unique, old.workload, old.priority, True, old.created)
    job.reducer, job.due, job.joins, job.schedule = old.reducer, old.due, old.joins, old.schedule
    core.ledger.exchange(old, job, core.now, core.wall)
    if old.attempts:
        job.due = 0.0  # it was the time of the next attempt
    take_back(core, job)
    list_job(core, job)
    core.uniques.add(job)
    place(core, job)
    put_behind(core, job)


def purge_job(core: "CoreState", job: Job) -> None:
    """Forget a job that was set aside."""
    if job.state is SET_ASIDE:
        keep_end(core, job, END_FAILED, 0.0, job.error)
        leave_aside(core, job)
        if core.ledger.durable:
            core.ledger.remove(job)

"""Running the function of a job: what a shift knows of that, and what comes of it."""
import os

from ..arguments import check_number
from ..net.forks import end_child
from ..wire.protocol import encode_data
from ..wire.serializers import BytesSerializer
from .guard import call_hooks, exception_text, log_failure
from .job import Retry, check_size, show_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Tuple
    from ..wire.worker_session import Assignment
    from .job import Ability, WorkerJob
    from .link import WorkerLink
    from .settings import WorkerSettings

RETRY = object()  # outcome of a job that is to be tried again


class Run:
    """A job that a worker has, from when it was assigned to when it ends, over all its attempts.

    Owner: the shift's lock.
    """

    __slots__ = ("job", "assignment", "ability", "link", "started", "due", "limit", "retry")

    def __init__(self, job: "WorkerJob", assignment: "Assignment", ability: "Ability", link: "WorkerLink", now: float) -> None:
        self.job = job
        self.assignment = assignment
        self.ability = ability
        self.link = link
        self.started = now  # of this attempt
        self.due = None if ability.timeout is None else now + ability.timeout  # when the server takes it away
        self.limit = None   # type: Any # the timer for that, while it runs
        self.retry = None   # type: Any # the timer for its next attempt, while it waits for that

    def __repr__(self) -> str:
        return "<Run of %r%s>" % (self.job, ", to be tried again" if self.retry is not None else "")


def run_job(job: "WorkerJob", ability: "Ability", worker: "WorkerSettings",
            caught: "Callable[[BaseException], bool]" = lambda error: True) -> "Tuple[Any, Any]":
    """Run a job's function; return True and the result, False and an exception's text, or RETRY and seconds.

    An exception for which `caught` returns true fails the job, SystemExit, too; any other is raised.  If the function has
    forked, and the child comes back here, the child ends: the job is its parent's.
    """
    process = os.getpid()
    try:
        for hook in worker.hooks["before"]:
            hook(job)
        result = _encode_result(job, worker.serializer, ability.call(job))
        if worker.hooks["after"]:
            call_hooks(worker, "after", job, result)
        if os.getpid() != process:
            end_child(process)
        return True, result
    except BaseException as raised:
        end_child(process, raised)
        error = raised
        if isinstance(raised, Retry):
            try:
                if raised.attempts is None or job.attempt < raised.attempts:
                    return RETRY, check_number("after", raised.after)
            except Exception as wrong:  # a class derived from it may have set anything, or nothing
                error = wrong
        if not caught(error):
            raise
    log_failure(worker.repeats, show_name(job.function), error, "%r failed", job)
    call_hooks(worker, "error", job, error)
    return False, exception_text(error)


def _encode_result(job: "WorkerJob", serializer: "Any", result: "Any") -> "Any":
    try:
        data = encode_data(serializer.dumps(result))
        check_size(job, "the result", data)
        return data
    except TypeError:
        if serializer is not BytesSerializer:
            raise
        raise TypeError("%s returned %s; return bytes, str or None" % (
            show_name(job.function), type(result).__name__)) from None

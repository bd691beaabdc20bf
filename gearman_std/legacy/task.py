"""The parts of python-gearman 1.x that scripts still use: tasks and sets of tasks; a worker's functions of one argument."""
from os import urandom

from .constants import JOB_COMPLETE, JOB_UNKNOWN, PRIORITY_HIGH, PRIORITY_NONE
from .errors import GearmanError
from .job import GearmanJob, GearmanJobRequest
from .util import Stopwatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Optional

_HOOKS = ("on_complete", "on_fail", "on_retry", "on_status", "on_post")


class Task:
    """A job to be done: a function's name and its argument.  `result`, `handle` and `is_finished` tell what became of it.

    `on_complete` is called with the result, `on_status` with two numbers, `on_fail` and `on_post` without arguments; each may
    be a list of functions.  If `uniq` is "-", the argument is also the unique.

    Owner: whoever made it.
    """

    def __init__(self, func: "Any", arg: "Any", uniq: "Any" = None, background: bool = False, high_priority: bool = False,
                 timeout: "Optional[float]" = None, retry_count: int = 0, **hooks: "Any") -> None:
        for name in hooks:
            if name not in _HOOKS:
                raise TypeError("a Task has no argument %s" % name)
        for name in _HOOKS:
            hook = hooks.get(name, [])
            setattr(self, name, list(hook) if isinstance(hook, (list, tuple)) else [hook])
        self.func = func
        self.arg = arg
        self.uniq = arg if uniq in ("-", b"-") else uniq
        self.background = background
        self.high_priority = high_priority
        self.timeout = timeout
        self.retry_count = retry_count
        self.retries_done = 0
        self.is_finished = False
        self.handle = None  # type: Any
        self.result = None  # type: Any

    def __repr__(self) -> str:
        return "<Task func=%r%s>" % (self.func, ", finished" if self.is_finished else "")

    def call(self, name: str, *arguments: "Any") -> None:
        """Call the functions of a hook."""
        for function in getattr(self, name):
            function(*arguments)


class Taskset(dict):  # type: ignore[type-arg]
    """Tasks to be done together.

    Owner: whoever made it.
    """

    def __init__(self, tasks: "Iterable[Task]" = ()) -> None:
        super().__init__((id(task), task) for task in tasks)
        self.cancelled = False

    def __repr__(self) -> str:
        return "<Taskset %r>" % (list(self.values()),)

    def add(self, task: Task) -> None:
        """Add a task."""
        self[id(task)] = task

    def cancel(self) -> None:
        """Stop waiting for the tasks."""
        self.cancelled = True


class TaskError(GearmanError):
    """A task has failed, or was not done in time."""


class OldTasks:
    """The methods of a client of 1.x that a client of 2.0 does not have.

    Owner: as the client.
    """

    TaskError = TaskError
    if TYPE_CHECKING:
        connection_list = []  # type: List[Any]
        random_unique_bytes = 0

        def submit_multiple_requests(self, job_requests: "Any", wait_until_complete: bool = True,
                                     poll_timeout: "Optional[float]" = None) -> "Any": ...

        def wait_until_jobs_completed(self, job_requests: "Any", poll_timeout: "Optional[float]" = None) -> "Any": ...

        def get_job_statuses(self, job_requests: "Any", poll_timeout: "Optional[float]" = None) -> "Any": ...

        def poll_connections_until_stopped(self, submitted_connections: "Any", callback_fxn: "Any",
                                           timeout: "Optional[float]" = None) -> bool: ...

    def __repr__(self) -> str:
        return "<%s>" % type(self).__name__

    def __call__(self, func: "Any", arg: "Any", uniq: "Any" = None, **options: "Any") -> "Any":
        """Do a task, as `do_task`; the arguments are those of `Task`."""
        return self.do_task(Task(func, arg, uniq, **options))

    def do_task(self, task: Task) -> "Any":
        """Do a task and return its result.  Raises TaskError if it fails, or is not done within its `timeout`, in seconds."""
        if not self.do_taskset(Taskset([task]), timeout=task.timeout):
            raise self.TaskError("Task timeout: %r was not done within %s s" % (task, task.timeout))
        if not task.is_finished:
            raise self.TaskError("Task failed: %r" % (task,))
        return task.result

    def dispatch_background_task(self, func: "Any", arg: "Any", uniq: "Any" = None, high_priority: bool = False) -> "Any":
        """Submit a task as a background job; return its handle."""
        task = Task(func, arg, uniq, background=True, high_priority=high_priority)
        self.do_taskset(Taskset([task]))
        return task.handle

    def do_taskset(self, taskset: Taskset, timeout: "Optional[float]" = None) -> bool:
        """Do all tasks of a set; return whether they were done, or the set was cancelled, within `timeout` seconds."""
        tasks = list(taskset.values())
        requests = [self._make_request(task) for task in tasks]
        told = [None] * len(tasks)  # type: List[Any] # the last status that each task was told
        stopwatch = Stopwatch(timeout)
        self.submit_multiple_requests(requests, wait_until_complete=False, poll_timeout=timeout)

        def go_on(any_activity: bool) -> bool:
            for number, request in enumerate(requests):
                numbers = request.status.get("numerator"), request.status.get("denominator")
                if numbers[0] is not None and numbers != told[number]:
                    told[number] = numbers
                    tasks[number].call("on_status", *numbers)
            return not taskset.cancelled and not all(request.complete or request.state == JOB_UNKNOWN for request in requests)
        self.poll_connections_until_stopped(self.connection_list, go_on, timeout=stopwatch.get_time_remaining())
        for task, request in zip(tasks, requests):
            self._finish(task, request)
        return taskset.cancelled or all(request.complete for request in requests)

    def get_status(self, handle: "Any") -> "Any":
        """What the servers know of the job with a handle: a dict with known, running, numerator and denominator."""
        requests = [GearmanJobRequest(GearmanJob(connection, handle, None, None, None)) for connection in self.connection_list]
        self.get_job_statuses(requests)
        return next((request.status for request in requests if request.status.get("known")), requests[0].status)

    def _make_request(self, task: Task) -> GearmanJobRequest:
        job = GearmanJob(None, None, task.func, task.uniq or urandom(self.random_unique_bytes).hex(), task.arg)
        return GearmanJobRequest(job, PRIORITY_HIGH if task.high_priority else PRIORITY_NONE, task.background,
                                 task.retry_count + 1)

    @staticmethod
    def _finish(task: Task, request: GearmanJobRequest) -> None:
        task.handle = request.job.handle
        task.retries_done = max(0, request.connection_attempts - 1)
        if request.state == JOB_COMPLETE:
            task.result, task.is_finished = request.result, True
            task.call("on_complete", task.result)
        elif request.complete and task.background:
            task.is_finished = True
        elif request.complete:
            task.call("on_fail")
        if request.complete:
            task.call("on_post")


class OldJob:
    """A job as a worker's function of 1.x gets it.

    Owner: the thread that runs it.
    """

    def __init__(self, worker: "Any", job: GearmanJob) -> None:
        self._worker = worker
        self._job = job
        self.func = job.task
        self.arg = job.data
        self.handle = job.handle

    def __repr__(self) -> str:
        return "<OldJob func=%r, handle=%r>" % (self.func, self.handle)

    def status(self, numerator: "Any", denominator: "Any") -> None:
        """Tell how far the job is."""
        self._worker.send_job_status(self._job, numerator, denominator)

    def complete(self, result: "Any") -> None:
        """End the job with a result."""
        self._worker.send_job_complete(self._job, result)

    def fail(self) -> None:
        """End the job as a failure."""
        self._worker.send_job_failure(self._job)


def call_old(function: "Callable[[OldJob], Any]") -> "Callable[[Any, GearmanJob], Any]":
    """Turn a function of 1.x, which takes a job, into a function of 2.0, which takes the worker and a job."""
    return lambda worker, job: function(OldJob(worker, job))

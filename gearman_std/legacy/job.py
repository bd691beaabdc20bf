"""A job as a worker of python-gearman sees it, and a request, which is a job as its client sees it."""
from collections import deque

from .constants import JOB_COMPLETE, JOB_CREATED, JOB_FAILED, JOB_UNKNOWN, PRIORITY_NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Deque, Dict


class GearmanJob:
    """What is known of a job: its server's connection, its handle, task (the function's name), unique and data.

    Owner: whoever works with it.
    """

    def __init__(self, connection: "Any", handle: "Any", task: "Any", unique: "Any", data: "Any") -> None:
        self.connection = connection
        self.handle = handle
        self.task = task
        self.unique = unique
        self.data = data

    def __repr__(self) -> str:
        return "%s(connection=%r, handle=%r, task=%r, unique=%r, data=%r)" % (
            type(self).__name__, self.connection, self.handle, self.task, self.unique, self.data)

    def to_dict(self) -> "Dict[str, Any]":
        """The job as `submit_multiple_jobs` takes it, with its handle."""
        return {"task": self.task, "job_handle": self.handle, "unique": self.unique, "data": self.data}


class GearmanJobRequest:
    """A job that was or will be submitted, and what came of it.

    `state` is one of the JOB_ constants; `result` and `exception` are what the worker sent, or None; `data_updates` and
    `warning_updates` are deques; `status` is a dict, empty until a status comes; `timed_out` is True if the last wait was too
    short.

    Owner: the client that submitted it.
    """

    def __init__(self, gearman_job: GearmanJob, initial_priority: "Any" = PRIORITY_NONE, background: bool = False,
                 max_attempts: int = 1) -> None:
        self.gearman_job = gearman_job
        self.priority = initial_priority
        self.background = background
        self.connection_attempts = 0
        self.max_connection_attempts = max_attempts
        self.initialize_request()

    def __repr__(self) -> str:
        return "<%s task=%r, unique=%r, priority=%r, background=%r, state=%r, timed_out=%r>" % (
            type(self).__name__, self.job.task, self.job.unique, self.priority, self.background, self.state, self.timed_out)

    def initialize_request(self) -> None:
        """Forget everything that has come from the server."""
        self.result = None      # type: Any
        self.exception = None   # type: Any
        self.warning_updates = deque()  # type: Deque[Any]
        self.data_updates = deque()     # type: Deque[Any]
        self.status = {}        # type: Dict[str, Any]
        self.state = JOB_UNKNOWN
        self.timed_out = False

    def reset(self) -> None:
        """Forget everything that has come, and where it was sent, so that it can be submitted again."""
        self.initialize_request()
        self.connection_attempts = 0
        self.job.connection = None
        self.job.handle = None

    @property
    def job(self) -> GearmanJob:
        return self.gearman_job

    @property
    def status_updates(self) -> "Deque[Any]":
        """The two numbers of the last status, in a deque, for older scripts."""
        status = self.status
        return deque([(status.get("numerator", 0), status.get("denominator", 0))] if status else [])

    @property
    def server_status(self) -> "Dict[str, Any]":
        """The same as `status`, for older scripts."""
        return self.status

    @property
    def complete(self) -> bool:
        """Whether nothing more will come: the job has ended; or it is in the background, and a server has accepted it."""
        return self.state in (JOB_FAILED, JOB_COMPLETE) or bool(self.background) and self.state == JOB_CREATED

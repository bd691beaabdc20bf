"""What a worker runs: a job as its function sees it, and the function as it was registered."""
import logging
from traceback import print_exc

from .protocol import encode_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Tuple, Type, Union
    from .session import Assignment
    from .worker import Worker
    from .worker_link import WorkerLink
    from .worker_shift import Shift

_logger_worker = logging.getLogger("gearman_std.worker")

RETRY = object()  # outcome of a job that is to be tried again


class Retry(Exception):
    """Raised by a function to have its job tried again, `after` seconds later.

    The protocol has no packet that hands a job back for later, so the worker keeps it: the server goes on counting it as
    running, its client goes on waiting, no thread is occupied, and `WorkerJob.attempt` says which attempt it is.  If the worker
    leaves or loses the server meanwhile, the server gives the job to another worker at once.  With `attempts`, the job fails
    with `text` when it was tried that often; it also fails if the function's time limit, which goes on, is over by then.

    The other ways are worse: withdrawing the function would have the server take all its jobs here back, and give them to the
    next worker at once; submitting the job anew would leave its client without a result.
    """

    def __init__(self, after: float = 1.0, text: str = "", attempts: "Optional[int]" = None) -> None:
        super().__init__(text or "to be tried again")
        if not after >= 0:
            raise ValueError("a time before now: %r" % after)
        self.after = after
        self.attempts = attempts


class WorkerJob:
    """One job, as the function that runs it sees it.

    `handle`, `function`, `unique` and `reducer` are bytes, the last two empty if there is none or the server does not tell;
    `server` is the server's address as `host:port`; `attempt` is 1, and one more after each `Retry`.

    Owner: the thread that runs it.
    """

    __slots__ = ("handle", "function", "unique", "reducer", "server", "attempt", "_workload", "_assignment", "_link", "_shift",
                 "_ability", "_started", "_due", "_limit")

    def __init__(self, shift: "Shift", link: "WorkerLink", ability: "Ability", assignment: "Assignment") -> None:
        self.handle, self.function, self.unique, self.reducer, self._workload = assignment
        self.server = link.name
        self.attempt = 1
        self._assignment = assignment
        self._link = link
        self._shift = shift
        self._ability = ability
        self._started = 0.0
        self._due = None    # type: Optional[float] # when the server takes it away
        self._limit = None  # type: Any # the timer for that, while it runs

    def __repr__(self) -> str:
        return "<WorkerJob %s of %s from %s>" % (show_name(self.handle), show_name(self.function), self.server)

    @property
    def workload(self) -> bytes:
        """The workload."""
        if not isinstance(self._workload, bytes):
            self._workload = bytes(self._workload)
        return self._workload

    @property
    def view(self) -> memoryview:
        """The workload, not copied however large it is."""
        return memoryview(self._workload)

    @property
    def text(self) -> str:
        """The workload as text.  Raises UnicodeDecodeError if it is not UTF-8."""
        return self.workload.decode("utf-8")

    @property
    def value(self) -> "Any":
        """The workload as the worker's serializer reads it."""
        return self._shift.worker.serializer.loads(self.workload)

    @property
    def lost(self) -> bool:
        """Whether nobody waits for this run's result any more, since the server is lost or the worker has left."""
        return self._link.lost

    @property
    def stopping(self) -> bool:
        """Whether the worker wants to leave, so that a long job may want to come to an end."""
        return self._shift.leaving

    def send_status(self, numerator: int, denominator: int) -> None:
        """Tell how far the job is.  Nothing happens if the server is lost."""
        arguments = b"%d" % numerator, b"%d" % denominator
        self._shift.tell(self, lambda session: session.status(self._assignment, *arguments))

    def send_data(self, data: "Union[str, bytes]") -> None:
        """Send a part of the result.  Waits while the server is slow to take it; nothing happens if the server is lost."""
        part = encode_data(data)
        self._shift.tell(self, lambda session: session.data(self._assignment, part))

    def send_warning(self, data: "Union[str, bytes]") -> None:
        """Send a warning.  Waits while the server is slow to take it; nothing happens if the server is lost."""
        part = encode_data(data)
        self._shift.tell(self, lambda session: session.warning(self._assignment, part))


class Ability:
    """A function as it was registered.

    Owner: nobody, it does not change.
    """

    __slots__ = ("name", "call", "timeout", "limit", "abandon")

    def __init__(self, name: bytes, call: "Callable[[WorkerJob], Any]", timeout: "Optional[float]", limit: "Optional[int]",
                 abandon: "Optional[Callable[[], Any]]") -> None:
        self.name = name
        self.call = call
        self.timeout = timeout
        self.limit = limit
        self.abandon = abandon

    def __repr__(self) -> str:
        return "<Ability %s>" % show_name(self.name)

    @property
    def timeout_ms(self) -> int:
        return int((self.timeout or 0) * 1000 + 0.999)


def show_name(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def run_job(job: WorkerJob, worker: "Worker", caught: "Tuple[Type[BaseException], ...]" = (BaseException,)
            ) -> "Tuple[Any, Any]":
    """Run a job's function; return True and the result, False and an exception's text, or RETRY and seconds.

    What it raises fails the job if it is `caught`: SystemExit too, which is meant for the job, not for the thread.
    """
    try:
        for hook in worker.hooks["before"]:
            hook(job)
        result = encode_data(worker.serializer.dumps(job._ability.call(job)))
        call_hooks(worker, "after", job, result)
        return True, result
    except Retry as retry:
        if retry.attempts is None or job.attempt < retry.attempts:
            return RETRY, retry.after
        error = retry  # type: BaseException
    except caught as raised:
        error = raised
    log_safely(logging.ERROR, "%r failed", job, error=error)
    call_hooks(worker, "error", job, error)
    return False, exception_text(error)


def call_hooks(worker: "Worker", name: str, *arguments: "Any") -> None:
    """Call hooks whose exceptions are only logged."""
    for hook in worker.hooks[name]:
        try:
            hook(*arguments)
        except (Exception, SystemExit) as error:  # a pool thread that ends would be missed for ever
            log_safely(logging.ERROR, "the hook %s failed", name, error=error)


def log_safely(level: int, message: str, *arguments: "Any", error: "Optional[BaseException]" = None) -> None:
    """Log something; a handler of the program's that fails is told on standard error, and costs no thread and no worker."""
    try:
        _logger_worker.log(level, message, *arguments, exc_info=error)
    except (Exception, SystemExit):
        print_exc()


def exception_text(error: BaseException) -> bytes:
    """What a client reads of an exception: its text, or its type's name if it has none."""
    try:
        text = str(error)
    except Exception as failure:  # whatever the exception's own code may raise
        text = "%s, whose text cannot be had: %s" % (type(error).__name__, type(failure).__name__)
    if not text or isinstance(error, (SystemExit, KeyError)):
        text = "%s: %s" % (type(error).__name__, text) if text else type(error).__name__
    return text.encode("utf-8", "backslashreplace")

"""What a worker runs: a job as its function sees it, and the function as it was registered."""
import logging
import os
import signal
import threading
from traceback import print_exc

from ..arguments import check_kind, check_number
from ..net.forks import end_child
from ..wire.protocol import encode_data
from ..wire.serializers import BytesSerializer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Tuple, Union
    from ..wire.worker_session import Assignment
    from .link import WorkerLink
    from .shift import Shift
    from .worker import Worker

_logger_worker = logging.getLogger("gearman_std.worker")
_logger_jobs = logging.getLogger("gearman_std.jobs")

_ENDING_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
RETRY = object()  # outcome of a job that is to be tried again


class LeaveAtOnce(BaseException):
    """Raised in a function that runs in the main thread, when the worker leaves without waiting for it."""


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
        check_number("after", after)
        check_kind("text", text, str, "a text")
        if attempts is not None:
            check_number("attempts", attempts, 1, whole=True)
        self.after = after
        self.attempts = attempts


class WorkerJob:
    """One job, as the function that runs it sees it.

    `handle`, `function`, `unique` and `reducer` are bytes, the last two empty if there is none or the server does not tell;
    `server` is the server's address as `host:port`; `attempt` is 1, and one more after each `Retry`.

    Owner: the thread that runs it.
    """

    __slots__ = ("handle", "function", "unique", "reducer", "server", "attempt", "_workload", "_assignment", "_link", "_shift",
                 "_ability", "_started", "_due", "_limit", "_retry")

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
        self._retry = None  # type: Any # the timer for its next attempt, while it waits for that

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

    def send_status(self, numerator: float, denominator: float) -> None:
        """Tell how far the job is.  Nothing happens if the server is lost.

        The protocol knows whole numbers only: instead of fractions, millionths of the whole are sent.  Raises ValueError or
        TypeError for what is no number from 0.
        """
        for name, value in (("numerator", numerator), ("denominator", denominator)):
            try:
                good = 0 <= value < float("inf")
            except TypeError:
                raise TypeError("the %s is %r, not a number" % (name, value)) from None
            if not good:
                raise ValueError("the %s is %r, not a number from 0" % (name, value))
        if numerator != int(numerator) or denominator != int(denominator):
            numerator, denominator = round(numerator / denominator * 1000000) if denominator else 0, 1000000
        arguments = b"%d" % numerator, b"%d" % denominator
        self._shift.tell(self, lambda session: session.status(self._assignment, *arguments))

    def send_data(self, data: "Any") -> None:
        """Send a part of the result: text and bytes as they are, anything else as the worker's serializer writes it.

        Waits while the server is slow to take it; nothing happens if the server is lost.  Raises ValueError for more than the
        server is known to take.
        """
        plain = isinstance(data, (str, bytes, bytearray, memoryview))
        part = encode_data(data if plain else self._shift.worker.serializer.dumps(data))
        check_size(self, "a part of the result", part)
        self._shift.tell(self, lambda session: session.data(self._assignment, part))

    def send_warning(self, data: "Union[str, bytes]") -> None:
        """Send a warning.  Waits, and raises ValueError, as `send_data` does; nothing happens if the server is lost."""
        part = encode_data(data)
        check_size(self, "a warning", part)
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


def run_job(job: WorkerJob, worker: "Worker", caught: "Callable[[BaseException], bool]" = lambda error: True
            ) -> "Tuple[Any, Any]":
    """Run a job's function; return True and the result, False and an exception's text, or RETRY and seconds.

    What it raises fails the job if it is `caught`, and SystemExit is meant for the job, not for the thread.  A child of a
    fork that comes back here ends; the job is its parent's.
    """
    process = os.getpid()
    try:
        for hook in worker.hooks["before"]:
            hook(job)
        result = _encode_result(job, worker.serializer, job._ability.call(job))
        call_hooks(worker, "after", job, result)
        end_child(process)
        return True, result
    except BaseException as raised:
        end_child(process, raised)
        if isinstance(raised, Retry) and (raised.attempts is None or job.attempt < raised.attempts):
            return RETRY, raised.after
        if not caught(raised):
            raise
        error = raised
    log_safely(logging.ERROR, "%r failed", job, error=error)
    call_hooks(worker, "error", job, error)
    return False, exception_text(error)


def _encode_result(job: WorkerJob, serializer: "Any", result: "Any") -> "Any":
    try:
        data = encode_data(serializer.dumps(result))
        check_size(job, "the result", data)
        return data
    except TypeError:
        if serializer is not BytesSerializer:
            raise
        raise TypeError("%s returned %s; return bytes, str or None" % (
            show_name(job.function), type(result).__name__)) from None


def check_size(job: WorkerJob, what: str, data: "Any") -> None:
    """Raises ValueError for what the server is known to end the connection for, and with it all jobs that run."""
    if len(data) + len(job.handle) >= job._link.largest:
        raise ValueError("%s of %s has %d bytes, but %s takes no more than %d" % (
            what, show_name(job.function), len(data), job.server, room_for(job)))


def room_for(job: WorkerJob) -> int:
    """How many bytes of a result, or of a part of it, the job's server takes, as far as is known."""
    return max(0, job._link.largest - len(job.handle) - 1)


def call_hooks(worker: "Worker", name: str, *arguments: "Any") -> None:
    """Call hooks whose exceptions are only logged: a thread that ended would be missed for ever."""
    for hook in worker.hooks[name]:
        process = os.getpid()
        try:
            hook(*arguments)
        except BaseException as error:
            end_child(process, error)
            if ends_work(error):
                raise
            log_safely(logging.ERROR, "the hook %s failed", name, error=error)
        else:
            end_child(process)


def ends_work(error: BaseException) -> bool:
    """Whether an exception that was raised in a function or a hook is not about that, but ends the worker.

    That is so in the main thread for a Ctrl-C, and for what the program's own handlers of signals raise to end it.
    """
    if isinstance(error, LeaveAtOnce):
        return True
    if threading.current_thread() is not threading.main_thread():
        return False
    if isinstance(error, KeyboardInterrupt):
        return True
    handlers = [signal.getsignal(getattr(signal, name)) for name in _ENDING_SIGNALS if hasattr(signal, name)]
    codes = {getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers} - {None}
    place = error.__traceback__
    while codes and place is not None:
        if place.tb_frame.f_code in codes:
            return True
        place = place.tb_next
    return False


def log_safely(level: int, message: str, *arguments: "Any", error: "Optional[BaseException]" = None) -> None:
    """Log something; a handler of the program's that fails is told on standard error, and costs no thread and no worker.

    Where logging is not set up, trouble goes to standard error.
    """
    _log(_logger_worker, level, message, arguments, error)


def _log(logger: logging.Logger, level: int, message: str, arguments: "Tuple[Any, ...]",
         error: "Optional[BaseException]" = None) -> None:
    try:
        if level >= logging.WARNING and logger.isEnabledFor(level) and not _has_handler(logger):
            details = None if error is None else (type(error), error, error.__traceback__)  # type: Any
            record = logger.makeRecord(logger.name, level, "", 0, message, arguments, details)
            if logging.lastResort is not None:
                logging.lastResort.handle(record)
        else:
            logger.log(level, message, *arguments, exc_info=error)
    except (Exception, SystemExit):
        try:
            print_exc()
        except Exception:  # standard error is closed: there is nobody to tell
            return


def _has_handler(logger: "Optional[logging.Logger]") -> bool:
    while logger is not None:
        if not all(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


logs_jobs = _logger_jobs.isEnabledFor  # whether anybody wants to read of each job at a level


def log_job(level: int, message: str, job: WorkerJob, *arguments: "Any") -> None:
    """Log how it goes with a job, of which the message first has function and handle."""
    _log(_logger_jobs, level, message, ("%s %s" % (show_name(job.function), show_name(job.handle)),) + arguments)


def exception_text(error: BaseException) -> bytes:
    """What a client reads of an exception: its text, or its type's name if it has none."""
    try:
        text = str(error)
    except Exception as failure:  # whatever the exception's own code may raise
        text = "%s, whose text cannot be had: %s" % (type(error).__name__, type(failure).__name__)
    if not text or isinstance(error, (SystemExit, KeyError)):
        text = "%s: %s" % (type(error).__name__, text) if text else type(error).__name__
    return text.encode("utf-8", "backslashreplace")

"""A job as its function sees it, and the function as it was registered."""
from ..arguments import check_kind, check_number
from ..wire.protocol import encode_data
from ..wire.worker_session import WorkerSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Sequence, Union


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
        self.after = check_number("after", after)  # type: float
        check_kind("text", text, str, "a text")
        if attempts is not None:
            attempts = check_number("attempts", attempts, 1, whole=True)
        self.attempts = attempts


class Reporter:
    """Where a job has come from, and where its reports go.  Each way of running jobs has a subclass of its own.

    `server` is the server's name; `largest` is the size of the largest packet that it takes, in bytes, as far as is known;
    `serializer` is the worker's.
    """

    __slots__ = ("server", "largest", "serializer")

    def __init__(self, server: str, largest: int, serializer: "Any") -> None:
        self.server = server
        self.largest = largest
        self.serializer = serializer

    @property
    def lost(self) -> bool:
        """Whether nobody reads the reports any more."""
        raise NotImplementedError

    @property
    def stopping(self) -> bool:
        """Whether the worker wants to leave."""
        raise NotImplementedError

    def say(self, job: "WorkerJob", put: "Callable[..., None]", *arguments: "Any") -> None:
        """Send what `put`, a method of WorkerSession, makes of a job's assignment and the arguments."""
        raise NotImplementedError


class WorkerJob:
    """One job, as the function that runs it sees it.

    `handle`, `function`, `unique` and `reducer` are bytes, the last two empty if there is none or the server does not tell;
    `server` is the server's address as `host:port`; `attempt` is 1, and one more after each `Retry`.

    Owner: the thread that runs it.
    """

    __slots__ = ("handle", "function", "unique", "reducer", "attempt", "_workload", "_reporter")

    def __init__(self, assignment: "Sequence[Any]", reporter: Reporter) -> None:
        self.handle, self.function, self.unique, self.reducer, self._workload = assignment
        self.attempt = 1
        self._reporter = reporter

    def __repr__(self) -> str:
        return "<WorkerJob %s of %s from %s>" % (show_name(self.handle), show_name(self.function), self.server)

    @property
    def server(self) -> str:
        """The server's address."""
        return self._reporter.server

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
        return self._reporter.serializer.loads(self.workload)

    @property
    def lost(self) -> bool:
        """Whether nobody waits for this run's result any more, since the server is lost or the worker has left."""
        return self._reporter.lost

    @property
    def stopping(self) -> bool:
        """Whether the worker wants to leave, so that a long job may want to come to an end."""
        return self._reporter.stopping

    def send_status(self, numerator: float, denominator: float) -> None:
        """Tell how far the job is.  Nothing happens if the server is lost.

        The protocol knows whole numbers only: instead of fractions, millionths of the whole are sent.  Raises ValueError or
        TypeError for what is no number from 0.
        """
        if not (type(numerator) is type(denominator) is int and numerator >= 0 and denominator >= 0):
            _check_share("numerator", numerator)
            _check_share("denominator", denominator)
            if numerator != int(numerator) or denominator != int(denominator):
                numerator, denominator = round(numerator / denominator * 1000000) if denominator else 0, 1000000
        self._reporter.say(self, WorkerSession.status, b"%d" % numerator, b"%d" % denominator)

    def send_data(self, data: "Any") -> None:
        """Send a part of the result: text and bytes as they are, anything else as the worker's serializer writes it.

        Waits while the server is slow to take it; nothing happens if the server is lost.  Raises ValueError for more than the
        server is known to take.
        """
        plain = isinstance(data, (str, bytes, bytearray, memoryview))
        part = encode_data(data if plain else self._reporter.serializer.dumps(data))
        check_size(self, "a part of the result", part)
        self._reporter.say(self, WorkerSession.data, part)

    def send_warning(self, data: "Union[str, bytes]") -> None:
        """Send a warning.  Waits, and raises ValueError, as `send_data` does; nothing happens if the server is lost."""
        part = encode_data(data)
        check_size(self, "a warning", part)
        self._reporter.say(self, WorkerSession.warning, part)


def _check_share(name: str, value: "Any") -> None:
    try:
        good = 0 <= value < float("inf")
    except TypeError:
        raise TypeError("the %s is %r, not a number" % (name, value)) from None
    if not good:
        raise ValueError("the %s is %r, not a number from 0" % (name, value))


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


def check_size(job: WorkerJob, what: str, data: "Any") -> None:
    """Raises ValueError for so much data that the server is known to close the connection, which would lose all its jobs."""
    if len(data) + len(job.handle) >= job._reporter.largest:
        raise ValueError("%s of %s has %d bytes, but %s takes no more than %d" % (
            what, show_name(job.function), len(data), job.server, room_for(job)))


def room_for(job: WorkerJob) -> int:
    """How many bytes of a result, or of a part of it, the job's server takes, as far as is known."""
    return max(0, job._reporter.largest - len(job.handle) - 1)

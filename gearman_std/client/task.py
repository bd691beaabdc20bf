"""A job as its client sees it, from the call that submits it to its result."""
from collections import deque, namedtuple
from math import ceil
from threading import get_ident

from ..arguments import check_callable
from ..errors import JobFailed, JobTimeout
from ..net.addresses import join_address
from ..net.connection import Deadline
from ..schedule import read_crontab
from ..timers import growing_pause
from ..wire.protocol import (SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW,
                             SUBMIT_JOB_LOW_BG, SUBMIT_JOB_SCHED, SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND, encode_data,
                             encode_function, encode_reducer, encode_unique)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Iterator, List, Mapping, Optional, Tuple, TypedDict, Union, Unpack
    from ..errors import GearmanError, ServerLost
    from ..wire.protocol import Data
    from .client import Client
    from .link import Link
    from .network import Network
    from .wait import Finished
    Text = Union[str, bytes]

    class JobOptions(TypedDict, total=False):
        """The arguments of `Client.submit` that every call that submits takes."""

        unique: "Optional[Text]"
        priority: str
        background: bool
        at: "Optional[float]"
        delay: "Optional[float]"
        schedule: "Optional[str]"
        reducer: "Optional[Text]"
        idempotent: bool
        tag: "Any"
        pass_task: bool
        on_status: "Optional[Callable[..., None]]"
        on_data: "Optional[Callable[..., None]]"
        on_warning: "Optional[Callable[..., None]]"

HIGH, NORMAL, LOW = "high", "normal", "low"
_SUBMIT_TYPES = {(HIGH, False): SUBMIT_JOB_HIGH, (NORMAL, False): SUBMIT_JOB, (LOW, False): SUBMIT_JOB_LOW,
                 (HIGH, True): SUBMIT_JOB_HIGH_BG, (NORMAL, True): SUBMIT_JOB_BG, (LOW, True): SUBMIT_JOB_LOW_BG}
MAX_MOVES = 10  # how often a job is submitted again because a connection broke
_NOT_AGAIN = MAX_MOVES + 1
_LARGEST_WORKLOAD = 0xFFFFFFFF - 65536

Plan = namedtuple("Plan", "function unique priority background packet_type middle idempotent tag pass_task "
                  "on_status on_data on_warning")
Plan.__doc__ = """What the arguments of `Client.submit` say of a job: `middle` is what its packet has between unique and
workload."""

_JOB_OPTIONS = ("unique", "priority", "background", "at", "delay", "schedule", "reducer", "idempotent", "tag", "pass_task",
                "on_status", "on_data", "on_warning")


class JobStatus(namedtuple("JobStatus", "known running numerator denominator clients")):
    """What a server knows of a job: `clients` is how many wait for it, None if it was not asked for that.

    Not `known` is a job that is over, however it ended, as well as one that never was.
    """

    __slots__ = ()
    known: "bool"
    running: "bool"
    numerator: "int"
    denominator: "int"
    clients: "Optional[int]"


class Task:
    """A job as its client sees it; made by `Client.submit`.

    `function`, `unique` and `handle` are bytes; `workload` and `tag` are what the caller gave; `progress` is the last
    (numerator, denominator) or None; `warnings` are the warnings so far; `server` is the address of the server that has it.

    Owner: the client's lock.
    """

    __slots__ = ("function", "unique", "priority", "background", "workload", "tag", "progress", "warnings", "_client",
                 "_network", "_workload", "_packet_type", "_middle", "_link", "_end", "_idempotent", "_moves", "_loss",
                 "_failures", "_home_by", "_handle", "_outcome", "_error", "_chunks", "_listeners", "_pass_task", "_on_status",
                 "_on_data", "_on_warning", "_calls", "_caller", "_thread")

    def __init__(self, client: "Client", plan: Plan, workload: "Any") -> None:
        (self.function, self.unique, self.priority, self.background, self._packet_type, self._middle, self._idempotent,
         self.tag, self._pass_task, self._on_status, self._on_data, self._on_warning) = plan
        self.workload = workload
        self.progress = None  # type: Optional[Tuple[int, int]]
        self.warnings = []    # type: List[bytes]
        self._client = client
        self._network = client._network  # type: Network
        self._workload = _dump(client, workload)
        self._link = None           # type: Optional[Link]
        self._end = 0               # where its packet ends in what the connection has to send
        self._moves = 0
        self._loss = None           # type: Optional[ServerLost] # why it may have been queued by a server that was lost
        self._failures = 0          # of the network to connect, when its connection broke
        self._home_by = None        # type: Any # the Deadline by which it must be submitted again
        self._handle = None         # type: Optional[bytes]
        self._outcome = None        # type: Any # b"" for a background job
        self._error = None          # type: Optional[GearmanError]
        self._chunks = deque()      # type: Deque[bytes]
        self._listeners = []        # type: List[Finished]
        # Callbacks that are to be called, and who calls them just now, under 0; both None if there can be none.
        self._calls = None          # type: Any
        self._caller = None         # type: Any
        self._thread = 0            # which submitted it
        if self._on_status is not None or self._on_data is not None or self._on_warning is not None:
            self._calls = deque()
            self._caller = {}
            self._thread = get_ident()

    def __repr__(self) -> str:
        handle, function = (name.decode("utf-8", "backslashreplace") for name in (self._handle or b"?", self.function))
        return "<Task %s of %s: %s>" % (handle, function, self.state)

    @property
    def state(self) -> str:
        """How far the job is, as this client knows: "submitted", "created" (its server has it), "done" or "failed"; and
        "accepted" for a background job that its server has, of which nobody hears any more."""
        if self._error is not None:
            return "failed"
        if self._outcome is not None:
            return "accepted" if self.background else "done"
        return "created" if self._handle else "submitted"

    @property
    def handle(self) -> bytes:
        """The job's handle; waits for it, as long as the server answers one command after the other in the client's command
        time-out.

        Raises what `Client.submit` raises for a background job.
        """
        self._network.confirm(self, Deadline(None))
        assert self._handle is not None
        return self._handle

    @property
    def server(self) -> str:
        """The server that has the job, as `host:port`."""
        return join_address(self._link.address) if self._link else ""

    def done(self) -> bool:
        """Whether the result is there, or the job failed; a background job is done when the server has accepted it.

        Takes in what has arrived, but does not wait.
        """
        return self._is_over() or self.wait(0)

    def wait(self, timeout: "Optional[float]" = None) -> bool:
        """Wait until the job is done and its callbacks have returned, at most `timeout` seconds; return whether it is."""
        return self._network.wait(self._is_over, Deadline(timeout, self._network.clock), (self,))

    def result(self, timeout: "Optional[float]" = None) -> "Any":
        """Wait for the job's result, at most `timeout` seconds, by default the client's job time-out; bytes unless the client
        has a serializer.

        Raises JobFailed, JobTimeout, ServerLost, CommandTimeout, or ServerError (QueueFull) if the server refused it.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error.with_traceback(None)
        return self._value()

    def _value(self) -> "Any":
        return self._client.serializer.loads(self._outcome) if not self.background else None

    def exception(self, timeout: "Optional[float]" = None) -> "Optional[GearmanError]":
        """Wait as `result` does and return the error it would raise, or None.

        Raises JobTimeout.
        """
        if timeout is None:
            timeout = self._client.job_timeout
        if not self.wait(timeout):
            name = self.function.decode("utf-8", "replace")
            raise JobTimeout("no result of %s within %s s" % (name, round(timeout or 0.0, 3)), self._handle)
        return self._error

    def stream(self, timeout: "Optional[float]" = None) -> "Iterator[bytes]":
        """The job's WORK_DATA packets as they come, until it is done; `timeout` is in seconds and for each, by default the
        client's job time-out.

        Raises JobTimeout, and at the end what `result` raises.
        """
        if timeout is None:
            timeout = self._client.job_timeout
        Deadline(timeout)  # which raises
        return self._stream(timeout)

    def _stream(self, timeout: "Optional[float]") -> "Iterator[bytes]":
        while True:
            deadline = Deadline(timeout, self._network.clock)
            if not self._network.wait(lambda: bool(self._chunks) or self._is_over(), deadline, (self,)):
                raise JobTimeout("no data within %s s" % timeout, self._handle)
            while self._chunks:
                yield self._chunks.popleft()
            if self._is_over() and not self._chunks:
                if self._error is not None:
                    raise self._error.with_traceback(None)
                return

    def status(self) -> JobStatus:
        """Ask the server how far the job is.

        Raises ServerLost, CommandTimeout.
        """
        return self._client.status(self.handle, self.server)

    def ended(self, timeout: "Optional[float]" = 0.0) -> bool:
        """Whether the job is over, also one in the background: its server is asked, again and again for at most `timeout`
        seconds, until it does not know the job any more.

        How such a job ended the protocol does not tell; `AdminClient.aside` lists those that were set aside.  Raises
        ServerLost, CommandTimeout.
        """
        deadline = Deadline(timeout, self._network.clock)
        asked = 0
        while not (self._is_done() and not self.background) and self.status().known:
            left = deadline.left()
            if left == 0:
                return False
            pause = growing_pause(0.02, 1.0, asked)
            self._client._system.sleep(pause if left is None else min(pause, left))
            asked += 1
        return True

    def abandoned(self) -> None:
        """The call that submitted it was interrupted, and nobody will have it: it is not submitted again."""
        self._moves = _NOT_AGAIN

    def _is_done(self) -> bool:
        return self._outcome is not None or self._error is not None

    def _is_over(self) -> bool:
        """Whether it is done, and its callbacks have been called."""
        return (self._outcome is not None or self._error is not None) and (
            self._calls is None or self._network.calls_over(self))

    # ------------------------------------------------------------------- called by the session, when it is the network's turn

    def created(self, handle: bytes) -> None:
        self._handle = handle
        if self.background:
            self._finish(b"", None)
        self._workload = b""

    def refused(self, error: "GearmanError") -> None:
        self._finish(None, error)

    def progressed(self, numerator: int, denominator: int) -> None:
        self.progress = numerator, denominator
        self._call(self._on_status, numerator, denominator)

    def received(self, data: "Data") -> None:
        if self._on_data is None:
            self._chunks.append(bytes(data))
        else:
            self._call(self._on_data, bytes(data))

    def warned(self, data: bytes) -> None:
        self.warnings.append(data)
        self._call(self._on_warning, data)

    def completed(self, data: "Data") -> None:
        self._finish(data if isinstance(data, bytes) else bytes(data), None)

    def failed(self, exception: "Optional[bytes]") -> None:
        message = "%s failed" % self.function.decode("utf-8", "replace")
        if exception is None and self.warnings:
            exception = self.warnings[-1]
        if exception is not None:
            message += ": " + exception.decode("utf-8", "replace")
        self._finish(None, JobFailed(message, self._handle, exception, self.warnings))

    def _call(self, callback: "Optional[Callable[..., None]]", *arguments: "Any") -> None:
        if callback is not None:
            self._calls.append((callback, (self,) + arguments if self._pass_task else arguments))
            self._network.ring(self)

    def _finish(self, outcome: "Any", error: "Optional[GearmanError]") -> None:
        self._outcome = outcome
        self._error = error
        self._workload = b""
        if self._listeners:
            self.tell()

    def tell(self) -> None:
        """Tell those who listen that it is done; again, if that was interrupted."""
        while self._listeners:
            self._listeners[-1].told(self)
            self._listeners.pop()


def _dump(client: "Client", workload: "Any") -> "Data":
    """A workload as its packet carries it."""
    try:
        data = encode_data(client.serializer.dumps(workload))
    except TypeError as error:
        raise TypeError("a workload of type %s does not go through the serializer: %s" % (
            type(workload).__name__, error)) from None
    if len(data) > _LARGEST_WORKLOAD:
        raise ValueError("a workload of %d bytes does not fit into a packet" % len(data))
    return data


def make_task(client: "Client", function: "Text", workload: "Any" = None, **options: "Unpack[JobOptions]") -> Task:
    """The task that the arguments of `Client.submit` describe, not yet submitted.

    Raises ValueError for what the protocol cannot carry, TypeError for what is of a wrong type, and what the serializer raises.
    """
    return Task(client, plan_job(client, function, **options), workload)


def plan_job(client: "Client", function: "Text", *, unique: "Optional[Text]" = None, priority: str = NORMAL,
             background: bool = False, at: "Optional[float]" = None, delay: "Optional[float]" = None,
             schedule: "Optional[str]" = None, reducer: "Optional[Text]" = None, idempotent: bool = False, tag: "Any" = None,
             pass_task: bool = False,
             on_status: "Optional[Callable[..., None]]" = None, on_data: "Optional[Callable[..., None]]" = None,
             on_warning: "Optional[Callable[..., None]]" = None) -> Plan:
    """What these arguments of `Client.submit` say of a job, whatever its workload.

    Raises ValueError and TypeError, as `make_task`.
    """
    name = encode_function(function)
    key = encode_unique(unique) if unique is not None and unique not in ("", b"") else b""
    if on_status is not None or on_data is not None or on_warning is not None:
        for what, callback in (("on_status", on_status), ("on_data", on_data), ("on_warning", on_warning)):
            if callback is not None:
                check_callable(what, callback)
    if priority not in (HIGH, NORMAL, LOW):
        raise ValueError("a priority is high, normal or low, not %r" % (priority,))
    background = bool(background)
    packet_type = _SUBMIT_TYPES[priority, background]
    middle = ()  # type: Tuple[bytes, ...]
    if at is not None or delay is not None or schedule is not None:
        starts = [what for what, when in (("at", at), ("delay", delay), ("schedule", schedule)) if when is not None]
        if not background or priority != NORMAL or reducer is not None:
            raise ValueError("%s is only for a background job of normal priority without a reducer" % starts[0])
        if len(starts) > 1:
            raise ValueError("a job has one of at, delay and schedule, not %s" % " and ".join(starts))
        packet_type, middle = SUBMIT_JOB_EPOCH, (_read_start(client, at, delay),)
        if schedule is not None:
            packet_type, middle = SUBMIT_JOB_SCHED, read_crontab(schedule)
    elif reducer is not None:
        if priority != NORMAL:
            raise ValueError("a job with a reducer has normal priority")
        packet_type = SUBMIT_REDUCE_JOB_BACKGROUND if background else SUBMIT_REDUCE_JOB
        middle = (encode_reducer(reducer), b"0")
    return Plan(name, key, priority, background, packet_type, middle, bool(idempotent), tag, pass_task,
                on_status, on_data, on_warning)


def _read_start(client: "Client", at: "Optional[float]", delay: "Optional[float]") -> bytes:
    """The unix time of `at` or `delay`, as SUBMIT_JOB_EPOCH carries it."""
    what, value = ("delay", delay) if delay is not None else ("at", at)
    try:
        if delay is not None and delay < 0:
            raise ValueError("delay is %r, less than 0" % (delay,))
        when = client._system.wall_clock() + delay if delay is not None else at or 0.0
        if not 0 <= when < 2 ** 63:
            raise ValueError("%s is %r, a time at which no job can start" % (what, value))
    except (TypeError, OverflowError):
        raise TypeError("%s is %r, not %s" % (what, value, "a number of seconds" if delay is not None else
                                              "a unix time, which is a number of seconds")) from None
    return b"%d" % ceil(when)


def check_options(call: str, options: "Mapping[Any, Any]", more: "Tuple[str, ...]" = ()) -> None:
    """Raises TypeError for what is none of the options of a job, nor one of `more`."""
    known = _JOB_OPTIONS + more
    for name in options:
        if name not in known:
            from difflib import get_close_matches
            close = get_close_matches(str(name), known, 1)
            raise TypeError("%s has no argument %s%s" % (call, name, "; is it %s?" % close[0] if close else ""))

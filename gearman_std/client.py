"""Submitting jobs and waiting for them, over several servers."""
import logging
import os
import random as _random_module
import socket
import threading
import time
from bisect import bisect
from collections import deque, namedtuple

from .addresses import join_address, split_servers
from .connection import Deadline, ask, open_connection, wait_ready
from .errors import (CommandTimeout, GearmanError, JobFailed, JobTimeout, NoServer, NoWorker, ProtocolError, ServerError, ServerLost)
from .protocol import (RESPONSE_MAGIC, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG,
                       SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG, SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND, PacketReader, encode,
                       encode_function, encode_unique)
from .serializers import find_serializer
from .session import ClientSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Type, Union
    from types import TracebackType
    from .addresses import Address
    from .connection import Connection
    from .protocol import Data
    Text = Union[str, bytes]

_logger_client = logging.getLogger("gearman_std.client")

HIGH, NORMAL, LOW = "high", "normal", "low"
_SUBMIT_TYPES = {(HIGH, False): SUBMIT_JOB_HIGH, (NORMAL, False): SUBMIT_JOB, (LOW, False): SUBMIT_JOB_LOW,
                 (HIGH, True): SUBMIT_JOB_HIGH_BG, (NORMAL, True): SUBMIT_JOB_BG, (LOW, True): SUBMIT_JOB_LOW_BG}

JobStatus = namedtuple("JobStatus", "known running numerator denominator clients")
JobStatus.__doc__ = """What a server knows of a job: `clients` is how many wait for it, None if the server was not asked for that."""

_RING_POINTS = 128      # points of a server on the hash ring
_MAX_MOVES = 10         # how often a job is submitted again because a connection broke
_FLUSH_SIZE = 65536     # bytes collected before a batch of submits is sent


class Task:
    """A job as its client sees it; made by `Client.submit`.

    `function`, `unique` and `handle` are bytes; `progress` is the last (numerator, denominator) or None; `warnings` are the
    warnings so far; `server` is the address of the server that has it.

    Owner: the client's lock.
    """

    __slots__ = ("function", "unique", "priority", "background", "progress", "warnings", "retained", "_client", "_workload",
                 "_packet_type", "_middle", "_link", "_start", "_moves", "_handle", "_outcome", "_error", "_chunks", "_listeners",
                 "_on_status", "_on_data", "_on_warning")

    def __init__(self, client: "Client", function: bytes, unique: bytes, workload: "Data", priority: str, background: bool,
                 packet_type: int, middle: "Tuple[bytes, ...]", callbacks: "Tuple[Any, Any, Any]") -> None:
        self.function = function
        self.unique = unique
        self.priority = priority
        self.background = background
        self.progress = None  # type: Optional[Tuple[int, int]]
        self.warnings = []    # type: List[bytes]
        self._client = client
        self._workload = workload
        self._packet_type = packet_type
        self._middle = middle       # the arguments between the unique and the workload
        self._link = None           # type: Optional[_Link]
        self._start = 0             # where its packet begins in what the connection has to send
        self._moves = 0
        self._handle = None         # type: Optional[bytes]
        self._outcome = None        # type: Any # b"" for a background job
        self._error = None          # type: Optional[GearmanError]
        self._chunks = deque()      # type: Deque[bytes]
        self._listeners = []        # type: List[Deque[Task]]
        self._on_status, self._on_data, self._on_warning = callbacks

    def __repr__(self) -> str:
        state = "failed" if self._error else "done" if self._outcome is not None else "created" if self._handle else "submitted"
        return "<Task %s of %s: %s>" % ((self._handle or b"?").decode("latin-1"), self.function.decode("latin-1"), state)

    @property
    def handle(self) -> bytes:
        """The job's handle; waits for it, at most the client's command time-out.

        Raises what `Client.submit` raises for a background job.
        """
        self._client._confirm(self)
        assert self._handle is not None
        return self._handle

    @property
    def server(self) -> str:
        """The server that has the job, as `host:port`."""
        return join_address(self._link.address) if self._link else ""

    def done(self) -> bool:
        """Whether the result is there, or the job failed; a background job is done when the server has accepted it."""
        return self._outcome is not None or self._error is not None

    def wait(self, timeout: "Optional[float]" = None) -> bool:
        """Wait until the job is done, at most `timeout` seconds; return whether it is."""
        return self._client._wait(self.done, Deadline(timeout, self._client._clock))

    def result(self, timeout: "Optional[float]" = None) -> "Any":
        """Wait for the job's result, at most `timeout` seconds, by default the client's job time-out; bytes unless the client
        has a serializer.

        Raises JobFailed, JobTimeout, ServerLost, or ServerError if the server refused it.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self._client._serializer.loads(self._outcome) if not self.background else None

    def exception(self, timeout: "Optional[float]" = None) -> "Optional[GearmanError]":
        """Wait as `result` does and return the error it would raise, or None.

        Raises JobTimeout.
        """
        if timeout is None:
            timeout = self._client.job_timeout
        if not self.wait(timeout):
            raise JobTimeout("no result of %s within %s s" % (self.function.decode("utf-8", "replace"), timeout), self._handle)
        return self._error

    def stream(self, timeout: "Optional[float]" = None) -> "Iterator[bytes]":
        """The job's WORK_DATA packets as they come, until it is done; `timeout` is in seconds and for each.

        Raises JobTimeout, and at the end what `result` raises.
        """
        while True:
            if not self._client._wait(lambda: bool(self._chunks) or self.done(), Deadline(timeout, self._client._clock)):
                raise JobTimeout("no data within %s s" % timeout, self._handle)
            while self._chunks:
                yield self._chunks.popleft()
            if self.done():
                if self._error is not None:
                    raise self._error
                return

    def status(self) -> JobStatus:
        """Ask the server how far the job is.

        Raises ServerLost, CommandTimeout.
        """
        return self._client.status(self.handle, self.server)

    # ----------------------------------------------------------------------- called by the session, with the client's lock

    def created(self, handle: bytes) -> None:
        self._handle = handle
        if self.background:
            self._finish(b"", None)

    def refused(self, error: GearmanError) -> None:
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
        if exception is not None:
            message += ": " + exception.decode("utf-8", "replace")
        self._finish(None, JobFailed(message, self._handle, exception, self.warnings))

    def _call(self, callback: "Optional[Callable[..., None]]", *arguments: "Any") -> None:
        if callback is not None:
            self._client._callbacks.append((callback, arguments))

    def _finish(self, outcome: "Any", error: "Optional[GearmanError]") -> None:
        self._outcome = outcome
        self._error = error
        self._workload = b""
        for listener in self._listeners:
            listener.append(self)
        self._listeners = []


class _Request:
    """A question to one server: its answer's arguments, or the error."""

    __slots__ = ("answer", "error")

    def __init__(self) -> None:
        self.answer = None  # type: Optional[Sequence[Data]]
        self.error = None   # type: Optional[GearmanError]

    def done(self) -> bool:
        return self.answer is not None or self.error is not None

    def answered(self, arguments: "Sequence[Data]") -> None:
        self.answer = arguments

    def refused(self, error: GearmanError) -> None:
        self.error = error


class _Link:
    """One server, connected or not.

    Owner: the client's lock.
    """

    __slots__ = ("address", "connection", "session", "reader", "connecting", "failures", "retry_at")

    def __init__(self, address: "Address") -> None:
        self.address = address
        self.connection = None  # type: Optional[Connection]
        self.session = ClientSession()
        self.reader = PacketReader(RESPONSE_MAGIC, text=False)
        self.connecting = False
        self.failures = 0       # in a row
        self.retry_at = 0.0     # not before that time is it tried again, if there is another server

    def __repr__(self) -> str:
        return "<_Link to %s: %r>" % (join_address(self.address), self.connection)

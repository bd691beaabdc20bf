"""Submitting jobs and waiting for them, over several servers."""
import logging
import os
import random as _random_module
import socket
import threading
import time
from bisect import bisect
from collections import deque, namedtuple
from itertools import islice
from math import ceil

from .addresses import join_address, split_servers
from .connection import Deadline, ask, make_waiter, open_connection
from .errors import (CommandTimeout, ConnectTimeout, GearmanError, JobFailed, JobTimeout, NoServer, NoWorker, ProtocolError,
                     QueueFull, ServerLost)
from .protocol import (RESPONSE_MAGIC, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG,
                       SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG, SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND, MAX_HANDLE_SIZE,
                       MAX_UNIQUE_SIZE, PacketReader, encode, encode_function, encode_unique)
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
JobStatus.__doc__ = """What a server knows of a job: `clients` is how many wait for it, None if it was not asked for that."""

_RING_POINTS = 128      # points of a server on the hash ring
_MAX_MOVES = 10         # how often a job is submitted again because a connection broke
_MAX_UNSENT = 4194304   # bytes that may wait to be sent to one server before `submit` waits for them
_BATCH_SIZE = 512       # jobs collected before a batch of submits is sent
_LARGEST_WORKLOAD = 0xFFFFFFFF - 65536
_SHORT_WAIT = 0.0004    # seconds; after a wait as short as that, the next one begins with looking again and again,
_SPINS = 200            # so often, which takes about as long; waking from sleep costs as much as the answer (benchmark: serial)


class Task:
    """A job as its client sees it; made by `Client.submit`.

    `function`, `unique` and `handle` are bytes; `progress` is the last (numerator, denominator) or None; `warnings` are the
    warnings so far; `server` is the address of the server that has it.

    Owner: the client's lock.
    """

    __slots__ = ("function", "unique", "priority", "background", "progress", "warnings", "_client", "_workload", "_packet_type",
                 "_middle", "_link", "_end", "_moves", "_loss", "_handle", "_outcome", "_error", "_chunks", "_listeners",
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
        self._end = 0               # where its packet ends in what the connection has to send
        self._moves = 0
        self._loss = None           # type: Optional[ServerLost] # why it may have been queued by a server that was lost
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
        """Whether the result is there, or the job failed; a background job is done when the server has accepted it.

        Takes in what has arrived, but does not wait.
        """
        return self._is_done() or self.wait(0)

    def wait(self, timeout: "Optional[float]" = None) -> bool:
        """Wait until the job is done, at most `timeout` seconds; return whether it is."""
        return self._client._wait(self._is_done, Deadline(timeout, self._client._clock))

    def result(self, timeout: "Optional[float]" = None) -> "Any":
        """Wait for the job's result, at most `timeout` seconds, by default the client's job time-out; bytes unless the client
        has a serializer.

        Raises JobFailed, JobTimeout, ServerLost, CommandTimeout, or ServerError (QueueFull) if the server refused it.
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
        """The job's WORK_DATA packets as they come, until it is done; `timeout` is in seconds and for each, by default the
        client's job time-out.

        Raises JobTimeout, and at the end what `result` raises.
        """
        if timeout is None:
            timeout = self._client.job_timeout
        while True:
            if not self._client._wait(lambda: bool(self._chunks) or self._is_done(), Deadline(timeout, self._client._clock)):
                raise JobTimeout("no data within %s s" % timeout, self._handle)
            while self._chunks:
                yield self._chunks.popleft()
            if self._is_done() and not self._chunks:
                if self._error is not None:
                    raise self._error
                return

    def status(self) -> JobStatus:
        """Ask the server how far the job is.

        Raises ServerLost, CommandTimeout.
        """
        return self._client.status(self.handle, self.server)

    # ----------------------------------------------------------------------- called by the session, with the client's lock

    def _is_done(self) -> bool:
        return self._outcome is not None or self._error is not None

    def created(self, handle: bytes) -> None:
        self._handle = handle
        self._workload = b""
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
    """A question to one server: its answer's arguments, or the error.

    Owner: the client's lock.
    """

    __slots__ = ("answer", "error")

    def __init__(self) -> None:
        self.answer = None  # type: Optional[Sequence[Data]]
        self.error = None   # type: Optional[GearmanError]

    def __repr__(self) -> str:
        return "<_Request: %s>" % (self.error or self.answer or "unanswered",)

    def _is_done(self) -> bool:
        return self.answer is not None or self.error is not None

    def answered(self, arguments: "Sequence[Data]") -> None:
        self.answer = arguments

    def refused(self, error: GearmanError) -> None:
        self.error = error


class _Link:
    """One server, connected or not.

    Owner: the client's lock.
    """

    __slots__ = ("address", "connection", "session", "reader", "connecting", "failures", "retry_at", "due")

    def __init__(self, address: "Address") -> None:
        self.address = address
        self.connection = None  # type: Optional[Connection]
        self.session = ClientSession()
        self.reader = PacketReader(RESPONSE_MAGIC, text=False)
        self.connecting = False
        self.failures = 0       # in a row
        self.retry_at = 0.0     # not before that time is it tried again, if there is another server
        self.due = None         # type: Optional[float] # when the oldest command must be answered or be further sent

    def __repr__(self) -> str:
        return "<_Link to %s: %r>" % (join_address(self.address), self.connection)


class Client:
    """A client of one or several job servers; may be used from many threads at once, and in a ``with`` block.

        with Client("localhost") as client:
            print(client.run("reverse", "hello"))
            client.submit("resize", photo, unique="photo-17", background=True)

    `servers` is a list, a string with commas, or None for the environment variable GEARMAN_SERVERS, else localhost:4730; each
    is written as `host`, `host:port`, `[::1]:port` or `unix:/path`.  Jobs with a unique go to the server that function and
    unique name on a hash ring, so that equal jobs meet there whoever submits them, if all write the servers alike; other jobs
    are spread evenly.  A server that cannot be reached is left out for a while.  Times are in seconds: `connect_timeout` for reaching any server, `command_timeout` for a server's
    answer to a command, `job_timeout` for a result; None is no limit.  `serializer` is "bytes", "json", "pickle" (for trusted
    servers only) or an object with `dumps` and `loads`.  `tls` is True, an `ssl.SSLContext` or a dict with some of "ca",
    "certificate", "key", "hostname" and "verify"; see `open_connection`.

    There is no thread behind it: who waits for something reads for all.

    Owner: its own lock, but for the settings, which nobody changes.
    """

    def __init__(self, servers: "Any" = None, *, connect_timeout: "Optional[float]" = 5.0,
                 command_timeout: "Optional[float]" = 10.0, job_timeout: "Optional[float]" = None, serializer: "Any" = None,
                 tls: "Any" = None,
                 clock: "Callable[[], float]" = time.monotonic, sleep: "Callable[[float], None]" = time.sleep,
                 random: "Any" = _random_module) -> None:
        self.connect_timeout = connect_timeout
        self.command_timeout = command_timeout
        self.job_timeout = job_timeout
        self._serializer = find_serializer(serializer)
        self._tls = tls
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._links = [_Link(address) for address in split_servers(servers, os.environ)]
        self._next = random.randrange(len(self._links))
        self._ring = _make_ring(self._links) if len(self._links) > 1 else []
        self._lock = threading.Lock()
        self._connected = threading.Condition(self._lock)  # notified when an attempt to connect is over
        self._poller = None        # type: Optional[int] # the thread that waits for input just now
        self._others = []          # type: List[Tuple[Callable[[], bool], Any]] # who waits for it: for what, and a lock to open
        self._waiter = None        # type: Optional[Callable[[Optional[float]], List[int]]] # None when what to wait for changed
        self._watched = []         # type: List[Tuple[_Link, Connection, int, bool]] # what it waits for
        self._spins = 0
        self._most_spins = _SPINS if (os.cpu_count() or 1) > 1 else 0
        self._callbacks = deque()  # type: Deque[Tuple[Callable[..., None], Tuple[Any, ...]]]
        self._homeless = deque()   # type: Deque[Task] # to be submitted again
        self._waker = None         # type: Optional[Tuple[socket.socket, socket.socket]]
        self._closed = False

    def __repr__(self) -> str:
        return "<Client of %s>" % ", ".join("%s%s" % (join_address(link.address), "" if link.connection else " (not connected)")
                                            for link in self._links)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: "Optional[Type[BaseException]]", error: "Optional[BaseException]",
                 traceback: "Optional[TracebackType]") -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; who still waits gets ServerLost."""
        with self._lock:
            self._closed = True
            closed = ServerLost("the client was closed")
            for link in self._links:
                if link.connection is not None:
                    self._lose(link, closed)
            while self._homeless:
                self._refuse_homeless(self._homeless.popleft(), closed)
            self._settle()
            self._close_waker()

    # ----------------------------------------------------------------------------------------------------------- submitting

    def submit(self, function: "Text", workload: "Any" = b"", *, unique: "Optional[Text]" = None, priority: str = NORMAL,
               background: bool = False, at: "Optional[float]" = None, delay: "Optional[float]" = None,
               reducer: "Optional[Text]" = None, require_worker: bool = False,
               on_status: "Optional[Callable[[int, int], None]]" = None, on_data: "Optional[Callable[[bytes], None]]" = None,
               on_warning: "Optional[Callable[[bytes], None]]" = None) -> Task:
        """Submit a job and return its Task.

        A background job's server has accepted it when this returns; a foreground job is on its way, and `Task.result` waits for
        it.  With a `unique`, a job that is queued or runs under the same function and unique is joined; "-" takes the workload
        for the key; without one, jobs are never joined.  `at` (unix time) or `delay` (seconds) start a background job later.
        `reducer` is for SUBMIT_REDUCE_JOB.  With `require_worker`, raises NoWorker if no worker can run the function.  The
        callbacks are called, by whichever thread waits, with the (numerator, denominator) of a status, a piece of data, a
        warning.

        Raises ValueError for what the protocol cannot carry, NoServer, ConnectTimeout, and for a background job QueueFull,
        ServerError, CommandTimeout or ServerLost.
        """
        task = self._make_task(function, workload, unique, priority, background, at, delay, reducer,
                               (on_status, on_data, on_warning))
        able = self._find_worker(task) if require_worker else None
        with self._lock:
            link = self._place(task, Deadline(self.connect_timeout, self._clock), able)
            self._send(link)
        self._ease(link)
        if background:
            self._confirm(task)
        return task

    def run(self, function: "Text", workload: "Any" = b"", *, timeout: "Optional[float]" = None, attempts: int = 1,
            backoff: float = 0.5, backoff_max: float = 60.0, try_timeout: "Optional[float]" = None, **options: "Any") -> "Any":
        """Submit a job, wait for it and return its result; `timeout` is in seconds and over all.

        With `attempts` greater than 1, a job that failed, was refused for a full queue, took longer than `try_timeout` seconds
        or whose server was lost is submitted again, even where that may run it twice, after `backoff` seconds, twice as long
        each time up to `backoff_max`, give or take a half.  Takes the options of `submit`, raises what it and `Task.result`
        raise.
        """
        deadline = Deadline(timeout if timeout is not None else self.job_timeout, self._clock)
        for attempt in range(1, attempts + 1):
            try:
                task = self.submit(function, workload, **options)
                left = deadline.left()
                return task.result(left if try_timeout is None else try_timeout if left is None else min(left, try_timeout))
            except (JobFailed, JobTimeout, ServerLost, NoServer, QueueFull) as error:
                if attempt == attempts or deadline.over:
                    raise
                _logger_client.info("attempt %d of %d: %s", attempt, attempts, error)
                pause = min(backoff * 2.0 ** (attempt - 1), backoff_max) * (0.5 + self._random.random())
                left = deadline.left()
                self._sleep(pause if left is None else min(pause, left))
        raise ValueError("attempts is less than 1")

    def submit_many(self, jobs: "Iterable[Any]", **options: "Any") -> "List[Task]":
        """Submit many jobs with few packets on the way: each of `jobs` is a (function, workload) pair or a dict of arguments of
        `submit`, to which `options` are added.  Background jobs are not waited for; see `Task.handle` and `wait`."""
        tasks = []  # type: List[Task]
        for job in jobs:
            arguments = dict(options, **job) if isinstance(job, dict) else dict(options, function=job[0], workload=job[1])
            tasks.append(self._submit_quietly(**arguments))
        self._send_all()
        return tasks

    def map(self, function: "Text", workloads: "Iterable[Any]", *, in_flight: int = 1000, timeout: "Optional[float]" = None,
            **options: "Any") -> "Iterator[Any]":
        """The results of a function for many workloads, in their order, with at most `in_flight` jobs at a time.

        `timeout` is in seconds and for each result, by default the client's job time-out.  Raises ValueError if `in_flight` is
        less than 1, and what `Task.result` raises when its turn comes.
        """
        if in_flight < 1:
            raise ValueError("in_flight is less than 1")
        return self._map(function, iter(workloads), in_flight, timeout, options)

    def _map(self, function: "Text", workloads: "Iterator[Any]", in_flight: int, timeout: "Optional[float]",
             options: "Dict[str, Any]") -> "Iterator[Any]":
        tasks = deque()  # type: Deque[Task]
        exhausted = False
        while tasks or not exhausted:
            # Refilling in batches keeps sends few; half of the jobs are under way meanwhile.
            if not exhausted and len(tasks) <= in_flight // 2:
                for workload in islice(workloads, in_flight - len(tasks)):
                    tasks.append(self._submit_quietly(function, workload, **options))
                exhausted = len(tasks) < in_flight
                self._send_all()
            if tasks:
                yield tasks.popleft().result(timeout)

    def executor(self, max_workers: int = 8) -> "Any":
        """A `concurrent.futures.Executor` whose `submit(function, workload, **options)` calls `run` in one of its threads."""
        from concurrent.futures import Executor, ThreadPoolExecutor

        class ClientExecutor(Executor):
            """Runs jobs of a client as futures."""

            def __init__(self, client: Client) -> None:
                self._client = client
                self._pool = ThreadPoolExecutor(max_workers)

            def submit(self, function: "Any", *arguments: "Any", **options: "Any") -> "Any":  # type: ignore[override]
                return self._pool.submit(self._client.run, function, *arguments, **options)

            def shutdown(self, wait: bool = True, **options: "Any") -> None:
                self._pool.shutdown(wait, **options)

        return ClientExecutor(self)

    # -------------------------------------------------------------------------------------------------------------- waiting

    def wait(self, tasks: "Iterable[Task]", timeout: "Optional[float]" = None,
             return_when: str = "all") -> "Tuple[List[Task], List[Task]]":
        """Wait at most `timeout` seconds until "all" or the "first" of the tasks are done; return those done and those not.

        Raises ValueError for another `return_when`.
        """
        if return_when not in ("all", "first"):
            raise ValueError("return_when is all or first, not %r" % (return_when,))
        tasks = list(tasks)
        needed = 0 if not tasks else 1 if return_when == "first" else len(tasks)
        finished = self._listen(tasks)
        try:
            self._wait(lambda: len(finished) >= needed, Deadline(timeout, self._clock))
        finally:
            self._listen_no_more(tasks, finished)
        return [task for task in tasks if task._is_done()], [task for task in tasks if not task._is_done()]

    def as_completed(self, tasks: "Iterable[Task]", timeout: "Optional[float]" = None) -> "Iterator[Task]":
        """The tasks as they are done; raises JobTimeout when `timeout` seconds are over first."""
        tasks = list(tasks)
        deadline = Deadline(timeout, self._clock)
        finished = self._listen(tasks)
        try:
            for _ in tasks:
                if not self._wait(lambda: bool(finished), deadline):
                    raise JobTimeout("not all of %d jobs were done within %s s" % (len(tasks), timeout))
                yield finished.popleft()
        finally:
            self._listen_no_more(tasks, finished)

    def _listen(self, tasks: "Sequence[Task]") -> "Deque[Task]":
        """A queue to which the tasks are added as they are done."""
        finished = deque()  # type: Deque[Task]
        with self._lock:
            for task in tasks:
                if task._is_done():
                    finished.append(task)
                else:
                    task._listeners.append(finished)
        return finished

    def _listen_no_more(self, tasks: "Sequence[Task]", finished: "Deque[Task]") -> None:
        with self._lock:
            for task in tasks:
                if task._listeners:
                    task._listeners = [listener for listener in task._listeners if listener is not finished]

    # --------------------------------------------------------------------------------------------------------------- asking

    def status(self, handle: "Text", server: "Optional[str]" = None) -> JobStatus:
        """What the servers, or the one named, know of a job by its handle.

        Raises ValueError for what is no handle and for a server that the client does not have, NoServer, CommandTimeout,
        ServerLost.
        """
        wanted = encode(handle)
        if not 0 < len(wanted) <= MAX_HANDLE_SIZE or b"\0" in wanted:
            raise ValueError("not a handle: %r" % wanted[:80])
        for answer in self._ask_each(server, lambda link, request: link.session.ask_status(request, wanted)):
            status = _make_status(answer)
            if status.known:
                return status
        return JobStatus(False, False, 0, 0, None)

    def status_unique(self, unique: "Text", server: "Optional[str]" = None) -> JobStatus:
        """What the servers, or the one named, know of a job by its unique.

        Raises ValueError, NoServer, CommandTimeout, ServerLost.
        """
        wanted = encode_unique(unique)
        for answer in self._ask_each(server, lambda link, request: link.session.ask_status_unique(request, wanted)):
            status = _make_status(answer)
            if status.known:
                return status
        return JobStatus(False, False, 0, 0, 0)

    def ping(self, server: "Optional[str]" = None, data: bytes = b"ping") -> float:
        """The seconds that the first server that can be reached, or the one named, took to echo some bytes.

        Raises NoServer, CommandTimeout, ServerLost, ProtocolError.
        """
        began = self._clock()
        for answer in self._ask_each(server, lambda link, request: link.session.ask_echo(request, data)):
            if bytes(answer[0]) != data:
                raise ProtocolError("an echo of %r came back as %r" % (data[:64], bytes(answer[0][:64])))
            return self._clock() - began
        raise NoServer("no server to ping")

    def _ask_each(self, server: "Optional[str]", ask_one: "Callable[[_Link, _Request], None]") -> "Iterator[Sequence[Data]]":
        links = self._links
        if server is not None:
            wanted = split_servers(server, {})
            links = [link for link in self._links if link.address in wanted]
            if not links:
                raise ValueError("%s is none of this client's servers" % server)
        failure = None  # type: Optional[GearmanError]
        for link in links:
            request = _Request()
            try:
                with self._lock:
                    self._connect(link, Deadline(self.connect_timeout, self._clock))
                    ask_one(link, request)
                    self._send(link)
            except NoServer as error:
                failure = error
                continue
            if not self._wait(request._is_done, Deadline(self.command_timeout, self._clock)):
                self._give_up(link, request)
            if request.error is not None:
                raise request.error
            assert request.answer is not None
            yield request.answer
        if failure is not None:
            raise failure

    # ---------------------------------------------------------------------------------------------- called without the lock

    def _make_task(self, function: "Text", workload: "Any" = b"", unique: "Optional[Text]" = None, priority: str = NORMAL,
                   background: bool = False, at: "Optional[float]" = None, delay: "Optional[float]" = None,
                   reducer: "Optional[Text]" = None, callbacks: "Tuple[Any, Any, Any]" = (None, None, None)) -> Task:
        name = encode_function(function)
        key = encode_unique(unique) if unique else b""
        data = self._serializer.dumps(workload)
        if not isinstance(data, (bytes, memoryview)):
            data = encode(data)
        elif isinstance(data, memoryview) and (data.ndim != 1 or data.itemsize != 1 or not data.contiguous):
            data = bytes(data)
        if len(data) > _LARGEST_WORKLOAD:
            raise ValueError("a workload of %d bytes does not fit into a packet" % len(data))
        if (priority, background) not in _SUBMIT_TYPES:
            raise ValueError("a priority is high, normal or low, not %r" % (priority,))
        packet_type, middle = _SUBMIT_TYPES[priority, background], ()  # type: int, Tuple[bytes, ...]
        if at is not None or delay is not None:
            if not background or priority != NORMAL or reducer is not None:
                raise ValueError("only a background job of normal priority without a reducer can start later")
            if at is not None and delay is not None:
                raise ValueError("a job starts at a time or after a delay, not both")
            when = at if at is not None else time.time() + (delay or 0.0)
            if not 0 <= when < 2 ** 63:
                raise ValueError("a job cannot start at the time %r" % (when,))
            packet_type, middle = SUBMIT_JOB_EPOCH, (b"%d" % ceil(when),)
        elif reducer is not None:
            if priority != NORMAL:
                raise ValueError("a job with a reducer has normal priority")
            packet_type = SUBMIT_REDUCE_JOB_BACKGROUND if background else SUBMIT_REDUCE_JOB
            middle = (encode_function(reducer), b"0")
            if len(middle[0]) > MAX_UNIQUE_SIZE:
                raise ValueError("the reducer's name has %d bytes, more than %d" % (len(middle[0]), MAX_UNIQUE_SIZE))
        return Task(self, name, key, data, priority, background, packet_type, middle, callbacks)

    def _find_worker(self, task: Task) -> "List[_Link]":
        """The first server that the task may go to and that has a worker for its function.

        Raises NoWorker; NoServer, CommandTimeout or ServerLost if no server answered.
        """
        with self._lock:
            links = self._candidates(task, False)
        failure = None  # type: Optional[GearmanError]
        reached = False
        for link in links:
            try:
                reply = ask(link.address, b"status", self.connect_timeout, self.command_timeout, self._tls)
            except (NoServer, ServerLost) as error:
                _logger_client.info("%s", error)
                failure = error
                continue
            reached = True
            for line in reply.split(b"\n"):
                columns = line.rsplit(b"\t", 3)
                if columns[0] == task.function and len(columns) == 4 and columns[3] != b"0":
                    return [link]
            if task.unique:
                break  # anywhere else it would not meet its equals
        if failure is not None and not reached:
            raise failure
        raise NoWorker("no worker can do %s" % task.function.decode("utf-8", "replace"))

    def _confirm(self, task: Task) -> None:
        """Wait until the server has answered the submit."""
        deadline = Deadline(self.command_timeout, self._clock)
        if not self._wait(lambda: task._handle is not None or task._error is not None, deadline):
            self._give_up(task._link, task)
        if task._handle is None and task._error is not None:
            raise task._error

    def _give_up(self, link: "Optional[_Link]", waiting: "Union[Task, _Request]") -> None:
        """A command was not answered in time, so later answers could not be told apart: end the connection."""
        with self._lock:
            if isinstance(waiting, Task) and waiting in self._homeless:
                self._homeless.remove(waiting)
                self._refuse_homeless(waiting, CommandTimeout("no server accepted the job within %s s" % self.command_timeout))
            elif link is not None and link.connection is not None and not waiting._is_done():
                self._lose(link, self._too_late(link))
            self._settle()

    def _ease(self, link: _Link) -> None:
        """Wait while much is waiting to be sent to a server."""
        connection = link.connection
        if connection is not None and connection.queued - connection.sent > _MAX_UNSENT:
            self._wait(lambda: link.connection is not connection or connection.queued - connection.sent <= _MAX_UNSENT,
                       Deadline(None))

    def _submit_quietly(self, function: "Text", workload: "Any" = b"", *, unique: "Optional[Text]" = None,
                        priority: str = NORMAL, background: bool = False, at: "Optional[float]" = None,
                        delay: "Optional[float]" = None, reducer: "Optional[Text]" = None, on_status: "Any" = None,
                        on_data: "Any" = None, on_warning: "Any" = None) -> Task:
        """Place a task without sending it yet, unless much is waiting to be sent."""
        task = self._make_task(function, workload, unique, priority, background, at, delay, reducer,
                               (on_status, on_data, on_warning))
        with self._lock:
            link = self._place(task, Deadline(self.connect_timeout, self._clock))
            connection = link.connection
            assert connection is not None
            waiting = connection.queued - connection.sent
            if connection.pieces >= _BATCH_SIZE or waiting > _MAX_UNSENT:
                self._send(link)
        if waiting > _MAX_UNSENT:
            self._ease(link)
        return task

    def _send_all(self) -> None:
        with self._lock:
            for link in self._links:
                if link.connection is not None and link.connection.unsent:
                    self._send(link)

    def _wait(self, done: "Callable[[], bool]", deadline: Deadline) -> bool:
        """Wait until something is done, reading for everybody while nobody else does; return whether it is."""
        me = threading.get_ident()
        with self._lock:
            while not done():
                if self._homeless and not self._closed:
                    self._rehouse(self._homeless.popleft())
                    continue
                outer = self._poller
                if outer is not None and outer != me:
                    if deadline.over:
                        return False
                    self._wait_for_reader(done, deadline.left())
                    continue
                self._poller = me
                try:
                    while True:
                        self._poll(deadline.left())
                        if done() or self._homeless or deadline.over:
                            break
                finally:
                    self._poller = outer
                    if outer is None:
                        self._hand_over()
                if deadline.over:
                    return done()
        return True

    # ------------------------------------------------------------------------------------------------- called with the lock

    def _wait_for_reader(self, done: "Callable[[], bool]", timeout: "Optional[float]") -> None:
        """Wait, with the lock released, until that which is waited for is done, or there is nobody else who reads."""
        gate = threading.Lock()
        gate.acquire()
        entry = (done, gate)
        self._others.append(entry)
        interrupted = True
        self._lock.release()
        try:
            gate.acquire(True, -1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))
            interrupted = False
        finally:
            self._lock.acquire()
            if entry in self._others:
                self._others.remove(entry)
            elif self._poller is None and (interrupted or done()):
                self._hand_over()  # it was this thread's turn to read, but it is leaving

    def _wake_others(self) -> None:
        """Wake the threads that got what they wait for."""
        for entry in [entry for entry in self._others if entry[0]()]:
            self._others.remove(entry)
            entry[1].release()

    def _settle(self) -> None:
        """Wake all threads that got what they wait for, the one that reads too."""
        self._wake_others()
        self._poke()

    def _hand_over(self) -> None:
        """This thread reads no more: have another do it."""
        if self._closed:
            self._close_waker()
        self._wake_others()
        if self._others:
            self._others.pop(0)[1].release()

    def _watch(self) -> None:
        """Note what to wait for."""
        if self._waker is None:
            self._waker = socket.socketpair()
            for end in self._waker:
                end.setblocking(False)
        self._watched = [(link, link.connection, link.connection.fileno(), link.connection.unsent)
                         for link in self._links if link.connection is not None]
        self._waiter = make_waiter([(connection, writing) for _, connection, _, writing in self._watched]
                                   + [(self._waker[0], False)])

    def _close_waker(self) -> None:
        if self._waker is not None and self._poller is None:
            for end in self._waker:
                end.close()
            self._waker = self._waiter = None

    def _poll(self, timeout: "Optional[float]") -> None:
        """Wait for input with the lock released, then take it in; callbacks run with the lock released."""
        if self._waiter is None:
            self._watch()
        waiter, watched, spins = self._waiter, self._watched, 0 if self._others else self._spins
        assert waiter is not None
        now = self._clock()
        for link, _, _, _ in watched:
            if link.due is not None and (timeout is None or link.due - now < timeout):
                timeout = max(0.0, link.due - now)
        self._lock.release()
        try:
            ready = waiter(0) if spins else None
            while spins and not ready:
                ready = waiter(0)
                spins -= 1
            if not ready:
                ready = waiter(timeout)
        finally:
            self._lock.acquire()
        before, now = now, self._clock()
        self._spins = self._most_spins if now - before < _SHORT_WAIT else 0
        for link, connection, descriptor, writing in watched:
            if link.connection is not connection:
                continue
            if descriptor in ready:
                self._exchange(link)
                if writing and not connection.unsent:
                    self._waiter = None
            elif link.due is not None and link.due <= now:
                self._lose(link, self._too_late(link))
        if self._waker is not None and self._waker[0].fileno() in ready:
            self._waker[0].recv(4096)
        if self._others:
            self._wake_others()
        while self._callbacks:
            callback, arguments = self._callbacks.popleft()
            self._lock.release()
            try:
                callback(*arguments)
            except Exception:
                _logger_client.exception("a callback failed")
            finally:
                self._lock.acquire()

    def _exchange(self, link: _Link) -> None:
        """Send and receive what is possible without waiting."""
        connection, session, reader = link.connection, link.session, link.reader
        assert connection is not None
        before = session.answered + connection.sent
        try:
            if connection.unsent:
                connection.flush()
            while True:
                room = reader.room()
                received = connection.receive(room)
                if received is None:
                    break
                packets = reader.feed(received) if isinstance(received, bytes) else reader.filled(received)
                room = None
                session.receive(packets)
                if reader.error is not None:
                    raise reader.error
                if reader.held == 0 and not connection.pending:
                    break
        except (ServerLost, ProtocolError) as error:
            self._lose(link, error)
            return
        if session.answered + connection.sent != before:
            link.failures = 0
            link.due = None
            self._expect_answer(link)

    def _expect_answer(self, link: _Link) -> None:
        """Have the command time-out begin, unless it has begun or nothing was asked."""
        if link.due is None and self.command_timeout is not None and link.session.unanswered:
            link.due = self._clock() + self.command_timeout

    def _send(self, link: _Link) -> None:
        """Send what is to be sent to a server, as far as that goes without waiting."""
        connection = link.connection
        if connection is None:
            return
        _hand_on(link.session, connection)
        self._expect_answer(link)
        try:
            complete = connection.flush()
        except ServerLost as error:
            self._lose(link, error)
            return
        if not complete:
            self._waiter = None
            self._poke()

    def _poke(self) -> None:
        """Have the thread that waits for input look again at what it waits for."""
        if self._waker is not None and self._poller not in (None, threading.get_ident()):
            try:
                self._waker[1].send(b"\0")
            except BlockingIOError:
                return  # it is about to look

    def _candidates(self, task: Task, settle: bool = True) -> "List[_Link]":
        """The links in the order in which a task may go to them, those that lately failed last; with `settle`, only the first
        if that is connected."""
        links = self._links
        if len(links) == 1:
            return links
        if task.unique:
            key = (task.unique,) if task.unique != b"-" else (task.unique, task._workload)
            point = _hash_points(task.function, *key)[0]
            first = bisect(self._ring, (point, len(links)))
            nearest = links[self._ring[first % len(self._ring)][1]]
        else:
            self._next = first = (self._next + 1) % len(links)
            nearest = links[first]
        if settle and nearest.connection is not None:
            return [nearest]
        if task.unique:
            links = []
            for step in range(len(self._ring)):
                link = self._links[self._ring[(first + step) % len(self._ring)][1]]
                if link not in links:
                    links.append(link)
        else:
            links = links[first:] + links[:first]
        now = self._clock()
        return sorted(links, key=lambda link: link.connection is None and link.retry_at > now)

    def _place(self, task: Task, deadline: Deadline, links: "Optional[List[_Link]]" = None) -> _Link:
        """Give a task to the first server that can be reached, not yet to send it; each server has its share of the time.

        Raises NoServer.
        """
        if links is None:
            links = self._candidates(task)
        for index, link in enumerate(links):
            if link.connection is None:
                left = deadline.left()
                try:
                    self._connect(link, Deadline(None if left is None else left / (len(links) - index), self._clock))
                except NoServer:
                    if index == len(links) - 1:
                        raise
                    continue
            connection, session = link.connection, link.session
            assert connection is not None
            task._link = link
            leading = (task.function, task.unique) + task._middle
            session.submit(task, task._packet_type, leading, task._workload, task.background)
            _hand_on(session, connection)
            task._end = connection.queued
            break
        return link

    def _connect(self, link: _Link, deadline: Deadline) -> None:
        """See that a link is connected, with the lock released meanwhile.

        Raises NoServer, ConnectTimeout.
        """
        tried = link.connecting
        while link.connecting:
            if deadline.over:
                raise ConnectTimeout("cannot connect to %s in time" % join_address(link.address))
            self._connected.wait(deadline.left())
        if self._closed:
            raise NoServer("the client was closed")
        if link.connection is not None:
            return
        if tried:
            raise NoServer("cannot connect to %s, as another thread found" % join_address(link.address))
        link.connecting = True
        connection = None
        self._lock.release()
        try:
            connection = open_connection(link.address, deadline.left(), self._tls)
        finally:
            self._lock.acquire()
            link.connecting = False
            self._connected.notify_all()
            if connection is None:
                self._back_off(link)
        if self._closed:
            connection.close()
            raise NoServer("the client was closed")
        link.connection = connection
        link.session = ClientSession()
        link.reader = PacketReader(RESPONSE_MAGIC, text=False)
        link.due = None
        _hand_on(link.session, connection)
        self._waiter = None
        self._poke()

    def _back_off(self, link: _Link) -> None:
        """A server failed: leave it alone for a while."""
        link.failures += 1
        link.retry_at = self._clock() + min(30.0, 0.25 * 2.0 ** min(link.failures, 10)) * (0.5 + self._random.random())

    def _lose(self, link: _Link, error: "Union[ServerLost, ProtocolError]") -> None:
        """A connection is of no more use: tell everybody who waits, or find another server for what may be sent again."""
        connection, session = link.connection, link.session
        assert connection is not None
        _logger_client.info("%s", error)
        sent = connection.sent
        connection.close()
        link.connection = link.due = self._waiter = None
        if isinstance(error, (CommandTimeout, ProtocolError)):
            self._back_off(link)
        for waiting, confirmed in session.waiting():
            if not isinstance(waiting, Task):
                waiting.refused(error)
            elif isinstance(error, ProtocolError):
                waiting.refused(error)
            elif confirmed:
                waiting.refused(ServerLost(str(error), "confirmed"))
            else:
                self._submit_again(waiting, type(error)(str(error), "never" if sent < waiting._end else "unconfirmed"))
        self._settle()

    def _submit_again(self, task: Task, error: ServerLost) -> None:
        """The connection broke before the server accepted a job: have it submitted again if that cannot run it twice."""
        if error.sent == "unconfirmed":
            task._loss = error
        safe = task._loss is None or bool(task.unique)
        if safe and task._moves < _MAX_MOVES and not self._closed and not isinstance(error, CommandTimeout):
            task._moves += 1
            self._homeless.append(task)
        else:
            self._refuse_homeless(task, error)

    @staticmethod
    def _refuse_homeless(task: Task, error: GearmanError) -> None:
        """End a job that no server accepted; if one may have done so before it was lost, the error says it."""
        if task._loss is not None and not (isinstance(error, ServerLost) and error.sent == "unconfirmed"):
            kind = type(error) if isinstance(error, ServerLost) else ServerLost
            error = kind("%s; before that, %s" % (error, task._loss), "unconfirmed")
        task.refused(error)

    def _rehouse(self, task: Task) -> None:
        """Submit a task again whose connection broke."""
        try:
            self._send(self._place(task, Deadline(self.connect_timeout, self._clock)))
        except NoServer as error:
            self._refuse_homeless(task, error)
            self._settle()
        except BaseException:
            self._homeless.appendleft(task)
            raise

    def _too_late(self, link: _Link) -> CommandTimeout:
        text = "%s did not answer within %s s" % (join_address(link.address), self.command_timeout)
        return CommandTimeout(text, "unconfirmed")


def _hand_on(session: ClientSession, connection: "Connection") -> None:
    """Give what a session wants to say to its connection."""
    connection.put(*session.outgoing)
    session.outgoing = []


def _make_status(answer: "Sequence[Data]") -> JobStatus:
    numbers = [int(word) if word.isdigit() else 0 for word in map(bytes, answer[1:])]
    return JobStatus(numbers[0] != 0, numbers[1] != 0, numbers[2], numbers[3], numbers[4] if len(numbers) > 4 else None)


def _make_ring(links: "Sequence[_Link]") -> "List[Tuple[int, int]]":
    """Points of all servers on a ring, each with the index of its server; the same in every process and version."""
    ring = []  # type: List[Tuple[int, int]]
    for index, link in enumerate(links):
        name = join_address(link.address).encode()
        for turn in range(_RING_POINTS // 8):
            ring += [(point, index) for point in _hash_points(name, b"%d" % turn)]
    return sorted(ring)


def _hash_points(*parts: "Data") -> "Tuple[int, ...]":
    from hashlib import sha256
    from struct import unpack
    digest = sha256()
    for part in parts:
        digest.update(part)
        digest.update(b"\0")
    return unpack(">8I", digest.digest())

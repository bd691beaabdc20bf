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


class Client:
    """A client of one or several job servers; may be used from many threads at once, and in a ``with`` block.

        with Client("localhost") as client:
            print(client.run("reverse", "hello"))
            client.submit("resize", photo, unique="photo-17", background=True)

    `servers` is a list, a string with commas, or None for the environment variable GEARMAN_SERVERS, else localhost:4730; each as
    `host`, `host:port`, `[::1]:port` or `unix:/path`.  Jobs with a unique go to the server that function and unique name on a
    hash ring, so that equal jobs meet there whoever submits them; other jobs are spread evenly.  A server that cannot be reached
    is left out for a while.  Times are in seconds: `connect_timeout` for reaching any server, `command_timeout` for a server's
    answer to a command, `job_timeout` for a result (None: no limit).  `serializer` is "bytes", "json", "pickle" (for trusted
    servers only) or an object with `dumps` and `loads`.  `tls` is True or an `ssl.SSLContext`.

    There is no thread behind it: who waits for something reads for all.

    Owner: its own lock, but for the settings, which nobody changes.
    """

    def __init__(self, servers: "Any" = None, *, connect_timeout: float = 5.0, command_timeout: float = 10.0,
                 job_timeout: "Optional[float]" = None, serializer: "Any" = None, tls: "Any" = None,
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
        self._condition = threading.Condition(threading.Lock())
        self._poller = None        # type: Optional[int] # the thread that waits for input just now
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
        with self._condition:
            self._closed = True
            for link in self._links:
                if link.connection is not None:
                    self._lose(link, ServerLost("the client was closed"))
            if self._waker is not None:
                self._poke()
                if self._poller is None:
                    for end in self._waker:
                        end.close()
                    self._waker = None
            self._condition.notify_all()

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
        if require_worker:
            self._require_worker(task)
        with self._condition:
            self._place(task, Deadline(self.connect_timeout, self._clock))
            assert task._link is not None
            self._send(task._link)
        if task.background:
            self._confirm(task)
        return task

    def run(self, function: "Text", workload: "Any" = b"", *, timeout: "Optional[float]" = None, attempts: int = 1,
            backoff: float = 0.5, backoff_max: float = 60.0, try_timeout: "Optional[float]" = None, **options: "Any") -> "Any":
        """Submit a job, wait for it and return its result; `timeout` is in seconds and over all.

        With `attempts` greater than 1, a job that failed, took longer than `try_timeout` seconds or whose server was lost is
        submitted again, after `backoff` seconds, twice as long each time up to `backoff_max`, give or take a half.  Takes
        the options of `submit`, raises what it and `Task.result` raise.
        """
        deadline = Deadline(timeout if timeout is not None else self.job_timeout, self._clock)
        for attempt in range(1, attempts + 1):
            try:
                left = deadline.left()
                task = self.submit(function, workload, **options)
                return task.result(left if try_timeout is None else try_timeout if left is None else min(left, try_timeout))
            except (JobFailed, JobTimeout, ServerLost, NoServer) as error:
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
        with self._condition:
            for job in jobs:
                arguments = dict(options, **job) if isinstance(job, dict) else dict(options, function=job[0], workload=job[1])
                tasks.append(self._submit_quietly(arguments))
            self._send_all()
        return tasks

    def map(self, function: "Text", workloads: "Iterable[Any]", *, in_flight: int = 1000, timeout: "Optional[float]" = None,
            **options: "Any") -> "Iterator[Any]":
        """The results of a function for many workloads, in their order, with at most `in_flight` jobs at a time.

        `timeout` is in seconds and for each result.  Raises what `Task.result` raises when its turn comes.
        """
        tasks = deque()  # type: Deque[Task]
        source = iter(workloads)
        exhausted = False
        while tasks or not exhausted:
            # Refilling in batches keeps sends few; half of the jobs are under way meanwhile.
            if not exhausted and len(tasks) <= in_flight // 2:
                with self._condition:
                    while len(tasks) < in_flight:
                        try:
                            workload = next(source)
                        except StopIteration:
                            exhausted = True
                            break
                        tasks.append(self._submit_quietly(dict(options, function=function, workload=workload)))
                    self._send_all()
            if tasks:
                yield tasks.popleft().result(timeout)

    def executor(self, max_workers: int = 8) -> "Any":
        """A `concurrent.futures.Executor` whose `submit(function, workload, **options)` calls `run` in one of so many threads."""
        from concurrent.futures import Executor, ThreadPoolExecutor

        class ClientExecutor(Executor):
            """Runs jobs of a client as futures."""

            def __init__(self, client: Client) -> None:
                self._client = client
                self._pool = ThreadPoolExecutor(max_workers)

            def submit(self, function: "Any", *arguments: "Any", **options: "Any") -> "Any":
                return self._pool.submit(self._client.run, function, *arguments, **options)

            def shutdown(self, wait: bool = True, **options: "Any") -> None:
                self._pool.shutdown(wait, **options)

        return ClientExecutor(self)

    # -------------------------------------------------------------------------------------------------------------- waiting

    def wait(self, tasks: "Iterable[Task]", timeout: "Optional[float]" = None,
             return_when: str = "all") -> "Tuple[List[Task], List[Task]]":
        """Wait at most `timeout` seconds until "all" or the "first" of the tasks are done; return those done and those not."""
        tasks = list(tasks)
        finished = deque()  # type: Deque[Task]
        needed = 0 if not tasks else 1 if return_when == "first" else len(tasks)
        with self._condition:
            _listen(tasks, finished)
        self._wait(lambda: len(finished) >= needed, Deadline(timeout, self._clock))
        return [task for task in tasks if task.done()], [task for task in tasks if not task.done()]

    def as_completed(self, tasks: "Iterable[Task]", timeout: "Optional[float]" = None) -> "Iterator[Task]":
        """The tasks as they are done; raises JobTimeout when `timeout` seconds are over first."""
        tasks = list(tasks)
        finished = deque()  # type: Deque[Task]
        deadline = Deadline(timeout, self._clock)
        with self._condition:
            _listen(tasks, finished)
        for _ in tasks:
            if not self._wait(lambda: bool(finished), deadline):
                raise JobTimeout("not all of %d jobs were done within %s s" % (len(tasks), timeout))
            yield finished.popleft()

    # --------------------------------------------------------------------------------------------------------------- asking

    def status(self, handle: "Text", server: "Optional[str]" = None) -> JobStatus:
        """What the servers, or the one named, know of a job by its handle.

        Raises NoServer, CommandTimeout, ServerLost.
        """
        wanted = encode(handle)
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
        wanted = [address for address in split_servers(server, {})] if server else None
        links = [link for link in self._links if wanted is None or link.address in wanted]
        failure = None  # type: Optional[GearmanError]
        for link in links:
            request = _Request()
            deadline = Deadline(self.command_timeout, self._clock)
            try:
                with self._condition:
                    self._connect(link, Deadline(self.connect_timeout, self._clock))
                    ask_one(link, request)
                    self._send(link)
            except NoServer as error:
                failure = error
                continue
            if not self._wait(request.done, deadline):
                self._give_up(link)
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
        if (priority, background) not in _SUBMIT_TYPES:
            raise ValueError("a priority is high, normal or low, not %r" % (priority,))
        packet_type, middle = _SUBMIT_TYPES[priority, background], ()  # type: int, Tuple[bytes, ...]
        if at is not None or delay is not None:
            if not background or priority != NORMAL or reducer is not None:
                raise ValueError("only a background job of normal priority without a reducer can start later")
            when = at if at is not None else time.time() + (delay or 0.0)
            packet_type, middle = SUBMIT_JOB_EPOCH, (b"%d" % -(-when // 1),)
        elif reducer is not None:
            if priority != NORMAL:
                raise ValueError("a job with a reducer has normal priority")
            packet_type = SUBMIT_REDUCE_JOB_BACKGROUND if background else SUBMIT_REDUCE_JOB
            middle = (encode_unique(reducer), b"0")
        return Task(self, name, key, data, priority, background, packet_type, middle, callbacks)

    def _require_worker(self, task: Task) -> None:
        """Raise NoWorker unless a server that the task may go to has a worker for its function."""
        for link in self._candidates(task):
            try:
                reply = ask(link.address, b"status", min(self.connect_timeout, self.command_timeout), self._tls)
            except (NoServer, ServerLost) as error:
                _logger_client.info("%s", error)
                continue
            for line in reply.split(b"\n"):
                columns = line.rsplit(b"\t", 3)
                if columns[0] == task.function and len(columns) == 4 and columns[3] != b"0":
                    return
            raise NoWorker("no worker can do %s" % task.function.decode("utf-8", "replace"))
        raise NoServer("no job server can be reached")

    def _confirm(self, task: Task) -> None:
        """Wait until the server has answered the submit."""
        if not self._wait(lambda: task._handle is not None or task._error is not None, Deadline(self.command_timeout, self._clock)):
            assert task._link is not None
            self._give_up(task._link)
        if task._error is not None and task._handle is None:
            raise task._error

    def _give_up(self, link: _Link) -> None:
        """A command was not answered in time, so later answers could not be told apart: end the connection."""
        error = CommandTimeout("%s did not answer within %s s" % (join_address(link.address), self.command_timeout), "unconfirmed")
        with self._condition:
            if link.connection is not None:
                self._lose(link, error)
            self._condition.notify_all()
        raise error

    def _wait(self, done: "Callable[[], bool]", deadline: Deadline) -> bool:
        """Wait until something is done, reading for everybody while nobody else does; return whether it is."""
        me = threading.get_ident()
        with self._condition:
            while not done():
                if self._homeless and not self._closed:
                    self._rehouse(self._homeless.popleft())
                    continue
                if deadline.over:
                    return False
                if self._poller not in (None, me):
                    self._condition.wait(deadline.left())
                    continue
                outer, self._poller = self._poller, me
                try:
                    self._poll(deadline.left())
                finally:
                    self._poller = outer
                    self._condition.notify_all()
        return True

    # ------------------------------------------------------------------------------------------------- called with the lock

    def _poll(self, timeout: "Optional[float]") -> None:
        """Wait for input with the lock released, then take it in; callbacks run with the lock released."""
        if self._waker is None:
            self._waker = socket.socketpair()
            for end in self._waker:
                end.setblocking(False)
        links = [link for link in self._links if link.connection is not None]
        watched = [(link.connection, link.connection.unsent) for link in links if link.connection is not None]
        waker = self._waker[0]
        self._condition.release()
        try:
            ready = wait_ready(watched + [(waker, False)], timeout)
        finally:
            self._condition.acquire()
        if waker.fileno() in ready:
            try:
                waker.recv(4096)
            except BlockingIOError:
                _logger_client.debug("somebody else was woken")
        for link, (connection, _) in zip(links, watched):
            if link.connection is connection and connection.fileno() in ready:
                self._exchange(link)
        while self._callbacks:
            callback, arguments = self._callbacks.popleft()
            self._condition.release()
            try:
                callback(*arguments)
            finally:
                self._condition.acquire()

    def _exchange(self, link: _Link) -> None:
        """Send and receive what is possible without waiting."""
        connection, reader = link.connection, link.reader
        assert connection is not None
        try:
            connection.flush()
            while True:
                room = reader.room()
                received = connection.receive(room)
                if received is None:
                    return
                packets = reader.feed(received) if isinstance(received, bytes) else reader.filled(received)
                room = None
                link.session.receive(packets)
                if reader.error is not None:
                    raise reader.error
                if reader.held == 0 and not connection.pending:
                    return
        except (ServerLost, ProtocolError) as error:
            self._lose(link, error)

    def _send(self, link: _Link) -> None:
        """Send what the session of a link wants to say, as far as that goes without waiting."""
        connection = link.connection
        if connection is None:
            return
        connection.put(*link.session.outgoing)
        link.session.outgoing = []
        try:
            complete = connection.flush()
        except ServerLost as error:
            self._lose(link, error)
            return
        if not complete:
            self._poke()

    def _send_all(self) -> None:
        for link in self._links:
            if link.session.outgoing:
                self._send(link)

    def _poke(self) -> None:
        """Have the thread that waits for input look again at what it waits for."""
        if self._poller is not None and self._waker is not None:
            try:
                self._waker[1].send(b"\0")
            except BlockingIOError:
                return  # it is about to look

    def _candidates(self, task: Task) -> "List[_Link]":
        """The links in the order in which a task may go to them; those that lately failed come last."""
        if not self._ring:
            return self._links
        if task.unique:
            point = _hash_points(task.function + b"\0" + task.unique)[0]
            links = []  # type: List[_Link]
            first = bisect(self._ring, (point, len(self._links)))
            for step in range(len(self._ring)):
                link = self._links[self._ring[(first + step) % len(self._ring)][1]]
                if link not in links:
                    links.append(link)
                    if len(links) == len(self._links):
                        break
        else:
            self._next = (self._next + 1) % len(self._links)
            links = self._links[self._next:] + self._links[:self._next]
        now = self._clock()
        return sorted(links, key=lambda link: link.connection is None and link.retry_at > now)

    def _place(self, task: Task, deadline: Deadline) -> None:
        """Give a task to the session of the first server that can be reached.

        Raises NoServer.
        """
        failure = None  # type: Optional[GearmanError]
        for link in self._candidates(task):
            try:
                self._connect(link, deadline)
            except NoServer as error:
                failure = error
                continue
            connection = link.connection
            assert connection is not None
            session = link.session
            task._link = link
            task._start = connection.queued + sum(map(len, session.outgoing))
            session.submit(task, task._packet_type, (task.function, task.unique) + task._middle, task._workload, task.background)
            return
        raise failure or NoServer("no job server can be reached")

    def _submit_quietly(self, arguments: "Dict[str, Any]") -> Task:
        """Place a task without sending it yet, unless much is waiting to be sent."""
        callbacks = tuple(arguments.pop(name, None) for name in ("on_status", "on_data", "on_warning"))
        task = self._make_task(callbacks=callbacks, **arguments)  # type: ignore[arg-type]
        self._place(task, Deadline(self.connect_timeout, self._clock))
        link = task._link
        if link is not None and len(link.session.outgoing) > 512:
            self._send(link)
        return task

    def _connect(self, link: _Link, deadline: Deadline) -> None:
        """See that a link is connected, with the lock released meanwhile.

        Raises NoServer, ConnectTimeout.
        """
        while link.connecting:
            self._condition.wait(deadline.left())
            if deadline.over:
                raise NoServer("cannot connect to %s in time" % join_address(link.address))
        if self._closed:
            raise NoServer("the client was closed")
        if link.connection is not None:
            return
        link.connecting = True
        self._condition.release()
        try:
            connection = open_connection(link.address, deadline.left(), self._tls)
        except NoServer:
            self._condition.acquire()
            link.failures += 1
            link.retry_at = self._clock() + min(30.0, 0.25 * 2.0 ** min(link.failures, 10)) * (0.5 + self._random.random())
            raise
        except BaseException:
            self._condition.acquire()
            raise
        else:
            self._condition.acquire()
            link.connection = connection
            link.session = ClientSession()
            link.reader = PacketReader(RESPONSE_MAGIC, text=False)
            link.failures = 0
            self._poke()
        finally:
            link.connecting = False
            self._condition.notify_all()

    def _lose(self, link: _Link, error: GearmanError) -> None:
        """A connection is of no more use: tell everybody who waits, or find another server for what may be sent again."""
        connection, session = link.connection, link.session
        assert connection is not None
        _logger_client.info("%s", error)
        sent = connection.sent
        connection.close()
        link.connection = None
        link.session = ClientSession()
        for waiting, confirmed in session.waiting():
            if isinstance(waiting, Task):
                how = "confirmed" if confirmed else "unconfirmed" if waiting._start < sent else "never"
                again = how == "never" or how == "unconfirmed" and waiting.unique and not isinstance(error, ProtocolError)
                if again and waiting._moves < _MAX_MOVES and not self._closed and not isinstance(error, CommandTimeout):
                    waiting._moves += 1
                    self._homeless.append(waiting)
                    continue
                waiting.refused(error if isinstance(error, ProtocolError) else type(error)(str(error), how))  # type: ignore
            else:
                waiting.refused(error)

    def _rehouse(self, task: Task) -> None:
        """Submit a task again whose connection broke."""
        try:
            self._place(task, Deadline(self.connect_timeout, self._clock))
        except NoServer as error:
            task.refused(error)
            self._condition.notify_all()
        else:
            assert task._link is not None
            self._send(task._link)


def _listen(tasks: "Iterable[Task]", finished: "Deque[Task]") -> None:
    for task in tasks:
        if task.done():
            finished.append(task)
        else:
            task._listeners.append(finished)


def _make_status(answer: "Sequence[Data]") -> JobStatus:
    numbers = [int(word) if word.isdigit() else 0 for word in map(bytes, answer[1:])]
    return JobStatus(numbers[0] != 0, numbers[1] != 0, numbers[2], numbers[3], numbers[4] if len(numbers) > 4 else None)


def _make_ring(links: "Sequence[_Link]") -> "List[Tuple[int, int]]":
    """Points of all servers on a ring, each with the index of its server; the same in every process and version."""
    ring = []  # type: List[Tuple[int, int]]
    for index, link in enumerate(links):
        name = join_address(link.address).encode()
        for turn in range(_RING_POINTS // 8):
            ring += [(point, index) for point in _hash_points(name + b"#%d" % turn)]
    return sorted(ring)


def _hash_points(name: bytes) -> "Tuple[int, ...]":
    from hashlib import sha256
    from struct import unpack
    return unpack(">8I", sha256(name).digest())

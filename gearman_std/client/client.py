"""Submitting jobs and waiting for them, over several servers."""
import os
from collections import deque
from itertools import islice

from ..arguments import ENDLESS, check_number
from ..errors import ClientBusy, GearmanError, JobTimeout, NoServer, ProtocolError, ServerError, copy_error
from ..net.addresses import split_servers
from ..net.connection import Deadline, check_timeout, check_tls_kind, start_deadline
from ..net.logs import own_logger
from ..net.system import REAL_SYSTEM
from ..timers import growing_pause
from ..wire.protocol import encode, encode_handle, encode_unique
from ..wire.serializers import find_serializer
from .admin import AdminClient
from .fetching import fetch_result
from .link import JobStatus, read_status
from .network import Network
from .plan import NORMAL, Sharing, check_options, plan_job
from .pool import NetworkPool
from .submission import Finished
from .task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Executor, Future
    from typing import (Any, Callable, Deque, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple, Type, TypeVar,
                        Union)
    from types import TracebackType
    from ..net.addresses import Address
    from ..net.system import System
    from ..wire.protocol import Data
    from .link import Link, Request
    from .plan import Plan
    from .submission import Submission
    Text = Union[str, bytes]
    ClientType = TypeVar("ClientType", bound="Client")

    class ClientExecutor(Executor):
        """What `Client.executor` returns, as type checkers see it."""

        def submit(self, function: "Text", workload: "Any" = None, *,  # type: ignore[override]
                   timeout: "Optional[float]" = None, attempts: int = 1, backoff: float = 0.5, backoff_max: float = 60.0,
                   try_timeout: "Optional[float]" = None, require_worker: bool = False, unique: "Optional[Text]" = None,
                   priority: str = NORMAL, background: bool = False, at: "Optional[float]" = None,
                   delay: "Optional[float]" = None, schedule: "Optional[str]" = None, reducer: "Optional[Text]" = None,
                   idempotent: bool = False, tag: "Any" = None, pass_task: bool = False,
                   on_status: "Optional[Callable[..., Any]]" = None, on_data: "Optional[Callable[..., Any]]" = None,
                   on_warning: "Optional[Callable[..., Any]]" = None) -> "Future[Any]": ...

_logger_client = own_logger("gearman_std.client")

_NO_LIMIT = Deadline(None)
_ONCE, _BACKOFF, _BACKOFF_MAX = 1, 0.5, 60.0
_RUN_OPTIONS = ("timeout", "attempts", "backoff", "backoff_max", "try_timeout", "require_worker")  # but for those of a job


class Client:
    """A client of one or several job servers; may be used from many threads at once, and in a ``with`` block.

        with Client("localhost") as client:
            print(client.run("reverse", "hello"))
            client.submit("resize", photo, unique="photo-17", background=True)

    `servers` is a list, a string with commas, or None for the environment variable GEARMAN_SERVERS, else localhost:4730; each
    is written as `host`, `host:port`, `[::1]:port` or `unix:/path`.  Jobs with a unique go to the server that function and
    unique name on a hash ring, so that equal jobs meet there whoever submits them, if all write the servers alike; other jobs
    are spread evenly.  A server that cannot be reached is left out for a while.  Times are in seconds: `connect_timeout` for
    reaching any server, `command_timeout` for a server's answer to a command, `job_timeout` for a result; None is no limit.
    `serializer` is "bytes", "json", "pickle" (for trusted servers only) or an object with `dumps` and `loads`.  `tls` is True,
    an `ssl.SSLContext` or a dict with some of "ca", "certificate", "key", "hostname" and "verify"; see `open_connection`.

    There is no thread behind it: who waits for something reads for all.  In a child process after `os.fork` it connects anew,
    and what was under way ends there with ServerLost; in the parent it goes on.

    Raises ValueError or TypeError for addresses, serializers and time-outs that cannot be.

    Owner: nobody, its settings do not change; what does change is its network's.
    """

    def __init__(self, servers: "Any" = None, *, connect_timeout: "Optional[float]" = 5.0,
                 command_timeout: "Optional[float]" = 10.0, job_timeout: "Optional[float]" = None, serializer: "Any" = None,
                 tls: "Any" = None, _system: "System" = REAL_SYSTEM) -> None:
        self._system = _system
        self.connect_timeout = check_timeout("connect_timeout", connect_timeout)
        self.command_timeout = check_timeout("command_timeout", command_timeout)
        self.job_timeout = check_timeout("job_timeout", job_timeout)
        self.serializer = find_serializer(serializer)
        check_tls_kind(tls)
        self._tls = tls
        self._addresses = split_servers(servers, os.environ)
        self._sharing = Sharing(_system, self.serializer, self.job_timeout)
        self._pool = NetworkPool(self._make_network)

    def _make_network(self) -> Network:
        return Network(self._addresses, self.connect_timeout, self.command_timeout, self._tls, self._system)

    def __repr__(self) -> str:
        return repr(self._pool.first).replace("Network", type(self).__name__, 1)

    def __enter__(self: "ClientType") -> "ClientType":
        return self

    def __exit__(self, kind: "Optional[Type[BaseException]]", error: "Optional[BaseException]",
                 traceback: "Optional[TracebackType]") -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; who still waits gets ServerLost."""
        self._pool.close()

    # ----------------------------------------------------------------------------------------------------------- submitting

    def submit(self, function: "Text", workload: "Any" = None, *, require_worker: bool = False,
               connect_timeout: "Optional[float]" = None, unique: "Optional[Text]" = None, priority: str = NORMAL,
               background: bool = False, at: "Optional[float]" = None, delay: "Optional[float]" = None,
               schedule: "Optional[str]" = None, reducer: "Optional[Text]" = None, idempotent: bool = False, tag: "Any" = None,
               pass_task: bool = False, on_status: "Optional[Callable[..., Any]]" = None,
               on_data: "Optional[Callable[..., Any]]" = None, on_warning: "Optional[Callable[..., Any]]" = None) -> Task:
        """Submit a job and return its Task.

        A background job's server has accepted it when this returns; a foreground job is on its way, and `Task.result` waits for
        it.  With `require_worker`, raises NoWorker if no worker can run the function.  A `connect_timeout` counts if it is less
        than the client's.  Other options, which all calls that submit take:

        unique      with it, a job that is queued or runs under the same function and unique is joined; "-" takes the workload
                    for the key; without one, jobs are never joined
        priority    HIGH, NORMAL or LOW
        background  nobody waits for the result
        at, delay   unix time, or seconds from now, at which a background job starts
        schedule    a background job that comes again and again, as in a crontab: "*/5 * * * *" (only gearman_std's server)
        reducer     for SUBMIT_REDUCE_JOB
        idempotent  the job may run twice: it is submitted again when its connection breaks before the server has accepted it
        tag         anything; it is `Task.tag`
        on_status, on_data, on_warning
                    called one after the other, with the two numbers of a status, a piece of data, a warning, by the thread that
                    waits for the job, which gets the result when they have returned, or by the one that submitted it while it
                    waits for something else; with `pass_task` the Task comes before them

        Raises ValueError and TypeError for what cannot be, NoServer, ConnectTimeout, and for a background job QueueFull,
        ServerError, CommandTimeout or ServerLost.  A foreground job whose connection breaks is submitted again by itself only
        if it had not been sent whole, or is idempotent; otherwise its ServerLost says "unconfirmed".
        """
        limit = start_deadline("connect_timeout", connect_timeout, self._system.clock)
        plan = plan_job(self._sharing, function, unique, priority, background, at, delay, schedule, reducer, idempotent, tag,
                        pass_task, on_status, on_data, on_warning)
        task = Task(plan, workload, self._pool)
        self._submit(task, limit, require_worker, _NO_LIMIT)
        return task

    def _submit(self, task: Task, limit: Deadline, require_worker: bool, confirm_by: Deadline) -> None:
        self._pool.submit(task._submission, limit, require_worker, task._move)
        if task._plan.background:
            task._network.confirm(task._submission, confirm_by)

    def run(self, function: "Text", workload: "Any" = None, *, timeout: "Optional[float]" = None, attempts: int = _ONCE,
            backoff: float = _BACKOFF, backoff_max: float = _BACKOFF_MAX, try_timeout: "Optional[float]" = None,
            require_worker: bool = False, unique: "Optional[Text]" = None, priority: str = NORMAL, background: bool = False,
            at: "Optional[float]" = None, delay: "Optional[float]" = None, schedule: "Optional[str]" = None,
            reducer: "Optional[Text]" = None, idempotent: bool = False, tag: "Any" = None, pass_task: bool = False,
            on_status: "Optional[Callable[..., Any]]" = None, on_data: "Optional[Callable[..., Any]]" = None,
            on_warning: "Optional[Callable[..., Any]]" = None) -> "Any":
        """Submit a job, wait for it and return its result; `timeout` is in seconds and over all, connecting included.

        With `attempts` greater than 1, a job that has no result, whatever the reason, or none that the serializer takes, or
        none after `try_timeout` seconds, is submitted again, even where that may run it twice, after `backoff` seconds, twice
        as long each time up to `backoff_max`, give or take a half.  Takes the options of `submit` but for `connect_timeout`,
        raises what it and `Task.result` raise.
        """
        if attempts is not _ONCE or backoff is not _BACKOFF or backoff_max is not _BACKOFF_MAX or try_timeout is not None:
            attempts = check_number("attempts", attempts, 1, whole=True)
            backoff = check_number("backoff", backoff)
            backoff_max = min(check_number("backoff_max", backoff_max), ENDLESS)
            try_timeout = check_timeout("try_timeout", try_timeout)
        deadline = start_deadline("timeout", self.job_timeout if timeout is None else timeout, self._system.clock)
        plan = plan_job(self._sharing, function, unique, priority, background, at, delay, schedule, reducer, idempotent, tag,
                        pass_task, on_status, on_data, on_warning)
        for attempt in range(1, attempts + 1):
            limit = deadline
            if try_timeout is not None:
                left = deadline.left()
                limit = Deadline(try_timeout if left is None else min(left, try_timeout), self._system.clock)
            task = Task(plan, workload, self._pool)
            failure, outcome = self._try(task, limit, require_worker)
            if failure is None:
                return outcome
            if attempt == attempts or deadline.over:
                raise failure
            _logger_client.info("attempt %d of %d: %s", attempt, attempts, failure)
            pause = growing_pause(backoff, backoff_max, attempt - 1) * (0.5 + self._system.random())
            left = deadline.left()
            self._system.sleep(pause if left is None else min(pause, left))
            if deadline.over:
                raise failure
        return None  # there is no attempt after the last

    def _try(self, task: Task, limit: Deadline, require_worker: bool) -> "Tuple[Optional[Exception], Any]":
        """Submit a task and wait for it; return why there is no result, or the result."""
        try:
            self._submit(task, limit, require_worker, limit)
            failure = task.exception(limit.left())
        except GearmanError as error:
            return error, None
        if failure is not None:
            return failure.with_traceback(None), None
        try:
            return None, task._value()
        except Exception as error:  # the serializer's
            return error, None

    def submit_many(self, jobs: "Iterable[Any]", *, unique: "Optional[Text]" = None, priority: str = NORMAL,
                    background: bool = False, at: "Optional[float]" = None, delay: "Optional[float]" = None,
                    schedule: "Optional[str]" = None, reducer: "Optional[Text]" = None, idempotent: bool = False,
                    tag: "Any" = None, pass_task: bool = False, on_status: "Optional[Callable[..., Any]]" = None,
                    on_data: "Optional[Callable[..., Any]]" = None,
                    on_warning: "Optional[Callable[..., Any]]" = None) -> "List[Task]":
        """Submit many jobs with few packets on the way: each of `jobs` is a (function, workload) pair or a dict of arguments of
        `submit`, to which `options` are added, but for `require_worker` and `connect_timeout`.  Background jobs are not waited
        for; see `Task.handle` and `wait`.

        Raises ValueError and TypeError before anything is sent, and NoServer if nothing could be; if servers are lost on the
        way, the jobs that no server was left for say so themselves.
        """
        options = {
            "unique": unique, "priority": priority, "background": background, "at": at, "delay": delay, "schedule": schedule,
            "reducer": reducer, "idempotent": idempotent, "tag": tag, "pass_task": pass_task, "on_status": on_status,
            "on_data": on_data, "on_warning": on_warning}
        plans = {}  # type: Dict[Text, Plan]
        tasks = [self._make_task(job, options, plans) for job in _several("jobs", jobs, "(function, workload) pairs or dicts")]
        self._submit_all(tasks)
        if tasks and isinstance(tasks[0]._submission.error, NoServer):
            tasks[0].result()
        return tasks

    def _make_task(self, job: "Any", options: "Dict[str, Any]", plans: "Dict[Text, Plan]") -> Task:
        """The task of one of many jobs; what pairs say beside their workload is looked at once for each function."""
        if isinstance(job, dict):
            check_options("a job of submit_many()", job, "function", "workload")
            if "function" not in job:
                raise TypeError("a job without a function: %.80r" % (job,))
            arguments = dict(options, **job)
            workload = arguments.pop("workload", None)
            return Task(plan_job(self._sharing, **arguments), workload, self._pool)
        # The letters of a text would pass for function and workload.
        if not isinstance(job, (tuple, list)) or not 1 <= len(job) <= 2:
            raise TypeError("a job of submit_many() is a (function, workload) pair or a dict, not %.80r" % (job,))
        function = job[0]
        plan = plans.get(function) if isinstance(function, (str, bytes)) else None
        if plan is None:
            plan = plan_job(self._sharing, function, **options)  # which refuses what is no name
            plans[function] = plan
        return Task(plan, job[1] if len(job) == 2 else None, self._pool)

    def _submit_all(self, tasks: "Sequence[Task]") -> None:
        """Submit tasks; those for which there is no server are refused."""
        failure = None  # type: Optional[NoServer]
        pool = self._pool
        try:
            for task in tasks:
                if failure is None:
                    try:
                        try:
                            pool.first.submit(task._submission, _NO_LIMIT, None, False)
                        except ClientBusy:
                            pool.submit_elsewhere(task._submission, _NO_LIMIT, False, task._move)
                    except NoServer as error:
                        failure = error
                if failure is not None:
                    task._submission.refused(copy_error(failure))
            pool.first.send_all()
        except BaseException:
            for task in tasks:
                task._submission.abandoned()
            raise

    def map(self, function: "Text", workloads: "Iterable[Any]", *, in_flight: int = 1000, timeout: "Optional[float]" = None,
            return_exceptions: bool = False, unique: "Optional[Text]" = None, priority: str = NORMAL, background: bool = False,
            at: "Optional[float]" = None, delay: "Optional[float]" = None, schedule: "Optional[str]" = None,
            reducer: "Optional[Text]" = None, idempotent: bool = False, tag: "Any" = None, pass_task: bool = False,
            on_status: "Optional[Callable[..., Any]]" = None, on_data: "Optional[Callable[..., Any]]" = None,
            on_warning: "Optional[Callable[..., Any]]" = None) -> "Iterator[Any]":
        """The results of a function for many workloads, in their order, with at most `in_flight` jobs at a time.

        `timeout` is in seconds and for each result, by default the client's job time-out.  Takes the options of `submit` but
        for `require_worker` and `connect_timeout`.  Raises ValueError and TypeError for arguments that cannot be, and when its
        turn comes, what `Task.result` raises; with `return_exceptions`, that takes the result's place, and the others go on.
        """
        in_flight = check_number("in_flight", in_flight, 1, whole=True)
        timeout = check_timeout("timeout", timeout)
        plan = plan_job(self._sharing, function, unique, priority, background, at, delay, schedule, reducer, idempotent, tag,
                        pass_task, on_status, on_data, on_warning)
        return self._map(plan, iter(_several("workloads", workloads, "workloads")), in_flight, timeout, return_exceptions)

    def _map(self, plan: "Plan", workloads: "Iterator[Any]", in_flight: int, timeout: "Optional[float]",
             return_exceptions: bool) -> "Iterator[Any]":
        tasks = deque()  # type: Deque[Task]
        exhausted = False
        while tasks or not exhausted:
            # Refilling in batches keeps sends few; half of the jobs are under way meanwhile.
            if not exhausted and len(tasks) <= in_flight // 2:
                more = [Task(plan, workload, self._pool) for workload in islice(workloads, in_flight - len(tasks))]
                self._submit_all(more)
                tasks += more
                exhausted = len(tasks) < in_flight
            if tasks:
                try:
                    result = tasks.popleft().result(timeout)
                except Exception as error:  # of the network, the worker or the serializer
                    if not return_exceptions:
                        raise
                    result = error
                yield result

    def executor(self, max_workers: int = 8) -> "ClientExecutor":
        """A `concurrent.futures.Executor` whose `submit(function, workload, **options)` calls `run` in one of its threads."""
        max_workers = check_number("max_workers", max_workers, 1, whole=True)
        from concurrent.futures import Executor, ThreadPoolExecutor

        class RunExecutor(Executor):
            """Runs jobs of a client as futures."""

            def __init__(self, client: Client) -> None:
                self._client = client
                self._pool = ThreadPoolExecutor(max_workers)

            def submit(self, function: "Text", workload: "Any" = None,  # type: ignore[override]
                       **options: "Any") -> "Future[Any]":
                check_options("submit()", options, *_RUN_OPTIONS)
                return self._pool.submit(self._client.run, function, workload, **options)

            def shutdown(self, wait: bool = True, **options: "Any") -> None:
                self._pool.shutdown(wait, **options)

        return RunExecutor(self)  # type: ignore[return-value]

    # -------------------------------------------------------------------------------------------------------------- waiting

    def wait(self, tasks: "Iterable[Task]", timeout: "Optional[float]" = None,
             return_when: str = "all") -> "Tuple[List[Task], List[Task]]":
        """Wait at most `timeout` seconds until "all" or the "first" of the tasks are done; return those done and those not.

        Raises ValueError for another `return_when`, and for tasks of another client.
        """
        if return_when not in ("all", "first"):
            raise ValueError("return_when is all or first, not %r" % (return_when,))
        several = _tasks_of(tasks)
        finished = Finished([task._submission for task in several])
        most = len(finished.all) - (0 if not several else 1) if return_when == "first" else 0
        deadline = Deadline(timeout, self._system.clock)
        try:
            networks = self._listen(several, finished)
            if self._pool.wait(networks, lambda: len(finished.left) <= most, deadline, finished):
                for task in several:
                    if task._submission.ended and not task._is_over():  # its callbacks are not
                        task.wait(deadline.left())
        finally:
            finished.over = True
        return [task for task in several if task._is_over()], [task for task in several if not task._is_over()]

    def as_completed(self, tasks: "Iterable[Task]", timeout: "Optional[float]" = None) -> "Iterator[Task]":
        """The tasks as they are done, each once; raises JobTimeout when `timeout` seconds are over first, ValueError for tasks
        of another client."""
        return self._as_completed(_tasks_of(tasks), Deadline(timeout, self._system.clock), timeout)

    def _as_completed(self, tasks: "List[Task]", deadline: Deadline, timeout: "Optional[float]") -> "Iterator[Task]":
        faces = {task._submission: task for task in tasks}
        finished = Finished(faces)
        try:
            networks = self._listen(tasks, finished)
            count = len(faces)
            told = set()  # type: Set[Task]
            while len(told) < count:
                if not self._pool.wait(networks, lambda: bool(finished.done), deadline, finished):
                    raise JobTimeout("not all of %d jobs were done within %s s" % (count, timeout))
                task = faces[finished.done.popleft()]
                if task not in told:
                    if not task._is_over() and not task.wait(deadline.left()):
                        raise JobTimeout("not all callbacks of %d jobs had returned within %s s" % (count, timeout))
                    told.add(task)
                    yield task
        finally:
            finished.over = True

    def _listen(self, tasks: "List[Task]", finished: Finished) -> "List[Network]":
        """Tell `finished` when these tasks are done; return their networks."""
        places = {}  # type: Dict[Network, List[Submission]]
        for task in dict.fromkeys(tasks):
            if task._pool is not self._pool:
                raise ValueError("a task of another client, which nobody here would hear of")
            places.setdefault(task._network, []).append(task._submission)
        for network, submissions in places.items():
            network.listen(submissions, finished)
        return list(places)

    # --------------------------------------------------------------------------------------------------------------- asking

    def status(self, handle: "Union[Task, Text]", server: "Optional[str]" = None) -> JobStatus:
        """What the servers, or the one named, know of a job by its handle, or of a Task.

        Raises ValueError for what is no handle and for a server that the client does not have, NoServer, CommandTimeout,
        ServerLost.
        """
        wanted, place = _find(handle, server)
        return self._pool.status(wanted, place)

    def status_unique(self, unique: "Text", server: "Optional[str]" = None) -> JobStatus:
        """What the servers, or the one named, know of a job by its unique.

        Raises ValueError, NoServer, CommandTimeout, ServerLost.
        """
        wanted = encode_unique(unique)
        return self._pool.ask_each(server, lambda link, request: link.session.ask_status_unique(request, wanted),
                                   read_status) or JobStatus(False, False, 0, 0, 0)

    def ping(self, server: "Optional[str]" = None, data: "Text" = b"ping") -> float:
        """The seconds that the first server that can be reached, or the one named, took to echo some bytes.

        Raises NoServer, CommandTimeout, ServerLost, ProtocolError.
        """
        began = 0.0
        try:
            sent = encode(data)
        except TypeError as error:
            raise TypeError("data is %r: %s" % (data, error)) from None

        def ask_echo(link: "Link", request: "Request") -> None:
            nonlocal began
            began = self._system.clock()  # it is connected now
            link.session.ask_echo(request, sent)

        def read_echo(answer: "Sequence[Data]") -> float:
            if bytes(answer[0]) != sent:
                raise ProtocolError("an echo of %r came back as %r" % (sent[:64], bytes(answer[0][:64])))
            return self._system.clock() - began

        return self._pool.ask_each(server, ask_echo, read_echo)  # type: ignore[no-any-return]

    def fetch(self, job: "Union[Task, Text]", timeout: "Optional[float]" = None, server: "Optional[str]" = None) -> "Any":
        """Wait until a background job, a Task or its handle, has ended and return its result, whoever submitted it; of a job
        that recurs, that of its last run.  Only gearman_std's server keeps results, of functions whose policy says so.

        `timeout` is in seconds, by default the client's job time-out; with 0 it is asked once.  Raises JobFailed, with its
        text, if the job failed, was cancelled or was set aside; ResultNotKept; JobTimeout; what `loads` of the client's
        serializer raises; and what `cancel` raises.
        """
        handle, place = _find(job, server)
        if timeout is None:
            timeout = self.job_timeout
        deadline = Deadline(timeout, self._system.clock)
        admins = [self._ask_at(link.address) for link in self._pool.links(place)]
        try:
            return self.serializer.loads(fetch_result(admins, handle, deadline, self._system))
        finally:
            for admin in admins:
                admin.close()

    def _ask_at(self, address: "Address") -> AdminClient:
        """What asks a server by text commands."""
        return AdminClient([address], self.command_timeout, tls=self._tls, _system=self._system)

    def cancel(self, job: "Union[Task, Text]", server: "Optional[str]" = None) -> bool:
        """End a job, a Task or its handle, as a failure at all servers, or at the one named; return whether one had it.

        A worker that runs it goes on in vain.  Servers take that from this machine only, unless they are told otherwise.
        Raises ValueError and TypeError for what is no handle and for a server that the client does not have, ServerError if the
        server refuses, NoServer, CommandTimeout, ServerLost.
        """
        handle, place = _find(job, server)
        return any([self._cancel_at(link.address, handle) for link in self._pool.links(place)])

    def _cancel_at(self, address: "Address", handle: bytes) -> bool:
        with self._ask_at(address) as admin:
            try:
                admin.cancel_job(handle)
            except ServerError as error:
                if error.code != "UNKNOWN_JOB":
                    raise
                return False
        return True


def _find(job: "Union[Task, Text]", server: "Optional[str]") -> "Tuple[bytes, Optional[str]]":
    """The handle of a job, and the server to ask for it: that of a Task is its own."""
    return (job.handle, job.server) if isinstance(job, Task) else (encode_handle(job), server)


def _tasks_of(tasks: "Any") -> "List[Task]":
    several = list(tasks if isinstance(tasks, dict) else _several("tasks", tasks, "tasks"))
    for task in several:
        if not isinstance(task, Task):
            raise TypeError("one of the tasks is %.80r, which is none" % (task,))
    return several


def _several(name: str, values: "Any", what: str) -> "Iterable[Any]":
    """The values, if they are several; raises TypeError for one that only looks so, as a text does."""
    if isinstance(values, (str, bytes, bytearray, memoryview, dict)) or not hasattr(type(values), "__iter__"):
        raise TypeError("%s is %.80r; several %s are wanted, in a list or the like" % (name, values, what))
    return values  # type: ignore[no-any-return]

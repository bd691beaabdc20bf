"""The worker of python-gearman, made of gearman_std's."""
import logging
import os
import random
import sys
import time
from collections import deque

from ..arguments import check_number
from ..net.addresses import join_address
from ..net.connection import open_connection
from ..net.system import System
from ..net.threads import start_thread
from ..worker.guard import log_failure, log_safely, tell_repeats
from ..worker.repeats import Repeats
from ..worker.taker import Taker
from ..worker.worker import Worker
from .connection_manager import GearmanConnectionManager, gearman_logger
from .errors import ConnectionError, ProtocolError, ServerUnavailable
from .task import call_old

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Optional, Tuple
    from ..net.addresses import Address
    from ..worker.job import WorkerJob

POLL_TIMEOUT_IN_SECONDS = 60.0
_CONNECT_TIMEOUT = 5.0


class Abilities(dict):  # type: ignore[type-arg]
    """Functions by their names as they were registered; a name can be looked up as text or as bytes.

    Owner: the worker.
    """

    def __missing__(self, name: "Any") -> "Any":
        for other in self:
            if _as_bytes(other) == _as_bytes(name):
                return self[other]
        raise KeyError(name)

    def __repr__(self) -> str:
        return "<Abilities %s>" % ", ".join(map(repr, self))


class GearmanWorker(GearmanConnectionManager):
    """Runs functions for jobs.  A function is called with the worker and the job, and returns the result.

    Functions run in the thread that calls `work`; with `threads`, in so many threads of their own.

    Owner: the thread that calls `work`; any thread may call `shutdown`.
    """

    def __init__(self, host_list: "Any" = None, threads: "Optional[int]" = None) -> None:
        super().__init__(host_list)
        if threads is not None:
            check_number("threads", threads, 1, whole=True)
        self.worker_abilities = Abilities()
        self.worker_client_id = None  # type: Any
        self.threads = threads
        self.randomized_connections = None  # type: Any
        self._repeats = Repeats()
        self._worker = None  # type: Optional[Worker] # set as long as there is a taker
        self._taker = None  # type: Optional[Taker]
        self._taken = {}    # type: Dict[Tuple[Any, bytes], WorkerJob] # jobs that have not ended, by connection and handle
        self._had_job = False
        self._working = False
        self._stopped = False
        self._ended = deque()  # type: Deque[Any] # for each job that one of the threads has run: None, or the exception
        self._old_stop = None  # type: Any # `stop_if` of `work`, from 1.x
        self._old_hooks = None  # type: Any # `hooks` of `work`, from 1.x
        self._last_job_time = None  # type: Optional[float]

    def __repr__(self) -> str:
        return "<%s connection_list=%r, %r%s>" % (
            type(self).__name__, self.connection_list, self.worker_abilities, ", at work" if self._working else "")

    # ------------------------------------------------------------------------------------------------ what may be changed

    def register_task(self, task: "Any", callback_function: "Any") -> "Any":
        """Call `callback_function` with the worker and the job for each job of a function.

        Raises ProtocolError for a name that no function can have.
        """
        if self._worker is not None and task not in self.worker_abilities:
            self._register(self._worker, task)
        self.worker_abilities[task] = callback_function
        return task

    def register_function(self, name: "Any", func: "Any", timeout: "Any" = None) -> "Any":
        """Register a function as in 1.x: it is called with the job only."""
        return self.register_task(name, call_old(func))

    def unregister_task(self, task: "Any") -> "Any":
        """Do no more jobs of a function."""
        if self.worker_abilities.pop(task, None) is not None and self._worker is not None:
            self._worker.unregister(self._on_wire(task))
        return task

    def set_client_id(self, client_id: "Any") -> "Any":
        """Set the name of this worker in the servers' listings."""
        self.worker_client_id = client_id
        if self._taker is not None:
            self._taker.change_client_id(self._on_wire(client_id))
        return client_id

    # --------------------------------------------------------------------------------------------------------------- working

    def work(self, poll_timeout: "Optional[float]" = POLL_TIMEOUT_IN_SECONDS, stop_if: "Any" = None, hooks: "Any" = None,
             reconnect: bool = False) -> None:
        """Work until `after_poll` or `after_job` returns a false value, or `shutdown` is called.

        `after_poll` is called at least every `poll_timeout` seconds.  Raises ServerUnavailable when no server can be reached,
        or the last one is lost; with `reconnect`, the servers are tried again and again instead.  `stop_if` and `hooks` are
        from 1.x: `stop_if` is called with whether the worker is idle and when the last job ended, and a true value ends the
        work; `hooks` is an object with some of the methods start(job), complete(job, result) and fail(job, exc_info).
        """
        self._stopped = False
        self._working = True
        self._old_stop, self._old_hooks = stop_if, hooks
        at_once = True
        try:
            taker = self._begin()
            for _ in range(self.threads or 0):
                start_thread(self._run_jobs, "gearman_std job", taker)
            go_on, outage = True, False
            while go_on:
                news, connections = taker.news, self.establish_worker_connections()
                outage = outage and not connections
                try:
                    go_on = self.poll_connections_until_stopped(connections, self._look_around, timeout=poll_timeout)
                    if not go_on and not connections and not self._stopped:
                        self._be_unavailable()
                except ServerUnavailable as error:
                    if not reconnect:
                        raise
                    if not outage:
                        log_safely(logging.WARNING, "%s; the worker tries them again until one answers", error)
                    outage = True
                    taker.wait_for_news(news, poll_timeout)
            at_once = False
        finally:
            self._end(at_once)

    def _look_around(self, any_activity: bool) -> bool:
        had_job, self._had_job = self._had_job, False
        if self._stopped or not self.after_poll(any_activity):
            return False
        if self._old_stop is not None and self._old_stop(not had_job, self._last_job_time):
            return False
        return bool(not had_job or self.after_job())

    def shutdown(self) -> None:
        """Have `work` return when the running jobs have ended; if called again, at once."""
        self._stopped = True
        worker = self._worker
        if worker is not None and self._working:
            worker.stop()
        else:
            self._end(True)

    def establish_worker_connections(self) -> "List[Any]":
        """Connect to the servers; return the connections that succeeded, in random order."""
        self.randomized_connections = random.sample(self.connection_list, len(self.connection_list))
        established = []
        for connection in self.randomized_connections:
            try:
                established.append(self.establish_connection(connection))
            except ConnectionError as error:
                gearman_logger.info("%s", error)
        return established

    # ---------------------------------------------------------------------------------------------- what scripts override

    def after_poll(self, any_activity: bool) -> "Any":
        """Called after each wait, also if nothing has come; a false value ends `work`."""
        return True

    def after_job(self) -> "Any":
        """Called after each job; a false value ends `work`."""
        return True

    def create_job(self, command_handler: "Any", job_handle: "Any", task: "Any", unique: "Any", data: "Any") -> "Any":
        """Make the job that the function gets; `command_handler` is its server's connection."""
        return self.job_class(command_handler, job_handle, task, unique, data)

    def on_job_execute(self, current_job: "Any") -> "Any":
        """Run a job's function, then call `on_job_complete` or `on_job_exception`."""
        try:
            result = self.worker_abilities[current_job.task](self, current_job)
        except Exception:
            return self.on_job_exception(current_job, sys.exc_info())
        return self.on_job_complete(current_job, result)

    def on_job_exception(self, current_job: "Any", exc_info: "Any") -> "Any":
        """Called when a function has raised an exception; log it, and end the job as a failure."""
        log_failure(self._repeats, "the function %r" % (current_job.task,), exc_info[1], "%s failed", _show(current_job))
        self._tell_old_hooks("fail", current_job, exc_info)
        self.send_job_failure(current_job)
        return False

    def on_job_complete(self, current_job: "Any", job_result: "Any") -> "Any":
        """Called when a function has returned; end the job with its result."""
        self._tell_old_hooks("complete", current_job, job_result)
        self.send_job_complete(current_job, job_result)
        return True

    # ------------------------------------------------------------------------------------------------------ about a job

    def send_job_status(self, current_job: "Any", numerator: "Any", denominator: "Any",
                        poll_timeout: "Optional[float]" = None) -> None:
        """Tell how far a job is."""
        taken = self._find(current_job)
        if taken is not None:
            try:
                taken.send_status(numerator, denominator)
            except (ValueError, TypeError) as error:
                raise AssertionError("a status is two numbers: %s" % error) from None

    def send_job_data(self, current_job: "Any", data: "Any", poll_timeout: "Optional[float]" = None) -> None:
        """Send a part of a job's result."""
        taken, part = self._find(current_job), self._encode(data)
        if taken is not None:
            taken.send_data(part)

    def send_job_warning(self, current_job: "Any", data: "Any", poll_timeout: "Optional[float]" = None) -> None:
        """Send a warning of a job."""
        taken, part = self._find(current_job), self._encode(data)
        if taken is not None:
            taken.send_warning(part)

    def send_job_complete(self, current_job: "Any", data: "Any", poll_timeout: "Optional[float]" = None) -> None:
        """End a job with its result.  None becomes an empty result if the data_encoder does not take it."""
        try:
            part = self._encode(data)
        except TypeError:
            if data is not None:
                raise
            part = b""
        self._end_job(current_job, Taker.complete, part)

    def send_job_failure(self, current_job: "Any", poll_timeout: "Optional[float]" = None) -> None:
        """End a job as a failure."""
        self._end_job(current_job, Taker.fail)

    def send_job_exception(self, current_job: "Any", data: "Any", poll_timeout: "Optional[float]" = None) -> None:
        """End a job as a failure, with the text of an exception."""
        self._end_job(current_job, Taker.exception, self._encode(data))

    def _end_job(self, job: "Any", end: "Callable[..., bool]", *part: "Any") -> None:
        taken = self._find(job)
        if taken is not None and self._taker is not None:
            try:
                end(self._taker, taken, *part)
            except ValueError as error:  # a result that is larger than the server takes
                raise ProtocolError(str(error)) from None
            self._taken.pop((job.connection, taken.handle), None)

    def _find(self, job: "Any") -> "Optional[WorkerJob]":
        """The taken job behind a GearmanJob; None, with a warning in the log, if nothing can be sent about it any more."""
        taken = self._taken.get((job.connection, self._on_wire(job.handle)))
        if self._taker is not None and self._taker.process != os.getpid():
            gearman_logger.warning("%s belongs to the parent of this process; nothing is sent about it from here", _show(job))
            return None
        if taken is None:
            gearman_logger.warning("%s has ended, or its server was lost; nothing more is sent about it", _show(job))
        return taken

    # ------------------------------------------------------------------------------------------------- what carries it all

    def is_connected(self, connection: "Any") -> bool:
        taker = self._taker
        return taker is not None and taker.trouble(connection.get_address()) == ""

    def connect(self, connection: "Any") -> None:
        taker, address = self._begin(), connection.get_address()
        while True:
            news, trouble = taker.news, taker.trouble(address)
            if trouble == "":
                return
            if trouble is None and address not in taker.worker.addresses:
                trouble = "it was added while work() runs, and is used from the next call on"
            if trouble is None and (taker.leaving or not taker.at_work):
                trouble = "the worker stops"
            if trouble is not None:
                connection.throw_exception(trouble)
            taker.wait_for_news(news)

    def disconnect(self, connection: "Any") -> None:
        """Do nothing: a broken connection is closed already, and the others are closed when `work` ends."""

    def descriptor(self, connection: "Any") -> "Optional[int]":
        return None  # only the worker's own thread may wait for the socket

    def _begin(self) -> Taker:
        taker = self._taker
        if taker is None:
            contexts = {}  # type: Dict[Address, Callable[[], Any]]
            for connection in self.connection_list:
                connection.belong_to(self)
                contexts[connection.get_address()] = connection.make_context
            if not contexts:
                raise ServerUnavailable("Found no valid connections in list: [], no server was given")
            system = System(connect=lambda address, timeout, tls: open_connection(address, timeout, contexts[address]()))
            worker = Worker(list(contexts), client_id=self._on_wire(self.worker_client_id), connect_timeout=_CONNECT_TIMEOUT,
                            _system=system)
            for task in self.worker_abilities:
                self._register(worker, task)
            taker = Taker(worker)
            taker.begin()
            self._worker, self._taker = worker, taker
        return taker

    def _register(self, worker: Worker, task: "Any") -> None:
        try:
            worker.register(self._on_wire(task), self._run)
        except (ValueError, TypeError) as error:
            raise ProtocolError("no function can be registered as %r: %s" % (task, error)) from None

    def _end(self, at_once: bool) -> None:
        taker = self._taker
        if taker is not None:
            taker.close(at_once)
            tell_repeats(self._repeats)
        self._worker = self._taker = None
        self._working = False
        self._taken.clear()
        self._ended.clear()

    def _mark(self) -> int:
        return self._begin().news

    def _await(self, mark: int, timeout: "Optional[float]") -> "Tuple[bool, int]":
        taker = self._begin()
        if self.threads:
            if not self._ended:
                taker.wait_for_news(mark, timeout)
            news, any_activity = taker.news, bool(self._ended)
            if any_activity:  # one job at a time, because the hooks are called after each
                error = self._ended.popleft()
                if error is not None:
                    raise error
        else:
            job = taker.take(timeout, mark)
            news, any_activity = taker.news, job is not None
            if job is not None:
                self._run(job)
        self._had_job = self._had_job or any_activity
        return any_activity, news

    def _run_jobs(self, taker: Taker) -> None:
        """Run jobs, in a thread of its own, until the worker stops."""
        while taker.at_work and not taker.leaving:
            try:
                job = taker.take()
                if job is None:
                    continue
                self._run(job)
            except BaseException as error:  # from a hook; the thread that called `work` raises it again
                self._ended.append(error)
                taker.tell_news()
                return
            self._ended.append(None)
            taker.tell_news()

    def _run(self, taken: "WorkerJob") -> None:
        """Run one job."""
        [connection] = [one for one in self.connection_list if join_address(one.get_address()) == taken.server][:1]
        handle, task, unique = map(self._for_script, (taken.handle, taken.function, taken.unique))
        failure = None  # type: Any
        try:
            data = self._decode(taken.workload)
        except Exception:  # the script's encoder cannot decode what a client has sent
            data, failure = self._for_script(taken.workload), sys.exc_info()
        job = self.create_job(connection, handle, task, unique, data)
        self._taken[connection, taken.handle] = taken
        self._tell_old_hooks("start", job)
        if failure is None:
            self.on_job_execute(job)
        else:
            self.on_job_exception(job, failure)
        self._last_job_time = time.time()

    def _tell_old_hooks(self, name: str, *arguments: "Any") -> None:
        hook = getattr(self._old_hooks, name, None)
        if hook is not None:
            hook(*arguments)

    def _trouble(self, connection: "Any") -> str:
        return self._taker.trouble(connection.get_address()) or "" if self._taker is not None else ""

    def _leaving(self) -> bool:
        return self._stopped


def _as_bytes(name: "Any") -> "Any":
    return name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name


def _show(job: "Any") -> str:
    """A job, for the log."""
    return "the job %r of %r" % (job.handle, job.task)

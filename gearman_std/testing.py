"""For tests of programs that use Gearman: a real server for a ``with`` block, and a client that runs the functions itself.

    from gearman_std.testing import ImmediateClient, JobServer

    with JobServer() as server:                                # real sockets, real threads
        server.start_worker({"reverse": lambda job: job.workload[::-1]})
        with server.client() as client:
            assert client.run("reverse", "hello") == b"olleh"

    client = ImmediateClient(mymodule.worker)                  # no sockets, no threads
    client.submit("resize", photo, background=True)            # it has run when this returns

Nothing here needs a test framework.
"""
import threading
import time

from .arguments import ENDLESS, check_kind, check_number
from .client.client import Client
from .client.network import Network
from .errors import NoServer
from .net.addresses import show_address
from .net.system import System
from .server.server import Server
from .stage import STAGE_PLACE, Stage, StageNetwork
from .worker.guard import tell_repeats
from .worker.worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Sequence, Tuple, Type, Union
    from types import TracebackType
    from .client.task import Task
    from .net.addresses import Address
    from .worker.worker import Decorated

START_TIMEOUT = 30.0  # seconds that a worker of a JobServer has to connect
LEAVE_TIMEOUT = 10.0  # seconds that running functions have when a JobServer ends


class JobServer(Server):
    """A real job server on a free port of 127.0.0.1 for a ``with`` block, with workers in threads, which end before the server.

    `address` is its (host, port), or the path of a Unix socket; `name` is the same as text, as in the environment variable
    GEARMAN_SERVERS.  Takes the options of `Server` except the port; with TLS, clients and workers need `tls`, too.

    Owner: the thread that made it; the server's own parts are the dispatcher thread's.
    """

    _workers = ()  # type: Tuple[Tuple[Worker, threading.Thread], ...]

    if not TYPE_CHECKING:  # which sees the options of Server
        def __init__(self, **options):
            super().__init__(0, **options)

    def __repr__(self) -> str:
        return "<JobServer with %d workers: %s>" % (len(self._workers), super().__repr__())

    @property
    def name(self) -> str:
        """Its address as text."""
        return show_address(self.address)

    def client(self, *, connect_timeout: "Optional[float]" = 5.0, command_timeout: "Optional[float]" = 10.0,
               job_timeout: "Optional[float]" = None, serializer: "Any" = None, tls: "Any" = None) -> Client:
        """A new client of the server, with the options of `Client`."""
        return Client([self.name], connect_timeout=connect_timeout, command_timeout=command_timeout, job_timeout=job_timeout,
                      serializer=serializer, tls=tls)

    def start_worker(self, functions: "Any", *, threads: int = 1, client_id: "Union[str, bytes, None]" = None,
                     grace: "Optional[float]" = None, max_jobs: "Optional[int]" = None, max_age: "Optional[float]" = None,
                     splay: float = 0.0, serializer: "Any" = None, tls: "Any" = None, connect_timeout: float = 10.0,
                     watch: "Optional[Callable[[], bool]]" = None) -> Worker:
        """Start a worker in a thread of its own; return it once the server knows its functions.

        `functions` is a dict of callables by name, or a Worker: its functions, hooks and serializer are used, its servers are
        not.  The options are those of `Worker`.  Raises what `Worker` and `Worker.register` raise, ValueError if there is no
        function, and NoServer if the worker cannot connect.
        """
        worker = _copy_worker(
            functions, [self.name], threads=threads, client_id=client_id, grace=grace, max_jobs=max_jobs, max_age=max_age,
            splay=splay, serializer=serializer, tls=tls, connect_timeout=connect_timeout, watch=watch)
        if not worker.abilities:
            raise ValueError("a worker without a function")
        connected = threading.Event()
        worker.hook("connected", lambda server: connected.set())
        thread = threading.Thread(target=worker.work, name="gearman_std worker", daemon=True)
        self._workers += ((worker, thread),)
        thread.start()
        if not connected.wait(START_TIMEOUT):
            raise NoServer("the worker cannot connect to %s; do both speak TLS, or neither?" % self.name)
        with self.client(tls=worker.tls) as client:
            client.ping()  # the answer comes after the server has read what the worker sent before
        return worker

    def __exit__(self, kind: "Optional[Type[BaseException]]", error: "Optional[BaseException]",
                 traceback: "Optional[TracebackType]") -> None:
        for worker, _ in self._workers:
            worker.stop()
        end = time.monotonic() + LEAVE_TIMEOUT
        for worker, thread in self._workers:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                worker.stop()  # at once
                thread.join()
        self._workers = ()
        super().__exit__(kind, error, traceback)


class ImmediateClient(Client):
    """A Client whose jobs run in the calling thread, without a server, sockets or threads.

        client = ImmediateClient({"reverse": lambda job: job.workload[::-1]})
        assert client.run("reverse", "hello") == b"olleh"

    `functions` is a dict of callables by name, or a Worker: its functions, also those registered later, its hooks and its
    serializer are used.  A job runs before `submit` returns, or while its result is waited for if it was submitted within
    another job.  The job server's own rules apply, so that priorities, uniques, statuses, warnings and failures are real, and
    the arguments travel as bytes.  A job that nobody can run stays queued; waiting for it without a time-out raises NoWorker.

    Time is not real: it begins at the present second and moves when a wait has a time-out, when a job is tried again later
    (`Retry`), and by `advance`, which is how delayed jobs come to run.  `serializer` and `job_timeout` are as for `Client`.

    Owner: as Client's; the jobs run in the threads that call.
    """

    def __init__(self, functions: "Any" = None, *, serializer: "Any" = None, job_timeout: "Optional[float]" = None) -> None:
        self.worker = functions if isinstance(functions, Worker) else _copy_worker(
            {} if functions is None else functions, None, serializer=serializer)
        self._stage = stage = Stage(self.worker)
        system = System(clock=stage.clock, wall_clock=stage.wall_clock, sleep=self.advance, connect=stage.connect)
        super().__init__([STAGE_PLACE], job_timeout=job_timeout, serializer=serializer or self.worker.serializer,
                         _system=system)

    def close(self) -> None:
        """As Client's; also logs the failures that were only counted so far, as a worker does at its end."""
        super().close()
        tell_repeats(self.worker.repeats)

    def _make_network(self) -> Network:
        return StageNetwork(self._addresses, self._stage, self._system)

    def __repr__(self) -> str:
        return "<ImmediateClient of %r>" % (self._stage,)

    def function(self, name: "Union[str, bytes]", *, timeout: "Optional[float]" = None, limit: "Optional[int]" = None
                 ) -> "Callable[[Decorated], Decorated]":
        """As `Worker.function`."""
        return self.worker.function(name, timeout=timeout, limit=limit)

    def _submit(self, *arguments: "Any") -> None:
        """As Client's; the job has run when this returns, unless a job made the call."""
        self._stage.check_free()
        super()._submit(*arguments)
        self._run(arguments[:1])

    def _submit_all(self, tasks: "Sequence[Task]") -> None:
        """As Client's; the jobs have run when this returns, unless a job made the call."""
        self._stage.check_free()
        super()._submit_all(tasks)
        self._run(tasks)

    def _cancel_at(self, address: "Address", handle: bytes) -> bool:
        return self._stage.cancel(handle)

    def advance(self, seconds: float) -> None:
        """Let time pass, and run what becomes due.  Raises ValueError for a time before now or after decades."""
        seconds = check_number("seconds", seconds, most=int(ENDLESS))
        stage = self._stage
        end = stage.clock() + seconds
        while stage.work(stage.clock()) or stage.rest(end) or stage.work(end):
            self._take_in()
        self._take_in()

    def _run(self, tasks: "Sequence[Task]") -> None:
        """Run what there is to do, and wait for these tasks' jobs if other threads run them."""
        stage = self._stage
        if not stage.within_job:
            self._take_in()  # so that the handles are known
            handles = {task._submission.handle for task in tasks}
            while stage.work(stage.clock()) or stage.rest(None, handles=handles):
                self._take_in()
            self._take_in()

    def _take_in(self) -> None:
        """Give the tasks what has arrived for them."""
        if self._stage.ready:
            for network in [self._pool.first] + self._pool.spares:
                if not network.is_mine():
                    network.take_in()  # type: ignore[attr-defined]


def _copy_worker(functions: "Any", servers: "Any", serializer: "Any", **options: "Any") -> Worker:
    """A worker with the functions of another one, and its serializer unless another is given, or with those of a dict."""
    check_kind("functions", functions, (dict, Worker), "a dict of callables by name, or a Worker")
    if isinstance(functions, Worker):
        worker = Worker(servers, serializer=serializer or functions.serializer, **options)
        worker.abilities.update(functions.abilities)
        for name, hooks in functions.hooks.items():
            worker.hooks[name] += hooks
    else:
        worker = Worker(servers, serializer=serializer, **options)
        for name, function in functions.items():
            worker.register(name, function)
    return worker

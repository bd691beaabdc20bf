"""The job server of the library gear, which test suites and small programs embed; it runs this package's server."""
import threading

from ..core.jobs import PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NORMAL, RUNNING, WAITING, FunctionPolicy
from ..server.server import Server as JobServer
from .gear_connection import _logger_gear, make_context
from .gear_jobs import BinaryJob
from .gear_packets import ConfigurationError, convert_to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Set
    from ..core.jobs import Job
    from ..core.peers import Peer

_ANSWER_TIMEOUT = 30.0  # seconds that the server's thread has to answer a question
_NOT_HERE = ("getJobForConnection", "wakeConnection", "wakeConnections", "connectLoop", "reportTimingStats")


class ServerJob(BinaryJob):
    """A copy of a job, as it was when the server was asked."""

    def __init__(self, job: "Job") -> None:
        super().__init__(job.function.name, bytes(job.workload), job.unique or None)
        self.handle = job.handle
        self.running = job.state is RUNNING
        if job.progress is not None:
            self.numerator, self.denominator = (b"%d" % number for number in job.progress)


class ServerConnection:
    """A copy of what is known of a connection, as it was when the server was asked."""

    def __init__(self, peer: "Peer") -> None:
        self.host = peer.address.decode("latin-1")
        self.client_id = None if peer.client_id == b"-" else peer.client_id
        self.functions = set(peer.abilities)
        self.related_jobs = {handle: ServerJob(job) for handle, job in peer.running.items()}
        self.related_jobs.update({job.handle: ServerJob(job) for job in peer.watching})

    def __repr__(self) -> str:
        return "<gear.ServerConnection 0x%x name: %r host: %s>" % (id(self), self.client_id, self.host)


class Server:
    """A job server in a thread of its own, from when it is made until `shutdown`.

    These properties tell what it has: `jobs` by handle; `high_queue`, `normal_queue` and `low_queue` of the jobs that wait;
    `functions`; `active_connections`; `total_jobs`, `running_jobs` and `waiting_jobs`; `getQueue` returns all jobs that wait.
    Each is a copy.  As with gear's own server, a job fails when its worker is lost, and all clients get exceptions.  Unlike
    there, equal jobs are one.

    Raises ConfigurationError for what it does not have: access control lists, for which there is `gearman_std.Access`, and
    methods that a subclass overrides to change the server's work; Exception if it cannot listen.

    Owner: whoever made it; the server's thread for what it has.
    """

    log = _logger_gear

    def __init__(self, port: int = 4730, ssl_key: "Optional[str]" = None, ssl_cert: "Optional[str]" = None,
                 ssl_ca: "Optional[str]" = None, statsd_host: "Optional[str]" = None, statsd_port: int = 8125,
                 statsd_prefix: "Optional[str]" = None, server_id: "Any" = None, acl: "Any" = None,
                 host: "Optional[str]" = None, keepalive: bool = False, tcp_keepidle: int = 7200, tcp_keepintvl: int = 75,
                 tcp_keepcnt: int = 9) -> None:
        for name in dir(type(self)):
            if (name.startswith("handle") or name in _NOT_HERE) and not hasattr(Server, name):
                raise ConfigurationError("%s cannot be overridden: the server behind this class is gearman_std's, which does "
                                         "not call it; use pause, cancel and policies instead" % name)
        if acl is not None:
            raise ConfigurationError("acl is not supported: use gearman_std.Access, or the --allow options, instead")
        if any((ssl_key, ssl_cert, ssl_ca)) and not all((ssl_key, ssl_cert, ssl_ca)):
            raise ConfigurationError("TLS needs all of ssl_key, ssl_cert and ssl_ca; some are missing")
        if statsd_host:
            self.log.error("statsd is not supported, nothing is sent to %s; use `show totals` or /metrics instead", statsd_host)
        self.client_id = convert_to_bytes(server_id)
        self.running = True
        try:
            self._server = JobServer(int(port), [host or ""], exceptions=True, policy=FunctionPolicy(retries=1),
                                     tls=make_context(True, ssl_key, ssl_cert, ssl_ca) if ssl_key else None)
            self._server.start()
        except (OSError, TypeError, ValueError) as error:
            raise Exception("Could not open socket: %s" % error) from None
        self.port = self._server.address[1]

    def __repr__(self) -> str:
        return "<gear.Server 0x%x port: %s>" % (id(self), self.port)

    def shutdown(self) -> None:
        """Stop the server, and close all its connections."""
        if not self.running:
            self.log.warning("shutdown of %r, which was shut down before", self)
        self.running = False
        self._server.stop()
        self._server.join()

    def _ask(self, question: "Callable[[Any], Any]") -> "Any":
        """Call `question` with the core, in the server's thread; return its answer, an empty list if the server has ended."""
        answers, done = [], threading.Event()  # type: List[Any], threading.Event

        def answer() -> None:
            try:
                answers.append(question(self._server.core))
            finally:
                done.set()
        if self._server.running:
            self._server.call_soon(answer)
            done.wait(_ANSWER_TIMEOUT)
        return answers[0] if answers else []

    def _waiting(self, *priorities: int) -> "List[ServerJob]":
        jobs = self._ask(lambda core: [(job.priority, ServerJob(job)) for job in core.jobs.values()
                                       if job.state is WAITING and job.priority in priorities])
        return [job for wanted in priorities for priority, job in jobs if priority == wanted]

    @property
    def high_queue(self) -> "List[ServerJob]":
        """The jobs of high precedence that wait."""
        return self._waiting(PRIORITY_HIGH)

    @property
    def normal_queue(self) -> "List[ServerJob]":
        """The jobs of normal precedence that wait."""
        return self._waiting(PRIORITY_NORMAL)

    @property
    def low_queue(self) -> "List[ServerJob]":
        """The jobs of low precedence that wait."""
        return self._waiting(PRIORITY_LOW)

    def getQueue(self) -> "List[ServerJob]":
        """The jobs that wait, those of high precedence first."""
        return self._waiting(PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW)

    @property
    def jobs(self) -> "Dict[bytes, ServerJob]":
        """All jobs, by handle."""
        return dict(self._ask(lambda core: [(handle, ServerJob(job)) for handle, job in core.jobs.items()]))

    @property
    def functions(self) -> "Set[bytes]":
        """The functions that workers can do."""
        return set(self._ask(lambda core: [name for name, function in core.functions.items() if function.workers]))

    @property
    def active_connections(self) -> "List[ServerConnection]":
        """All connections."""
        return list(self._ask(lambda core: [ServerConnection(peer) for peer in core.peers]))

    @property
    def total_jobs(self) -> int:
        """How many jobs there are."""
        return len(self.jobs)

    @property
    def running_jobs(self) -> int:
        """How many jobs a worker has."""
        return len([job for job in self.jobs.values() if job.running])

    @property
    def waiting_jobs(self) -> int:
        """How many jobs wait for a worker."""
        return len(self.getQueue())


__all__ = ["Server", "ServerConnection", "ServerJob"]

"""Connecting a worker to its servers without waiting for any of them."""
from collections import deque

from ..net.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, List, Tuple
    from ..net.connection import Connection
    from .link import Lane, WorkerServer
    from .shared import Shared


class Connector:
    """Connects in threads of their own, since finding the addresses of a name, or a machine that is silent, may take long.

    Owner: the shift's lock.
    """

    __slots__ = ("arrivals", "unmade", "_shared")

    def __init__(self, shared: "Shared") -> None:
        self.arrivals = deque()  # type: Deque[Tuple[WorkerServer, List[Lane], Any]] # connections made, or an exception
        self._shared = shared
        self.unmade = []         # type: List[Callable[[], None]] # to be made without a thread

    def __repr__(self) -> str:
        return "<Connector: %d arrivals, %d to be made without a thread>" % (len(self.arrivals), len(self.unmade))

    def connect(self, server: "WorkerServer", lanes: "List[Lane]") -> None:
        """Begin to connect to a server, once for each lane; what comes of it is put into `arrivals`."""
        server.connecting = True
        try:
            start_thread(self._reach, "gearman_std connect", server, lanes)
        except OSError:  # the system has no thread left
            self.unmade.append(lambda: self._reach(server, lanes))

    def connect_without_threads(self) -> None:
        """Make the connections here for which there was no thread; called without the lock."""
        unmade, self.unmade = self.unmade, []
        for make in unmade:
            make()

    def connections(self) -> "List[Connection]":
        """The connections that were made and nobody has taken yet."""
        return [connection for _, _, outcome in self.arrivals if isinstance(outcome, list) for connection in outcome]

    def _reach(self, server: "WorkerServer", lanes: "List[Lane]") -> None:
        shared, worker = self._shared, self._shared.worker
        connections = []  # type: List[Connection]
        outcome = connections  # type: Any
        try:
            for _ in lanes:
                connections.append(worker._system.connect(server.address, worker.connect_timeout, worker.tls))
        except Exception as error:  # also what a resolver or TLS may raise: nothing ends the worker but its owner
            for connection in connections:
                connection.close()
            outcome = error
        with shared.lock:
            if not shared.over:
                self.arrivals.append((server, lanes, outcome))
                shared.wake()
            elif outcome is connections:
                for connection in connections:
                    connection.close()

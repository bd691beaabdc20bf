"""Connecting a worker to its servers without waiting for any of them."""
from collections import deque

from ..net.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, List, Tuple
    from ..net.connection import Connection
    from .link import Lane, WorkerServer
    from .shift import Shift


class Connector:
    """Connects in threads of their own, since finding the addresses of a name, or a machine that is silent, may take long.

    Owner: the shift's lock.
    """

    __slots__ = ("arrivals", "_shift", "_unmade")

    def __init__(self, shift: "Shift") -> None:
        self.arrivals = deque()  # type: Deque[Tuple[WorkerServer, List[Lane], Any]] # connections made, or an exception
        self._shift = shift
        self._unmade = []        # type: List[Callable[[], None]] # to be made without a thread

    def __repr__(self) -> str:
        return "<Connector: %d arrivals, %d to be made without a thread>" % (len(self.arrivals), len(self._unmade))

    def connect(self, server: "WorkerServer", lanes: "List[Lane]") -> None:
        """Connect to a server, once for each lane; what comes of it is among the arrivals then."""
        server.connecting = True
        try:
            start_thread(self._reach, "gearman_std connect", server, lanes)
        except OSError:  # the system has no thread left
            self._unmade.append(lambda: self._reach(server, lanes))

    def connect_without_threads(self) -> bool:
        """Do it here, where there was no thread for it; return whether there was any such need.  Called without the lock."""
        unmade, self._unmade = self._unmade, []
        for make in unmade:
            make()
        return bool(unmade)

    def connections(self) -> "List[Connection]":
        """Those that have been made and not yet taken."""
        return [connection for _, _, outcome in self.arrivals if isinstance(outcome, list) for connection in outcome]

    def _reach(self, server: "WorkerServer", lanes: "List[Lane]") -> None:
        shift = self._shift
        worker = shift.worker
        connections = []  # type: List[Connection]
        outcome = connections  # type: Any
        try:
            for _ in lanes:
                connections.append(worker._system.connect(server.address, worker.connect_timeout, worker.tls))
        except Exception as error:  # also what a resolver or TLS may raise: nothing ends the worker but its owner
            for connection in connections:
                connection.close()
            outcome = error
        with shift.lock:
            if not shift.over:
                self.arrivals.append((server, lanes, outcome))
                shift.wake()
            elif outcome is connections:
                for connection in connections:
                    connection.close()

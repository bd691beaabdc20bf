"""The networks of a client: one, and spares for what interrupts a thread in the middle of using that one."""
from ..errors import ClientBusy, NoServer, NoWorker, ServerError, ServerLost
from ..net.addresses import split_servers
from ..net.connection import Deadline, ask
from ..net.logs import own_logger
from .link import JobStatus, read_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Sequence
    from ..errors import GearmanError
    from ..wire.protocol import Data
    from .link import Link, Request
    from .network import Network
    from .submission import Finished, Submission

_logger_pool = own_logger("gearman_std.client")

_MOST_SPARES = 8   # networks beside the first
_SLICE = 0.02      # seconds of waiting in one of several networks
_ABLE_FOR = 1.0    # seconds for which a server is taken to have workers that it had


class NetworkPool:
    """The networks of a client, which `make` makes.

    A signal's handler, or what the garbage collector calls, may interrupt a thread in the middle of a change of the first
    network.  If it then waited for the end of that change, it would wait for ever; so it uses a spare network.

    Owner: nobody; spares are only added, and what changes in a network is that network's.
    """

    __slots__ = ("first", "spares", "_make")

    def __init__(self, make: "Callable[[], Network]") -> None:
        self.first = make()
        self.spares = []  # type: List[Network]
        self._make = make

    def __repr__(self) -> str:
        return "<NetworkPool of %r and %d spares>" % (self.first, len(self.spares))

    def close(self) -> None:
        """Close all connections; who still waits gets ServerLost."""
        for network in [self.first] + self.spares:
            network.close()

    def _spare(self, number: int) -> "Network":
        while number >= len(self.spares):
            network = self._make()
            network.closed = self.first.closed
            self.spares.append(network)
        return self.spares[number]

    def _free_network(self) -> "Network":
        """The first network that this thread was not interrupted in."""
        network, number = self.first, 0
        while network.is_mine() and number < _MOST_SPARES:
            network = self._spare(number)
            number += 1
        return network

    # ---------------------------------------------------------------------------------------------------------- submitting

    def submit(self, submission: "Submission", limit: Deadline, require_worker: bool,
               moved: "Callable[[Network], None]") -> None:
        """Give a submission to the first network, or to a spare one if this thread was interrupted within the first, or another
        thread has been busy there for long.

        Raises NoServer, ConnectTimeout, ClientBusy; with `require_worker` also what `_find_worker` raises.
        """
        network = self.first
        try:
            network.submit(submission, limit, self._find_worker(network, submission, limit) if require_worker else None)
        except ClientBusy:
            self.submit_elsewhere(submission, limit, require_worker, moved)

    def submit_elsewhere(self, submission: "Submission", limit: Deadline, require_worker: bool,
                         moved: "Callable[[Network], None]") -> None:
        """Give a submission to a spare network; `moved` is called with that before.  Raises what `submit` raises."""
        for number in range(_MOST_SPARES):
            network = self._spare(number)
            moved(network)
            submission.moves = 0
            try:
                network.submit(submission, limit, self._find_worker(network, submission, limit) if require_worker else None)
                return
            except ClientBusy:
                if number == _MOST_SPARES - 1:
                    raise

    def _find_worker(self, network: "Network", submission: "Submission", limit: Deadline) -> "List[Link]":
        """The first server that a job may go to and that has a worker for its function.

        What a server has said counts for a moment, so that not each submit asks again.  Raises NoWorker; NoServer, ServerError,
        CommandTimeout or ServerLost if no server answered.
        """
        failure = None  # type: Optional[GearmanError]
        reached = False
        plan = submission.plan
        links = network.candidates(plan, submission.workload)
        for link in links:
            if plan.function in link.able and network.clock() < link.able_until:
                return [link]
            try:
                connection = network.open(link.address, network.connect_deadline(limit, len(links)).left())
                limits = [left for left in (network.command_timeout, limit.left()) if left is not None]
                reply = ask(connection, b"status", min(limits) if limits else None)
            except (NoServer, ServerLost, ServerError) as error:
                _logger_pool.info("%s", error)
                failure = error
                continue
            reached = True
            rows = [line.rsplit(b"\t", 3) for line in reply.split(b"\n")]
            link.able = frozenset(row[0] for row in rows if len(row) == 4 and row[3] != b"0")
            link.able_until = network.clock() + _ABLE_FOR
            if plan.function in link.able:
                return [link]
            if plan.unique:
                break  # anywhere else it would not meet its equals
        if failure is not None and not reached:
            raise failure
        raise NoWorker("no worker can do %s" % plan.function.decode("utf-8", "replace"))

    # ------------------------------------------------------------------------------------------------------------- waiting

    @staticmethod
    def wait(networks: "Sequence[Network]", done: "Callable[[], bool]", deadline: Deadline, finished: "Finished") -> bool:
        """Wait in all these networks, in turn if there are several."""
        if len(networks) == 1:
            return networks[0].wait(done, deadline, finished.all)
        while not done():
            left = deadline.left()
            for network in networks:
                network.wait(done, Deadline(_SLICE if left is None else min(_SLICE, left), network.clock), finished.all)
            if left == 0:
                break
        return done()

    # -------------------------------------------------------------------------------------------------------------- asking

    def links(self, server: "Optional[str]", network: "Optional[Network]" = None) -> "List[Link]":
        """The links of a network to all servers, or to the one named.

        Raises ValueError for one that the client does not have.
        """
        links = (network or self.first).links
        if server is not None:
            wanted = split_servers(server, {}, "server")
            links = [link for link in links if link.address in wanted]
            if not links:
                raise ValueError("server is %r, none of this client's servers" % (server,))
        return links

    def ask_each(self, server: "Optional[str]", ask_one: "Callable[[Link, Request], None]",
                 read: "Callable[[Sequence[Data]], Any]") -> "Any":
        """Ask one server after the other until there is an answer that `read` makes more of than None; return that, or None."""
        network = self._free_network()
        links = self.links(server, network)
        failure = None  # type: Optional[GearmanError]
        for link in network.servers.best_first(links):
            try:
                answer = network.ask(link, ask_one, network.connect_deadline(Deadline(None), len(links)))
            except (NoServer, ServerLost) as error:
                failure = error
                continue
            found = read(answer)
            if found is not None:
                return found
        if failure is not None:
            raise failure
        return None

    def status(self, handle: bytes, server: "Optional[str]") -> JobStatus:
        """What the servers, or the one named, know of a job.  Raises ValueError, NoServer, CommandTimeout, ServerLost."""
        return self.ask_each(server, lambda link, request: link.session.ask_status(request, handle),
                             read_status) or JobStatus(False, False, 0, 0, None)

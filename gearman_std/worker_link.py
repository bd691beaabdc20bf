"""Which servers a worker has, and its connections to them."""
from .addresses import join_address
from .protocol import RESPONSE_MAGIC, PacketReader
from .session import GRAB_TYPES, WorkerSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional
    from .addresses import Address
    from .connection import Connection
    from .errors import ServerLost
    from .worker_job import Ability

FIRST_RETRY = 0.1  # seconds until a lost server is tried again, doubled each time, of which a random half is waited …
LAST_RETRY = 10.0  # … up to this


class Lane:
    """The functions that share connections: all that have no limit, or one that has.

    gearmand puts running jobs back when their function is withdrawn, so a limit cannot be kept by withdrawing it for a while;
    it is kept by not grabbing on the connections that only this function has.

    Owner: the shift's lock.
    """

    __slots__ = ("abilities", "limit", "taken")

    def __init__(self, limit: "Optional[int]") -> None:
        self.abilities = []  # type: List[Ability]
        self.limit = limit
        self.taken = 0       # jobs running and grabs unanswered

    def __repr__(self) -> str:
        return "<Lane %r: %d of %s taken>" % (self.abilities, self.taken, self.limit)


class WorkerServer:
    """A server: whether it is up, when to try it again, how it likes to be asked.

    Owner: the shift's lock.
    """

    __slots__ = ("address", "name", "links", "connecting", "failures", "retry_at", "up", "grab_type", "confirmed")

    def __init__(self, address: "Address") -> None:
        self.address = address
        self.name = join_address(address)
        self.links = {}         # type: Dict[Lane, WorkerLink]
        self.connecting = False
        self.failures = 0
        self.retry_at = 0.0
        self.up = None          # type: Optional[bool] # what the log was told last
        self.grab_type = GRAB_TYPES[0]
        self.confirmed = False

    def __repr__(self) -> str:
        return "<WorkerServer %s: %d connections, %d failures>" % (self.name, len(self.links), self.failures)

    def back_off(self, now: float, random: "Callable[[], float]") -> None:
        """Count a failure, and have the server tried again after a while."""
        delay = min(LAST_RETRY, FIRST_RETRY * 2 ** min(self.failures, 20))
        self.retry_at = now + delay * (0.5 + 0.5 * random())
        self.failures += 1


class WorkerLink:
    """One connection to a server.

    Owner: the shift's lock; the selector's thread alone registers and closes it.
    """

    __slots__ = ("server", "name", "lane", "connection", "session", "reader", "lost", "error", "writing", "heard")

    def __init__(self, server: WorkerServer, lane: Lane, connection: "Connection", client_id: bytes, now: float) -> None:
        self.server = server
        self.name = server.name
        self.lane = lane
        self.connection = connection
        self.session = WorkerSession([(ability.name, ability.timeout_ms) for ability in lane.abilities], client_id,
                                     server.grab_type, server.confirmed)
        self.reader = PacketReader(RESPONSE_MAGIC, text=False)
        self.lost = False
        self.error = None     # type: Optional[ServerLost] # found by a pool thread while sending
        self.writing = False  # the selector watches for room to send
        self.heard = now      # when something arrived last, or the first grab since was sent

    def __repr__(self) -> str:
        return "<WorkerLink to %s%s: %r>" % (self.name, ", lost" if self.lost else "", self.session)

"""Which servers a worker has, and its connections to them."""
from collections import deque

from ..net.addresses import join_address
from ..timers import growing_pause
from ..wire.protocol import LARGEST_SIZE, RESPONSE_MAGIC, PacketReader
from ..wire.worker_session import GRAB_TYPES, SESSION_ASLEEP, WorkerSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Deque, Dict, Optional, Tuple
    from ..errors import ServerLost
    from ..net.addresses import Address
    from ..net.connection import Connection
    from .job import Ability, Reporter, WorkerJob

UNKNOWN, UP, DOWN, DOUBTFUL = SERVER_STATES = ("unknown", "up", "down", "doubtful")
SILENT, GOOD, LINK_LOST = LINK_STATES = ("silent", "good", "lost")
CONNECTED, HEARD, DROPPED, CUT = "connected", "heard", "dropped", "cut"

SERVER_ARROWS = {
    (UNKNOWN, CONNECTED): UP, (UNKNOWN, DROPPED): DOWN,
    (UP, CONNECTED): UP, (UP, HEARD): UP, (UP, DROPPED): DOWN, (UP, CUT): DOUBTFUL,
    (DOWN, CONNECTED): UP, (DOWN, HEARD): UP, (DOWN, DROPPED): DOWN, (DOWN, CUT): DOUBTFUL,
    (DOUBTFUL, CONNECTED): DOUBTFUL, (DOUBTFUL, HEARD): UP, (DOUBTFUL, DROPPED): DOUBTFUL, (DOUBTFUL, CUT): DOUBTFUL,
}  # type: Dict[Tuple[str, str], str]

LINK_ARROWS = {
    (SILENT, HEARD): GOOD, (SILENT, DROPPED): LINK_LOST, (GOOD, DROPPED): LINK_LOST,
}  # type: Dict[Tuple[str, str], str]

FIRST_RETRY = 0.1  # seconds until a lost server is tried again, doubled each time; a random part, half at least, is waited
LAST_RETRY = 10.0  # seconds, the longest such pause
FRUITLESS = 20     # times that a server may wake a worker for nothing within a second before the worker takes its time
LONGEST_REST = 0.25  # seconds that such a worker rests, at most
PROBE_TIMEOUT = 3.0   # seconds for the first answer to a way of grabbing that the server may not know, and then ignores
ANSWER_TIMEOUT = 60.0  # seconds without a byte: for every other answer to a grab, and for the server to take what is sent
SLEEP_TIMEOUT = 60.0  # seconds without a byte after which a sleeping worker asks for a job without being woken
USELESS_QUIET = 60.0  # seconds after the last result that a server had no use for; then that trouble is over
FOR_EVER = float("inf")


class Lane:
    """The functions that share connections: all that have no limit, or one that has.

    gearmand puts running jobs back when their function is withdrawn, so a limit cannot be kept by withdrawing it for a while;
    it is kept by not grabbing on the connections that only this function has.

    Owner: the shift's lock.
    """

    __slots__ = ("abilities", "limit", "taken", "held")

    def __init__(self, limit: "Optional[int]") -> None:
        self.abilities = {}  # type: Dict[bytes, Ability]
        self.limit = limit
        self.taken = 0       # jobs running and grabs unanswered
        self.held = {}       # type: Dict[bytes, int] # jobs of each function that wait to be tried again

    def __repr__(self) -> str:
        return "<Lane %r: %d of %s taken>" % (list(self.abilities.values()), self.taken, self.limit)

    def hold(self, function: bytes) -> int:
        """Count a job that waits to be tried again; return how many of its function do."""
        self.held[function] = count = self.held.get(function, 0) + 1
        return count

    def let_go(self, function: bytes) -> None:
        """Count one job less that waits."""
        self.held[function] -= 1
        if not self.held[function]:
            del self.held[function]

    def part(self, function: bytes) -> "Lane":
        """Keep one function, and return a lane of all the others."""
        others = Lane(self.limit)
        others.abilities = self.abilities
        self.abilities = {function: others.abilities.pop(function)}
        return others


class WorkerServer:
    """A server: when to try it again, how it likes to be asked, and its state, as the log and the hooks are told of it.

        unknown ─connected─> up ─dropped─> down ─connected─> up
        unknown ─dropped─> down ─dropped─> down ─heard─> up
        up ─connected─> up ─heard─> up ─cut─> doubtful ─heard─> up
        down ─cut─> doubtful ─cut─> doubtful
        doubtful ─connected─> doubtful ─dropped─> doubtful

    Connected: a connection was made.  Heard: the first packet has come on one.  Dropped: a connection could not be made, or was
    lost.  Cut: one was lost before anything came on it, as when a proxy accepts connections for a server that is down; so a
    server that is doubtful is called up only when it has said something.

    Owner: the shift's lock.
    """

    __slots__ = ("address", "name", "links", "connecting", "failures", "retry_at", "state", "grab_type", "confirmed", "largest",
                 "useless_at", "untold")

    def __init__(self, address: "Address") -> None:
        self.address = address
        self.name = join_address(address)
        self.links = {}         # type: Dict[Lane, WorkerLink]
        self.connecting = False
        self.failures = 0
        self.retry_at = 0.0
        self.state = UNKNOWN    # changed by `move` alone
        self.grab_type = GRAB_TYPES[0]
        self.confirmed = False
        self.largest = LARGEST_SIZE  # bytes of a packet that it takes, as far as it told before it ended the last connection
        self.useless_at = -FOR_EVER  # when it had no use for a result the last time
        self.untold = 0         # how many such results came since the log was told last

    def __repr__(self) -> str:
        return "<WorkerServer %s, %s: %d connections, %d failures>" % (self.name, self.state, len(self.links), self.failures)

    def move(self, event: str) -> "Tuple[str, str]":
        """Go to the state that an event leads to; return the one before, and that."""
        before, self.state = self.state, SERVER_ARROWS[self.state, event]
        return before, self.state

    def back_off(self, now: float, random: "Callable[[], float]", lived: float = 0.0) -> None:
        """Count a failure, and set the time of the next try.

        `lived` is for how many seconds the lost connection had been good.  Unless that is longer than the pause that is due,
        the pauses go on growing, as if the server had never been there.  Failures during a pause are not counted.
        """
        if now < self.retry_at:
            return
        delay = growing_pause(FIRST_RETRY, LAST_RETRY, self.failures)
        if lived > delay:
            self.failures, delay = 0, FIRST_RETRY
        self.retry_at = now + delay * (0.5 + 0.5 * random())
        self.failures += 1


class WorkerLink:
    """One connection to a server.

        silent ─heard─> good ─dropped─> lost
        silent ─dropped─> lost

    Owner: the shift's lock; the selector's thread alone registers and closes it.
    """

    __slots__ = ("server", "name", "lane", "abilities", "connection", "session", "reader", "reporter", "state", "lost", "error",
                 "writing", "since", "moved", "results", "fruitless", "slept_at", "rest_until", "refused_at", "told_limit")

    def __init__(self, server: WorkerServer, lane: Lane, connection: "Connection", client_id: bytes, now: float,
                 reporter: "Reporter") -> None:
        self.server = server
        self.name = server.name
        self.lane = lane
        self.abilities = dict(lane.abilities)  # also withdrawn ones: their jobs may still be on their way
        self.connection = connection
        self.session = WorkerSession([(ability.name, ability.timeout_ms) for ability in lane.abilities.values()], client_id,
                                     server.grab_type, server.confirmed)
        self.reader = PacketReader(RESPONSE_MAGIC, text=False, skip=True)
        self.reporter = reporter  # of its jobs
        self.state = SILENT   # changed by `move` alone, as is
        self.lost = False     # whether it is connected no more
        self.error = None     # type: Optional[ServerLost] # found by a pool thread while sending
        self.writing = False  # the selector watches for room to send
        self.since = now
        self.moved = now      # when bytes came or left last, or a grab was sent while no other was without an answer
        # Results not wholly sent: where they end in the stream, the job, and what it counts as once that is sent.
        self.results = deque()  # type: Deque[Tuple[int, WorkerJob, str]]
        self.fruitless = 0    # times in a row that there was no job, a second or less after the time before
        self.slept_at = 0.0   # when there was no job the last time
        self.rest_until = 0.0  # before that time, no job is grabbed
        self.refused_at = now - 1.0  # when the log was told last that the server refused something
        self.told_limit = False  # the server told `largest` on this connection

    def __repr__(self) -> str:
        return "<WorkerLink to %s%s: %r>" % (self.name, ", lost" if self.lost else "", self.session)

    def move(self, event: str) -> None:
        """Go to the state that an event leads to."""
        self.state = LINK_ARROWS[self.state, event]
        self.lost = self.state is LINK_LOST

    @property
    def busy(self) -> bool:
        """Whether it has jobs, has asked for one, or has something to send."""
        return self.session.busy or self.connection.unsent

    def patience(self, leaving: bool) -> float:
        """How many seconds it may stand still; a worker that is leaving is less patient."""
        if self.connection.unsent:
            return ANSWER_TIMEOUT
        if self.session.grabs:
            return ANSWER_TIMEOUT if self.session.confirmed and not leaving else PROBE_TIMEOUT
        return SLEEP_TIMEOUT if self.session.state is SESSION_ASLEEP and not leaving else FOR_EVER

    def learn(self, ability: "Ability") -> None:
        """Take jobs of one more function."""
        self.abilities[ability.name] = ability
        self.session.can_do(ability.name, ability.timeout_ms)

    def found_no_job(self, now: float) -> None:
        """Note that the server had no job; rest for a moment if it had none too often of late.

        gearmand 1.1.20 wakes a worker again and again for a job that is due later, and finds none when asked for it.
        """
        self.fruitless = self.fruitless + 1 if now - self.slept_at <= 1.0 else 0
        self.slept_at = now
        if self.fruitless > FRUITLESS:
            self.rest_until = now + growing_pause(0.001, LONGEST_REST, self.fruitless - FRUITLESS)

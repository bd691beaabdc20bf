"""One job server as a client sees it, one question to it, and what it knows of a job."""
from collections import namedtuple

from ..net.addresses import join_address
from ..timers import growing_pause
from ..wire.protocol import RESPONSE_MAGIC, PacketReader
from ..wire.client_session import ClientSession, read_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, FrozenSet, Optional, Sequence, Tuple
    from ..errors import GearmanError, NoServer
    from ..net.addresses import Address
    from ..net.connection import Connection
    from ..wire.protocol import Data

APART, CONNECTING, JOINED = CONNECTION_STATES = ("apart", "connecting", "connected")

# What a connection is after something has happened to it; each is a method of its link.
CONNECTION_ARROWS = {
    (APART, "claimed"): CONNECTING, (CONNECTING, "claimed"): CONNECTING, (CONNECTING, "reached"): JOINED,
    (CONNECTING, "failed"): APART, (CONNECTING, "given up"): APART, (CONNECTING, "left"): APART,
    (JOINED, "lost"): APART, (JOINED, "left"): APART,
}  # type: Dict[Tuple[str, str], str]


class JobStatus(namedtuple("JobStatus", "known running numerator denominator clients")):
    """What a server knows of a job: `clients` is how many wait for it, None if it was not asked for that.

    Not `known` is a job that is over, however it ended, as well as one that never was.
    """

    __slots__ = ()
    known: "bool"
    running: "bool"
    numerator: "int"
    denominator: "int"
    clients: "Optional[int]"


def read_status(answer: "Sequence[Data]") -> "Optional[JobStatus]":
    """The status of a job that the server knows."""
    numbers = [read_number(word) for word in answer[1:]]
    if not numbers[0]:
        return None
    return JobStatus(numbers[0] != 0, numbers[1] != 0, numbers[2], numbers[3], numbers[4] if len(numbers) > 4 else None)


class Request:
    """A question to one server, and the arguments of its answer, or the error that came instead.

    Owner: the client's lock.
    """

    __slots__ = ("answer", "error")

    def __init__(self) -> None:
        self.answer = None  # type: Optional[Sequence[Data]]
        self.error = None   # type: Optional[GearmanError]

    def __repr__(self) -> str:
        return "<Request: %s>" % (self.error or self.answer or "unanswered",)

    @property
    def ended(self) -> bool:
        """Whether there is an answer, or an error."""
        return self.answer is not None or self.error is not None

    def answered(self, arguments: "Sequence[Data]") -> None:
        """The server has answered, not with an error."""
        self.answer = arguments

    def refused(self, error: "GearmanError") -> None:
        """The server has answered with an error, or will not answer."""
        self.error = error


class Link:
    """One server, and the connection to it, which is in one of these states:

        apart ─claimed─> connecting ─reached─> connected ─lost─> apart
        connecting ─claimed─> connecting
        connecting ─failed─> apart
        connecting ─given up─> apart
        connecting ─left─> apart
        connected ─left─> apart

    Claimed: a thread is to connect; also instead of another one that was interrupted and will not do it.  Reached: it has.
    Failed: the server cannot be reached, and is left alone for a while if there is another one.  Given up: it is not known
    whether it can, as the call ended too early.  Lost: the connection is of no more use, whoever ended it.  Left: this is the
    child of a fork, and the connection is the parent's.

    Owner: the client's lock.
    """

    __slots__ = ("address", "connection", "session", "reader", "connecting", "failures", "retry_at", "failure",
                 "failure_number", "able", "able_until", "due", "heard")

    def __init__(self, address: "Address") -> None:
        self.address = address
        self.connection = None  # type: Optional[Connection] # changed by the arrows alone, as is
        self.connecting = None  # type: Optional[int] # the thread that connects it
        self.failures = 0       # in a row
        self.retry_at = 0.0     # not before that time is it tried again, if there is another server
        self.failure = None     # type: Optional[NoServer] # of the last attempt that failed,
        self.failure_number = 0  # which was that many attempts after the network's first
        self.able = frozenset()  # type: FrozenSet[bytes] # the functions that workers can do,
        self.able_until = 0.0   # as far as is known until then
        self._renew()

    def __repr__(self) -> str:
        return "<Link to %s, %s>" % (join_address(self.address), self.state)

    @property
    def state(self) -> str:
        """One of CONNECTION_STATES."""
        if self.connection is not None:
            return JOINED
        return APART if self.connecting is None else CONNECTING

    def _renew(self) -> None:
        self.session = ClientSession()
        self.reader = PacketReader(RESPONSE_MAGIC, text=False)
        self.due = None         # type: Optional[float] # when the oldest command must be answered or be further sent
        self.heard = 0.0        # when its connection was read last

    # ------------------------------------------------------------------------------------------ the arrows, and nothing else
    # changes the state.  Each does it by one assignment, since an exception may come between any two.

    def _begin(self, event: str) -> None:
        assert (self.state, event) in CONNECTION_ARROWS, "%r cannot be %s" % (self, event)

    def claimed(self, thread: int) -> None:
        """A thread is to connect."""
        self._begin("claimed")
        self.connecting = thread

    def reached(self, connection: "Connection", now: float) -> None:
        """It has connected: a session begins."""
        self._begin("reached")
        self._renew()
        self.heard = now
        connection.put(*self.session.outgoing)
        self.session.outgoing = []
        self.connection = connection
        self.connecting = None

    def failed(self, failure: "NoServer", number: int, now: float, spread: float) -> None:
        """The server cannot be reached, which is the network's failure of that number; for `spread`, see `back_off`."""
        self._begin("failed")
        self.back_off(now, spread)
        self.failure_number = number
        self.failure = failure
        self.connecting = None

    def given_up(self) -> None:
        """The call that was to connect has ended without knowing more."""
        self._begin("given up")
        self.connecting = None

    def lost(self) -> None:
        """The connection is of no more use."""
        self._begin("lost")
        connection, self.connection, self.connecting = self.connection, None, None
        assert connection is not None
        self.due = None
        connection.close()

    def left(self) -> None:
        """The connection is the parent's of this process."""
        self._begin("left")
        connection, self.connection, self.connecting = self.connection, None, None
        if connection is not None:
            connection.leave()

    # ----------------------------------------------------------------------------------------------------------------------

    def hand_on(self) -> None:
        """Give what the session wants to say to the connection."""
        assert self.connection is not None
        self.connection.put(*self.session.outgoing)
        self.session.outgoing = []

    def back_off(self, now: float, spread: float) -> None:
        """The server failed: leave it alone for a while, `spread` (0 to 1) makes it shorter or longer."""
        self.retry_at = now + growing_pause(0.25, 30.0, self.failures) * (0.5 + spread)
        self.failures += 1

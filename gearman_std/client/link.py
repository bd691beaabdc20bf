"""One job server as a client sees it, and one question to it."""
from ..net.addresses import join_address
from ..timers import growing_pause
from ..wire.protocol import RESPONSE_MAGIC, PacketReader
from ..wire.client_session import ClientSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import FrozenSet, Optional, Sequence
    from ..errors import GearmanError, NoServer
    from ..net.addresses import Address
    from ..net.connection import Connection
    from ..wire.protocol import Data


class Request:
    """A question to one server: its answer's arguments, or the error.

    Owner: the client's lock.
    """

    __slots__ = ("answer", "error")

    def __init__(self) -> None:
        self.answer = None  # type: Optional[Sequence[Data]]
        self.error = None   # type: Optional[GearmanError]

    def __repr__(self) -> str:
        return "<Request: %s>" % (self.error or self.answer or "unanswered",)

    def _is_done(self) -> bool:
        return self.answer is not None or self.error is not None

    def answered(self, arguments: "Sequence[Data]") -> None:
        self.answer = arguments

    def refused(self, error: "GearmanError") -> None:
        self.error = error


class Link:
    """One server, connected or not.

    Owner: the client's lock.
    """

    __slots__ = ("address", "connection", "session", "reader", "connecting", "failures", "retry_at", "failure", "failed",
                 "able", "able_until", "due", "heard")

    def __init__(self, address: "Address") -> None:
        self.address = address
        self.connection = None  # type: Optional[Connection]
        self.connecting = None  # type: Optional[int] # the thread that connects it
        self.failures = 0       # in a row
        self.retry_at = 0.0     # not before that time is it tried again, if there is another server
        self.failure = None     # type: Optional[NoServer] # of the last attempt that failed,
        self.failed = 0         # which was that many attempts after the network's first
        self.able = frozenset()  # type: FrozenSet[bytes] # the functions that workers can do,
        self.able_until = 0.0   # as far as is known until then
        self._renew()

    def __repr__(self) -> str:
        return "<Link to %s: %r>" % (join_address(self.address), self.connection)

    def _renew(self) -> None:
        self.session = ClientSession()
        self.reader = PacketReader(RESPONSE_MAGIC, text=False)
        self.due = None         # type: Optional[float] # when the oldest command must be answered or be further sent
        self.heard = 0.0        # when its connection was read last

    def connected(self, connection: "Connection") -> None:
        """Begin a session on a new connection."""
        self._renew()
        connection.put(*self.session.outgoing)
        self.session.outgoing = []
        self.connection = connection

    def hand_on(self) -> None:
        """Give what the session wants to say to the connection."""
        assert self.connection is not None
        self.connection.put(*self.session.outgoing)
        self.session.outgoing = []

    def back_off(self, now: float, spread: float) -> None:
        """The server failed: leave it alone for a while, `spread` (0 to 1) makes it shorter or longer."""
        self.retry_at = now + growing_pause(0.25, 30.0, self.failures) * (0.5 + spread)
        self.failures += 1

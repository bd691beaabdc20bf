"""Submits the requests of python-gearman with gearman_std's client; what becomes of them is told as events, in their order."""
from collections import deque
from threading import RLock

from ..client.link import Link, Request
from ..client.network import Network
from ..client.plan import HIGH, LOW, NORMAL, Sharing, plan_job
from ..client.submission import Submission
from ..errors import ServerLost
from ..net.addresses import join_address
from ..net.connection import Deadline, open_connection
from ..net.system import System
from ..wire.protocol import encode_data, encode_handle
from .constants import PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Optional, Sequence, Tuple
    from ..client.plan import Plan
    from ..errors import GearmanError
    from ..net.addresses import Address
    from ..wire.protocol import Data

PRIORITIES = {PRIORITY_NONE: NORMAL, PRIORITY_LOW: LOW, PRIORITY_HIGH: HIGH}
CREATED, REFUSED, STATUS, DATA, WARNING, COMPLETE, FAILED, ANSWER, NO_ANSWER = range(9)  # kinds of events
_CONNECT_TIMEOUT = 5.0


class Carried(Submission):
    """The submission of a request.  Whatever happens to it becomes an event.

    Owner: as `Submission`.
    """

    __slots__ = ("request", "_happened")

    def __init__(self, carrier: "Carrier", plan: "Plan", data: "Data", request: "Any") -> None:
        super().__init__(plan, data)
        self.request = request
        self._happened = carrier.happened

    def __repr__(self) -> str:
        return "<Carried %r: %s>" % (self.request, self.state)

    def created(self, handle: bytes) -> None:
        super().created(handle)
        self._happened(self.request, CREATED, handle)

    def accepted(self, handle: bytes) -> None:
        super().accepted(handle)
        self._happened(self.request, CREATED, handle)

    def refused(self, error: "GearmanError") -> None:
        super().refused(error)
        self._happened(self.request, REFUSED, error)

    def progressed(self, numerator: int, denominator: int) -> None:
        self._happened(self.request, STATUS, (numerator, denominator))

    def received(self, data: "Data") -> None:
        self._happened(self.request, DATA, bytes(data))

    def warned(self, data: bytes) -> None:
        self._happened(self.request, WARNING, data)

    def completed(self, data: "Data") -> None:
        super().completed(b"")
        self._happened(self.request, COMPLETE, bytes(data))

    def failed(self, exception: "Optional[bytes]") -> None:
        super().failed(exception)
        self._happened(self.request, FAILED, exception)


class Question(Request):
    """A question for the status of a request's job.  The answer becomes an event.

    Owner: as `Request`.
    """

    __slots__ = ("_request", "_happened")

    def __init__(self, carrier: "Carrier", request: "Any") -> None:
        super().__init__()
        self._request = request
        self._happened = carrier.happened

    def __repr__(self) -> str:
        return "<Question of %r%s>" % (self._request, ", answered" if self.ended else "")

    def answered(self, arguments: "Sequence[Data]") -> None:
        super().answered(arguments)
        self._happened(self._request, ANSWER, arguments)

    def refused(self, error: "GearmanError") -> None:
        super().refused(error)
        self._happened(self._request, NO_ANSWER, error)


class CarrierNetwork(Network):
    """A client's network to which servers can be added; it counts an event when it loses one.

    Owner: as `Network`.
    """

    def __init__(self, carrier: "Carrier", *arguments: "Any") -> None:
        super().__init__(*arguments)
        self._carrier = carrier

    def __repr__(self) -> str:
        return super().__repr__().replace("Network", "CarrierNetwork", 1)

    def add(self, address: "Address") -> None:
        """Add a server."""
        self.exclusively(self.servers.add, Link(address))

    def reach(self, link: Link) -> None:
        """Connect to a server, unless that is done.  Raises NoServer, ConnectTimeout, ClientBusy, OSError."""
        self._connect(link, self.connect_deadline(Deadline(None)))

    def cut(self, link: Link) -> None:
        """Close the connection to a server."""
        self.exclusively(self._lose, link, ServerLost("the connection to %s was closed" % join_address(link.address)))

    def ask_later(self, link: Link, ask_one: "Callable[[Link, Request], None]", question: Question) -> bool:
        """Ask a server something without waiting for the answer; return False if it is not connected."""
        return self.exclusively(self._ask_now, link, ask_one, question)  # type: ignore[no-any-return]

    def _lose(self, link: Link, *arguments: "Any") -> None:
        super()._lose(link, *arguments)
        self._carrier.count += 1


class Carrier:
    """The network of a client, and the events of its requests, which `take_in` hands out in their order.

    `make_context` is called with a server's address; it returns the `ssl.SSLContext` to connect with, or None.  `count` grows
    with each event, and when a connection is lost.

    Owner: whoever has the turn of its network adds events; whoever has `lock` takes them.
    """

    def __init__(self, addresses: "Sequence[Address]", make_context: "Callable[[Address], Any]") -> None:
        self.count = 0
        self.lock = RLock()
        self._events = deque()  # type: Deque[Tuple[Any, int, Any]]
        system = System(connect=lambda address, timeout, tls: open_connection(address, timeout, make_context(address)))
        self._sharing = Sharing(system, None, None)
        self.network = CarrierNetwork(self, addresses, _CONNECT_TIMEOUT, None, None, system)

    def __repr__(self) -> str:
        return "<Carrier after %d events: %r>" % (self.count, self.network)

    def link(self, address: "Address") -> Link:
        """The server with an address; a new one is added."""
        while True:
            for link in self.network.links:
                if link.address == address:
                    return link
            self.network.add(address)

    def plan(self, request: "Any") -> "Plan":
        """How a request is submitted.  Raises ValueError and TypeError."""
        job = request.job
        return plan_job(self._sharing, job.task, unique=job.unique, priority=PRIORITIES[request.priority],
                        background=bool(request.background))

    def send(self, request: "Any", data: "Any", link: Link) -> None:
        """Submit a request to a server; `data` are the bytes to send.  They are sent by the next `wait_for_more`, or before.

        Raises ValueError, TypeError, NoServer, ClientBusy.
        """
        self.network.submit(Carried(self, self.plan(request), encode_data(data), request), Deadline(None), [link], False)

    def ask(self, request: "Any", handle: "Any", link: Link) -> Question:
        """Ask a server for the status of a request's job.  Raises ValueError, TypeError, ClientBusy."""
        wanted, question = encode_handle(handle), Question(self, request)
        if not self.network.ask_later(link, lambda at, answer: at.session.ask_status(answer, wanted), question):
            question.refused(ServerLost("lost the connection to %s at once" % join_address(link.address)))
        return question

    def happened(self, request: "Any", kind: int, value: "Any") -> None:
        """Add an event."""
        self._events.append((request, kind, value))
        self.count += 1

    def wait_for_more(self, count: int, timeout: "Optional[float]") -> None:
        """Send what is to be sent, then wait, at most `timeout` seconds, until `self.count` differs from `count`."""
        self.network.send_all()
        self.network.wait(lambda: self.count != count, Deadline(timeout))

    def take_in(self, tell: "Callable[[Any, int, Any], None]") -> bool:
        """Call `tell` with each event; return whether there was any."""
        some = False
        with self.lock:
            while self._events:
                some = True
                tell(*self._events.popleft())
        return some

"""The servers of a client, and the order in which a job may go to them."""
from ..net.addresses import join_address
from .link import Link
from .ring import Ring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Optional, Sequence
    from ..net.addresses import Address
    from ..wire.protocol import Data
    from .plan import Plan


class Servers:
    """The servers of a client: one link to each.

    A job with a unique goes to the server that the hash ring names, so that equal jobs meet there; the others take turns.

    Owner: the network's turn.
    """

    __slots__ = ("links", "ring", "_next", "_clock")

    def __init__(self, addresses: "Sequence[Address]", chance: float, clock: "Callable[[], float]") -> None:
        """By `chance`, from 0 to 1, not every client begins with the same server."""
        self.links = [Link(address) for address in addresses]
        self.ring = None  # type: Optional[Ring] # None for one server
        self._next = int(chance * len(self.links))
        self._clock = clock
        if len(self.links) > 1:
            self._make_ring()

    def __repr__(self) -> str:
        return "<Servers: %s>" % ", ".join(map(repr, self.links))

    def _make_ring(self) -> None:
        self.ring = Ring([join_address(link.address) for link in self.links])

    def add(self, link: Link) -> None:
        """Have one more server."""
        self.links = self.links + [link]  # another list, as somebody may be looking through that one
        self._make_ring()

    def best_first(self, links: "List[Link]") -> "List[Link]":
        """The links in their order, except that those that failed lately come last."""
        now = self._clock()
        return sorted(links, key=lambda link: link.connection is None and link.retry_at > now)

    def choose(self, plan: "Plan", workload: "Data", settle: bool = True) -> "List[Link]":
        """The links in the order in which a job may go to them, those that lately failed last; with `settle`, only the first
        if that is connected."""
        links, ring = self.links, self.ring
        if ring is None:
            return links
        key = (plan.function, plan.unique) if plan.unique != b"-" else (plan.function, plan.unique, workload)
        if plan.unique:
            nearest = links[ring.nearest(*key)]
        else:
            self._next = (self._next + 1) % len(links)
            nearest = links[self._next]
        if settle and nearest.connection is not None:
            return [nearest]
        if plan.unique:
            links = [links[index] for index in ring.walk(*key)]
        else:
            links = links[self._next:] + links[:self._next]
        return self.best_first(links)

"""Work that takes long is done in steps; between the steps, other peers have their turns.

Such work is an iterator: each step costs a fraction of a millisecond, and yields what is to be sent to the peer that asked for
the work, or nothing.  The later packets of this peer wait until the work is done; other peers' packets do not.  When the peer
leaves, a listing ends; an order lasts, which means that it is carried out all the same.

A listing shows what was there when it began: each entry as it is when its line is made, without entries that have gone by then.
An order is for what was there when it was given.
"""
from collections import deque

from ..wire.protocol import TOO_FEW_ARGUMENTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Deque, Iterator, List, Sequence
    from ..wire.protocol import Data, Packet
    from .ledger import Ledger
    from .peers import Peer

ASK = TOO_FEW_ARGUMENTS + 2    # the type of an inner packet that asks the core: (question, whether it is an order)
GO_ON = TOO_FEW_ARGUMENTS + 1  # the type of an inner packet for the next step of what a peer asked for
STEP = 64                      # how many things that take a few microseconds each make a step
MANY = 1024                    # how many things that take a fraction of a microsecond each make a step
NO_PACKETS = []  # type: List[Packet]


class Turns:
    """What waits for a later turn: packets of the peer that is served right now, and work that nobody waits for.

    Owner: the Core.
    """

    __slots__ = ("packets", "rest", "chores", "_ledger")

    def __init__(self, ledger: "Ledger") -> None:
        self.packets = iter(())  # type: Iterator[Packet] # those that are being obeyed
        self.rest = NO_PACKETS
        self.chores = deque()    # type: Deque[Iterator[Data]]
        self._ledger = ledger

    def __repr__(self) -> str:
        return "<Turns: %d chores>" % len(self.chores)

    def enough(self) -> None:
        """End the turn of the peer that is served: enough was done for it."""
        self.rest = self.rest + list(self.packets)

    def undertake(self, peer: "Peer", steps: "Iterator[Data]", lasts: bool, then: "Sequence[Packet]" = ()) -> None:
        """Do work for the peer that is served; its further packets, after those given, wait until the work is done."""
        for _ in range(2):  # so that work of a single step is found to be done at once
            if not self._step(peer, steps):
                if then:
                    self.rest = list(then) + self.rest + list(self.packets)
                return
        peer.errand = steps
        peer.errand_lasts = lasts
        self._wait(then)

    def go_on(self, peer: "Peer") -> None:
        """Do a step of what a peer asked for."""
        if self._step(peer, peer.errand or iter(())):
            self._wait()
        else:
            peer.errand = None

    def _step(self, peer: "Peer", steps: "Iterator[Data]") -> bool:
        """Do a step of what a peer asked for, if there is one; the answer is held until the store has what the step changed."""
        recorded = len(self._ledger.records)
        answer = next(steps, None)
        if len(self._ledger.records) != recorded:
            self._ledger.hold(peer)
        if answer:
            peer.send(answer)
        return answer is not None

    def put_off(self, packet_type: int) -> None:
        """Let a packet without arguments, and those after it, wait for a later turn."""
        self.rest = [(packet_type, ())] + self.rest + list(self.packets)

    def _wait(self, then: "Sequence[Packet]" = ()) -> None:
        self.rest = [(GO_ON, ())] + list(then) + self.rest + list(self.packets)

    def abandon(self, peer: "Peer") -> None:
        """A peer is lost: what it asked for ends, or goes on without it."""
        if peer.errand is not None and peer.errand_lasts:
            self.chores.append(peer.errand)
        peer.errand = None
        self.rest = NO_PACKETS  # in case an error of ours has ended it in the middle

    def finish(self, steps: "Iterator[Data]") -> None:
        """Do work that nobody waits for; at once if it is a single step."""
        if next(steps, None) is not None:
            self.chores.append(steps)

    def work(self) -> None:
        """Do a step of the next piece of work that nobody waits for."""
        chore = self.chores.popleft()
        if next(chore, None) is not None:
            self.chores.append(chore)

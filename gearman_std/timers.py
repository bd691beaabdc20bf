"""A queue of timers that can be cancelled, and pauses that grow."""
from heapq import heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional


def growing_pause(first: float, longest: float, failures: int) -> float:
    """The seconds to wait after a failure: `first`, doubled for each of the `failures` before it, but at most `longest`."""
    return min(first * 2.0 ** min(failures, 100), longest)  # more than 1,023 doublings are an OverflowError


_SWEEP = 64  # entries that move at once to a new heap


class Timers:
    """Things that become due, the earliest first; in the order of adding if their times are equal.

    A cancelled timer drops its reference to the thing at once, but its entry stays.  When half of all entries are cancelled,
    the others move to a new heap, some at a time.  If the heap `entries` is empty, no timer is set.

    Owner: whoever made it.
    """

    __slots__ = ("entries", "_kept", "_sequence", "_cancelled")

    def __init__(self) -> None:
        self.entries = []  # type: List[List[Any]] # [time, sequence number, thing or None]
        self._kept = None  # type: Optional[List[List[Any]]] # the new heap, while entries move
        self._sequence = 0
        self._cancelled = 0

    def __repr__(self) -> str:
        return "<Timers: %d set>" % len(self)

    def __len__(self) -> int:
        return len(self.entries) + len(self._kept or ()) - self._cancelled

    def add(self, when: float, thing: "Any") -> "List[Any]":
        """Set a timer; return its entry, which `cancel` takes."""
        self._sequence += 1
        entry = [when, self._sequence, thing]
        heappush(self.entries if self._kept is None else self._kept, entry)
        if self._kept is not None and not self.entries:
            self._sweep(self._kept)
        return entry

    def cancel(self, entry: "List[Any]") -> None:
        """Cancel a timer that was not popped."""
        entry[2] = None
        self._cancelled += 1
        for _ in range(2):  # two, so that timers that are cancelled in their order leave no entries
            if self.entries and self.entries[0][2] is None:
                heappop(self.entries)
                self._cancelled -= 1
        self._tidy_up()

    def _tidy_up(self) -> None:
        """Go on with the move to a new heap, or begin one when half of all entries are cancelled."""
        if self._kept is None and self._cancelled > 16 and self._cancelled * 2 > len(self.entries):
            self._kept = []
        if self._kept is not None:
            self._sweep(self._kept)

    def _sweep(self, kept: "List[List[Any]]") -> None:
        """Move some entries to the new heap, and drop the cancelled ones.  A heap without its last entry is still a heap."""
        heap = self.entries
        for _ in range(min(len(heap), _SWEEP)):
            entry = heap.pop()
            if entry[2] is None:
                self._cancelled -= 1
            else:
                heappush(kept, entry)
        if not heap:
            self.entries, self._kept = kept, None

    def next_time(self) -> "Optional[float]":
        """When the earliest timer is due, or None; sooner if very many were cancelled that were due before it."""
        if not self.entries:
            return None
        heap = self._earliest()
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> "Optional[Any]":
        """Take the earliest thing that is due by `now`, or None; also None if `next_time` then says that it is to ask again."""
        if not self.entries:
            return None
        heap = self._earliest()
        if not heap or heap[0][0] > now or heap[0][2] is None:
            return None
        thing = heappop(heap)[2]
        if self._kept is not None and not self.entries:
            self._sweep(self._kept)
        elif self._cancelled:
            self._tidy_up()
        return thing

    def _earliest(self) -> "List[List[Any]]":
        """The heap whose first entry is the earliest timer, or one of very many cancelled ones that come before it."""
        heap = self.entries
        self._drop_cancelled(heap)
        kept = self._kept
        if kept is None:
            return heap
        self._drop_cancelled(kept)
        if not heap:
            self._sweep(kept)
            return kept
        return kept if kept and kept[0] < heap[0] else heap

    def _drop_cancelled(self, heap: "List[List[Any]]") -> None:
        for _ in range(_SWEEP):
            if not heap or heap[0][2] is not None:
                return
            heappop(heap)
            self._cancelled -= 1

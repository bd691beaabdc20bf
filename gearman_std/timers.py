"""When things are to be done: a queue from which a thing can be taken back at once, and pauses that grow."""
from heapq import heapify, heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional


def growing_pause(first: float, longest: float, failures: int) -> float:
    """The seconds to wait after so many failures before this one: `first`, doubled for each, but not beyond `longest`."""
    return min(first * 2.0 ** min(failures, 100), longest)  # more than 1,023 doublings are an OverflowError


class Timers:
    """Things due, earliest first, in the order of adding where the times are equal.

    Taking one back drops the reference to it at once; its entry goes when half of all entries are of that kind.  Without
    `entries`, a heap, nothing is set.

    Owner: whoever made it.
    """

    __slots__ = ("entries", "_sequence", "_cancelled")

    def __init__(self) -> None:
        self.entries = []  # type: List[List[Any]] # [time, sequence number, thing or None]
        self._sequence = 0
        self._cancelled = 0

    def __repr__(self) -> str:
        return "<Timers: %d set>" % len(self)

    def __len__(self) -> int:
        return len(self.entries) - self._cancelled

    def add(self, when: float, thing: "Any") -> "List[Any]":
        """Set a timer; return what `cancel` takes."""
        self._sequence += 1
        entry = [when, self._sequence, thing]
        heappush(self.entries, entry)
        return entry

    def cancel(self, entry: "List[Any]") -> None:
        """Take a timer back that has not been popped."""
        entry[2] = None
        self._cancelled += 1
        for _ in range(2):  # those that are taken back in their order leave nothing behind
            if self.entries[0][2] is not None:
                break
            heappop(self.entries)
            self._cancelled -= 1
            if not self.entries:
                return
        if self._cancelled > 16 and self._cancelled * 2 > len(self.entries):
            self.entries = [entry for entry in self.entries if entry[2] is not None]
            heapify(self.entries)
            self._cancelled = 0

    def things(self) -> "List[Any]":
        """All that is set, in no order."""
        return [entry[2] for entry in self.entries if entry[2] is not None]

    def next_time(self) -> "Optional[float]":
        """When the earliest is due, or None."""
        heap = self.entries
        while heap and heap[0][2] is None:
            heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> "Optional[Any]":
        """Take the earliest thing that is due by `now`, or None."""
        when = self.next_time()
        if when is None or when > now:
            return None
        return heappop(self.entries)[2]

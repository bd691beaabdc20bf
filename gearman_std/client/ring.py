"""Which of several job servers a job with a unique goes to: consistent hashing."""
from bisect import bisect
from struct import unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Sequence, Tuple
    from ..wire.protocol import Data

_RING_POINTS = 128  # points of a server on the ring


class Ring:
    """Points of all servers on a ring; a job belongs to the server whose point comes next after the job's own.

    A server that joins or leaves moves only the jobs next to its own points, a share like every other server's.  The points
    depend on nothing but the servers' names, so they are the same in every process and version, whatever the order.

    Owner: nobody, it does not change.
    """

    __slots__ = ("_points", "_count")

    def __init__(self, names: "Sequence[str]") -> None:
        points = []  # type: List[Tuple[int, int]]
        for index, name in enumerate(names):
            for turn in range(_RING_POINTS // 8):
                points += [(point, index) for point in _hash_points(name.encode(), b"%d" % turn)]
        self._points = sorted(points)
        self._count = len(names)

    def __repr__(self) -> str:
        return "<Ring of %d servers>" % self._count

    def nearest(self, *key: "Data") -> int:
        """The index of the server that a key belongs to."""
        return self._points[self._first(key)][1]

    def walk(self, *key: "Data") -> "List[int]":
        """The indexes of all servers, beginning with the nearest: who takes over when those before are dead."""
        first = self._first(key)
        order = []  # type: List[int]
        for _, index in self._points[first:] + self._points[:first]:
            if index not in order:
                order.append(index)
                if len(order) == self._count:
                    break
        return order

    def _first(self, key: "Tuple[Data, ...]") -> int:
        return bisect(self._points, (_hash_points(*key)[0], self._count)) % len(self._points)


def _hash_points(*parts: "Data") -> "Tuple[int, ...]":
    from hashlib import sha256  # a client of one server does without
    digest = sha256()
    for part in parts:
        digest.update(part)
        digest.update(b"\0")
    return unpack(">8I", digest.digest())

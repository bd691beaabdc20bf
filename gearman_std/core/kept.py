"""What is kept of jobs that have ended, by handle; for how long, and how many bytes of it."""
from ..timers import Timers
from .chain import Chain, untie
from .tables import grown
from .turns import STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, MutableMapping, Optional
    from .jobs import FunctionPolicy
    from .ledger import KeepRecord

KEPT_SIZE = 500        # roughly how many bytes a record takes up besides its contents


class Results:
    """What is kept of jobs that have ended: `most` bytes at most, 0 for no limit; the oldest record goes first.

    A large record can take the place of very many small ones, which go some at a time (`make_room`); until they have gone, all
    together is larger than the limit by that record.

    Owner: the Core.
    """

    __slots__ = ("size", "_most", "_all", "_order", "_shelves", "_crowded", "_timers")

    def __init__(self, most: int) -> None:
        self.size = 0      # bytes, about
        self._most = most
        self._all = {}           # type: MutableMapping[bytes, _Kept] # by handle
        self._order = Chain()    # type: Any # of the same, the oldest first
        self._shelves = {}       # type: Dict[bytes, _Shelf] # by function
        self._crowded = {}       # type: Dict[_Shelf, None] # those with more than they may have
        self._timers = Timers()  # of handles, by `now`

    def __repr__(self) -> str:
        return "<Results of %d jobs, %d bytes>" % (len(self._all), self.size)

    def __len__(self) -> int:
        return len(self._all)

    def find(self, handle: bytes, now: float) -> "Optional[KeepRecord]":
        """What is kept of a job."""
        kept = self._all.get(handle)
        return kept.record if kept is not None and kept.timer[0] > now else None

    def records(self) -> "Iterator[KeepRecord]":
        """All that is kept, in the order in which to keep it again; records may come and go meanwhile."""
        for some in self._order.walk():
            for kept in some:
                yield kept.record

    def keep(self, record: "KeepRecord", policy: "FunctionPolicy", until: float) -> None:
        """Keep how a job ended until a time; `make_room` is to follow."""
        self.forget(record.handle)
        shelf = self._shelves.get(record.function)
        if shelf is None:
            shelf = self._shelves[record.function] = _Shelf()
        kept = _Kept(record, self._timers.add(until, record.handle))
        self._all[record.handle] = kept
        self._all = grown(self._all)
        self._order.add(kept)
        shelf.add(kept)
        self.size += kept.size
        if shelf.size > policy.keep_bytes:
            self._crowded[shelf] = None
            shelf.most = policy.keep_bytes

    @property
    def crowded(self) -> bool:
        """Whether there is more than there may be."""
        return bool(self._crowded) or 0 < self._most < self.size

    def make_room(self) -> "List[bytes]":
        """Drop some of the oldest records as long as there are too many; return their handles."""
        gone = []  # type: List[bytes]
        while len(gone) < STEP and self.crowded:
            oldest = next(iter(self._crowded)).behind if self._crowded else self._order.end.later
            while oldest.__class__ is not _Kept:  # a place that a walk has reached
                oldest = oldest.later
            gone.append(oldest.record.handle)
            self.forget(gone[-1])
        return gone

    def forget(self, handle: bytes) -> None:
        """Drop what is kept of a job."""
        kept = self._all.pop(handle, None)
        if kept is None:
            return
        if kept.timer[2] is not None:
            self._timers.cancel(kept.timer)
        untie(kept)
        self.size -= kept.size
        function = kept.record.function
        shelf = self._shelves[function]
        shelf.remove(kept)
        if shelf.size <= shelf.most:
            self._crowded.pop(shelf, None)
        if not shelf.size:
            del self._shelves[function]

    def overdue(self, now: float) -> bool:
        """Whether something has been kept for long enough."""
        when = self._timers.next_time()
        return when is not None and when <= now

    def pop_overdue(self, now: float) -> "List[bytes]":
        """Drop some of the records that have been kept for long enough; return their handles."""
        gone = []  # type: List[bytes]
        while len(gone) < STEP:
            handle = self._timers.pop_due(now)
            if handle is None:
                break
            self._all[handle].timer[2] = None  # it is no longer set
            self.forget(handle)
            gone.append(handle)
        return gone


class _Kept:
    """What is kept of one job.

    Owner: the Results.
    """

    __slots__ = ("record", "timer", "size", "earlier", "later", "ahead", "behind")

    if TYPE_CHECKING:
        earlier = later = None  # type: Any # its neighbours in the Chain of all
        ahead = behind = None   # type: Any # its neighbours on its shelf

    def __init__(self, record: "KeepRecord", timer: "List[Any]") -> None:
        self.record = record
        self.timer = timer
        self.size = kept_size(record)

    def __repr__(self) -> str:
        return "<_Kept %s, %d bytes>" % (self.record.handle.decode("latin-1"), self.size)


class _Shelf:
    """What is kept of the jobs of one function: a ring, in which the oldest stands behind the shelf and the newest ahead of it.

    Owner: the Results.
    """

    __slots__ = ("size", "most", "ahead", "behind")

    def __init__(self) -> None:
        self.size = 0
        self.most = 0  # bytes that there may be, if there are more
        self.ahead = self.behind = self  # type: Any

    def __repr__(self) -> str:
        return "<_Shelf of %d bytes>" % self.size

    def add(self, kept: "_Kept") -> None:
        """Put something on the shelf."""
        kept.ahead, kept.behind = self.ahead, self
        self.ahead.behind = self.ahead = kept
        self.size += kept.size

    def remove(self, kept: "_Kept") -> None:
        """Take something from the shelf."""
        kept.ahead.behind = kept.behind
        kept.behind.ahead = kept.ahead
        kept.ahead = kept.behind = None
        self.size -= kept.size


def kept_size(record: "KeepRecord") -> int:
    """Roughly how many bytes a record takes up."""
    return KEPT_SIZE + len(record.text) + len(record.data or b"") + len(record.result or b"")

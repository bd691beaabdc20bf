"""What is kept of jobs that have ended, by handle; for how long, and how many bytes of it."""
from collections import OrderedDict

from ..timers import Timers
from .turns import STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional
    from .jobs import FunctionPolicy
    from .ledger import KeepRecord

KEPT_SIZE = 500        # roughly how many bytes a record takes up besides its contents


class Results:
    """What is kept of jobs that have ended: `most` bytes at most, 0 for no limit; the oldest record goes first.

    Owner: the Core.
    """

    __slots__ = ("size", "_most", "_all", "_shelves", "_timers")

    def __init__(self, most: int) -> None:
        self.size = 0      # bytes, about
        self._most = most
        self._all = OrderedDict()  # type: OrderedDict[bytes, Any] # by handle, the oldest first: record and timer
        self._shelves = {}         # type: Dict[bytes, _Shelf] # by function
        self._timers = Timers()    # of handles, by `now`

    def __repr__(self) -> str:
        return "<Results of %d jobs, %d bytes>" % (len(self._all), self.size)

    def __len__(self) -> int:
        return len(self._all)

    def find(self, handle: bytes, now: float) -> "Optional[KeepRecord]":
        """What is kept of a job."""
        record, timer = self._all.get(handle, (None, None))
        return record if timer is not None and timer[0] > now else None

    def records(self) -> "List[KeepRecord]":
        """All that is kept, in the order in which to keep it again."""
        return [record for record, _ in self._all.values()]

    def keep(self, record: "KeepRecord", policy: "FunctionPolicy", now: float, until: float) -> "List[bytes]":
        """Keep how a job ended until a time; return the handles of those records that had to go to make room."""
        self.forget(record.handle)
        shelf = self._shelves.get(record.function)
        if shelf is None:
            shelf = self._shelves[record.function] = _Shelf()
        size = kept_size(record)
        self._all[record.handle] = record, self._timers.add(until, record.handle)
        shelf.handles[record.handle] = size
        shelf.size += size
        self.size += size
        gone = []  # type: List[bytes]
        while shelf.size > policy.keep_bytes:
            gone.append(next(iter(shelf.handles)))
            self.forget(gone[-1])
        while 0 < self._most < self.size:
            gone.append(next(iter(self._all)))
            self.forget(gone[-1])
        return gone

    def forget(self, handle: bytes) -> None:
        """Drop what is kept of a job."""
        record, timer = self._all.pop(handle, (None, None))
        if record is None:
            return
        if timer[2] is not None:
            self._timers.cancel(timer)
        shelf = self._shelves[record.function]
        size = shelf.handles.pop(handle)
        shelf.size -= size
        self.size -= size
        if not shelf.handles:
            del self._shelves[record.function]

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
            self._all[handle][1][2] = None  # its timer is no longer set
            self.forget(handle)
            gone.append(handle)
        return gone


class _Shelf:
    """What is kept of the jobs of one function: the size of each record by its handle, the oldest first.

    Owner: the Results.
    """

    __slots__ = ("handles", "size")

    def __init__(self) -> None:
        self.handles = OrderedDict()  # type: OrderedDict[bytes, int]
        self.size = 0

    def __repr__(self) -> str:
        return "<_Shelf of %d jobs, %d bytes>" % (len(self.handles), self.size)


def kept_size(record: "KeepRecord") -> int:
    """Roughly how many bytes a record takes up."""
    return KEPT_SIZE + len(record.text) + len(record.data or b"") + len(record.result or b"")

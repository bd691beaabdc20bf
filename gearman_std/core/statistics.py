"""What is known about a function beyond its counters: how long its jobs waited and ran, how the last ones ended, and when.

All of it has a fixed size: a histogram has its buckets, a history its steps, and only a fixed number of functions, those that
were active last, have them.  Nothing here asks what time it is; the core tells the time.
"""
from array import array
from bisect import bisect_left, bisect_right
from collections import deque, namedtuple
from itertools import accumulate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Deque, Iterator, List, Optional, Sequence, Tuple

# The longest time in seconds that each bucket of a histogram counts; one more bucket counts what took longer.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
           7200.0)

# What a history keeps: the seconds of a step, and how many steps; only steps in which something happened are kept.
HISTORY = ((1, 300), (60, 1440))
# How many in a step; `waiting` is how many wait at the end of the step.
HISTORY_COLUMNS = ("submitted", "completed", "failed", "waiting")

MAX_TEXT_SIZE = 200  # bytes of a failure's text that are kept
END_SIZE = 300       # bytes that an End takes up besides its handle, unique and text, about

# How an attempt ends, and usually the job with it.  Lost: the worker was lost, was too slow, or gave the job back.  Cancelled:
# also if no worker had the job.
END_COMPLETED, END_FAILED, END_LOST, END_CANCELLED = "completed", "failed", "lost", "cancelled"


class Histogram:
    """How many durations fell into each bucket, and their sum in seconds.

    Owner: the Core.
    """

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)  # durations up to each bound, above the one before; the last: above all
        self.seconds = 0.0

    def __repr__(self) -> str:
        return "<Histogram of %d, %.3f s in all>" % (self.count, self.seconds)

    def observe(self, durations: "List[float]") -> None:
        """Count some durations, which costs less for many than for each."""
        durations.sort()
        start = 0
        for index, bound in enumerate(BUCKETS):
            end = bisect_right(durations, bound, start)
            self.counts[index] += end - start
            start = end
        self.counts[-1] += len(durations) - start
        self.seconds += sum(durations)

    @property
    def count(self) -> int:
        """How many durations there were in all."""
        return sum(self.counts)

    def cumulative(self) -> "List[int]":
        """For each bound, how many durations were at most that long; then how many there were in all."""
        return list(accumulate(self.counts))


class RowRing:
    """The last `length` rows of `width` numbers from 0 to 4,294,967,295; memory is taken as rows come.

    Owner: whoever made it.
    """

    __slots__ = ("_length", "_width", "_numbers", "_next")

    def __init__(self, length: int, width: int) -> None:
        self._length = length
        self._width = width
        self._numbers = array("I")
        self._next = 0  # the place of the next row

    def __repr__(self) -> str:
        return "<RowRing of %d rows>" % len(self)

    def __len__(self) -> int:
        return len(self._numbers) // self._width

    def add(self, row: "Sequence[int]") -> None:
        """Add a row; the oldest one goes if there are `length` already."""
        start = self._next * self._width
        self._numbers[start:start + self._width] = array("I", row)
        self._next = (self._next + 1) % self._length

    def rows(self) -> "Iterator[Tuple[int, ...]]":
        """All rows, the oldest first."""
        count = len(self)
        for index in range(count):
            start = (self._next + index) % count * self._width if count == self._length else index * self._width
            yield tuple(self._numbers[start:start + self._width])

    def column(self, index: int) -> "array[int]":
        """One number of each row, the oldest row first: a fraction of the work of looking at all rows."""
        numbers = self._numbers[index::self._width]
        return numbers if len(self) < self._length else numbers[self._next:] + numbers[:self._next]


class History:
    """What happened to a function's jobs in the last seconds and minutes.  A step in which nothing happened has no row.

    Owner: the Core.
    """

    __slots__ = ("_steps", "_before", "_rings")

    def __init__(self) -> None:
        self._steps = [-1] * len(HISTORY)  # the numbers of the current steps
        self._before = [(0, 0, 0)] * len(HISTORY)  # the counters when these began
        self._rings = [RowRing(length, 1 + len(HISTORY_COLUMNS)) for _, length in HISTORY]

    def __repr__(self) -> str:
        return "<History of %s steps>" % " and ".join(str(len(ring)) for ring in self._rings)

    def note(self, now: float, counters: "Tuple[int, int, int]", waiting: int) -> None:
        """End the steps that are over by now.  `counters` are running totals: submitted, completed, failed."""
        for index, (seconds, _) in enumerate(HISTORY):
            step, current = int(now // seconds), self._steps[index]
            if step == current:
                continue
            before = self._before[index]
            if current >= 0 and counters != before:
                self._rings[index].add((current, counters[0] - before[0], counters[1] - before[1], counters[2] - before[2],
                                        min(waiting, 0xffffffff)))
            self._steps[index] = step
            self._before[index] = counters

    def rows(self, index: int) -> "Iterator[Tuple[int, ...]]":
        """The rows of one of HISTORY, the oldest first: the number of the step, then HISTORY_COLUMNS."""
        return self._rings[index].rows()

    def recent(self, now: float, seconds: int) -> "List[int]":
        """The sums of all HISTORY_COLUMNS but the last over the last `seconds`, as far as the finest history goes back."""
        ring = self._rings[0]
        first = bisect_left(ring.column(0), (now - seconds) / HISTORY[0][0])
        return [sum(ring.column(index)[first:]) for index in range(1, len(HISTORY_COLUMNS))]

    def line(self, now: float, points: int, column: int) -> "List[int]":
        """One of HISTORY_COLUMNS as `points` numbers: the finest history up to now, divided into equal parts."""
        seconds, length = HISTORY[0]
        values, width = [0] * points, seconds * length / float(points)
        for step, count in zip(self._rings[0].column(0), self._rings[0].column(1 + column)):
            part = points - 1 - int((now - step * seconds) // width)
            if 0 <= part < points:
                values[part] += count
        return values


class End(namedtuple("End", "handle unique outcome time waited ran worker text")):
    """How an attempt ended, or a job that did not run.  `time` is unix time; `waited` and `ran` are seconds; `worker` is the
    number, the address and the client id of the worker that ran it, None if none did."""

    __slots__ = ()
    handle: "bytes"
    unique: "bytes"
    outcome: "str"
    time: "float"
    waited: "float"
    ran: "float"
    worker: "Optional[Tuple[int, bytes, bytes]]"
    text: "bytes"


class FunctionStatistics:
    """The durations, the history and the last ends of one function.

    Owner: the Core.
    """

    __slots__ = ("waited", "ran", "history", "last_failure", "fresh", "_ends", "_last_success")

    def __init__(self, ends: int) -> None:
        self.waited = Histogram()  # of attempts that have ended, from when the job could run to when a worker got it
        self.ran = Histogram()     # of jobs that are complete, from then to when the worker said so
        self.history = History()
        self.last_failure = None   # type: Optional[Tuple[Any, ...]] # what makes an End
        # The fields of each End, as plain tuples, because most are never looked at (benchmark: every job).
        self.fresh = []            # type: List[Tuple[Any, ...]] # of jobs that are complete, and not counted yet
        self._ends = deque(maxlen=ends)  # type: Deque[Tuple[Any, ...]] # the oldest first
        self._last_success = None  # type: Optional[Tuple[Any, ...]]

    def __repr__(self) -> str:
        self.settle()
        return "<FunctionStatistics: %r waited, %r ran>" % (self.waited, self.ran)

    @property
    def ends(self) -> "Deque[Tuple[Any, ...]]":
        """The fields of each End, the oldest first."""
        self.settle()
        return self._ends

    @property
    def last_success(self) -> "Optional[Tuple[Any, ...]]":
        """The fields of the End of the last job that was complete."""
        self.settle()
        return self._last_success

    def settle(self) -> None:
        """Count the jobs that are complete."""
        fresh = self.fresh
        if fresh:
            self.waited.observe([end[4] for end in fresh])
            self.ran.observe([end[5] for end in fresh])
            self._last_success = fresh[-1]
            self._ends.extend(fresh[-(self._ends.maxlen or 1):])
            del fresh[:]

    def note_other(self, end: "Tuple[Any, ...]") -> None:
        """Take in how an attempt ended, or a job, that is not complete."""
        self.settle()
        self._ends.append(end)
        if end[6] is not None:
            self.waited.observe([end[4]])
        if end[2] is not END_CANCELLED:
            self.last_failure = end

    def forget_ends(self) -> None:
        """Have no ends, but the last success and the last failure."""
        self.settle()
        self._ends.clear()

    def update(self, now: float, counters: "Tuple[int, int, int]", waiting: int) -> None:
        """Count the jobs that are complete, and end the steps of the history that are over by now."""
        self.settle()
        self.history.note(now, counters, waiting)

"""Jobs that a worker keeps to try them again."""
from collections import deque

from ..timers import Timers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Deque, List, Optional, Set
    from .link import WorkerLink
    from .running import Run


class HeldJobs:
    """The jobs that wait to be tried again: for their time, or for a thread when that has come.

    As long as `runs` is empty, no other method needs to be called.

    Owner: the shift's lock.
    """

    __slots__ = ("runs", "_times", "_ready")

    def __init__(self) -> None:
        self.runs = set()  # type: Set[Run]
        self._times = Timers()
        self._ready = deque()  # type: Deque[Run] # their time has come

    def __repr__(self) -> str:
        return "<HeldJobs: %d, %d of them ready>" % (len(self.runs), len(self._ready))

    def hold(self, run: "Run", when: float) -> int:
        """Keep a job until the time `when`; return how many of its function wait."""
        self.runs.add(run)
        run.retry = self._times.add(when, run)
        return run.link.lane.hold(run.ability.name)

    def next_time(self) -> "Optional[float]":
        """When the next job becomes ready, or None if none waits for its time."""
        return self._times.next_time()

    def due(self, now: float) -> bool:
        """Whether the time of a job has come; such a job is run before new ones."""
        if self._ready:
            return True
        when = self._times.next_time()
        return when is not None and when <= now

    def count_ready(self, now: float) -> int:
        """How many jobs are ready: their time has come, and they wait for a thread."""
        run = self._times.pop_due(now)
        while run is not None:
            run.retry = None
            self._ready.append(run)
            run = self._times.pop_due(now)
        return len(self._ready)

    def first_ready(self) -> "Run":
        """The first of the ready jobs."""
        return self._ready[0]

    def postpone(self) -> None:
        """Put the first ready job behind the others."""
        self._ready.rotate(-1)

    def take(self) -> "Run":
        """Take out the first ready job."""
        run = self._ready.popleft()
        self._let_go(run)
        return run

    def clear(self) -> "List[Run]":
        """Take out all jobs."""
        runs = list(self.runs)
        for run in runs:
            self._let_go(run)
        self._ready.clear()
        return runs

    def forget(self, link: "WorkerLink") -> None:
        """Drop the jobs of a connection that is lost."""
        for run in [run for run in self.runs if run.link is link]:
            self._let_go(run)
        self._ready = deque(run for run in self._ready if run.link is not link)

    def _let_go(self, run: "Run") -> None:
        self.runs.remove(run)
        run.link.lane.let_go(run.ability.name)
        if run.retry is not None:
            self._times.cancel(run.retry)
            run.retry = None

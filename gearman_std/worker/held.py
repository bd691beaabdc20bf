"""Jobs that a worker keeps to try them again."""
from collections import deque

from ..timers import Timers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Deque, List, Optional, Set
    from .job import WorkerJob
    from .link import WorkerLink


class HeldJobs:
    """The jobs that wait to be tried again: for their time, or for a thread when that has come.

    Owner: the shift's lock.
    """

    __slots__ = ("_jobs", "_times", "_ready")

    def __init__(self) -> None:
        self._jobs = set()  # type: Set[WorkerJob]
        self._times = Timers()
        self._ready = deque()  # type: Deque[WorkerJob] # their time has come

    def __repr__(self) -> str:
        return "<HeldJobs: %d, %d of them ready>" % (len(self._jobs), len(self._ready))

    def __len__(self) -> int:
        return len(self._jobs)

    def hold(self, job: "WorkerJob", when: float) -> int:
        """Keep a job until then; return how many of its function wait."""
        self._jobs.add(job)
        job._retry = self._times.add(when, job)
        return job._link.lane.hold(job.function)

    def next_time(self) -> "Optional[float]":
        """When the next job is ready, of those that are not yet, or None."""
        return self._times.next_time()

    def due(self, now: float) -> bool:
        """Whether a job waits for a thread, which comes before new ones."""
        if self._ready:
            return True
        when = self._times.next_time()
        return when is not None and when <= now

    def count_ready(self, now: float) -> int:
        """How many jobs wait for a thread."""
        job = self._times.pop_due(now)
        while job is not None:
            job._retry = None
            self._ready.append(job)
            job = self._times.pop_due(now)
        return len(self._ready)

    def first_ready(self) -> "WorkerJob":
        """The one of them that has waited longest."""
        return self._ready[0]

    def postpone(self) -> None:
        """Have the first one wait until the others had their turn."""
        self._ready.rotate(-1)

    def take(self) -> "WorkerJob":
        """The first one, which waits no longer."""
        job = self._ready.popleft()
        self._let_go(job)
        return job

    def clear(self) -> "List[WorkerJob]":
        """All jobs, none of which waits any longer."""
        jobs = list(self._jobs)
        for job in jobs:
            self._let_go(job)
        self._ready.clear()
        return jobs

    def forget(self, link: "WorkerLink") -> None:
        """Drop the jobs of a connection that is lost."""
        for job in [job for job in self._jobs if job._link is link]:
            self._let_go(job)
        self._ready = deque(job for job in self._ready if job._link is not link)

    def _let_go(self, job: "WorkerJob") -> None:
        self._jobs.remove(job)
        job._link.lane.let_go(job.function)
        if job._retry is not None:
            self._times.cancel(job._retry)
            job._retry = None

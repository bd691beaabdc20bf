"""Jobs, or their ends, in a row that can be walked along while some of them go and others come."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator, List, Optional
    from .jobs import Job

CHAIN_STEP = 64  # jobs that a walk hands out at once


class _Link:
    """A place in a chain that is not a job: its end, or the point that a walk has reached.

    Owner: the Chain.
    """

    __slots__ = ("earlier", "later")

    def __init__(self) -> None:
        self.earlier = self.later = self  # type: Any

    def __repr__(self) -> str:
        return "<_Link>"


class Chain:
    """Jobs, or what is kept of some, in the order in which they were added.  A job is in one chain at most.

    Owner: the Core.
    """

    __slots__ = ("end",)

    def __init__(self) -> None:
        self.end = _Link()  # behind the last and before the first

    def __repr__(self) -> str:
        return "<Chain of %d jobs>" % sum(map(len, self.walk()))

    def add(self, job: "Any") -> None:
        """Put a job behind all others."""
        _tie(job, self.end)

    def extend(self, jobs: "Iterable[Any]") -> None:
        """Put jobs behind all others, in their order."""
        last = self.end.earlier
        for job in jobs:
            job.earlier = last
            last.later = last = job
        last.later = self.end
        self.end.earlier = last

    def walk(self, after: "Optional[Job]" = None) -> "Iterator[List[Job]]":
        """The jobs that were there when the walk began, some at a time, without those that have gone before their turn; with
        `after`, only those behind that job."""
        mark, last = _Link(), _Link()
        _tie(mark, self.end.later if after is None else after.later)
        _tie(last, self.end)
        try:
            while mark.later is not last:
                jobs = []  # type: List[Job]
                link = mark.later
                untie(mark)
                while link is not last and len(jobs) < CHAIN_STEP:
                    if link.__class__ is not _Link:
                        jobs.append(link)
                    link = link.later
                _tie(mark, link)
                yield jobs
        finally:
            untie(mark)
            untie(last)


def _tie(link: "Any", later: "Any") -> None:
    """Put a link before another."""
    earlier = later.earlier
    link.earlier = earlier
    link.later = later
    earlier.later = link
    later.earlier = link


def untie(link: "Any") -> None:
    """Take a job, or another link, out of its chain."""
    earlier, later = link.earlier, link.later
    earlier.later = later
    later.earlier = earlier
    link.earlier = link.later = None

"""What was seen of each job, over all connections: when it was submitted, when a worker got it, and when it ended."""
from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Tuple

MOST_TRACED = 100000  # jobs of which something is known; the oldest are forgotten first


class TracedJob:
    """What was seen of a job.

    Owner: the JobBook.
    """

    __slots__ = ("number", "handle", "function", "unique", "submitted", "submitter", "assigned", "worker", "attempts", "ended")

    def __init__(self, number: int, function: bytes, unique: bytes = b"") -> None:
        self.number = number
        self.handle = b""
        self.function = function
        self.unique = unique
        self.submitted = None  # type: Optional[float]
        self.submitter = ""
        self.assigned = None   # type: Optional[float]
        self.worker = ""
        self.attempts = 0
        self.ended = None      # type: Optional[float] # when its worker said that it is over

    def __repr__(self) -> str:
        return "<TracedJob %d %r>" % (self.number, self.handle)

    @property
    def waited(self) -> "Optional[float]":
        """Seconds between its submit and its last assignment."""
        return None if self.submitted is None or self.assigned is None else self.assigned - self.submitted

    @property
    def ran(self) -> "Optional[float]":
        """Seconds between its last assignment and its end."""
        return None if self.assigned is None or self.ended is None else self.ended - self.assigned

    def facts(self) -> "Dict[str, Any]":
        """What is known of the job, as plain values."""
        facts = {"number": self.number, "handle": self.handle, "function": self.function, "unique": self.unique}
        plain = {name: value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
                 for name, value in facts.items()}
        for name, seconds in (("waited_ms", self.waited), ("ran_ms", self.ran)):
            if seconds is not None:
                plain[name] = round(seconds * 1000, 3)
        return plain


class JobBook:
    """All jobs that were seen, by server and handle.

    Owner: the tracer.
    """

    def __init__(self) -> None:
        self._jobs = OrderedDict()  # type: OrderedDict[Tuple[str, bytes], TracedJob]
        self._count = 0

    def __repr__(self) -> str:
        return "<JobBook of %d>" % len(self._jobs)

    def find(self, server: str, handle: bytes) -> "Optional[TracedJob]":
        """The job with a handle, or None if it was not seen."""
        return self._jobs.get((server, handle))

    def submitted(self, time: float, peer: str, function: bytes, unique: bytes) -> TracedJob:
        """A client has submitted a job; its handle is not known yet."""
        self._count += 1
        job = TracedJob(self._count, function, unique)
        job.submitted, job.submitter = time, peer
        return job

    def created(self, server: str, handle: bytes, job: TracedJob) -> "Tuple[TracedJob, bool]":
        """The server has told the handle of a submitted job.  Return the job with that handle, and whether an earlier submit
        made it, which this one has joined."""
        known = self._jobs.get((server, handle))
        if known is None or known.ended is not None and known.submitted is not None:
            self._add(server, handle, job)
            return job, False
        if known.submitted is not None:
            return known, True
        known.submitted, known.submitter = job.submitted, job.submitter  # its worker was faster than this answer
        known.unique = known.unique or job.unique
        return known, False

    def assigned(self, time: float, server: str, peer: str, handle: bytes, function: bytes, unique: bytes) -> TracedJob:
        """A worker has got a job."""
        job = self._jobs.get((server, handle))
        if job is None:
            self._count += 1
            job = TracedJob(self._count, function, unique)
            self._add(server, handle, job)
        job.assigned, job.worker, job.ended = time, peer, None
        job.attempts += 1
        return job

    def _add(self, server: str, handle: bytes, job: TracedJob) -> None:
        job.handle = handle
        self._jobs[server, handle] = job
        self._jobs.move_to_end((server, handle))
        if len(self._jobs) > MOST_TRACED:
            self._jobs.popitem(last=False)


def milliseconds(seconds: float) -> str:
    """A duration as people read it."""
    if seconds < 10:
        return ("%.1f ms" if seconds < 0.1 else "%.0f ms") % (seconds * 1000)
    return "%.1f s" % seconds


def tell_assigned(job: TracedJob) -> str:
    """The note about a job that a worker gets."""
    of = " of %s" % job.submitter if job.submitter else ""
    waited = job.waited
    return "job %d%s%s%s" % (job.number, of, ", waited %s" % milliseconds(max(0.0, waited)) if waited is not None else "",
                             ", attempt %d" % job.attempts if job.attempts > 1 else "")


def tell_worked(job: TracedJob) -> str:
    """The note about a job whose worker says that it is over."""
    ran = job.ran
    return "job %d%s" % (job.number, ", ran %s" % milliseconds(ran) if ran is not None else "")


def tell_over(job: TracedJob, time: float) -> str:
    """The note about a job whose client is told that it is over."""
    taken = "" if job.submitted is None else ", took %s in all" % milliseconds(time - job.submitted)
    return "job %d%s" % (job.number, taken)

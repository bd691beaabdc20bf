"""Which job has which unique."""
from collections import OrderedDict

from .tables import grown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, MutableMapping, Optional
    from ..wire.protocol import Data
    from .jobs import Job


class Uniques:
    """The jobs that later submits with the same function and unique join, and that GET_STATUS_UNIQUE finds.

    Owner: the Core.
    """

    __slots__ = ("_jobs",)

    def __init__(self) -> None:
        self._jobs = {}  # type: MutableMapping[bytes, Any] # by unique: a Job, or several functions' in a dict by handle

    def __repr__(self) -> str:
        return "<Uniques: %d>" % len(self._jobs)

    def find(self, unique: bytes) -> "Optional[Job]":
        """The job with that unique: the newest one if several functions have one, as in gearmand; none for ``-``, no unique."""
        job = self._jobs.get(unique)
        if isinstance(job, dict):
            job = next(reversed(job.values()))
        return job

    def add(self, job: "Job") -> None:
        """Let a job be found by its unique, unless another job of its function already is."""
        key, function = unique_key(job.unique, job.workload), job.function
        if key is None or key in function.uniques:
            return
        function.uniques[key] = job
        function.uniques = grown(function.uniques)
        if job.unique == b"-":
            return
        others = self._jobs.get(key)
        if others is None:
            self._jobs[key] = job
            self._jobs = grown(self._jobs)
        elif isinstance(others, dict):
            others[job.handle] = job
        else:
            self._jobs[key] = OrderedDict(((others.handle, others), (job.handle, job)))

    def remove(self, job: "Job") -> None:
        """Let a job no longer be found."""
        key = unique_key(job.unique, job.workload)
        if key is None or job.function.uniques.get(key) is not job:
            return
        del job.function.uniques[key]
        if job.unique == b"-":
            return
        others = self._jobs[key]
        if others is job:
            del self._jobs[key]
        else:
            del others[job.handle]
            if not others:
                del self._jobs[key]


def predecessor_of(job: "Job") -> "Optional[Job]":
    """The job whose end this one waits for, if there is one."""
    one = job.function.uniques.get(unique_key(job.unique, job.workload))
    if one is job:
        return None
    while one is not None and one.successor is not job:
        one = one.successor
    return one


def last_equal(job: "Job") -> "Optional[Job]":
    """The last of the jobs that are equal to this new one: each of them waits for the end of the one before it."""
    one = job.function.uniques.get(unique_key(job.unique, job.workload))
    while one is not None and one.successor is not None:
        one = one.successor
    return one


def unique_key(unique: bytes, workload: "Data") -> "Any":
    """What equal jobs of a function have in common: the unique; the workload if the unique is ``-``; None: a job joins none."""
    if unique != b"-":
        return unique or None
    return (unique, workload) if workload else None

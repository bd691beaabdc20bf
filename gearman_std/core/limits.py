"""How much the job server takes, and why it refuses more."""
from ..arguments import check_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict
    from .jobs import Function
    from .peers import Peer

# Why a job, a function or an ability is refused, and which counter of `show totals` counts that.
QUEUE_FULL = b"Job queue is full"  # as gearmand says it
DRAINING = b"The server is draining and takes no new jobs"
TOO_MANY_JOBS = b"The server is full: too many jobs"
TOO_MANY_BYTES = b"The server is full: too many bytes"
TOO_MANY_FUNCTION_JOBS = b"The function is full: too many jobs"
TOO_MANY_FUNCTION_BYTES = b"The function is full: too many bytes"
TOO_MANY_FUNCTIONS = b"Too many functions"
TOO_MUCH_UNSTORED = b"The store does not keep up: too much waits for the disk"
TOO_LARGE_TO_STORE = b"The job is too large for the store"
TOO_MANY_ABILITIES = b"Too many abilities on this connection"
REFUSAL_COUNTERS = {
    QUEUE_FULL: "refused_max_queue", DRAINING: "refused_draining", TOO_MANY_JOBS: "refused_jobs",
    TOO_MANY_BYTES: "refused_job_bytes", TOO_MANY_FUNCTION_JOBS: "refused_function_jobs",
    TOO_MANY_FUNCTION_BYTES: "refused_function_job_bytes", TOO_MANY_FUNCTIONS: "refused_functions",
    TOO_MANY_ABILITIES: "refused_abilities", TOO_MUCH_UNSTORED: "refused_unstored"}


class Limits:
    """How much the core takes from all peers together and from each; 0 means no limit.

    `jobs` and `job_bytes` count every job that is not gone, those set aside included; `function_jobs` and
    `function_job_bytes` are the same for one function.  `functions` counts functions, `name_bytes` the bytes of their
    names, `abilities` the functions of one peer, `kept_bytes` what is kept of background jobs that have ended.
    `unstored_jobs` and `unstored_job_bytes` bound what waits for the disk: the records of background jobs, also the submits
    that joined one and wait for its record; and the bytes of workloads in these records.

    Owner: immutable once in use.
    """

    __slots__ = ("jobs", "job_bytes", "function_jobs", "function_job_bytes", "functions", "name_bytes", "abilities",
                 "kept_bytes", "unstored_jobs", "unstored_job_bytes", "bounds_jobs")

    def __init__(self, jobs: int = 0, job_bytes: int = 0, function_jobs: int = 0, function_job_bytes: int = 0,
                 functions: int = 100000, abilities: int = 20000, name_bytes: int = 16 << 20,
                 kept_bytes: int = 64 << 20, unstored_jobs: int = 100000, unstored_job_bytes: int = 256 << 20) -> None:
        check_numbers(locals(), *self.__slots__[:-1])
        self.jobs = jobs
        self.job_bytes = job_bytes
        self.function_jobs = function_jobs
        self.function_job_bytes = function_job_bytes
        self.functions = functions
        self.name_bytes = name_bytes
        self.abilities = abilities
        self.kept_bytes = kept_bytes
        self.unstored_jobs = unstored_jobs
        self.unstored_job_bytes = unstored_job_bytes
        self.bounds_jobs = bool(jobs or job_bytes or function_jobs or function_job_bytes)  # any of these four is set

    def __repr__(self) -> str:
        return "<Limits %s>" % " ".join("%s=%d" % (name, getattr(self, name)) for name in self.__slots__[:-1])

    def lack_room(self, functions: int, name_bytes: int, size: int) -> bool:
        """Whether there are too many functions, or bytes of their names, for a new function whose name has `size` bytes."""
        return 0 < self.functions <= functions or 0 < self.name_bytes < name_bytes + size

    def job_refusal(self, function: "Function", jobs: int, job_bytes: int, size: int) -> bytes:
        """Why a further job of `size` bytes cannot be taken when there are this many jobs and bytes; or nothing."""
        if self.jobs and jobs >= self.jobs:
            return TOO_MANY_JOBS
        if self.function_jobs and function.total + function.aside >= self.function_jobs:
            return TOO_MANY_FUNCTION_JOBS
        return self.bytes_refusal(function, job_bytes, size)

    def bytes_refusal(self, function: "Function", job_bytes: int, size: int) -> bytes:
        """Why `size` further bytes cannot be taken when there are this many; or nothing."""
        if self.job_bytes and job_bytes + size > self.job_bytes:
            return TOO_MANY_BYTES
        if self.function_job_bytes and function.size + size > self.function_job_bytes:
            return TOO_MANY_FUNCTION_BYTES
        return b""


def tell_refusal(counters: "Dict[str, int]", peer: "Peer", reason: bytes, code: bytes = b"QUEUE_ERROR") -> None:
    """Answer with the reason why something is not taken, and count it."""
    counter = REFUSAL_COUNTERS.get(reason)
    if counter is not None:
        counters[counter] += 1
    peer.error(code, reason)

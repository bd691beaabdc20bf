"""Which of many jobs, or ends of attempts, a listing shows, and how many workers are busy; found in steps."""
from heapq import nlargest

from .facts import end_facts, text_of
from .jobs import DELAYED
from .statistics import End
from .tables import LARGE_TABLE
from .turns import MANY, STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Generator, Iterator, List, Optional, Set, Tuple
    from .jobs import Function, Job
    from .peers import Peer
    from .state import CoreState

MOST_ENDS = 1000  # of several functions, in the order of time


def first_jobs(core: "CoreState", limit: int, name: bytes, wanted: "Callable[[Job], bool]") -> "Iterator[Optional[Job]]":
    """The jobs of the function with that name, or of all functions without a name; at most `limit`, 0 for all; None after each
    step."""
    function = core.functions.get(name)
    if name and function is None:
        return
    count = 0
    for jobs in core.job_chain.walk():
        for job in jobs:
            if job.later is not None and (function is None or job.function is function) and wanted(job):
                yield job
                count += 1
                if count == limit:
                    return
        yield None


def is_scheduled(job: "Job") -> bool:
    """Whether a job recurs, or waits for a date or for its next attempt."""
    return job.schedule is not None or job.state is DELAYED


def jobs_run_by(core: "CoreState", peer: "Peer") -> "Iterator[List[Job]]":
    """The jobs that a worker runs, in lists none of which takes long to make."""
    if len(peer.running) > LARGE_TABLE:
        for jobs in core.job_chain.walk():
            yield [job for job in jobs if job.worker is peer]
    else:
        running = list(peer.running.values())
        for start in range(0, len(running), MANY):
            yield running[start:start + MANY]


def count_busy(core: "CoreState") -> "Generator[bytes, None, Dict[Function, int]]":
    """How many workers run jobs of each function of which jobs run, counted in steps."""
    busy = {}  # type: Dict[Function, int]
    looked_at = 0
    for peer in list(core.peers):
        functions = set()  # type: Set[Function]
        for jobs in jobs_run_by(core, peer) if peer.running else ():
            functions.update([job.function for job in jobs])
            looked_at += len(jobs) or STEP
            if looked_at >= MANY:
                yield b""
                looked_at = 0
        for function in functions:
            busy[function] = busy.get(function, 0) + 1
        looked_at += 1
    return busy


def last_ends(core: "CoreState", limit: int, name: bytes) -> "Iterator[Optional[Dict[str, Any]]]":
    """How the last attempts of a function ended, the newest first, each with the function's name; None after each step.

    Without a name, those of all functions: the newest `limit` of them, MOST_ENDS at most; or, if `limit` is 0, one function
    after the other.
    """
    limit = min(limit, MOST_ENDS)
    newest = []  # type: List[Tuple[End, Function]]
    named = core.functions.get(name)
    for function in [named] if named is not None else [] if name else core.registry.all():
        ends = list(reversed(function.statistics.ends)) if function.statistics is not None else []
        for start in range(0, len(ends), STEP):
            entries = [(End._make(end), function) for end in ends[start:start + STEP]]
            if limit:
                newest = nlargest(limit, newest + entries, key=lambda entry: entry[0].time)
            else:
                yield from (_end_with_name(core, *entry) for entry in entries)
            yield None
        yield None
    yield from (_end_with_name(core, *entry) for entry in newest)


def _end_with_name(core: "CoreState", end: End, function: "Function") -> "Dict[str, Any]":
    return dict(end_facts(core, end), function=text_of(function.name))

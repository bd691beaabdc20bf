"""Facts about the server's functions, jobs and peers, as plain values that JSON can carry.

Times of day are unix time, durations are seconds.  Names are text, in which a byte that is not UTF-8 is written as ``\\xff``,
and a backslash that would look like the beginning of such a byte as ``\\x5c``.
"""
from json import JSONEncoder
from string import hexdigits

from .jobs import PRIORITY_CLASSES, RUNNING, WAITING
from .statistics import BUCKETS, HISTORY, HISTORY_COLUMNS, End
from .turns import STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional
    from .jobs import Function, Job
    from .ledger import KeepRecord
    from .peers import Peer
    from .state import CoreState
    from .statistics import Histogram

PRIORITY_NAMES = ("high", "normal", "low")
MOST_NAMED = 20  # functions and jobs of one connection that are named
NAMED_BYTES = 4096  # no further ones are named when the names have so many bytes
RECENT = 300     # seconds: what `recent` counts

_BYTE_ESCAPES = {0xdc00 + byte: "\\x%02x" % byte for byte in range(128, 256)}  # how surrogateescape reads it: how it is written

encode_facts = JSONEncoder(check_circular=False).encode


def text_of(value: bytes) -> str:
    """Bytes as text: no two different ones are the same text."""
    try:
        text, is_text = value.decode(), True
    except UnicodeDecodeError:
        text, is_text = value.decode("utf-8", "surrogateescape"), False
    if b"\\x" in value:
        first, *rest = text.split("\\x")
        text = first + "".join([("\\x5cx" if len(part) > 1 and part[0] in hexdigits and part[1] in hexdigits else "\\x") + part
                                for part in rest])
    return text if is_text else text.translate(_BYTE_ESCAPES)  # backslashreplace would take three times as long


def job_facts(core: "CoreState", job: "Job") -> "Dict[str, Any]":
    """All about a job."""
    worker = job.worker
    progress = job.progress
    facts = {
        "handle": text_of(job.handle), "function": text_of(job.function.name), "unique": text_of(job.unique),
        "priority": PRIORITY_NAMES[job.priority], "state": job.state, "background": job.background,
        "age": round(core.now - job.created, 3), "attempts": job.attempts, "joins": job.joins, "size": len(job.workload),
        "due": job.due or None, "error": text_of(job.error), "schedule": text_of(job.schedule.text) if job.schedule else None,
        "worker": None if worker is None else _worker_facts(worker.number, worker.address, worker.client_id),
        "waiting": None, "running": None,
        "progress": None if progress is None else list(progress)}  # type: Dict[str, Any]
    if job.state is WAITING:
        facts["waiting"] = round(core.now - job.since, 3)
    elif job.state is RUNNING:
        facts["waiting"], facts["running"] = round(job.waited, 3), round(core.now - job.since, 3)
    return facts


def function_facts(core: "CoreState", function: "Function", busy: int) -> "Dict[str, Any]":
    """The figures of a function, in the order in which people ask for them; `busy` is how many workers run jobs of it."""
    waiting = function.waiting
    facts = {
        "function": text_of(function.name), "paused": function.paused, "waiting": sum(waiting), "running": function.running,
        "delayed": sum(function.delayed), "aside": function.aside, "workers": function.workers, "busy": busy,
        "size": function.size,
        "max_queue": function.max_queue, "oldest": _rounded(function.oldest(core.now)),
        "recent": _recent(core, function)}  # type: Dict[str, Any]
    facts.update(("waiting_" + name, waiting[priority]) for name, priority in zip(PRIORITY_NAMES, PRIORITY_CLASSES))
    facts.update((name, getattr(function.totals, name)) for name in function.totals.__slots__)
    statistics = function.statistics
    for name in ("last_success", "last_failure"):
        end = getattr(statistics, name, None)
        facts[name] = end_facts(core, end) if end is not None else None
    return facts


def _rounded(seconds: "Optional[float]") -> "Optional[float]":
    return None if seconds is None else round(seconds, 3)


def _recent(core: "CoreState", function: "Function") -> "Dict[str, int]":
    """What happened to its jobs in the last minutes."""
    counts = [0] * len(HISTORY_COLUMNS)
    if function.statistics is not None:
        function.update_statistics(core.now)
        counts = function.statistics.history.recent(core.now, RECENT)
    return dict(zip(HISTORY_COLUMNS[:-1], counts), seconds=RECENT)


def function_story(core: "CoreState", function: "Function") -> "Dict[str, Any]":
    """How the jobs of a function went: durations, history; both are empty if nothing is known."""
    statistics = function.statistics
    if statistics is None:
        return {"waited": None, "ran": None, "history": []}
    function.update_statistics(core.now)
    offset = core.wall - core.now
    return {
        "waited": histogram_facts(statistics.waited), "ran": histogram_facts(statistics.ran),
        "history": [{"seconds": seconds, "columns": ["time"] + list(HISTORY_COLUMNS),
                     "rows": [[round(row[0] * seconds + offset)] + list(row[1:]) for row in statistics.history.rows(index)]}
                    for index, (seconds, _) in enumerate(HISTORY)]}


def ends_of(core: "CoreState", function: "Function") -> "Iterator[List[Dict[str, Any]]]":
    """How the last attempts of a function ended, the newest first, some at a time."""
    ends = list(reversed(function.statistics.ends)) if function.statistics is not None else []
    for start in range(0, len(ends), STEP):
        yield [end_facts(core, end) for end in ends[start:start + STEP]]


def histogram_facts(histogram: "Histogram") -> "Dict[str, Any]":
    """For each bound, how many durations were at most that long; the last bound is None, for no bound.  And their sum."""
    return {"bounds": list(BUCKETS) + [None], "counts": histogram.cumulative(), "seconds": round(histogram.seconds, 6)}


def end_facts(core: "CoreState", end: "Any") -> "Dict[str, Any]":
    """How an attempt ended."""
    end = End._make(end)
    return {"handle": text_of(end.handle), "unique": text_of(end.unique), "outcome": end.outcome, "time": round(end.time, 3),
            "age": round(max(0.0, core.wall - end.time), 3),
            "waited": round(end.waited, 6), "ran": round(end.ran, 6), "text": text_of(end.text),
            "worker": None if end.worker is None else _worker_facts(*end.worker)}


def kept_facts(core: "CoreState", kept: "KeepRecord") -> "Dict[str, Any]":
    """How a job ended, as far as that is kept, without its data and result."""
    return {"outcome": kept.outcome, "time": round(kept.ended, 3), "age": round(max(0.0, core.wall - kept.ended), 3),
            "waited": round(kept.waited, 6), "ran": round(kept.ran, 6), "text": text_of(kept.text)}


def ended_facts(kept: "KeepRecord") -> "Dict[str, Any]":
    """All about a job that has ended, with the names that `job_facts` has."""
    return {
        "handle": text_of(kept.handle), "function": text_of(kept.function), "unique": text_of(kept.unique), "priority": None,
        "state": "ended", "background": True, "age": None, "attempts": kept.attempts, "joins": None, "size": None, "due": None,
        "error": text_of(kept.text), "schedule": None, "worker": None, "waiting": None, "running": None, "progress": None}


def peer_facts(core: "CoreState", peer: "Peer") -> "Dict[str, Any]":
    """All about a connection; if it has many functions or jobs, or long names, only the first are named."""
    return dict(
        _worker_facts(peer.number, peer.address, peer.client_id), functions=len(peer.abilities),
        some_functions=[text_of(name) for name in _first_named(peer.abilities, len)], watching=len(peer.watching),
        jobs=[{"handle": text_of(job.handle), "function": text_of(job.function.name), "running": round(core.now - job.since, 3)}
              for job in _first_named(peer.running.values(), lambda job: len(job.function.name))],
        running=len(peer.running), completed=peer.completed, failed=peer.failed, heard=round(core.now - peer.heard, 3),
        asleep=("no", "yes", "woken")[peer.sleep] == "yes")


def _first_named(things: "Iterable[Any]", size_of: "Callable[[Any], int]") -> "Iterator[Any]":
    """The first of some things, as many as are named; `size_of` says how long a name is."""
    size = 0
    for thing, _ in zip(things, range(MOST_NAMED)):
        yield thing
        size += size_of(thing)
        if size >= NAMED_BYTES:
            return


def _worker_facts(number: int, address: bytes, client_id: bytes) -> "Dict[str, Any]":
    return {"number": number, "address": text_of(address), "client_id": text_of(client_id)}


def neighbour_facts(core: "CoreState") -> "List[Dict[str, Any]]":
    """The servers of the same database, as of the last look at them; none if the store is this server's alone.

    `state` is "lives"; "ended" in order; "silent" for so long that its jobs are about to be taken over; or "adopted" by another
    one, so many seconds ago.
    """
    return [{"server": server.name, "state": _state_of_server(server), "silent": round(max(0.0, server.silent), 3),
             "take_over": server.take_over or None, "adopted_by": server.adopted_by or None,
             "adopted_ago": round(server.adopted_ago, 3) if server.adopted_by else None} for server in core.servers]


def _state_of_server(server: "Any") -> str:
    if server.adopted_by:
        return "adopted"
    if server.ended:
        return "ended"
    return "silent" if 0 < server.take_over < server.silent else "lives"


def server_facts(core: "CoreState") -> "Dict[str, Any]":
    """The server's own figures."""
    return {"version": text_of(core.version), "pid": core.pid, "time": round(core.wall, 3),
            "uptime": round(core.now - (core.began or 0.0), 3), "jobs": len(core.jobs),
            "aside": len(core.aside), "size": core.size, "functions": len(core.functions), "connections": len(core.peers),
            "draining": core.draining, "stopping": core.stopping or None, "store_trouble": text_of(core.store_trouble) or None,
            "servers": neighbour_facts(core), "counters": dict(core.counters)}

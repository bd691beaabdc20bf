"""The JSON API: facts about functions, jobs and connections, and orders, each of which runs a text command.

A listing is a JSON object with the entries and `next`.  A request for the next page sends the value of `next` as `after`; on
the last page, `next` is null.  A listing is made in steps, so that a long one does not hold up other peers.
"""
from operator import itemgetter

from ..core.choosing import count_busy, jobs_run_by
from ..core.facts import (encode_facts, ends_of, function_facts, function_story, job_facts, peer_facts, server_facts,
                          text_of)
from ..core.jobs import DELAYED, RUNNING
from ..core.results import story_in_json
from ..core.tables import lists_of
from ..core.text import FUNCTION_NOT_FOUND, JOB_NOT_FOUND, obey
from ..core.turns import STEP
from ..wire.http import refused
from .exchange import LIMIT, MOST, PIECE_SIZE, Answer, as_bytes, joined, json_answer, steps_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Generator, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple
    from ..core.core import Core
    from ..core.jobs import Function, Job
    from ..core.peers import Peer
    from .exchange import WebRequest

JSON = b"application/json"
SHOWN_STATES = ("", "waiting", "running", "delayed", "held back", "storing")
# The orders of functions in a listing: by name, or by a figure, the largest first.
FUNCTION_ORDERS = ("name", "waiting", "running", "oldest", "workers", "aside", "failed", "completed")

# The text command of each order; the name of the function or the handle of the job follows it.
_FUNCTION_ORDERS = {"pause": b"pause function", "resume": b"resume function", "cancel": b"cancel function",
                    "requeue": b"requeue function", "purge": b"purge function", "drop": b"drop function"}
_JOB_ORDERS = {"cancel": b"cancel job", "requeue": b"requeue job", "purge": b"purge job", "run": b"run job"}
_ASIDE_ORDERS = {"requeue": b"requeue all", "purge": b"purge all"}
_SERVER_ORDERS = {"drain": b"drain on", "accept": b"drain off"}


def server_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """The server's own figures."""
    request.only()
    return json_answer(server_facts(core))


def functions_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """The functions whose names contain `search`, in the order `sort`, from the first one after the name `after`."""
    request.only("search", "sort", "after", "limit")
    order = request.one_of("sort", *FUNCTION_ORDERS)
    if order != "name" and request.query.get("after"):
        raise refused(400, "after goes only with sort=name")
    limit = request.number("limit", LIMIT, MOST)

    def make() -> "Iterator[bytes]":
        functions = yield from choose_functions(core, request.bytes_of("search"), order, limit + 1, request.bytes_of("after"))
        more = len(functions) > limit and order == "name"
        busy = yield from count_busy(core)
        yield from _api_listing("functions", (function_facts(core, one, busy.get(one, 0)) for one in functions[:limit]),
                                text_of(functions[limit - 1].name) if more else None)
    return Answer(joined(make()), JSON)


def choose_functions(core: "Core", search: bytes, order: str, limit: int,
                     after: bytes = b"") -> "Generator[bytes, None, List[Function]]":
    """The first `limit` functions in an order, found in steps.  Their names contain `search`, in small or capital letters.

    `after` is the last name of the page before; names are compared as the page shows them.
    """
    search, behind = search.lower(), after.decode("utf-8", "backslashreplace")

    def place(function: "Function") -> "Any":
        return text_of(function.name) if order == "name" else (-(figure_of(core, function, order) or 0), function.name)
    chosen = yield from _first_of([core.registry.all()], limit, lambda function: (
        place(function) if (not after or text_of(function.name) > behind) and search in function.name.lower() else None),
        lambda function: len(function.name))
    return chosen


def _first_of(lists: "Iterable[List[Any]]", limit: int, place: "Callable[[Any], Any]",
              size_of: "Callable[[Any], int]") -> "Generator[bytes, None, List[Any]]":
    """The first `limit` things in the order of their places, found in steps, none of which sorts all things.

    `place` returns None for a thing that is not wanted; no two things have the same place.  `size_of` is how many bytes of a
    thing it looks at.
    """
    best = []  # type: List[Tuple[Any, Any]]
    for things in lists:
        for start, end in steps_of(things, size_of):
            for thing in things[start:end]:
                where = place(thing)
                if where is not None:
                    best.append((where, thing))
            best.sort(key=itemgetter(0))  # nearly all of it is sorted already, so this is fast
            del best[limit:]
            yield b""
    return [thing for _, thing in best]


def figure_of(core: "Core", function: "Function", name: str) -> "Any":
    """The figure of a function that FUNCTION_ORDERS calls by this name."""
    if name == "waiting":
        return sum(function.waiting)
    if name == "oldest":
        return function.oldest(core.now)
    if name in ("completed", "failed"):
        return getattr(function.totals, name)
    return getattr(function, name)


def function_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """All about a function."""
    request.only()
    function = find_function(core, request.parts[2])

    def make() -> "Iterator[bytes]":
        busy = yield from count_busy(core)
        facts = function_facts(core, function, busy.get(function, 0))
        lead = encode_facts(dict(facts, **function_story(core, function))).encode()[:-1] + b', "ends": ['
        for ends in ends_of(core, function):
            yield lead + encode_facts(ends).encode()[1:-1]
            yield b""
            lead = b", "
        yield (lead if lead != b", " else b"") + b"]}\n"
    return Answer(joined(make()), JSON)


def find_function(core: "Core", name: str) -> "Function":
    """The function of that name."""
    function = core.functions.get(as_bytes(name))
    if function is None:
        raise refused(404, "there is no function %.200s" % text_of(as_bytes(name)))
    return function


def job_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """All about a job; also about one that has ended, while the server keeps how it ended."""
    request.only()
    pieces = story_in_json(core, as_bytes(request.parts[2]), b"\n")
    if pieces is None:
        find_job(core, request.parts[2])  # raises the error
    return Answer(joined(pieces or ()), JSON)


def find_job(core: "Core", handle: str) -> "Job":
    """The job with that handle."""
    job = core.jobs.get(as_bytes(handle)) or core.aside.get(as_bytes(handle))
    if job is None:
        if core.loading:
            raise refused(503, "the store is still being read")
        raise refused(404, "there is no job %.200s" % text_of(as_bytes(handle)))
    return job


def jobs_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """A page of the jobs that are not set aside."""
    request.only("function", "state", "search", "after", "limit")
    return _job_listing(core, request, request.one_of("state", *SHOWN_STATES), core.jobs, core.job_chain)


def aside_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """A page of the jobs that were set aside."""
    request.only("function", "search", "after", "limit")
    return _job_listing(core, request, "", core.aside, core.aside_chain)


def _job_listing(core: "Core", request: "WebRequest", state: str, known: "Mapping[bytes, Job]", chain: "Any") -> Answer:
    limit = request.number("limit", LIMIT, MOST)

    def make() -> "Iterator[bytes]":
        jobs = yield from choose_jobs(core, known, chain, state, request.bytes_of("function"), request.bytes_of("search"),
                                      limit + 1, request.bytes_of("after"))
        yield from _api_listing("jobs", (job_facts(core, job) for job in jobs[:limit]),
                                text_of(jobs[limit - 1].handle) if len(jobs) > limit else None)
    return Answer(joined(make()), JSON)


def choose_jobs(core: "Core", known: "Mapping[bytes, Job]", chain: "Any", state: str, function: bytes, search: bytes,
                limit: int, after: bytes = b"") -> "Generator[bytes, None, List[Job]]":
    """The first `limit` jobs of a chain after the one with the handle `after`, which may be gone already; found in steps.

    They are in `state`, of `function`, and have `search` in their handle, unique, function or error; an empty value allows all.
    """
    found = []  # type: List[Job]
    start = known.get(after)
    skipped = 0 if start is not None or not after else _number_of(after)
    for jobs in _running(core) if state == RUNNING and not after else chain.walk(start):
        for job in jobs:
            if (not state or job.state == state) and (not function or job.function.name == function) and (
                    not search or search in job.handle or search in job.unique or search in job.function.name
                    or search in job.error) and (not skipped or _number_of(job.handle) > skipped):
                found.append(job)
                if len(found) >= limit:
                    return found
        yield b""
    return found


def _number_of(handle: bytes) -> int:
    number = handle.rpartition(b":")[2]
    return int(number) if number.isdigit() and len(number) < 20 else 0


def _running(core: "Core") -> "Iterator[List[Job]]":
    """Lists of the jobs that run, some jobs in each list."""
    jobs = []  # type: List[Job]
    for count, peer in enumerate(list(core.peers), 1):
        for some in jobs_run_by(core, peer):
            jobs += some
            if len(jobs) >= STEP or not some:
                yield [job for job in jobs if job.state is RUNNING]
                jobs = []
        if not count % (4 * STEP):
            yield []
    yield [job for job in jobs if job.state is RUNNING]


def schedules_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """A page of the jobs that recur: first those that run or wait now, then the others by the time of their next run."""
    request.only("function", "after", "limit")
    limit = request.number("limit", LIMIT, MOST)
    after = _schedule_place(request.query.get("after", ""))

    def make() -> "Iterator[bytes]":
        jobs = yield from choose_schedules(core, request.bytes_of("function"), limit + 1, after)
        following = "%r %s" % _place_of_schedule(jobs[limit - 1])[::2] if len(jobs) > limit else None
        yield from _api_listing("schedules", (job_facts(core, job) for job in jobs[:limit]), following)
    return Answer(joined(make()), JSON)


def choose_schedules(core: "Core", function: bytes, limit: int,
                     after: "Optional[Tuple[float, int, str]]" = None) -> "Generator[bytes, None, List[Job]]":
    """The first `limit` jobs that recur, only those of `function` unless that is empty; found in steps."""
    def place(job: "Job") -> "Optional[Tuple[float, int, str]]":
        if job.later is None or function and job.function.name != function:
            return None
        where = _place_of_schedule(job)
        return where if after is None or where > after else None
    chosen = yield from _first_of(lists_of(core.recurring), limit, place, lambda job: 0)
    return chosen


def _place_of_schedule(job: "Job") -> "Tuple[float, int, str]":
    """What jobs that recur are sorted by: when the next run is due, 0 if it runs or waits; then the number and the handle."""
    return job.due if job.state is DELAYED else 0.0, _number_of(job.handle), text_of(job.handle)


def _schedule_place(after: str) -> "Optional[Tuple[float, int, str]]":
    """The place of the last job of the page before, from `after`, which is the `next` of that page."""
    if not after:
        return None
    due, _, handle = after.partition(" ")
    if not due.replace(".", "", 1).isdigit() or not handle:
        raise refused(400, "after is %.40r, which is not the next of a listing" % after)
    return float(due), _number_of(as_bytes(handle)), handle


def workers_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """A page of the connections in the order in which they came, from the first one after number `after`."""
    request.only("after", "limit")
    limit = request.number("limit", LIMIT, MOST)
    after = request.number("after", 0, 1 << 31)

    def make() -> "Iterator[bytes]":
        found = yield from choose_peers(core, limit + 1, after)
        yield from _api_listing("workers", (peer_facts(core, one) for one in found[:limit]),
                                found[limit - 1].number if len(found) > limit else None)
    return Answer(joined(make()), JSON)


def choose_peers(core: "Core", limit: int, after: int) -> "Generator[bytes, None, List[Peer]]":
    """The first `limit` connections after the one with the number `after`, all if that is 0; found in steps."""
    found = []  # type: List[Peer]
    met = not after
    for count, peer in enumerate(list(core.peers), 1):
        if met and not peer.gone:
            found.append(peer)
            if len(found) >= limit:
                break
        met = met or peer.number == after
        if not count % (4 * STEP):
            yield b""
    if not met:
        raise refused(409, "connection %d is gone: start again without after" % after)
    return found


def _api_listing(name: str, entries: "Iterable[Dict[str, Any]]", following: "Any") -> "Iterator[bytes]":
    """A listing as JSON, some entries in each step; `following` is the value of `next`."""
    lead = b'{"%b": [' % name.encode()
    size = 0
    for entry in entries:
        text = encode_facts(entry).encode()
        yield lead + b"\n" + text
        lead = b","
        size += 1024 + len(text)
        if size >= PIECE_SIZE:
            yield b""
            size = 0
    yield (lead if lead != b"," else b"") + b'\n], "next": %b}\n' % encode_facts(following).encode()


def order_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """Run the text command of an order; with `force=1`, a function is dropped although it has jobs."""
    request.only("force")
    kind, order, subject = request.parts[1], request.parts[-1], request.parts[2:-1]
    orders = {"functions": _FUNCTION_ORDERS, "jobs": _JOB_ORDERS, "aside": _ASIDE_ORDERS, "server": _SERVER_ORDERS}[kind]
    if order not in orders:
        raise refused(404, "there is no order %.40r here, only %s" % (order, ", ".join(orders)))
    words = orders[order].split() + [as_bytes(part) for part in subject]
    if request.one_of("force", "", "1") and order == "drop":
        words.append(b"force")
    return _obey(core, peer, words)


def _obey(core: "Core", peer: "Peer", words: "Sequence[bytes]") -> Answer:
    """The reply of a text command as JSON; a command that is refused gives an error with a fitting status."""
    answer = Answer((), JSON)

    def make() -> "Iterator[bytes]":
        reply = obey(core, peer.rights, list(words))
        if not isinstance(reply, bytes):
            pieces = []  # type: List[bytes]
            for piece in reply:
                pieces.append(piece)
                yield b""
            reply = b"".join(pieces)
        text = reply.decode("utf-8", "backslashreplace").strip()
        if text.startswith("ERR"):
            forbidden = text.startswith("ERR PERMISSION_DENIED")
            status = 404 if reply in (FUNCTION_NOT_FOUND, JOB_NOT_FOUND) else 403 if forbidden else 409
            raise refused(status, text[4:].replace("+", " "))
        yield encode_facts({"done": text.partition(" ")[2] or True}).encode() + b"\n"
    answer.pieces = make()
    return answer

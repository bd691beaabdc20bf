"""The replies to the administrative text commands, computed from a Core.

A command is a line of words; upper and lower case are the same.  Listings end with a line of one dot.  The replies to the
commands that gearmand has are the same to the byte.  ``pause``, ``resume``, ``drain``, ``requeue``, ``purge``, ``run``,
``result``, ``shutdown``, ``show aside``, ``show totals``, ``show jobs json``, ``show schedules``, ``show history``,
``show functions json``, ``show servers`` and the longer forms of ``cancel`` and ``drop`` are ours.

A reply that can take long is an iterator of steps, see the module turns.
"""
from ..wire.protocol import parse_number
from .choosing import count_busy, first_jobs, is_scheduled, last_ends
from .facts import encode_facts, function_facts, job_facts, neighbour_facts
from .jobs import RUNNING, Totals
from .orders import cancel_job, drop_job, purge_job, requeue_job, run_now
from .results import story_in_json
from .rights import ADMIN, STEER, permitted
from .standing import (begin_drop, drain, drop_function, end_drop, keep_function, limit_function, pause_function,
                       resume_function)
from .stopping import begin_stop
from .turns import STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, FrozenSet, Iterable, Iterator, List, Optional, Tuple, Union
    from .chain import Chain
    from .jobs import Function, Job
    from .state import CoreState
    Reply = Union[bytes, Iterator[bytes]]  # all of it, or its pieces
    TextCommand = Callable[[CoreState, List[bytes]], Reply]

_OK = b"OK\r\n"
_NO_ROOM = b"ERR QUEUE_ERROR Too+many+functions\r\n"
FUNCTION_NOT_FOUND = b"ERR function not found\r\n"
JOB_NOT_FOUND = b"ERR UNKNOWN_JOB\r\n"
_MAX_WORDS = 5
_PIECE_SIZE = 65536  # bytes of a listing that are made at once


def permitted_commands(rights: "FrozenSet[str]") -> "Dict[bytes, TextCommand]":
    """The functions that answer the commands of a peer with these rights, by command."""
    return permitted(_TEXT_COMMANDS, rights, _forbidden)


def answer(core: "CoreState", commands: "Dict[bytes, TextCommand]", line: bytes) -> "Optional[Reply]":
    """The reply to one line of a peer with these commands, or None if the connection is to be closed.

    Lines of HTTP close it: otherwise anyone who can make a program on this network send an HTTP request, to a web hook for
    example, could smuggle commands into its body.
    """
    words = [word for index, word in enumerate(line.rstrip(b"\r").split(b" ")) if word or not index]
    if len(words) > _MAX_WORDS:
        return None
    command = commands.get(words[0].lower())
    if _speaks_another_protocol(line.split(), command is not None):
        return None
    return command(core, words) if command is not None else _unknown_command(words[0])


def obey(core: "CoreState", rights: "FrozenSet[str]", words: "List[bytes]") -> "Reply":
    """The reply to a command of a peer with these rights, given as words, which may hold blanks, instead of as a line."""
    right, command = _TEXT_COMMANDS[words[0]]
    return command(core, words) if right in rights else _forbidden(core, words)


def is_order(line: bytes) -> bool:
    """Whether a line of text asks for a change, not for a listing."""
    right, _ = _TEXT_COMMANDS.get(line.rstrip(b"\r").split(b" ", 1)[0].lower(), (ADMIN, None))
    return right == STEER


def needs_no_jobs(line: bytes) -> bool:
    """Whether a line can be obeyed before all stored jobs are read: a question that is not about one job, or the order to stop.
    """
    command = line.split(b" ", 1)[0].rstrip(b"\r").lower()
    return command == b"shutdown" or not is_order(line) and command != b"result"


def _speaks_another_protocol(words: "List[bytes]", known: bool) -> bool:
    """Whether a line is a request or a header of HTTP or a similar protocol; `known` if it begins like a command."""
    for word in words:
        name, slash, version = word.partition(b"/")
        if slash and name.isalpha() and version[:1].isdigit() and (name.upper() == b"HTTP" or not known and b"." in version):
            return True
    if known or not words:
        return False
    return b":" in b"".join(words[:2]) or words[0].upper() in _HTTP_METHODS_ELSEWHERE and len(words) > 1


def _status(core: "CoreState", words: "List[bytes]") -> "Reply":
    return _listing(b"%s\t%d\t%d\t%d\n" % (function.name, function.total, function.running, function.workers)
                    for function in _functions(core))


def _priority_status(core: "CoreState", words: "List[bytes]") -> "Reply":
    return _listing(b"%s\t%s\t%d\n" % (
        function.name, b"\t".join(b"%d" % sum(both) for both in zip(function.waiting, function.delayed)), function.workers)
        for function in _functions(core))


def _workers(core: "CoreState", words: "List[bytes]") -> "Reply":
    return _listing(_lines_of_workers(core))


def _lines_of_workers(core: "CoreState") -> "Iterator[bytes]":
    """A line for each peer; a long line comes in parts, because a peer can have many functions."""
    for peer in list(core.peers):
        if peer.gone:
            continue
        names = list(reversed(peer.abilities))
        yield b"%d %s %s :" % (peer.number, peer.address, peer.client_id)
        for index in range(0, len(names), STEP):
            yield b"".join(b" " + name for name in names[index:index + STEP])
        yield b"\n"


def _version(core: "CoreState", words: "List[bytes]") -> bytes:
    return b"OK %s\n" % core.version


def _getpid(core: "CoreState", words: "List[bytes]") -> bytes:
    return b"OK %d\n" % core.pid


def _verbose(core: "CoreState", words: "List[bytes]") -> bytes:
    return b"OK %s\n" % core.verbosity


def _maxqueue(core: "CoreState", words: "List[bytes]") -> bytes:
    if len(words) < 2:
        return _incomplete(b"maxqueue")
    limits = [max(0, parse_number(word)) for word in words[2:]]
    high, normal, low = limits * 3 if len(limits) == 1 else (limits + [0, 0, 0])[:3]
    limited = bool(high or normal or low)
    max_queues = core.registry.max_queues
    if limited and words[1] not in max_queues and 0 < core.limits.functions <= len(max_queues):
        return _NO_ROOM
    limit_function(core, words[1], (high, normal, low) if limited else None)
    return _OK


def _create(core: "CoreState", words: "List[bytes]") -> "Reply":
    if len(words) != 3 or words[1].lower() != b"function":
        return _incomplete(b"create")
    room = core.registry.make_room_for(words[2])
    if room is None:
        return _create_later(core, words)
    if not room:
        return _NO_ROOM
    keep_function(core, core.add_function(words[2]))
    return _OK


def _create_later(core: "CoreState", words: "List[bytes]") -> "Iterator[bytes]":
    reply = []  # type: List[Any]
    yield from core.registry.find_room_for(words[2], lambda: reply.append(_create(core, words)))
    yield from reply


def _drop(core: "CoreState", words: "List[bytes]") -> "Reply":
    forced = len(words) == 4 and words[3].lower() == b"force"
    if len(words) != 3 + forced or words[1].lower() != b"function":
        return _incomplete(b"drop")
    function = core.functions.get(words[2])
    return _drop_like(core, words[2].lower(), forced) if function is None else _drop_with_jobs(core, function, forced)


def _drop_like(core: "CoreState", wanted: bytes, forced: bool) -> "Iterator[bytes]":
    """Drop the first function with the wanted name, upper and lower case being the same."""
    for count, function in enumerate(_functions(core), 1):
        if function.name.lower() == wanted:
            reply = _drop_with_jobs(core, function, forced)
            if isinstance(reply, bytes):
                yield reply
            else:
                yield from reply
            return
        if not count % STEP:
            yield b""
    yield FUNCTION_NOT_FOUND


def _drop_with_jobs(core: "CoreState", function: "Function", forced: bool) -> "Reply":
    if function.workers or function.running:
        return b"ERR there are still connected workers or executing clients\r\n"
    if function.total and not forced:
        return b"ERR there are still %d jobs queued: force sets them aside\r\n" % function.total
    if function.total:
        return _drop_jobs(core, function)
    drop_function(core, function)
    return _OK


def _drop_jobs(core: "CoreState", function: "Function") -> "Iterator[bytes]":
    begin_drop(core, function)
    for jobs in core.job_chain.walk():
        for job in jobs:
            if job.function is function and job.later is not None and job.state is not RUNNING:
                drop_job(core, job)
        yield b""
    end_drop(core, function)
    yield _OK


def _cancel(core: "CoreState", words: "List[bytes]") -> "Reply":
    what = words[1].lower() if len(words) > 2 else b""
    if not what:
        return _unknown_command(b"cancel")
    if what == b"job" and len(words) == 3:
        job = core.jobs.get(words[2]) or core.aside.get(words[2])
        if job is None:
            return JOB_NOT_FOUND
        cancel_job(core, job)
        return _OK
    if what == b"function" and len(words) == 3:
        function = core.functions.get(words[2])
        return _for_all(core, words, core.job_chain, cancel_job,
                        lambda jobs: [job for job in jobs if job.function is function], function.total if function else 0)
    if what == b"unique" and len(words) in (3, 4):
        return _for_all(core, words, core.job_chain, cancel_job, lambda jobs: [
            job for job in jobs if job.unique == words[2] and (len(words) == 3 or job.function.name == words[3])])
    return b"ERR UNKNOWN_ERROR\r\n"


def _for_all(core: "CoreState", words: "List[bytes]", chain: "Chain", order: "Callable[[CoreState, Job], None]",
             concerned: "Callable[[List[Job]], List[Job]]", most: "Optional[int]" = None) -> "Iterator[bytes]":
    """Give an order for all jobs of a chain that it concerns, `most` at most; if there are none, that is an error only if one
    job was named.
    """
    known, count = words[2:3] and words[2] in core.functions, 0
    for jobs in chain.walk() if most != 0 else ():
        for job in concerned(jobs):
            if job.joins >= STEP:
                yield b""  # a job can have many watchers
            if job.later is not None:
                order(core, job)
                count += 1
        if count == most:
            break
        yield b""
    what = words[1].lower()
    if not count and what == b"function" and not known:
        yield FUNCTION_NOT_FOUND
    else:
        yield b"OK %d\r\n" % count if count or what in (b"function", b"all") else JOB_NOT_FOUND


def _requeue(core: "CoreState", words: "List[bytes]") -> "Reply":
    return _with_jobs_aside(core, words, requeue_job)


def _purge(core: "CoreState", words: "List[bytes]") -> "Reply":
    return _with_jobs_aside(core, words, purge_job)


def _with_jobs_aside(core: "CoreState", words: "List[bytes]", order: "Callable[[CoreState, Job], None]") -> "Reply":
    what = words[1].lower() if len(words) > 1 else b""
    if what == b"job" and len(words) == 3:
        if words[2] not in core.aside:
            return JOB_NOT_FOUND
        order(core, core.aside[words[2]])
        return b"OK 1\r\n"
    if what == b"function" and len(words) == 3:
        return _for_all(core, words, core.aside_chain, order,
                        lambda jobs: [job for job in jobs if job.function.name == words[2]])
    if what == b"all" and len(words) == 2:
        return _for_all(core, words, core.aside_chain, order, lambda jobs: jobs)
    return _incomplete(words[0].lower())


def _run(core: "CoreState", words: "List[bytes]") -> bytes:
    if len(words) != 3 or words[1].lower() != b"job":
        return _incomplete(b"run")
    job = core.jobs.get(words[2])
    if job is None:
        return JOB_NOT_FOUND
    return _OK if run_now(core, job) else b"ERR the job does not wait for a date\r\n"


def _pause(core: "CoreState", words: "List[bytes]") -> bytes:
    return _with_function(core, words, pause_function)


def _resume(core: "CoreState", words: "List[bytes]") -> bytes:
    return _with_function(core, words, resume_function)


def _with_function(core: "CoreState", words: "List[bytes]", order: "Callable[[CoreState, Function], None]") -> bytes:
    if len(words) != 3 or words[1].lower() != b"function":
        return _incomplete(words[0].lower())
    function = core.functions.get(words[2])
    if function is None:
        return FUNCTION_NOT_FOUND
    if function in core.dropping:
        return b"ERR the function is being dropped\r\n"
    order(core, function)
    return _OK


def _drain(core: "CoreState", words: "List[bytes]") -> bytes:
    if len(words) > 2 or words[1:] and words[1].lower() not in (b"on", b"off"):
        return _incomplete(b"drain")
    draining = len(words) == 1 or words[1].lower() == b"on"
    if core.stopping and not draining:
        return b"ERR SHUTTING_DOWN The+server+is+stopping\r\n"  # new jobs could put off the stop for ever
    drain(core, draining)
    return _OK


def _shutdown(core: "CoreState", words: "List[bytes]") -> bytes:
    if len(words) > 2 or words[1:] and words[1].lower() != b"graceful":
        return _incomplete(b"shutdown")
    begin_stop(core, graceful=len(words) == 2)
    return _OK


def _result(core: "CoreState", words: "List[bytes]") -> "Reply":
    if len(words) != 2:
        return _incomplete(b"result")
    pieces = story_in_json(core, words[1], b"\n.\n")
    return JOB_NOT_FOUND if pieces is None else pieces


def _show_listing(core: "CoreState", words: "List[bytes]") -> "Reply":
    if len(words) < 2:
        return _unknown_command(b"show")
    what = [word.lower() for word in words[1:]]
    for command, make in _CHOOSERS.items():
        rest = words[1 + len(command):]
        if tuple(what[:len(command)]) == command and len(rest) <= 2 and (not rest or rest[0].isdigit()):
            return _json_listing(make(core, parse_number(rest[0]) if rest else 0, rest[1] if len(rest) == 2 else b""))
    if what == [b"jobs"]:
        return _listing(b"%s\t%d\t0\t%d\n" % (job.handle, job.attempts, job.background)
                        for job in _jobs(core.job_chain))
    if what == [b"unique", b"jobs"]:
        return _listing(job.unique + b"\n" for job in _jobs(core.job_chain))
    if what == [b"aside", b"json"]:
        return _json_listing(job_facts(core, job) for job in _jobs(core.aside_chain))
    if what == [b"aside"]:
        return _listing(b"%s\t%s\t%s\t%d\t%s\n" % (job.handle, job.function.name, job.unique, job.attempts,
                                                   b" ".join(job.error.split())) for job in _jobs(core.aside_chain))
    if what == [b"functions", b"json"]:
        return _functions_in_json(core, _functions(core))
    if what == [b"servers"]:
        return _listing(b"%s\t%s\t%.1f\t%s\n" % (
            server["server"].encode(), server["state"].encode(), server["silent"], (server["adopted_by"] or "-").encode())
            for server in neighbour_facts(core))
    if what == [b"servers", b"json"]:
        return _json_listing(iter(neighbour_facts(core)))
    if what == [b"totals"]:
        return _show_totals(core)
    return b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n"


def _functions_in_json(core: "CoreState", functions: "Iterable[Function]") -> "Iterator[bytes]":
    busy = yield from count_busy(core)
    yield from _json_listing(function_facts(core, function, busy.get(function, 0)) for function in functions)


def _chosen_jobs(core: "CoreState", limit: int, name: bytes) -> "Iterator[Optional[Dict[str, Any]]]":
    return (None if job is None else job_facts(core, job) for job in first_jobs(core, limit, name, lambda job: True))


def _chosen_schedules(core: "CoreState", limit: int, name: bytes) -> "Iterator[Optional[Dict[str, Any]]]":
    return (None if job is None else job_facts(core, job) for job in first_jobs(core, limit, name, is_scheduled))


def _show_totals(core: "CoreState") -> "Iterator[bytes]":
    totals = Totals()
    yield from core.registry.add_up(totals)
    figures = [(name, getattr(totals, name)) for name in totals.__slots__]  # type: List[Tuple[str, int]]
    figures += [("jobs", len(core.jobs)), ("aside", len(core.aside)), ("job_bytes", core.size), ("peers", len(core.peers)),
                ("functions", len(core.functions)), ("uptime", int(core.now - (core.began or 0.0)))]
    figures += sorted(core.counters.items())
    yield from _listing(b"%s\t%d\n" % (name.encode(), figure) for name, figure in figures)


def _json_listing(entries: "Iterable[Optional[Dict[str, Any]]]") -> "Iterator[bytes]":
    return _listing(None if entry is None else encode_facts(entry).encode() + b"\n" for entry in entries)


def _functions(core: "CoreState") -> "Iterator[Function]":
    """The functions that there are now, without those that have gone before their turn."""
    return (function for function in core.registry.all() if core.functions.get(function.name) is function)


def _jobs(chain: "Chain") -> "Iterator[Job]":
    for jobs in chain.walk():
        for job in jobs:
            if job.later is not None:
                yield job


def _listing(lines: "Iterable[Optional[bytes]]") -> "Iterator[bytes]":
    """A listing in pieces; None among its lines ends one."""
    piece = []  # type: List[bytes]
    size = 0
    for line in lines:
        if line is not None:
            piece.append(line)
            size += len(line)
        if line is None or len(piece) >= STEP or size >= _PIECE_SIZE:
            yield b"".join(piece)
            piece, size = [], 0
    piece.append(b".\n")
    yield b"".join(piece)


def _unknown_command(word: bytes) -> bytes:
    return b"ERR UNKNOWN_COMMAND Unknown+server+command" + word + b"\r\n"


def _incomplete(command: bytes) -> bytes:
    return b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+" + command + b"\r\n"


def _forbidden(core: "CoreState", words: "List[bytes]") -> bytes:
    return b"ERR PERMISSION_DENIED This+connection+may+not+do+that\r\n"


# Listings that may be followed by a limit, 0 for none, and the name of a function.
_CHOOSERS = {(b"jobs", b"json"): _chosen_jobs, (b"schedules",): _chosen_schedules, (b"history",): last_ends}
_TEXT_COMMANDS = {
    b"status": (ADMIN, _status), b"prioritystatus": (ADMIN, _priority_status), b"workers": (ADMIN, _workers),
    b"version": (ADMIN, _version), b"getpid": (ADMIN, _getpid), b"verbose": (ADMIN, _verbose), b"show": (ADMIN, _show_listing),
    b"result": (ADMIN, _result),
    b"maxqueue": (STEER, _maxqueue), b"create": (STEER, _create), b"drop": (STEER, _drop), b"cancel": (STEER, _cancel),
    b"pause": (STEER, _pause), b"resume": (STEER, _resume), b"drain": (STEER, _drain), b"requeue": (STEER, _requeue),
    b"purge": (STEER, _purge), b"run": (STEER, _run), b"shutdown": (STEER, _shutdown),
}  # type: Dict[bytes, Tuple[str, TextCommand]] # by its first word: the right that a command takes, and what answers it
_HTTP_METHODS_ELSEWHERE = frozenset((
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"))

"""How background jobs ended, and their results: kept if the function's policy says so, within its limits of time and bytes.

What is kept of a job is its KeepRecord, the same that a store has.  A recurring job keeps its handle: the end of its last run
replaces the one before.
"""
from binascii import b2a_base64

from ..wire.protocol import (ERROR, JOB_CREATED, STATUS_RES, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL,
                             pack_response, response_head)
from .facts import encode_facts, ended_facts, job_facts, kept_facts
from .jobs import RUNNING, SET_ASIDE
from .kept import KEPT_SIZE
from .ledger import KEEP, KeepRecord
from .rights import ADMIN
from .statistics import END_COMPLETED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple
    from ..wire.protocol import Data
    from .jobs import Job
    from .peers import Peer
    from .state import CoreState

_ENCODED_AT_ONCE = 49152  # bytes; a multiple of three, so that base64 needs no padding in the middle


def collect(job: "Job", data: "Data") -> None:
    """Collect a piece of data from the worker of a job whose result is to be kept, as long as there is room."""
    if job.collected is None:
        job.collected = bytearray()
    if job.collected is not False:
        job.collected += data
        if len(job.collected) > job.function.policy.keep_bytes:
            job.collected = False


def keep_end(core: "CoreState", job: "Job", outcome: str, ran: float, text: "Data" = b"", result: "Data" = b"") -> None:
    """A background job, or one run of a recurring job, has ended after `ran` seconds: keep that if the policy says so."""
    policy = job.function.policy
    if not policy.keep or not job.background:
        return
    collected, job.collected = job.collected, None
    data = None if collected is False else bytes(collected or b"")
    kept = bytes(result)  # type: Optional[bytes]
    why = bytes(text)
    size = KEPT_SIZE + len(why) + len(data or b"") + len(result)
    most = min(policy.keep_bytes, core.limits.kept_bytes or policy.keep_bytes)
    if data is None or size > most:
        why = why[:1024] or b"the result is larger than the %d bytes that are kept" % most
        data = kept = None
    record = KeepRecord(KEEP, job.handle, job.function.name, job.unique, outcome, core.wall, job.waited, ran, job.attempts, why,
                        data, kept)
    core.ledger.keep(record)
    core.results.keep(record, policy, core.now + policy.keep)
    if core.results.crowded:
        core.turns.finish(_make_room(core))


def _make_room(core: "CoreState") -> "Iterator[bytes]":
    """Drop the oldest of what is kept as long as it is too much."""
    while True:
        for handle in core.results.make_room():
            core.ledger.forget(handle)
        if not core.results.crowded:
            return
        yield b""


def restore_end(core: "CoreState", record: KeepRecord) -> None:
    """Take in how a job ended from the store, in the order of the store."""
    policy = core.registry.policy_of(record.function)
    left = policy.keep - max(0.0, core.wall - record.ended)  # the clock may have been set back
    if left <= 0:
        core.ledger.forget(record.handle)
        return
    core.results.keep(record, policy, core.now + left)
    if core.results.crowded:
        core.turns.finish(_make_room(core))


def forget_overdue(core: "CoreState") -> "Iterator[bytes]":
    """Drop what was kept for long enough."""
    while True:
        gone = core.results.pop_overdue(core.now)
        for handle in gone:
            core.ledger.forget(handle)
        if not core.results.overdue(core.now):
            return
        yield b""


def find_story(core: "CoreState", handle: bytes) -> "Optional[Dict[str, Any]]":
    """All about a job that waits, runs, was set aside or has ended; None if it is not known.  `keep` is for how long its end is
    kept; `end` is how it, or the last run of a recurring job, ended, without data and result."""
    job = core.jobs.get(handle) or core.aside.get(handle)
    kept = core.results.find(handle, core.now)
    if job is None and kept is None:
        return None
    if job is not None:
        facts, policy = job_facts(core, job), job.function.policy
    else:
        assert kept is not None
        facts, policy = ended_facts(kept), core.registry.policy_of(kept.function)
    facts["keep"] = policy.keep or None
    facts["end"] = kept_facts(core, kept) if kept is not None else None
    return facts


def story_in_json(core: "CoreState", handle: bytes, tail: bytes) -> "Optional[Iterator[bytes]]":
    """The same as JSON, in pieces, with the job's `data` and `result` in base64, or null if they were too large; then `tail`.
    """
    story = find_story(core, handle)
    if story is None:
        return None
    return _json_pieces(story, core.results.find(handle, core.now), tail)


def _json_pieces(story: "Dict[str, Any]", kept: "Optional[KeepRecord]", tail: bytes) -> "Iterator[bytes]":
    text = encode_facts(story).encode()
    if kept is not None:
        assert text.endswith(b"}}"), text  # because `end` is the last key
        text = text[:-2]
        for name, given in (("data", kept.data), ("result", kept.result)):
            whole = given or b""  # type: Any
            text += b', "%b": ' % name.encode() + (b"null" if given is None else b'"')
            for start in range(0, len(whole), _ENCODED_AT_ONCE):
                yield text + b2a_base64(whole[start:start + _ENCODED_AT_ONCE], newline=False)
                text = b""
            text += b"" if given is None else b'"'
        text += b"}}"
    yield text + tail


def replay(core: "CoreState", peer: "Peer", handle: bytes) -> "Iterator[Data]":
    """The packets that a client waiting for a job would have got, or a STATUS_RES if the job has not ended."""
    if ADMIN not in peer.rights:
        yield pack_response(ERROR, b"FORBIDDEN", b"This connection may not ask that")
        return
    story = find_story(core, handle)
    if story is None or not story["keep"]:
        yield pack_response(ERROR, b"404", b"It is not known how that job ended")
        return
    kept = core.results.find(handle, core.now)
    if kept is None and story["state"] != SET_ASIDE:
        numerator, denominator = story["progress"] or (0, 0)
        yield pack_response(STATUS_RES, handle, b"1", b"1" if story["state"] == RUNNING else b"0", b"%d" % numerator,
                            b"%d" % denominator)
        return
    yield pack_response(JOB_CREATED, handle)
    if kept is None:
        yield pack_response(WORK_EXCEPTION, handle, core.aside[handle].error)
        return
    if kept.result is None and kept.outcome == END_COMPLETED:
        yield pack_response(ERROR, b"404", kept.text)
        return
    last, given = (WORK_COMPLETE, kept.result) if kept.outcome == END_COMPLETED else (WORK_EXCEPTION, kept.text)
    parts = [(WORK_DATA, kept.data), (last, given)]  # type: List[Tuple[int, Any]]
    for packet_type, data in parts:
        if data or packet_type == WORK_COMPLETE:
            yield response_head(packet_type, len(data), handle)
            yield data
    if last == WORK_EXCEPTION and not given:
        yield pack_response(WORK_FAIL, handle)

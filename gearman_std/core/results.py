"""How background jobs ended, and their results: kept where the function's policy says so, for so long and so many bytes.

What is kept of a job is its KeepRecord, the same that a store has of it.  A new end of the same handle, as of a job that
recurs, takes the place of the last.
"""
from binascii import b2a_base64
from collections import OrderedDict
from json import JSONEncoder

from ..timers import Timers
from ..wire.protocol import (ERROR, JOB_CREATED, STATUS_RES, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL,
                             pack_response, response_head)
from .facts import ended_facts, job_facts, kept_facts
from .jobs import RUNNING, SET_ASIDE
from .ledger import KEEP, KeepRecord
from .rights import ADMIN
from .statistics import END_COMPLETED
from .turns import STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional
    from ..wire.protocol import Data
    from .jobs import FunctionPolicy, Job
    from .peers import Peer
    from .state import CoreState

KEPT_SIZE = 500        # bytes that one takes up besides what is in it, about
_ENCODED_AT_ONCE = 49152  # bytes, of which base64 makes a whole number of letters

_encode_json = JSONEncoder(check_circular=False).encode


class Results:
    """What is kept of jobs that have ended, `most` bytes at most, of which 0 is no limit; the oldest goes first.

    Owner: the Core.
    """

    __slots__ = ("size", "_most", "_all", "_shelves", "_timers")

    def __init__(self, most: int) -> None:
        self.size = 0      # bytes, about
        self._most = most
        self._all = OrderedDict()  # type: OrderedDict[bytes, Any] # by handle, the oldest first: record and timer
        self._shelves = {}         # type: Dict[bytes, _Shelf] # by function
        self._timers = Timers()    # of handles, by `now`

    def __repr__(self) -> str:
        return "<Results of %d jobs, %d bytes>" % (len(self._all), self.size)

    def __len__(self) -> int:
        return len(self._all)

    def find(self, handle: bytes, now: float) -> "Optional[KeepRecord]":
        """What is kept of a job."""
        record, timer = self._all.get(handle, (None, None))
        return record if timer is not None and timer[0] > now else None

    def records(self) -> "List[KeepRecord]":
        """All that is kept, in the order in which to keep it again."""
        return [record for record, _ in self._all.values()]

    def keep(self, record: KeepRecord, policy: "FunctionPolicy", now: float, until: float) -> "List[bytes]":
        """Keep how a job ended until a time; return the handles of those that are not kept any longer for it."""
        self.forget(record.handle)
        shelf = self._shelves.get(record.function)
        if shelf is None:
            shelf = self._shelves[record.function] = _Shelf()
        size = kept_size(record)
        self._all[record.handle] = record, self._timers.add(until, record.handle)
        shelf.handles[record.handle] = size
        shelf.size += size
        self.size += size
        gone = []  # type: List[bytes]
        while shelf.size > policy.keep_bytes:
            gone.append(next(iter(shelf.handles)))
            self.forget(gone[-1])
        while 0 < self._most < self.size:
            gone.append(next(iter(self._all)))
            self.forget(gone[-1])
        return gone

    def forget(self, handle: bytes) -> None:
        """Keep no longer what is kept of a job."""
        record, timer = self._all.pop(handle, (None, None))
        if record is None:
            return
        if timer[2] is not None:
            self._timers.cancel(timer)
        shelf = self._shelves[record.function]
        size = shelf.handles.pop(handle)
        shelf.size -= size
        self.size -= size
        if not shelf.handles:
            del self._shelves[record.function]

    def overdue(self, now: float) -> bool:
        """Whether the time of something is over."""
        when = self._timers.next_time()
        return when is not None and when <= now

    def pop_overdue(self, now: float) -> "List[bytes]":
        """Keep no longer some of those whose time is over; return their handles."""
        gone = []  # type: List[bytes]
        while len(gone) < STEP:
            handle = self._timers.pop_due(now)
            if handle is None:
                break
            self._all[handle][1][2] = None  # its timer is no longer set
            self.forget(handle)
            gone.append(handle)
        return gone


class _Shelf:
    """What is kept of the jobs of one function: the size of each by its handle, the oldest first.

    Owner: the Results.
    """

    __slots__ = ("handles", "size")

    def __init__(self) -> None:
        self.handles = OrderedDict()  # type: OrderedDict[bytes, int]
        self.size = 0

    def __repr__(self) -> str:
        return "<_Shelf of %d jobs, %d bytes>" % (len(self.handles), self.size)


def kept_size(record: KeepRecord) -> int:
    """The bytes that it takes up to keep how a job ended, about."""
    return KEPT_SIZE + len(record.text) + len(record.data or b"") + len(record.result or b"")


def collect(job: "Job", data: "Data") -> None:
    """A piece of data comes from the worker of a job that is to be kept, as long as there is room."""
    if job.collected is None:
        job.collected = bytearray()
    if job.collected is not False:
        job.collected += data
        if len(job.collected) > job.function.policy.keep_bytes:
            job.collected = False


def keep_end(core: "CoreState", job: "Job", outcome: str, ran: float, text: "Data" = b"", result: "Data" = b"") -> None:
    """A background job has ended, after it ran for so many seconds, or one of its runs: keep that if its policy says so."""
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
    for handle in core.results.keep(record, policy, core.now, core.now + policy.keep):
        core.ledger.forget(handle)


def restore_end(core: "CoreState", record: KeepRecord) -> None:
    """Take in from the store how a job ended, in the order of the store."""
    policy = core.registry.policy_of(record.function)
    left = policy.keep - max(0.0, core.wall - record.ended)  # the clock may have been set back
    gone = [record.handle] if left <= 0 else core.results.keep(record, policy, core.now, core.now + left)
    for handle in gone:
        core.ledger.forget(handle)


def forget_overdue(core: "CoreState") -> "Iterator[bytes]":
    """Keep no longer what was kept for long enough."""
    while True:
        gone = core.results.pop_overdue(core.now)
        for handle in gone:
            core.ledger.forget(handle)
        if not core.results.overdue(core.now):
            return
        yield b""


def find_story(core: "CoreState", handle: bytes) -> "Optional[Dict[str, Any]]":
    """All about a job, whether it is to run, runs or has ended, None if it is not known; `keep` says for how long after its end
    that is kept, `end` how it, or the last run of one that recurs, has ended, but for what it has given."""
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
    """The same as JSON, in pieces, with what the job has given: `data` and `result` in base64, null if that was too large; and
    what is to come after it."""
    story = find_story(core, handle)
    if story is None:
        return None
    return _json_pieces(story, core.results.find(handle, core.now), tail)


def _json_pieces(story: "Dict[str, Any]", kept: "Optional[KeepRecord]", tail: bytes) -> "Iterator[bytes]":
    text = _encode_json(story).encode()
    if kept is not None:
        assert text.endswith(b"}}"), text  # as the end is what comes last
        text = text[:-2]
        for name, given in (("data", kept.data), ("result", kept.result)):
            text += b', "%b": ' % name.encode() + (b"null" if given is None else b'"')
            for start in range(0, len(given or b""), _ENCODED_AT_ONCE):
                yield text + b2a_base64(given[start:start + _ENCODED_AT_ONCE], newline=False)
                text = b""
            text += b"" if given is None else b'"'
        text += b"}}"
    yield text + tail


def replay(core: "CoreState", peer: "Peer", handle: bytes) -> "Iterator[Data]":
    """The packets that who waited for a job would have got, or a STATUS_RES if it has not ended."""
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
    for packet_type, data in ((WORK_DATA, kept.data), (last, given)):
        if data or packet_type == WORK_COMPLETE:
            yield response_head(packet_type, len(data), handle)
            yield data
    if last == WORK_EXCEPTION and not given:
        yield pack_response(WORK_FAIL, handle)

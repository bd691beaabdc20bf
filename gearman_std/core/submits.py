"""What a submit does: it is refused, or it joins or changes an equal job, or it makes a new one."""
from ..wire.protocol import JOB_CREATED, MAX_UNIQUE_SIZE, pack_response
from .jobs import DELAYED, HELD, JOIN, REJECT, REPLACE, RERUN, RUNNING, STORING, WAITING, Job
from .limits import DRAINING, QUEUE_FULL, TOO_LARGE_TO_STORE, TOO_MANY_FUNCTIONS, TOO_MUCH_UNSTORED, tell_refusal
from .tables import LARGE_TABLE, in_parts
from .transitions import delay_again, place, put_behind, recur
from .uniques import unique_key
from .watchers import watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional, Tuple
    from ..schedule import Schedule
    from ..wire.protocol import Data
    from .jobs import Function
    from .peers import Peer
    from .state import CoreState

# The head of JOB_CREATED for each size of handle (benchmark: background submit).
_CREATED_HEADS = tuple(pack_response(JOB_CREATED, b" " * size)[:12] for size in range(128))


def submit(core: "CoreState", peer: "Peer", name: bytes, unique: bytes, workload: "Data", priority: int, background: bool,
           due: float = 0.0, reducer: "Optional[bytes]" = None, schedule: "Optional[Schedule]" = None) -> None:
    """A peer submits a job."""
    function = core.functions.get(name)
    if function is None:
        room = core.registry.make_room_for(name)
        if room is None:
            _find_room(core, peer, name, unique, workload, priority, background, due, reducer, schedule)
            return
        if not room:
            core.registry.refuse()
            tell_refusal(core.counters, peer, TOO_MANY_FUNCTIONS)
            return
        function = core.add_function(name)
    predecessor = None
    if unique:
        if len(unique) > MAX_UNIQUE_SIZE:
            peer.error(b"ARGUMENT_TOO_LARGE", b"Unique value too large")
            return
        if unique == b"-":
            workload = bytes(workload)
        predecessor = function.uniques.get(unique_key(unique, workload))
        if predecessor is not None:
            action, job = _choose(predecessor, schedule)
            if action != RERUN:
                if job is not predecessor and predecessor.schedule is not None:
                    schedule = None  # two recurring jobs would both recur for ever
                _coalesce(core, peer, action, job, workload, priority, background, due, schedule)
                return
    size = len(workload)
    if core.limits.bounds_jobs or core.draining or core.store_trouble or function.max_queue is not None:
        reason = _refusal(core, function, priority, size, background)
        if reason:
            _refuse(core, peer, function, reason)
            return
    if background and core.ledger.durable:
        if core.ledger.most_bytes and core.ledger.is_too_large(name, unique, workload, reducer):
            _refuse(core, peer, function, TOO_LARGE_TO_STORE)
            return
        if core.ledger.is_full(size):
            _refuse(core, peer, function, TOO_MUCH_UNSTORED)
            return
    handles = core.handles
    handle = next(handles.round, b"") or handles.next_round()
    job = Job(handle, function, unique, workload, priority, background, core.now)
    if due:
        job.due = due
        if schedule is not None:
            recur(core, job, schedule)
    if reducer is not None:
        job.reducer = reducer
    core.jobs[handle] = job
    # What `job_chain.add` does (benchmark: every submit).
    later = core.job_chain.end
    job.later = later
    job.earlier = earlier = later.earlier
    earlier.later = later.earlier = job
    core.size += size
    if function.noted != core.second:
        core.statistics.note(function, core.second, core.now)
    function.admit(job)
    if predecessor is not None:
        predecessor.successor = job
    elif unique:
        core.uniques.add(job)
    ledger = core.ledger
    if not background:
        job.watchers = (peer,)
        # What `watch` does with a new job (benchmark: every round trip).
        watching = peer.watching
        watching[job] = 1
        if watching.__class__ is dict and len(watching) >= LARGE_TABLE:
            peer.watching = in_parts(watching)
        if ledger.first_storing:
            ledger.put_behind(job, core.number)
            ledger.foreground += 1
    elif ledger.durable:
        function.store(job)
        if not ledger.first_gathered:
            ledger.note_first(core.number)
        ledger.add(job, core.now, core.wall)
        ledger.promise(peer, _CREATED_HEADS[len(handle)] + handle)
        return
    if due or predecessor is not None:
        place(core, job)
    else:
        function.push(job)
        core.roster.wake(function, core.now)
    # What `Peer.send` does (benchmark: every submit).
    outgoing = peer.outgoing
    if not outgoing:
        core.unsent.append(peer)
    outgoing.append(_CREATED_HEADS[len(handle)] + handle)


def _find_room(core: "CoreState", peer: "Peer", name: bytes, *others: "Any") -> None:
    """Look in steps for room for the function of a submit, which then goes on."""
    core.turns.undertake(peer, core.registry.find_room_for(name, lambda: submit(core, peer, name, *others)), lasts=False)


def _refusal(core: "CoreState", function: "Function", priority: int, size: int, background: bool) -> bytes:
    """Why a new job cannot be taken, or nothing."""
    if function.max_queue is not None and 0 < function.max_queue[priority] <= function.total:
        return QUEUE_FULL
    if core.draining:
        return DRAINING
    if background and core.store_trouble:
        return core.store_trouble
    return core.limits.job_refusal(function, len(core.jobs) + len(core.aside), core.size, size)


def _refuse(core: "CoreState", peer: "Peer", function: "Function", reason: bytes, code: bytes = b"QUEUE_ERROR") -> None:
    function.count("refused")
    tell_refusal(core.counters, peer, reason, code)


def _choose(job: "Job", schedule: "Optional[Schedule]") -> "Tuple[str, Job]":
    """What a submit does when there is a job with its function and unique, and with which job.

    REJECT: it is refused.  JOIN: it waits for the end of that job.  REPLACE: it also gives that job its workload.  RERUN: it
    makes a new job, the successor, which runs when that job has ended.
    """
    coalescing = job.function.policy.coalescing
    if coalescing == RERUN:
        if job.successor is not None:
            return REPLACE, job.successor
        if job.state is not RUNNING or schedule is not None and job.schedule is not None:
            return JOIN, job  # two recurring jobs would both recur for ever
        return RERUN, job
    if coalescing == REPLACE and job.state is RUNNING:
        return JOIN, job
    return coalescing, job


def _coalesce(core: "CoreState", peer: "Peer", action: str, job: "Job", workload: "Data", priority: int, background: bool,
              due: float, schedule: "Optional[Schedule]") -> None:
    """Do what `_choose` has chosen with a job, unless there is a reason to refuse."""
    function, ledger = job.function, core.ledger
    if action == REJECT:
        _refuse(core, peer, function, b"A job with this unique exists: " + job.handle, b"JOB_EXISTS")
        return
    recurs = schedule is not None and (job.schedule is None or function.policy.coalescing == REPLACE)
    records = not job.background or action == REPLACE or recurs or priority < job.priority or ledger.refuses(job)
    if background and core.store_trouble and records:
        _refuse(core, peer, function, core.store_trouble)
        return
    if ledger.durable and (background and (records or ledger.stores(job)) and ledger.is_crowded
                           or action == REPLACE and (background or job.background) and ledger.is_full(len(workload))):
        _refuse(core, peer, function, TOO_MUCH_UNSTORED)
        return
    if (background or job.background) and core.ledger.is_too_large(
            function.name, job.unique, workload if action == REPLACE else job.workload, job.reducer):
        _refuse(core, peer, function, TOO_LARGE_TO_STORE)
        return
    if action == REPLACE:
        reason = core.limits.bytes_refusal(function, core.size, len(workload) - len(job.workload))
        if reason:
            _refuse(core, peer, function, reason)
            return
    recorded = len(ledger.records)
    if action == REPLACE:
        _replace_workload(core, job, workload)
    function.join(job)
    if priority < job.priority:
        _raise_priority(core, job, priority)
    if schedule is not None and recurs:
        _reschedule(core, job, due, schedule)
    if not background:
        watch(peer, job)
    elif not job.background:
        job.background = True
        if ledger.durable:
            ledger.add(job, core.now, core.wall)
    reply = _CREATED_HEADS[len(job.handle)] + job.handle
    if background and (len(ledger.records) > recorded or ledger.stores(job)):
        ledger.promise(peer, reply)
    else:
        peer.send(reply)


def _replace_workload(core: "CoreState", job: "Job", workload: "Data") -> None:
    core.size += len(workload) - len(job.workload)
    job.function.replace_workload(job, workload)
    if job in core.ledger.storing:
        core.ledger.add_again(job, core.now, core.wall)
    else:
        core.ledger.change(job, "workload", workload)


def _reschedule(core: "CoreState", job: "Job", due: float, schedule: "Schedule") -> None:
    """Let a job recur after its end.  If it waits for its next time, that is now the new schedule's, at which it also comes if
    it waits for a date that is later.
    """
    waits = bool(job.due) and not job.attempts and job.state in (STORING, HELD, DELAYED)
    if job.schedule is None:
        due = min(due, job.due)
    recur(core, job, schedule)
    if waits and job.state is not DELAYED:
        job.due = due
    if job in core.ledger.storing:
        core.ledger.add_again(job, core.now, core.wall)
    else:
        core.ledger.change(job, "schedule", schedule.text)
    if waits and job.state is not DELAYED:
        core.ledger.update(job, core.wall)
    elif waits and due != job.due:
        delay_again(core, job, due)


def _raise_priority(core: "CoreState", job: "Job", priority: int) -> None:
    core.ledger.change(job, "priority", priority)
    if job.state is WAITING:
        job.function.release(job)
        job.priority = priority
        job.function.push(job)
        put_behind(core, job)
    else:
        job.function.reprioritize(job, priority)

"""One attempt at a job: a worker gets it, and completes, fails or loses it; whether the job is tried again is decided here."""
from ..wire.protocol import parse_number
from .jobs import NO_WATCHERS
from .peers import ASLEEP, AWAKE, WOKEN
from .results import keep_end
from .statistics import END_COMPLETED, END_FAILED, END_LOST, MAX_TEXT_SIZE
from .tables import LARGE_TABLE, in_layers
from .transitions import end_job, enqueue, forget_job, give_up, put_behind, retry_after, set_job_aside, strike_off, take_out
from .turns import MANY
from .watchers import tell_failure, unwatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional
    from ..wire.protocol import Data
    from .jobs import Job
    from .peers import Peer
    from .state import CoreState


def joins_in_turns(core: "CoreState", peer: "Peer", packet_type: int) -> bool:
    """Whether a peer has so many abilities that it joins its ability set in several turns; the packet is then put off."""
    if len(peer.abilities) <= MANY:
        return False
    core.turns.undertake(peer, core.roster.join_in_steps(peer), lasts=True, then=[(packet_type, ())])
    return True


def assign(core: "CoreState", peer: "Peer") -> "Optional[Job]":
    """Give a peer the next job that it can do."""
    roster = core.roster
    ability_set = peer.ability_set or roster.join(peer)
    if peer.sleep:
        if peer.sleep == ASLEEP:
            ability_set.sleepers.pop(peer, None)
        peer.sleep = AWAKE
    job = ability_set.take(peer) if roster.handing_out else None
    if job is None:
        return None
    running = peer.running
    running[job.handle] = job
    if len(running) >= LARGE_TABLE:
        peer.running = in_layers(running)
    now = core.now
    job.waited = now - job.since
    job.since = now
    if peer.time_limits:
        time_limit = peer.time_limits.get(job.function)
        if time_limit is not None:
            job.timer = core.time_limits.add(now + time_limit, job)
    if job.background and core.ledger.shared:
        core.ledger.prove(peer)
    return job


def push_job(core: "CoreState", peer: "Peer") -> None:
    """Give a peer that said ALL_YOURS the job for which it was woken."""
    if peer.sleep == WOKEN and not (peer.closing or peer.ended):
        job = assign(core, peer)
        if job is not None:
            peer.hand_over(job, peer.all_yours)
        else:
            core.roster.fall_asleep(peer)


def finish(core: "CoreState", worker: "Peer", job: "Job") -> None:
    """A worker has completed its job."""
    function = job.function
    # What `note_end` and `take_out` do (benchmark: every job).
    if function.noted != core.second:
        core.statistics.note(function, core.second, core.now)
    note_success = function.note_success  # an attribute, which CPython 3.11 is slow to call as a method
    note_success((
        job.handle, job.unique, END_COMPLETED, core.wall, job.waited, core.now - job.since, worker.identity, b""))
    worker.completed += 1
    del worker.running[job.handle]
    if job.timer is not None:
        core.time_limits.cancel(job.timer)
        job.timer = None
    if job.extras.schedule is not None:
        function.stop(job)
        function.count("completed")
        end_job(core, job)
        return
    # What `end_job` and `unwatch` do (benchmark: every job).
    if job.watchers:
        for peer in job.watchers:
            peer.watching.pop(job, None)
        job.watchers = NO_WATCHERS
    function.complete(job)
    strike_off(core, job)


def attempt_failed(core: "CoreState", job: "Job", error: bytes, exception: "Optional[Data]", handle: bytes) -> None:
    """A worker failed a job: a background job is tried again if its policy says so; every other job ends.

    `handle` is as the worker wrote it; it may end with a NUL.
    """
    job.worker.failed += 1
    note_end(core, job, END_FAILED, error)
    take_out(core, job)
    policy = job.function.policy
    if job.background and policy.attempts > 1:
        job.attempts += 1
        if job.attempts < policy.attempts:
            job.collected = None
            job.error = error
            jitter = (parse_number(job.handle.rpartition(b":")[2]) + job.attempts) * 2654435761 % 1000 / 1000.0
            retry_after(core, job, policy.delay(job.attempts, jitter))
            put_behind(core, job)
            job.function.count("requeued")
            return
    tell_failure(core.ledger, core.turns, job, exception, handle)
    job.function.count("failed")
    if job.background and policy.attempts > 1:
        unwatch(job)
        set_job_aside(core, job, error)
    else:
        keep_end(core, job, END_FAILED, core.now - job.since, b"" if exception is None else exception)
        end_job(core, job)


def may_be_unsent(core: "CoreState", job: "Job") -> bool:
    """Whether the worker of a running job may not have been sent it yet: something for it waits for the store's proof."""
    return core.ledger.shared and job.background and bool(job.worker.holds)


def attempt_lost(core: "CoreState", job: "Job", error: bytes) -> None:
    """A running job did not end: try it again, unless that has happened too often or nobody waits for it any longer."""
    counts = not may_be_unsent(core, job)
    job.function.count("lost")
    note_end(core, job, END_LOST, error)
    take_out(core, job)
    job.attempts += counts
    if not job.background and not job.watchers:
        forget_job(core, job)
        return
    job.collected = None
    retries = job.function.policy.retries
    if retries and job.attempts >= retries:
        give_up(core, job, error)
        return
    job.error = error
    job.function.count("requeued")
    enqueue(core, job)
    put_behind(core, job)


def note_end(core: "CoreState", job: "Job", outcome: str, text: bytes = b"") -> None:
    """Remember how an attempt ended: of a job that still runs, or of one that does not run."""
    function, worker = job.function, job.worker
    if function.noted != core.second:
        core.statistics.note(function, core.second, core.now)
    if worker is not None and not worker.gone and outcome is not END_FAILED:  # it may not know that, and may end the job yet
        worker.lose(job)
    statistics = function.statistics
    if statistics is not None:
        statistics.note_other((
            job.handle, job.unique, outcome, core.wall, job.waited, core.now - job.since if worker is not None else 0.0,
            worker.identity if worker is not None else None, text[:MAX_TEXT_SIZE]))

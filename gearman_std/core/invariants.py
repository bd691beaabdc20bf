"""What must hold of a Core after every step."""
from collections import Counter

from .jobs import COUNTERS, DELAYED, GONE, HELD, NO_URGENCY, PRIORITY_CLASSES, RUNNING, SET_ASIDE, STORING, WAITING
from .peers import ASLEEP
from .uniques import predecessor_of, unique_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List
    from .jobs import Function, Job
    from .peers import Peer
    from .state import CoreState


def check_core(core: "CoreState") -> None:
    """Assert every invariant; for tests, as it looks at everything."""
    waiting = []  # type: List[Job]
    for function in core.functions.values():
        waiting += _check_function(core, function)
    assert len(waiting) == len(set(waiting)) == sum(job.state is WAITING for job in core.jobs.values())
    for job in core.jobs.values():
        assert job.state in COUNTERS and job.state is not SET_ASIDE, job
        assert job.state is STORING or (job.state is HELD) == (predecessor_of(job) is not None), job
        assert (job.timer is not None) == (job.state is DELAYED) or job.state is RUNNING, job
        assert (job.state is RUNNING) == (job.worker is not None), job
        assert core.functions.get(job.function.name) is job.function, job
        assert job.state is RUNNING or job.background or job.watchers, job
        assert all(watcher.gone or job in watcher.watching for watcher in job.watchers), job
        assert isinstance(job.watchers, tuple) and len(job.watchers) < 2 or isinstance(job.watchers, dict) and job.watchers, job
        assert job.joins or sum(watcher.watching.get(job, 1) for watcher in job.watchers) < (1 if job.background else 2), job
        assert job.state is not RUNNING or core.turns.chores or job.worker.errand_lasts or (
            job.worker.running.get(job.handle) is job), job
    for peer in core.peers:
        assert not peer.gone and all(count > 0 and (
            peer in job.watchers or job.state in (GONE, SET_ASIDE) and core.turns.chores)
            for job, count in peer.watching.items()), peer
        assert all(job.worker is peer and job.state is RUNNING for job in peer.running.values()), peer
        assert all(function.name in peer.abilities for function in peer.time_limits), peer
        assert peer.sleep != ASLEEP or peer in core.roster.changed or (
            peer.ability_set is not None and peer in peer.ability_set.sleepers), peer
        assert peer.unsent is core.unsent and (not peer.outgoing or peer.parked or peer in core.unsent), peer
        assert not peer.put_off or peer.holds, peer
        _check_holds(core, peer)
    ability_sets = Counter(peer.ability_set for peer in core.peers if peer.ability_set is not None)
    for ability_set, members in ability_sets.items():
        assert ability_set.members == members, ability_set
        assert all(peer.sleep == ASLEEP and peer in core.peers for peer in ability_set.sleepers), ability_set
        assert all((ability_set in function.ability_sets) != (function.crowd in ability_set.crowds)
                   for function in ability_set.functions), ability_set
        assert all(crowd.function in ability_set.functions and crowd is crowd.function.crowd
                   and (ability_set in crowd.asleep or not ability_set.sleepers) for crowd in ability_set.crowds), ability_set
        assert ability_set.key is None or core.roster.ability_sets[ability_set.key] is ability_set, ability_set
    assert all(ability_set in ability_sets for ability_set in core.roster.ability_sets.values())
    for peer in core.peers:
        assert peer.ability_set is None or peer.abilities.keys() == {
            function.name for function in peer.ability_set.functions}, peer
    assert all(job.state is SET_ASIDE and job.background for job in core.aside.values())
    assert set(core.recurring) == {job for job in core.jobs.values() if job.schedule is not None}, core.recurring
    for chain, jobs in ((core.job_chain, core.jobs), (core.aside_chain, core.aside)):
        in_chain = [job for some in chain.walk() for job in some]
        assert len(in_chain) == len(jobs) and set(in_chain) == set(jobs.values()), chain
    for name, function in core.registry.dropped.items():
        assert name not in core.functions and function.aside and not function.total and not function.ability_sets, function
    assert len(core.time_limits) == sum(job.timer is not None and job.state is RUNNING for job in core.jobs.values())
    for retries, timers in ((False, core.delayed), (True, core.retries)):
        assert len(timers) == sum(job.timer is not None and job.state is DELAYED and bool(job.attempts) == retries
                                  for job in core.jobs.values()), timers
    registry = core.registry
    assert registry.name_size == sum(map(len, core.functions)), registry
    assert all(core.functions.get(function.name) is function for function in registry.unused), registry.unused
    everything = list(core.jobs.values()) + list(core.aside.values())
    assert core.size == sum(len(job.workload) for job in everything)
    assert len(core.unsent) == len(set(core.unsent))


def _check_holds(core: "CoreState", peer: "Peer") -> None:
    """A peer's output waits for batches of the store in their order, and the batch that it waits for knows the peer."""
    numbers = [number for number, _ in peer.holds]
    places = [place for _, place in peer.holds]
    assert numbers == sorted(set(numbers)) and places == sorted(places), peer
    assert all(0 <= place <= len(peer.outgoing) for place in places), peer
    ledger = core.ledger
    holding = {ledger.batch: ledger.holding}
    if ledger.under_way is not None:
        holding[ledger.under_way.number] = ledger.under_way.holding
    for batch in ledger.refusal.batches if ledger.refusal is not None else ():
        holding[batch.number] = batch.holding
    assert all(any(number <= later and peer in held for later, held in holding.items()) for number in numbers), peer


def _check_function(core: "CoreState", function: "Function") -> "List[Job]":
    jobs = list(function.jobs_waiting())
    for priority, end in enumerate(function.queues):
        ahead = end  # type: Any
        link = end.behind
        while link is not end:
            assert link.ahead is ahead and link.state is WAITING and link.priority == priority, link
            link, ahead = link.behind, link
        assert end.ahead is ahead, function
        assert function.waiting[priority] == sum(job.priority == priority for job in jobs), function
        for ability_set in function.ability_sets:
            assert (function in ability_set.ready[priority]) == bool(
                function.waiting[priority] and not function.paused), (function, ability_set)
    crowd = function.crowd
    if crowd is not None:
        assert crowd.urgency == (NO_URGENCY if function.paused else function.urgency()), crowd
        assert all(crowd in ability_set.crowds for ability_set in crowd.asleep), crowd
    mine = [job for job in core.jobs.values() if job.function is function]
    aside = [job for job in core.aside.values() if job.function is function]
    counted = Counter((COUNTERS[job.state], job.priority) for job in mine + aside)
    for counter in set(COUNTERS.values()):
        by_priority = [counted[counter, priority] for priority in PRIORITY_CLASSES]
        assert getattr(function, counter) in (by_priority, sum(by_priority)), (function, counter)
    assert function.size == sum(len(job.workload) for job in mine + aside), function
    assert function.in_use or function in core.registry.unused, function
    abilities = [peer.abilities for peer in core.peers] + core.roster.leaving
    assert function.workers == sum(names.get(function.name, 0) for names in abilities), function
    assert all(function in ability_set.functions for ability_set in function.ability_sets), function
    assert all(unique_key(job.unique, job.workload) == key and job.state not in (GONE, SET_ASIDE)
               for key, job in function.uniques.items()), function
    assert sum(one is function for _, one in core.roster.escalations) == bool(function.escalating), function
    if jobs and not function.paused and core.roster.handing_out:
        _check_wake_up(core, function)
    return jobs


def _check_wake_up(core: "CoreState", function: "Function") -> None:
    """If a job waits, no peer that can do it sleeps, or more are woken soon or in turns; with a fixed `wakeup`, some are awake,
    or one leaves, and when its abilities are unregistered, another is woken."""
    able = [peer for peer in core.peers if function.name in peer.abilities]
    if any(peer.sleep == ASLEEP and peer not in core.roster.changed for peer in able):
        leaving = any(function.name in names for names in core.roster.leaving)
        assert function.escalating or function in core.roster.rousing or core.roster.wakeup and (
            leaving or any(peer.sleep != ASLEEP for peer in able)), function

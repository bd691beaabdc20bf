"""A function that very many different ability sets share: nothing costs more the more of them there are, and turns are kept."""
import sys

import pytest
from core_world import packets_of

from gearman_std.wire.protocol import (ALL_YOURS, CAN_DO, CANT_DO, GRAB_JOB, JOB_ASSIGN, NO_JOB, NOOP, PRE_SLEEP,
                                       RESET_ABILITIES, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW,
                                       SUBMIT_JOB_LOW_BG, WORK_COMPLETE)
from gearman_std.core.invariants import check_core
from gearman_std.core.jobs import MOST_TOLD
from gearman_std.core.roster import ESCALATION_DELAY, FEW_ABILITIES


@pytest.fixture(params=(0, 1, 2))
def told(request, monkeypatch):
    """So few sets are told of a function's jobs that there are some that ask."""
    monkeypatch.setattr("gearman_std.core.jobs.MOST_TOLD", request.param)
    return request.param


def workers_of(world, count, *functions, **how):
    """Each has a function of its own besides."""
    return [world.worker(*functions + (b"own%d" % number,), **how) for number in range(count)]


def asks(worker, function):
    return worker.world.core.functions[function].crowd in worker.peer.ability_set.crowds


def woken(workers):
    told = [(worker, packets_of(worker.takes())) for worker in workers]
    assert all(packets in ([], [("NOOP",)]) for _, packets in told), told
    return [worker for worker, packets in told if packets]


# -------------------------------------------------------------------------------------------------------- who is told, who asks

def test_the_first_sets_of_a_function_are_told_and_the_later_ones_ask(world):
    workers = workers_of(world, MOST_TOLD + 2, b"f")
    assert [worker.grabs() for worker in workers] == [None] * len(workers)
    assert [asks(worker, b"f") for worker in workers] == [False] * MOST_TOLD + [True] * 2
    assert not any(asks(worker, b"own%d" % number) for number, worker in enumerate(workers))
    workers[0].leaves()
    later = world.worker(b"f", b"later")
    assert later.grabs() is None and not asks(later, b"f"), "there is room again"


def test_a_set_asks_about_so_many_functions_at_most_and_is_told_of_the_others(world, monkeypatch):
    monkeypatch.setattr("gearman_std.core.jobs.MOST_TOLD", 0)
    monkeypatch.setattr("gearman_std.core.jobs.MOST_ASKED", 2)
    client, worker = world.connects(), world.worker(b"a", b"b", b"c")
    assert worker.grabs() is None and [asks(worker, name) for name in (b"a", b"b", b"c")] == [False, True, True]
    handles = {name: client.submits(name) for name in (b"a", b"b", b"c")}
    assert [worker.grabs() for _ in range(4)] == [handles[name] for name in (b"c", b"a", b"b")] + [None]


def steps_of(action):
    """How many lines of the program are run, loops counted as often as they go round: what it costs, whatever the load."""
    count = [0]

    def note(frame, event, argument):
        count[0] += 1
        return note
    before = sys.gettrace()
    sys.settrace(note)
    try:
        action()
    finally:
        sys.settrace(before)
    return count[0]


def costs(make_world, sets):
    """What things cost when so many sets share a function."""
    world = make_world()
    client, workers = world.connects(), workers_of(world, sets, b"f", sleeps=True)
    first, last = workers[0].peer, workers[-1].peer
    world.check = world.after_step = lambda: None
    receive = world.core.receive

    def cost(peer, *packets):
        steps = steps_of(lambda: receive(peer, list(packets)))
        for worker in workers:
            worker.takes()
        return steps
    submit = (SUBMIT_JOB_EPOCH, [b"f", b"", b"0", b"w"])
    found = {"submit, all asleep": cost(client.peer, submit)}
    found["submit for later, all asleep"] = cost(
        client.peer, (SUBMIT_JOB_EPOCH, [b"f", b"", b"%d" % (world.wall + 99), b"w"]))
    for worker in workers:
        receive(worker.peer, [(GRAB_JOB, ()), (WORK_COMPLETE, [b"H:x:1", b""])])
    assert world.core.functions[b"f"].totals.completed == 1
    receive(client.peer, [submit])  # sweeps out those that slept
    found["submit, nobody asleep"] = cost(client.peer, submit)
    found["another one"] = cost(client.peer, submit)
    found["grab"] = cost(first, (GRAB_JOB, ()))
    found["grab of the last one"] = cost(last, (GRAB_JOB, ()))
    found["grab of nothing"] = cost(last, (GRAB_JOB, ()))
    found["sleep"] = cost(last, (PRE_SLEEP, ()))
    found["grab asleep"] = cost(last, (GRAB_JOB, ()))
    receive(client.peer, [submit])
    found["pause"] = steps_of(world.core.functions[b"f"].pause)
    found["resume"] = steps_of(world.core.functions[b"f"].resume)
    for name, leaver in (("the first one leaves", workers[0]), ("the last one leaves", workers[-1])):
        found[name] = steps_of(lambda: world.core.disconnect(leaver.peer))
        workers.remove(leaver)
    check_core(world.core)
    client.takes()
    return found


def test_nothing_costs_more_the_more_sets_share_a_function(make_world, monkeypatch):
    monkeypatch.setattr("gearman_std.core.jobs.MOST_TOLD", 8)
    monkeypatch.setattr("gearman_std.core.transitions.STEP", 8)
    few, more, many = (costs(make_world, sets) for sets in (25, 50, 100))
    assert few == more == many


# ------------------------------------------------------------------------------------------------------------------------ turns

def test_functions_of_both_kinds_take_turns(world, told):
    client, workers = world.connects(), workers_of(world, 3, b"f", b"g")
    assert [worker.grabs() for worker in workers] == [None] * 3
    last = workers[-1]
    assert [asks(last, name) for name in (b"f", b"g", b"own2")] == [True, True, told == 0]
    function_of = {client.submits(name): name for _ in range(4) for name in (b"f", b"g", b"own2")}
    got = [function_of.pop(last.grabs()) for _ in range(12)]
    assert last.grabs() is None and not function_of
    for start in range(0, 8):  # nobody waits longer than for the other kind's turn and all of its own kind
        assert set(got[start:start + 4]) == {b"f", b"g", b"own2"}, got


def test_a_function_of_which_a_set_is_told_does_not_wait_for_those_that_it_asks(world, told):
    client, workers = world.connects(), workers_of(world, 3, *[b"f%d" % number for number in range(5)])
    assert [worker.grabs() for worker in workers] == [None] * 3
    for number in range(5):
        for _ in range(9):
            client.submits_bg(b"f%d" % number)
    own = client.submits(b"own2")
    assert own in [workers[2].grabs() for _ in range(6 if told == 0 else 2)]


@pytest.mark.parametrize("name", (b"f", b"own2"))
def test_a_higher_priority_is_first_of_whatever_kind(world, told, name):
    client, workers = world.connects(), workers_of(world, 3, b"f", b"g")
    assert [worker.grabs() for worker in workers] == [None] * 3
    low = client.submits(name, packet_type=SUBMIT_JOB_LOW)
    usual = [client.submits(other) for other in (b"f", b"own2", b"g")]
    high = client.submits(name, packet_type=SUBMIT_JOB_HIGH)
    got = [workers[2].grabs() for _ in range(6)]
    assert (got[0], set(got[1:4]), got[4:]) == (high, set(usual), [low, None])


def test_who_has_been_asked_in_vain_is_not_made_to_wait(world, told):
    """A grab that finds nothing is nobody's turn."""
    client, workers = world.connects(), workers_of(world, 3, b"f")
    for worker in workers:
        for _ in range(3):
            assert worker.grabs() is None
    common = client.submits(b"f")
    assert [workers[2].grabs() for _ in range(2)] == [common, None]


def test_a_paused_function_gives_out_nothing_and_a_resumed_one_by_priority(world, told):
    client, workers = world.connects(), workers_of(world, 4, b"f")
    usual, high = client.submits(), client.submits(packet_type=SUBMIT_JOB_HIGH)
    client.asks(b"pause function f")
    assert [worker.grabs() for worker in workers] == [None] * 4
    later = client.submits(packet_type=SUBMIT_JOB_HIGH)
    workers[3].says(PRE_SLEEP).hears()
    client.asks(b"resume function f")
    workers[3].hears((NOOP,))
    assert [worker.grabs() for worker in workers[2:] + workers[:2]] == [high, later, usual, None]


def test_jobs_that_are_dropped_are_not_looked_for(world, told):
    client, workers = world.connects(), workers_of(world, 3, b"f")
    assert workers[2].grabs() is None
    for packet_type in (SUBMIT_JOB_LOW_BG, SUBMIT_JOB_HIGH_BG):
        assert client.asks(b"cancel job " + client.submits_bg(packet_type=packet_type)) == b"OK\r\n"
    for worker in workers:
        worker.says(GRAB_JOB).hears((NO_JOB,)).says(PRE_SLEEP).hears()


# ------------------------------------------------------------------------------------------------------------------------ sleep

def test_each_job_wakes_one_sleeper_and_each_sleeper_once(world, told):
    client, workers = world.connects(), workers_of(world, 5, b"f", sleeps=True)
    for count in range(5):
        client.submits()
        assert len(woken(workers)) == 1
    client.submits()
    assert woken(workers) == []
    for worker in workers:
        assert worker.grabs() is not None
    assert workers[0].grabs() is not None and workers[1].grabs() is None


def test_who_sleeps_again_is_woken_after_those_who_still_do(world):
    client, workers = world.connects(), workers_of(world, MOST_TOLD + 3, b"f")
    sleepers = workers[MOST_TOLD:]
    for worker in workers:
        worker.says(GRAB_JOB).hears((NO_JOB,))
    for worker in sleepers:
        worker.says(PRE_SLEEP).hears()
    for expected in sleepers + sleepers:
        client.submits_bg()
        assert woken(workers) == [expected]
        expected.says(GRAB_JOB).takes()
        expected.says(PRE_SLEEP).hears()


def test_a_set_with_several_sleepers_is_known_until_its_last_one_is_woken(world, told):
    client = world.connects()
    workers = [world.worker(b"f", b"own%d" % (number % 3), sleeps=True) for number in range(9)]
    for _ in range(9):
        client.submits()
    assert sorted(map(id, woken(workers))) == sorted(map(id, workers))


@pytest.mark.parametrize("wakeup, each", ((0, [5, 0]), (2, [2, 2, 1, 0])))
def test_a_fixed_number_of_wake_ups_is_kept(make_world, told, wakeup, each):
    world = make_world(wakeup=wakeup)
    client, workers = world.connects(), workers_of(world, 5, b"f", sleeps=True)
    for count in each:
        client.submits()
        assert len(woken(workers)) == count


def test_more_are_woken_while_a_job_waits(world, told):
    client, workers = world.connects(), workers_of(world, 8, b"f", sleeps=True)
    client.submits()
    counts = [len(woken(workers))]
    while world.wait is not None:
        world.passes(ESCALATION_DELAY)
        counts.append(len(woken(workers)))
    assert counts == [1, 2, 4, 1]


@pytest.mark.parametrize("end", ((), (CANT_DO, b"f"), (RESET_ABILITIES,)), ids=("lost", "cannot do it", "retired"))
def test_when_a_woken_worker_is_gone_another_is_woken(make_world, told, end):
    world = make_world(wakeup=1)
    client, workers = world.connects(), workers_of(world, 4, b"f", sleeps=True)
    client.submits()
    first, = woken(workers)
    workers.remove(first)
    if end:
        first.says(*end).hears()
    else:
        first.leaves()
    assert len(woken(workers)) == 1


def test_sleepers_that_leave_are_not_looked_for(world, told):
    client, workers = world.connects(), workers_of(world, 4, b"f", sleeps=True)
    for worker in workers[:3]:
        worker.leaves()
    client.submits()
    assert woken(workers[3:]) == workers[3:]
    workers[3].says(RESET_ABILITIES)
    assert not world.core.roster.ability_sets and not world.core.functions[b"f"].crowd.asleep


def test_a_sleeper_that_grabs_unasked_is_not_woken(world, told):
    client, workers = world.connects(), workers_of(world, 3, b"f", sleeps=True)
    for worker in workers[1:]:
        worker.says(GRAB_JOB).hears((NO_JOB,))
    client.submits()
    assert woken(workers) == workers[:1]


@pytest.mark.parametrize("own", (1, 3 * FEW_ABILITIES), ids=("a new set", "its set, changed"))
def test_a_sleeper_that_learns_and_unlearns(world, told, own):
    client, others = world.connects(), workers_of(world, 3, b"new")
    assert [other.grabs() for other in others] == [None] * 3
    worker = world.worker(*[b"mine%d" % number for number in range(own)], sleeps=True)
    worker.says(CAN_DO, b"new").hears()
    assert asks(worker, b"new") and worker.grabs() is None
    worker.says(PRE_SLEEP).hears()
    client.submits(b"new")
    worker.hears((NOOP,)).says(PRE_SLEEP).hears((NOOP,)).says(CANT_DO, b"new").says(PRE_SLEEP).hears()
    client.submits(b"new")
    worker.hears().says(CAN_DO, b"new").hears((NOOP,))
    worker.says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"new", b"w"))


def test_what_is_registered_last_is_asked_first(world, monkeypatch):
    monkeypatch.setattr("gearman_std.core.jobs.MOST_TOLD", 0)
    client, worker = world.connects(), world.worker(*[b"f%d" % number for number in range(3 * FEW_ABILITIES)])
    assert worker.grabs() is None
    handles = {name: client.submits(name) for name in (b"f3", b"f5", b"new")}
    worker.says(CAN_DO, b"new")
    assert [worker.grabs() for _ in range(4)] == [handles[b"new"], handles[b"f5"], handles[b"f3"], None]


def test_all_yours_a_sleeper_is_given_the_job(world, told):
    client, workers = world.connects(), workers_of(world, 3, b"f")
    for worker in workers[:2]:
        assert worker.grabs() is None
    workers[2].says(ALL_YOURS).says(PRE_SLEEP).hears()
    client.submits()
    workers[2].hears((JOB_ASSIGN, b"H:x:1", b"f", b"w"))


def test_a_crowd_says_what_it_is(world, told):
    client, workers = world.connects(), workers_of(world, 3, b"f", sleeps=True)
    crowd = world.core.functions[b"f"].crowd
    assert repr(crowd) == "<Crowd of f: urgency 3>"
    client.submits(packet_type=SUBMIT_JOB_LOW)
    assert repr(crowd) == "<Crowd of f: urgency 2>" and len(woken(workers)) == 1


def test_sets_that_sleep_no_more_are_swept_out_once(world, monkeypatch):
    monkeypatch.setattr("gearman_std.core.jobs.MOST_TOLD", 0)
    client, workers = world.connects(), workers_of(world, 4, b"f", b"g", sleeps=True)
    crowd = world.core.functions[b"g"].crowd
    for worker in workers[:3]:
        worker.says(GRAB_JOB).hears((NO_JOB,))
    assert len(crowd.asleep) == 4
    client.submits(b"g")
    assert woken(workers) == workers[3:] and not crowd.asleep

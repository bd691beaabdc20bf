"""Sleep and wake-up: a worker that sleeps is told of work, as few as needed, and no wake-up is lost."""
import pytest
from core_world import packets_of

from gearman_std.wire.protocol import (ALL_YOURS, CAN_DO, CANT_DO, ECHO_REQ, ECHO_RES, GRAB_JOB, GRAB_JOB_ALL, GRAB_JOB_UNIQ,
                                       JOB_ASSIGN, JOB_ASSIGN_UNIQ, JOB_CREATED, NO_JOB, NOOP, PRE_SLEEP, RESET_ABILITIES,
                                       SUBMIT_JOB, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH, TEXT_LINE, WORK_COMPLETE)
from gearman_std.core.invariants import check_core
from gearman_std.core.peers import ASLEEP, WOKEN
from gearman_std.core.roster import ESCALATION_DELAY, FEW_ABILITIES, AbilitySet
from gearman_std.core.turns import STEP


def woken(workers):
    """Which of them have been sent a NOOP, each one only."""
    told = []
    for worker in workers:
        packets = packets_of(worker.takes())
        assert packets in ([], [("NOOP",)]), packets
        if packets:
            told.append(worker)
    return told


def test_a_sleeping_worker_is_woken_by_a_submit_an_awake_one_is_not(world):
    client, asleep, awake = world.connects(), world.worker(b"f", sleeps=True), world.worker(b"f")
    client.submits()
    asleep.hears((NOOP,))
    awake.hears()


def test_only_workers_of_the_function_are_woken(world):
    client, other = world.connects(), world.worker(b"g", sleeps=True)
    client.submits(b"f")
    other.hears()


def test_pre_sleep_with_work_queued_is_answered_at_once_each_time(world):
    world.connects().submits()
    worker = world.worker(b"f")
    for _ in range(3):
        worker.says(PRE_SLEEP).hears((NOOP,))


def test_a_woken_worker_is_not_woken_again_before_it_grabs(world):
    client, worker = world.connects(), world.worker(b"f", sleeps=True)
    client.submits()
    worker.hears((NOOP,))
    client.submits()
    worker.says(ECHO_REQ, b"").hears((ECHO_RES, b""))


@pytest.mark.parametrize("grab", (GRAB_JOB, GRAB_JOB_UNIQ, GRAB_JOB_ALL))
def test_a_grab_ends_sleep(world, grab):
    client, worker = world.connects(), world.worker(b"f", sleeps=True)
    worker.says(grab).hears((NO_JOB,))
    client.submits()
    worker.hears()


def test_a_sleeping_worker_that_echoes_or_learns_still_sleeps(world):
    client, worker = world.connects(), world.worker(b"f", sleeps=True)
    worker.says(ECHO_REQ, b"").hears((ECHO_RES, b""))
    worker.says(CAN_DO, b"g")
    client.submits(b"g")
    worker.hears((NOOP,))


def test_can_do_by_a_sleeping_worker_while_jobs_wait_wakes_it(world):
    world.connects().submits(b"g")
    world.worker(b"f", sleeps=True).says(CAN_DO, b"g").hears((NOOP,))


def test_cant_do_by_a_sleeping_worker_takes_it_from_those_who_are_woken(world):
    client, worker, other = world.connects(), world.worker(b"f", b"g", sleeps=True), world.worker(b"f", sleeps=True)
    worker.says(CANT_DO, b"f")
    client.submits(b"f")
    worker.hears()
    other.hears((NOOP,))
    client.submits(b"g")
    worker.hears((NOOP,))


def test_one_worker_is_woken_for_a_job_and_more_while_it_still_waits(world):
    client, workers = world.connects(), [world.worker(b"f", sleeps=True) for _ in range(10)]
    client.submits()
    assert woken(workers) == workers[:1] and world.wait == pytest.approx(ESCALATION_DELAY)
    world.passes(ESCALATION_DELAY)
    assert woken(workers) == workers[1:3]
    world.passes(ESCALATION_DELAY)
    assert woken(workers) == workers[3:7]
    world.passes(ESCALATION_DELAY)
    assert woken(workers) == workers[7:] and world.wait is None


def test_not_very_many_are_woken_at_once(world, monkeypatch):
    monkeypatch.setattr("gearman_std.core.roster.MANY", 3)
    client, workers = world.connects(), [world.worker(b"f", sleeps=True) for _ in range(10)]
    client.submits()
    counts = [len(woken(workers))]
    while world.wait is not None:
        world.passes(ESCALATION_DELAY)
        counts.append(len(woken(workers)))
    assert counts == [1, 2, 3, 3, 1]


def test_more_are_woken_for_each_function_in_its_own_time(world):
    client, workers = world.connects(), [world.worker(b"f", sleeps=True) for _ in range(3)]
    others = [world.worker(b"g", sleeps=True) for _ in range(3)]
    client.submits(b"f")
    world.passes(ESCALATION_DELAY / 4)
    client.submits(b"g")
    assert woken(workers + others) == [workers[0], others[0]]
    world.passes(ESCALATION_DELAY * 3 / 4)
    assert woken(workers + others) == workers[1:] and world.wait == pytest.approx(ESCALATION_DELAY / 4)
    world.passes(ESCALATION_DELAY / 4)
    assert woken(workers + others) == others[1:]


def test_nobody_more_is_woken_when_the_job_was_taken(world):
    client, workers = world.connects(), [world.worker(b"f", sleeps=True) for _ in range(3)]
    client.submits()
    workers[0].hears((NOOP,)).says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"f", b"w"))
    world.passes(ESCALATION_DELAY)
    assert woken(workers) == [] and world.wait is None


def test_each_job_wakes_one_worker_the_longest_asleep_first(world):
    client, workers = world.connects(), [world.worker(b"f", sleeps=True) for _ in range(4)]
    workers[0].says(PRE_SLEEP)
    client.submits()
    client.submits()
    assert woken(workers) == workers[:2]
    workers[0].says(GRAB_JOB).says(GRAB_JOB).says(PRE_SLEEP).takes()
    client.submits()
    assert woken(workers) == workers[2:3]


def test_when_a_woken_worker_is_lost_another_is_woken(world):
    client, workers = world.connects(), [world.worker(b"f", sleeps=True) for _ in range(3)]
    client.submits()
    workers[0].hears((NOOP,))
    workers[0].leaves()
    assert woken(workers[1:]) == workers[1:2]


@pytest.mark.parametrize("request_", ((CANT_DO, b"f"), (RESET_ABILITIES,)))
@pytest.mark.parametrize("wakeup", (None, 1))
def test_when_a_woken_worker_retires_another_is_woken(make_world, request_, wakeup):
    world = make_world(wakeup=wakeup)
    client, workers = world.connects(), [world.worker(b"f", sleeps=True) for _ in range(3)]
    client.submits()
    workers[0].hears((NOOP,)).says(*request_).hears()
    assert woken(workers) == workers[1:2]


@pytest.mark.parametrize("before", ((), (CAN_DO, b"h"), (GRAB_JOB,)), ids=("woken", "with another ability", "at work"))
@pytest.mark.parametrize("end", ((), (CANT_DO, b"g"), (RESET_ABILITIES,)), ids=("lost", "cannot do it", "retired"))
def test_when_a_worker_is_gone_others_are_woken_for_each_function_that_has_jobs(make_world, before, end):
    """With a fixed number nobody would be woken later."""
    world = make_world(wakeup=1)
    client, worker = world.connects(), world.worker(b"f", b"g", sleeps=True)
    one, other = world.worker(b"f", sleeps=True), world.worker(b"g", sleeps=True)
    client.submits(b"g")
    worker.hears((NOOP,))
    client.submits(b"f", packet_type=SUBMIT_JOB_HIGH)
    one.hears((NOOP,))
    if before:
        worker.says(*before).takes()
    if end:
        worker.says(*end).hears()
    else:
        worker.leaves()
    other.hears((NOOP,))


def test_a_woken_worker_that_sleeps_again_without_a_grab_is_woken_again(world):
    client, worker, quicker = world.connects(), world.worker(b"f", sleeps=True), world.worker(b"f")
    client.submits()
    worker.hears((NOOP,))
    assert quicker.grabs() == b"H:x:1"
    worker.says(PRE_SLEEP).hears()
    client.submits()
    worker.hears((NOOP,))


def test_a_woken_worker_that_takes_another_job_leaves_none_without_a_wake_up(world):
    client, both, only = world.connects(), world.worker(b"f", b"g"), world.worker(b"f")
    both.says(PRE_SLEEP)
    only.says(PRE_SLEEP)
    client.submits(b"f")
    client.submits(b"g")
    assert woken([both, only]) == [both]
    both.says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"f", b"w"))
    both.says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:2", b"g", b"w"))
    third = world.worker(b"g")
    client.submits(b"f")
    assert woken([both, only, third]) == [only]


def test_workers_of_different_abilities_are_woken_for_what_they_share(world):
    client, one, two = world.connects(), world.worker(b"f", b"g", sleeps=True), world.worker(b"f", b"h", sleeps=True)
    client.submits(b"f")
    world.passes(ESCALATION_DELAY)
    assert woken([one, two]) == [one, two]


def test_a_job_that_is_put_back_wakes_as_a_new_one_does(world):
    client, worker = world.connects(), world.worker(b"f")
    client.submits()
    worker.grabs()
    sleepers = [world.worker(b"f", sleeps=True) for _ in range(3)]
    worker.leaves()
    assert woken(sleepers) == sleepers[:1]


def test_wakeup_0_wakes_everybody(make_world):
    world = make_world(wakeup=0)
    client, workers = world.connects(), [world.worker(b"f", sleeps=True) for _ in range(5)]
    client.submits()
    assert woken(workers) == workers
    client.submits()
    assert woken(workers) == [] and world.wait is None


def test_wakeup_n_wakes_n_for_each_job_and_no_more_later(make_world):
    world = make_world(wakeup=2)
    client, workers = world.connects(), [world.worker(b"f", sleeps=True) for _ in range(5)]
    client.submits()
    assert woken(workers) == workers[:2]
    world.passes(60)
    assert woken(workers) == []
    client.submits()
    assert woken(workers) == workers[2:4]
    client.submits()
    assert woken(workers) == workers[4:]


def test_pre_sleep_with_only_a_job_not_yet_due_is_silent_and_the_job_wakes_in_time(world):
    client, worker = world.connects(), world.worker(b"f", sleeps=True)
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 5), b"w").hears((JOB_CREATED, b"H:x:1"))
    worker.hears((NOOP,)).says(GRAB_JOB).hears((NO_JOB,)).says(PRE_SLEEP).hears()
    world.passes(5)
    worker.hears((NOOP,))


@pytest.mark.parametrize("wakeup, count", ((None, STEP), (0, STEP + 2), (1, 1)))
def test_a_job_for_later_wakes_not_very_many_unless_that_is_wanted(make_world, wakeup, count):
    world = make_world(wakeup=wakeup)
    client, workers = world.connects(), [world.worker(b"f", sleeps=True) for _ in range(STEP + 2)]
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 5), b"w").hears((JOB_CREATED, b"H:x:1"))
    assert woken(workers) == workers[:count]
    for worker in workers[:count]:
        worker.says(PRE_SLEEP).hears()
    world.passes(5)
    assert len(woken(workers)) == (STEP + 2 if wakeup == 0 else 1)


def test_a_paused_function_wakes_nobody_and_resuming_it_wakes_for_each_job(world):
    client, workers = world.connects(), [world.worker(b"f", sleeps=True) for _ in range(4)]
    client.asks(b"pause function f")
    client.submits()
    client.submits()
    world.passes(1)
    assert woken(workers) == []
    workers[3].says(PRE_SLEEP).hears()
    client.asks(b"resume function f")
    assert woken(workers) == workers[:2]
    world.passes(ESCALATION_DELAY)
    assert woken(workers) == workers[2:]


def test_resuming_wakes_for_very_many_jobs_in_turns(world):
    client, workers = world.connects(), [world.worker(b"f", sleeps=True) for _ in range(2 * STEP + 1)]
    assert client.asks(b"pause function f") == b"OK\r\n"
    for _ in range(2 * STEP):
        client.submits_bg()
    world.core.receive(client.peer, [(TEXT_LINE, (b"resume function f",))])
    assert client.takes() == b"OK\r\n" and woken(workers) == workers[:STEP]
    world.does_chores()
    assert woken(workers) == workers[STEP:2 * STEP]


def test_pausing_in_the_middle_of_an_escalation_loses_no_wake_up(world):
    client, workers = world.connects(), [world.worker(b"f", sleeps=True) for _ in range(4)]
    client.submits()
    assert woken(workers) == workers[:1]
    client.asks(b"pause function f")
    world.passes(1)
    assert woken(workers) == []
    client.asks(b"resume function f")
    assert woken(workers) == workers[1:2]
    world.passes(ESCALATION_DELAY)
    assert woken(workers) == workers[2:]


def test_nobody_is_woken_when_nothing_is_handed_out_any_more(make_world):
    world = make_world(durable=True)
    client, worker = world.connects(), world.worker(b"f", sleeps=True)
    world.core.stop(graceful=True)
    world.after_step()
    assert world.core.idle
    worker.says(PRE_SLEEP).hears().says(GRAB_JOB).hears((NO_JOB,))
    client.hears()


def test_repeated_registration_counts_and_one_cant_do_takes_all_back(world):
    client, worker = world.connects(), world.worker(b"f", b"f")
    assert client.asks(b"status") == b"f\t0\t0\t2\n.\n"
    worker.says(CANT_DO, b"f").says(CANT_DO, b"f").says(CANT_DO, b"never").hears()
    assert client.asks(b"status") == b"f\t0\t0\t0\n.\n"


def test_peers_of_equal_abilities_share_one_set_that_goes_with_the_last(world):
    workers = [world.worker(b"f", b"g", sleeps=True), world.worker(b"g", b"f", sleeps=True), world.worker(b"f", sleeps=True)]
    assert sorted(repr(ability_set) for ability_set in world.core.roster.ability_sets.values()) == [
        "<AbilitySet of 1 functions, 1 members, 1 asleep>", "<AbilitySet of 2 functions, 2 members, 2 asleep>"]
    assert repr(world.core.roster) == "<Roster: 2 ability sets, 0 escalations>"
    for worker in workers:
        worker.leaves()
    assert world.core.roster.ability_sets == {} and not world.core.functions[b"f"].ability_sets


# -------------------------------------------------------------------------------------------------------------- many abilities

MANY = 3 * FEW_ABILITIES


@pytest.fixture
def made(monkeypatch):
    """The ability sets that are made in the test."""
    sets = []
    original = AbilitySet.__init__

    def note(self, *arguments):
        sets.append(self)
        original(self, *arguments)
    monkeypatch.setattr(AbilitySet, "__init__", note)
    return sets


def names(count):
    return [b"f%d" % number for number in range(count)]


def test_a_set_of_many_abilities_is_not_made_anew_when_one_changes(world, made):
    """2 KB of CAN_DO, GRAB_JOB, CANT_DO, GRAB_JOB kept the server busy for half a second."""
    client, worker = world.connects(), world.worker(*names(MANY))
    assert worker.grabs() is None and len(made) == 1
    waiting = [client.submits(b"new") for _ in range(3)]
    for handle in waiting:
        worker.says(CAN_DO, b"new")
        assert worker.grabs() == handle
        worker.says(WORK_COMPLETE, handle, b"").says(CANT_DO, b"new")
        assert worker.grabs() is None
        client.takes()
    assert len(made) == 1 and not world.core.functions[b"new"].ability_sets


def test_what_is_registered_last_is_looked_at_first_also_by_one_of_many_abilities(world):
    client, worker = world.connects(), world.worker(*names(MANY))
    assert worker.grabs() is None
    handles = {name: client.submits(name) for name in (b"f3", b"new", b"newer")}
    worker.says(CAN_DO, b"new").says(CAN_DO, b"newer").says(CANT_DO, b"f3")
    assert [worker.grabs() for _ in range(3)] == [handles[b"newer"], handles[b"new"], None]
    assert client.knows(handles[b"f3"])


@pytest.mark.parametrize("count", (1, MANY))
def test_a_sleeper_that_learns_what_waits_is_woken_and_one_that_unlearns_it_is_not(world, count):
    client, worker = world.connects(), world.worker(*names(count))
    worker.says(PRE_SLEEP)
    client.submits(b"new")
    worker.says(CAN_DO, b"new").hears((NOOP,)).says(PRE_SLEEP).hears((NOOP,)).says(CANT_DO, b"new").says(PRE_SLEEP).hears()
    client.submits(b"new")
    worker.hears()
    client.submits(b"f0")
    worker.hears((NOOP,))


def test_peers_of_many_equal_abilities_share_one_set_until_one_of_them_changes(world, made):
    one, other = world.worker(*names(MANY)), world.worker(*reversed(names(MANY)))
    assert one.grabs() is other.grabs() is None and len(made) == 1
    one.says(CAN_DO, b"new")
    assert one.grabs() is None and len(made) == 2
    for worker in (one, other):
        for _ in range(3):
            worker.says(CANT_DO, b"f1").says(CAN_DO, b"f1")
            assert worker.grabs() is None
    assert len(made) == 2
    world.worker(*names(MANY)).says(GRAB_JOB).hears((NO_JOB,))
    assert len(made) == 3, "one that changed in its place is not shared any more"


@pytest.mark.parametrize("loss", (RESET_ABILITIES, None), ids=("resets", "leaves"))
def test_many_abilities_are_given_up_in_turns_and_for_what_waits_another_comes(world, loss):
    count = 5 * STEP
    worker, client = world.worker(*names(count)), world.connects()
    other = world.worker(b"f%d" % (count - 1))
    worker.says(CAN_DO, b"f0").says(PRE_SLEEP)
    other.says(PRE_SLEEP)
    client.submits(b"f%d" % (count - 1))
    worker.hears((NOOP,))
    if loss is None:
        world.core.disconnect(worker.peer)
        world.talkers.remove(worker)
    else:
        world.core.receive(worker.peer, [(loss, [])])
    check_core(world.core)
    steps = 0
    while world.core.turns.chores:
        world.core.turns.work()
        check_core(world.core)
        steps += 1
    left = [function.name for function in world.core.functions.values() if function.workers]
    assert steps >= 4 and left == [b"f%d" % (count - 1)]
    other.hears((NOOP,))


def test_who_gives_up_many_abilities_may_register_some_of_them_meanwhile(world):
    worker, client = world.worker(*names(5 * STEP)), world.connects()
    handle = client.submits(b"f300")
    assert worker.grabs() == handle
    rest = world.core.receive(worker.peer, [(RESET_ABILITIES, []), (CAN_DO, [b"f300"]), (CAN_DO, [b"new"])])
    check_core(world.core)
    while rest:
        rest = world.core.receive(worker.peer, rest)
        check_core(world.core)
    world.after_step()
    assert world.core.functions[b"f300"].workers == 1 and not world.core.functions[b"f299"].workers
    assert worker.grabs() == handle


# ------------------------------------------------------------------------------------------------------------------- ALL_YOURS

def test_all_yours_a_sleeping_worker_is_given_the_job_without_a_wake_up(world):
    client, worker = world.connects(), world.worker(b"f")
    worker.says(ALL_YOURS).says(PRE_SLEEP).hears()
    client.submits()
    worker.hears((JOB_ASSIGN, b"H:x:1", b"f", b"w"))
    client.submits()
    worker.hears()
    worker.says(WORK_COMPLETE, b"H:x:1", b"").says(PRE_SLEEP).hears((JOB_ASSIGN, b"H:x:2", b"f", b"w"))
    client.hears((WORK_COMPLETE, b"H:x:1", b""))


def test_all_yours_the_job_comes_in_the_form_of_the_worker_s_last_grab(world):
    client, worker = world.connects(), world.worker(b"f")
    worker.says(ALL_YOURS).says(GRAB_JOB_UNIQ).hears((NO_JOB,)).says(PRE_SLEEP)
    client.submits(b"f", b"u")
    worker.hears((JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"u", b"w")).says(WORK_COMPLETE, b"H:x:1", b"")
    worker.says(GRAB_JOB).hears((NO_JOB,)).says(PRE_SLEEP)
    client.takes()
    client.submits(b"f", b"u")
    worker.hears((JOB_ASSIGN, b"H:x:2", b"f", b"w"))


def test_all_yours_a_client_that_is_its_own_worker_hears_of_its_job_before_it_is_given_it(world):
    both = world.worker(b"f")
    both.says(ALL_YOURS).says(PRE_SLEEP)
    both.says(7, b"f", b"", b"w").hears((JOB_CREATED, b"H:x:1"), (JOB_ASSIGN, b"H:x:1", b"f", b"w"))


@pytest.mark.parametrize("known", ["closing", "ended"])
def test_all_yours_who_is_about_to_go_is_given_nothing_and_another_is_when_it_has_gone(world, known):
    client, gone, worker = world.connects(), world.worker(b"f"), world.worker(b"f")
    for one in (gone, worker):
        one.says(ALL_YOURS).says(PRE_SLEEP)
    setattr(gone.peer, known, True)  # as the server says of a connection that is lost, before it has it undone
    client.submits()
    gone.hears()
    gone.leaves()
    worker.hears((JOB_ASSIGN, b"H:x:1", b"f", b"w"))
    assert world.core.functions[b"f"].totals.lost == 0


def test_all_yours_who_comes_too_late_sleeps_on(world):
    client, worker, quicker = world.connects(), world.worker(b"f"), world.worker(b"f")
    worker.says(ALL_YOURS).says(PRE_SLEEP)
    world.core.receive(client.peer, [(7, [b"f", b"", b"w"])])
    world.core.receive(quicker.peer, [(GRAB_JOB, ())])
    world.after_step()
    client.hears((JOB_CREATED, b"H:x:1"))
    quicker.hears((JOB_ASSIGN, b"H:x:1", b"f", b"w"))
    worker.hears()
    client.submits()
    worker.hears((JOB_ASSIGN, b"H:x:2", b"f", b"w"))


def test_all_yours_a_worker_that_leaves_before_it_is_given_the_job_passes_it_on(world):
    client, worker, other = world.connects(), world.worker(b"f"), world.worker(b"f")
    worker.says(ALL_YOURS).says(PRE_SLEEP)
    other.says(PRE_SLEEP)
    world.core.receive(client.peer, [(7, [b"f", b"", b"w"])])
    worker.leaves()
    client.hears((JOB_CREATED, b"H:x:1"))
    other.hears((NOOP,))


# ------------------------------------------------------------------------------------------------ a peer of very many functions

@pytest.fixture
def few_are_many(monkeypatch):
    for module in ("abilities", "attempts", "roster"):
        monkeypatch.setattr("gearman_std.core.%s.MANY" % module, 4)


NAMES = [b"f%d" % number for number in range(21)]


@pytest.mark.parametrize("grab", (GRAB_JOB, GRAB_JOB_UNIQ, GRAB_JOB_ALL))
def test_the_first_grab_of_a_peer_of_very_many_functions_takes_turns(world, few_are_many, grab):
    client, worker = world.connects(), world.connects()
    first, last = client.submits(NAMES[0], workload=b""), client.submits(NAMES[20], workload=b"")
    packets = [(CAN_DO, [name]) for name in NAMES] + [(grab, []), (ECHO_REQ, [b"x"]), (grab, []), (grab, [])]
    assert world.does(worker, packets) > len(NAMES) // 4
    given = packets_of(worker.takes())
    assert [packet[:2] for packet in given] == [
        (given[0][0], last), ("ECHO_RES", b"x"), (given[0][0], first), ("NO_JOB",)], "what was registered last comes first"


def test_so_does_its_first_sleep_and_peers_of_the_same_functions_share_one_set(world, few_are_many):
    workers = [world.connects() for _ in range(3)]
    packets = [(CAN_DO, [name]) for name in NAMES] + [(PRE_SLEEP, [])]
    rests = [world.core.receive(worker.peer, packets) for worker in workers]
    assert all(rests) and not any(worker.peer.ability_set for worker in workers)
    while any(rests):  # one after the other, a step each
        for index, worker in enumerate(workers):
            rests[index] = world.core.receive(worker.peer, rests[index])
            check_core(world.core)
    assert len({worker.peer.ability_set for worker in workers}) == 1
    assert len(world.core.functions[NAMES[0]].ability_sets) == 1, "those that came too late are gone"
    world.connects().submits(NAMES[7])
    assert len(woken(workers)) == 1


@pytest.mark.parametrize("packet, reply", ((PRE_SLEEP, ()), (GRAB_JOB, ((NO_JOB,),))))
def test_who_comes_when_the_set_of_its_very_many_functions_is_there_joins_it_at_once(world, few_are_many, packet, reply):
    first, later = world.connects(), world.connects()
    world.does(first, [(CAN_DO, [name]) for name in NAMES] + [(PRE_SLEEP, [])])
    rest = world.core.receive(later.peer, [(CAN_DO, [name]) for name in NAMES] + [(packet, []), (ECHO_REQ, [b"x"])])
    assert [kind for kind, _ in rest] == [packet, ECHO_REQ], "what it said is obeyed now that it is in the set"
    assert later.peer.ability_set is first.peer.ability_set is not None
    assert world.does(later, rest) == 1
    later.hears(*reply + ((ECHO_RES, b"x"),))


def test_a_job_that_comes_while_a_peer_looks_what_there_is_wakes_it(world, few_are_many):
    client, worker = world.connects(), world.connects()
    rest = world.core.receive(worker.peer, [(CAN_DO, [name]) for name in NAMES] + [(PRE_SLEEP, [])])
    client.submits(NAMES[20])
    client.submits(NAMES[0])
    world.does(worker, rest)
    worker.hears((NOOP,))


@pytest.mark.parametrize("change", ((CAN_DO, [b"new"]), (CANT_DO, [NAMES[3]])))
def test_a_sleeper_of_a_shared_set_of_very_many_functions_that_changes_one_falls_asleep_anew_in_turns(
        world, few_are_many, change):
    one, other = world.connects(), world.connects()
    for worker in (one, other):
        world.does(worker, [(CAN_DO, [name]) for name in NAMES] + [(PRE_SLEEP, [])])
    shared = one.peer.ability_set
    assert shared is other.peer.ability_set
    rest = world.core.receive(one.peer, [change, (ECHO_REQ, [b"x"])])
    world.core.settle()
    assert rest and one.peer.ability_set is None, "it has not joined its new set at once"
    check_core(world.core)
    assert world.does(one, rest) > len(NAMES) // 4 and one.peer.ability_set not in (None, shared)
    one.hears((ECHO_RES, b"x"))
    assert one.peer.sleep == ASLEEP
    world.connects().submits(b"new" if change[0] == CAN_DO else NAMES[0])
    assert len(woken([one, other])) == 1


def test_a_job_that_comes_meanwhile_wakes_it(world, few_are_many):
    client, one, other = world.connects(), world.connects(), world.connects()
    for worker in (one, other):
        world.does(worker, [(CAN_DO, [name]) for name in NAMES] + [(PRE_SLEEP, [])])
    rest = world.core.receive(one.peer, [(CAN_DO, [b"new"])])
    client.submits(b"new")
    assert woken([one, other]) == []
    world.does(one, rest)
    one.hears((NOOP,))


@pytest.mark.parametrize("steps", range(6))
def test_a_peer_that_leaves_meanwhile_leaves_nothing(world, few_are_many, steps):
    worker, other = world.connects(), world.worker(NAMES[3])
    rest = world.core.receive(worker.peer, [(CAN_DO, [name]) for name in NAMES] + [(PRE_SLEEP, [])])
    for _ in range(steps):
        rest = world.core.receive(worker.peer, rest)
    assert rest
    worker.leaves()
    world.does_chores()
    assert not world.core.roster.ability_sets
    assert not any(function.ability_sets for function in world.core.functions.values())
    assert other.grabs() is None


# ------------------------------------------------------------------------------------------ where a job wakes very many at once

FEW = 8  # sleepers that are woken at once


@pytest.fixture
def small_steps(monkeypatch):
    for module in ("roster", "transitions"):
        monkeypatch.setattr("gearman_std.core.%s.STEP" % module, FEW)


@pytest.mark.parametrize("own", (False, True), ids=("one set", "a set each"))
def test_all_sleepers_are_woken_in_turns(make_world, small_steps, monkeypatch, own):
    monkeypatch.setattr("gearman_std.core.jobs.MOST_TOLD", 2)
    world = make_world(wakeup=0)
    client, count = world.connects(), 5 * FEW
    workers = [world.worker(b"f", b"own%d" % (own and number), sleeps=True) for number in range(count)]
    world.core.receive(client.peer, [(SUBMIT_JOB, [b"f", b"", b"w"])] * 5)
    client.takes()
    assert len(woken(workers)) <= 2 * FEW and world.core.wait_time() == 0.0
    check_core(world.core)
    world.does_chores()
    assert all(worker.peer.sleep == WOKEN for worker in workers) and len(woken(workers)) >= 3 * FEW
    assert not world.core.roster.rousing and world.core.wait_time() is None
    if own:
        assert not world.core.functions[b"f"].crowd.asleep


def test_who_falls_asleep_again_meanwhile_is_woken_by_another_job_only(make_world, small_steps):
    world = make_world(wakeup=0)
    client, count = world.connects(), 4 * FEW
    workers = [world.worker(b"f", sleeps=True) for number in range(count)]
    submit = (SUBMIT_JOB, [b"f", b"", b"w"])
    for jobs in (1, 2):
        world.core.receive(client.peer, [submit])
        woken(workers)
        again = workers[0].peer
        world.core.receive(again, [(GRAB_JOB, ()), (WORK_COMPLETE, [b"H:x:%d" % jobs, b""]), (GRAB_JOB, ()), (PRE_SLEEP, ())])
        assert again.sleep == ASLEEP
        if jobs == 2:
            world.core.receive(client.peer, [submit])
        workers[0].takes()
        world.does_chores()
        assert again.sleep == (WOKEN if jobs == 2 else ASLEEP)
        woken(workers)
        for worker in workers[1:]:
            worker.peer.sleep = ASLEEP
            worker.peer.ability_set.add_sleeper(worker.peer)
    client.takes()


@pytest.mark.parametrize("wakeup", (FEW - 1, FEW, FEW + 1, 3 * FEW))
def test_each_job_wakes_so_many_even_if_they_are_woken_in_turns(make_world, small_steps, wakeup):
    world = make_world(wakeup=wakeup)
    client = world.connects()
    workers = [world.worker(b"f", sleeps=True) for number in range(7 * FEW)]
    for count in (wakeup, 2 * wakeup, 7 * FEW):
        client.submits()
        if count == 7 * FEW:
            world.core.receive(client.peer, [(SUBMIT_JOB, [b"f", b"", b"w"])] * 6)
            client.takes()
            world.does_chores()
        assert sum(worker.peer.sleep == WOKEN for worker in workers) == count
    woken(workers)


def test_sleepers_that_leave_while_all_are_woken(make_world, small_steps):
    world = make_world(wakeup=0)
    client = world.connects()
    workers = [world.worker(b"f", sleeps=True) for number in range(4 * FEW)]
    world.core.receive(client.peer, [(SUBMIT_JOB, [b"f", b"", b"w"])])
    client.takes()
    first = woken(workers)
    for worker in workers[3 * FEW:]:
        world.core.disconnect(worker.peer)
        world.talkers.remove(worker)
    world.does_chores()
    rest = workers[:3 * FEW]
    assert len(woken(rest)) == 3 * FEW - len(first) and not world.core.roster.rousing

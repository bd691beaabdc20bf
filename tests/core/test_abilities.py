"""What a worker says that it can do, and which of its jobs go back."""
import pytest

from gearman_std.core.invariants import check_core
from gearman_std.core.jobs import PRIORITY_NORMAL
from gearman_std.core.limits import Limits
from gearman_std.core.turns import MANY, STEP
from gearman_std.wire.protocol import CANT_DO, CAN_DO, GRAB_JOB, NOOP, RESET_ABILITIES, SUBMIT_JOB_BG, WORK_COMPLETE


def test_cant_do_of_what_a_peer_could_not_do_changes_nothing(world):
    world.worker(b"f").says(CANT_DO, b"g").hears()
    assert list(world.core.functions) == [b"f"]


def test_without_a_limit_a_peer_may_have_any_number_of_abilities(make_world):
    world = make_world(limits=Limits(abilities=0))
    worker = world.worker(*[b"f%d" % number for number in range(50)])
    assert len(worker.peer.abilities) == 50


def test_the_jobs_of_a_worker_that_is_lost_with_very_many_go_back_in_their_order(world, monkeypatch):
    monkeypatch.setattr("gearman_std.core.abilities.MANY", 3)
    client, worker, other = world.connects(), world.worker(b"f"), world.worker(b"g")
    handles = [client.submits_bg() for _ in range(10)]
    assert [worker.grabs() for _ in handles] == handles
    worker.leaves()
    other.says(CAN_DO, b"f")
    assert [other.grabs() for _ in handles] == handles


@pytest.mark.parametrize("request_", ((CANT_DO, b"f"), (RESET_ABILITIES,)))
def test_a_worker_that_can_no_longer_do_a_function_gives_its_jobs_back(world, request_):
    client, worker, other = world.connects(), world.worker(b"f"), world.worker(b"f", sleeps=True)
    handle = client.submits()
    other.hears((NOOP,))
    assert worker.grabs() == handle
    worker.says(*request_)
    worker.says(WORK_COMPLETE, handle, b"late").hears_error(b"JOB_NOT_FOUND")
    assert other.grabs() == handle


def test_a_worker_that_loses_one_ability_keeps_the_jobs_of_the_others(world):
    client, worker = world.connects(), world.worker(b"f", b"g")
    handle = client.submits(b"g")
    worker.grabs()
    worker.says(CANT_DO, b"f").says(WORK_COMPLETE, handle, b"r").hears()
    client.hears((WORK_COMPLETE, handle, b"r"))


def test_abilities_of_a_peer_are_limited(make_world):
    world = make_world(limits=Limits(abilities=2))
    worker = world.worker(b"a", b"b", b"a")
    worker.says(CAN_DO, b"c").hears_error(b"QUEUE_ERROR", b"Too many abilities on this connection")
    worker.says(CANT_DO, b"a").says(CAN_DO, b"c").hears()
    assert list(worker.peer.abilities) == [b"b", b"c"]


@pytest.mark.parametrize("leaves", (True, False))
def test_what_a_worker_that_has_very_many_jobs_gives_back_waits_again_from_the_first_turn_on(world, leaves):
    """Not after a turn for each thousand of its jobs, which were all in one list then, which the collector looked at."""
    client, worker, count = world.connects(), world.worker(b"f"), 2 * MANY + 1
    world.core.receive(client.peer, [(SUBMIT_JOB_BG, [b"f", b"", b"w"])] * count)
    client.takes()
    world.core.receive(worker.peer, [(GRAB_JOB, ())] * count)
    worker.takes()
    handles = list(worker.peer.running)
    waiting = world.core.functions[b"f"].waiting
    if leaves:
        world.core.disconnect(worker.peer)
        world.talkers.remove(worker)
    else:
        rest = world.core.receive(worker.peer, [(CANT_DO, [b"f"])])
    assert STEP <= waiting[PRIORITY_NORMAL] <= 2 * STEP
    check_core(world.core)
    turns = world.does_chores() if leaves else world.does(worker, rest)
    assert turns > count // STEP and waiting[PRIORITY_NORMAL] == count
    assert [job.handle for job in world.core.functions[b"f"].jobs_waiting()] == handles

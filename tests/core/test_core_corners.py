"""What seldom happens: orders that cannot be carried out change nothing, and limits of size, number and time."""
import pytest

from gearman_std.core.invariants import check_core
from gearman_std.core.jobs import HELD, POSITIONS, RERUN, RUNNING, SET_ASIDE, WAITING, FunctionPolicy
from gearman_std.core.limits import Limits
from gearman_std.wire.protocol import (CAN_DO, CANT_DO, LARGE_BODY, OPTION_REQ, SUBMIT_JOB_BG, WORK_COMPLETE, WORK_EXCEPTION,
                                       WORK_FAIL)


def test_an_order_for_a_job_in_another_state_changes_nothing_whoever_gives_it(world):
    client, worker, core = world.connects(), world.worker(b"f"), world.core
    running, waiting, gone, aside = [core.jobs[client.submits_bg()] for _ in range(4)]
    assert worker.grabs() == running.handle
    core.drop_job(aside)
    core.cancel(gone)
    for order, jobs in ((core.drop_job, (running, gone, aside)), (core.cancel, (gone,)),
                        (core.requeue, (running, waiting, gone)), (core.purge, (running, waiting, gone))):
        for job in jobs:
            order(job)
            check_core(core)
    assert (running.state, waiting.state, aside.state) == (RUNNING, WAITING, SET_ASIDE) and world.totals().cancelled == 1


def test_a_function_that_is_in_use_cannot_be_dropped_whoever_asks(world):
    worker, client, registry = world.worker(b"f"), world.connects(), world.core.registry
    function = world.core.functions[b"f"]
    assert not registry.drop(function)
    worker.says(CANT_DO, b"f")
    handle = client.submits_bg()
    assert not registry.drop(function) and b"f" in world.core.functions
    assert client.asks(b"cancel job " + handle) == b"OK\r\n"
    assert registry.drop(function) and not registry.drop(function)
    check_core(world.core)
    assert repr(registry) == "<Registry: 0 functions, 0 dropped, 0 perhaps unused>"


def test_a_dropped_function_stays_until_its_last_job_aside_is_gone(world):
    client, registry = world.connects(), world.core.registry
    handles = [client.submits_bg() for _ in range(2)]
    assert client.asks(b"drop function f force") == b"OK\r\n"
    for handle in handles:
        assert list(registry.dropped) == [b"f"]
        assert client.asks(b"purge job " + handle) == b"OK 1\r\n"
    assert not registry.dropped and world.totals().set_aside == 2


def test_cant_do_of_what_a_peer_could_not_do_changes_nothing(world):
    world.worker(b"f").says(CANT_DO, b"g").hears()
    assert list(world.core.functions) == [b"f"]


def test_without_a_limit_a_peer_may_have_any_number_of_abilities(make_world):
    world = make_world(limits=Limits(abilities=0))
    worker = world.worker(*[b"f%d" % number for number in range(50)])
    assert len(worker.peer.abilities) == 50


@pytest.mark.parametrize("size", (LARGE_BODY - 1, LARGE_BODY, LARGE_BODY + 1))
def test_an_exception_of_any_size_goes_to_those_who_want_it_and_a_failure_to_the_others(world, size):
    curious, client, worker = world.connects(), world.connects(), world.worker(b"f")
    curious.says(OPTION_REQ, b"exceptions").takes()
    handle = curious.submits(b"f", b"u")
    assert client.submits(b"f", b"u") == handle == worker.grabs()
    worker.says(WORK_EXCEPTION, handle, b"x" * size).hears()
    curious.hears((WORK_EXCEPTION, handle, b"x" * size))
    client.hears((WORK_FAIL, handle))


def test_a_job_that_was_cancelled_before_it_is_refused_stays_gone(make_world):
    world = make_world(durable=True)
    client, admin = world.connects(), world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    assert admin.asks(b"cancel job H:x:1") == b"OK\r\n"
    world.refuses_to_store()
    client.hears_error(b"QUEUE_ERROR")
    assert not world.core.jobs


def test_jobs_that_are_held_back_in_the_store_without_a_job_to_wait_for_just_wait(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(RERUN))
    alone = world.restores(b"H:x:1", b"u", state=HELD)
    assert alone.state is WAITING
    second, third = [world.restores(b"H:x:%d" % number, b"u", state=HELD) for number in (2, 3)]
    assert second.state is HELD and third.state is WAITING, "one can be held back by a job, not two"
    worker = world.worker(b"f")
    assert sorted([worker.grabs(), worker.grabs()]) == [b"H:x:1", b"H:x:3"]
    worker.says(WORK_COMPLETE, b"H:x:1", b"").hears()
    assert worker.grabs() == b"H:x:2"


def test_a_recurring_job_restored_when_the_clock_is_beyond_the_calendar_keeps_its_time(make_world):
    world = make_world(durable=True)
    world.sets_clock(2.6e11)
    due = world.wall + 60
    assert world.restores(b"H:x:1", due=due, schedule=b"* * * * *").due == due


def test_when_the_places_between_two_numbers_are_used_up_the_number_goes_on(make_world, monkeypatch):
    for module in ("core", "jobs"):
        monkeypatch.setattr("gearman_std.core.%s.POSITIONS" % module, 2)
    world = make_world(durable=True, policy=FunctionPolicy(retries=0))
    client = world.connects()
    client.submits_bg()
    world.stores()
    world.loses(9)
    assert POSITIONS > 2 and world.core.number > 1
    assert world.core.handle_prefix == b"H:x" and client.submits_bg() == b"H:x:%d" % world.core.number
    world.core.take_numbers(500)
    assert client.submits_bg() == b"H:x:501" and world.core.numbers is None


def test_the_jobs_of_a_worker_that_is_lost_with_very_many_go_back_in_their_order(world, monkeypatch):
    monkeypatch.setattr("gearman_std.core.core.MANY", 3)
    client, worker, other = world.connects(), world.worker(b"f"), world.worker(b"g")
    handles = [client.submits_bg() for _ in range(10)]
    assert [worker.grabs() for _ in handles] == handles
    worker.leaves()
    other.says(CAN_DO, b"f")
    assert [other.grabs() for _ in handles] == handles

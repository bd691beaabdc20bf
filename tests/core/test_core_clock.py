"""The wall clock is set, forward or back: jobs come when a person would expect them."""
import time

import pytest

from gearman_std.core.jobs import HELD, RERUN, STORING, FunctionPolicy
from gearman_std.core.ledger import UPDATE
from gearman_std.wire.protocol import (GRAB_JOB, JOB_CREATED, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_SCHED,
                                       WORK_COMPLETE, WORK_FAIL)
from gearman_std.core.turns import STEP

YEARS = 10 * 365.25 * 86400
HOUR = 3600.0


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    if hasattr(time, "tzset"):
        time.tzset()
    yield
    monkeypatch.undo()
    if hasattr(time, "tzset"):
        time.tzset()


def recurs(world, fields, function=b"f"):
    """Submits a recurring job; returns its handle."""
    client = world.connects()
    client.says(SUBMIT_JOB_SCHED, function, b"", *fields.split() + [b"w"])
    return client.takes()[12:]


def runs(world, worker, handle):
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, b"").hears()


def due_in(world, handle):
    return world.core.jobs[handle].due - world.wall


def last_update(world):
    """The job and its time, which the store gets last."""
    return [(one.handle, one.due) for one in world.core.ledger.records if one.kind == UPDATE][-1]


def test_a_clock_that_was_ahead_for_a_moment_while_a_recurring_job_ran_costs_no_run(world):
    worker, handle = world.worker(b"f"), recurs(world, b"* * * * *")
    world.passes(60)
    assert worker.grabs() == handle
    world.sets_clock(YEARS)
    worker.says(WORK_COMPLETE, handle, b"").hears()
    world.sets_clock(-YEARS)
    assert 0 < due_in(world, handle) <= 60 and 0 < world.wait <= 60
    world.passes(60)
    runs(world, worker, handle)


def test_nor_if_it_came_due_in_that_moment(world):
    worker, handle = world.worker(b"f"), recurs(world, b"*/10 * * * *")
    world.sets_clock(YEARS)
    assert worker.grabs() == handle
    world.sets_clock(-YEARS)
    worker.says(WORK_COMPLETE, handle, b"").hears()
    assert 0 < due_in(world, handle) <= 600


def test_jobs_that_recur_are_corrected_in_turns(world):
    handles = [recurs(world, b"*/%d * * * *" % (number % 7 + 1)) for number in range(2 * STEP + 1)]
    for handle in handles:
        world.core.jobs[handle].function.policy = FunctionPolicy()
    world.sets_clock(YEARS)
    while world.wait == 0.0:
        world.passes(0.0)
    worker = world.worker(b"f")
    for _ in handles:
        worker.says(WORK_COMPLETE, worker.grabs(), b"").hears()
    world.wall -= YEARS
    world.core.tick(world.now, world.wall)
    assert world.core.wait_time() == 0.0 and world.does_chores() >= 2
    assert all(0 < due_in(world, handle) <= 420 for handle in handles)


@pytest.mark.parametrize("back, again", ((HOUR, False), (2.9 * HOUR, False), (5 * HOUR, True)))
def test_a_fixed_time_does_not_come_again_when_the_clock_is_set_back_by_less_than_three_hours(world, back, again):
    """As in cron, which takes more for a correction."""
    worker = world.worker(b"f")
    world.sets_clock(-world.wall % 86400)
    handle = recurs(world, b"0 10 * * *")
    world.passes(10 * HOUR)
    runs(world, worker, handle)
    assert due_in(world, handle) == 24 * HOUR
    world.passes(60)
    world.sets_clock(-back)
    assert due_in(world, handle) == (0 if again else 24 * HOUR) + back - 60
    assert worker.grabs() is None


def test_nor_when_that_is_done_while_it_runs(world):
    worker = world.worker(b"f")
    world.sets_clock(-world.wall % 86400)
    handle = recurs(world, b"0 10 * * *")
    world.passes(10 * HOUR)
    assert worker.grabs() == handle
    world.sets_clock(-HOUR)
    worker.says(WORK_COMPLETE, handle, b"").hears()
    assert due_in(world, handle) == 25 * HOUR


def test_an_interval_goes_on_when_the_clock_is_set_back_or_forward(world):
    worker, handle = world.worker(b"f"), recurs(world, b"*/5 * * * *")
    for seconds in (-HOUR, HOUR, -10 * HOUR, 1000.0, -30.0):
        world.sets_clock(seconds)
        if due_in(world, handle) <= 0:
            runs(world, worker, handle)
        assert 0 < due_in(world, handle) <= 300, seconds
        world.passes(300)
        runs(world, worker, handle)


def test_a_clock_that_is_slewed_corrects_nothing(world):
    handle = recurs(world, b"0 10 * * *")
    due = world.core.jobs[handle].due
    for _ in range(100):
        world.wall -= 0.05
        world.passes(0.1)
    assert world.core.jobs[handle].due == due


@pytest.mark.parametrize("seconds", (-YEARS, -HOUR, HOUR, YEARS))
def test_the_next_attempt_of_a_failed_job_comes_when_it_would_have_come(make_world, seconds):
    world = make_world(policy=FunctionPolicy(attempts=3, backoff=100.0))
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    worker.grabs()
    worker.says(WORK_FAIL, handle)
    wait = world.wait
    assert 75 <= wait <= 125
    world.sets_clock(seconds)
    assert world.wait == pytest.approx(wait)
    world.passes(wait - 1)
    assert worker.grabs() is None
    world.passes(1.001)
    assert worker.grabs() == handle


def test_a_job_for_a_date_comes_at_that_date_and_once(world):
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 1000), b"").hears((JOB_CREATED, b"H:x:1"))
    world.sets_clock(-500)
    world.passes(1400)
    assert worker.grabs() is None
    world.sets_clock(500)
    world.sets_clock(-500)
    runs(world, worker, b"H:x:1")


def test_a_requeued_job_does_not_wait_for_the_time_of_an_attempt_that_it_had(make_world):
    world = make_world(policy=FunctionPolicy(attempts=2, backoff=100.0))
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    worker.grabs()
    worker.says(WORK_FAIL, handle)
    world.passes(200)
    worker.says(WORK_FAIL, worker.grabs())
    world.sets_clock(-YEARS)
    assert client.asks(b"requeue all") == b"OK 1\r\n" and worker.grabs() == handle


@pytest.mark.parametrize("hours", (0.5, 5.0, 9.75))
def test_a_recurring_job_that_is_run_now_comes_at_its_next_time_all_the_same(world, hours):
    worker = world.worker(b"f")
    world.sets_clock(-world.wall % 86400)
    handle = recurs(world, b"0 10 * * *")
    world.passes(hours * HOUR)
    assert world.connects().asks(b"run job " + handle) == b"OK\r\n"
    runs(world, worker, handle)
    assert due_in(world, handle) == (10 - hours) * HOUR


@pytest.mark.parametrize("held", (False, True))
def test_a_recurring_job_that_waits_for_the_disk_or_an_equal_job_comes_by_the_clock_that_was_set_back(make_world, held):
    world = make_world(durable=True, policy=FunctionPolicy(RERUN))
    client, worker = world.connects(), world.worker(b"f")
    handle = b"H:x:%d" % (1 + held)
    if held:
        client.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
        world.stores()
        assert worker.grabs() == b"H:x:1"
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"w")
    if held:
        world.stores()
    assert world.core.jobs[handle].state is (HELD if held else STORING)
    world.sets_clock(-YEARS)
    if held:
        client.takes()
        worker.says(WORK_COMPLETE, b"H:x:1", b"")
    else:
        world.stores()
        client.takes()
    assert 0 < due_in(world, handle) <= 60
    assert last_update(world) == (handle, world.core.jobs[handle].due)


# --------------------------------------------------------------------------------------------------------- restored at a start

def test_the_time_that_a_start_corrects_since_the_clock_was_set_back_is_recorded(make_world):
    world = make_world(durable=True)
    job = world.restores(b"H:x:1", due=world.wall + YEARS, schedule=b"* * * * *")
    assert last_update(world) == (b"H:x:1", job.due)


@pytest.mark.parametrize("fields, longest", ((b"* * * * *", 60), (b"30 4 * * *", 86400)))
def test_a_recurring_job_whose_time_was_told_by_a_clock_that_was_ahead_comes_soon(world, fields, longest):
    assert 0 < world.restores(b"H:x:1", due=world.wall + YEARS, schedule=fields).due - world.wall <= longest


def test_a_fixed_time_that_is_stored_does_not_come_twice_when_the_clock_was_set_back_a_little(world):
    world.sets_clock(-world.wall % 86400 + 9.5 * HOUR)
    tomorrow = world.wall + 24.5 * HOUR
    assert world.restores(b"H:x:1", due=tomorrow, schedule=b"0 10 * * *").due == tomorrow


def test_the_next_attempt_that_is_stored_is_not_further_away_than_it_was(make_world):
    world = make_world(policy=FunctionPolicy(attempts=5, backoff=10.0))
    world.restores(b"H:x:1", due=world.wall + YEARS, attempts=2)
    assert 20 <= world.wait <= 25
    worker = world.worker(b"f")
    world.sets_clock(-YEARS)
    world.passes(25)
    worker.says(GRAB_JOB)
    assert worker.takes()


def test_what_is_to_be_done_each_second_is_done_at_the_first_tick_of_each(world):
    calls = []
    world.core.each_second = lambda: calls.append(world.core.now)
    for seconds in (0.5, 0.25, 0.25, 0.5, 0.5, 7.0):
        world.passes(seconds)
    assert calls == [1001.0, 1002.0, 1009.0]

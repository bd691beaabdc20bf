"""Attempts that are lost, failed or too slow, jobs set aside, and jobs that wait for their time."""
import pytest

from gearman_std.core.jobs import SET_ASIDE, FunctionPolicy
from gearman_std.wire.protocol import (CAN_DO, CAN_DO_TIMEOUT, CANT_DO, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, NOOP, PRE_SLEEP,
                                       SUBMIT_JOB_EPOCH, SUBMIT_JOB_LOW_BG, SUBMIT_JOB_SCHED, WORK_COMPLETE, WORK_EXCEPTION,
                                       WORK_FAIL)


# ------------------------------------------------------------------------------------------------ attempts, failing, set aside

def test_a_foreground_job_fails_when_its_attempts_are_used_up(make_world):
    world = make_world(policy=FunctionPolicy(retries=3))
    client = world.connects()
    handle = client.submits()
    world.loses(2)
    client.hears()
    world.loses(1)
    client.hears((WORK_FAIL, handle))
    assert world.core.jobs == {} and world.aside() == []


def test_a_background_job_is_set_aside_with_its_last_error_when_its_attempts_are_used_up(make_world):
    world = make_world(policy=FunctionPolicy(retries=2))
    client, listener = world.connects(), world.connects()
    handle = client.submits_bg(b"f", b"u")
    listener.submits(b"f", b"u")
    world.loses(2)
    listener.hears((WORK_FAIL, handle))
    assert world.aside() == [(handle, b"the worker was lost")]
    assert world.core.aside[handle].state is SET_ASIDE and not client.knows(handle)
    assert client.submits_bg(b"f", b"u") != handle, "what is set aside is not joined"


def test_attempts_are_limited_by_default(world):
    handle = world.connects().submits_bg()
    world.loses(5)
    assert world.aside() == [(handle, b"the worker was lost")]


def test_attempts_without_a_limit_on_request(make_world):
    world = make_world(policy=FunctionPolicy(retries=0))
    handle = world.connects().submits_bg()
    world.loses(300)
    assert world.worker(b"f").grabs() == handle and world.aside() == []


def test_each_function_may_have_its_own_limit_of_attempts(make_world):
    world = make_world(policy=FunctionPolicy(retries=1), policies={b"g": FunctionPolicy(retries=2)})
    client = world.connects()
    f, g = client.submits_bg(b"f"), client.submits_bg(b"g")
    world.loses(1, b"f")
    world.loses(1, b"g")
    assert world.aside() == [(f, b"the worker was lost")]
    assert world.worker(b"g").grabs() == g


def test_a_set_aside_job_is_requeued_with_all_its_attempts(make_world):
    world = make_world(policy=FunctionPolicy(retries=2))
    client = world.connects()
    handle = client.submits_bg(b"f", b"u")
    world.loses(2)
    sleeper = world.worker(b"f", sleeps=True)
    assert client.asks(b"requeue job " + handle) == b"OK 1\r\n"
    sleeper.hears((NOOP,))
    assert client.submits_bg(b"f", b"u") == handle, "a requeued job is joined again"
    sleeper.leaves()
    world.loses(2)
    assert world.aside() == [(handle, b"the worker was lost")]


def test_a_requeued_job_whose_unique_is_taken_meanwhile_runs_beside_the_other(make_world):
    world = make_world(policy=FunctionPolicy(retries=1))
    client = world.connects()
    old = client.submits_bg(b"f", b"u")
    world.loses(1)
    new = client.submits_bg(b"f", b"u")
    assert client.asks(b"requeue job " + old) == b"OK 1\r\n"
    worker = world.worker(b"f")
    assert [worker.grabs(), worker.grabs()] == [new, old]
    worker.says(WORK_COMPLETE, old, b"")
    assert client.submits_bg(b"f", b"u") == new
    worker.says(WORK_COMPLETE, new, b"").hears()
    assert client.submits_bg(b"f", b"u") not in (old, new)


def test_a_set_aside_job_whose_function_was_dropped_can_be_requeued(make_world):
    world = make_world(policy=FunctionPolicy(retries=1))
    client = world.connects()
    handle = client.submits_bg(b"f", b"u", b"12345")
    world.loses(1)
    assert client.asks(b"drop function f") == b"OK\r\n"
    assert client.asks(b"requeue all") == b"OK 1\r\n"
    worker = world.worker(b"f")
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, b"")
    assert world.core.size == 0 == world.core.functions[b"f"].size


def test_a_requeued_job_that_is_not_due_waits_for_its_time(world):
    client = world.connects()
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 60), b"").hears((JOB_CREATED, b"H:x:1"))
    assert client.asks(b"drop function f force") == b"OK\r\n"
    assert client.asks(b"requeue all") == b"OK 1\r\n"
    worker = world.worker(b"f")
    assert worker.grabs() is None
    world.passes(60)
    assert worker.grabs() == b"H:x:1"


def test_a_purged_job_is_gone(make_world):
    world = make_world(policy=FunctionPolicy(retries=1))
    client = world.connects()
    handle = client.submits_bg()
    world.loses(1)
    assert client.asks(b"purge job " + handle) == b"OK 1\r\n"
    assert world.aside() == [] and world.core.size == 0
    assert client.asks(b"purge job " + handle) == b"ERR UNKNOWN_JOB\r\n"


def test_without_a_retry_policy_a_failure_is_final(world):
    client, worker = world.connects(), world.worker(b"f")
    foreground, background = client.submits(), client.submits_bg()
    assert [worker.grabs(), worker.grabs()] == [foreground, background]
    worker.says(WORK_FAIL, foreground).says(WORK_FAIL, background).hears()
    client.hears((WORK_FAIL, foreground))
    assert world.core.jobs == {} and world.aside() == []


def test_a_failed_background_job_waits_runs_again_and_is_set_aside_at_last(make_world):
    world = make_world(policy=FunctionPolicy(attempts=3, backoff=10.0))
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    for wait in (10, 20):
        assert worker.grabs() == handle
        worker.says(WORK_EXCEPTION, handle, b"no space left").hears()
        world.passes(wait * 0.74)
        assert worker.grabs() is None
        world.passes(wait * 0.52)
    assert worker.grabs() == handle
    worker.says(WORK_FAIL, handle).hears()
    assert world.aside() == [(handle, b"the worker failed it")]
    assert world.totals().requeued == 2 and world.totals().failed == 1


def test_a_retry_policy_wakes_a_sleeper_when_the_time_has_come(make_world):
    world = make_world(policy=FunctionPolicy(attempts=2, backoff=10.0))
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    worker.grabs()
    worker.says(WORK_FAIL, handle).says(PRE_SLEEP).hears()
    assert 7.5 <= world.wait <= 12.5
    world.passes(world.wait)
    worker.hears((NOOP,))


def test_jobs_that_fail_together_do_not_come_back_together(make_world):
    world = make_world(policy=FunctionPolicy(attempts=2, backoff=100.0))
    client, worker = world.connects(), world.worker(b"f")
    handles = [client.submits_bg() for _ in range(20)]
    for handle in handles:
        assert worker.grabs() == handle
    for handle in handles:
        worker.says(WORK_FAIL, handle)
    worker.hears()
    due = sorted(world.core.jobs[handle].due - world.wall for handle in handles)
    assert 75 <= due[0] < 85 and 115 < due[-1] <= 125 and len(set(due)) == 20


def test_a_foreground_job_does_not_wait_for_a_retry(make_world):
    world = make_world(policy=FunctionPolicy(attempts=3))
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits()
    worker.grabs()
    worker.says(WORK_FAIL, handle)
    client.hears((WORK_FAIL, handle))


def test_who_joined_a_background_job_that_failed_hears_its_end_only_when_it_is_final(make_world):
    world = make_world(policy=FunctionPolicy(attempts=2, backoff=1.0))
    client, listener, worker = world.connects(), world.connects(), world.worker(b"f")
    handle = client.submits_bg(b"f", b"u")
    listener.submits(b"f", b"u")
    worker.grabs()
    worker.says(WORK_FAIL, handle)
    listener.hears()
    world.passes(2)
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, b"at last")
    listener.hears((WORK_COMPLETE, handle, b"at last"))


# ----------------------------------------------------------------------------------------------------------------- time limits

def with_time_limit(world, milliseconds, function=b"f"):
    return world.connects().says(CAN_DO_TIMEOUT, function, milliseconds).hears()


def test_when_the_time_limit_runs_out_a_foreground_job_fails(world):
    client, worker = world.connects(), with_time_limit(world, b"2500")
    handle = client.submits()
    assert worker.grabs() == handle and world.wait == 2.5
    world.passes(2.4)
    client.hears()
    world.passes(0.1)
    client.hears((WORK_FAIL, handle))
    worker.hears()
    worker.says(WORK_COMPLETE, handle, b"late").hears_error(b"JOB_NOT_FOUND")
    assert world.core.jobs == {} and world.wait is None


def test_when_the_time_limit_runs_out_a_background_job_uses_its_next_attempt(make_world):
    world = make_world(policy=FunctionPolicy(retries=2))
    client, worker, sleeper = world.connects(), with_time_limit(world, b"2000"), world.worker(b"f")
    handle = client.submits_bg()
    assert worker.grabs() == handle
    sleeper.says(PRE_SLEEP).hears()
    world.passes(2)
    sleeper.hears((NOOP,))
    worker.says(WORK_COMPLETE, handle, b"late").hears_error(b"JOB_NOT_FOUND")
    assert worker.grabs() == handle
    world.passes(2)
    assert world.aside() == [(handle, b"the time limit ran out")]


def test_a_time_limit_is_that_of_its_function_only(world):
    client, worker = world.connects(), with_time_limit(world, b"2000")
    worker.says(CAN_DO, b"g")
    handle, limited = client.submits(b"g"), client.submits(b"f")
    assert {worker.grabs(), worker.grabs()} == {handle, limited}
    world.passes(2.0)
    client.hears((WORK_FAIL, limited))
    world.passes(100.0)
    worker.says(WORK_COMPLETE, handle, b"")
    client.hears((WORK_COMPLETE, handle, b""))


@pytest.mark.parametrize("milliseconds, seconds", ((b"1", 1.0), (b"999", 1.0), (b"1000", 1.0), (b"1001", 1.001),
                                                   (b"5000x", 5.0)))
def test_time_limits_are_milliseconds_and_at_least_a_second(world, milliseconds, seconds):
    client, worker = world.connects(), with_time_limit(world, milliseconds)
    client.submits_bg()
    worker.grabs()
    assert world.wait == pytest.approx(seconds)


@pytest.mark.parametrize("milliseconds", (b"0", b"-5", b"abc", b""))
def test_what_is_no_positive_number_is_no_time_limit(world, milliseconds):
    client, worker = world.connects(), with_time_limit(world, milliseconds)
    client.submits_bg()
    worker.grabs()
    assert world.wait is None


def test_a_time_limit_that_no_number_can_hold_is_refused(world):
    world.connects().says(CAN_DO_TIMEOUT, b"f", b"9" * 21).hears_error(b"INVALID_ARGUMENTS", b"The time limit is out of range")
    assert world.core.functions == {}


def test_the_newest_registration_of_a_function_sets_its_time_limit(world):
    client, worker = world.connects(), with_time_limit(world, b"2000")
    worker.says(CAN_DO_TIMEOUT, b"f", b"7000")
    client.submits_bg()
    worker.grabs()
    assert world.wait == 7.0
    worker.says(CAN_DO, b"f")
    client.submits_bg()
    worker.grabs()
    assert world.wait == 7.0, "a new registration is for new jobs"


@pytest.mark.parametrize("end", ((WORK_COMPLETE, b"r"), (WORK_FAIL,), (WORK_EXCEPTION, b"e")))
def test_a_time_limit_does_not_outlive_its_job(world, end):
    client, worker = world.connects(), with_time_limit(world, b"2000")
    handle = client.submits_bg()
    worker.grabs()
    worker.says(end[0], handle, *end[1:]).hears()
    assert world.wait is None
    second = client.submits_bg()
    assert worker.grabs() == second
    world.passes(1.9)
    worker.says(WORK_COMPLETE, second, b"").hears()
    assert world.wait is None


def test_each_job_of_a_worker_has_its_own_time_limit(world):
    client, worker = world.connects(), with_time_limit(world, b"2000")
    first, second = client.submits(), client.submits()
    worker.grabs()
    world.passes(1)
    worker.grabs()
    world.passes(1)
    client.hears((WORK_FAIL, first))
    world.passes(1)
    client.hears((WORK_FAIL, second))


@pytest.mark.parametrize("way", ("leaves", "cant_do", "cancel"))
def test_a_time_limit_goes_with_what_takes_the_job_from_its_worker(world, way):
    client, worker = world.connects(), with_time_limit(world, b"2000")
    handle = client.submits_bg()
    worker.grabs()
    if way == "leaves":
        worker.leaves()
    elif way == "cant_do":
        worker.says(CANT_DO, b"f")
    else:
        client.asks(b"cancel job " + handle)
    assert world.wait is None


# ------------------------------------------------------------------------------------------------------------- at a given time

def test_an_epoch_job_waits_for_its_time_and_lets_others_pass(world):
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 30), b"later").hears((JOB_CREATED, b"H:x:1"))
    other, low = client.submits_bg(), client.submits_bg(packet_type=SUBMIT_JOB_LOW_BG)
    assert [worker.grabs(), worker.grabs(), worker.grabs()] == [other, low, None]
    worker.says(PRE_SLEEP).hears()
    assert world.wait == 30
    world.passes(29.9)
    worker.hears()
    world.passes(0.1)
    worker.hears((NOOP,)).says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"f", b"later"))


@pytest.mark.parametrize("epoch", (b"0", b"-5", b"soon", b"", b"1500000000"))
def test_an_epoch_that_is_past_or_no_number_is_now(world, epoch):
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", epoch, b"").hears((JOB_CREATED, b"H:x:1"))
    assert worker.grabs() == b"H:x:1"


@pytest.mark.parametrize("epoch", (b"%d" % (1 << 63), b"9" * 1000))
def test_an_epoch_out_of_range_is_refused(world, epoch):
    talker = world.connects()
    talker.says(SUBMIT_JOB_EPOCH, b"f", b"", epoch, b"").hears_error(b"INVALID_ARGUMENTS", b"The time is out of range")
    assert world.core.jobs == {}


def test_an_epoch_job_is_a_background_job(world):
    client = world.connects()
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 30), b"").hears((JOB_CREATED, b"H:x:1"))
    client.leaves()
    assert world.core.jobs[b"H:x:1"].background


def test_a_scheduled_job_recurs(world):
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*/5", b"*", b"*", b"*", b"*", b"w").hears((JOB_CREATED, b"H:x:1"))
    for end in ((WORK_COMPLETE, b"r"), (WORK_FAIL,), (WORK_EXCEPTION, b"e"), (WORK_COMPLETE, b"r")):
        assert worker.grabs() is None
        assert 0 < world.wait <= 300
        world.passes(world.wait)
        assert worker.grabs() == b"H:x:1"
        worker.says(end[0], b"H:x:1", *end[1:]).hears()
    assert client.submits(b"f", b"u") == b"H:x:1"


def test_a_recurring_job_that_is_cancelled_while_it_runs_does_not_come_back(world):
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_SCHED, b"f", b"", b"*", b"*", b"*", b"*", b"*", b"").hears((JOB_CREATED, b"H:x:1"))
    world.passes(60)
    assert worker.grabs() == b"H:x:1"
    client.asks(b"cancel job H:x:1")
    worker.says(WORK_COMPLETE, b"H:x:1", b"").hears_error(b"JOB_NOT_FOUND")
    assert world.core.jobs == {} and world.wait is None


@pytest.mark.parametrize("fields", ((b"60", b"*", b"*", b"*", b"*"), (b"*", b"*", b"30", b"2", b"*"),
                                    (b"1 2", b"*", b"*", b"*", b"*"), (b"0", b"0", b"31", b"4,6,9,11", b""),
                                    (b"0-99999999999999", b"*", b"*", b"*", b"*"), (b"9" * 8000, b"*", b"*", b"*", b"*")))
def test_a_schedule_that_cannot_be_is_refused(world, fields):
    world.connects().says(SUBMIT_JOB_SCHED, b"f", b"", *fields + (b"w",)).hears_error(b"INVALID_ARGUMENTS")
    assert world.core.jobs == {}


def test_an_empty_field_of_a_schedule_means_any(world):
    client = world.connects()
    client.says(SUBMIT_JOB_SCHED, b"f", b"", b"*/5", b"", b" ", b"", b"", b"w").hears((JOB_CREATED, b"H:x:1"))
    assert world.core.jobs[b"H:x:1"].schedule.text == b"*/5 * * * *"
    client.says(SUBMIT_JOB_SCHED, b"f", b"", b"", b"", b"", b"", b"", b"w").hears((JOB_CREATED, b"H:x:2"))
    assert world.core.jobs[b"H:x:2"].schedule.text == b"* * * * *"


def test_a_recurring_job_whose_next_time_is_beyond_the_calendar_is_set_aside(world):
    """As when the clock of the machine is set to a wild time."""
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_SCHED, b"f", b"", b"*", b"*", b"*", b"*", b"*", b"").hears((JOB_CREATED, b"H:x:1"))
    world.passes(world.wait)
    assert worker.grabs() == b"H:x:1"
    world.passes(300e9)
    worker.says(WORK_COMPLETE, b"H:x:1", b"").hears()
    (handle, error), = world.aside()
    assert handle == b"H:x:1" and error == b"The schedule never comes due"


def test_who_joined_a_job_that_was_set_aside_is_told_once_also_when_it_is_requeued(make_world):
    world = make_world(policy=FunctionPolicy(retries=1))
    listener, admin = world.connects(), world.connects()
    handle = world.connects().submits_bg(b"f", b"u")
    assert listener.submits(b"f", b"u") == handle
    world.loses(1)
    listener.hears((WORK_FAIL, handle))
    assert not listener.peer.watching and admin.asks(b"requeue all") == b"OK 1\r\n"
    worker = world.worker(b"f")
    worker.says(WORK_COMPLETE, worker.grabs(), b"r")
    listener.hears()

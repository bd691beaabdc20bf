"""Submits of the same function and unique: one job, whoever listens, and what the function's policy makes of it."""
import pytest

from gearman_std.core.jobs import JOIN, REJECT, REPLACE, RERUN, FunctionPolicy
from gearman_std.core.limits import Limits
from gearman_std.wire.protocol import (GRAB_JOB, GRAB_JOB_UNIQ, JOB_ASSIGN, JOB_ASSIGN_UNIQ, JOB_CREATED, NOOP, SUBMIT_JOB,
                                       SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW_BG,
                                       SUBMIT_JOB_SCHED, SUBMIT_REDUCE_JOB_BACKGROUND, WORK_COMPLETE, WORK_DATA)


# ------------------------------------------------------------------------------------------------------------------ coalescing

def test_the_same_function_and_unique_is_the_same_job_and_the_first_workload_stays(world):
    one, two, worker = world.connects(), world.connects(), world.worker(b"f")
    handle = one.submits(b"f", b"u", b"first")
    assert two.submits(b"f", b"u", b"second") == handle
    worker.says(GRAB_JOB_UNIQ).hears((JOB_ASSIGN_UNIQ, handle, b"f", b"u", b"first"))
    worker.says(WORK_COMPLETE, handle, b"r")
    one.hears((WORK_COMPLETE, handle, b"r"))
    two.hears((WORK_COMPLETE, handle, b"r"))


def test_the_same_unique_of_another_function_is_another_job(world):
    client = world.connects()
    assert client.submits(b"f", b"u") != client.submits(b"g", b"u")


def test_an_empty_unique_never_coalesces(world):
    client = world.connects()
    assert client.submits(b"f", b"") != client.submits(b"f", b"")


def test_with_the_unique_dash_the_workload_is_the_key(world):
    client, worker = world.connects(), world.worker(b"f")
    first = client.submits(b"f", b"-", b"abc")
    assert client.submits(b"f", b"-", b"abd") != first == client.submits(b"f", b"-", b"abc")
    worker.says(GRAB_JOB_UNIQ).hears((JOB_ASSIGN_UNIQ, first, b"f", b"-", b"abc"))
    worker.says(WORK_COMPLETE, first, b"r")
    client.hears(*[(WORK_COMPLETE, first, b"r")] * 2)


def test_equal_large_workloads_are_one_job_for_a_dash_too(world):
    """They are views of what was received, which have no hash."""
    client = world.connects()
    for _ in range(2):
        world.core.receive(client.peer, [(SUBMIT_JOB, [b"f", b"-", memoryview(bytearray(100000))])])
    client.hears((JOB_CREATED, b"H:x:1"), (JOB_CREATED, b"H:x:1"))


def test_with_the_unique_dash_an_empty_workload_never_coalesces(world):
    client = world.connects()
    assert client.submits(b"f", b"-", b"") != client.submits(b"f", b"-", b"")


def test_a_unique_of_64_bytes_is_taken_and_one_of_65_is_too_large(world):
    client = world.connects()
    assert client.submits(b"f", b"u" * 64) == b"H:x:1"
    client.says(SUBMIT_JOB, b"f", b"u" * 65, b"").hears_error(b"ARGUMENT_TOO_LARGE", b"Unique value too large")


def test_a_client_that_submits_twice_gets_every_packet_twice(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits(b"f", b"u")
    client.submits(b"f", b"u")
    worker.grabs()
    worker.says(WORK_DATA, handle, b"d").says(WORK_COMPLETE, handle, b"r")
    client.hears(*[(WORK_DATA, handle, b"d")] * 2 + [(WORK_COMPLETE, handle, b"r")] * 2)


def test_who_joins_a_running_job_gets_only_later_packets(world):
    one, two, worker = world.connects(), world.connects(), world.worker(b"f")
    handle = one.submits(b"f", b"u")
    worker.grabs()
    worker.says(WORK_DATA, handle, b"early")
    assert two.submits(b"f", b"u") == handle
    worker.says(WORK_COMPLETE, handle, b"r")
    one.hears((WORK_DATA, handle, b"early"), (WORK_COMPLETE, handle, b"r"))
    two.hears((WORK_COMPLETE, handle, b"r"))


def test_after_completion_the_same_unique_is_a_new_job(world):
    client, worker = world.connects(), world.worker(b"f")
    first = client.submits_bg(b"f", b"u")
    worker.grabs()
    worker.says(WORK_COMPLETE, first, b"")
    assert client.submits_bg(b"f", b"u") != first


def test_plain_reduce_and_epoch_submits_of_one_unique_are_one_job(world):
    client = world.connects()
    handle = client.submits_bg(b"f", b"u")
    client.says(SUBMIT_REDUCE_JOB_BACKGROUND, b"f", b"u", b"r", b"0", b"w").hears((JOB_CREATED, handle))
    client.says(SUBMIT_JOB_EPOCH, b"f", b"u", b"%d" % (world.wall + 60), b"w").hears((JOB_CREATED, handle))
    assert world.worker(b"f").grabs() == handle


def test_joining_counts_and_wakes_nobody(world):
    client, worker = world.connects(), world.worker(b"f", sleeps=True)
    handle = client.submits_bg(b"f", b"u")
    worker.hears((NOOP,))
    client.submits_bg(b"f", b"u")
    client.submits_bg(b"f", b"u")
    worker.hears()
    assert world.core.jobs[handle].joins == 2 and world.totals().joined == 2


def test_joining_does_not_count_against_maxqueue(world):
    client = world.connects()
    assert client.asks(b"maxqueue f 1") == b"OK\r\n"
    handle = client.submits(b"f", b"u")
    assert client.submits(b"f", b"u") == handle
    client.says(SUBMIT_JOB, b"f", b"v", b"").hears_error(b"QUEUE_ERROR", b"Job queue is full")


def test_joining_with_a_higher_priority_raises_a_queued_job(world):
    client = world.connects()
    low = client.submits_bg(b"f", b"u", packet_type=SUBMIT_JOB_LOW_BG)
    normal = client.submits_bg(b"f", b"v")
    assert client.submits_bg(b"f", b"u", packet_type=SUBMIT_JOB_HIGH_BG) == low
    worker = world.worker(b"f")
    assert [worker.grabs(), worker.grabs()] == [low, normal]


def test_joining_with_a_lower_priority_changes_nothing(world):
    client = world.connects()
    high = client.submits_bg(b"f", b"u", packet_type=SUBMIT_JOB_HIGH_BG)
    normal = client.submits_bg(b"f", b"v")
    client.submits_bg(b"f", b"u", packet_type=SUBMIT_JOB_LOW_BG)
    worker = world.worker(b"f")
    assert [worker.grabs(), worker.grabs()] == [high, normal]


def test_joining_with_a_higher_priority_raises_jobs_that_run_or_wait_for_their_time_too(world):
    client, worker = world.connects(), world.worker(b"f")
    running = client.submits_bg(b"f", b"u", packet_type=SUBMIT_JOB_LOW_BG)
    assert worker.grabs() == running
    client.says(SUBMIT_JOB_EPOCH, b"f", b"v", b"%d" % (world.wall + 60), b"").hears((JOB_CREATED, b"H:x:2"))
    other = client.submits_bg(b"f", b"")
    client.submits_bg(b"f", b"u", packet_type=SUBMIT_JOB_HIGH_BG)
    client.submits_bg(b"f", b"v", packet_type=SUBMIT_JOB_HIGH_BG)
    worker.leaves()
    world.passes(60)
    worker = world.worker(b"f")
    assert [worker.grabs() for _ in range(3)] == [running, b"H:x:2", other]


@pytest.mark.parametrize("background_first", (True, False))
@pytest.mark.parametrize("running", (True, False))
def test_a_background_job_never_depends_on_a_listener(world, background_first, running):
    listener, submitter = world.connects(), world.connects()
    if background_first:
        handle = submitter.submits_bg(b"f", b"u")
        assert listener.submits(b"f", b"u") == handle
    else:
        handle = listener.submits(b"f", b"u")
        assert submitter.submits_bg(b"f", b"u") == handle
    worker = world.worker(b"f")
    if running:
        assert worker.grabs() == handle
    listener.leaves()
    submitter.leaves()
    if running:
        worker.leaves()
        worker = world.worker(b"f")
    assert worker.grabs() == handle


def test_a_foreground_client_that_joined_a_background_job_gets_its_result(world):
    submitter, listener, worker = world.connects(), world.connects(), world.worker(b"f")
    handle = submitter.submits_bg(b"f", b"u")
    listener.submits(b"f", b"u")
    worker.grabs()
    worker.says(WORK_COMPLETE, handle, b"r")
    listener.hears((WORK_COMPLETE, handle, b"r"))


# ------------------------------------------------------------------------------------------------------ policies of coalescing

def test_rerun_a_submit_that_meets_a_running_job_runs_once_more_with_the_newest_workload(make_world):
    world = make_world(policy=FunctionPolicy(RERUN))
    client, worker = world.connects(), world.worker(b"f")
    first = client.submits(b"f", b"u", b"1")
    assert worker.grabs() == first
    second = client.submits(b"f", b"u", b"2")
    assert second != first == worker_grab_nothing(worker, first)
    assert client.submits(b"f", b"u", b"3") == second
    worker.says(WORK_COMPLETE, first, b"r1")
    client.hears((WORK_COMPLETE, first, b"r1"))
    worker.says(GRAB_JOB).hears((JOB_ASSIGN, second, b"f", b"3"))
    worker.says(WORK_COMPLETE, second, b"r2")
    client.hears(*[(WORK_COMPLETE, second, b"r2")] * 2)


def worker_grab_nothing(worker, value):
    assert worker.grabs() is None
    return value


def test_rerun_a_submit_that_meets_a_waiting_job_joins_it(make_world):
    world = make_world(policy=FunctionPolicy(RERUN))
    client = world.connects()
    handle = client.submits_bg(b"f", b"u", b"1")
    assert client.submits_bg(b"f", b"u", b"2") == handle
    world.worker(b"f").says(GRAB_JOB).hears((JOB_ASSIGN, handle, b"f", b"1"))


def successor_world(make_world, first_bg=True, **policy):
    world = make_world(policy=FunctionPolicy(RERUN, **policy))
    client, worker = world.connects(), world.worker(b"f")
    first = client.submits_bg(b"f", b"u", b"1")
    assert worker.grabs() == first
    second = client.submits_bg(b"f", b"u", b"2")
    assert second != first
    return world, client, worker, first, second


def test_rerun_goes_on_when_the_running_job_is_cancelled(make_world):
    world, client, worker, first, second = successor_world(make_world)
    assert client.asks(b"cancel job " + first) == b"OK\r\n"
    assert worker.grabs() == second
    worker.says(WORK_COMPLETE, first, b"").hears_error(b"JOB_NOT_FOUND")


def test_rerun_goes_on_when_the_running_job_is_set_aside(make_world):
    world, client, worker, first, second = successor_world(make_world, retries=1)
    worker.leaves()
    assert world.aside() == [(first, b"the worker was lost")]
    assert world.worker(b"f").grabs() == second


def test_rerun_waits_for_a_running_job_that_was_lost_and_runs_again(make_world):
    world, client, worker, first, second = successor_world(make_world)
    worker.leaves()
    worker = world.worker(b"f")
    assert [worker.grabs(), worker.grabs()] == [first, None]
    worker.says(WORK_COMPLETE, first, b"")
    assert worker.grabs() == second


def test_rerun_a_cancelled_successor_is_forgotten(make_world):
    world, client, worker, first, second = successor_world(make_world)
    assert client.asks(b"cancel job " + second) == b"OK\r\n"
    third = client.submits_bg(b"f", b"u", b"3")
    assert third not in (first, second)
    worker.says(WORK_COMPLETE, first, b"")
    assert [worker.grabs(), worker.grabs()] == [third, None]


def test_rerun_a_successor_whose_client_left_is_forgotten(make_world):
    world = make_world(policy=FunctionPolicy(RERUN))
    client, other, worker = world.connects(), world.connects(), world.worker(b"f")
    first = client.submits(b"f", b"u")
    worker.grabs()
    other.submits(b"f", b"u")
    other.leaves()
    worker.says(WORK_COMPLETE, first, b"")
    client.hears((WORK_COMPLETE, first, b""))
    assert worker.grabs() is None and world.core.jobs == {}


def test_rerun_behind_a_recurring_job_does_not_wait_for_its_next_time(make_world):
    world = make_world(policy=FunctionPolicy(RERUN))
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"w").hears((JOB_CREATED, b"H:x:1"))
    world.passes(60)
    assert worker.grabs() == b"H:x:1"
    second = client.submits(b"f", b"u")
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    assert worker.grabs() == second
    worker.says(WORK_COMPLETE, second, b"r")
    client.hears((WORK_COMPLETE, second, b"r"))
    world.passes(60)
    assert worker.grabs() == b"H:x:1"


def test_rerun_behind_a_recurring_job_never_recurs_too(make_world):
    """Else one unique would run twice as often for ever."""
    world = make_world(policy=FunctionPolicy(RERUN))
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", *SCHEDULE + (b"1",)).hears((JOB_CREATED, b"H:x:1"))
    world.passes(60)
    assert worker.grabs() == b"H:x:1"
    assert client.submits_bg(b"f", b"u", b"2") == b"H:x:2"
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", *SCHEDULE + (b"3",)).hears((JOB_CREATED, b"H:x:2"))
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    worker.says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:2", b"f", b"3"))
    worker.says(WORK_COMPLETE, b"H:x:2", b"")
    assert list(world.core.jobs) == [b"H:x:1"]


def test_rerun_of_an_epoch_job_does_not_run_before_its_time(make_world):
    world = make_world(policy=FunctionPolicy(RERUN))
    client, worker = world.connects(), world.worker(b"f")
    first = client.submits_bg(b"f", b"u")
    worker.grabs()
    client.says(SUBMIT_JOB_EPOCH, b"f", b"u", b"%d" % (world.wall + 10), b"").hears((JOB_CREATED, b"H:x:2"))
    worker.says(WORK_COMPLETE, first, b"")
    assert worker.grabs() is None
    world.passes(10)
    assert worker.grabs() == b"H:x:2"


def test_a_function_is_dropped_with_a_job_and_its_successor(make_world):
    world, client, worker, first, second = successor_world(make_world)
    worker.leaves()
    assert client.asks(b"drop function f force") == b"OK\r\n"
    assert {handle for handle, _ in world.aside()} == {first, second}
    assert client.asks(b"requeue all") == b"OK 2\r\n"
    worker = world.worker(b"f")
    assert {worker.grabs(), worker.grabs()} == {first, second}


def test_replace_a_waiting_job_gets_the_newest_workload(make_world):
    world = make_world(policy=FunctionPolicy(REPLACE))
    client = world.connects()
    handle = client.submits_bg(b"f", b"u", b"first")
    assert client.submits_bg(b"f", b"u", b"newest one") == handle
    assert world.core.size == len(b"newest one")
    world.worker(b"f").says(GRAB_JOB).hears((JOB_ASSIGN, handle, b"f", b"newest one"))


def test_replace_a_running_job_is_joined(make_world):
    world = make_world(policy=FunctionPolicy(REPLACE))
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits(b"f", b"u", b"first")
    worker.says(GRAB_JOB).hears((JOB_ASSIGN, handle, b"f", b"first"))
    assert client.submits(b"f", b"u", b"second") == handle
    worker.leaves()
    world.worker(b"f").says(GRAB_JOB).hears((JOB_ASSIGN, handle, b"f", b"first"))


def test_replace_with_the_unique_dash_keeps_the_job_to_be_found(make_world):
    world = make_world(policy=FunctionPolicy(REPLACE))
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg(b"f", b"-", b"w")
    assert client.submits_bg(b"f", b"-", b"w") == handle
    worker.grabs()
    worker.says(WORK_COMPLETE, handle, b"")
    assert client.submits_bg(b"f", b"-", b"w") != handle


def test_replace_by_a_workload_for_which_there_is_no_room_is_refused(make_world):
    world = make_world(policy=FunctionPolicy(REPLACE), limits=Limits(job_bytes=10))
    client = world.connects()
    handle = client.submits_bg(b"f", b"u", b"12345")
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"12345678901").hears_error(b"QUEUE_ERROR", b"The server is full: too many bytes")
    world.worker(b"f").says(GRAB_JOB).hears((JOB_ASSIGN, handle, b"f", b"12345"))


def test_reject_a_submit_that_meets_another_is_refused_by_name(make_world):
    world = make_world(policy=FunctionPolicy(REJECT))
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg(b"f", b"u")
    client.says(SUBMIT_JOB, b"f", b"u", b"").hears_error(b"JOB_EXISTS", b"A job with this unique exists: " + handle)
    worker.grabs()
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"").hears_error(b"JOB_EXISTS")
    worker.says(WORK_COMPLETE, handle, b"")
    assert client.submits_bg(b"f", b"u") != handle
    assert world.totals().refused == 2


def test_a_function_may_have_a_policy_of_its_own(make_world):
    world = make_world(policy=FunctionPolicy(REJECT), policies={b"f": FunctionPolicy(JOIN)})
    client = world.connects()
    assert client.submits_bg(b"f", b"u") == client.submits_bg(b"f", b"u")
    client.submits_bg(b"g", b"u")
    client.says(SUBMIT_JOB_BG, b"g", b"u", b"").hears_error(b"JOB_EXISTS")


SCHEDULE = (b"*", b"*", b"*", b"*", b"*")


@pytest.mark.parametrize("coalescing", [JOIN, REPLACE, RERUN])
@pytest.mark.parametrize("running", [False, True])
def test_a_recurring_submit_that_meets_a_single_job_makes_it_recur(make_world, coalescing, running):
    world = make_world(policy=FunctionPolicy(coalescing))
    client, other, worker = world.connects(), world.connects(), world.worker(b"f")
    first = client.submits(b"f", b"u")
    if running:
        worker.grabs()
    other.says(SUBMIT_JOB_SCHED, b"f", b"u", *SCHEDULE + (b"w",))
    recurring = b"H:x:2" if running and coalescing == RERUN else first
    other.hears((JOB_CREATED, recurring)).leaves()
    if not running:
        worker.grabs()
    worker.says(WORK_COMPLETE, first, b"r")
    client.hears((WORK_COMPLETE, first, b"r"))
    for _ in range(2):
        assert worker.grabs() is None
        world.passes(60)
        assert worker.grabs() == recurring
        worker.says(WORK_COMPLETE, recurring, b"")


@pytest.mark.parametrize("coalescing", [JOIN, REPLACE, RERUN])
def test_a_recurring_submit_that_meets_itself_while_it_runs_does_not_make_two(make_world, coalescing):
    world = make_world(policy=FunctionPolicy(coalescing))
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", *SCHEDULE + (b"w",)).hears((JOB_CREATED, b"H:x:1"))
    world.passes(60)
    assert worker.grabs() == b"H:x:1"
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", *SCHEDULE + (b"w",)).hears((JOB_CREATED, b"H:x:1"))
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    assert list(world.core.jobs) == [b"H:x:1"]


NEVER_SOON = (b"0", b"0", b"1", b"1", b"*")


@pytest.mark.parametrize("coalescing", [JOIN, REPLACE, RERUN])
@pytest.mark.parametrize("running", [False, True])
def test_a_recurring_submit_gives_a_job_that_recurs_already_its_schedule_with_replace_only(make_world, coalescing, running):
    world = make_world(policy=FunctionPolicy(coalescing))
    client, worker = world.connects(), world.worker(b"f")
    old, new = (SCHEDULE, NEVER_SOON) if running else (NEVER_SOON, SCHEDULE)
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", *old + (b"w",)).hears((JOB_CREATED, b"H:x:1"))
    if running:
        world.passes(60)
        assert worker.grabs() == b"H:x:1"
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", *new + (b"w",)).hears((JOB_CREATED, b"H:x:1"))
    if running:
        worker.says(WORK_COMPLETE, b"H:x:1", b"")
    world.passes(60)
    soon = running != (coalescing == REPLACE)
    assert worker.grabs() == (b"H:x:1" if soon else None)


def test_a_new_schedule_does_not_put_off_a_run_whose_time_has_come(make_world):
    world = make_world(policy=FunctionPolicy(REPLACE))
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", *SCHEDULE + (b"w",)).hears((JOB_CREATED, b"H:x:1"))
    world.passes(60)
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", *NEVER_SOON + (b"w",)).hears((JOB_CREATED, b"H:x:1"))
    assert worker.grabs() == b"H:x:1"
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    world.passes(60)
    assert worker.grabs() is None


@pytest.mark.parametrize("schedule, comes", ((SCHEDULE, 60), (NEVER_SOON, 90)))
def test_a_job_for_a_date_that_is_given_a_schedule_comes_at_the_first_of_both(world, schedule, comes):
    """So does a server that starts in between, as it knows no other time of a recurring job."""
    client, worker = world.connects(), world.worker(b"f")
    world.sets_clock(-world.wall % 60)
    client.says(SUBMIT_JOB_EPOCH, b"f", b"u", b"%d" % (world.wall + 90), b"w").hears((JOB_CREATED, b"H:x:1"))
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", *schedule + (b"w",)).hears((JOB_CREATED, b"H:x:1"))
    world.passes(comes - 1)
    assert worker.grabs() is None
    world.passes(1)
    assert worker.grabs() == b"H:x:1"

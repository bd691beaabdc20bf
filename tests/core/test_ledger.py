"""With a store: JOB_CREATED is true only when the job is on disk, and what cannot be written is refused and forgotten."""
import pytest

from gearman_std.core.chain import CHAIN_STEP
from gearman_std.core.jobs import (DELAYED, HELD, POSITIONS, REPLACE, RERUN, SET_ASIDE, STORING, WAITING, Function,
                                   FunctionPolicy)
from gearman_std.wire.protocol import (CANT_DO, ERROR, GET_STATUS, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, NOOP, STATUS_RES,
                                       SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_SCHED,
                                       WORK_COMPLETE, WORK_FAIL)

FULL = (b"QUEUE_ERROR", b"the disk is full")


@pytest.fixture
def durable(make_world):
    return make_world(durable=True)


def record(world):
    """The kinds of the records that wait, with their handles."""
    return [one[:2] for one in world.core.records]


def test_a_background_job_is_given_to_nobody_before_it_is_stored(durable):
    client, worker = durable.connects(), durable.worker(b"f", sleeps=True)
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    worker.hears()
    assert durable.core.jobs[b"H:x:1"].state is STORING
    assert durable.core.records == [("add", b"H:x:1", b"f", b"u", b"w", None, 1, 0.0, 0, WAITING, b"", None, durable.wall, 0)]
    durable.stores()
    client.hears((JOB_CREATED, b"H:x:1"))
    worker.hears((NOOP,)).says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"f", b"w"))
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    assert durable.core.records == [("remove", b"H:x:1")]


def test_a_foreground_job_waits_for_no_store_and_is_not_recorded(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    handle = client.submits()
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, b"r")
    client.hears((WORK_COMPLETE, handle, b"r"))
    assert durable.core.records == []


def test_without_a_store_nothing_is_recorded(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    worker.grabs()
    worker.says(WORK_COMPLETE, handle, b"")
    assert world.core.records == []


def test_what_cannot_be_stored_is_refused_and_forgotten(durable):
    client = durable.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"w").says(SUBMIT_JOB, b"f", b"v", b"w").says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    durable.refuses_to_store()
    from core_world import packets_of
    assert packets_of(client.takes()) == [("ERROR",) + FULL, ("JOB_CREATED", b"H:x:2"), ("ERROR",) + FULL]
    assert list(durable.core.jobs) == [b"H:x:2"] and durable.totals().refused == 2
    assert durable.core.records == [("remove", b"H:x:1")], "its row may be there although writing it failed"


def test_while_the_store_is_in_trouble_background_jobs_are_refused_at_once_and_foreground_jobs_go_on(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    durable.refuses_to_store()
    client.hears_error(*FULL).says(SUBMIT_JOB_BG, b"f", b"", b"").hears_error(*FULL)
    handle = client.submits()
    assert worker.grabs() == handle
    durable.stores()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"").hears((JOB_CREATED, b"H:x:3"))


def test_other_records_are_kept_while_the_store_is_in_trouble(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    old = client.submits_bg()
    durable.stores()
    assert worker.grabs() == old
    worker.says(WORK_COMPLETE, old, b"")
    client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    durable.refuses_to_store()
    client.hears_error(*FULL)
    assert record(durable) == [("remove", old), ("remove", b"H:x:2")]


def test_a_client_that_joined_a_job_which_cannot_be_stored_keeps_it_in_the_foreground(durable):
    submitter, listener, worker = durable.connects(), durable.connects(), durable.worker(b"f", sleeps=True)
    submitter.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    assert listener.submits(b"f", b"u") == b"H:x:1"
    durable.refuses_to_store()
    submitter.hears_error(*FULL)
    worker.hears((NOOP,)).says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"f", b"w"))
    worker.says(WORK_COMPLETE, b"H:x:1", b"r")
    listener.hears((WORK_COMPLETE, b"H:x:1", b"r"))
    assert record(durable) == [("remove", b"H:x:1")]


def test_a_background_submit_that_joins_a_foreground_job_is_stored_before_it_is_acknowledged(durable):
    listener, submitter = durable.connects(), durable.connects()
    handle = listener.submits(b"f", b"u")
    submitter.says(SUBMIT_JOB_BG, b"f", b"u", b"other")
    assert record(durable) == [("add", handle)]
    durable.refuses_to_store()
    submitter.hears_error(*FULL)
    listener.leaves()
    assert durable.core.jobs == {}, "a foreground job after all"


def test_a_second_background_submit_that_joins_such_a_job_is_not_acknowledged_before_it_is_stored_either(durable):
    listener, one, two = durable.connects(), durable.connects(), durable.connects()
    listener.submits(b"f", b"u")
    one.says(SUBMIT_JOB_BG, b"f", b"u", b"")
    two.says(SUBMIT_JOB_BG, b"f", b"u", b"")
    durable.refuses_to_store()
    one.hears_error(*FULL)
    two.hears_error(*FULL)


@pytest.mark.parametrize("packet_type", (SUBMIT_JOB_BG, SUBMIT_JOB_HIGH_BG))
def test_a_background_submit_that_joins_one_being_stored_waits_with_it(durable, packet_type):
    one, two = durable.connects(), durable.connects()
    one.says(SUBMIT_JOB_BG, b"f", b"u", b"")
    two.says(packet_type, b"f", b"u", b"")
    durable.refuses_to_store()
    one.hears_error(*FULL)
    two.hears_error(*FULL)


def test_a_background_submit_that_joins_a_stored_job_needs_no_store(durable):
    client = durable.connects()
    handle = client.submits_bg(b"f", b"u")
    durable.stores()
    assert client.submits_bg(b"f", b"u") == handle
    assert durable.core.records == []


def test_a_join_that_changes_a_stored_job_is_recorded(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(REPLACE))
    client = world.connects()
    handle = client.submits_bg(b"f", b"u", b"1")
    world.stores()
    client.submits_bg(b"f", b"u", b"2", SUBMIT_JOB_HIGH_BG)
    assert world.core.records == [("change", handle, "workload", b"2"), ("change", handle, "priority", 0),
                                  ("update", handle, WAITING, 0, 0.0, b"", POSITIONS + 1)]


def test_a_workload_that_is_replaced_before_it_is_stored_is_recorded_once(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(REPLACE))
    client = world.connects()
    client.submits_bg(b"f", b"u", b"1")
    client.submits_bg(b"f", b"u", b"2")
    assert [one[4] for one in world.core.records] == [b"2"]
    world.stores()
    world.worker(b"f").says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"f", b"2"))


def test_a_submitter_that_leaves_before_the_store_has_answered_changes_nothing(durable):
    client = durable.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"").says(SUBMIT_JOB_BG, b"f", b"", b"")
    client.takes()
    client.leaves()
    durable.stores()
    assert [job.state for job in durable.core.jobs.values()] == [WAITING, WAITING]


def test_a_submitter_that_leaves_before_the_store_refuses_is_told_nothing(durable):
    client = durable.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    client.takes()
    client.leaves()
    durable.refuses_to_store()
    assert durable.core.jobs == {} and durable.core.unsent == []


def test_a_job_that_is_cancelled_while_it_is_stored_leaves_nothing(durable):
    client = durable.connects()
    client.submits_bg()
    assert client.asks(b"cancel job H:x:1") == b"OK\r\n"
    durable.stores()
    assert durable.core.jobs == {} and durable.worker(b"f").grabs() is None


def test_a_function_may_be_dropped_while_its_jobs_are_stored(durable):
    client = durable.connects()
    client.submits_bg()
    assert client.asks(b"drop function f force") == b"OK\r\n"
    assert record(durable) == [("add", b"H:x:1"), ("update", b"H:x:1")]
    durable.stores()
    assert durable.core.aside[b"H:x:1"].state is SET_ASIDE
    client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    assert durable.connects().asks(b"drop function f force") == b"OK\r\n"
    durable.refuses_to_store()
    client.hears_error(*FULL)
    assert list(durable.core.aside) == [b"H:x:1"], "the second was never acknowledged"


def test_a_successor_is_stored_before_it_is_acknowledged(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(RERUN))
    client, worker = world.connects(), world.worker(b"f")
    first = client.submits_bg(b"f", b"u", b"1")
    world.stores()
    assert worker.grabs() == first
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"2")
    worker.says(WORK_COMPLETE, first, b"")
    assert worker.grabs() is None
    world.stores()
    client.hears((JOB_CREATED, b"H:x:2"))
    worker.says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:2", b"f", b"2"))


def test_a_lost_attempt_a_retry_a_time_come_and_setting_aside_are_recorded(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(retries=3, attempts=3, backoff=1.0))
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    world.stores()
    worker.grabs()
    worker.says(CANT_DO, b"f")
    assert world.core.records == [("update", handle, WAITING, 1, 0.0, b"the worker gave it back", POSITIONS + 1)]
    world.stores()
    worker = world.worker(b"f")
    worker.grabs()
    worker.says(WORK_FAIL, handle)
    (kind, _, state, attempts, due, error, place), = world.core.records
    assert (kind, state, attempts, error) == ("update", DELAYED, 2, b"the worker failed it") and due > world.wall
    assert place == POSITIONS + 2
    world.stores()
    world.passes(5)
    assert world.core.records == [("update", handle, WAITING, 2, due, b"the worker failed it", POSITIONS + 3)]
    world.stores()
    worker.grabs()
    worker.says(WORK_FAIL, handle)
    assert world.core.records == [("update", handle, SET_ASIDE, 3, due, b"the worker failed it", POSITIONS + 4)]
    client.asks(b"purge all")
    assert record(world) == [("update", handle), ("remove", handle)]


def test_a_scheduled_job_keeps_its_record_and_gets_its_next_time(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    client.says(SUBMIT_JOB_SCHED, b"f", b"", b"*/2", b"*", b"*", b"*", b"*", b"w")
    assert durable.core.records[0][9:12] == (DELAYED, b"", b"*/2 * * * *")
    durable.stores()
    client.hears((JOB_CREATED, b"H:x:1"))
    durable.passes(durable.wait)
    durable.stores()
    assert worker.grabs() == b"H:x:1"
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    assert durable.core.records == [("update", b"H:x:1", DELAYED, 0, durable.wall + 120, b"", POSITIONS + 2)]


# --------------------------------------------------------------------------------------------------------- restored at a start

def test_restored_jobs_run_in_their_order_at_their_time_and_are_joined(durable):
    durable.restores(b"H:x:7", b"u")
    durable.restores(b"H:x:5")
    durable.restores(b"H:x:6", due=durable.wall + 10)
    durable.restores(b"H:x:9", priority=0)
    durable.restores(b"H:x:8", state=SET_ASIDE)
    client, worker = durable.connects(), durable.worker(b"f")
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"").hears((JOB_CREATED, b"H:x:7"))
    assert [worker.grabs() for _ in range(4)] == [b"H:x:9", b"H:x:7", b"H:x:5", None]
    durable.passes(10)
    assert worker.grabs() == b"H:x:6" and list(durable.core.aside) == [b"H:x:8"]
    assert durable.core.size == 5


def test_a_restored_successor_waits_for_its_predecessor(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(RERUN))
    world.restores(b"H:x:1", b"u")
    world.restores(b"H:x:2", b"u", state=HELD)
    worker = world.worker(b"f")
    assert [worker.grabs(), worker.grabs()] == [b"H:x:1", None]
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    assert worker.grabs() == b"H:x:2"


def test_a_restored_job_does_not_wait_for_the_next_time_of_a_recurring_one(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(RERUN))
    world.restores(b"H:x:1", b"u", due=world.wall + 60, schedule=b"* * * * *")
    world.restores(b"H:x:2", b"u")
    assert world.worker(b"f").grabs() == b"H:x:2"


def test_a_snapshot_holds_all_background_jobs_as_they_are(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    for priority in (2, 1):
        durable.restores(b"H:x:5%d" % priority, priority=priority)
    durable.restores(b"H:x:40", due=durable.wall + 10)
    durable.restores(b"H:x:30", state=SET_ASIDE)
    running = worker.grabs()
    client.submits()
    durable.passes(5)
    assert [(one[1], one[9], one[12]) for one in durable.core.snapshot()] == [
        (running, WAITING, durable.wall - 5), (b"H:x:52", WAITING, durable.wall - 5), (b"H:x:40", DELAYED, durable.wall - 5),
        (b"H:x:30", SET_ASIDE, durable.wall - 5)]


def test_a_graceful_stop_leaves_background_jobs_to_the_store_when_no_client_waits(durable):
    client, worker = durable.connects(), durable.worker(b"f", sleeps=True)
    listened, stored = client.submits(b"f", b"u"), client.submits_bg(b"f")
    durable.stores()
    worker.takes()
    durable.core.stop(graceful=True)
    durable.after_step()
    assert not durable.core.idle
    assert worker.grabs() == listened
    worker.says(WORK_COMPLETE, listened, b"r")
    client.hears((WORK_COMPLETE, listened, b"r"))
    assert worker.grabs() is None and durable.core.idle and list(durable.core.jobs) == [stored]


class CountedJobs(dict):
    """Counts how often all of it is looked at."""

    looks = 0

    def values(self):
        self.looks += 1
        return super().values()


def test_a_graceful_stop_does_not_look_at_all_jobs_again_and_again(durable):
    """With a long queue in the store each look takes a while, and the server settles many times a second."""
    core, client, worker = durable.core, durable.connects(), durable.worker(b"f")
    handles = [client.submits() for _ in range(3)]
    jobs = core.jobs = CountedJobs(core.jobs)
    core.stop(graceful=True)
    core.settle()
    for handle in handles:
        before = jobs.looks
        core.settle()
        assert jobs.looks == before and worker.grabs() == handle
        worker.says(WORK_COMPLETE, handle, b"").hears()
        client.hears((WORK_COMPLETE, handle, b""))
    assert not core.roster.handing_out and core.idle


def test_a_graceful_stop_looks_for_those_who_wait_in_steps_and_goes_on_giving_out_jobs_meanwhile(durable):
    core, client, worker = durable.core, durable.connects(), durable.worker(b"f")
    for _ in range(3 * CHAIN_STEP):
        client.submits_bg()
    durable.stores()
    handle = client.submits()
    core.stop(graceful=True)
    core.settle()
    assert core.turns.chores and core.roster.handing_out and core.wait_time() == 0.0 and not core.idle
    while core.turns.chores:
        core.turns.work()
        core.settle()
    assert core.roster.handing_out, "somebody waits for a job"
    done = None
    while done != handle:
        done = worker.grabs()
        worker.says(WORK_COMPLETE, done, b"").hears()
    client.hears((WORK_COMPLETE, handle, b""))
    core.settle()
    assert not core.roster.handing_out and core.idle


@pytest.mark.parametrize("first, second", [(SUBMIT_JOB_BG, SUBMIT_JOB), (SUBMIT_JOB, SUBMIT_JOB_BG)])
def test_a_graceful_stop_waits_for_a_job_that_cannot_be_stored_but_has_a_client(durable, first, second):
    client, worker = durable.connects(), durable.worker(b"f", sleeps=True)
    client.says(first, b"f", b"u", b"w").says(second, b"f", b"u", b"w")
    durable.core.stop(graceful=True)
    durable.core.settle()
    assert durable.core.idle, "as far as is known"
    durable.core.not_stored(b"the disk is full")
    durable.after_step()
    replies = {SUBMIT_JOB_BG: (ERROR,) + FULL, SUBMIT_JOB: (JOB_CREATED, b"H:x:1")}
    client.hears(replies[first], replies[second])
    assert not durable.core.idle
    worker.hears((NOOP,)).says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"f", b"w"))
    worker.says(WORK_COMPLETE, b"H:x:1", b"r")
    client.hears((WORK_COMPLETE, b"H:x:1", b"r"))
    durable.after_step()
    assert durable.core.idle


def test_a_graceful_stop_waits_for_running_jobs(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    handle = client.submits_bg()
    durable.stores()
    worker.grabs()
    durable.core.stop(graceful=True)
    durable.after_step()
    assert not durable.core.idle
    worker.says(WORK_COMPLETE, handle, b"")
    assert durable.core.idle


def test_repr_shows_what_waits(durable):
    client = durable.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"").says(SUBMIT_JOB_EPOCH, b"f", b"", b"0", b"").takes()
    assert repr(durable.core.ledger) == "<Ledger: 2 records, 2 promises>"
    client.says(GET_STATUS, b"H:x:1").hears((STATUS_RES, b"H:x:1", b"1", b"0", b"0", b"0"))
    assert Function(b"f", FunctionPolicy()).total == 0


def test_a_recurring_submit_that_cannot_be_stored_makes_nothing_recur(durable):
    client, other, worker = durable.connects(), durable.connects(), durable.worker(b"f")
    handle = client.submits(b"f", b"u")
    other.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"w")
    durable.refuses_to_store()
    other.hears_error(*FULL)
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, b"")
    client.hears((WORK_COMPLETE, handle, b""))
    assert durable.core.jobs == {}


def test_a_job_cannot_be_made_to_recur_while_the_store_is_in_trouble(durable):
    client = durable.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    durable.stores()
    client.hears((JOB_CREATED, b"H:x:1"))
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    durable.refuses_to_store()
    client.hears_error(*FULL)
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"w").hears_error(*FULL)
    assert durable.core.jobs[b"H:x:1"].schedule is None


def test_a_new_schedule_for_a_job_that_is_not_stored_yet_is_in_its_record(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(REPLACE))
    client = world.connects()
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"0", b"0", b"1", b"1", b"*", b"w")
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"v")
    due = world.core.jobs[b"H:x:1"].due
    assert 0 < due - world.wall <= 60
    assert world.core.records == [("add", b"H:x:1", b"f", b"u", b"v", None, 1, due, 0, DELAYED, b"", b"* * * * *", world.wall,
                                   0)]
    world.stores()
    client.hears((JOB_CREATED, b"H:x:1"), (JOB_CREATED, b"H:x:1"))
    assert 0 < world.wait <= 60

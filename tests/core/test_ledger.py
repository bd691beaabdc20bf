"""With a store: JOB_CREATED is true only when the job is on disk, and what cannot be written is refused and forgotten."""
import pytest

from core_world import FULL, packets_of
from gearman_std.core.limits import Limits
from gearman_std.core.jobs import DELAYED, Function, FunctionPolicy, POSITIONS, REPLACE, RERUN, SET_ASIDE, STORING, WAITING
from gearman_std.wire.protocol import (CANT_DO, GET_STATUS, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, NOOP, STATUS_RES, SUBMIT_JOB_BG,
                                       SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_SCHED, WORK_COMPLETE,
                                       WORK_FAIL)


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


def test_a_background_submit_that_joins_a_foreground_job_is_stored_before_it_is_acknowledged(durable):
    listener, submitter = durable.connects(), durable.connects()
    handle = listener.submits(b"f", b"u")
    submitter.says(SUBMIT_JOB_BG, b"f", b"u", b"other")
    assert durable.recorded() == [("add", handle)]
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


def test_what_a_submitter_that_leaves_submitted_is_refused_all_the_same(durable):
    client = durable.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    durable.core.disconnect(client.peer)
    durable.talkers.remove(client)
    durable.refuses_to_store()
    assert durable.core.jobs == {} and packets_of(client.heard())[0][:2] == ("ERROR", b"QUEUE_ERROR")


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
    assert durable.recorded() == [("add", b"H:x:1"), ("update", b"H:x:1")]
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
    worker.says(WORK_COMPLETE, first, b"").says(GRAB_JOB).hears()
    world.stores()
    client.hears((JOB_CREATED, b"H:x:2"))
    worker.hears((JOB_ASSIGN, b"H:x:2", b"f", b"2"))


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
    assert world.recorded() == [("update", handle), ("remove", handle)]


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
                                   0), ("update", b"H:x:1", DELAYED, 0, due, b"", 0)]
    world.stores()
    client.hears((JOB_CREATED, b"H:x:1"), (JOB_CREATED, b"H:x:1"))
    assert 0 < world.wait <= 60


@pytest.mark.parametrize("recurs", (False, True))
def test_a_first_schedule_for_a_job_that_is_not_stored_yet_is_in_its_record_and_does_not_put_it_off(durable, recurs):
    client, worker = durable.connects(), durable.worker(b"f")
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    if recurs:
        client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"w")
    assert [(one.handle, one.due, one.state, one.schedule) for one in durable.core.records] == [
        (b"H:x:1", 0.0, WAITING, b"* * * * *" if recurs else None)]
    durable.stores()
    client.hears(*[(JOB_CREATED, b"H:x:1")] * (1 + recurs))
    assert worker.grabs() == b"H:x:1"
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    assert (b"H:x:1" in durable.core.jobs) == recurs


def test_a_foreground_job_that_is_put_behind_others_is_not_recorded(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    first, last = client.submits(b"f", b"u"), client.submits(b"f", packet_type=SUBMIT_JOB_HIGH)
    assert client.submits(b"f", b"u", packet_type=SUBMIT_JOB_HIGH) == first and durable.core.records == []
    assert [worker.grabs(), worker.grabs()] == [last, first]


def test_a_job_that_is_replaced_again_and_again_before_it_is_stored_has_one_record_and_counts_once(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(REPLACE), limits=Limits(unstored_job_bytes=1000))
    client = world.connects()
    for size in (1, 400, 300, 200, 500):
        client.says(SUBMIT_JOB_BG, b"f", b"u", b"x" * size)
        client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    client.says(SUBMIT_JOB_HIGH_BG, b"f", b"u", b"y" * 100)
    assert world.recorded() == [("add", b"H:x:%d" % number) for number in range(1, 7)] + [("change", b"H:x:1")]
    assert world.core.records[0].workload == b"y" * 100 and world.core.ledger.size == 100
    assert world.core.records[-1].value == 0
    world.stores()
    assert [packet[0] for packet in packets_of(client.takes())] == ["JOB_CREATED"] * 11


def test_a_job_that_is_requeued_is_recorded_in_full_while_the_store_is_written_anew(durable):
    """The store may have passed the place where jobs stand that are not set aside."""
    handle = durable.connects().submits_bg()
    durable.stores()
    assert durable.connects().asks(b"drop function f force") == b"OK\r\n"
    durable.stores()
    durable.core.ledger.begin_anew()
    assert durable.connects().asks(b"requeue all") == b"OK 1\r\n"
    assert durable.recorded() == [("add", handle), ("update", handle)]

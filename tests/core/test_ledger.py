"""With a store: JOB_CREATED is true only when the job is on disk, and what cannot be written is refused and forgotten."""
import pytest

from core_world import FULL, packets_of
from gearman_std.core.invariants import check_core
from gearman_std.core.jobs import (DELAYED, HELD, Function, FunctionPolicy, POSITIONS, REPLACE, RERUN, SET_ASIDE, STORING,
                                   WAITING)
from gearman_std.core.ledger import UPDATE
from gearman_std.core.limits import Limits
from gearman_std.core.watchers import MANY_JOINS
from gearman_std.wire.protocol import (CAN_DO_TIMEOUT, CANT_DO, ECHO_REQ, GET_STATUS, GRAB_JOB, GRAB_JOB_UNIQ, JOB_ASSIGN,
                                       JOB_CREATED, NOOP, PRE_SLEEP, STATUS_RES, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH,
                                       SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_SCHED, SUBMIT_REDUCE_JOB_BACKGROUND,
                                       WORK_COMPLETE, WORK_FAIL)


def test_a_background_job_is_given_to_nobody_before_it_is_stored(durable):
    client, worker = durable.connects(), durable.worker(b"f", sleeps=True)
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    worker.hears()
    assert durable.core.jobs[b"H:x:1"].state is STORING
    assert durable.core.ledger.records == [
        ("add", b"H:x:1", b"f", b"u", b"w", None, 1, 0.0, 0, WAITING, b"", None, durable.wall, 0)]
    durable.stores()
    client.hears((JOB_CREATED, b"H:x:1"))
    worker.hears((NOOP,)).says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"f", b"w"))
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    assert durable.core.ledger.records == [("remove", b"H:x:1")]


def test_a_foreground_job_waits_for_no_store_and_is_not_recorded(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    handle = client.submits()
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, b"r")
    client.hears((WORK_COMPLETE, handle, b"r"))
    assert durable.core.ledger.records == []


def test_without_a_store_nothing_is_recorded(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    worker.grabs()
    worker.says(WORK_COMPLETE, handle, b"")
    assert world.core.ledger.records == []


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
    assert durable.core.ledger.records == []


def test_a_join_that_changes_a_stored_job_is_recorded(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(REPLACE))
    client = world.connects()
    handle = client.submits_bg(b"f", b"u", b"1")
    world.stores()
    client.submits_bg(b"f", b"u", b"2", SUBMIT_JOB_HIGH_BG)
    assert world.core.ledger.records == [("change", handle, "workload", b"2"), ("change", handle, "priority", 0),
                                         ("update", handle, WAITING, 0, 0.0, b"", POSITIONS + 1)]


def test_a_workload_that_is_replaced_before_it_is_stored_is_recorded_once(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(REPLACE))
    client = world.connects()
    client.submits_bg(b"f", b"u", b"1")
    client.submits_bg(b"f", b"u", b"2")
    assert [one[4] for one in world.core.ledger.records] == [b"2"]
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
    assert world.core.ledger.records == [("update", handle, WAITING, 1, 0.0, b"the worker gave it back", POSITIONS + 1)]
    world.stores()
    worker = world.worker(b"f")
    worker.grabs()
    worker.says(WORK_FAIL, handle)
    (kind, _, state, attempts, due, error, place), = world.core.ledger.records
    assert (kind, state, attempts, error) == ("update", DELAYED, 2, b"the worker failed it") and due > world.wall
    assert place == POSITIONS + 2
    world.stores()
    world.passes(5)
    assert world.core.ledger.records == [("update", handle, WAITING, 2, due, b"the worker failed it", POSITIONS + 3)]
    world.stores()
    worker.grabs()
    worker.says(WORK_FAIL, handle)
    assert world.core.ledger.records == [("update", handle, SET_ASIDE, 3, due, b"the worker failed it", POSITIONS + 4)]
    client.asks(b"purge all")
    assert world.recorded() == [("update", handle), ("remove", handle)]


def test_a_scheduled_job_keeps_its_record_and_gets_its_next_time(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    client.says(SUBMIT_JOB_SCHED, b"f", b"", b"*/2", b"*", b"*", b"*", b"*", b"w")
    assert durable.core.ledger.records[0][9:12] == (DELAYED, b"", b"*/2 * * * *")
    durable.stores()
    client.hears((JOB_CREATED, b"H:x:1"))
    durable.passes(durable.wait)
    durable.stores()
    assert worker.grabs() == b"H:x:1"
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    assert durable.core.ledger.records == [("update", b"H:x:1", DELAYED, 0, durable.wall + 120, b"", POSITIONS + 2)]


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
    assert world.core.ledger.records == [
        ("add", b"H:x:1", b"f", b"u", b"v", None, 1, due, 0, DELAYED, b"", b"* * * * *", world.wall, 0),
        ("update", b"H:x:1", DELAYED, 0, due, b"", 0)]
    world.stores()
    client.hears((JOB_CREATED, b"H:x:1"), (JOB_CREATED, b"H:x:1"))
    assert 0 < world.wait <= 60


@pytest.mark.parametrize("recurs", (False, True))
def test_a_first_schedule_for_a_job_that_is_not_stored_yet_is_in_its_record_and_does_not_put_it_off(durable, recurs):
    client, worker = durable.connects(), durable.worker(b"f")
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    if recurs:
        client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"w")
    assert [(one.handle, one.due, one.state, one.schedule) for one in durable.core.ledger.records] == [
        (b"H:x:1", 0.0, WAITING, b"* * * * *" if recurs else None)]
    durable.stores()
    client.hears(*[(JOB_CREATED, b"H:x:1")] * (1 + recurs))
    assert worker.grabs() == b"H:x:1"
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    assert (b"H:x:1" in durable.core.jobs) == recurs


@pytest.mark.parametrize("state", (STORING, HELD, DELAYED))
def test_a_job_for_a_date_that_is_given_a_schedule_is_stored_with_the_first_of_both_times(make_world, state):
    world = make_world(durable=True, policy=FunctionPolicy(RERUN))
    client, worker = world.connects(), world.worker(b"f")
    world.sets_clock(-world.wall % 60)
    if state is HELD:
        client.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
        world.stores()
        client.takes()
        assert worker.grabs() == b"H:x:1"
    handle = b"H:x:%d" % (1 + (state is HELD))
    client.says(SUBMIT_JOB_EPOCH, b"f", b"u", b"%d" % (world.wall + 90), b"w")
    if state is not STORING:
        world.stores()
        client.hears((JOB_CREATED, handle))
    assert world.core.jobs[handle].state is state
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"w")
    recorded = world.core.ledger.records
    assert recorded[0].schedule if state is STORING else ("schedule", b"* * * * *") in [one[2:] for one in recorded]
    assert (recorded[-1].kind, recorded[-1].due) == (UPDATE, world.wall + 60)
    world.stores()
    client.takes()
    if state is HELD:
        worker.says(WORK_COMPLETE, b"H:x:1", b"")
        world.stores()
    world.passes(60)
    assert worker.grabs() == handle


def test_a_foreground_job_that_is_put_behind_others_is_not_recorded(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    first, last = client.submits(b"f", b"u"), client.submits(b"f", packet_type=SUBMIT_JOB_HIGH)
    assert client.submits(b"f", b"u", packet_type=SUBMIT_JOB_HIGH) == first and durable.core.ledger.records == []
    assert [worker.grabs(), worker.grabs()] == [last, first]


def test_a_job_that_is_replaced_again_and_again_before_it_is_stored_has_one_record_and_counts_once(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(REPLACE), limits=Limits(unstored_job_bytes=1000))
    client = world.connects()
    for size in (1, 400, 300, 200, 500):
        client.says(SUBMIT_JOB_BG, b"f", b"u", b"x" * size)
        client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    client.says(SUBMIT_JOB_HIGH_BG, b"f", b"u", b"y" * 100)
    assert world.recorded() == [("add", b"H:x:%d" % number) for number in range(1, 7)] + [("change", b"H:x:1")]
    assert world.core.ledger.records[0].workload == b"y" * 100 and world.core.ledger.size == 100
    assert world.core.ledger.records[-1].value == 0
    world.stores()
    assert [packet[0] for packet in packets_of(client.takes())] == ["JOB_CREATED"] * 11


@pytest.mark.parametrize("written", (1, 2, 3))
def test_a_workload_that_is_replaced_when_records_before_it_or_its_own_were_written_in_trouble_is_recorded(make_world, written):
    world = make_world(durable=True, policy=FunctionPolicy(REPLACE))
    client, other = world.connects(), world.connects()
    for unique in (b"", b"u", b""):
        client.says(SUBMIT_JOB_BG, b"f", unique, b"old")
    world.core.store_trouble = b"the disk is slow"
    store = {record.handle: record.workload for record in world.core.ledger.records[:written]}
    del world.core.ledger.records[:written]
    assert other.submits(b"f", b"u", b"new") == b"H:x:2"
    store.update((record.handle, record.workload) for record in world.core.ledger.records)
    assert store == {b"H:x:1": b"old", b"H:x:2": b"new", b"H:x:3": b"old"}
    world.stores()
    client.hears(*[(JOB_CREATED, b"H:x:%d" % number) for number in (1, 2, 3)])
    assert world.worker(b"f").says(GRAB_JOB).says(GRAB_JOB).hears(
        (JOB_ASSIGN, b"H:x:1", b"f", b"old"), (JOB_ASSIGN, b"H:x:2", b"f", b"new"))


def test_a_job_that_is_requeued_is_recorded_in_full_while_the_store_is_written_anew(durable):
    """The store may have passed the place where jobs stand that are not set aside."""
    handle = durable.connects().submits_bg()
    durable.stores()
    assert durable.connects().asks(b"drop function f force") == b"OK\r\n"
    durable.stores()
    durable.core.ledger.begin_anew()
    assert durable.connects().asks(b"requeue all") == b"OK 1\r\n"
    assert durable.recorded() == [("add", handle), ("update", handle)]


# ------------------------------------------------------------------------------------------------- while a batch is under way

@pytest.fixture
def writing(durable):
    """A World whose store gets the batches when the test says so."""
    durable.has_store = True
    return durable


def ready(talker):
    """What was sent to it and does not wait for the store."""
    return packets_of(talker.takes())


def test_packets_wait_for_their_batches_in_order_and_go_on_with_each(writing):
    client = writing.connects()
    client.says(ECHO_REQ, b"0").says(SUBMIT_JOB_BG, b"f", b"", b"1")
    writing.core.ledger.hand_over()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"2").says(ECHO_REQ, b"1")
    assert ready(client) == [("ECHO_RES", b"0")]
    writing.stores()
    assert ready(client) == [("JOB_CREATED", b"H:x:1")] and client.peer.parked
    writing.stores()
    assert ready(client) == [("JOB_CREATED", b"H:x:2"), ("ECHO_RES", b"1")] and not client.peer.holds


def test_the_store_may_have_the_first_batch_only_and_refuse_the_next(writing):
    client = writing.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"1")
    writing.core.ledger.hand_over()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"2")
    writing.stores()
    writing.refuses_to_store()
    assert ready(client) == [("JOB_CREATED", b"H:x:1"), ("ERROR",) + FULL]
    assert list(writing.core.jobs) == [b"H:x:1"]


@pytest.mark.parametrize("packet_type, reply", ((GRAB_JOB, ("NO_JOB",)), (GRAB_JOB_UNIQ, ("NO_JOB",)), (PRE_SLEEP, None)))
def test_who_waits_for_the_store_is_given_work_after_it_only(writing, packet_type, reply):
    worker = writing.worker(b"g")
    rest = writing.core.receive(worker.peer, [(SUBMIT_JOB_BG, [b"f", b"", b""]), (packet_type, [])])
    assert [kind for kind, _ in rest] == [packet_type] and worker.peer.put_off and ready(worker) == []
    writing.core.ledger.hand_over()
    writing.core.stored()
    assert writing.core.ledger.resumed == [worker.peer] and not worker.peer.put_off
    assert writing.core.receive(worker.peer, rest) == []
    writing.core.ledger.resumed = []
    assert ready(worker) == [("JOB_CREATED", b"H:x:1")] + ([reply] if reply else [])


@pytest.mark.parametrize("handed_over", (False, True))
def test_the_end_of_a_stored_job_is_told_when_the_store_knows_of_it(writing, handed_over):
    client, watcher, worker = writing.connects(), writing.connects(), writing.worker(b"f")
    handle = client.says(SUBMIT_JOB_BG, b"f", b"u", b"") and b"H:x:1"
    writing.stores()
    client.hears((JOB_CREATED, handle))
    assert watcher.submits(b"f", b"u") == handle == worker.grabs()
    worker.says(WORK_COMPLETE, handle, b"r").says(ECHO_REQ, b"1")
    assert writing.core.ledger.awaited and ready(watcher) == ready(worker) == []
    if handed_over:
        writing.core.ledger.hand_over()
        assert not writing.core.ledger.awaited and ready(watcher) == ready(worker) == []
    writing.stores()
    assert ready(watcher) == [("WORK_COMPLETE", handle, b"r")] and ready(worker) == [("ECHO_RES", b"1")]


@pytest.mark.parametrize("stored", (False, True))
def test_the_end_of_a_stored_job_that_many_joined_waits_for_the_batch_that_has_it(writing, stored):
    client, worker = writing.connects(), writing.worker(b"f")
    writing.core.receive(client.peer, [(SUBMIT_JOB_BG, [b"f", b"u", b""])])
    writing.stores()
    clients = [writing.connects() for _ in range(2 * MANY_JOINS)]
    for one in clients:
        writing.core.receive(one.peer, [(SUBMIT_JOB, [b"f", b"u", b""])])
        one.takes()
    client.hears((JOB_CREATED, b"H:x:1"))
    assert worker.grabs() == b"H:x:1"
    rest = writing.core.receive(worker.peer, [(WORK_FAIL, [b"H:x:1"])])
    writing.core.ledger.hand_over()
    if stored:
        writing.core.stored()
    writing.does(worker, rest)
    writing.does_chores()
    told = [bool(ready(one)) for one in clients]
    assert told == [stored] * len(clients)
    if not stored:
        writing.core.stored()
        assert all(ready(one) == [("WORK_FAIL", b"H:x:1")] for one in clients)


def test_while_the_store_refuses_records_a_submit_that_would_change_a_stored_job_is_refused(durable):
    client, other = durable.connects(), durable.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"")
    durable.stores()
    client.hears((JOB_CREATED, b"H:x:1")).says(SUBMIT_JOB_BG, b"f", b"", b"")
    durable.refuses_to_store()
    client.hears_error(*FULL)
    other.says(SUBMIT_JOB_HIGH_BG, b"f", b"u", b"").hears_error(*FULL)
    assert durable.core.jobs[b"H:x:1"].priority == 1 and ("change", b"H:x:1") not in durable.recorded()
    assert other.submits_bg(b"f", b"u") == b"H:x:1"


def test_too_much_that_waits_for_the_store_is_refused(make_world):
    world = make_world(durable=True, limits=Limits(unstored_jobs=2))
    client = world.connects()
    for _ in range(3):
        client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    world.stores()
    created, again, refused = packets_of(client.takes())
    assert (created[1], again[1], refused[:2]) == (b"H:x:1", b"H:x:2", ("ERROR", b"QUEUE_ERROR"))
    assert client.submits_bg() == b"H:x:3"
    world.stores()


TOO_MUCH = ("ERROR", b"QUEUE_ERROR", b"The store does not keep up: too much waits for the disk")


def test_submits_that_join_a_job_and_wait_for_the_store_with_it_are_bounded(make_world):
    world = make_world(durable=True, limits=Limits(unstored_jobs=3))
    client, other = world.connects(), world.connects()
    for _ in range(5):
        client.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    world.core.ledger.hand_over()
    other.says(SUBMIT_JOB_HIGH_BG, b"f", b"u", b"w").hears_error(*TOO_MUCH[1:])
    assert other.submits(b"f", b"u") == b"H:x:1", "who waits for the job itself needs no store"
    assert world.core.jobs[b"H:x:1"].priority == 1 and world.recorded() == []
    world.stores()
    assert packets_of(client.takes()) == [("JOB_CREATED", b"H:x:1")] * 3 + [TOO_MUCH] * 2
    for _ in range(5):
        assert other.submits_bg(b"f", b"u") == b"H:x:1", "stored jobs are joined without the store"
    assert world.totals().refused == 3 and world.core.counters["refused_unstored"] == 3


@pytest.mark.parametrize("packet_type", (SUBMIT_JOB, SUBMIT_JOB_BG))
@pytest.mark.parametrize("limits, taken", [(Limits(unstored_jobs=2), 2), (Limits(unstored_job_bytes=70), 3)])
def test_replaced_workloads_that_wait_for_the_store_are_bounded(make_world, packet_type, limits, taken):
    world = make_world(durable=True, policy=FunctionPolicy(REPLACE), limits=limits)
    client, other = world.connects(), world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    world.stores()
    client.hears((JOB_CREATED, b"H:x:1"))
    for number in range(5):
        other.says(packet_type, b"f", b"u", b"%d" % number * 20)
    assert world.recorded() == [("change", b"H:x:1")] * taken and world.core.jobs[b"H:x:1"].workload == b"%d" % (taken - 1) * 20
    world.stores()
    assert [packet[0] for packet in packets_of(other.takes())] == ["JOB_CREATED"] * taken + ["ERROR"] * (5 - taken)
    other.says(packet_type, b"f", b"u", b"x" * 100)
    world.stores()
    assert packets_of(other.takes())[0][0] == "JOB_CREATED", "one alone may be larger"


TOO_LARGE = (b"QUEUE_ERROR", b"The job is too large for the store")


def test_a_job_that_is_too_large_for_the_store_is_refused_alone(durable):
    """Its function, unique, workload and reducer count; a foreground job may be as large as it likes."""
    durable.core.ledger.most_bytes = 100
    client = durable.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"x" * 99).says(SUBMIT_JOB_BG, b"f", b"u", b"x" * 98)
    client.says(SUBMIT_REDUCE_JOB_BACKGROUND, b"f", b"", b"sum", b"x" * 97)
    client.says(SUBMIT_REDUCE_JOB_BACKGROUND, b"f", b"", b"sum", b"x" * 96).says(SUBMIT_JOB, b"f", b"", b"x" * 999)
    durable.stores()
    refused = ("ERROR",) + TOO_LARGE
    assert packets_of(client.takes()) == [refused] + [("JOB_CREATED", b"H:x:1"), refused] + [
        ("JOB_CREATED", b"H:x:2"), ("JOB_CREATED", b"H:x:3")]
    assert [len(job.workload) for job in durable.core.jobs.values()] == [98, 96, 999] and durable.totals().refused == 2


def test_a_workload_that_is_too_large_for_the_store_replaces_none(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(REPLACE))
    world.core.ledger.most_bytes = 100
    client = world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    world.stores()
    client.hears((JOB_CREATED, b"H:x:1"))
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"x" * 99).hears_error(*TOO_LARGE)
    client.says(SUBMIT_JOB, b"f", b"u", b"x" * 99).hears_error(*TOO_LARGE)
    assert world.core.jobs[b"H:x:1"].workload == b"w" and world.recorded() == [] and world.totals().refused == 2
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"x" * 98)
    assert [record.value for record in world.core.ledger.records] == [b"x" * 98]
    world.stores()
    client.hears((JOB_CREATED, b"H:x:1"))


def test_a_foreground_job_that_is_too_large_for_the_store_does_not_become_a_background_job(durable):
    durable.core.ledger.most_bytes = 100
    listener, submitter = durable.connects(), durable.connects()
    handle = listener.submits(b"f", b"u", b"x" * 99)
    submitter.says(SUBMIT_JOB_BG, b"f", b"u", b"small").hears_error(*TOO_LARGE)
    assert durable.recorded() == [] and not durable.core.jobs[handle].background
    assert submitter.submits(b"f", b"u") == handle


def test_a_new_schedule_for_a_job_of_the_batch_under_way_is_in_the_next(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(REPLACE))
    client = world.connects()
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"0", b"0", b"1", b"1", b"*", b"w")
    world.core.ledger.hand_over()
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"w")
    due = world.core.jobs[b"H:x:1"].due
    assert 0 < due - world.wall <= 60
    assert [record[:4] for record in world.core.ledger.records if record.kind == "change"][-1] == (
        "change", b"H:x:1", "schedule", b"* * * * *")
    assert [(record.state, record.due) for record in world.core.ledger.records if record.kind == "update"] == [(DELAYED, due)]
    world.stores()
    world.stores()
    client.hears((JOB_CREATED, b"H:x:1"), (JOB_CREATED, b"H:x:1"))
    assert 0 < world.wait <= 60


def test_very_many_new_jobs_go_on_in_steps_and_then_who_waits_for_them_is_answered(writing, monkeypatch):
    monkeypatch.setattr("gearman_std.core.storing.STORED_STEP", 2)
    client, core = writing.connects(), writing.core
    for _ in range(5):
        client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    core.ledger.hand_over()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    core.stored()
    for waiting in (2, 4):
        assert [job.state for job in core.jobs.values()] == waiting * [WAITING] + (6 - waiting) * [STORING]
        assert core.ledger.going_on and core.ledger.first_storing == waiting + 1 and ready(client) == []
        core.turns.work()
    assert ready(client) == [("JOB_CREATED", b"H:x:%d" % number) for number in range(1, 6)]
    assert not core.turns.chores and not core.ledger.going_on and core.ledger.awaited and core.ledger.first_storing == 6
    writing.stores()
    assert ready(client) == [("JOB_CREATED", b"H:x:6")]


# --------------------------------------------------------------------------------- another server may take the jobs over

@pytest.fixture
def sharing(writing):
    """A World of whose store another server may take the jobs over; the first two of them are stored."""
    writing.core.ledger.shared = True
    client = writing.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"1").says(SUBMIT_JOB_BG, b"f", b"", b"2")
    writing.stores()
    client.hears((JOB_CREATED, b"H:x:1"), (JOB_CREATED, b"H:x:2"))
    return writing


def test_a_stored_job_is_handed_out_only_with_a_proof_that_it_is_still_this_servers(sharing):
    worker, ledger = sharing.worker(b"f"), sharing.core.ledger
    worker.says(GRAB_JOB)
    assert ready(worker) == [] and ledger.awaited and not ledger.records, "a proof is wanted, though nothing is to be written"
    ledger.hand_over()
    assert ready(worker) == [] and not ledger.awaited
    sharing.stores()
    assert ready(worker) == [("JOB_ASSIGN", b"H:x:1", b"f", b"1")]


def test_a_foreground_job_is_nobody_elses_and_needs_no_proof(sharing):
    client, worker = sharing.connects(), sharing.worker(b"g")
    handle = client.submits(b"g")
    assert worker.grabs() == handle and not sharing.core.ledger.awaited


@pytest.mark.parametrize("handed_over", (False, True))
def test_without_a_proof_only_those_go_on_that_were_promised_something(sharing, handed_over):
    """What else was to be told is told when the store has proved that the jobs are still this server's."""
    ledger, finisher, client = sharing.core.ledger, sharing.worker(b"f"), sharing.connects()
    finisher.says(GRAB_JOB)
    sharing.stores()
    assert ready(finisher) == [("JOB_ASSIGN", b"H:x:1", b"f", b"1")]
    worker = sharing.worker(b"f")
    worker.says(GRAB_JOB).says(SUBMIT_JOB_BG, b"g", b"", b"")
    finisher.says(WORK_COMPLETE, b"H:x:1", b"").says(ECHO_REQ, b"1")
    client.says(SUBMIT_JOB_BG, b"g", b"", b"").says(ECHO_REQ, b"2")
    if handed_over:
        ledger.hand_over()
    sharing.refuses_to_store()
    assert ready(client) == [("ERROR",) + FULL, ("ECHO_RES", b"2")]
    assert ready(worker) == ready(finisher) == [] and ("remove", b"H:x:1") in sharing.recorded()
    sharing.refuses_to_store()
    assert ready(worker) == ready(finisher) == [], "however often it fails"
    assert ledger.proving == [worker.peer], "the next write is to prove it, be there records or not"
    sharing.stores()
    assert ready(worker) == [("JOB_ASSIGN", b"H:x:2", b"f", b"2"), ("ERROR",) + FULL]
    assert ready(finisher) == [("ECHO_RES", b"1")]


def test_who_is_told_the_end_of_a_job_after_the_store_has_refused_it_waits_for_the_batch_that_has_it(sharing):
    """Many joined the job, so that the last of them are told when the batch with its end has been refused."""
    core, worker, client = sharing.core, sharing.worker(b"g"), sharing.connects()
    client.says(SUBMIT_JOB_BG, b"g", b"u", b"3")
    sharing.stores()
    client.takes()
    worker.says(GRAB_JOB)
    sharing.stores()
    assert ready(worker) == [("JOB_ASSIGN", b"H:x:3", b"g", b"3")]
    clients = [sharing.connects() for _ in range(2 * MANY_JOINS)]
    for client in clients:
        core.receive(client.peer, [(SUBMIT_JOB, (b"g", b"u", b""))])
        assert ready(client) == [("JOB_CREATED", b"H:x:3")]
    core.receive(worker.peer, [(WORK_COMPLETE, (b"H:x:3", b"r"))])
    core.ledger.hand_over()
    core.not_stored(FULL[1])
    while core.turns.chores:
        core.turns.work()
    assert not any(ready(client) for client in clients)
    sharing.stores()
    assert all(ready(client) == [("WORK_COMPLETE", b"H:x:3", b"r")] for client in clients)


def test_the_time_limit_of_a_job_that_waits_for_its_proof_begins_anew(sharing):
    """Its worker may not know of the job yet."""
    worker = sharing.connects().says(CAN_DO_TIMEOUT, b"f", b"3000").says(GRAB_JOB)
    job = sharing.core.jobs[b"H:x:1"]
    for _ in range(2):
        sharing.passes(3.0)
        assert job.worker is worker.peer and job.attempts == 0
    sharing.stores()
    assert ready(worker) == [("JOB_ASSIGN", b"H:x:1", b"f", b"1")]
    sharing.passes(2.9)
    assert job.worker is worker.peer
    sharing.passes(0.1)
    assert job.worker is None and job.attempts == 1


@pytest.mark.parametrize("proved", (False, True))
def test_a_worker_that_leaves_before_the_proof_has_had_no_attempt(sharing, proved):
    worker = sharing.worker(b"f").says(GRAB_JOB)
    if proved:
        sharing.stores()
        assert ready(worker) == [("JOB_ASSIGN", b"H:x:1", b"f", b"1")]
    worker.leaves()
    job = sharing.core.jobs[b"H:x:1"]
    assert job.state is WAITING and job.attempts == proved


def test_very_many_who_wait_for_a_batch_get_their_answers_in_steps(writing, monkeypatch):
    monkeypatch.setattr("gearman_std.core.storing.STORED_STEP", 4)
    core, clients = writing.core, [writing.connects() for _ in range(10)]
    for client in clients:
        client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    core.ledger.hand_over()
    core.stored()
    waiting = [sum(bool(client.peer.holds) for client in clients)]
    while core.turns.chores:
        assert core.ledger.going_on and core.ledger.under_way is not None
        core.turns.work()
        check_core(core)
        waiting.append(sum(bool(client.peer.holds) for client in clients))
    assert waiting == [10, 10, 6, 2, 0] and core.ledger.under_way is None
    for number, client in enumerate(clients, 1):
        client.hears((JOB_CREATED, b"H:x:%d" % number))

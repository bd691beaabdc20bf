"""Background jobs and their store: what a start takes in, and what becomes of jobs that the disk refuses."""
import random

import pytest

from core_world import FULL, packets_of, things_of
from gearman_std.core import core as core_module
from gearman_std.core import tables
from gearman_std.core.handles import handle_number
from gearman_std.core.jobs import DELAYED, FunctionPolicy, HELD, RERUN, SET_ASIDE, WAITING, Job, place_of
from gearman_std.core.ledger import ADD, AddRecord, UsualJobs, records_of_usual
from gearman_std.wire.protocol import (GRAB_JOB, JOB_ASSIGN, JOB_CREATED, NOOP, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH,
                                       SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, WORK_COMPLETE)


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
    assert second.state is third.state is HELD, "the third waits for the second"
    worker = world.worker(b"f")
    for handle in (b"H:x:1", b"H:x:2", b"H:x:3"):
        assert [worker.grabs(), worker.grabs()] == [handle, None]
        worker.says(WORK_COMPLETE, handle, b"").hears()
        world.stores()


def test_a_recurring_job_restored_when_the_clock_is_beyond_the_calendar_keeps_its_time(make_world):
    world = make_world(durable=True)
    world.sets_clock(2.6e11)
    due = world.wall + 60
    assert world.restores(b"H:x:1", due=due, schedule=b"* * * * *").due == due


def test_what_cannot_be_stored_is_refused_and_forgotten(durable):
    client = durable.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"w").says(SUBMIT_JOB, b"f", b"v", b"w").says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    durable.refuses_to_store()
    assert packets_of(client.takes()) == [("ERROR",) + FULL, ("JOB_CREATED", b"H:x:2"), ("ERROR",) + FULL]
    assert list(durable.core.jobs) == [b"H:x:2"] and durable.totals().refused == 2
    assert durable.core.ledger.records == [("remove", b"H:x:1")], "its row may be there although writing it failed"


def test_while_the_store_is_in_trouble_background_jobs_are_refused_at_once_and_foreground_jobs_go_on(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    durable.refuses_to_store()
    client.hears_error(*FULL).says(SUBMIT_JOB_BG, b"f", b"", b"").hears_error(*FULL)
    handle = client.submits()
    assert worker.grabs() == handle
    durable.stores()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"").hears((JOB_CREATED, b"H:x:3"))


def test_a_background_submit_that_raises_a_priority_is_refused_while_the_store_is_in_trouble(durable):
    """What it was told would be true in memory only; one that changes nothing is true."""
    client = durable.connects()
    old = client.submits_bg(b"f", b"u")
    durable.stores()
    client.takes()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    durable.refuses_to_store()
    client.hears_error(*FULL).says(SUBMIT_JOB_HIGH_BG, b"f", b"u", b"").hears_error(*FULL)
    assert durable.core.jobs[old].priority == 1 and ("change", old) not in durable.recorded()
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"").hears((JOB_CREATED, old))
    client.says(SUBMIT_JOB_HIGH, b"f", b"u", b"").hears((JOB_CREATED, old))
    assert durable.core.jobs[old].priority == 0 and ("change", old) in durable.recorded()


def test_other_records_are_kept_while_the_store_is_in_trouble(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    old = client.submits_bg()
    durable.stores()
    assert worker.grabs() == old
    worker.says(WORK_COMPLETE, old, b"")
    client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    durable.refuses_to_store()
    client.hears_error(*FULL)
    assert durable.recorded() == [("remove", b"H:x:2"), ("remove", old)]


def test_a_client_that_joined_a_job_which_cannot_be_stored_keeps_it_in_the_foreground(durable):
    submitter, listener, worker = durable.connects(), durable.connects(), durable.worker(b"f", sleeps=True)
    submitter.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    assert listener.submits(b"f", b"u") == b"H:x:1"
    durable.refuses_to_store()
    submitter.hears_error(*FULL)
    worker.hears((NOOP,)).says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"f", b"w"))
    worker.says(WORK_COMPLETE, b"H:x:1", b"r")
    listener.hears((WORK_COMPLETE, b"H:x:1", b"r"))
    assert durable.recorded() == [("remove", b"H:x:1")]
    assert not durable.core.foreground, "no graceful stop waits for it, as there is none"


def test_a_restored_job_that_waits_has_waited_since_it_was_submitted(durable):
    durable.core.restore(AddRecord(ADD, b"H:x:1", b"f", b"", b"w", None, 1, 0.0, 0, WAITING, b"", None, durable.wall - 100, 0))
    durable.worker(b"f").grabs()
    assert durable.core.jobs[b"H:x:1"].waited == 100.0


def test_jobs_that_are_restored_together_wake_who_sleeps_and_may_come_in_any_order(durable):
    worker = durable.worker(b"f", sleeps=True)
    durable.core.restore_all([AddRecord(ADD, b"H:x:%d" % number, b"f", b"", b"w", None, 1, 0.0, 0, WAITING, b"", None,
                                        durable.wall, number << 14) for number in (2, 1)])
    durable.after_step()
    worker.hears((NOOP,))
    assert [worker.grabs(), worker.grabs()] == [b"H:x:2", b"H:x:1"] and durable.core.ledger.position == 2 << 14


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


def test_a_worker_that_sleeps_already_is_woken_for_a_restored_job(durable):
    worker, other = durable.worker(b"f", sleeps=True), durable.worker(b"g", sleeps=True)
    durable.restores(b"H:x:1")
    other.hears()
    worker.hears((NOOP,)).says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"f", b"w"))


def test_a_restored_successor_waits_for_its_predecessor(make_world):
    world = make_world(durable=True, policy=FunctionPolicy(RERUN))
    world.restores(b"H:x:1", b"u")
    world.restores(b"H:x:2", b"u", state=HELD)
    worker = world.worker(b"f")
    assert [worker.grabs(), worker.grabs()] == [b"H:x:1", None]
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    world.stores()
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


def test_a_job_whose_time_comes_while_it_is_stored_waits_in_its_queue_and_a_restart_knows_that(durable):
    client = durable.connects()
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (durable.wall + 2), b"w")
    durable.passes(5)
    durable.stores()
    client.hears((JOB_CREATED, b"H:x:1"))
    assert [(record.kind, record.state) for record in durable.core.ledger.records] == [("update", "waiting")]
    assert durable.worker(b"f").grabs() == b"H:x:1"


def test_what_is_stored_behind_a_job_whose_time_came_meanwhile_is_behind_it_after_a_restart_too(durable):
    client = durable.connects()
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (durable.wall + 2), b"w").says(SUBMIT_JOB_BG, b"f", b"", b"w")
    durable.passes(5)
    durable.stores()
    client.takes()
    waiting = list(durable.core.functions[b"f"].jobs_waiting())
    assert [job.handle for job in waiting] == [b"H:x:1", b"H:x:2"]
    positions = [record.position for record in durable.core.ledger.records]
    assert positions == [job.position for job in waiting] and 0 < positions[0] < positions[1]


def test_a_job_that_was_held_back_by_what_is_gone_has_the_place_that_it_gets_now_after_another_restart_too(make_world):
    """The store gives those that were held back last."""
    world = make_world(durable=True, policy=FunctionPolicy(RERUN))
    due = world.wall + 60
    world.restores(b"H:x:2", due=due)
    held = world.restores(b"H:x:1", b"u", due=due, state=HELD)
    assert held.state is DELAYED
    (record,) = world.core.ledger.records
    assert (record.handle, record.state, record.due) == (b"H:x:1", DELAYED, due)
    assert record.position == held.position > 0
    assert [job.handle for job in things_of(world.core.delayed)] == [b"H:x:2", b"H:x:1"]


def restored_at_random(chance, wall, count):
    """Records as a store might have them: waiting and set aside by their positions, the delayed and those held back at last."""
    records = []
    for number in range(1, count):
        state = chance.choice([WAITING] * 6 + [DELAYED, HELD, SET_ASIDE])
        records.append(AddRecord(
            ADD, b"H:x:%d" % number, chance.choice([b"f", b"g"]), chance.choice([b"", b"", b"u", b"-"]), b"w" * (number % 5),
            chance.choice([None] * 9 + [b"r"]), number % 3, wall + chance.choice([-5.0, 5.0]) if state == DELAYED else 0.0,
            chance.choice([0, 0, 2]), state, chance.choice([b""] * 9 + [b"why"]),
            b"* * * * *" if state == DELAYED and number % 2 else None, wall + chance.choice([-100.0, -3.0, 7.0]), number << 14))
    order = {DELAYED: 1, HELD: 2}
    return sorted(records, key=lambda record: (order.get(record.state, 0), record.due, record.position))


def told_of(job):
    """All that a job is, and its neighbours, by their handles."""
    def show(value):
        return value.handle if isinstance(value, Job) else repr(value)
    return [show(getattr(job, name, None)) for name in Job.__slots__ if name not in ("extras", "timer")] + [
        job.reducer, job.error, job.due, show(job.successor), job.schedule and job.schedule.text]


@pytest.mark.parametrize("seed", range(6))
def test_many_are_restored_at_once_as_they_are_one_by_one(make_world, monkeypatch, seed):
    monkeypatch.setattr(tables, "LARGE_TABLE", 50)
    one_by_one, at_once = make_world(durable=True), make_world(durable=True)
    records = restored_at_random(random.Random(seed), one_by_one.wall, 120)
    for record in records:
        one_by_one.core.restore(record)
    for start in range(0, len(records), 50):
        at_once.core.restore_all(records[start:start + 50])
    found = []
    for world in (one_by_one, at_once):
        core = world.core
        world.after_step()
        found.append((
            core.size, core.ledger.position, len(core.jobs), sorted(core.jobs), sorted(core.aside), core.ledger.records,
            [told_of(job) for chain in (core.job_chain, core.aside_chain) for some in chain.walk() for job in some],
            [(function.name, function.size, function.waiting, function.delayed, function.aside,
              sorted(map(repr, function.uniques)), [job.handle for job in function.jobs_waiting()])
             for function in core.functions.values()],
            [job.handle for job in core.background_jobs()]))
    assert found[0] == found[1] and found[0][2] > 60


def usual_at_random(chance, wall, count):
    return UsualJobs(*zip(*[
        (b"H:x:%d" % number, chance.choice([b"f", b"g", b"h"]), chance.choice([b"", b"", b"u", b"v%d" % number, b"-"]),
         b"w" * (number % 5), chance.choice([0, 1, 1, 2]), wall + chance.choice([-100.0, -3.0, 7.0]))
        for number in range(1, count)]))


@pytest.mark.parametrize("expected", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_usual_jobs_are_restored_as_their_records_are_one_by_one(make_world, monkeypatch, seed, expected):
    monkeypatch.setattr(tables, "LARGE_TABLE", 50)
    monkeypatch.setattr(core_module, "LARGE_TABLE", 50)
    one_by_one, at_once = make_world(durable=True), make_world(durable=True)
    usual = usual_at_random(random.Random(seed), one_by_one.wall, 120)
    for world in (one_by_one, at_once):
        for functions in ((b"f",), (b"g", b"f")):
            world.worker(*functions, sleeps=True)
        world.core.functions[b"g"].pause()
    for record in records_of_usual(usual):
        assert record.position == place_of(handle_number(record.handle)) and record.state is WAITING
        one_by_one.core.restore(record)
    if expected:
        at_once.core.expect_jobs(119)
        assert isinstance(at_once.core.jobs, tables.PartedTable)
    for start in range(0, 119, 50):
        at_once.core.restore_usual(UsualJobs(*(column[start:start + 50] for column in usual)))
    found = []
    for world in (one_by_one, at_once):
        core = world.core
        world.after_step()
        for job in core.jobs.values():
            job.position = job.position or place_of(handle_number(job.handle))  # 0 says the same
        found.append((
            core.size, sorted(core.jobs), core.ledger.records,
            [told_of(job) for some in core.job_chain.walk() for job in some],
            [(function.name, function.size, function.waiting, function.delayed, function.aside, function.escalating,
              sorted(map(repr, function.uniques)), [job.handle for job in function.jobs_waiting()])
             for function in core.functions.values()],
            repr(core.uniques), [packets_of(talker.takes()) for talker in world.talkers]))
    assert found[0] == found[1] and len(found[0][1]) == 119 and found[0][-1] == [[("NOOP",)], [("NOOP",)]]


def test_a_restored_usual_job_stands_in_the_store_where_it_stood(make_world):
    """Without a position of its own, it has that of a new job of its number."""
    world = make_world(durable=True)
    world.core.restore_usual(UsualJobs([b"H:x:7"], [b"f"], [b""], [b"w"], [1], [world.wall - 5.0]))
    (record,) = world.core.snapshot()
    assert record == AddRecord(ADD, b"H:x:7", b"f", b"", b"w", None, 1, 0.0, 0, WAITING, b"", None, world.wall - 5.0, 0)
    world.core.ledger.update(world.core.jobs[b"H:x:7"], world.wall)
    assert world.core.ledger.records[-1].position == 0


def test_of_many_the_one_whose_schedule_is_not_valid_is_named(make_world):
    records = [AddRecord(ADD, b"H:x:%d" % number, b"f", b"", b"", None, 1, 9e9 if number == 3 else 0.0, 0,
                         DELAYED if number == 3 else WAITING, b"", b"61 * * * *" if number == 3 else None, 0.0, number << 14)
               for number in range(1, 5)]
    with pytest.raises(ValueError, match="^job H:x:3: "):
        make_world(durable=True).core.restore_all(records)

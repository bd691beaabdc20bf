"""A core with its store, without sockets: what a restart brings back, and what goes on while the disk refuses."""
import itertools
import logging
import os
import re

import pytest

from gearman_std.core.jobs import HANDLE_BLOCK, HELD, RERUN, FunctionPolicy
from gearman_std.wire.protocol import (CAN_DO_TIMEOUT, GRAB_JOB, GRAB_JOB_ALL, GRAB_JOB_UNIQ, JOB_ASSIGN, JOB_ASSIGN_ALL,
                                       JOB_ASSIGN_UNIQ, JOB_CREATED, NO_JOB, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH,
                                       SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW_BG, SUBMIT_JOB_SCHED, SUBMIT_REDUCE_JOB_BACKGROUND,
                                       WORK_COMPLETE, WORK_EXCEPTION, WORK_FAIL, pack_request)
from gearman_std.store import storekeeper
from gearman_std.core.standing import standing_orders
from gearman_std.store.files import connect_sqlite
from gearman_std.store.records import compact
from gearman_std.store.store import BATCH, EVERY, EXIT
from gearman_std.store.storekeeper import FLUSH_INTERVAL, QUIET, RETRY_INTERVAL

from core_world import packets_of
from store_world import StoredWorld


@pytest.fixture
def start(tmp_path):
    """start(**settings) makes a world whose store is a new file; it ends with the test, as all that come after it do."""
    worlds = []

    def start(durability=EVERY, **settings):
        return StoredWorld(worlds, str(tmp_path / "jobs.db"), durability, **settings)
    yield start
    for world in worlds:
        world.store.abandon()


RESTARTS = pytest.mark.parametrize("restart", [StoredWorld.crashes, StoredWorld.stops])


# --- What a restart brings back.

RERUN_POLICY = FunctionPolicy(RERUN)


@RESTARTS
def test_a_run_with_the_newest_workload_follows_that_of_a_lost_worker_over_a_restart_too(start, restart):
    world = start(policy=RERUN_POLICY)
    client, worker = world.connects(), world.worker(b"f")
    old = client.submits_bg(b"f", b"u", b"old")
    assert worker.grabs() == old
    newest = client.submits_bg(b"f", b"u", b"newest")
    worker.leaves()
    assert world.core.jobs[newest].state is HELD
    world = restart(world)
    assert world.core.jobs[newest].state is HELD
    worker = world.worker(b"f")
    assert [worker.grabs(), worker.grabs()] == [old, None]
    worker.says(WORK_COMPLETE, old, b"").hears()
    worker.says(GRAB_JOB).hears((JOB_ASSIGN, newest, b"f", b"newest"))
    worker.says(WORK_COMPLETE, newest, b"").hears()


@RESTARTS
def test_a_job_that_was_held_back_has_the_place_of_the_end_of_the_other(start, restart):
    world = start(policy=RERUN_POLICY)
    client, worker = world.connects(), world.worker(b"f")
    first = client.submits_bg(b"f", b"u")
    worker.grabs()
    second, third = client.submits_bg(b"f", b"u"), client.submits_bg(b"f")
    worker.says(WORK_COMPLETE, first, b"").hears()
    world = restart(world)
    assert world.drained(b"f") == [third, second]


@RESTARTS
def test_jobs_that_were_equal_but_not_held_back_stay_so(start, restart):
    """One was set aside while the other came, and requeued."""
    world = start(policy=FunctionPolicy(RERUN, retries=1))
    client = world.connects()
    first = client.submits_bg(b"f", b"u")
    world.loses(1)
    second = client.submits_bg(b"f", b"u")
    assert client.asks(b"requeue job " + first) == b"OK 1\r\n"
    world = restart(world)
    assert world.drained(b"f") == [second, first]


@RESTARTS
def test_a_foreground_job_that_is_joined_in_the_background_keeps_its_place(start, restart):
    world = start()
    client = world.connects()
    first = client.submits(b"f", b"u")
    second = client.submits_bg()
    assert client.submits_bg(b"f", b"u") == first
    world = restart(world)
    assert world.drained(b"f") == [first, second]


@RESTARTS
def test_a_raised_priority_changes_the_place_of_what_waits_and_of_nothing_else(start, restart):
    world = start()
    client, worker = world.connects(), world.worker(b"f")
    running, raised, date = client.submits_bg(b"f", b"r"), client.submits_bg(b"f", b"u"), int(world.wall) + 10
    assert worker.grabs() == running
    high = client.submits_bg(packet_type=SUBMIT_JOB_HIGH_BG)
    for unique in (b"u", b"r"):
        client.submits_bg(b"f", unique, packet_type=SUBMIT_JOB_HIGH_BG)
    client.says(SUBMIT_JOB_EPOCH, b"f", b"d", b"%d" % date, b"").says(SUBMIT_JOB_EPOCH, b"f", b"e", b"%d" % date, b"")
    early, late = [packet[1] for packet in packets_of(client.takes())]
    for unique in (b"d", b"e"):
        client.submits_bg(b"f", unique, packet_type=SUBMIT_JOB_HIGH_BG)
    world = restart(world)
    assert world.drained(b"f") == [running, high, raised]
    world.passes(10)
    assert world.drained(b"f") == [early, late]


@RESTARTS
def test_a_job_that_is_lost_while_others_are_stored_is_before_them(start, restart):
    """Those enter their queue when they are on disk."""
    world = start()
    client, worker = world.connects(), world.worker(b"f")
    lost = client.submits_bg()
    assert worker.grabs() == lost
    world.core.receive(client.peer, client.reader.feed(pack_request(SUBMIT_JOB_BG, b"f", b"", b"")))
    worker.leaves()
    (_, stored), = packets_of(client.takes())
    assert [job.handle for job in world.core.functions[b"f"].jobs_waiting()] == [lost, stored]
    world = restart(world)
    assert world.drained(b"f") == [lost, stored]


@pytest.mark.parametrize("back", (10.0, 1e8))
@RESTARTS
def test_a_job_whose_time_has_come_stays_due_however_the_clock_is_set(start, restart, back):
    world = start()
    client = world.connects()
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 5), b"").hears((JOB_CREATED, b"H:x:1"))
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall - 5), b"").hears((JOB_CREATED, b"H:x:2"))
    world.passes(6)
    world.sets_clock(-back)
    world = restart(world)
    assert world.drained(b"f") == [b"H:x:2", b"H:x:1"]


@RESTARTS
def test_what_came_due_at_a_start_is_before_what_came_later(start, restart):
    world = start()
    client = world.connects()
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 5), b"").hears((JOB_CREATED, b"H:x:1"))
    world.wall += 10
    world = restart(world)
    later = world.connects().submits_bg()
    world = restart(world)
    assert world.drained(b"f") == [b"H:x:1", later]


def test_places_do_not_run_out_between_two_new_jobs(start, monkeypatch):
    for module in ("transitions", "jobs"):
        monkeypatch.setattr("gearman_std.core.%s.POSITIONS" % module, 3)
    world = start(policy=FunctionPolicy(retries=0))
    client = world.connects()
    first = client.submits_bg()
    world.loses(10)
    second = client.submits_bg()
    world = world.crashes()
    assert world.drained(b"f") == [first, second]


@RESTARTS
def test_order_and_priority_survive(start, restart):
    world = start()
    client = world.connects()
    low, normal, high, second = [client.submits_bg(packet_type=kind) for kind in (
        SUBMIT_JOB_LOW_BG, SUBMIT_JOB_BG, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_BG)]
    world = restart(world)
    assert world.drained(b"f") == [high, normal, second, low]


@RESTARTS
def test_unique_workload_and_function_survive_whatever_their_bytes(start, restart):
    world = start()
    client = world.connects()
    jobs = [(b"f", b"", b""), (b"f", b"-", b"payload"), (b"f", b"-", b""), (b"g \xff", b"u\xfe", bytes(range(256))),
            (b"f", b"", b"x" * 300000), (b"", b"", b"no name")]
    handles = [client.submits_bg(*job) for job in jobs]
    world = restart(world)
    worker = world.worker(b"f", b"g \xff", b"")
    seen = {}
    for _ in jobs:
        worker.says(GRAB_JOB_UNIQ)
        data = worker.takes()
        assert data[:8] == b"\0RES\0\0\0" + bytes([JOB_ASSIGN_UNIQ])
        handle, function, unique, workload = data[12:].split(b"\0", 3)
        seen[handle] = (function, unique, workload)
    assert seen == dict(zip(handles, jobs))


@RESTARTS
def test_equal_jobs_still_meet(start, restart):
    world = start()
    handles = [world.connects().submits_bg(b"f", b"u", b"1"), world.connects().submits_bg(b"f", b"-", b"2")]
    world = restart(world)
    client = world.connects()
    assert [client.submits_bg(b"f", b"u", b"x"), client.submits(b"f", b"-", b"2")] == handles
    assert client.submits_bg(b"f", b"-", b"3") not in handles


@RESTARTS
def test_reducer_survives(start, restart):
    world = start()
    world.connects().says(SUBMIT_REDUCE_JOB_BACKGROUND, b"f", b"u", b"reducer", b"0", b"w").hears((JOB_CREATED, b"H:x:1"))
    world = restart(world)
    world.worker(b"f").says(GRAB_JOB_ALL).hears((JOB_ASSIGN_ALL, b"H:x:1", b"f", b"u", b"reducer", b"w"))


@RESTARTS
def test_epoch_survives_and_comes_on_time(start, restart):
    world = start()
    world.connects().says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 100), b"later").hears((JOB_CREATED, b"H:x:1"))
    now = world.connects().submits_bg()
    world = restart(world)
    worker = world.worker(b"f")
    assert [worker.grabs(), worker.grabs()] == [now, None]
    world.passes(99)
    assert worker.grabs() is None
    world.passes(1)
    assert worker.grabs() == b"H:x:1"


@RESTARTS
def test_a_job_that_came_due_keeps_its_place_behind_those_before_it(start, restart):
    world = start()
    world.connects().says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 10), b"later").hears((JOB_CREATED, b"H:x:1"))
    second = world.connects().submits_bg()
    world.passes(11)
    third = world.connects().submits_bg()
    world = restart(world)
    assert world.drained(b"f") == [second, b"H:x:1", third]


@RESTARTS
def test_a_schedule_survives_and_a_time_that_was_missed_is_made_up_for_once(start, restart):
    world = start()
    world.connects().says(SUBMIT_JOB_SCHED, b"f", b"", b"*", b"*", b"*", b"*", b"*", b"tick").hears((JOB_CREATED, b"H:x:1"))
    world = restart(world)
    world.passes(200)
    worker = world.worker(b"f")
    assert worker.grabs() == b"H:x:1"
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    assert worker.grabs() is None
    world = restart(world)
    assert world.drained(b"f") == []
    world.passes(60)
    assert world.drained(b"f") == [b"H:x:1"]


@RESTARTS
def test_attempts_and_error_survive(start, restart):
    world = start(policy=FunctionPolicy(retries=3))
    first, second = [world.connects().submits_bg() for _ in range(2)]
    for _ in range(2):
        worker = world.worker(b"f")
        assert worker.grabs() == first
        worker.leaves()
        worker = world.worker(b"f")
        assert worker.grabs() == second
        worker.says(WORK_COMPLETE, second, b"").leaves()
        second = world.connects().submits_bg()
    world = restart(world)
    job = world.core.jobs[first]
    assert (job.attempts, job.error) == (2, b"the worker was lost")
    worker = world.worker(b"f")
    assert worker.grabs() == first
    worker.leaves()
    assert list(world.core.aside) == [first]


def test_a_running_job_comes_back_in_its_place(start):
    world = start()
    first, second = [world.connects().submits_bg() for _ in range(2)]
    world.worker(b"f").grabs()
    world = world.crashes()
    assert world.drained(b"f") == [first, second]


@RESTARTS
def test_a_lost_job_comes_back_at_the_tail(start, restart):
    world = start()
    first, second = [world.connects().submits_bg() for _ in range(2)]
    worker = world.worker(b"f")
    worker.grabs()
    worker.leaves()
    world = restart(world)
    assert world.drained(b"f") == [second, first]


@RESTARTS
def test_a_job_waits_for_its_next_attempt_over_a_restart(start, restart):
    world = start(policy=FunctionPolicy(attempts=2, backoff=100))
    handle = world.connects().submits_bg()
    worker = world.worker(b"f")
    worker.grabs()
    worker.says(WORK_EXCEPTION, handle, b"boom")
    world = restart(world)
    worker = world.worker(b"f")
    assert worker.grabs() is None
    world.passes(126)
    assert worker.grabs() == handle
    worker.says(WORK_FAIL, handle)
    world = restart(world)
    assert world.connects().asks(b"show aside") == b"%s\tf\t\t2\tthe worker failed it\n.\n" % handle


@RESTARTS
def test_jobs_set_aside_can_be_requeued_and_purged_after_a_restart(start, restart):
    world = start(policy=FunctionPolicy(retries=1))
    first, second = [world.connects().submits_bg() for _ in range(2)]
    worker = world.worker(b"f")
    worker.grabs()
    worker.grabs()
    worker.leaves()
    world = restart(world)
    admin = world.connects()
    assert admin.asks(b"requeue job " + first) == b"OK 1\r\n"
    assert admin.asks(b"purge job " + second) == b"OK 1\r\n"
    world = restart(world)
    assert world.connects().asks(b"show aside") == b".\n"
    assert world.core.jobs[first].attempts == 0
    assert world.drained(b"f") == [first]


@RESTARTS
def test_the_age_of_a_job_goes_on(start, restart):
    world = start()
    handle = world.connects().submits_bg()
    world.passes(50)
    world = restart(world)
    job = world.core.jobs[handle]
    assert world.core.now - job.created == pytest.approx(50)


@RESTARTS
def test_foreground_jobs_are_never_stored(start, restart):
    world = start()
    client = world.connects()
    client.submits()
    client.submits_bg(b"f", b"u")
    client.submits(b"f", b"v")
    commits = world.commits
    client.submits()
    assert world.commits == commits
    world = restart(world)
    assert len(world.core.jobs) == 1


@RESTARTS
def test_a_foreground_job_that_was_joined_in_the_background_is_stored(start, restart):
    world = start()
    client = world.connects()
    handle = client.submits(b"f", b"u")
    assert world.connects().submits_bg(b"f", b"u") == handle
    client.leaves()
    world = restart(world)
    assert world.drained(b"f") == [handle]


@RESTARTS
@pytest.mark.parametrize("end", ["complete", "fail", "exception", "cancel", "cancel function", "purge", "drop"])
def test_a_job_that_is_gone_does_not_come_back(start, restart, end):
    world = start(policy=FunctionPolicy(retries=1))
    handle = world.connects().submits_bg()
    worker, admin = world.connects(), world.connects()
    if end in ("complete", "fail", "exception", "purge"):
        worker = world.worker(b"f")
        worker.grabs()
    if end == "complete":
        worker.says(WORK_COMPLETE, handle, b"result")
    elif end == "fail":
        worker.says(WORK_FAIL, handle)
    elif end == "exception":
        worker.says(WORK_EXCEPTION, handle, b"x")
    elif end == "cancel":
        assert admin.asks(b"cancel job " + handle) == b"OK\r\n"
    elif end == "cancel function":
        assert admin.asks(b"cancel function f") == b"OK 1\r\n"
    elif end == "purge":
        worker.leaves()
        assert admin.asks(b"purge all") == b"OK 1\r\n"
    else:
        assert admin.asks(b"drop function f force") == b"OK\r\n"
        assert admin.asks(b"purge all") == b"OK 1\r\n"
    world = restart(world)
    assert not world.core.jobs and not world.core.aside


@RESTARTS
def test_a_function_dropped_by_force_leaves_its_jobs_aside(start, restart):
    world = start()
    handle = world.connects().submits_bg()
    assert world.connects().asks(b"drop function f force") == b"OK\r\n"
    world = restart(world)
    assert list(world.core.aside) == [handle]


@RESTARTS
def test_the_newest_workload_survives_with_replace(start, restart):
    world = start(policy=FunctionPolicy("replace"))
    client = world.connects()
    handle = client.submits_bg(b"f", b"u", b"old")
    assert client.submits_bg(b"f", b"u", b"new") == handle
    world = restart(world)
    world.worker(b"f").says(GRAB_JOB_UNIQ).hears((JOB_ASSIGN_UNIQ, handle, b"f", b"u", b"new"))


@RESTARTS
def test_a_schedule_that_a_single_job_was_given_survives(start, restart):
    world = start()
    client = world.connects()
    handle = client.submits_bg(b"f", b"u", b"w")
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"w").hears((JOB_CREATED, handle))
    world = restart(world)
    worker = world.worker(b"f")
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, b"")
    world.passes(60)
    assert worker.grabs() == handle


@RESTARTS
@pytest.mark.parametrize("stored", [False, True])
def test_a_new_schedule_survives(start, restart, stored):
    world = start(policy=FunctionPolicy("replace"))
    client = world.connects()
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"0", b"0", b"1", b"1", b"*", b"w")
    if stored:
        client.hears((JOB_CREATED, b"H:x:1"))
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"v")
    client.hears(*[(JOB_CREATED, b"H:x:1")] * (1 if stored else 2))
    world = restart(world)
    worker = world.worker(b"f")
    for _ in range(2):
        assert worker.grabs() is None
        world.passes(60)
        worker.says(GRAB_JOB_UNIQ).hears((JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"u", b"v"))
        worker.says(WORK_COMPLETE, b"H:x:1", b"")


@RESTARTS
def test_both_runs_survive_with_rerun_and_still_come_one_after_the_other(start, restart):
    world = start(policy=FunctionPolicy("rerun"))
    client = world.connects()
    first = client.submits_bg(b"f", b"u", b"1")
    world.worker(b"f").grabs()
    second = client.submits_bg(b"f", b"u", b"2")
    assert second != first and client.submits_bg(b"f", b"u", b"3") == second
    world = restart(world)
    worker = world.worker(b"f")
    assert [worker.grabs(), worker.grabs()] == [first, None]
    worker.says(WORK_COMPLETE, first, b"").says(GRAB_JOB_UNIQ).hears((JOB_ASSIGN_UNIQ, second, b"f", b"u", b"3"))


def test_a_raised_priority_survives(start):
    world = start()
    client = world.connects()
    first, second = client.submits_bg(), client.submits_bg(b"f", b"u")
    assert client.submits_bg(b"f", b"u", packet_type=SUBMIT_JOB_HIGH_BG) == second
    world = world.crashes()
    assert world.drained(b"f") == [second, first]


def test_a_worker_too_slow_counts_as_an_attempt_on_disk(start):
    world = start()
    handle = world.connects().submits_bg()
    worker = world.connects().says(CAN_DO_TIMEOUT, b"f", b"1000")
    assert worker.grabs() == handle
    world.passes(2)
    world = world.crashes()
    assert world.core.jobs[handle].attempts == 1


def test_a_start_says_how_many_jobs_it_has_read(start, caplog):
    world = start()
    for _ in range(3):
        world.connects().submits_bg()
    caplog.set_level(logging.INFO, "gearman_std.store")
    world = world.crashes()
    assert [re.sub(r"[0-9.]+ s$", "1.5 s", message) for message in caplog.messages] == ["%s: 3 jobs read in 1.5 s" % world.path]
    assert world.keeper.starting.endswith("jobs.db: 3 of 3 jobs")


# --- Handles never repeat.

@RESTARTS
@pytest.mark.parametrize("kind", [SUBMIT_JOB, SUBMIT_JOB_BG])
def test_handles_never_repeat(start, restart, kind):
    """Those of foreground jobs neither, of which no record is left."""
    world = start()
    seen = []
    for _ in range(4):
        seen += [world.connects().submits(packet_type=kind) for _ in range(3)]
        world = restart(world)
    assert len(set(seen)) == 12
    if restart is StoredWorld.stops:
        assert seen == [b"H:x:%d" % n for n in range(1, 13)]


def test_handles_never_repeat_although_the_disk_refuses_from_the_first_job_on(start):
    world = start()
    break_disk(world)
    client = world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w").hears(REFUSED)
    seen = [client.submits() for _ in range(3)]
    world = world.crashes()
    assert world.connects().submits() not in seen


def test_handles_never_repeat_after_many(start):
    world = start()
    world.core.handles.number = HANDLE_BLOCK * 3  # as if so many had been given out
    last = world.connects().submits()
    world = world.crashes()
    assert int(world.connects().submits()[4:]) > int(last[4:])


# --- When it is written.

def test_one_commit_for_all_of_a_wake_up(start):
    world = start()
    client = world.connects()
    client.submits_bg()
    commits = world.commits
    from gearman_std.wire.protocol import pack_request
    client.sends(pack_request(SUBMIT_JOB_BG, b"f", b"", b"w") * 50)
    assert len(client.takes()) > 50
    assert world.commits == commits + 1


def test_batch_flushes_within_a_second(start):
    world = start(BATCH)
    modes = []
    write = world.store.write

    def note(records, number, flush=True):
        modes.append((len(records), flush))
        write(records, number, flush)
    world.store.write = note
    world.connects().submits_bg()
    assert modes == [(1, False)]
    assert world.keeper.next_time() == world.now + FLUSH_INTERVAL
    world.passes(FLUSH_INTERVAL / 2)
    world.connects().submits_bg()
    world.passes(FLUSH_INTERVAL / 2)
    assert modes == [(1, False), (1, False), (0, True)]
    assert world.keeper.next_time() == float("inf")
    world.passes(100)
    assert len(modes) == 3
    world = world.crashes()
    assert len(world.core.jobs) == 2


def test_every_waits_for_the_disk_when_something_is_promised(start):
    """Not for what ends: a job that runs again after a power failure is not lost."""
    world = start(EVERY)
    modes = []
    write = world.store.write

    def note(records, number, flush=True):
        modes.append(([record.kind for record in records], flush))
        write(records, number, flush)
    world.store.write = note
    client = world.connects()
    first, second = client.submits(b"f", b"u"), client.submits_bg(b"f", b"v")
    assert client.submits_bg(b"f", b"u") == first
    assert modes == [(["add"], True), (["add"], True)]
    del modes[:]
    worker = world.worker(b"f")
    assert [worker.grabs(), worker.grabs()] == [first, second]
    worker.says(WORK_COMPLETE, second, b"")
    assert modes == [(["remove"], False)]
    world.passes(FLUSH_INTERVAL)
    assert modes == [(["remove"], False), ([], True)]
    world = world.crashes()
    assert world.handles() == [first]
    client.takes()


def test_exit_writes_when_it_stops(start):
    world = start(EXIT, policy=FunctionPolicy(retries=1))
    client = world.connects()
    lost, first, second = [client.submits_bg() for _ in range(3)]
    client.submits()
    worker = world.worker(b"f")
    worker.grabs()
    worker.leaves()
    world.worker(b"f").grabs()
    other = StoredWorld.crashes
    world = world.stops()
    assert list(world.core.aside) == [lost]
    assert world.drained(b"f") == [first, second]
    world = other(world)  # what was done since is lost, but not what was there
    assert world.drained(b"f") == [first, second]


# --- Orders that stand.

ORDERS = [b"create function f", b"pause function f", b"maxqueue g 1 2 3", b"drain"]


def obeys(world, *lines):
    admin = world.connects()
    for line in lines:
        assert admin.asks(line) == b"OK\r\n"
    admin.leaves()


@pytest.mark.parametrize("durability", [EVERY, BATCH])
@RESTARTS
def test_orders_stand_after_a_restart_until_they_are_taken_back(start, restart, durability, caplog):
    world = start(durability)
    handle = world.connects().submits_bg()
    obeys(world, *ORDERS)
    stood = sorted(standing_orders(world.core))
    assert len(stood) == 4
    world = restart(world)
    assert sorted(standing_orders(world.core)) == stood
    assert "as ordered before: no new jobs are taken, functions paused: 1, functions with a limit: 1" in caplog.text
    assert world.worker(b"f").grabs() is None
    world.connects().says(SUBMIT_JOB_BG, b"f", b"", b"").hears(
        (19, b"QUEUE_ERROR", b"The server is draining and takes no new jobs"))
    obeys(world, b"drain off", b"resume function f", b"maxqueue g 0")
    world = restart(world)
    assert [record.name for record in standing_orders(world.core)] == ["create"]
    assert world.drained(b"f") == [handle]


def test_orders_are_written_at_the_end_where_all_is(start):
    world = start(EXIT)
    obeys(world, *ORDERS)
    stood = sorted(standing_orders(world.core))
    world = world.stops()
    assert sorted(standing_orders(world.core)) == stood
    obeys(world, b"resume function f", b"drain off")
    assert sorted(standing_orders(world.crashes().core)) == stood, "a crash costs what came since the start"


def test_an_order_is_answered_when_it_is_on_disk(start):
    """As every order that changes what is stored."""
    world = start()
    world.connects().submits_bg()
    commits = world.commits
    obeys(world, b"pause function f")
    assert world.commits == commits + 1
    obeys(world, b"pause function f")
    assert world.commits == commits + 1, "it was paused already"


def test_orders_that_are_given_while_the_disk_refuses_stand_at_once_and_are_written_later(start):
    world = start()
    handle = world.connects().submits_bg()
    world.broken = "database is locked"
    obeys(world, *ORDERS)
    assert world.worker(b"f").grabs() is None
    obeys(world, b"drain off")
    mend_disk(world)
    world = world.crashes()
    assert sorted(record.name for record in standing_orders(world.core)) == ["create", "maxqueue", "pause"]
    assert world.handles() == [handle]


def steps_anew(world, client):
    """The steps, by number, in which a file is written anew after its disk had refused a job."""
    break_disk(world)
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w").hears(REFUSED)
    world.broken = ""
    world.passes(RETRY_INTERVAL)
    for step in itertools.count():
        if not world.core.store_trouble:
            return
        assert step < 1000
        yield step
        world.passes(0.001)


@pytest.mark.parametrize("moment", range(6))
def test_a_file_that_is_written_anew_has_the_orders_and_what_becomes_of_them_meanwhile(start, monkeypatch, moment):
    monkeypatch.setattr(storekeeper, "PIECE", 5000)  # of three jobs
    world = start()
    client = world.connects()
    for _ in range(9):
        client.submits_bg(b"f")
    obeys(world, *(ORDERS[:3] + [b"create function h", b"maxqueue i 1"]))
    for step in steps_anew(world, client):
        if step == moment:
            obeys(world, b"drop function h", b"maxqueue i", b"maxqueue g 7", b"create function j", b"pause function j")
    assert step >= moment
    stood = sorted(standing_orders(world.core))
    assert [(record.name, record.function) for record in stood] == [
        ("create", b"f"), ("create", b"j"), ("maxqueue", b"g"), ("pause", b"f"), ("pause", b"j")]
    world = world.crashes()
    assert sorted(standing_orders(world.core)) == stood and len(world.core.jobs) == 9


# --- Trouble.

REFUSED = (19, b"QUEUE_ERROR", b"Background jobs cannot be stored at present: disk I/O error")


def break_disk(world):
    world.broken = "disk I/O error"


def test_a_logging_handler_that_raises_when_trouble_is_logged_costs_that_line_alone(start, capsys):
    class Raising(logging.Handler):
        def emit(self, record):
            raise ValueError("a bad handler")

    world, logger, handler = start(), logging.getLogger("gearman_std.store"), Raising()
    logger.addHandler(handler)
    try:
        break_disk(world)
        client = world.connects()
        client.says(SUBMIT_JOB_BG, b"f", b"", b"w").hears(REFUSED)
        mend_disk(world)
        client.submits_bg()
    finally:
        logger.removeHandler(handler)
    assert "a bad handler" in capsys.readouterr().err and len(world.crashes().handles()) == 1


def mend_disk(world):
    world.broken = ""
    world.passes(RETRY_INTERVAL)
    while world.core.store_trouble:
        assert world.keeper.next_time() == world.now + 0.001
        world.passes(0.001)


def test_a_job_that_cannot_be_stored_is_refused_and_all_else_goes_on(start, caplog):
    world = start()
    client = world.connects()
    stored = client.submits_bg()
    break_disk(world)
    for _ in range(3):
        client.says(SUBMIT_JOB_BG, b"f", b"", b"w").hears(REFUSED)
    waiting = client.submits()
    worker = world.worker(b"f")
    assert [worker.grabs(), worker.grabs(), worker.grabs()] == [stored, waiting, None]
    worker.says(WORK_COMPLETE, stored, b"").says(WORK_COMPLETE, waiting, b"result")
    client.hears((WORK_COMPLETE, waiting, b"result"))
    for _ in range(20):
        world.passes(RETRY_INTERVAL)
    mend_disk(world)
    assert client.submits_bg()
    assert len(caplog.records) == 1
    world.passes(QUIET)
    levels = [(record.levelno, record.getMessage()) for record in caplog.records if record.levelno >= logging.WARNING]
    assert [level for level, _ in levels] == [logging.ERROR] * 2, "one line for each change"
    assert "refused" in levels[0][1] and "disk I/O error" in levels[0][1] and "again" in levels[1][1]
    world = world.crashes()
    assert len(world.core.jobs) == 1


def test_what_happened_during_trouble_is_written_when_it_is_over(start):
    world = start(policy=FunctionPolicy(retries=2))
    client = world.connects()
    done, twice, once = [client.submits_bg() for _ in range(3)]
    break_disk(world)
    worker = world.worker(b"f")
    assert [worker.grabs() for _ in range(3)] == [done, twice, once]
    worker.says(WORK_COMPLETE, done, b"")
    worker.leaves()
    worker = world.worker(b"f")
    assert worker.grabs() == twice
    worker.leaves()
    mend_disk(world)
    world = world.crashes()
    assert world.handles() == [once] and world.core.jobs[once].attempts == 1
    assert list(world.core.aside) == [twice]


def test_a_clean_stop_during_trouble_writes_what_is_outstanding(start):
    world = start()
    first, second = [world.connects().submits_bg() for _ in range(2)]
    break_disk(world)
    worker = world.worker(b"f")
    worker.grabs()
    worker.says(WORK_COMPLETE, first, b"")
    world.broken = ""
    keeper = world.keeper
    world = world.stops()
    assert keeper.complete and world.handles() == [second]


def test_a_stop_that_cannot_write_what_only_it_writes_says_what_is_lost(start, caplog):
    world = start(EXIT)
    handle = world.connects().submits_bg()
    world = world.stops()
    world.connects().submits_bg()
    world.broken = "the disk is full"
    world.keeper.close()
    assert "background jobs are lost" in caplog.records[-1].getMessage()
    assert not world.keeper.complete
    world = world.crashes()
    assert world.handles() == [handle]


def test_a_clean_stop_that_cannot_write_says_so(start, caplog):
    world = start()
    world.connects().submits_bg()
    world.connects().submits_bg()
    break_disk(world)
    worker = world.worker(b"f")
    worker.says(WORK_COMPLETE, worker.grabs(), b"")
    world.keeper.close()
    assert "may run again" in caplog.records[-1].getMessage()
    world.broken = ""
    world = world.crashes()
    assert len(world.core.jobs) == 2


def test_much_that_was_outstanding_is_written_bit_by_bit(start, monkeypatch):
    """Where the file as it was is still good."""
    monkeypatch.setattr(storekeeper, "CATCH_UP", 100)
    world = start()
    client = world.connects()
    client.sends(pack_request(SUBMIT_JOB_BG, b"f", b"", b"w") * 201)
    client.takes()
    world.broken = "database is locked"
    assert world.connects().asks(b"cancel function f") == b"OK %d\r\n" % 201
    world.broken = ""
    world.passes(RETRY_INTERVAL)
    assert len(world.core.ledger.records) == 101
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w").hears(
        (19, b"QUEUE_ERROR", b"Background jobs cannot be stored at present: database is locked"))
    world.passes(0.001)
    assert len(world.core.ledger.records) == 1
    world.passes(0.001)
    assert client.submits_bg()
    world = world.crashes()
    assert len(world.core.jobs) == 1


def test_what_happens_while_the_file_is_written_anew_is_in_it(start, monkeypatch):
    """Which goes on piece by piece, while jobs run, end, are lost and set aside."""
    monkeypatch.setattr(storekeeper, "PIECE", 25000)
    world = start(policy=FunctionPolicy(retries=2))
    client = world.connects()
    handles = [client.submits_bg(b"f", b"", b"x" * 1000) for _ in range(300)]
    break_disk(world)
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w").hears(REFUSED)
    world.broken = ""
    world.passes(RETRY_INTERVAL)
    worker = world.worker(b"f")
    steps = 0
    while world.core.store_trouble:
        world.passes(0.001)
        if steps < 4:
            worker.says(WORK_COMPLETE, worker.grabs(), b"")
            world.loses(1)
            assert world.connects().asks(b"cancel job " + handles[-1 - steps]) == b"OK\r\n"
        steps += 1
    assert steps > 8
    new = client.submits_bg()
    expected = [record[:11] for record in world.core.snapshot()]
    world = world.crashes()
    assert len(world.core.jobs) == 300 - 8 + 1 and new in world.core.jobs
    assert [record[:11] for record in world.core.snapshot()] == expected


@pytest.mark.parametrize("moment", range(10))
def test_what_is_requeued_or_set_aside_while_the_file_is_written_anew_is_in_it(start, monkeypatch, moment):
    monkeypatch.setattr(storekeeper, "PIECE", 5000)  # of three jobs
    world = start(policy=FunctionPolicy(retries=1))
    client = world.connects()
    aside = [client.submits_bg(b"aside") for _ in range(15)]
    handles = [client.submits_bg(b"f") for _ in range(15)]
    assert world.connects().asks(b"drop function aside force").startswith(b"OK")
    for step in steps_anew(world, client):
        if step == moment:
            for place in (0, 7, -1):
                assert world.connects().asks(b"requeue job " + aside[place]) == b"OK 1\r\n"
            worker = world.worker(b"f", b"aside")
            for _ in handles + [0, 1]:
                worker.grabs()
            worker.leaves()
            assert world.connects().asks(b"requeue job " + aside[7]) == b"OK 1\r\n"
    assert step >= moment
    states = {job.handle: job.state for job in world.core.background_jobs()}
    world = world.crashes()
    assert {job.handle: job.state for job in world.core.background_jobs()} == states
    assert set(states) == set(aside + handles)


def test_records_do_not_pile_up_during_trouble(start):
    world = start(policy=FunctionPolicy(retries=0))
    world.connects().submits_bg()
    break_disk(world)
    for _ in range(60):
        worker = world.worker(b"f")
        worker.grabs()
        worker.leaves()
        world.passes(RETRY_INTERVAL)
    assert len(world.core.ledger.records) <= 2


def test_records_are_compacted_by_the_thread_and_only_when_they_may_have_doubled(start, monkeypatch):
    monkeypatch.setattr(storekeeper, "CATCH_UP", 4)
    compacted = []

    def count(records):
        compacted.append(len(records))
        return compact(records)
    monkeypatch.setattr(storekeeper, "compact", count)
    world = start(policy=FunctionPolicy(retries=0))
    world.connects().submits_bg()
    world.broken = "database is locked"
    monkeypatch.setattr(world.store, "could_shrink", lambda size: False)
    for _ in range(40):
        worker = world.worker(b"f")
        worker.grabs()
        worker.leaves()
        world.passes(RETRY_INTERVAL)
        assert len(world.core.ledger.records) <= 7
    assert world.core.store_trouble and 5 <= len(compacted) <= 10 and max(compacted) <= 7
    mend_disk(world)
    assert world.crashes().core.jobs


def test_a_refused_job_that_reached_the_disk_all_the_same_is_removed(start):
    """COMMIT may fail although all was written."""
    world = start()
    client = world.connects()
    client.submits_bg()
    real = world.store._connection._real
    world.store._connection.execute = lambda statement, *arguments: (
        fail_after(real.execute(statement, *arguments)) if statement == "COMMIT" else real.execute(statement, *arguments))
    client.says(SUBMIT_JOB_BG, b"f", b"", b"ghost").hears(REFUSED)
    mend_disk(world)
    world = world.crashes()
    assert len(world.core.jobs) == 1


def fail_after(_):
    raise OSError("disk I/O error")


@pytest.mark.skipif(os.name != "posix", reason="elsewhere open files cannot be deleted")
def test_a_deleted_file_is_written_anew(start, tmp_path):
    world = start(policy=FunctionPolicy(retries=1))
    client = world.connects()
    lost, first, second = [client.submits_bg() for _ in range(3)]
    worker = world.worker(b"f")
    worker.grabs()
    worker.leaves()
    client.submits()
    for name in os.listdir(str(tmp_path)):
        os.unlink(str(tmp_path / name))
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w").hears(
        (19, b"QUEUE_ERROR", b"Background jobs cannot be stored at present: the file was moved, deleted, replaced or changed"))
    mend_disk(world)
    third = client.submits_bg()
    world = world.crashes()
    assert list(world.core.aside) == [lost]
    assert world.drained(b"f") == [first, second, third]
    assert int(world.connects().submits()[4:]) > int(third[4:])


def test_a_file_locked_by_another_process_is_trouble_until_it_is_free(start):
    world = start()
    client = world.connects()
    client.submits_bg()
    other = connect_sqlite(world.path)
    other.execute("BEGIN IMMEDIATE")
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w").hears(
        (19, b"QUEUE_ERROR", b"Background jobs cannot be stored at present: database is locked"))
    world.passes(RETRY_INTERVAL)
    assert world.core.store_trouble
    other.execute("ROLLBACK")
    other.close()
    mend_disk(world)
    assert client.submits_bg()


def test_a_foreground_job_that_cannot_be_stored_for_one_who_joins_goes_on_for_the_other(start):
    world = start()
    client, other = world.connects(), world.connects()
    handle = client.submits(b"f", b"u")
    break_disk(world)
    other.says(SUBMIT_JOB_BG, b"f", b"u", b"w").hears(REFUSED)
    other.says(SUBMIT_JOB_BG, b"f", b"u", b"w").hears(REFUSED)
    worker = world.worker(b"f")
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, b"r").says(GRAB_JOB).hears((NO_JOB,))
    client.hears((WORK_COMPLETE, handle, b"r"))
    mend_disk(world)
    world = world.crashes()
    assert not world.core.jobs


def test_the_repr_tells_of_trouble(start):
    world = start()
    assert repr(world.keeper) == "<StoreKeeper of %r>" % world.store
    break_disk(world)
    world.connects().says(SUBMIT_JOB_BG, b"f", b"", b"w").hears(REFUSED)
    assert repr(world.keeper).endswith(", in trouble>")


def limit_pages(world, pages):
    """Have the disk full when the file has so many pages."""
    if world.store._connection is not None:
        world.store._connection.execute("PRAGMA max_page_count = %d" % pages).fetchall()


def test_a_queue_that_is_emptied_while_the_disk_is_full_frees_the_store(start):
    world = start()
    client = world.connects()
    handles = [client.submits_bg(b"f", b"", b"x" * 20000) for _ in range(5)]
    limit_pages(world, world.store._connection.execute("PRAGMA page_count").fetchall()[0][0])
    full = (19, b"QUEUE_ERROR", b"Background jobs cannot be stored at present: database or disk is full")
    client.says(SUBMIT_JOB_BG, b"f", b"", b"x" * 20000).hears(full)
    world.passes(RETRY_INTERVAL)
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w").hears(full)
    assert world.connects().asks(b"cancel function f") == b"OK %d\r\n" % len(handles)
    mend_disk(world)
    assert client.submits_bg(b"f", b"", b"x" * 20000)
    world = world.crashes()
    assert len(world.core.jobs) == 1

"""Which jobs and ends a listing shows: by number and function, in steps that are short however many there are."""
import json

import pytest

from gearman_std.core.choosing import MOST_ENDS, count_busy, first_jobs, is_scheduled, jobs_run_by, last_ends
from gearman_std.core.functions import Statistics
from gearman_std.wire.protocol import (GRAB_JOB, JOB_CREATED, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_SCHED, WORK_COMPLETE,
                                       WORK_FAIL)


def lines(reply):
    assert reply.endswith(b".\n")
    return [json.loads(line.decode()) for line in reply.splitlines()[:-1]]


def handles(admin, command):
    return [entry["handle"][4:] for entry in lines(admin.asks(command))]


@pytest.fixture
def full(world):
    """Five jobs of f and g, one that recurs, one with a date."""
    client = world.connects()
    for name in (b"f", b"g", b"f", b"g", b"g"):
        client.submits_bg(name)
    client.says(SUBMIT_JOB_EPOCH, b"g", b"", b"%d" % (world.wall + 9), b"").hears((JOB_CREATED, b"H:x:6"))
    client.says(SUBMIT_JOB_SCHED, b"f", b"", b"*", b"*", b"*", b"*", b"*", b"").hears((JOB_CREATED, b"H:x:7"))
    return world.connects()


@pytest.mark.parametrize("command, found", [
    (b"show jobs json", "1 2 3 4 5 6 7"), (b"show jobs json 0", "1 2 3 4 5 6 7"), (b"show jobs json 2", "1 2"),
    (b"show jobs json 0 f", "1 3 7"), (b"show jobs json 2 g", "2 4"), (b"show jobs json 9 none", ""),
    (b"SHOW Jobs JSON 1 g", "2"), (b"show schedules", "6 7"), (b"show schedules 1", "6"), (b"show schedules 0 f", "7"),
    (b"show history", ""), (b"show history 5 f", ""), (b"show history 5 none", "")])
def test_the_first_of_all_or_of_a_function(full, command, found):
    assert handles(full, command) == found.split()


@pytest.mark.parametrize("command", [b"show jobs json x", b"show jobs json -1", b"show jobs json f", b"show jobs json 1 f x",
                                     b"show schedules f", b"show history 1x", b"show history 1 f x"])
def test_what_is_no_limit_is_refused(full, command):
    reply = full.asks(command)
    assert reply == b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n" or full.peer.closing  # six words


def test_ends_are_told_the_newest_first(world):
    admin, client, worker = world.connects(), world.connects(), world.worker(b"f", b"g")
    for name, packet, rest in ((b"f", WORK_COMPLETE, (b"",)), (b"g", WORK_FAIL, ()), (b"f", WORK_FAIL, ())):
        handle = client.submits_bg(name)
        worker.grabs()
        worker.says(packet, handle, *rest).hears()
        world.passes(1)
    assert handles(admin, b"show history 9") == ["3", "2", "1"]
    assert handles(admin, b"show history 2") == ["3", "2"]
    assert handles(admin, b"show history 9 f") == handles(admin, b"show history 0 f") == ["3", "1"]
    assert handles(admin, b"show history") == ["3", "1", "2"]
    one = lines(admin.asks(b"show history 1 g"))[0]
    assert (one["function"], one["outcome"], one["worker"]["number"]) == ("g", "failed", worker.peer.number)


def test_each_step_is_short_however_few_are_found(world):
    client = world.connects()
    for _ in range(1000):
        client.submits_bg(b"f")
    client.submits_bg(b"rare")
    steps = list(first_jobs(world.core, 0, b"rare", lambda job: True))
    assert len([job for job in steps if job is not None]) == 1 and len(steps) >= 1000 // 64
    assert list(filter(None, first_jobs(world.core, 0, b"", is_scheduled))) == []


def test_the_order_of_time_has_a_bound(make_world):
    world = make_world(statistics=Statistics(ends=MOST_ENDS + 100))
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg(b"f")
    worker.grabs()
    worker.says(WORK_COMPLETE, handle, b"").hears()
    ends = world.core.functions[b"f"].statistics.ends
    ends.extend([ends[0]] * (MOST_ENDS + 99))
    assert len(list(filter(None, last_ends(world.core, 10 ** 9, b"")))) == MOST_ENDS
    assert len(list(filter(None, last_ends(world.core, 0, b"")))) == MOST_ENDS + 100


def busy(world):
    counting = count_busy(world.core)
    steps = 0
    while True:
        try:
            next(counting)
            steps += 1
        except StopIteration as end:
            return {function.name: count for function, count in end.value.items()}, steps


def test_busy_are_workers_not_jobs(world):
    client, one, other = world.connects(), world.worker(b"f", b"g"), world.worker(b"f")
    assert busy(world) == ({}, 0)
    for name in (b"f", b"f", b"f", b"g", b"idle"):
        client.submits_bg(name)
    for worker in (one, one, one, other):
        worker.grabs()
    assert sorted(job.function.name for job in one.peer.running.values()) == [b"f", b"f", b"g"]
    assert busy(world) == ({b"f": 2, b"g": 1}, 0)
    one.leaves()
    assert busy(world)[0] == {b"f": 1}
    other.says(WORK_COMPLETE, next(iter(other.peer.running)), b"")
    assert busy(world)[0] == {}


@pytest.mark.parametrize("large", [False, True])
def test_busy_workers_are_counted_in_steps_however_many_jobs_each_has(world, monkeypatch, large):
    if large:
        monkeypatch.setattr("gearman_std.core.choosing.LARGE_TABLE", 100)
    client, worker = world.connects(), world.worker(b"f", b"g")
    world.core.receive(client.peer, [(SUBMIT_JOB_BG, [b"f", b"", b"w"])] * 5000 + [(SUBMIT_JOB_BG, [b"g", b"", b"w"])])
    world.core.receive(worker.peer, [(GRAB_JOB, [])] * 5001)
    client.takes(), worker.takes()
    found, steps = busy(world)
    assert found == {b"f": 1, b"g": 1} and steps == 4
    assert sum(map(len, jobs_run_by(world.core, worker.peer))) == 5001
    assert max(map(len, jobs_run_by(world.core, worker.peer))) <= 1024

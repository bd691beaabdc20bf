"""How the server comes to its end: draining, a stop at once, a graceful one with and without a store."""
import pytest

from core_world import FULL
from gearman_std.core.chain import CHAIN_STEP
from gearman_std.wire.protocol import ERROR, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, NOOP, SUBMIT_JOB, SUBMIT_JOB_BG, WORK_COMPLETE


def test_a_draining_server_finishes_what_is_queued_and_takes_nothing_new(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg(b"f", b"u")
    assert client.asks(b"drain") == b"OK\r\n"
    client.says(SUBMIT_JOB, b"f", b"v", b"").hears_error(b"QUEUE_ERROR", b"The server is draining and takes no new jobs")
    assert client.submits(b"f", b"u") == handle, "joining is not new"
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, b"")
    client.hears((WORK_COMPLETE, handle, b""))
    assert client.asks(b"drain off") == b"OK\r\n"
    assert client.submits_bg(b"f", b"v")


def test_a_server_that_stops_takes_no_new_jobs_again(world):
    client = world.connects()
    client.submits_bg(b"f", b"u")
    assert client.asks(b"shutdown graceful") == b"OK\r\n"
    assert client.asks(b"drain off") == b"ERR SHUTTING_DOWN The+server+is+stopping\r\n"
    assert client.asks(b"drain on") == b"OK\r\n"
    client.says(SUBMIT_JOB, b"f", b"v", b"").hears_error(b"QUEUE_ERROR")


def test_a_stop_at_once_needs_nothing_and_cannot_be_taken_back_by_a_graceful_one(world):
    world.core.stop(graceful=True)
    assert world.core.stopping == "graceful"
    world.core.stop(graceful=False)
    world.core.stop(graceful=True)
    assert world.core.stopping == "now"


def test_a_graceful_stop_takes_nothing_new_and_waits_until_no_job_is_left(world):
    client, worker = world.connects(), world.worker(b"f")
    running, waiting = client.submits(), client.submits_bg()
    worker.grabs()
    world.core.stop(graceful=True)
    client.says(SUBMIT_JOB, b"f", b"", b"").hears_error(b"QUEUE_ERROR")
    worker.says(WORK_COMPLETE, running, b"")
    client.hears((WORK_COMPLETE, running, b""))
    assert not world.core.idle
    assert worker.grabs() == waiting
    assert not world.core.idle
    worker.says(WORK_COMPLETE, waiting, b"")
    assert world.core.idle


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
        durable.stores()
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

"""How background jobs ended is kept where the policy says so: what, for how long, how many bytes, and what of it is known."""
import json
from base64 import b64decode

import pytest

from core_world import World, packets_of
from gearman_std.core.handlers import obeyed_early
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.kept import KEPT_SIZE
from gearman_std.core.ledger import FORGET, KEEP, REMOVE
from gearman_std.core.limits import Limits
from gearman_std.core.results import find_story, restore_end
from gearman_std.core.statistics import END_CANCELLED, END_COMPLETED, END_FAILED
from gearman_std.wire.protocol import (CAN_DO_TIMEOUT, SUBMIT_JOB_BG, SUBMIT_JOB_SCHED, TEXT_LINE, WORK_COMPLETE, WORK_DATA,
                                       WORK_EXCEPTION, WORK_FAIL, WORK_STATUS)


HOUR = 3600.0


def keeping(keep=HOUR, keep_bytes=100000, limits=None, durable=False, **policy):
    return World(policies={b"f": FunctionPolicy(keep=keep, keep_bytes=keep_bytes, **policy)}, limits=limits, durable=durable)


def ask(world, handle):
    """What `result` says of a job, with the bytes that it has given."""
    lines = world.connects().asks(b"result " + handle).split(b"\n")
    if lines[0].startswith(b"ERR"):
        return lines[0]
    assert lines[1:] == [b".", b""]
    story = json.loads(lines[0].decode())
    for name in ("data", "result") if story["end"] else ():
        if story["end"][name] is not None:
            story["end"][name] = b64decode(story["end"][name])
    return story


def end_of(world, handle):
    end = ask(world, handle)["end"]
    return end and (end["outcome"], end["text"], end["data"], end["result"])


UNKNOWN = b"ERR UNKNOWN_JOB\r"


# ------------------------------------------------------------------------------------------------------------ what is kept

def test_how_a_job_ended_is_known_from_its_submit_until_its_time_is_over():
    world = keeping()
    handle = world.connects().submits_bg(unique=b"u")
    assert [ask(world, handle)[name] for name in ("state", "keep", "end")] == ["waiting", HOUR, None]
    world.passes(2.0)
    worker = world.worker(b"f")
    assert worker.grabs() == handle
    world.passes(3.0)
    worker.says(WORK_STATUS, handle, b"1", b"2")
    assert [ask(world, handle)[name] for name in ("state", "running", "progress")] == ["running", 3.0, [1, 2]]
    worker.says(WORK_COMPLETE, handle, b"\0re\xffsult")
    world.passes(5.0)
    story = ask(world, handle)
    assert story.pop("end") == {"outcome": "completed", "time": world.wall - 5, "age": 5.0, "waited": 2.0, "ran": 3.0,
                                "text": "", "data": b"", "result": b"\0re\xffsult"}
    assert (story["state"], story["function"], story["unique"], story["background"]) == ("ended", "f", "u", True)
    world.passes(HOUR - 5.1)
    assert end_of(world, handle)[0] == "completed"
    world.passes(0.1)
    assert ask(world, handle) == UNKNOWN and not len(world.core.results) and not world.core.results.size
    world.ends()


def test_the_story_of_a_job_that_has_ended_has_the_names_of_one_that_runs():
    world = keeping()
    client, worker = world.connects(), world.worker(b"f")
    handle, other = client.submits_bg(), client.submits_bg()
    worker.says(WORK_COMPLETE, worker.grabs(), b"")
    assert set(ask(world, handle)) == set(ask(world, other))


def test_without_the_policy_nothing_is_kept(world):
    worker = world.worker(b"f")
    handle = world.connects().submits_bg()
    assert ask(world, handle)["keep"] is None
    worker.says(WORK_DATA, worker.grabs(), b"data")
    worker.says(WORK_COMPLETE, handle, b"result")
    assert ask(world, handle) == UNKNOWN
    assert not len(world.core.results) and not world.core.ledger.records


def test_of_a_foreground_job_nothing_is_kept_unless_a_background_submit_joined_it():
    world = keeping()
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits(unique=b"u")
    worker.says(WORK_COMPLETE, worker.grabs(), b"1")
    client.takes()
    assert ask(world, handle) == UNKNOWN
    handle = client.submits(unique=b"u")
    assert client.submits_bg(unique=b"u") == handle
    worker.says(WORK_COMPLETE, worker.grabs(), b"2")
    client.takes()
    assert end_of(world, handle) == ("completed", "", b"", b"2")


@pytest.mark.parametrize("lost", [False, True])
def test_pieces_of_data_are_kept_beside_the_result_those_of_the_last_attempt(lost):
    world = keeping(attempts=3, backoff=1)
    handle = world.connects().submits_bg()
    worker = world.worker(b"f")
    worker.grabs()
    worker.says(WORK_DATA, handle, b"of the first")
    if lost:
        worker.leaves()
    else:
        worker.says(WORK_FAIL, handle)
        world.passes(2.0)
    worker = world.worker(b"f")
    worker.grabs()
    worker.says(WORK_DATA, handle, b"one").says(WORK_DATA, handle, b"two").says(WORK_COMPLETE, handle, b"three")
    assert end_of(world, handle) == ("completed", "", b"onetwo", b"three")


def test_failures_have_their_text_whole():
    world = keeping()
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    worker.grabs()
    worker.says(WORK_DATA, handle, b"half").says(WORK_EXCEPTION, handle, b"no room: " + b"x" * 2000)
    assert end_of(world, handle) == ("failed", "no room: " + "x" * 2000, b"half", b"")
    other = client.submits_bg()
    worker.grabs()
    worker.says(WORK_FAIL, other)
    assert end_of(world, other) == ("failed", "", b"", b"")


def test_a_cancelled_job():
    world = keeping()
    client, worker, admin = world.connects(), world.worker(b"f"), world.connects()
    handle, other = client.submits_bg(), client.submits_bg()
    worker.grabs()
    world.passes(4.0)
    assert admin.asks(b"cancel job " + handle) == admin.asks(b"cancel job " + other) == b"OK\r\n"
    assert end_of(world, handle) == end_of(world, other) == ("cancelled", "", b"", b"")
    assert [ask(world, one)["end"]["ran"] for one in (handle, other)] == [4.0, 0.0]


def test_a_job_that_was_set_aside_says_so_until_it_is_purged_and_then_that_it_failed():
    world = keeping(retries=1)
    handle, admin = world.connects().submits_bg(), world.connects()
    world.loses(1)
    story = ask(world, handle)
    assert (story["state"], story["error"], story["end"]) == ("set aside", "the worker was lost", None)
    admin.asks(b"requeue job " + handle)
    assert ask(world, handle)["state"] == "waiting"
    world.loses(1)
    admin.asks(b"purge job " + handle)
    assert end_of(world, handle) == ("failed", "the worker was lost", b"", b"")


def test_a_recurring_job_has_the_end_of_its_last_run():
    world = keeping()
    worker = world.worker(b"f")
    client = world.connects()
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"w")
    client.takes()
    handle, = world.core.jobs
    for result in (b"first", b"second"):
        world.passes(60.0)
        assert worker.grabs() == handle
        worker.says(WORK_COMPLETE, handle, result)
        assert ask(world, handle)["state"] == "delayed"
        assert end_of(world, handle) == ("completed", "", b"", result)
    assert len(world.core.results) == 1


def test_what_the_store_refused_is_no_background_job_and_leaves_no_result():
    world = keeping(durable=True)
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits(unique=b"u")
    worker.grabs()
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    world.refuses_to_store()
    client.hears_error(b"QUEUE_ERROR")
    worker.says(WORK_COMPLETE, handle, b"r")
    client.takes()
    assert ask(world, handle) == UNKNOWN


# ------------------------------------------------------------------------------------------------------------------- bounds

def complete(world, result, function=b"f"):
    worker = world.worker(function)
    handle = world.connects().submits_bg(function)
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, result)
    worker.leaves()
    return handle


def test_the_oldest_results_of_a_function_go_when_there_are_more_bytes_than_its_policy_keeps():
    world = keeping(keep_bytes=3 * (KEPT_SIZE + 1000))
    handles = [complete(world, b"x" * 1000) for _ in range(5)]
    assert [ask(world, handle) == UNKNOWN for handle in handles] == [True, True, False, False, False]
    complete(world, b"x" * (2 * 1000 + KEPT_SIZE))
    assert [ask(world, handle) == UNKNOWN for handle in handles] == [True, True, True, True, False]


def test_the_oldest_results_of_all_go_when_there_are_more_bytes_than_the_limit():
    policy = FunctionPolicy(keep=HOUR)
    world = World(policy=policy, limits=Limits(kept_bytes=2 * (KEPT_SIZE + 1000)))
    handles = [complete(world, b"x" * 1000, function) for function in (b"f", b"g", b"h")]
    assert [ask(world, handle) == UNKNOWN for handle in handles] == [True, False, False]
    assert World(policy=policy, limits=Limits(kept_bytes=0)).core.limits.kept_bytes == 0


@pytest.mark.parametrize("keep_bytes, most", [(2000, 0), (100000, 2000)])
def test_of_a_result_that_is_larger_than_all_that_is_kept_it_is_known_that_it_was(keep_bytes, most):
    world = keeping(keep_bytes=keep_bytes, limits=Limits(kept_bytes=most))
    handle = complete(world, b"x" * 2000)
    assert end_of(world, handle) == ("completed", "the result is larger than the 2000 bytes that are kept", None, None)


def test_data_is_not_collected_beyond_what_is_kept():
    world = keeping(keep_bytes=2000)
    worker = world.worker(b"f")
    handle = world.connects().submits_bg()
    worker.grabs()
    for _ in range(30):
        worker.says(WORK_DATA, handle, b"x" * 100)
    assert world.core.jobs[handle].collected is False
    worker.says(WORK_COMPLETE, handle, b"r")
    assert end_of(world, handle)[2:] == (None, None)


def test_very_many_are_forgotten_in_steps():
    world = keeping(keep_bytes=10 ** 7)
    client, worker = world.connects(), world.worker(b"f")
    for _ in range(500):
        handle = client.submits_bg()
        assert worker.grabs() == handle
        worker.says(WORK_COMPLETE, handle, b"")
    world.now += HOUR
    world.wall += HOUR
    world.core.tick(world.now, world.wall)
    assert len(world.core.results) > 300 and world.core.turns.chores
    assert world.does_chores() > 4
    assert not len(world.core.results)


def test_a_large_result_takes_the_place_of_very_many_small_ones_in_steps():
    world = keeping(keep_bytes=500 * KEPT_SIZE, durable=True)
    client, worker = world.connects(), world.worker(b"f")

    def ends(result):
        client.says(SUBMIT_JOB_BG, b"f", b"", b"")
        world.stores()
        handle = packets_of(client.takes())[0][1]
        assert worker.grabs() == handle
        world.core.receive(worker.peer, [(WORK_COMPLETE, [handle, result])])
        return handle
    small = [ends(b"") for _ in range(500)]
    large = ends(b"x" * (399 * KEPT_SIZE))
    assert len(world.core.results) > 400 and world.core.turns.chores
    assert world.does_chores() > 4
    assert [record.handle for record in world.core.results.records()] == small[400:] + [large]
    assert [one.handle for one in world.core.ledger.records if one.kind == FORGET] == small[:400]


def test_a_large_result_comes_in_pieces():
    world = keeping(keep_bytes=10 ** 7)
    handle = complete(world, b"0123456789" * 100000)
    admin = world.connects()
    admin.sends(b"result " + handle + b"\n")
    assert max(map(len, admin.peer.outgoing)) < 70000
    admin.takes()
    assert end_of(world, handle)[3] == b"0123456789" * 100000


# ---------------------------------------------------------------------------------------------------------------- the store

def kinds(world):
    return [record.kind for record in world.core.ledger.records]


def test_the_store_is_told_of_a_jobs_end_in_the_same_go_in_which_it_is_removed():
    world = keeping(durable=True)
    worker = world.worker(b"f")
    client = world.connects()
    handle = client.submits_bg()
    world.stores()
    worker.grabs()
    worker.says(WORK_COMPLETE, handle, b"r")
    assert kinds(world) == [KEEP, REMOVE] and {record.handle for record in world.core.ledger.records} == {handle}
    world.stores()
    world.passes(HOUR)
    assert kinds(world) == [FORGET]


def test_what_is_kept_comes_back_from_a_store_for_the_rest_of_its_time():
    world = keeping(durable=True)
    handle = world.connects().submits_bg()
    world.stores()
    worker = world.worker(b"f")
    worker.grabs()
    worker.says(WORK_COMPLETE, handle, b"r")
    snapshot = world.core.snapshot()
    assert [record.kind for record in snapshot] == [KEEP]
    for passed, known in ((HOUR - 1, True), (HOUR, False), (-500.0, True)):
        later = keeping(durable=True)
        later.sets_clock(passed)
        restore_end(later.core, snapshot[0])
        assert (ask(later, handle) != UNKNOWN) is known
        assert kinds(later) == ([] if known else [FORGET])
    without = World(durable=True)
    restore_end(without.core, snapshot[0])
    assert ask(without, handle) == UNKNOWN and kinds(without) == [FORGET]


@pytest.mark.parametrize("keep_bytes, most", [(2 * (KEPT_SIZE + 1000), 0), (10 ** 7, 2 * (KEPT_SIZE + 1000))])
def test_of_what_comes_back_from_a_store_the_oldest_goes_if_less_may_be_kept_now(keep_bytes, most):
    world = keeping()
    handles = [complete(world, b"x" * 1000) for _ in range(3)]
    later = keeping(keep_bytes=keep_bytes, limits=Limits(kept_bytes=most), durable=True)
    for record in world.core.results.records():
        restore_end(later.core, record)
    later.does_chores()
    assert [ask(later, handle) == UNKNOWN for handle in handles] == [True, False, False]
    assert [(record.kind, record.handle) for record in later.core.ledger.records] == [(FORGET, handles[0])]


def test_outcomes_are_those_of_the_statistics():
    assert (END_COMPLETED, END_FAILED, END_CANCELLED) == ("completed", "failed", "cancelled")


# ---------------------------------------------------------------------------------------------------------------- questions

def test_who_may_not_ask_text_commands_may_not_fetch():
    world = keeping()
    handle = complete(world, b"secret")
    stranger = world.connects(frozenset(("submit", "work", "steer")))
    assert stranger.asks(b"result " + handle) == b"ERR PERMISSION_DENIED This+connection+may+not+do+that\r\n"
    assert find_story(world.core, handle)["end"]["outcome"] == "completed"


def test_a_question_without_a_handle(world):
    admin = world.connects()
    assert admin.asks(b"result").startswith(b"ERR INVALID_ARGUMENTS")
    assert admin.asks(b"result H:1 2").startswith(b"ERR INVALID_ARGUMENTS")
    assert admin.asks(b"result H:1") == b"ERR UNKNOWN_JOB\r\n"


def test_a_time_limit_sets_a_job_aside():
    world = keeping(retries=1)
    worker = world.connects().says(CAN_DO_TIMEOUT, b"f", b"1000")
    handle = world.connects().submits_bg()
    worker.grabs()
    world.passes(1.0)
    assert ask(world, handle)["error"] == "the time limit ran out"


def test_a_question_about_a_job_waits_until_the_store_is_read():
    for line, early in ((b"result H:1", False), (b"RESULT H:1\r", False), (b"status", True), (b"shutdown", True),
                        (b"results", True)):
        assert obeyed_early((TEXT_LINE, (line,))) is early

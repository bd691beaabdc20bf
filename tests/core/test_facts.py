"""What is told of functions, jobs and peers: plain values, with names of any bytes."""
import json
from itertools import product

import pytest

from gearman_std.core.facts import (ends_of, function_facts, function_story, job_facts, neighbour_facts, peer_facts,
                                    server_facts, text_of)
from gearman_std.store.store import Neighbour
from gearman_std.wire.protocol import GRAB_JOB, PRE_SLEEP, SET_CLIENT_ID, SUBMIT_JOB, WORK_FAIL


def test_all_facts_can_be_told_as_json(world):
    client, worker = world.connects(), world.worker(b"f\xff", b"g")
    worker.says(SET_CLIENT_ID, b"\xfe")
    handle = client.submits_bg(b"f\xff", b"\xfd")
    world.passes(1.0)
    worker.grabs()
    core = world.core
    function = core.functions[b"f\xff"]
    job = core.jobs[handle]
    for facts in (job_facts(core, job), function_facts(core, function, 1), function_story(core, function),
                  peer_facts(core, worker.peer), server_facts(core)):
        assert json.loads(json.dumps(facts)) == facts
    assert job_facts(core, job)["unique"] == "\\xfd" and text_of(b"\xff") == "\\xff"


def test_a_function_that_did_nothing_has_no_story(world):
    function = world.core.add_function(b"f")
    assert function_story(world.core, function) == {"waited": None, "ran": None, "history": []}
    assert list(ends_of(world.core, function)) == []
    assert function_facts(world.core, function, 0)["recent"] == {"submitted": 0, "completed": 0, "failed": 0, "seconds": 300}


def test_what_happened_lately(world):
    client, worker = world.connects(), world.worker(b"f")
    for _ in range(2):
        handle = client.submits_bg()
        worker.grabs()
        worker.says(WORK_FAIL, handle)
        world.passes(200.0)
    function = world.core.functions[b"f"]
    assert function_facts(world.core, function, 0)["recent"] == {"submitted": 1, "completed": 0, "failed": 1, "seconds": 300}
    assert function_facts(world.core, function, 0)["last_failure"]["text"] == "the worker failed it"


def test_the_last_ends_are_told_some_at_a_time_the_newest_first(world, monkeypatch):
    monkeypatch.setattr("gearman_std.core.facts.STEP", 2)
    client, worker = world.connects(), world.worker(b"f")
    handles = [client.submits_bg() for _ in range(3)]
    for handle in handles:
        assert worker.grabs() == handle
        worker.says(WORK_FAIL, handle)
    told = [[end["handle"].encode() for end in some] for some in ends_of(world.core, world.core.functions[b"f"])]
    assert told == [[handles[2], handles[1]], [handles[0]]]


def test_a_worker_with_its_jobs(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    world.passes(3.0)
    worker.grabs()
    world.passes(2.0)
    facts = peer_facts(world.core, worker.peer)
    assert facts["jobs"] == [{"handle": handle.decode(), "function": "f", "running": 2.0}]
    assert (facts["running"], facts["functions"], facts["heard"], facts["asleep"]) == (1, 1, 2.0, False)
    worker.says(PRE_SLEEP)
    assert peer_facts(world.core, worker.peer)["heard"] == 0.0


def test_the_oldest_job_is_one_that_could_run(world):
    client = world.connects()
    client.submits_bg()
    world.passes(5.0)
    client.submits_bg()
    function = world.core.functions[b"f"]
    assert function_facts(world.core, function, 0)["oldest"] == 5.0
    client.asks(b"cancel job H:x:1")
    assert function_facts(world.core, function, 0)["oldest"] == 0.0
    client.asks(b"cancel job H:x:2")
    assert function_facts(world.core, function, 0)["oldest"] is None


@pytest.mark.parametrize("name, text", [
    (b"resize", "resize"), ("gr\u00f6\u00dfe".encode(), "gr\u00f6\u00dfe"), (b"\xff", "\\xff"), (b"\\xff", "\\x5cxff"),
    (b"\\x5cxff", "\\x5cx5cxff"), (b"App\\Job", "App\\Job"), (b"App\\xyz", "App\\xyz"), (b"a\\x", "a\\x"), (b"a\\xF", "a\\xF"),
    (b"a\\xFF\xfe", "a\\x5cxFF\\xfe"), (b"\\\xff", "\\\\xff"), (b"\\x\\x41", "\\x\\x5cx41")])
def test_a_name_of_any_bytes_as_text(name, text):
    assert text_of(name) == text


def test_no_two_names_are_the_same_text():
    pieces = (b"\\", b"x", b"f", b"5", b"c", b"\xff", b"\xc3", b"\xa9", b"g")
    names = [b"".join(some) for size in range(1, 6) for some in product(pieces, repeat=size)]
    assert len(set(map(text_of, names))) == len(set(names)) > 60000


@pytest.mark.parametrize("silent, take_over, ended, adopted_by, state", [
    (0.5, 5.0, False, "", "lives"), (5.0, 5.0, False, "", "lives"), (5.5, 5.0, False, "", "silent"),
    (9999.0, 0.0, False, "", "lives"), (9999.0, 5.0, True, "", "ended"), (9999.0, 5.0, False, "b", "adopted"),
    (9999.0, 5.0, True, "b", "adopted")])
def test_a_server_of_the_same_database_is_silent_only_if_its_jobs_may_be_taken_over(
        world, silent, take_over, ended, adopted_by, state):
    world.core.servers = [Neighbour("a", 3, silent, take_over, ended, adopted_by, 60.0)]
    facts, = neighbour_facts(world.core)
    assert facts == {"server": "a", "state": state, "silent": silent, "take_over": take_over or None,
                     "adopted_by": adopted_by or None, "adopted_ago": 60.0 if adopted_by else None}
    assert server_facts(world.core)["servers"] == [facts] == json.loads(json.dumps([facts]))


def test_no_server_has_been_silent_for_less_than_no_time(world):
    """The clock of a database may be set back."""
    world.core.servers = [Neighbour("a", 3, -2.0, 5.0, False, "", 0.0)]
    assert [(facts["state"], facts["silent"]) for facts in neighbour_facts(world.core)] == [("lives", 0.0)]


def test_long_names_are_named_only_as_far_as_there_is_room(world):
    names = [b"%02d" % number + 498 * b"x" for number in range(12)]
    worker, client = world.worker(*names), world.connects()
    for name in names:
        client.says(SUBMIT_JOB, name, b"", b"")
        worker.says(GRAB_JOB)
    facts = peer_facts(world.core, worker.peer)
    assert len(facts["some_functions"]) == len(facts["jobs"]) == 9, "4096 bytes and a part"
    assert facts["functions"] == facts["running"] == 12
    worker.takes()
    client.takes()

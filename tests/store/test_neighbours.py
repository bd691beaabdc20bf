"""Servers of one database: they show that they live, and take over the jobs of a silent one, which can say nothing more."""
import json
import logging
import random
import sys

import pytest

from core_world import packets_of
from gearman_std.core.core import Core
from gearman_std.core.facts import server_facts
from gearman_std.core.jobs import REPLACE, FunctionPolicy
from gearman_std.store.storekeeper import StoreKeeper
from gearman_std.web.metrics import _families
from gearman_std.wire.protocol import (CAN_DO_TIMEOUT, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, SUBMIT_JOB, SUBMIT_JOB_BG,
                                       SUBMIT_JOB_EPOCH, WORK_COMPLETE, PacketReader, pack_request)
from samples import few
from shared_store import SharedDatabase, SharedStore, SharedWorld, pass_time
from store_world import Stepped


@pytest.fixture
def database():
    return SharedDatabase()


def start(database, *names, **settings):
    return [SharedWorld(database, name, **settings) for name in names]


def test_servers_that_live_are_left_alone_however_little_they_do(database):
    one, two = start(database, "one", "two")
    handle = two.connects().submits_bg()
    pass_time(database, [one, two], 100)
    assert database.handles_of("two") == {handle} and two.lives
    assert [server.name for server in one.core.servers] == ["one", "two"]
    assert all(server.silent <= 1 and not server.adopted_by for server in one.core.servers)


def test_the_jobs_of_a_silent_server_are_taken_over_in_time(database, caplog):
    caplog.set_level(logging.ERROR, "gearman_std")
    one, two = start(database, "one", "two", take_over=5.0)
    own = one.connects().submits_bg()
    handles = [two.connects().submits_bg() for _ in range(8)]
    two.sleeps = True
    pass_time(database, [one, two], 4.5)
    assert list(one.core.jobs) == [own]
    pass_time(database, [one, two], 1.5)
    assert list(one.core.jobs) == [own] + handles and database.handles_of("one") == set(one.core.jobs)
    worker = one.worker(b"f")
    assert [worker.grabs() for _ in range(10)] == [own] + handles + [None]
    assert one.core.servers[-1].name == "two" and not one.core.servers[-1].adopted_by
    pass_time(database, [one], 1)
    assert one.core.servers[-1].adopted_by == "one"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and said[0].startswith("taking over the jobs of the server two, which has been silent for ")
    assert said[1] == "8 jobs of the server two taken over"
    database.now += 100
    pass_time(database, [one], 20)
    assert one.core.counters["jobs_adopted"] == 8 and len(caplog.records) == 2


def test_a_function_that_was_paused_is_so_at_the_heir_when_its_jobs_are_taken_over(database, caplog):
    """No other order, and only if there are such jobs; that is so over restarts, and the pause at its own server stands."""
    one, two = start(database, "one", "two")
    admin, other = two.connects(), one.connects()
    handles = [two.connects().submits_bg(function) for function in (b"f", b"h", b"f")]
    for line in (b"create function i", b"create function g", b"pause function f", b"pause function g", b"maxqueue h 7",
                 b"drain on"):
        assert admin.asks(line).startswith(b"OK"), line
    own = other.submits_bg(b"g")
    two.sleeps = True
    pass_time(database, [one, two], 7)
    worker = one.worker(b"f", b"g", b"h", b"i")
    assert {worker.grabs() for _ in range(3)} == {own, handles[1], None}
    assert not (one.core.draining or one.core.registry.max_queues or one.core.functions[b"i"].kept)
    said = [record.getMessage() for record in caplog.records]
    assert said.count("the function f is paused, as it was at the server two") == 1
    one.store.abandon()
    database.now += 60
    again, back = start(database, "one", "two")
    assert [name for name, function in again.core.functions.items() if function.paused] == [b"f"]
    assert {name for name, function in back.core.functions.items() if function.paused} == {b"f", b"g"} and back.core.draining
    worker, admin = again.worker(b"f"), again.connects()
    assert worker.grabs() is None and admin.asks(b"resume function f") == b"OK\r\n"
    assert [worker.grabs(), worker.grabs(), worker.grabs()] == [handles[0], handles[2], None]


def test_one_that_wakes_up_after_that_says_nothing_more(database):
    one, two = start(database, "one", "two")
    client, worker, watching = two.connects(), two.worker(b"f"), two.connects()
    handle = client.submits_bg()
    other = client.submits_bg()
    assert worker.grabs() == handle
    two.sleeps = True  # while it has these in its hands
    client.says(SUBMIT_JOB_BG, b"f", b"", b"new")
    worker.says(WORK_COMPLETE, handle, b"").says(GRAB_JOB)
    watching.says(SUBMIT_JOB, b"g", b"", b"")
    pass_time(database, [one, two], 10)
    assert set(one.core.jobs) == {handle, other}
    two.sleeps = False
    two.after_step()
    assert not two.lives and two.keeper.deposed is not None
    assert client.heard() == worker.heard() == b"", "neither the new job nor the end, nor another job"
    two.keeper.close()
    assert two.keeper.complete and database.handles_of("one") == {handle, other}
    again = SharedWorld(database, "two")
    assert not again.core.jobs and database.servers["two"].epoch == 3
    assert again.connects().submits_bg() not in (handle, other)
    pass_time(database, [one, again], 30)
    assert again.lives and len(again.core.jobs) == 1


def test_of_several_exactly_one_takes_over(database):
    worlds = start(database, "a", "b", "c", "d")
    handles = {worlds[0].connects().submits_bg() for _ in range(5)}
    worlds[0].sleeps = True
    pass_time(database, worlds, 7)
    assert sorted(len(world.core.jobs) for world in worlds[1:]) == [0, 0, 5]
    assert all(world.lives for world in worlds[1:])
    heir = next(world for world in worlds[1:] if world.core.jobs)
    assert set(heir.core.jobs) == handles
    heir.sleeps = True
    pass_time(database, worlds, 7)
    assert sorted(len(world.core.jobs) for world in worlds[1:] if world is not heir) == [0, 5], "and so on"


def test_what_is_in_memory_alone_cannot_be_taken_over(database):
    with pytest.raises(ValueError, match="take_over cannot have the durability exit"):
        StoreKeeper(Core(b"H:x"), SharedStore(database, "one", 5.0, durability="exit"))
    assert StoreKeeper(Core(b"H:x"), SharedStore(database, "one", 0.0, durability="exit"))


def test_one_faster_is_not_disturbed(database):
    one, two, three = start(database, "one", "two", "three")
    three.connects().submits_bg()
    database.now += 6
    assert one.store.adopt("three", 1)
    assert not two.store.adopt("three", 1) and not two.store.adopt("three", 2)


def test_one_that_was_heard_of_in_the_last_moment_is_left_alone(database):
    one, two = start(database, "one", "two")
    two.sleeps = True
    pass_time(database, [one, two], 4.5)
    look = one.store.look_around

    def look_around():
        database.now += 1
        found = look()
        two.store.look_around()
        return found
    one.store.look_around = look_around
    pass_time(database, [one], 0.5)
    assert not database.servers["two"].adopted_by and one.lives


def test_one_that_has_ended_in_order_is_taken_over_after_that_time_too(database):
    one, two = start(database, "one", "two")
    handle = two.connects().submits_bg()
    two.keeper.close()
    pass_time(database, [one], 4.5)
    assert not one.core.jobs
    pass_time(database, [one], 1.5)
    assert list(one.core.jobs) == [handle]


@pytest.mark.parametrize("first, second", [(0.0, 5.0), (5.0, 0.0)])
def test_both_must_allow_it(database, first, second):
    """One that is not told would hand its jobs out without asking whether they still are its."""
    one, two = SharedWorld(database, "one", first), SharedWorld(database, "two", second)
    two.connects().submits_bg()
    two.sleeps = True
    pass_time(database, [one], 100)
    assert not one.core.jobs and not database.servers["two"].adopted_by


def test_the_longer_time_of_both_counts(database):
    one, two = SharedWorld(database, "one", 2.0), SharedWorld(database, "two", 20.0)
    handle = two.connects().submits_bg()
    two.sleeps = True
    pass_time(database, [one], 19)
    assert not one.core.jobs
    pass_time(database, [one], 2)
    assert list(one.core.jobs) == [handle]


def test_how_jobs_ended_is_taken_over_too(database):
    policy = FunctionPolicy(keep=3600.0)
    one, two = start(database, "one", "two", policy=policy)
    client, worker = two.connects(), two.worker(b"f")
    handle = client.submits_bg()
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, b"result").hears()
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (two.wall + 60), b"w").hears((JOB_CREATED, b"H:two:2"))
    two.sleeps = True
    pass_time(database, [one, two], 6)
    assert one.core.results.find(handle, one.now).result == b"result"
    assert [job.state for job in one.core.jobs.values()] == ["delayed"]
    assert database.results[handle][0] == "one"


def test_a_job_is_handed_out_only_with_a_proof(database):
    one, = start(database, "one")
    client, worker = one.connects(), one.worker(b"f")
    handle = client.submits_bg()
    before = one.store.writes
    assert worker.grabs() == handle
    assert one.store.writes == before + 1, "though there was nothing to be written"
    foreground = client.submits()
    assert worker.grabs() == foreground
    assert one.store.writes == before + 1, "it is in no store"


def test_without_take_over_no_proof_is_waited_for(database):
    one = SharedWorld(database, "one", 0.0)
    client, worker = one.connects(), one.worker(b"f")
    client.submits_bg()
    before = one.store.writes
    worker.grabs()
    assert one.store.writes == before


def test_while_the_database_is_away_no_stored_job_is_handed_out_and_all_else_goes_on(database):
    one, = start(database, "one")
    client, worker, other = one.connects(), one.worker(b"f"), one.worker(b"g")
    handle = client.submits_bg()
    one.store.cut = True
    worker.says(GRAB_JOB)
    assert worker.heard() == b""
    client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    assert packets_of(client.takes())[0][:2] == ("ERROR", b"QUEUE_ERROR"), "refused at once"
    foreground = client.submits(b"g")
    assert other.grabs() == foreground
    other.says(WORK_COMPLETE, foreground, b"")
    client.hears((WORK_COMPLETE, foreground, b""))
    pass_time(database, [one], 3)
    assert worker.heard() == b""
    one.store.cut = False
    pass_time(database, [one], 3)
    worker.hears((JOB_ASSIGN, handle, b"f", b"w"))
    worker.says(WORK_COMPLETE, handle, b"").hears()
    assert not database.jobs


def test_one_that_was_cut_off_for_too_long_hands_nothing_out(database):
    one, two = start(database, "one", "two")
    client, worker, other = one.connects(), one.worker(b"f"), two.worker(b"f")
    handle = client.submits_bg()
    one.store.cut = True
    worker.says(GRAB_JOB)
    pass_time(database, [one, two], 7)
    assert other.grabs() == handle
    one.store.cut = False
    pass_time(database, [one, two], 3)
    assert not one.lives and worker.heard() == b""


def test_an_answer_that_comes_too_late_is_not_good_enough(database):
    """The server was stopped between the commit and what it would have said."""
    one, two = start(database, "one", "two")
    client, worker, other = one.connects(), one.worker(b"f"), two.worker(b"f")
    handle = client.submits_bg()

    def stop():
        one.store.before_answer = None
        one.now += 8
        pass_time(database, [two], 8)
    one.store.before_answer = stop
    worker.says(GRAB_JOB)
    assert not one.lives and worker.heard() == b""
    assert other.grabs() == handle


def test_an_answer_that_comes_late_is_proved_once_more(database):
    """Nobody has taken over meanwhile."""
    one, = start(database, "one")
    client, worker = one.connects(), one.worker(b"f")
    handle = client.submits_bg()

    def stop():
        one.store.before_answer = None
        one.now += 8
    one.store.before_answer = stop
    before = one.store.writes
    assert worker.grabs() == handle
    assert one.store.writes == before + 2


def test_after_the_database_was_away_nobody_is_taken_for_dead(database):
    one, two = start(database, "one", "two")
    two.connects().submits_bg()
    pass_time(database, [one, two], 10)
    one.store.cut = two.store.cut = True
    pass_time(database, [one, two], 20)
    one.store.cut = False
    pass_time(database, [one, two], 4)
    assert not one.core.jobs
    two.store.cut = False
    pass_time(database, [one, two], 20)
    assert one.lives and two.lives and not one.core.jobs and len(two.core.jobs) == 1
    two.sleeps = True
    pass_time(database, [one, two], 6)
    assert len(one.core.jobs) == 1


def test_one_that_has_just_started_takes_nobody_for_dead_before_it_has_watched_for_long_enough(database):
    """As after the database was away for all, and this one is the first that is started again."""
    two, = start(database, "two")
    two.connects().submits_bg()
    two.store.cut = True
    pass_time(database, [two], 20)
    one, = start(database, "one")
    pass_time(database, [one, two], 4.5)
    assert not one.core.jobs and two.lives
    two.store.cut = False
    pass_time(database, [one, two], 20)
    assert not one.core.jobs and two.lives
    two.sleeps = True
    pass_time(database, [one, two], 6)
    again, = start(database, "three")
    assert len(one.core.jobs) == 1
    one.sleeps = True
    pass_time(database, [one, again], 7)
    assert len(again.core.jobs) == 1


def test_a_take_over_goes_on_where_the_database_broke_off(database):
    one, two = start(database, "one", "two")
    handles = [two.connects().submits_bg() for _ in range(10)]
    two.sleeps = True
    read, reads = one.store.read_adopted, []

    def read_adopted():
        reads.append(len(one.core.jobs))
        if len(reads) == 3:
            raise one.store.error("gone away")
        return read()
    one.store.read_adopted = read_adopted
    pass_time(database, [one, two], 8)
    assert list(one.core.jobs) == handles and len(reads) == 6


@pytest.mark.parametrize("written_anew", [False, True])
def test_a_take_over_whose_answer_got_lost_is_found_out_about_before_anything_else(database, written_anew, caplog):
    """Otherwise its jobs would wait for the next start, or be lost when the store is written anew without them."""
    one, two = start(database, "one", "two")
    own = one.connects().submits_bg()
    handles = [two.connects().submits_bg() for _ in range(10)]
    two.sleeps, one.store.loses_answer = True, True
    pass_time(database, [one, two], 8)
    assert one.store.cut and one.core.store_trouble and list(one.core.jobs) == [own]
    one.store.cut = one.store.loses_answer = False
    if written_anew:
        one.store.usable = False
    pass_time(database, [one, two], 8)
    assert list(one.core.jobs) == [own] + handles and not one.core.store_trouble and one.store.usable
    assert database.handles_of("one") == set(one.core.jobs)
    said = [record.getMessage() for record in caplog.records]
    assert said.count("10 jobs of the server two taken over") == 1


def test_one_that_ends_before_a_lost_answer_came_has_what_it_took_over_at_the_next_start(database):
    one, two = start(database, "one", "two")
    handles = [two.connects().submits_bg() for _ in range(10)]
    two.sleeps, one.store.loses_answer = True, True
    pass_time(database, [one, two], 8)
    one.store.cut = one.store.loses_answer = one.store.usable = False
    one.keeper.close()
    assert one.keeper.complete
    assert set(SharedWorld(database, "one").core.jobs) == set(handles)


def test_new_jobs_are_stored_while_a_take_over_goes_on(database):
    one, two = start(database, "one", "two")
    for _ in range(30):
        two.connects().submits_bg()
    two.sleeps = True
    client = one.connects()
    read, seen = one.store.read_adopted, []

    def read_adopted():
        some = read()
        one.core.receive(client.peer, PacketReader().feed(pack_request(SUBMIT_JOB_BG, b"f", b"", b"own")))
        seen.append(one.store.writes)
        return some
    one.store.read_adopted = read_adopted
    pass_time(database, [one, two], 8)
    assert len(seen) == 11 and len(set(seen)) == 11, "between two pieces there is a batch"
    assert len(one.core.jobs) == 41


def test_a_crash_in_the_middle_of_a_take_over_loses_nothing(database):
    one, two = start(database, "one", "two")
    handles = {two.connects().submits_bg() for _ in range(10)}
    two.sleeps = True
    read = one.store.read_adopted

    def read_adopted():
        if len(one.core.jobs) >= 3:
            raise one.store.error("gone away")
        return read()
    one.store.read_adopted = read_adopted
    pass_time(database, [one, two], 7)
    assert len(one.core.jobs) == 3
    database.now += 60
    again = SharedWorld(database, "one")
    assert set(again.core.jobs) == handles


@pytest.mark.parametrize("seed", few(range(5 * sys.version_info[1], 5 * sys.version_info[1] + 5)))
def test_no_acknowledged_job_is_lost_and_no_epoch_outlived_whatever_happens(database, seed):
    """Three servers that are killed, stopped, cut off and started again at random; at the end every job is run.

    Each Python has chances of its own."""
    chance = random.Random(seed)
    names, acknowledged, ended, handed_out = ["a", "b", "c"], set(), set(), 0
    worlds = {name: SharedWorld(database, name) for name in names}
    for _ in range(400):
        name = chance.choice(names)
        world = worlds[name]
        what = chance.randrange(100)
        if not world.lives:
            worlds[name] = SharedWorld(database, name)
            continue
        if what < 30:
            client = world.connects()
            client.says(SUBMIT_JOB_BG, b"f", chance.choice([b"", b"u"]), b"w")
            acknowledged.update(packet[1] for packet in packets_of(client.takes()) if packet[0] == "JOB_CREATED")
        elif what < 60:
            worker = world.worker(b"f")
            worker.says(GRAB_JOB)
            for packet in packets_of(worker.takes()):
                if packet[0] == "JOB_ASSIGN":
                    handed_out += 1
                    assert database.servers[name].epoch == world.store.epoch, "handed out after the end of its epoch"
                    if chance.randrange(3):
                        worker.says(WORK_COMPLETE, packet[1], b"")
                        ended.add(packet[1])
        elif what < 65:
            world.sleeps = not world.sleeps
            world.after_step()
        elif what < 70:
            world.store.cut = not world.store.cut
        elif what < 73 and not world.store.cut:  # killed, and started again after a while
            database.servers[name].ended = True
            worlds[name] = SharedWorld(database, name)
        else:
            pass_time(database, list(worlds.values()), chance.randrange(1, 4))
    for name, world in worlds.items():
        world.store.cut = world.sleeps = False
    pass_time(database, list(worlds.values()), 10)
    for name, world in worlds.items():
        if not world.lives:
            worlds[name] = SharedWorld(database, name)
    left = set()
    for world in worlds.values():
        left |= set(world.core.jobs) | set(world.core.aside)
    assert acknowledged - ended <= left and handed_out > 5
    assert left == set(database.jobs)


# --- What is told of them.


def test_who_lives_and_who_adopted_what_is_told(database):
    one, two, three = start(database, "one", "two", "three")
    two.connects().submits_bg()
    admin = one.connects()

    def told():
        return [line.split(b"\t")[1::2] for line in admin.asks(b"show servers").splitlines()[:-1]]
    pass_time(database, [one, two, three], 2)
    assert told() == [[b"lives", b"-"]] * 3
    two.sleeps = True
    three.keeper.close()
    pass_time(database, [one, two], 4)
    assert told() == [[b"lives", b"-"], [b"ended", b"-"], [b"lives", b"-"]]
    pass_time(database, [one, two], 5)
    assert told() == [[b"lives", b"-"], [b"adopted", b"one"], [b"adopted", b"one"]]
    found = [json.loads(line) for line in admin.asks(b"show servers json").decode().splitlines()[:-1]]
    assert found[2] == {"server": "two", "state": "adopted", "silent": found[2]["silent"], "take_over": 5.0,
                        "adopted_by": "one", "adopted_ago": found[2]["adopted_ago"]}
    assert 0 < found[2]["adopted_ago"] < 5 < found[2]["silent"] < 12
    assert server_facts(one.core)["servers"] == found
    text = b"".join(_families(one.core, False)).decode()
    assert 'gearman_neighbour_silent_seconds{server="two"} %s\n' % found[2]["silent"] in text
    assert 'gearman_neighbour_adopted{server="one"} 0\n' in text and 'gearman_neighbour_adopted{server="two"} 1\n' in text


def test_a_server_alone_tells_of_none(world):
    admin = world.connects()
    assert admin.asks(b"show servers") == admin.asks(b"show servers json") == b".\n"
    assert b"neighbour" not in b"".join(_families(world.core, False))


class SteppedWorld(Stepped, SharedWorld):
    """A SharedWorld whose store does something when the test says so."""

    def settles(self):
        self.after_step()
        super().settles()


@pytest.fixture
def stepped(database):
    """A server whose store does something when the test says so, and a client of it."""
    world = SteppedWorld(database, "one", take_over=5.0)
    world.settles()
    return world, world.connects()


def let_time_pass(world, seconds):
    world.now += seconds
    world.core.tick(world.now, world.wall)


def test_what_has_gathered_when_a_look_comes_too_late_is_stored_with_the_next_proof(database, stepped):
    world, client = stepped
    let_time_pass(world, 1.1)
    world.after_step()
    assert world.keeper._thread.busy, "it looks at the others"
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    let_time_pass(world, 4)
    world.settles()
    (handle,) = database.jobs
    client.hears((JOB_CREATED, handle))


def test_what_has_gathered_when_a_proof_is_doubted_is_stored_with_the_next_one(database, stepped):
    world, client = stepped
    world.core.receive(client.peer, [(SUBMIT_JOB_BG, [b"f", b"", b"w"])])
    world.keeper.doubt()
    world.settles()
    (handle,) = database.jobs
    client.hears((JOB_CREATED, handle))


def test_of_a_batch_that_was_written_too_late_and_then_refused_nothing_stays(database, stepped):
    world, client = stepped
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    world.keeper._thread.run_one()
    assert database.jobs
    let_time_pass(world, 4)
    world.store.cut = True
    world.settles()
    assert packets_of(client.heard())[0][:2] == ("ERROR", b"QUEUE_ERROR")
    world.store.cut = False
    for _ in range(3):
        let_time_pass(world, 0.5)
        world.settles()
    assert database.jobs == {} == world.core.jobs and not world.core.store_trouble
    client.takes()


def test_a_job_that_nobody_has_seen_while_the_database_was_away_has_lost_no_attempt(database):
    world = SharedWorld(database, "one", take_over=5.0, policy=FunctionPolicy(retries=2))
    handle = world.connects().submits_bg()
    workers = [world.connects().says(CAN_DO_TIMEOUT, b"f", b"3") for _ in range(3)]
    world.store.cut = True
    world.goes_on(2.5)
    for worker in workers:
        worker.says(GRAB_JOB)
    for _ in range(4):
        world.goes_on(3.5)
    job = world.core.jobs[handle]
    first = job.worker
    assert job.attempts == 0 and first in [worker.peer for worker in workers]
    world.core.disconnect(first)
    assert job.attempts == 0 and not world.core.aside
    world.store.cut = False
    for _ in range(3):
        world.goes_on(1)
    other = [worker for worker in workers if worker.peer is not first][0]
    other.takes()
    other.says(GRAB_JOB)
    world.goes_on(1)
    assert packets_of(other.takes()) == [("JOB_ASSIGN", handle, b"f", b"w")]


def test_a_workload_may_be_replaced_after_a_look_took_very_long(database):
    world = SteppedWorld(database, "one", take_over=60.0, policy=FunctionPolicy(coalescing=REPLACE))
    client, other = world.connects(), world.connects()
    thread = world.keeper._thread
    world.settles()
    let_time_pass(world, 2.5)
    world.after_step()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"A").says(SUBMIT_JOB_BG, b"f", b"u", b"B")
    let_time_pass(world, 11)
    world.after_step()
    assert world.core.store_trouble
    thread.run_one()
    world.after_step()
    other.says(SUBMIT_JOB, b"f", b"u", b"C")
    for _ in range(9):
        if thread.busy:
            thread.run_one()
        world.goes_on(0.3)
    assert sorted(record.workload for _, record in database.jobs.values()) == [b"A", b"C"]
    for talker in (client, other):
        talker.takes()


def test_a_proof_of_room_that_comes_too_late_during_the_end_is_not_the_last_that_is_done(database):
    world = SteppedWorld(database, "one", take_over=5.0)
    keeper, store, client = world.keeper, world.store, world.connects()
    store.cut = True
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    while not world.core.store_trouble:
        world.settles()
        world.goes_on(0.3)
    client.takes()
    store.cut = False
    while keeper._thread._function != store.prove_room:
        world.settles()
        world.goes_on(0.3)
    keeper._thread.run_one()
    world.now += 4.5
    world.core.tick(world.now, world.wall)
    keeper._thread.waits_for_test = False
    keeper.close()
    assert database.servers["one"].ended

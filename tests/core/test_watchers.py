"""Who gets the packets of a job: each peer once for every submit, in steps if they are many."""
import pytest

from gearman_std.core.invariants import check_core
from gearman_std.core.watchers import MANY_JOINS
from gearman_std.wire.protocol import (GET_STATUS_UNIQUE, JOB_CREATED, LARGE_BODY, OPTION_REQ, STATUS_RES_UNIQUE, SUBMIT_JOB,
                                       SUBMIT_JOB_BG, SUBMIT_JOB_SCHED, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL,
                                       PacketReader, pack_response)


def join(world, talker, count, packet_type=SUBMIT_JOB):
    """Many submits of one unique."""
    world.core.receive(talker.peer, [(packet_type, [b"f", b"u", b""])] * count)
    talker.takes()
    check_core(world.core)


def steps(world, talker, packets):
    """How many turns the packets of a peer take, with what the server does between them."""
    return world.does(talker, packets) + world.does_chores()


def test_a_peer_that_joins_a_job_often_watches_it_once_with_a_count(world):
    client, other = world.connects(), world.connects()
    join(world, client, 70000)
    join(world, other, 1)
    (job,) = world.core.jobs.values()
    assert list(job.watchers) == [client.peer, other.peer] and client.peer.watching == {job: 70000}
    other.says(GET_STATUS_UNIQUE, b"u").hears((STATUS_RES_UNIQUE, b"u", b"1", b"0", b"0", b"0", b"70001"))
    client.leaves()
    assert job.watchers == {other.peer: None}


def test_asking_again_and_again_how_many_wait_for_a_job_holds_up_nobody(world, monkeypatch):
    monkeypatch.setattr("gearman_std.core.handlers.MANY", 4)
    clients = [world.connects() for _ in range(5)]
    for count, client in enumerate(clients, 1):
        turns = world.does(client, [(SUBMIT_JOB, [b"f", b"u", b""])] + [(GET_STATUS_UNIQUE, [b"u"])] * 3)
        assert turns == (3 if count == 5 else 1)
        client.hears(*[(JOB_CREATED, b"H:x:1")] + [(STATUS_RES_UNIQUE, b"u", b"1", b"0", b"0", b"0", b"%d" % count)] * 3)


@pytest.mark.parametrize("count", (1, MANY_JOINS - 1, MANY_JOINS + 1, 10 * MANY_JOINS))
def test_it_gets_every_packet_as_often_in_the_order_in_which_they_were_sent(world, count):
    client, worker = world.connects(), world.worker(b"f")
    join(world, client, count)
    handle = worker.grabs()
    turns = steps(world, worker, [(WORK_DATA, [handle, b"d"]), (WORK_COMPLETE, [handle, b"r"])])
    client.hears(*[(WORK_DATA, handle, b"d")] * count + [(WORK_COMPLETE, handle, b"r")] * count)
    assert turns <= 2 + 2 * count // MANY_JOINS and (count < MANY_JOINS * 2 or turns > count // MANY_JOINS)
    assert not client.peer.watching and not world.core.jobs


def test_a_worker_waits_until_what_it_sent_to_many_has_been_sent_and_others_do_not(world):
    client, worker = world.connects(), world.worker(b"f")
    join(world, client, 5 * MANY_JOINS)
    handle = worker.grabs()
    rest = world.core.receive(worker.peer, [(WORK_DATA, [handle, b"d"])] * 3)
    assert len(rest) == 3 and len(client.takes()) < 3 * MANY_JOINS * len(pack_response(WORK_DATA, handle, b"d"))
    assert world.connects().submits(b"g") == b"H:x:2"
    steps(world, worker, rest)
    client.hears(*[(WORK_DATA, handle, b"d")] * (15 * MANY_JOINS - 2 * MANY_JOINS))


def test_the_end_that_comes_from_elsewhere_is_the_last_that_is_sent(world):
    client, worker, admin = world.connects(), world.worker(b"f"), world.connects()
    join(world, client, 5 * MANY_JOINS)
    handle = worker.grabs()
    rest = world.core.receive(worker.peer, [(WORK_DATA, [handle, b"d"])])
    client.takes()
    assert admin.asks(b"cancel job " + handle) == b"OK\r\n"
    steps(world, worker, rest)
    client.hears(*[(WORK_FAIL, handle)] * (5 * MANY_JOINS))
    assert worker.heard() == b""


def test_who_has_left_is_sent_nothing_more(world):
    clients, worker = [world.connects() for _ in range(3 * MANY_JOINS)], world.worker(b"f")
    for client in clients:
        join(world, client, 1)
    handle = worker.grabs()
    world.core.receive(worker.peer, [(WORK_COMPLETE, [handle, b""])])
    for client in clients[::2]:
        client.takes()
        client.leaves()
        client.hears()
    for client in clients[1::2]:
        client.hears((WORK_COMPLETE, handle, b""))


def test_those_who_leave_one_after_the_other_cost_the_same_each(world):
    """A count of looks at the list, not of seconds: it was walked along for each of them."""
    clients = [world.connects() for _ in range(300)]
    for client in clients:
        join(world, client, 1)
    looks = []
    (job,) = world.core.jobs.values()

    class Watchers(dict):
        def __iter__(self):
            looks.append(len(self))
            return dict.__iter__(self)
    job.watchers = Watchers(job.watchers)
    for client in clients[:-1]:
        world.core.disconnect(client.peer)
    assert not looks and list(job.watchers) == [clients[-1].peer]
    world.core.disconnect(clients[-1].peer)
    assert not world.core.jobs


def test_a_background_join_watches_nothing(world):
    client = world.connects()
    join(world, client, 3, SUBMIT_JOB_BG)
    (job,) = world.core.jobs.values()
    assert not job.watchers and not client.peer.watching


@pytest.mark.parametrize("size", (LARGE_BODY - 1, LARGE_BODY, LARGE_BODY + 1))
def test_an_exception_of_any_size_goes_to_those_who_want_it_and_a_failure_to_the_others(world, size):
    curious, client, worker = world.connects(), world.connects(), world.worker(b"f")
    curious.says(OPTION_REQ, b"exceptions").takes()
    handle = curious.submits(b"f", b"u")
    assert client.submits(b"f", b"u") == handle == worker.grabs()
    worker.says(WORK_EXCEPTION, handle, b"x" * size).hears()
    curious.hears((WORK_EXCEPTION, handle, b"x" * size))
    client.hears((WORK_FAIL, handle))


def test_who_leaves_before_its_turn_to_hear_of_a_cancelled_job_is_sent_nothing(world):
    clients, admin = [world.connects() for _ in range(2 * MANY_JOINS + 2)], world.connects()
    for client in clients:
        join(world, client, 1)
    (handle,) = world.core.jobs
    world.core.receive(admin.peer, PacketReader().feed(b"cancel job " + handle + b"\n"))
    told = [client for client in clients if client.heard()]
    assert len(told) == MANY_JOINS and not world.core.jobs
    world.core.disconnect(clients[-1].peer)
    world.talkers.remove(clients[-1])
    check_core(world.core)
    world.does_chores()
    for client in clients[:-1]:
        client.hears((WORK_FAIL, handle))
    assert clients[-1].heard() == b"" and admin.takes() == b"OK\r\n"


def test_the_end_of_a_run_of_what_recurs_is_told_to_all_who_joined_it_and_then_they_watch_it_no_more(world):
    client, other, worker = world.connects(), world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"w").takes()
    join(world, client, MANY_JOINS)
    join(world, other, 2)
    world.passes(world.wait)
    handle = worker.grabs()
    assert steps(world, worker, [(WORK_COMPLETE, [handle, b"r"])]) > 1
    client.hears(*[(WORK_COMPLETE, handle, b"r")] * MANY_JOINS)
    other.hears(*[(WORK_COMPLETE, handle, b"r")] * 2)
    assert not client.peer.watching and not other.peer.watching and handle in world.core.jobs
    world.passes(world.core.wait_time())
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, b"")
    client.hears()


class Looks(dict):
    """What a peer watches, with a count of how often somebody looked."""

    count = 0

    def get(self, *key):
        self.count += 1
        return dict.get(self, *key)

    def pop(self, *key):
        self.count += 1
        return dict.pop(self, *key)


@pytest.mark.parametrize("end", ((WORK_COMPLETE, [b"H:x:1", b""]), (WORK_FAIL, [b"H:x:1"])))
def test_each_watcher_of_what_recurs_is_looked_at_once_before_they_are_told(make_world, monkeypatch, end):
    """As there can be very many, and they can watch the next run at once."""
    monkeypatch.setattr("gearman_std.core.watchers.MANY_JOINS", 10)
    world = make_world()
    client, watchers = world.connects(), [world.connects() for _ in range(21)]
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"w").takes()
    for watcher in watchers:
        join(world, watcher, 1)
        watcher.peer.watching = Looks(watcher.peer.watching)
    worker = world.worker(b"f")
    world.passes(61)
    assert worker.grabs() == b"H:x:1"
    rest = world.core.receive(worker.peer, [end])
    (job,) = world.core.jobs.values()
    assert {watcher.peer.watching.count for watcher in watchers} == {1} and not job.watchers
    check_core(world.core)
    join(world, watchers[-1], 2)
    world.does(worker, rest)
    world.does_chores()
    for watcher in watchers:
        watcher.hears((end[0], *end[1]))
    assert watchers[-1].peer.watching == {job: 2}

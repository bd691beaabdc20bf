"""The store's thread: what goes on while a batch is written, step by step without the thread, and with it and a stuck disk."""
import itertools
import logging
import socket
import threading
import time

import pytest

from gearman_std.core.jobs import REPLACE, FunctionPolicy, STORING
from gearman_std.core.limits import Limits
from gearman_std.errors import StoreError
from gearman_std.server.channel import HELD_UP, Channel
from gearman_std.server.channels import READ_SIZE
from gearman_std.store import thread as thread_module
from gearman_std.store.sqlite import JobStore, connect_sqlite
from gearman_std.store.storekeeper import QUIET, ROOM, SLOW_DISK
from gearman_std.store.thread import StoreThread
from gearman_std.wire.protocol import (ALL_YOURS, CAN_DO, ECHO_REQ, ECHO_RES, ERROR, GRAB_JOB, GRAB_JOB_UNIQ, JOB_ASSIGN,
                                       JOB_ASSIGN_UNIQ, JOB_CREATED, NOOP, PRE_SLEEP, SUBMIT_JOB, SUBMIT_JOB_BG,
                                       SUBMIT_JOB_SCHED, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL,
                                       pack_request)

from core_world import packets_of
from patience import until
from server_tools import TIMEOUT, VERSION_LINE, in_dispatcher
from store_world import Stepped, StoredWorld


class SteppedWorld(Stepped, StoredWorld):
    """A StoredWorld whose store does something when the test says so."""

    def crashes(self):
        self.store.abandon()
        return StoredWorld(self.worlds, self.path, self.durability, self.wall, **self.settings)

    def asked_for(self, talker, packet_type, *arguments):
        """The handle of what a submit made that is not answered yet."""
        before = set(self.core.jobs)
        talker.says(packet_type, *arguments)
        (handle,) = set(self.core.jobs) - before
        return handle


@pytest.fixture
def start(tmp_path):
    worlds = []

    def start(durability="every", **settings):
        return SteppedWorld(worlds, str(tmp_path / "jobs.db"), durability, **settings)
    yield start
    for world in worlds:
        world.store.abandon()


CREATED = [(JOB_CREATED, b"H:x:%d" % number) for number in range(10)]
REFUSED = (ERROR, b"QUEUE_ERROR", b"Background jobs cannot be stored at present: disk I/O error")


# --- Who waits for the store, and who does not.

def test_while_a_batch_is_written_all_go_on_but_those_who_are_promised_something(start):
    world = start()
    client, other, worker = world.connects(), world.connects(), world.worker(b"g", sleeps=True)
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w").hears()
    assert other.submits(b"g") == b"H:x:2"
    worker.hears((NOOP,))
    assert worker.grabs() == b"H:x:2"
    worker.says(WORK_COMPLETE, b"H:x:2", b"r").says(ECHO_REQ, b"e").hears((ECHO_RES, b"e"))
    other.hears((WORK_COMPLETE, b"H:x:2", b"r"))
    assert b"f\t1\t0\t0\n" in other.asks(b"status")
    assert world.core.jobs[b"H:x:1"].state is STORING and world.worker(b"f").grabs() is None
    client.hears()
    world.writes()
    client.hears(CREATED[1])
    assert world.worker(b"f").grabs() == b"H:x:1"


def test_the_next_batch_waits_until_all_of_one_that_is_written_goes_on(start, monkeypatch):
    monkeypatch.setattr("gearman_std.core.storing.STORED_STEP", 2)
    world = start()
    client, keeper, core = world.connects(), world.keeper, world.core
    for _ in range(6):
        client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    world.writes()  # the first; the others are under way
    client.hears(CREATED[1]).says(SUBMIT_JOB_BG, b"f", b"", b"")
    keeper._thread.run_one()
    keeper.save()
    while core.ledger.going_on:
        assert not keeper.due() and not keeper.settled
        core.turns.work()
    assert keeper.due() and not keeper.settled
    world.after_step()
    client.hears(*CREATED[2:7])
    world.settles()
    client.hears(CREATED[7])


def test_what_comes_while_a_batch_is_written_is_the_next_one(start):
    world = start()
    client, other = world.connects(), world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"1")
    client.says(SUBMIT_JOB_BG, b"f", b"", b"2").says(ECHO_REQ, b"e")
    other.says(SUBMIT_JOB_BG, b"f", b"", b"3")
    commits = world.commits
    world.writes()
    client.hears(CREATED[1])
    other.hears()
    world.writes()
    client.hears(CREATED[2], (ECHO_RES, b"e"))
    other.hears(CREATED[3])
    assert world.commits == commits + 2 and not world.keeper._thread.busy
    assert world.crashes().drained(b"f") == [b"H:x:1", b"H:x:2", b"H:x:3"]


@pytest.mark.parametrize("end", [(WORK_COMPLETE, b""), (WORK_FAIL,), (WORK_EXCEPTION, b"x")])
def test_who_ends_a_stored_job_gets_the_next_one_when_that_is_written_and_others_take_it_before(start, end):
    world = start()
    client, worker, idle = world.connects(), world.worker(b"f"), world.worker(b"f", sleeps=True)
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    world.settles()
    client.hears(CREATED[1])
    idle.hears((NOOP,))
    assert worker.grabs() == b"H:x:1" and idle.grabs() is None
    idle.says(PRE_SLEEP)
    worker.says(end[0], b"H:x:1", *end[1:]).says(GRAB_JOB_UNIQ).says(PRE_SLEEP).hears()
    foreground = client.submits()
    idle.hears((NOOP,))
    assert idle.grabs() == foreground
    worker.hears()
    world.settles()
    worker.hears((10,))
    client.submits()
    worker.hears((NOOP,))
    assert world.crashes().handles() == []


@pytest.mark.parametrize("packet", [GRAB_JOB, GRAB_JOB_UNIQ, ALL_YOURS])
def test_however_a_worker_asks_for_jobs_it_waits_for_the_end_of_the_last_one(start, packet):
    world = start()
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_BG, b"f", b"", b"1").says(SUBMIT_JOB_BG, b"f", b"", b"2")
    world.settles()
    client.takes()
    assert worker.grabs() == b"H:x:1"
    worker.says(WORK_COMPLETE, b"H:x:1", b"").says(packet)
    if packet == ALL_YOURS:
        worker.says(PRE_SLEEP)
    worker.hears()
    assert not worker.peer.running
    world.settles()
    if packet == ALL_YOURS:
        worker.hears((JOB_ASSIGN, b"H:x:2", b"f", b"2"))
    else:
        worker.hears((JOB_ASSIGN, b"H:x:2", b"f", b"2") if packet == GRAB_JOB else (JOB_ASSIGN_UNIQ, b"H:x:2", b"f", b"", b"2"))


@pytest.mark.parametrize("many", [False, True])
def test_who_watches_a_stored_job_hears_of_its_end_when_that_is_written(start, monkeypatch, many):
    if many:
        monkeypatch.setattr("gearman_std.core.watchers.MANY_JOINS", 1)
    world = start()
    client, watchers, worker = world.connects(), [world.connects(), world.connects()], world.worker(b"f")
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    world.settles()
    client.hears(CREATED[1])
    for watcher in watchers:
        assert watcher.submits(b"f", b"u") == b"H:x:1"
    assert worker.grabs() == b"H:x:1"
    worker.says(WORK_COMPLETE, b"H:x:1", b"r")
    assert [watcher.heard() for watcher in watchers] == [b"", b""]
    world.settles()
    for watcher in watchers:
        watcher.hears((WORK_COMPLETE, b"H:x:1", b"r"))


@pytest.mark.parametrize("order, answer", [
    (b"cancel job H:x:1", b"OK\r\n"), (b"cancel function f", b"OK 1\r\n"), (b"drop function f force", b"OK\r\n")])
def test_an_order_is_answered_when_what_it_changed_is_written(start, order, answer):
    world = start()
    client, admin = world.connects(), world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    world.settles()
    client.hears(CREATED[1])
    assert admin.asks(order) == b""
    assert admin.asks(b"version") == b"" and world.connects().asks(b"version")
    world.settles()
    assert admin.takes() == answer + b"OK gearman_std\n"
    assert world.crashes().handles() == []


def test_a_submit_that_joins_a_job_that_is_written_waits_with_it(start):
    world = start()
    first, second = world.connects(), world.connects()
    first.says(SUBMIT_JOB_BG, b"f", b"u", b"w")
    second.says(SUBMIT_JOB_BG, b"f", b"u", b"w").hears()
    world.settles()
    first.hears(CREATED[1])
    second.hears(CREATED[1])
    assert world.crashes().handles() == [b"H:x:1"]


# --- What changes while it is written.

def test_a_workload_that_is_replaced_while_the_job_is_written_is_the_one_that_counts(start):
    world = start(policy=FunctionPolicy(REPLACE))
    client = world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"old").says(SUBMIT_JOB_BG, b"f", b"u", b"new")
    world.settles()
    client.hears(CREATED[1], CREATED[1])
    world.crashes().worker(b"f").says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"f", b"new"))


def test_a_schedule_that_is_replaced_while_the_job_is_written_is_the_one_that_counts(start):
    world = start(policy=FunctionPolicy(REPLACE))
    client = world.connects()
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"0", b"0", b"1", b"1", b"*", b"w")
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"*", b"*", b"*", b"v")
    world.settles()
    client.hears(CREATED[1], CREATED[1])
    dues = [job.due for job in world.core.jobs.values()]
    world = world.crashes()
    assert [job.due for job in world.core.jobs.values()] == dues and dues[0] <= world.wall + 60
    world.passes(60)
    assert world.drained(b"f") == [b"H:x:1"]


def test_a_job_that_is_cancelled_while_it_is_written_is_gone(start):
    world = start()
    client, admin = world.connects(), world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    assert admin.asks(b"cancel job H:x:1") == b""
    world.settles()
    client.hears(CREATED[1])
    assert admin.takes() == b"OK\r\n" and not world.core.jobs
    assert world.crashes().handles() == []


def test_a_job_that_is_set_aside_and_requeued_while_it_is_written_is_refused_with_it(start):
    world = start()
    client, admin = world.connects(), world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    assert admin.asks(b"drop function f force") == b"" and admin.asks(b"requeue all") == b""
    world.broken = "disk I/O error"
    world.writes()
    client.hears(REFUSED)
    assert admin.takes() == b"OK\r\nOK 1\r\n" and not world.core.jobs and not world.core.aside


def test_jobs_keep_their_order_although_many_were_put_behind_others_while_they_were_written(start, monkeypatch):
    for module in ("transitions", "jobs"):
        monkeypatch.setattr("gearman_std.core.%s.POSITIONS" % module, 3)
    world = start(policy=FunctionPolicy(retries=0))
    client = world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    world.settles()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w").says(SUBMIT_JOB_BG, b"f", b"", b"w")
    for _ in range(10):
        worker = world.worker(b"f")
        worker.says(GRAB_JOB)
        world.core.disconnect(worker.peer)
        world.talkers.remove(worker)
        world.after_step()
    world.settles()
    client.takes()
    order = [job.handle for job in world.core.functions[b"f"].jobs_waiting()]
    assert order[0] == b"H:x:1" and len(order) == 3
    assert world.crashes().drained(b"f") == order


# --- Trouble.

def test_a_refused_batch_takes_with_it_what_has_gathered_since(start, caplog):
    world = start()
    client, other, joiner = world.connects(), world.connects(), world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"u", b"1")
    joiner.says(SUBMIT_JOB_BG, b"f", b"u", b"1")
    other.says(SUBMIT_JOB_BG, b"f", b"", b"2").says(ECHO_REQ, b"e")
    world.broken = "disk I/O error"
    world.writes()
    client.hears(REFUSED)
    joiner.hears(REFUSED)
    other.hears(REFUSED, (ECHO_RES, b"e"))
    assert not world.core.jobs and len(caplog.records) == 1
    world.broken = ""
    recover(world)
    assert world.crashes().handles() == []


def recover(world):
    for _ in range(100):
        if not world.core.store_trouble:
            break
        world.passes(max(0.0, min(world.keeper.next_time() - world.now, 1.0)))
        world.settles()
    assert not world.core.store_trouble


@pytest.fixture
def refusing(start, monkeypatch):
    """Makes a world whose first job is stored and running, and whose store has just refused others, in steps of which the test
    does so many."""
    monkeypatch.setattr("gearman_std.core.storing.REFUSED_STEP", 1)

    def refusing(steps):
        world = start()
        client, worker = world.connects(), world.worker(b"f")
        client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
        world.settles()
        client.takes()
        stored = worker.grabs()
        world.broken = "disk I/O error"
        world.does_chores = lambda: 0
        for _ in range(5):
            client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
        worker.says(WORK_COMPLETE, stored, b"")
        world.writes()
        for _ in range(steps):
            if world.core.ledger.refusal is None:
                return None
            world.core.turns.work()
        return world
    return refusing


def test_nothing_is_written_before_all_that_was_refused_has_ended(refusing):
    world = refusing(0)
    for steps in itertools.count():
        if world.core.ledger.refusal is None:
            break
        world.broken = ""
        world.passes(10.0)
        assert not world.keeper.due() and not world.keeper.settled and not world.keeper._thread.busy, steps
        world.core.turns.work()
    assert steps > 12 and world.keeper.due() and world.keeper.settled
    recover(world)
    world.talkers[0].hears(*5 * [REFUSED])
    assert world.crashes().handles() == []


def test_a_server_that_ends_while_it_refuses_what_its_store_does_not_have_writes_all_else(refusing):
    for steps in itertools.count():
        world = refusing(steps)
        if world is None:
            break
        world.broken, world.keeper._thread.waits_for_test = "", False
        world.keeper.close()
        assert world.keeper.complete and world.core.store_trouble == b""
        world = world.crashes()
        assert world.handles() == [], steps
        world.store.abandon()
    assert steps > 12


def test_room_is_looked_for_twice_as_much_as_was_refused(start, monkeypatch):
    world = start()
    client = world.connects()
    world.broken = "disk I/O error"
    client.says(SUBMIT_JOB_BG, b"f", b"", b"x" * 100000).says(SUBMIT_JOB_BG, b"f", b"", b"x" * 100)
    world.settles()
    client.hears(REFUSED, REFUSED)
    wanted = []
    monkeypatch.setattr(world.store, "prove_room", wanted.append)
    world.broken = ""
    recover(world)
    assert wanted == [ROOM + 2 * 100100]


def test_who_waits_for_the_end_of_a_job_waits_no_more_when_the_disk_refuses(start):
    world = start()
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    world.settles()
    client.hears(CREATED[1])
    assert worker.grabs() == b"H:x:1"
    foreground = client.submits()
    world.broken = "disk I/O error"
    worker.says(WORK_COMPLETE, b"H:x:1", b"").says(GRAB_JOB).hears()
    world.writes()
    worker.hears((JOB_ASSIGN, foreground, b"f", b"w"))
    world.broken = ""
    recover(world)
    assert world.crashes().handles() == []


def test_a_disk_that_takes_very_long_has_jobs_refused_with_a_line_when_that_begins_and_one_when_it_ends(start, caplog):
    world = start()
    client, other = world.connects(), world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    world.passes(SLOW_DISK - 0.1)
    assert not world.core.store_trouble and world.keeper.next_time() == pytest.approx(world.now + 0.1)
    world.passes(0.2)
    for _ in range(3):
        other.says(SUBMIT_JOB_BG, b"f", b"", b"w").hears(
            (ERROR, b"QUEUE_ERROR", b"Background jobs cannot be stored at present: the disk does not answer"))
        world.passes(SLOW_DISK)
    client.hears()
    world.settles()
    client.hears(CREATED[1])
    other.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    world.settles()
    assert packets_of(other.takes())[0][0] == "JOB_CREATED"
    world.passes(QUIET)
    assert [(record.levelno, "does not answer" in record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, True), (logging.ERROR, False)]
    assert len(world.crashes().handles()) == 2


@pytest.mark.parametrize("limits", [Limits(unstored_jobs=2), Limits(unstored_job_bytes=20)])
def test_what_may_wait_for_the_disk_is_bounded(start, limits):
    world = start(limits=limits)
    client, other = world.connects(), world.connects()
    full = (ERROR, b"QUEUE_ERROR", b"The store does not keep up: too much waits for the disk")
    client.says(SUBMIT_JOB_BG, b"f", b"", b"x" * 10).says(SUBMIT_JOB_BG, b"f", b"", b"x" * 10)
    other.says(SUBMIT_JOB_BG, b"f", b"", b"x").hears(full)
    assert other.submits(b"f", b"", b"x" * 100), "a foreground job needs no store"
    world.writes()
    client.hears(CREATED[1])
    other.says(SUBMIT_JOB_BG, b"f", b"", b"x")
    world.settles()
    client.hears(CREATED[2])
    assert packets_of(other.takes())[0][0] == "JOB_CREATED"
    if limits.unstored_job_bytes == 20:
        other.says(SUBMIT_JOB_BG, b"f", b"", b"x" * 100)
        world.settles()
        assert packets_of(other.takes())[0][0] == "JOB_CREATED", "one alone may be larger"
    assert world.core.counters["refused_unstored"] == 1


def test_a_fault_of_ours_in_the_store_costs_one_batch_and_is_logged(start, caplog):
    world = start()
    client = world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    world.keeper._thread._function = lambda *_: {}["fault"]
    world.writes()
    assert packets_of(client.takes())[0][:2] == ("ERROR", b"QUEUE_ERROR") and "a fault of ours" in caplog.text
    recover(world)
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    world.settles()
    assert world.crashes().handles() == [client.takes()[12:]]


def test_a_stop_writes_what_is_under_way_and_what_has_gathered(start):
    world = start()
    client = world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"1").says(SUBMIT_JOB_BG, b"f", b"", b"2")
    assert not world.keeper.settled
    world.keeper._thread.run_one()
    world.keeper._thread.waits_for_test = False
    world.keeper.close()
    assert world.keeper.complete and len(world.crashes().handles()) == 2


def test_a_stop_gives_up_a_disk_that_does_nothing(start, monkeypatch, caplog):
    monkeypatch.setattr("gearman_std.store.storekeeper.DISK_TIME", 0.0)
    world = start()
    client = world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"1")
    world.keeper.close()
    assert not world.keeper.complete and "the disk does not answer" in caplog.text


# --- The thread itself.

def test_the_thread_carries_out_orders_and_reports():
    thread, reported = StoreThread(), threading.Event()
    assert thread.begin(reported.set) and repr(thread) == "<StoreThread>"
    for number in range(20):
        thread.give(lambda one: (one, threading.current_thread().name), number)
        assert reported.wait(TIMEOUT) and thread.wait(TIMEOUT)
        assert thread.take() == (number, "gearman_std-store")
        reported.clear()
    thread.give(int, "no number")
    assert thread.wait(TIMEOUT)
    with pytest.raises(ValueError):
        thread.take()
    thread.end()
    thread.give(threading.current_thread)
    assert thread.over and thread.take() is threading.current_thread()


def test_where_there_is_no_thread_left_orders_are_carried_out_all_the_same(monkeypatch, caplog):
    def start_thread(*_):
        raise OSError("there may be no more threads")
    monkeypatch.setattr(thread_module, "start_thread", start_thread)
    thread = StoreThread()
    assert not thread.begin(lambda: None) and "everybody waits for the disk" in caplog.text
    thread.give(int, "17")
    assert thread.over and thread.take() == 17 and repr(thread) == "<StoreThread without a thread>"


# --- A server with it.

class Disk:
    """A store's disk that stands still when it is told to."""

    def __init__(self, path):
        self.moves, self.stands = threading.Event(), threading.Event()
        self.moves.set()
        self.store = JobStore(path)
        write = self.store.write

        def slow_write(records, number, flush=True):
            if not self.moves.is_set():
                self.stands.set()
            assert self.moves.wait(TIMEOUT)
            write(records, number, flush)
        self.store.write = slow_write

    def refuse(self, reason):
        """Take nothing more, until `accept`."""
        def commit(*_):
            raise StoreError(reason, reason)
        self.store._commit = commit

    def accept(self):
        del self.store._commit


def test_a_stuck_disk_holds_up_nobody_else(place, tmp_path):
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store)
    submitter, client, worker = place.wire(server), place.wire(server), place.wire(server)
    worker.request(CAN_DO, b"f")
    disk.moves.clear()
    submitter.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    assert disk.stands.wait(TIMEOUT)
    worst = 0.0
    for number in range(2, 300):
        begin = time.perf_counter()
        client.request(SUBMIT_JOB, b"f", b"", b"w")
        client.response(JOB_CREATED, b"H:t:%d" % number)
        worker.request(GRAB_JOB)
        worker.response(JOB_ASSIGN, b"H:t:%d" % number, b"f", b"w")
        worker.request(WORK_COMPLETE, b"H:t:%d" % number, b"r")
        client.response(WORK_COMPLETE, b"H:t:%d" % number, b"r")
        worst = max(worst, time.perf_counter() - begin)
    assert worst < TIMEOUT and in_dispatcher(server, lambda: server._keeper._thread.busy)
    disk.moves.set()
    submitter.response(JOB_CREATED, b"H:t:1")
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:t:1", b"f", b"w")


def test_a_worker_that_waits_for_a_stuck_disk_is_not_read_from_and_goes_on_where_it_was(place, tmp_path):
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store)
    wire, other = place.wire(server), place.wire(server)
    wire.request(CAN_DO, b"f")
    for number in (1, 2):
        wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
        wire.response(JOB_CREATED, b"H:t:%d" % number)
    wire.request(GRAB_JOB)
    wire.response(JOB_ASSIGN, b"H:t:1", b"f", b"w")
    disk.moves.clear()
    wire.request(WORK_COMPLETE, b"H:t:1", b"")
    wire.request(GRAB_JOB)
    assert disk.stands.wait(TIMEOUT)
    wire.request(ECHO_REQ, b"later")
    for _ in range(20):
        other.request(ECHO_REQ, b"x")
        other.response(ECHO_RES, b"x")
    rounds = in_dispatcher(server, lambda: [peer.put_off for peer in server.core.peers])
    assert sorted(rounds) == [False, True]
    disk.moves.set()
    wire.response(JOB_ASSIGN, b"H:t:2", b"f", b"w")
    wire.response(ECHO_RES, b"later")


def unsent_of(server, peer):
    return in_dispatcher(server, lambda: sum(map(len, peer.outgoing)))


def test_who_waits_for_a_stuck_disk_and_asks_on_and_on_is_not_read_from_when_that_is_much(place, tmp_path):
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store, max_unsent=1600000)  # a sixteenth of which is much
    wire, other = place.wire(server), place.wire(server)
    disk.moves.clear()
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    assert disk.stands.wait(TIMEOUT)
    peer, = in_dispatcher(server, lambda: [peer for peer in server.core.peers if peer.holds])
    data, count = b"x" * 10000, 3000  # 30 MB, more than all the buffers between take
    sender = threading.Thread(target=lambda: [wire.request(ECHO_REQ, data) for _ in range(count)])
    sender.start()
    until(lambda: in_dispatcher(server, lambda: peer.put_off))
    for _ in range(50):
        other.request(ECHO_REQ, b"x")
        other.response(ECHO_RES, b"x")
    assert 100000 < unsent_of(server, peer) < 100000 + READ_SIZE + len(data)
    assert sender.is_alive() and in_dispatcher(server, lambda: peer.channel.state) == HELD_UP
    disk.moves.set()
    wire.response(JOB_CREATED, b"H:t:1")
    for _ in range(count):
        wire.response(ECHO_RES, data)
    sender.join(TIMEOUT)
    assert not peer.holds and (peer.measured, peer.held_size) == (0, 0)


def test_a_listing_for_who_waits_for_a_stuck_disk_is_made_a_part_at_a_time(place, tmp_path):
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store, max_unsent=160000)
    wire, worker = place.wire(server), place.wire(server)
    names = [b"function%d" % number for number in range(3000)]
    worker.send(*[pack_request(CAN_DO, name) for name in names])
    worker.request(ECHO_REQ, b"")
    worker.response(ECHO_RES, b"")
    disk.moves.clear()
    wire.send(b"pause function function7\nstatus\nversion\n")
    assert disk.stands.wait(TIMEOUT)
    peer, = in_dispatcher(server, lambda: [peer for peer in server.core.peers if peer.holds])
    until(lambda: in_dispatcher(server, lambda: peer.put_off))
    worker.request(ECHO_REQ, b"")
    worker.response(ECHO_RES, b"")
    assert 9000 < unsent_of(server, peer) < 20000 and in_dispatcher(server, lambda: peer.errand) is not None
    disk.moves.set()
    wire.expect(b"OK\r\n")
    assert {line.split(b"\t")[0] for line in wire.listing()} == set(names)
    wire.expect(VERSION_LINE)


def test_a_stop_finishes_the_listing_of_who_waited_for_the_disk(place, tmp_path):
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store, max_unsent=160000)
    wire, worker = place.wire(server), place.wire(server)
    worker.send(*[pack_request(CAN_DO, b"function%d" % number) for number in range(3000)])
    worker.request(ECHO_REQ, b"")
    worker.response(ECHO_RES, b"")
    disk.moves.clear()
    wire.send(b"pause function function7\nstatus\n")
    until(lambda: in_dispatcher(server, lambda: any(peer.put_off for peer in server.core.peers)))
    server.stop(graceful=True)
    disk.moves.set()
    wire.expect(b"OK\r\n")
    assert len(wire.listing()) == 3000
    wire.ended()
    worker.ended()
    server.join(TIMEOUT)


@pytest.mark.parametrize("also", [b"", pack_request(ECHO_REQ, b"at once")])
def test_who_waits_for_a_stuck_disk_is_dropped_when_others_have_too_much_for_it(place, tmp_path, monkeypatch, caplog, also):
    monkeypatch.setattr("gearman_std.server.channels.HELD_INTERVAL", 0.01)
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store, max_unsent=1000000, max_packet_size=200000)
    client, good, worker = place.wire(server), place.wire(server), place.wire(server)
    for wire in (client, good):
        wire.request(SUBMIT_JOB, b"f", b"same", b"w")
        wire.response(JOB_CREATED, b"H:t:1")
    worker.request(CAN_DO, b"f")
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:t:1", b"f", b"w")
    disk.moves.clear()
    client.send(also + pack_request(SUBMIT_JOB_BG, b"f", b"", b"w"))
    if also:
        client.response(ECHO_RES, b"at once")
    assert disk.stands.wait(TIMEOUT)
    peer, = in_dispatcher(server, lambda: [peer for peer in server.core.peers if peer.holds])
    data, sent = b"x" * 100000, 0
    while in_dispatcher(server, lambda: peer.channel is not None) and sent < 1000:
        worker.request(WORK_DATA, b"H:t:1", data)
        good.response(WORK_DATA, b"H:t:1", data)
        sent += 1
    assert 11 <= sent < 1000
    client.ended()
    assert "waits for the store, dropping it" in caplog.text
    assert good.totals()["peers_dropped_unread"] == 1
    disk.moves.set()
    worker.request(WORK_COMPLETE, b"H:t:1", b"r")
    good.response(WORK_COMPLETE, b"H:t:1", b"r")
    until(lambda: in_dispatcher(server, lambda: server._channels._held_sweep is None))


def test_who_waited_for_a_batch_whose_new_jobs_go_on_in_steps_is_obeyed_again(place, tmp_path, monkeypatch):
    monkeypatch.setattr("gearman_std.core.storing.STORED_STEP", 2)
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store)
    client, worker = place.wire(server), place.wire(server)
    worker.request(CAN_DO, b"f")
    client.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    client.response(JOB_CREATED, b"H:t:1")
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:t:1", b"f", b"w")
    disk.moves.clear()
    client.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    assert disk.stands.wait(TIMEOUT)
    client.send(5 * pack_request(SUBMIT_JOB_BG, b"f", b"", b"w"))
    until(lambda: in_dispatcher(server, lambda: len(server.core.jobs)) == 7)
    worker.send(pack_request(WORK_COMPLETE, b"H:t:1", b"") + pack_request(GRAB_JOB))
    until(lambda: in_dispatcher(server, lambda: any(peer.put_off for peer in server.core.peers)))
    disk.moves.set()
    worker.response(JOB_ASSIGN, b"H:t:2", b"f", b"w")
    for number in range(2, 8):
        client.response(JOB_CREATED, b"H:t:%d" % number)


def test_a_worker_that_is_lost_while_it_waits_for_the_disk_harms_nobody(place, tmp_path):
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store)
    worker, other = place.wire(server), place.wire(server)
    disk.moves.clear()
    worker.send(pack_request(CAN_DO, b"f") + pack_request(SUBMIT_JOB_BG, b"f", b"", b"w") + pack_request(GRAB_JOB))
    until(lambda: in_dispatcher(server, lambda: any(peer.put_off for peer in server.core.peers)))

    def lose():
        server._channels.lose(next(peer for peer in server.core.peers if peer.put_off).channel)
    in_dispatcher(server, lose)
    disk.moves.set()
    worker.ended()
    until(lambda: in_dispatcher(server, lambda: server.stored))
    other.request(ECHO_REQ, b"x")
    other.response(ECHO_RES, b"x")
    assert server.core.counters["faults"] == 0


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("end", ["half_close", "abandon"])
def test_who_is_gone_while_it_waits_for_the_disk_is_not_looked_at_again_and_again(place, tmp_path, refused, end):
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store, max_packet_size=1000)
    wire = place.wire(server)
    disk.moves.clear()
    wire.send(pack_request(SUBMIT_JOB_BG, b"f", b"", b"w") + (pack_request(ECHO_REQ, bytes(2000)) if refused else b""))
    assert disk.stands.wait(TIMEOUT)
    getattr(wire, end)()
    until(lambda: in_dispatcher(server, lambda: [key.data for key in server._selector.get_map().values()
                                                 if isinstance(key.data, Channel)]) == [])
    disk.moves.set()
    if end == "half_close":
        wire.response(JOB_CREATED, b"H:t:1")
        if refused:
            assert wire.packet()[0] == ERROR
        wire.ended()
    until(lambda: in_dispatcher(server, lambda: not server._channels.all))
    assert server.core.counters["faults"] == 0


def test_a_file_locked_by_another_process_is_waited_for(place, tmp_path):
    server = place.serve(store=tmp_path / "jobs.db")
    wire, other = place.wire(server), place.wire(server)
    lock = connect_sqlite(str(tmp_path / "jobs.db"))
    lock.execute("BEGIN IMMEDIATE")
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    for _ in range(50):
        other.request(ECHO_REQ, b"x")
        other.response(ECHO_RES, b"x")
    lock.execute("ROLLBACK")
    lock.close()
    wire.response(JOB_CREATED, b"H:t:1")


@pytest.mark.parametrize("graceful", [False, True])
def test_a_stop_waits_for_the_disk_and_answers_who_was_promised_something(place, tmp_path, graceful):
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store)
    wire = place.wire(server)
    disk.moves.clear()
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    assert disk.stands.wait(TIMEOUT)
    server.stop(graceful)
    server.stop()
    in_dispatcher(server, lambda: None)
    disk.moves.set()
    wire.response(JOB_CREATED, b"H:t:1")
    wire.ended()
    server.join(TIMEOUT)
    store = JobStore(tmp_path / "jobs.db")
    store.open(b"H:t", 1000.0)
    assert [row[0] for row in store.load()] == [b"H:t:1"]
    store.abandon()


def refuses(address):
    try:
        socket.create_connection(address).close()
    except OSError:
        return True
    return False


def test_who_has_no_answer_when_a_stop_waits_no_longer_sees_the_end_while_the_disk_stands(place, tmp_path, monkeypatch):
    monkeypatch.setattr("gearman_std.server.server.STOP_TIME", 0.0)
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store)
    submitter, worker = place.wire(server), place.wire(server)
    disk.moves.clear()
    submitter.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    assert disk.stands.wait(TIMEOUT)
    server.stop()
    submitter.ended()
    worker.ended()
    assert server._thread.is_alive()
    until(lambda: refuses(server.address))  # who came now would wait as long
    disk.moves.set()
    server.join(TIMEOUT)
    assert server.stored and not server._thread.is_alive()


def test_a_stop_while_a_disk_that_refused_stands_keeps_nobody_waiting(place, tmp_path):
    """In trouble nobody is promised anything, but the store's thread may still be inside a call that does not return."""
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store)
    client, worker = place.wire(server), place.wire(server)
    stands, moves, prove_room = threading.Event(), threading.Event(), disk.store.prove_room

    def slow_proof(size):
        stands.set()
        assert moves.wait(TIMEOUT)
        prove_room(size)
    disk.refuse("the disk is full")
    disk.store.prove_room = slow_proof
    client.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    client.response(ERROR, b"QUEUE_ERROR", b"Background jobs cannot be stored at present: the disk is full")
    assert stands.wait(TIMEOUT)
    server.stop()
    client.ended()
    worker.ended()
    until(lambda: refuses(server.address))  # who came now would wait as long
    assert server._thread.is_alive()
    disk.accept()
    moves.set()
    server.join(TIMEOUT)
    assert server.stored and not server._thread.is_alive()


def test_a_stop_ends_with_one_line_although_the_disk_never_moves_again(place, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("gearman_std.server.server.STOP_TIME", 0.0)
    monkeypatch.setattr("gearman_std.store.storekeeper.DISK_TIME", 0.0)
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store)
    wire = place.wire(server)
    disk.moves.clear()
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    assert disk.stands.wait(TIMEOUT)
    server.stop()
    wire.ended()
    server.join(TIMEOUT)
    assert not server._thread.is_alive() and not server.stored
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "not all is stored, jobs that are done may run again: the disk does not answer"]
    disk.moves.set()


def test_a_client_that_ends_what_it_sends_is_still_told_what_the_disk_says(place, tmp_path):
    for moves in (True, False):
        disk = Disk(tmp_path / ("jobs%d.db" % moves))
        server = place.serve(store=disk.store)
        wire = place.wire(server)
        disk.moves.clear()
        wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
        assert disk.stands.wait(TIMEOUT)
        wire.half_close()
        in_dispatcher(server, lambda: None)
        if not moves:
            disk.refuse("the disk is gone")
        disk.moves.set()
        if moves:
            wire.response(JOB_CREATED, b"H:t:1")
        else:
            wire.response(ERROR, b"QUEUE_ERROR", b"Background jobs cannot be stored at present: the disk is gone")
            disk.accept()
        wire.ended()


@pytest.mark.parametrize("graceful", (False, True))
def test_a_stop_while_the_store_refuses_very_many_waits_until_all_are_told(place, tmp_path, monkeypatch, graceful):
    monkeypatch.setattr("gearman_std.core.storing.REFUSED_STEP", 1)
    monkeypatch.setattr("gearman_std.server.channels.TURN_TIME", 0.0)
    disk = Disk(tmp_path / "jobs.db")
    server = place.serve(store=disk.store)
    wire = place.wire(server)
    disk.moves.clear()
    wire.send(50 * pack_request(SUBMIT_JOB_BG, b"f", b"", b"w"))
    assert disk.stands.wait(TIMEOUT)
    until(lambda: in_dispatcher(server, lambda: len(server.core.jobs)) == 50)
    disk.refuse("the disk is gone")
    not_stored = server.core.not_stored

    def refuse_and_stop(*arguments, **options):
        not_stored(*arguments, **options)
        assert server.core.ledger.refusal is not None
        server.stop(graceful)
    server.core.not_stored = refuse_and_stop
    disk.moves.set()
    for _ in range(50):
        wire.response(ERROR, b"QUEUE_ERROR", b"Background jobs cannot be stored at present: the disk is gone")
    disk.accept()
    wire.ended()
    server.join(TIMEOUT)
    assert server.stored


def test_what_happens_while_room_is_looked_for_after_trouble_is_stored_too(start):
    world = start()
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    world.settles()
    client.hears(CREATED[1])
    assert worker.grabs() == b"H:x:1"
    world.broken = "disk I/O error"
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    world.settles()
    client.hears(REFUSED)
    world.broken = ""
    while world.keeper._thread._function != world.store.prove_room:
        if world.keeper._thread.busy:
            world.writes()
        else:
            world.passes(0.3)
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    recover(world)
    world.settles()
    assert world.crashes().handles() == []


def test_numbers_of_handles_are_written_when_all_of_a_large_batch_goes_on(start, monkeypatch):
    monkeypatch.setattr("gearman_std.core.storing.STORED_STEP", 2)
    world = start("exit")
    world.has_store = False
    client = world.connects()
    world.core.receive(client.peer, 5 * [(SUBMIT_JOB_BG, [b"f", b"", b""])])
    monkeypatch.setattr(world.store, "wants", lambda number: True)
    world.keeper.save()
    assert world.core.ledger.going_on and not world.keeper._thread.busy
    world.does_chores()
    client.hears(*CREATED[1:6])
    world.keeper.save()
    assert world.keeper._thread.busy

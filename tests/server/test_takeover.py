"""Servers with sockets that share a database: jobs of one that is silent are taken over, and it ends its connections."""
import socket
import threading
import time

import pytest

from gearman_std.cli import server as cli_server
from gearman_std.cli import server_options
from gearman_std.core.peers import Peer
from gearman_std.errors import Deposed, StoreError
from gearman_std.server import server as server_module
from gearman_std.server.channels import Channels
from gearman_std.server.listeners import open_listeners
from gearman_std.wire.protocol import (CAN_DO, ECHO_REQ, ECHO_RES, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, NO_JOB, SUBMIT_JOB,
                                       SUBMIT_JOB_BG, WORK_COMPLETE, pack_response)
from patience import until
from server_tools import TIMEOUT, HeldServer, channel_of, in_dispatcher, server_command, server_of
from shared_store import SharedDatabase, SharedStore


class LiveDatabase(SharedDatabase):
    """One whose clock goes on, for servers in several threads: each transaction is alone."""

    def __init__(self):
        super().__init__()
        self.lock = threading.RLock()

    now = property(lambda self: time.monotonic(), lambda self, value: None)


class LiveStore(SharedStore):
    piece = 50


def alone(name):
    method = getattr(SharedStore, name)

    def call(self, *arguments):
        with self.database.lock:
            return method(self, *arguments)
    return call


for name in ("open", "write", "look_around", "adopt", "read_adopted", "prove_room", "close"):
    setattr(LiveStore, name, alone(name))


@pytest.fixture
def database():
    return LiveDatabase()


class Reigning:
    """A server in a thread of its own that may be deposed."""

    def __init__(self, database, name, take_over=0.5, **settings):
        self.store = LiveStore(database, name, take_over)
        self.server = server_of(store=self.store, listen=["127.0.0.1"], handle_prefix="H:" + name, **settings)
        self.server.bind()
        self.error = None
        self.ready = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        assert self.ready.wait(TIMEOUT)

    def _serve(self):
        try:
            self.server.serve(self.ready.set)
        except StoreError as error:
            self.error = error

    def join(self):
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()


@pytest.fixture
def reigns(database):
    made = []

    def make(*arguments, **settings):
        made.append(Reigning(database, *arguments, **settings))
        return made[-1]
    yield make
    for one in made:
        one.server.stop()
        one.join()
        assert not one.server.core.counters["faults"]


def test_one_that_was_stopped_for_too_long_is_deposed_and_says_nothing_more(place, reigns, database):
    one, two = reigns("one"), reigns("two")
    client, worker, other = place.wire(one.server), place.wire(one.server), place.wire(two.server)
    worker.request(CAN_DO, b"f")
    for number in range(1, 4):
        client.request(SUBMIT_JOB_BG, b"f", b"", b"w")
        client.response(JOB_CREATED, b"H:one:%d" % number)
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:one:1", b"f", b"w")
    with HeldServer(one.server):
        client.request(SUBMIT_JOB_BG, b"f", b"", b"new")
        worker.request(WORK_COMPLETE, b"H:one:1", b"")
        worker.request(GRAB_JOB)
        until(lambda: database.servers["one"].adopted_by == "two")
    one.join()
    assert isinstance(one.error, Deposed) and one.server.stored
    client.ended()
    worker.ended()
    until(lambda: in_dispatcher(two.server, lambda: len(two.server.core.jobs)) == 3)
    other.request(CAN_DO, b"f")
    for number in range(1, 4):
        other.request(GRAB_JOB)
        other.response(JOB_ASSIGN, b"H:one:%d" % number, b"f", b"w")
    other.request(GRAB_JOB)
    other.response(NO_JOB)


def about_to_hand_out(channels):
    """Whether what is to be sent has a job that was proved to be this server's."""
    return channels.proved_until < float("inf") and any(peer.running and not peer.holds for peer in channels._core.unsent)


def test_what_comes_too_late_to_be_sent_is_not_sent(place, reigns, database, monkeypatch):
    """The server is stopped between the release of what was proved and the send."""
    one = reigns("one")
    client, worker = place.wire(one.server), place.wire(one.server)
    client.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    client.response(JOB_CREATED, b"H:one:1")
    worker.request(CAN_DO, b"f")
    worker.request(ECHO_REQ, b"")
    worker.response(ECHO_RES, b"")
    flush, paused = Channels.flush, []

    def pause(channels, gather):
        if not paused and about_to_hand_out(channels):
            paused.append(channels.proved_until)
            reigns("two")
            until(lambda: database.servers["one"].adopted_by == "two")
        return flush(channels, gather)
    monkeypatch.setattr(Channels, "flush", pause)
    worker.request(GRAB_JOB)
    worker.ended()
    one.join()
    assert paused and isinstance(one.error, Deposed)
    client.ended()


def test_after_a_short_stop_it_is_sent_once_it_is_proved_anew(place, reigns, database, monkeypatch):
    one = reigns("one")
    client, worker = place.wire(one.server), place.wire(one.server)
    client.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    client.response(JOB_CREATED, b"H:one:1")
    worker.request(CAN_DO, b"f")
    flush, attempts = Channels.flush, []  # until when that was proved which was to be sent, and whether it was

    def pause(channels, gather):
        if not about_to_hand_out(channels):
            return flush(channels, gather)
        proved_until = channels.proved_until
        if not attempts:
            until(lambda: time.monotonic() > proved_until)
        sent = flush(channels, gather)
        attempts.append((proved_until, sent))
        return sent
    monkeypatch.setattr(Channels, "flush", pause)
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:one:1", b"f", b"w")
    until(lambda: attempts[-1][1])
    assert not attempts[0][1] and attempts[-1][0] > attempts[0][0]


@pytest.mark.parametrize("graceful", [False, True])
def test_a_stop_sends_what_came_too_late_once_it_is_proved_anew(place, reigns, monkeypatch, graceful):
    one = reigns("one")
    client = place.wire(one.server)
    flush, too_late = Channels.flush, []

    def pause(channels, gather):
        proved_until = channels.proved_until
        if not too_late and proved_until < float("inf") and any(not peer.holds for peer in channels._core.unsent):
            until(lambda: time.monotonic() > proved_until)
            one.server.core.stop(graceful)
            too_late.append(not flush(channels, gather))
            return False
        return flush(channels, gather)
    monkeypatch.setattr(Channels, "flush", pause)
    client.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    client.response(JOB_CREATED, b"H:one:1")
    one.join()
    assert too_late == [True] and one.error is None


def test_one_that_is_deposed_while_it_reads_hands_its_addresses_on(database):
    class Slow(SharedStore):
        def load_records(self):
            yield []
            raise Deposed("another server has the jobs of one")
    server = server_of(store=Slow(database, "one", 0.5), listen=["127.0.0.1"])
    server.hands_on = True
    server.bind()
    with pytest.raises(Deposed):
        server.serve()
    another = server_of(store=SharedStore(database, "one", 0.5), listen=["127.0.0.1"])
    another.take_place(server)
    assert another.address == server.address
    another.close()


def test_foreground_jobs_go_on_while_what_came_too_late_waits_for_a_database_that_is_away(place, reigns, database, monkeypatch):
    one = reigns("one")
    client, worker, other = [place.wire(one.server) for _ in range(3)]
    client.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    client.response(JOB_CREATED, b"H:one:1")
    worker.request(CAN_DO, b"f")
    other.request(CAN_DO, b"g")
    other.request(ECHO_REQ, b"")
    other.response(ECHO_RES, b"")
    flush, attempts = Channels.flush, []  # whether it was sent

    def pause(channels, gather):
        if not about_to_hand_out(channels):
            return flush(channels, gather)
        proved_until = channels.proved_until
        if not attempts:
            one.store.cut = True
            until(lambda: time.monotonic() > proved_until)
        sent = flush(channels, gather)
        attempts.append(sent)
        return sent
    monkeypatch.setattr(Channels, "flush", pause)
    worker.request(GRAB_JOB)
    until(lambda: attempts)
    assert not attempts[0]
    until(lambda: in_dispatcher(one.server, lambda: one.server.core.store_trouble))
    for number in range(2, 5):
        client.request(SUBMIT_JOB, b"g", b"", b"w")
        client.response(JOB_CREATED, b"H:one:%d" % number)
        other.request(GRAB_JOB)
        other.response(JOB_ASSIGN, b"H:one:%d" % number, b"g", b"w")
        other.request(WORK_COMPLETE, b"H:one:%d" % number, b"r")
        client.response(WORK_COMPLETE, b"H:one:%d" % number, b"r")
    assert not any(attempts)
    one.store.cut = False
    worker.response(JOB_ASSIGN, b"H:one:1", b"f", b"w")


def test_what_comes_too_late_while_more_waits_for_the_store_is_sent_once_it_is_proved_anew(place, reigns, monkeypatch):
    """The time is over just before a part of what there is for a worker would be sent."""
    ahead = [0.0]
    one = reigns("one", boot_clock=lambda: time.monotonic() + ahead[0])
    client, worker = place.wire(one.server), place.wire(one.server)
    client.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    client.response(JOB_CREATED, b"H:one:1")
    worker.request(CAN_DO, b"f")
    peer = channel_of(one.server).peer

    def submit():
        if peer.holds:
            one.store.before_answer = None
            worker.request(SUBMIT_JOB_BG, b"f", b"", b"w")
            until(lambda: len(peer.holds) == 2)
    one.store.before_answer = submit
    take_ready, await_proof, late = Peer.take_ready, Channels._await_proof, []

    def take_late(peer):
        if not late:
            ahead[0] += one.store.take_over
        return take_ready(peer)

    def note(channels, channel):
        late.append(channel.backlog_size)
        await_proof(channels, channel)
    monkeypatch.setattr(Peer, "take_ready", take_late)
    monkeypatch.setattr(Channels, "_await_proof", note)
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:one:1", b"f", b"w")
    worker.response(JOB_CREATED, b"H:one:2")
    assert set(late) == {len(pack_response(JOB_ASSIGN, b"H:one:1", b"f", b"w"))}


class HalfSent:
    """A worker that was sent a part of a large job, and reads no more; while the server is held, `reads` what is on its way."""

    def __init__(self, place, one):
        client, self.worker = place.wire(one.server), place.wire(one.server, receive_buffer=4096)
        workload = bytes(16 << 20)
        client.request(SUBMIT_JOB_BG, b"f", b"", workload)
        client.response(JOB_CREATED, b"H:one:1")
        self.worker.request(CAN_DO, b"f")
        self.worker.request(GRAB_JOB)
        self.channel = channel_of(one.server)
        until(lambda: in_dispatcher(one.server, lambda: self.channel.backlog_size))
        self.left = len(pack_response(JOB_ASSIGN, b"H:one:1", b"f", workload))

    def reads(self):
        sent = self.left - self.channel.backlog_size
        while sent:
            size = len(self.worker.socket.recv(min(sent, 1 << 20)))
            assert size
            sent -= size
            self.left -= size
        assert self.left == self.channel.backlog_size > 0


def test_the_rest_of_a_job_is_not_sent_by_one_that_is_deposed(place, reigns, database):
    """The server stands still, and meanwhile the worker reads."""
    one = reigns("one")
    half = HalfSent(place, one)
    reigns("two")
    with HeldServer(one.server):
        until(lambda: database.servers["one"].adopted_by == "two")
        half.reads()
        abandon, connected = one.store.abandon, []
        one.store.abandon = lambda: connected.extend(one.server._channels.all) or abandon()
    one.join()
    assert isinstance(one.error, Deposed) and not connected, "whatever becomes of the database"
    half.worker.ended()


def test_the_rest_of_a_job_is_sent_once_it_is_proved_anew(place, reigns, database):
    """The database is away meanwhile, and all else goes on."""
    one = reigns("one")
    half = HalfSent(place, one)
    client = place.wire(one.server)
    client.request(CAN_DO, b"g")
    with HeldServer(one.server):
        one.store.cut = True
        half.reads()
        began = time.monotonic()
        until(lambda: time.monotonic() > began + one.store.take_over)
    until(lambda: in_dispatcher(one.server, lambda: one.server.core.store_trouble))
    for number in range(2, 5):
        client.request(SUBMIT_JOB, b"g", b"", b"w")
        client.response(JOB_CREATED, b"H:one:%d" % number)
        client.request(GRAB_JOB)
        client.response(JOB_ASSIGN, b"H:one:%d" % number, b"g", b"w")
        client.request(WORK_COMPLETE, b"H:one:%d" % number, b"")
        client.response(WORK_COMPLETE, b"H:one:%d" % number, b"")
    assert in_dispatcher(one.server, lambda: half.channel.backlog_size) == half.left
    one.store.cut = False
    while half.left:
        half.left -= len(half.worker.socket.recv(min(half.left, 1 << 20)))
    half.worker.request(WORK_COMPLETE, b"H:one:1", b"")
    half.worker.request(GRAB_JOB)
    half.worker.response(NO_JOB)


def test_foreground_jobs_go_on_while_the_database_is_away(place, reigns, database):
    one = reigns("one")
    client, worker = place.wire(one.server), place.wire(one.server)
    worker.request(CAN_DO, b"f")
    worker.request(ECHO_REQ, b"")
    worker.response(ECHO_RES, b"")
    looks = one.store.looks
    until(lambda: one.store.looks > looks + 1)  # with nothing to be sent
    one.store.cut = True
    until(lambda: in_dispatcher(one.server, lambda: one.server.core.store_trouble))
    began = time.monotonic()
    until(lambda: time.monotonic() > began + one.store.take_over)
    for number in range(1, 4):
        client.request(SUBMIT_JOB, b"f", b"", b"w")
        client.response(JOB_CREATED, b"H:one:%d" % number)
        worker.request(GRAB_JOB)
        worker.response(JOB_ASSIGN, b"H:one:%d" % number, b"f", b"w")
        worker.request(WORK_COMPLETE, b"H:one:%d" % number, b"r")
        client.response(WORK_COMPLETE, b"H:one:%d" % number, b"r")
    one.store.cut = False
    until(lambda: not in_dispatcher(one.server, lambda: one.server.core.store_trouble))


def test_the_command_begins_anew(place, database, monkeypatch, tmp_path):
    """With a new epoch and without jobs, in the same process, on the sockets that it had, which it might not be allowed to
    open any longer; a stop ends it."""
    servers, stores, ready = [], [], threading.Semaphore(0)
    make = cli_server.Server

    def make_server(**settings):
        if servers:
            early.extend(map(place.wire, servers[0].addresses))
        servers.append(make(**dict(settings, handle_prefix="H:one")))
        return servers[-1]

    def make_store(options):
        stores.append(LiveStore(database, "one"))
        return stores[-1]
    early, opened = [], []  # connections made while no server is there; listeners

    def open_once(*arguments):
        assert not opened
        opened.extend(open_listeners(*arguments))
        return list(opened)
    monkeypatch.setattr(server_module, "open_listeners", open_once)
    monkeypatch.setattr(cli_server, "Server", make_server)
    monkeypatch.setattr(cli_server, "notify_manager", lambda text: ready.release() if text.startswith("READY") else None)
    monkeypatch.setattr(server_options, "server_store", make_store)
    log, outcome = tmp_path / "log", []
    words = ["-p", "0", "-L", "127.0.0.1", "-L", str(tmp_path / "socket"), "-l", str(log), "-P", str(tmp_path / "pid")]
    thread = threading.Thread(target=lambda: outcome.append(server_command("--take-over", "2", *words)))
    thread.start()
    assert ready.acquire(timeout=TIMEOUT)
    wire = place.wire(servers[0])
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    assert wire.packet()[0] == JOB_CREATED
    with database.lock:
        other = LiveStore(database, "other", 0.001)
        other.open(b"", 0)
        database.servers["one"].take_over = 0.001
        time.sleep(0.002)
        assert other.adopt("one", 1)
    wire.ended()
    assert ready.acquire(timeout=TIMEOUT)
    for wire in early + list(map(place.wire, servers[1].addresses)):
        wire.send(b"status\n")
        wire.expect(b".\n")
    assert len(early) == 2 and servers[1].addresses == servers[0].addresses == [listener.address for listener in opened]
    assert (tmp_path / "pid").exists() and len(servers) == 2 and database.servers["one"].epoch == 3
    servers[1].stop()
    thread.join(TIMEOUT)
    assert outcome[0][0] == 0 and "another server has the jobs of one; beginning anew" in log.read_text()
    assert stores[1].take_over == 2 and not (tmp_path / "pid").exists() and not (tmp_path / "socket").exists()


def test_one_that_is_told_to_stop_while_it_is_deposed_leaves_no_address_open(place, reigns, database):
    one = reigns("one")
    one.server.hands_on = True
    reigns("two")
    with HeldServer(one.server):
        until(lambda: database.servers["one"].adopted_by == "two")
    one.join()
    assert isinstance(one.error, Deposed)
    place.wire(one.server).close()  # though nobody accepts
    one.server.close_addresses()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(one.server.address)


@pytest.mark.parametrize("words, complaint", [
    (["--take-over", "5"], "--take-over needs a database that several servers share"),
    (["--take-over", "5", "--sqlite3-db", "x"], "--take-over needs a database that several servers share"),
    (["--take-over", "0"], "--take-over is at least 1"),
    (["--take-over", "5", "--durability", "exit"], "--durability exit"),
])
def test_what_makes_no_sense(database, monkeypatch, words, complaint):
    if "needs" not in complaint:
        durability = "exit" if "exit" in words else "every"
        monkeypatch.setattr(server_options, "server_store",
                            lambda options: LiveStore(database, "one", durability=durability))
    status, _, errors = server_command(*words)
    assert status == 2 and complaint in errors


def test_signals_reach_the_server_that_serves_now():
    told = []

    class Server:
        def __init__(self, number):
            self.number = number

        def take_place(self, deposed):
            assert deposed.hands_on and deposed.number == self.number - 1

        def close_addresses(self):
            told.append("closed")

        def serve(self, ready):
            ready(self.number)
            if self.number < 3:
                raise Deposed("gone")

        def stop(self, graceful=False):
            told.append((self.number, graceful))
    numbers = iter(range(2, 9))
    reign = cli_server._Reign(Server(1), lambda: Server(next(numbers)))
    reign.serve(lambda number: told.append(number))
    assert told == [1, 2, 3]
    reign.stop(graceful=True)
    assert told[3:] == [(3, True)]
    reign = cli_server._Reign(Server(1), lambda: Server(next(numbers)))
    reign.serve(lambda number: reign.stop())
    assert told[4:] == [(1, False), "closed"], "it begins no more"

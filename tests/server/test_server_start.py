"""While a server reads its store, it answers questions, and all else waits, in order, until it has read it."""
import socket
import threading

import pytest

from gearman_std.errors import StoreError
from gearman_std.server.channel import HELD_UP
from gearman_std.server.channels import Channels
from gearman_std.server.server import Server
from gearman_std.server.stalls import SWEEP_INTERVAL
from gearman_std.store.files import connect_sqlite
from gearman_std.store.sqlite import JobStore
from gearman_std.wire.protocol import (CAN_DO, ECHO_REQ, ECHO_RES, GET_STATUS, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, OPTION_REQ,
                                       OPTION_RES, STATUS_RES, SUBMIT_JOB, SUBMIT_JOB_BG, pack_request)

from patience import until
from server_tools import TIMEOUT, VERSION_LINE, Clock, in_dispatcher, let_pass, server_of
from test_tls_choke import CERTIFICATE


class Start:
    """A server that starts, and waits in the middle of opening its store until it is told to go on."""

    def __init__(self, path, **settings):
        self.go_on = threading.Event()
        self.server = server_of(store=JobStore(path, _connect=self._connect), **dict({"listen": ["127.0.0.1"]}, **settings))
        self.server.bind()
        self.error = None
        self._thread = threading.Thread(target=self._start)
        self._thread.start()

    def _connect(self, path):
        assert self.go_on.wait(TIMEOUT)
        return connect_sqlite(path)

    def _start(self):
        try:
            self.server.start()
        except Exception as error:
            self.error = error

    @property
    def over(self):
        return not self._thread.is_alive()

    def finish(self):
        self.go_on.set()
        self._thread.join(TIMEOUT)
        assert self.over

    def holds_up(self, count):
        while in_dispatcher(self.server, lambda: [one.state for one in self.server._channels.all]).count(HELD_UP) < count:
            continue


@pytest.fixture
def starts(tmp_path):
    made = []

    def make(**settings):
        made.append(Start(tmp_path / "jobs.db", **settings))
        return made[-1]
    with server_of(store=tmp_path / "jobs.db") as server:
        with socket.create_connection(server.address) as one:
            one.sendall(pack_request(SUBMIT_JOB_BG, b"f", b"", b"stored") + pack_request(ECHO_REQ, b""))
            assert one.recv(1000)
    yield make
    for start in made:
        start.server.stop()
        start.finish()
        start.server.join(TIMEOUT)
        assert not start.server.running and not start.server.core.counters["faults"]


def questions(wire):
    wire.request(ECHO_REQ, b"x")
    wire.response(ECHO_RES, b"x")
    wire.send(b"version\nstatus\nshow jobs\nworkers\n")
    wire.expect(VERSION_LINE, b".\n", b".\n")
    assert len(wire.listing()) >= 1
    assert wire.totals()["jobs"] == 0


def test_questions_are_answered_while_the_store_is_opened(place, starts):
    start = starts()
    assert start.server.starting.startswith("opening and checking ")
    wire = place.wire(start.server)
    questions(wire)
    wire.request(OPTION_REQ, b"exceptions")
    wire.response(OPTION_RES, b"exceptions")
    assert not start.over
    start.finish()
    assert start.error is None and start.server.starting == ""
    wire.send(b"status\n")
    wire.expect(b"f\t1\t0\t0\n.\n")


def test_all_else_waits_with_what_comes_after_it_and_is_obeyed_in_order(place, starts):
    start = starts()
    worker, client, admin, asker = (place.wire(start.server) for _ in range(4))
    worker.request(ECHO_REQ, b"1")
    worker.request(CAN_DO, b"f")
    worker.request(ECHO_REQ, b"2")
    worker.request(GRAB_JOB)
    worker.response(ECHO_RES, b"1")
    client.request(SUBMIT_JOB, b"f", b"", b"new" * 30000)
    client.request(ECHO_REQ, b"3")
    admin.send(b"version\ncreate function g\nstatus\n")
    admin.expect(VERSION_LINE)
    asker.request(GET_STATUS, b"H:t:1")
    start.holds_up(4)
    client.request(ECHO_REQ, b"4")
    questions(place.wire(start.server))
    start.finish()
    worker.response(ECHO_RES, b"2")
    worker.response(JOB_ASSIGN, b"H:t:1", b"f", b"stored")
    client.response(JOB_CREATED, b"H:t:2")
    client.response(ECHO_RES, b"3")
    client.response(ECHO_RES, b"4")
    admin.expect(b"OK\r\n")
    assert [line.split(b"\t")[0] for line in admin.listing()] == [b"f", b"g"]
    # The order is that of each connection alone: it may run by then, or not yet.
    assert asker.packet() in [(STATUS_RES, b"H:t:1\x001\0" + runs + b"\x000\x000") for runs in (b"0", b"1")]


def test_of_a_crowd_that_waits_only_some_are_taken_back_in_a_round(place, starts, monkeypatch):
    """Which takes a while, in which others are served, too."""
    taken, take_back = [], Channels._take_back
    monkeypatch.setattr(Channels, "_take_back", lambda self, channel: (taken.append(self._core.now), take_back(self, channel)))
    start = starts(clock=Clock(step=0.001))  # at each look, so that two turns fill a round
    crowd = [place.wire(start.server) for _ in range(20)]
    for wire in crowd:
        wire.request(GET_STATUS, b"H:t:1")
    start.holds_up(len(crowd))
    start.finish()
    for wire in crowd:
        wire.response(STATUS_RES, b"H:t:1", b"1", b"0", b"0", b"0")
    assert len(taken) == len(crowd) and max(map(taken.count, taken)) <= 3


def test_who_submits_and_leaves_meanwhile_is_obeyed_all_the_same(place, starts):
    start = starts()
    wire = place.wire(start.server)
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"new")
    wire.half_close()
    start.holds_up(1)
    start.finish()
    wire.response(JOB_CREATED, b"H:t:2")
    wire.ended()


def test_who_breaks_its_connection_meanwhile_is_forgotten(place, starts):
    start = starts()
    wire = place.wire(start.server)
    wire.request(SUBMIT_JOB, b"f", b"", b"new")
    start.holds_up(1)
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wire.abandon()
    start.finish()
    other = place.wire(start.server)
    while in_dispatcher(start.server, lambda: len(start.server.core.peers)) > 1:
        continue
    other.send(b"status\n")
    other.expect(b"f\t1\t0\t0\n.\n")


def test_it_waits_with_half_a_packet_more_and_is_not_dropped_for_that(place, starts):
    clock = Clock()
    start = starts(clock=clock, stall_timeout=30.0)
    wire = place.wire(start.server)
    submit = pack_request(SUBMIT_JOB_BG, b"f", b"", b"new")
    wire.send(submit + submit[:20])
    start.holds_up(1)
    for _ in range(20):
        let_pass(start.server, clock, SWEEP_INTERVAL)
    start.finish()
    wire.response(JOB_CREATED, b"H:t:2")
    wire.send(submit[20:])
    wire.response(JOB_CREATED, b"H:t:3")


def test_questions_by_http_and_tls_are_answered_and_jobs_wait(place, starts):
    start = starts(listen=["http:127.0.0.1", "tls:127.0.0.1"], tls=CERTIFICATE)
    web, job = (place.wire(start.server) for _ in range(2))
    web.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert web.line() == b"HTTP/1.1 404 Not Found\r\n"
    web.broken()
    job.send(b"POST /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Gearman-Background: true\r\nContent-Length: 1\r\n\r\nx")
    start.holds_up(1)
    start.finish()
    assert job.line() == b"HTTP/1.1 200 OK\r\n"
    job.broken()


@pytest.mark.parametrize("graceful", [True, False])
def test_a_stop_meanwhile_is_obeyed_and_changes_nothing(place, starts, graceful, tmp_path):
    start = starts()
    wire = place.wire(start.server)
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"new")
    start.holds_up(1)
    other = place.wire(start.server)
    other.send(b"shutdown graceful\n" if graceful else b"shutdown\n")
    other.expect(b"OK\r\n")
    start.finish()
    assert start.error is None and start.server.stored
    wire.broken()
    other.broken()
    with Server(port=0, store=tmp_path / "jobs.db") as server:
        assert [bytes(job.workload) for job in server.core.jobs.values()] == [b"stored"]


def test_a_store_that_cannot_be_read_ends_the_start_with_its_error(place, starts, tmp_path):
    start = starts()
    wire = place.wire(start.server)
    questions(wire)
    (tmp_path / "jobs.db").write_bytes(b"no database" * 1000)
    start.finish()
    assert isinstance(start.error, StoreError) and "not a database" in str(start.error)
    wire.broken()
    assert not start.server.running


def test_whatever_goes_wrong_in_reading_ends_the_start(starts, monkeypatch):
    def restore_all(core, records):
        raise MemoryError("odd")
    monkeypatch.setattr("gearman_std.core.core.Core.restore_all", restore_all)
    start = starts()
    start.finish()
    assert isinstance(start.error, MemoryError) and not start.server.running


def test_what_is_to_be_done_when_it_is_ready_ends_it_if_it_fails(tmp_path):
    """As a pid file that cannot be written."""
    server = Server(port=0, store=tmp_path / "jobs.db")
    seen = []

    def ready():
        seen.append(server.starting)
        raise OSError("no room")
    with pytest.raises(OSError, match="no room"):
        server.serve(ready)
    assert seen == [""] and not server.running


@pytest.mark.parametrize("place, error", [(1, KeyboardInterrupt), (2, KeyboardInterrupt), (2, OSError)])
def test_an_interrupted_start_stops_the_server(starts, monkeypatch, place, error):
    """Interrupted while it waits for the thread to begin, or for the store to be read."""
    start = starts()
    waits, closers = [], []

    class Interrupted(threading.Event().__class__):
        def wait(self, timeout=None):
            if threading.current_thread() is threading.main_thread():
                waits.append(timeout)
                if len(waits) == place:
                    raise error
            return super().wait(timeout)
    server = server_of(store=JobStore(start.server._keeper._store.path, _connect=start._connect))
    close = server.close
    server.close = lambda: (closers.append(threading.current_thread()), close())
    monkeypatch.setattr("gearman_std.server.server.threading.Event", Interrupted)
    with pytest.raises(error):
        server.start()
    monkeypatch.undo()
    start.go_on.set()
    until(lambda: server._selector is None)
    assert len(waits) == place and threading.main_thread() not in closers

"""The worker, against a scripted server, against simulated outages, and against real servers."""
import collections
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from gearman_std.client import Client
from gearman_std.connection import open_connection
from gearman_std.errors import JobFailed, NoServer
from gearman_std.protocol import (CAN_DO, CAN_DO_TIMEOUT, CANT_DO, ECHO_REQ, ECHO_RES, ERROR, GRAB_JOB, GRAB_JOB_ALL, GRAB_JOB_UNIQ,
                                  JOB_ASSIGN, JOB_ASSIGN_ALL, JOB_ASSIGN_UNIQ, NO_JOB, NOOP, PRE_SLEEP, REQUEST_MAGIC, SET_CLIENT_ID,
                                  WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL, WORK_STATUS, WORK_WARNING, PacketReader,
                                  pack_request, pack_response, packet_name)
from gearman_std.worker import Retry, Worker

WAIT = 10  # seconds until something that must happen is given up


class Peer:
    """The server's end of one connection; every packet must be asked for."""

    def __init__(self, connected):
        self.socket = connected
        self.socket.settimeout(WAIT)
        self.reader = PacketReader(REQUEST_MAGIC, text=False, max_size=1 << 30)
        self.packets = collections.deque()
        self.chunks = []

    def receive(self):
        while not self.packets:
            data = self.socket.recv(65536)
            assert data, "the worker closed the connection"
            self.chunks.append(data)
            self.packets += self.reader.feed(data)
        packet_type, arguments = self.packets.popleft()
        return (packet_type,) + tuple(bytes(argument) for argument in arguments)

    def expect(self, *packets):
        for packet in packets:
            got = self.receive()
            assert got == packet, "%s %r instead of %s %r" % (packet_name(got[0]), got[1:], packet_name(packet[0]), packet[1:])

    def expect_end(self):
        assert not self.packets
        assert self.socket.recv(65536) == b""

    def expect_farewell(self):
        """An echo, and the end."""
        self.expect((ECHO_REQ, b"bye"))
        self.send((ECHO_RES, b"bye"))
        self.expect_end()

    def expect_nothing(self):
        """Nothing comes within a twentieth of a second."""
        assert not self.packets
        self.socket.settimeout(0.05)
        try:
            data = self.socket.recv(65536)
            raise AssertionError("unexpected: %r" % data)
        except socket.timeout:
            pass
        finally:
            self.socket.settimeout(WAIT)

    def send(self, *packets):
        self.socket.sendall(b"".join(pack_response(*packet) for packet in packets))

    def assign(self, handle, function=b"f", workload=b"", unique=b""):
        self.send((JOB_ASSIGN_UNIQ, handle, function, unique, workload))

    def close(self):
        self.socket.close()


class FakeServer:
    """Listens on a port of its own; the test plays the server."""

    def __init__(self, port=0):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(20)
        self.listener.settimeout(WAIT)
        self.port = self.listener.getsockname()[1]
        self.address = "127.0.0.1:%d" % self.port
        self.peers = []

    def accept(self, *greeting):
        peer = Peer(self.listener.accept()[0])
        self.peers.append(peer)
        peer.expect(*greeting)
        return peer

    def close(self):
        self.listener.close()
        for peer in self.peers:
            peer.close()


class AtWork:
    """Runs `worker.work()` in a thread, which must have ended when the test has."""

    def __init__(self, worker):
        self.worker = worker
        self.error = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            self.worker.work()
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def join(self):
        self.thread.join(WAIT)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error

    def __exit__(self, kind, *_):
        self.worker.stop()
        self.worker.stop()
        if kind is None:
            self.join()


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def until(condition):
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def fake():
    server = FakeServer()
    yield server
    server.close()


@pytest.fixture
def other():
    server = FakeServer()
    yield server
    server.close()


HELLO = ((CAN_DO, b"f"), (GRAB_JOB_ALL,))
GRAB = (GRAB_JOB_ALL,)


def make(fake, function=lambda job: job.workload, name="f", **options):
    worker = Worker(fake if isinstance(fake, list) else fake.address, **options)
    worker.register(name, function)
    return worker


# --- What a job sees and what becomes of it.

def test_the_life_of_a_worker(fake):
    worker = Worker(fake.address, client_id="me")

    @worker.function("reverse")
    def reverse(job):
        return job.workload[::-1]

    @worker.function("slow", timeout=1.5)
    def slow(job):
        return None
    assert reverse is not None and slow is not None
    with AtWork(worker):
        peer = fake.accept((SET_CLIENT_ID, b"me"), (CAN_DO, b"reverse"), (CAN_DO_TIMEOUT, b"slow", b"1500"), GRAB)
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
        peer.send((NOOP,))
        peer.expect(GRAB)
        peer.assign(b"H:1", b"reverse", b"abc")
        peer.expect((WORK_COMPLETE, b"H:1", b"cba"), GRAB)
        peer.assign(b"H:2", b"slow")
        peer.expect((WORK_COMPLETE, b"H:2", b""), GRAB)
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))


def test_result_and_next_grab_leave_in_one_send(fake):
    """Two small segments without TCP_NODELAY would cost 40 ms a job, and two sends cost twice the system calls."""
    with AtWork(make(fake)):
        peer = fake.accept(*HELLO)
        for number in range(20):
            peer.chunks = []
            peer.assign(b"H:%d" % number, workload=b"x" * 100)
            peer.expect((WORK_COMPLETE, b"H:%d" % number, b"x" * 100), GRAB)
            assert len(peer.chunks) == 1


def test_what_a_job_knows(fake):
    seen = []

    def function(job):
        seen.append((job.handle, job.function, job.unique, job.reducer, job.workload, job.text, bytes(job.view), job.server,
                     job.attempt, job.lost, job.stopping, repr(job)))
    with AtWork(make(fake, function)):
        peer = fake.accept(*HELLO)
        peer.send((JOB_ASSIGN_ALL, b"H:1", b"f", b"u", b"r", "é".encode()))
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
        peer.send((JOB_ASSIGN, b"H:2", b"f", b"w"))
        peer.expect((WORK_COMPLETE, b"H:2", b""), GRAB)
    assert seen[0] == (b"H:1", b"f", b"u", b"r", "é".encode(), "é", "é".encode(), fake.address, 1, False, False,
                       "<WorkerJob H:1 of f from %s>" % fake.address)
    assert seen[1][:5] == (b"H:2", b"f", b"", b"", b"w")


@pytest.mark.parametrize("returned, sent", [(b"bytes", b"bytes"), ("té", "té".encode()), (None, b""), (bytearray(b"x"), b"x"),
                                            (memoryview(b"view"), b"view")])
def test_what_a_function_may_return(fake, returned, sent):
    with AtWork(make(fake, lambda job: returned)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", sent), GRAB)


def test_serializer(fake):
    with AtWork(make(fake, lambda job: {"sum": sum(job.value)}, serializer="json")):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1", workload=b"[1, 2]")
        packet = peer.receive()
        assert packet[:2] == (WORK_COMPLETE, b"H:1") and json.loads(packet[2].decode()) == {"sum": 3}
        peer.expect(GRAB)
        peer.assign(b"H:2", workload=b"nonsense")
        assert peer.receive()[:2] == (WORK_EXCEPTION, b"H:2")
        peer.expect(GRAB)


def test_news_of_a_running_job(fake):
    def function(job):
        job.send_status(1, 4)
        job.send_data("part")
        job.send_warning(b"hm")
        return "end"
    with AtWork(make(fake, function)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_STATUS, b"H:1", b"1", b"4"), (WORK_DATA, b"H:1", b"part"), (WORK_WARNING, b"H:1", b"hm"),
                    (WORK_COMPLETE, b"H:1", b"end"), GRAB)


@pytest.mark.parametrize("error, text", [(ValueError("bööm"), "bööm".encode()), (ValueError(), b"ValueError"),
                                         (KeyError("x"), b"KeyError: 'x'"), (SystemExit(1), b"SystemExit: 1"),
                                         (ValueError("\udcff"), b"\\udcff")])
def test_an_exception_fails_the_job_with_its_text(fake, caplog, error, text):
    def function(job):
        raise error
    with AtWork(make(fake, function)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_EXCEPTION, b"H:1", text), GRAB)
        peer.assign(b"H:2")
        peer.expect((WORK_EXCEPTION, b"H:2", text), GRAB)
    record = [record for record in caplog.records if "failed" in record.getMessage()][0]
    assert record.exc_info[1] is error, "the traceback is in the log"


def test_a_result_of_the_wrong_type_fails_the_job(fake):
    with AtWork(make(fake, lambda job: 5)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_EXCEPTION, b"H:1", b"expected str or bytes, not int"), GRAB)


def test_a_job_of_an_unknown_function_is_failed(fake, caplog):
    worker = make(fake)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1", b"what")
        peer.expect((WORK_FAIL, b"H:1"), GRAB)
    assert "never registered" in caplog.text


def test_a_late_word_of_a_job_is_not_sent(fake):
    jobs = []
    with AtWork(make(fake, jobs.append)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
        jobs[0].send_data(b"too late")
        peer.assign(b"H:2")
        peer.expect((WORK_COMPLETE, b"H:2", b""), GRAB)


def test_job_not_found_does_not_kill_the_worker(fake):
    """The server took the job away after its time limit, say."""
    worker = make(fake)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
        peer.send((ERROR, b"JOB_NOT_FOUND", b"Job given in work result not found"))
        peer.assign(b"H:2")
        peer.expect((WORK_COMPLETE, b"H:2", b""), GRAB)
        assert worker.health().refused == 1


# --- Slots.

def test_never_more_jobs_than_threads(fake):
    gate = threading.Semaphore(0)
    worker = make(fake, lambda job: gate.acquire() and None, threads=2)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect(GRAB)
        peer.assign(b"H:2")
        peer.send((NOOP,), (NOOP,))
        peer.expect_nothing()
        assert len(worker.health().running) == 2
        gate.release()
        packet = peer.receive()
        assert packet[0] == WORK_COMPLETE
        peer.expect(GRAB)
        gate.release()
        assert peer.receive()[0] == WORK_COMPLETE
        peer.expect(GRAB)
        peer.expect_nothing()


def test_threads_work_at_the_same_time(fake):
    barrier = threading.Barrier(3)
    worker = make(fake, lambda job: b"%d" % barrier.wait(WAIT), threads=3)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        done = 0
        for number in range(3):
            peer.assign(b"H:%d" % number)
            if number < 2:
                peer.expect(GRAB)
        while done < 3:
            done += peer.receive()[0] == WORK_COMPLETE


def test_servers_take_turns(fake, other):
    """With one thread and two busy servers, neither starves."""
    worker = make([fake.address, other.address], max_jobs=20)
    counts = collections.Counter()

    def serve(server):
        peer = server.accept((CAN_DO, b"f"))
        try:
            while True:
                packet = peer.receive()
                if packet == GRAB:
                    counts[server] += 1
                    peer.assign(b"H:%d" % counts[server])
                elif packet[0] == ECHO_REQ:
                    peer.send((ECHO_RES, packet[1]))
        except (AssertionError, OSError):
            return
    threads = [threading.Thread(target=serve, args=(server,)) for server in (fake, other)]
    for thread in threads:
        thread.start()
    with AtWork(worker) as at_work:
        at_work.join()
    for thread in threads:
        thread.join()
    assert sum(counts.values()) == 20 and min(counts.values()) >= 8, counts


def test_limit_of_a_function(fake):
    """It has a connection of its own, and no grab leaves there while the limit is reached; withdrawing the function would have
    gearmand give its running jobs to others."""
    gate = threading.Semaphore(0)
    worker = make(fake, threads=3)
    worker.register("limited", lambda job: gate.acquire() and None, limit=1)
    with AtWork(worker):
        peers = {peer.receive()[1]: peer for peer in (fake.accept(), fake.accept())}
        free, limited = peers[b"f"], peers[b"limited"]
        free.expect(GRAB)
        limited.expect(GRAB)
        limited.assign(b"H:1", b"limited")
        limited.expect_nothing()
        free.assign(b"H:2")
        packets = [free.receive() for _ in range(3)]
        assert (WORK_COMPLETE, b"H:2", b"") in packets and packets.count(GRAB) == 2
        gate.release()
        limited.expect((WORK_COMPLETE, b"H:1", b""))
        free.send((NO_JOB,), (NO_JOB,))
        limited.expect(GRAB)
        limited.send((NO_JOB,))
        limited.expect((PRE_SLEEP,))


def test_a_limit_that_the_threads_keep_needs_no_connection(fake):
    worker = Worker(fake.address, threads=2)
    worker.register("f", bool, limit=2)
    worker.register("g", bool)
    with AtWork(worker):
        fake.accept((CAN_DO, b"f"), (CAN_DO, b"g"), GRAB)


def test_functions_can_be_registered_while_it_works(fake):
    worker = make(fake)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
        worker.register("g", lambda job: b"g")
        peer.expect((CAN_DO, b"g"), GRAB)
        peer.assign(b"H:1", b"g")
        peer.expect((WORK_COMPLETE, b"H:1", b"g"), GRAB)


def test_large_result_does_not_hold_up_another_server(fake, other):
    large = bytes(20000000)
    worker = make([fake.address, other.address], lambda job: large if job.server == fake.address else b"small", threads=2)
    with AtWork(worker):
        slow, quick = fake.accept(), other.accept()
        slow.expect(*HELLO)
        quick.expect(*HELLO)
        slow.assign(b"H:1")
        grabs = 1
        for number in range(50):
            quick.assign(b"H:%d" % number)
            grabs -= 1
            while True:
                packet = quick.receive()
                grabs += packet == GRAB
                if packet != GRAB:
                    assert packet == (WORK_COMPLETE, b"H:%d" % number, b"small")
                    break
            while not grabs:
                quick.expect(GRAB)
                grabs += 1
        packet = slow.receive()
        assert (slow.receive() if packet == GRAB else packet) == (WORK_COMPLETE, b"H:1", large)


def test_a_function_that_sends_faster_than_the_server_reads_waits(fake):
    sent = []

    def function(job):
        for _ in range(100):
            job.send_data(bytes(1000000))
            sent.append(1)
    with AtWork(make(fake, function)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        until(lambda: len(sent) >= 2)
        size = len(sent)
        assert size < 60, "the system's buffers hold some"
        for _ in range(100):
            assert peer.receive()[0] == WORK_DATA
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)


# --- Trying again.

def test_retry_keeps_the_job_and_frees_the_thread(fake):
    clock = Clock()
    attempts = []

    def function(job):
        if job.workload == b"other":
            return b"done"
        attempts.append(job.attempt)
        if job.attempt < 3:
            raise Retry(after=60)
        return b"at last"
    worker = make(fake, function, clock=clock)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect(GRAB)
        assert worker.health().held == 1 and not worker.health().running
        peer.assign(b"H:2", workload=b"other")
        peer.expect((WORK_COMPLETE, b"H:2", b"done"), GRAB)
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
        clock.now += 61
        worker._shift.wake()
        until(lambda: attempts == [1, 2] and worker.health().held == 1)
        clock.now += 61
        peer.send((NOOP,))
        peer.expect((WORK_COMPLETE, b"H:1", b"at last"), GRAB)
    assert attempts == [1, 2, 3]


def test_retry_gives_up_after_the_attempts_it_names(fake):
    def function(job):
        raise Retry(after=0, text="busy", attempts=3)
    worker = make(fake, function)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        packets = [peer.receive(), peer.receive()]
        assert (WORK_EXCEPTION, b"H:1", b"busy") in packets and GRAB in packets
        assert (worker.health().retried, worker.health().failed) == (2, 1)


def test_leaving_hands_back_what_waits_to_be_tried_again(fake):
    def function(job):
        raise Retry(after=3600)
    worker = make(fake, function)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect(GRAB)
        worker.stop()
        until(lambda: worker._shift.leaving)
        peer.send((NO_JOB,))
        peer.expect((CANT_DO, b"f"))
        peer.expect_farewell()
        at_work.join()


def test_too_many_held_jobs_stop_the_grabbing(fake):
    """Else a function that always wants to try again later would empty the server's queue."""
    def function(job):
        raise Retry(after=3600)
    worker = make(fake, function)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        for number in range(15):
            peer.assign(b"H:%d" % number)
            peer.expect(GRAB)
        peer.assign(b"H:16")
        until(lambda: worker.health().held == 16)
        peer.expect_nothing()


def test_a_retry_into_the_past_is_refused():
    with pytest.raises(ValueError):
        Retry(after=-1)


# --- Servers that do not know everything, or talk nonsense.

def test_falls_back_for_perls_server(fake):
    with AtWork(make(fake, lambda job: 1 // 0)):
        peer = fake.accept(*HELLO)
        peer.send((ERROR, b"server_error", b"unknown"))
        peer.expect((GRAB_JOB_UNIQ,))
        peer.send((ERROR, b"server_error", b"unknown"))
        peer.expect((GRAB_JOB,))
        peer.send((JOB_ASSIGN, b"H:1", b"f", b""))
        packets = [peer.receive() for _ in range(3)]
        assert [packet[0] for packet in packets] == [WORK_EXCEPTION, WORK_FAIL, GRAB_JOB]


def test_falls_back_for_gears_server_which_says_nothing(fake):
    clock = Clock()
    worker = make(fake, clock=clock, random=lambda: 0.0)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        clock.now += 4
        worker._shift.wake()
        peer.expect_end()
        until(lambda: worker.health().down)
        clock.now += 1
        worker._shift.wake()
        peer = fake.accept((CAN_DO, b"f"), (GRAB_JOB_UNIQ,))
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), (GRAB_JOB_UNIQ,))
        peer.close()
        until(lambda: worker.health().down)
        clock.now += 1
        worker._shift.wake()
        fake.accept((CAN_DO, b"f"), (GRAB_JOB_UNIQ,))


def test_a_server_that_stops_answering_is_left(fake, other):
    """Its unanswered grab would keep the only thread from the other server for ever."""
    clock = Clock()
    worker = make([fake.address, other.address], clock=clock)
    with AtWork(worker):
        hung, good = fake.accept((CAN_DO, b"f")), other.accept((CAN_DO, b"f"))
        until(lambda: worker._shift._free == 0)
        peers = [hung, good]
        for peer in peers:
            peer.socket.settimeout(0.1)
        grabbing = []
        for peer in peers:
            try:
                peer.expect(GRAB)
                grabbing.append(peer)
            except socket.timeout:
                pass
            peer.socket.settimeout(WAIT)
        assert len(grabbing) == 1
        clock.now += 30
        worker._shift.wake()
        grabbing[0].expect_end()
        [left] = [peer for peer in peers if peer is not grabbing[0]]
        left.expect(GRAB)


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 400 Bad Request\r\n", pack_response(NO_JOB) * 2, pack_request(NOOP),
                                      pack_response(WORK_COMPLETE, b"H:1", b""), b"\0RES\xff\xff\xff\xff\0\0\0\0",
                                      b"\0RES\0\0\0\x0b\0\0\0\3H:1"])
def test_nonsense_ends_the_connection_and_not_the_worker(fake, caplog, nonsense):
    worker = make(fake)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.socket.sendall(nonsense)
        again = fake.accept(*HELLO)
        again.assign(b"H:1")
        again.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
    assert [record for record in caplog.records if record.levelno == logging.WARNING]


# --- Outages.

def test_a_lost_server_is_tried_again_and_told_everything(fake, caplog):
    caplog.set_level(logging.INFO, "gearman_std.worker")
    worker = make(fake, client_id="me", random=lambda: 0.0)
    with AtWork(worker):
        for number in range(3):
            peer = fake.accept((SET_CLIENT_ID, b"me"), *HELLO)
            peer.assign(b"H:%d" % number)
            peer.expect((WORK_COMPLETE, b"H:%d" % number, b""), GRAB)
            peer.close()
    lines = [record.getMessage() for record in caplog.records]
    assert sum("connected to" in line for line in lines) == 3
    assert sum("tried again" in line for line in lines) in (2, 3)


def test_a_result_whose_server_is_lost_is_dropped_and_counted(fake, caplog):
    gate = threading.Event()
    worker = make(fake, lambda job: gate.wait(WAIT) and None, random=lambda: 0.0)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        until(lambda: worker.health().running)
        peer.close()
        until(lambda: worker.health().down)
        gate.set()
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
        assert (worker.health().lost, worker.health().completed) == (1, 1)
    assert "its server is lost" in caplog.text


def test_held_jobs_of_a_lost_server_are_forgotten(fake):
    def function(job):
        raise Retry(after=3600)
    worker = make(fake, function)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect(GRAB)
        peer.close()
        until(lambda: worker.health().held == 0)
        fake.accept(*HELLO)


def test_idle_while_every_server_is_down():
    """CPU near zero, and one line of log for each server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % probe.getsockname()[1]
    code = ("import sys, time, threading, resource, logging\n"
            "logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format='%%(message)s')\n"
            "from gearman_std.worker import Worker\n"
            "worker = Worker(%r)\n"
            "worker.register('f', bool)\n"
            "threading.Timer(1.5, worker.stop).start()\n"
            "before = time.process_time()\n"
            "worker.work()\n"
            "print('CPU', time.process_time() - before)\n" % address)
    lines = subprocess.check_output([sys.executable, "-c", code], timeout=WAIT * 3).decode().splitlines()
    assert float(lines[-1].split()[1]) < 0.15
    assert sum("tried again" in line for line in lines) == 1 and len(lines) <= 3, lines


class World:
    """Servers that come and go in simulated time: connecting, selecting and sending of a worker, without a system below.

    A server that is up answers every grab with one of its jobs, or with NO_JOB, and notes what comes back.
    """

    def __init__(self, seed, names):
        self.random = random.Random(seed)
        self.clock = Clock()
        self.names = names
        self.up = {name: False for name in names}
        self.flips = {name: self.clock.now + self.random.uniform(0, 60) for name in names}
        self.jobs = {name: 0 for name in names}
        self.done = collections.Counter()
        self.attempts = collections.Counter()
        self.streams = []
        self.registered = {}
        self.end = self.clock.now + 3600
        self.worker = None

    # What the worker is given for `connect` and `selector`.

    def connect(self, address, timeout, tls):
        self.attempts[address[0]] += 1
        if not self.up[address[0]]:
            raise NoServer("nobody listens at %s" % address[0])
        stream = _Stream(self, address[0])
        self.streams.append(stream)
        return stream

    def selector(self):
        return self

    def register(self, file, events, data):
        self.registered[file] = data

    modify = register

    def unregister(self, file):
        del self.registered[file]

    def close(self):
        self.registered.clear()

    def select(self, timeout):
        waker = [file for file, data in self.registered.items() if data is None][0]
        # While a thread connects or runs a job, real time is waited for it; else simulated time passes at once.
        waker.settimeout(0.02 if self.busy() else 0)
        events = []
        try:
            if waker.recv(1, socket.MSG_PEEK):
                events.append((_Key(None), 1))
        except (BlockingIOError, socket.timeout):
            pass
        waker.setblocking(False)
        if not self.busy() and not events and not any(stream.inbox for stream in self.streams):
            step = 2.0 if timeout is None else min(max(timeout, 0.001), 2.0)
            self.clock.now += step
            self.advance()
        for stream in self.streams:
            if stream.inbox or stream.dead:
                events.append((_Key(self.registered[stream]), 1))
        return events

    def busy(self):
        shift = self.worker._shift
        return shift is not None and (shift._running or any(server.connecting for server in shift._servers) and not shift._arrivals)

    def advance(self):
        now = self.clock.now
        for name in self.names:
            if now >= self.flips[name]:
                self.up[name] = not self.up[name]
                self.flips[name] = now + self.random.uniform(1, 120)
                if not self.up[name]:
                    for stream in self.streams:
                        stream.dead = stream.dead or stream.name == name
            elif self.up[name] and self.random.random() < 0.05:
                self.jobs[name] += 1
                for stream in self.streams:
                    if stream.name == name and stream.asleep:
                        stream.asleep = False
                        stream.inbox += pack_response(NOOP)
        if now >= self.end:
            self.worker.stop()


_Key = collections.namedtuple("_Key", "data")


class _Stream:
    """What `World.connect` returns: as much of a Connection as the worker uses, and the server behind it."""

    pending = False
    unsent = False
    queued = sent = 0

    def __init__(self, world, name):
        self.world = world
        self.name = name
        self.reader = PacketReader(REQUEST_MAGIC, text=False)
        self.inbox = b""
        self.outbox = b""
        self.asleep = False
        self.dead = False
        self.able = False

    def put(self, *pieces):
        self.outbox += b"".join(pieces)

    def flush(self):
        data, self.outbox = self.outbox, b""
        if self.dead:
            return True
        for packet_type, arguments in self.reader.feed(data):
            self.answer(packet_type, arguments)
        return True

    def answer(self, packet_type, arguments):
        if packet_type == CAN_DO:
            self.able = True
        elif packet_type == GRAB_JOB_ALL:
            assert self.able and not self.asleep
            if self.world.jobs[self.name]:
                self.world.jobs[self.name] -= 1
                self.inbox += pack_response(JOB_ASSIGN_UNIQ, b"H:1", b"f", b"", b"work")
            else:
                self.inbox += pack_response(NO_JOB)
        elif packet_type == PRE_SLEEP:
            self.asleep = True
            if self.world.jobs[self.name]:
                self.asleep = False
                self.inbox += pack_response(NOOP)
        elif packet_type == WORK_COMPLETE:
            self.world.done[self.name] += 1
        elif packet_type == ECHO_REQ:
            self.inbox += pack_response(ECHO_RES, arguments[0])
        else:
            assert packet_type == CANT_DO

    def receive(self, room=None):
        data, self.inbox = self.inbox, b""
        if not data and self.dead:
            from gearman_std.errors import ServerLost
            raise ServerLost("%s is gone" % self.name)
        return data or None

    def close(self):
        self.world.streams.remove(self)


@pytest.mark.parametrize("seed", range(2))
def test_an_hour_of_servers_that_come_and_go(seed, caplog):
    """Every server's jobs are done whenever it is up; tries are few and the log is as long as the changes of state."""
    caplog.set_level(logging.INFO, "gearman_std.worker")
    world = World(seed, ["a", "b", "c"])
    world.worker = worker = Worker(world.names, clock=world.clock, random=random.Random(seed).random, connect=world.connect,
                                   selector=world.selector)
    worker.register("f", lambda job: b"done")
    with AtWork(worker) as at_work:
        at_work.thread.join(50)
    assert world.clock.now >= world.end
    assert min(world.done.values()) >= 10, world.done
    assert sum(world.attempts.values()) < 3 * 3600 / 3, world.attempts
    lines = [record.getMessage() for record in caplog.records]
    for name in world.names:
        told = ["up" if "connected to" in line else "down" for line in lines if " %s:4730" % name in line + " "
                and ("connected to" in line or "tried again" in line)]
        assert all(one != two for one, two in zip(told, told[1:])), "one line for each change of state"


# --- Leaving.

def test_stop_finishes_what_runs(fake):
    gate = threading.Event()
    stopping = []

    def function(job):
        gate.wait(WAIT)
        stopping.append(job.stopping)
        return b"done"
    worker = Worker(fake.address, threads=2)
    worker.register("f", function)
    worker.register("idle", bool)
    with AtWork(worker) as at_work:
        peer = fake.accept((CAN_DO, b"f"), (CAN_DO, b"idle"), GRAB)
        peer.assign(b"H:1")
        peer.expect(GRAB)
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
        worker.stop()
        peer.expect((CANT_DO, b"idle"))
        peer.send((NOOP,))
        peer.expect_nothing()
        gate.set()
        peer.expect((WORK_COMPLETE, b"H:1", b"done"), (CANT_DO, b"f"))
        peer.expect_farewell()
        at_work.join()
    assert stopping == [True]


def test_a_job_that_was_on_its_way_is_done(fake):
    worker = make(fake)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        worker.stop()
        until(lambda: worker._shift.leaving)
        peer.assign(b"H:1", workload=b"x")
        peer.expect((WORK_COMPLETE, b"H:1", b"x"), (CANT_DO, b"f"))
        peer.expect_farewell()
        at_work.join()


def test_the_second_stop_leaves_at_once(fake, caplog):
    gate = threading.Event()
    abandoned = []
    worker = Worker(fake.address)
    worker.register("f", lambda job: gate.wait(WAIT) and None, abandon=lambda: abandoned.append(1))
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        until(lambda: worker.health().running)
        worker.stop()
        until(lambda: worker._shift.leaving)
        worker.stop()
        at_work.join()
        peer.expect_end()
    gate.set()
    assert abandoned == [1]
    assert "left unfinished" in caplog.text


def test_grace_ends(fake):
    gate = threading.Event()
    clock = Clock()
    worker = make(fake, lambda job: gate.wait(WAIT) and None, grace=30, clock=clock)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        until(lambda: worker.health().running)
        worker.stop()
        until(lambda: worker._shift.leaving)
        clock.now += 29
        worker._shift.wake()
        peer.expect_nothing()
        clock.now += 2
        worker._shift.wake()
        at_work.join()
        peer.expect_end()
    gate.set()


def test_stop_before_work_counts():
    worker = Worker("127.0.0.1:1")
    worker.register("f", bool)
    worker.stop()
    with AtWork(worker) as at_work:
        at_work.join()


def test_it_can_work_again(fake):
    worker = make(fake)
    for _ in range(2):
        with AtWork(worker) as at_work:
            peer = fake.accept(*HELLO)
            peer.send((NO_JOB,))
            peer.expect((PRE_SLEEP,))
            worker.stop()
            peer.expect((CANT_DO, b"f"))
            peer.expect_farewell()
            at_work.join()
        worker.stops = 0


def test_max_jobs_is_exact(fake):
    worker = make(fake, max_jobs=3, threads=2)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        grabs, done = 1, 0
        while done < 3:
            if grabs:
                grabs -= 1
                peer.assign(b"H:%d" % done)
            packet = peer.receive()
            grabs += packet == GRAB
            done += packet[0] == WORK_COMPLETE
        assert grabs == 0
        peer.expect((CANT_DO, b"f"))
        peer.expect_farewell()
        at_work.join()
    assert worker.health().grabbed == 3


def test_max_jobs_counts_no_grab_that_brought_nothing(fake):
    worker = make(fake, max_jobs=1)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        for _ in range(3):
            peer.send((NO_JOB,))
            peer.expect((PRE_SLEEP,))
            peer.send((NOOP,))
            peer.expect(GRAB)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), (CANT_DO, b"f"))
        peer.expect_farewell()
        at_work.join()


def test_max_age_and_splay(fake):
    clock = Clock()
    worker = make(fake, max_age=100, splay=50, clock=clock, random=lambda: 0.5)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        clock.now += 124
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
        clock.now += 2
        peer.send((NOOP,))
        packets = [peer.receive()]
        if packets == [GRAB]:
            peer.send((NO_JOB,))
            packets = [peer.receive()]
        assert packets == [(CANT_DO, b"f")]
        peer.expect_farewell()
        at_work.join()


def test_watch_makes_it_leave(fake):
    changed = threading.Event()
    worker = make(fake, watch=changed.is_set)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
        changed.set()
        peer.expect((CANT_DO, b"f"))
        peer.expect_farewell()
        at_work.join()


SIGNALLED = """
import sys, time
from gearman_std.worker import Worker
worker = Worker(sys.argv[1])
@worker.function("f")
def f(job):
    time.sleep(float(job.text))
    return b"done"
worker.work()
print("left")
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals(fake, processes, number):
    """The first finishes what runs and leaves, the second leaves at once."""
    for twice in (False, True):
        process = processes.start([sys.executable, "-c", SIGNALLED, fake.address], stdout=subprocess.PIPE)
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1", workload=b"60" if twice else b"0.2")
        process.send_signal(number)
        if twice:
            peer.expect_nothing()
            process.send_signal(number)
            peer.expect_end()
        else:
            peer.expect((WORK_COMPLETE, b"H:1", b"done"), (CANT_DO, b"f"))
            peer.expect_farewell()
        assert process.communicate(timeout=WAIT)[0] == b"left\n"
        assert process.returncode == 0


# --- Hooks, health, the log, arguments.

def test_hooks(fake):
    worker = make(fake, lambda job: {b"bad": lambda: 1 // 0}.get(job.workload, lambda: b"result")(), random=lambda: 0.0)
    seen = []
    for name in ("before", "after", "error", "connected", "disconnected"):
        worker.hook(name, lambda *arguments, name=name: seen.append((name,) + arguments))

    @worker.hook("after")
    def broken(job, result):
        raise RuntimeError("a hook that fails is logged and harms nobody")
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b"result"), GRAB)
        peer.assign(b"H:2", workload=b"bad")
        assert peer.receive()[:2] == (WORK_EXCEPTION, b"H:2")
        peer.expect(GRAB)
        peer.close()
        fake.accept(*HELLO)
    assert [entry[0] for entry in seen][:5] == ["connected", "before", "after", "before", "error"]
    assert seen[0][1] == fake.address and seen[2][2] == b"result" and isinstance(seen[4][2], ZeroDivisionError)
    [gone] = [entry for entry in seen if entry[0] == "disconnected"]
    assert gone[1] == fake.address and fake.address in gone[2]


def test_a_before_hook_can_fail_the_job(fake):
    worker = make(fake)

    @worker.hook("before")
    def refuse(job):
        raise PermissionError("not today")
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_EXCEPTION, b"H:1", b"not today"), GRAB)


def test_health(fake):
    gate = threading.Event()
    clock = Clock()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        down = "127.0.0.1:%d" % probe.getsockname()[1]
    worker = make([fake.address, down], lambda job: gate.wait(WAIT) and None, clock=clock)
    assert worker.health() == ((), (), (), 0, 0, 0, 0, 0, 0, 0)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        until(lambda: worker.health().running)
        clock.now += 5
        health = worker.health()
        assert (health.connected, health.down) == ((fake.address,), (down,))
        assert health.running == ((b"f", b"H:1", fake.address, 5.0),) and health.grabbed == 1
        gate.set()
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
        assert worker.health().completed == 1
    assert worker.health().completed == 1


def test_a_job_that_exceeds_its_time_limit_is_noticed_in_the_log(fake, caplog):
    gate = threading.Event()
    clock = Clock()
    worker = Worker(fake.address, clock=clock)
    worker.register("f", lambda job: gate.wait(WAIT) and None, timeout=5)
    with AtWork(worker):
        peer = fake.accept((CAN_DO_TIMEOUT, b"f", b"5000"), GRAB)
        peer.assign(b"H:1")
        until(lambda: worker.health().running)
        clock.now += 6
        worker._shift.wake()
        until(lambda: "still runs after its time limit of 5 s" in caplog.text)
        gate.set()
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
    assert caplog.text.count("still runs") == 1


def test_bad_arguments():
    for options in ({"threads": 0}, {"max_jobs": 0}, {"grace": -1}, {"max_age": -1}, {"splay": -1}, {"client_id": "a\0b"},
                    {"serializer": "xml"}, {"servers": "host:port"}):
        with pytest.raises(ValueError):
            Worker(**options)
    worker = Worker("localhost")
    for name in ("", "a\0b", "x" * 9000):
        with pytest.raises(ValueError):
            worker.register(name, bool)
    with pytest.raises(TypeError):
        worker.register("f", "not callable")
    for options in ({"limit": 0}, {"timeout": 0}):
        with pytest.raises(ValueError):
            worker.register("f", bool, **options)
    with pytest.raises(ValueError):
        worker.hook("sometimes", bool)
    with pytest.raises(ValueError, match="no function"):
        worker.work()
    worker.register("f", bool)
    with pytest.raises(ValueError, match="registered already"):
        worker.register("f", bool)
    assert repr(worker) == "<Worker of f at localhost:4730, 1 threads>"


def test_only_one_work_at_a_time(fake):
    worker = make(fake)
    with AtWork(worker):
        fake.accept(*HELLO)
        with pytest.raises(RuntimeError):
            worker.work()


# --- Real servers.

@pytest.fixture(params=["gearmand", "server"])
def address(request):
    """gearmand's and our own server's address."""
    return "%s:%d" % request.getfixturevalue(request.param)


@pytest.mark.interop
def test_real_work(address):
    worker = Worker(address, threads=4)
    worker.register("reverse", lambda job: job.workload[::-1])
    worker.register("fail", lambda job: 1 // 0)
    worker.register("one", lambda job: job.workload, limit=1)
    worker.register("again", lambda job: b"%d" % job.attempt if job.attempt > 2 else _raise(Retry(after=0.01)))
    large = os.urandom(1 << 20) * 64
    with AtWork(worker), Client(address) as client:
        assert client.run("reverse", large) == large[::-1]
        tasks = [client.submit("reverse", b"%d" % number) for number in range(1000)]
        assert [task.result(WAIT) for task in tasks] == [b"%d" % number if number < 10 else (b"%d" % number)[::-1]
                                                         for number in range(1000)]
        tasks = [client.submit("one", b"%d" % number) for number in range(20)]
        assert [task.result(WAIT) for task in tasks] == [b"%d" % number for number in range(20)]
        assert client.run("again", b"") == b"3"
        with pytest.raises(JobFailed) as caught:
            client.run("fail", b"")
        assert caught.value.exception == b"integer division or modulo by zero"
        assert worker.health().completed == 1022


def _raise(error):
    raise error


@pytest.mark.interop
def test_a_stopping_worker_loses_and_repeats_nothing(address):
    """Workers come and go under load; every job runs exactly once, since each worker finishes what it has."""
    runs = collections.Counter()
    lock = threading.Lock()

    def count(job):
        with lock:
            runs[job.workload] += 1

    def start():
        worker = Worker(address, threads=3)
        worker.register("count", count)
        at_work = AtWork(worker)
        at_work.thread.start()
        return at_work
    with Client(address) as client:
        tasks = [client.submit("count", b"%d" % number) for number in range(2000)]
        current = start()
        for _ in range(10):
            before = len(runs)
            until(lambda: len(runs) >= min(before + 100, 2000))
            following = start()
            current.worker.stop()
            current.join()
            current = following
        for task in tasks:
            task.result(WAIT * 2)
        current.worker.stop()
        current.join()
    assert len(runs) == 2000 and set(runs.values()) == {1}


def test_tls_and_a_connection_that_is_injected(fake):
    """`connect` is handed the address, the time-out and the TLS setting."""
    seen = []

    def connect(address, timeout, tls):
        seen.append((address, timeout, tls))
        return open_connection(address, timeout, None)
    with AtWork(make(fake, tls="context", connect_timeout=3.0, connect=connect)):
        fake.accept(*HELLO)
    assert seen == [(("127.0.0.1", fake.port), 3.0, "context")]

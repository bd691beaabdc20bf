"""How a worker grabs, tries again, outlives its servers, and leaves, against a scripted server."""
import collections
import logging
import os
import signal
import struct
import subprocess
import sys
import threading

import pytest

from gearman_std.errors import JobFailed
from gearman_std.net import connection
from gearman_std.testing import JobServer
from gearman_std.wire.protocol import (CAN_DO, CAN_DO_TIMEOUT, CANT_DO, ERROR, GRAB_JOB, GRAB_JOB_ALL,
                                       GRAB_JOB_UNIQ, JOB_ASSIGN, JOB_ASSIGN_UNIQ, NO_JOB, NOOP, PRE_SLEEP, SET_CLIENT_ID,
                                       WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL, PacketReader, pack_request,
                                       pack_response)
from gearman_std.wire.worker_session import WorkerSession
from gearman_std.worker.worker import Worker

from patience import until
from worker_tools import AtWork, FakeServer, GRAB, HELLO, WAIT, Machine, expect_leaving, make, who_speaks


# --- Slots.

def test_never_more_jobs_than_threads(fake):
    gate = threading.Semaphore(0)
    machine = Machine()
    worker = make(fake, lambda job: gate.acquire() and None, threads=2, machine=machine)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect(GRAB)
        peer.assign(b"H:2")
        peer.send((NOOP,), (NOOP,))
        machine.expect_silence(peer)
        assert len(worker.health().running) == 2
        gate.release()
        packet = peer.receive()
        assert packet[0] == WORK_COMPLETE
        peer.expect(GRAB)
        gate.release()
        assert peer.receive()[0] == WORK_COMPLETE
        peer.expect(GRAB)
        machine.expect_silence(peer)


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
    with AtWork(worker):
        peers = [server.accept((CAN_DO, b"f")) for server in (fake, other)]  # both are there before the first job is given
        while sum(counts.values()) < 20:
            peer = who_speaks(*peers)
            if peer.receive() == GRAB:
                counts[peer] += 1
                peer.assign(b"H:%d" % counts[peer])
    assert min(counts.values()) >= 8, counts


def test_limit_of_a_function(fake):
    """It has a connection of its own, and no grab leaves there while the limit is reached; withdrawing the function would have
    gearmand give its running jobs to others."""
    gate = threading.Semaphore(0)
    machine = Machine()
    worker = make(fake, threads=3, machine=machine)
    worker.register("limited", lambda job: gate.acquire() and None, limit=1)
    with AtWork(worker):
        peers = {peer.receive()[1]: peer for peer in (fake.accept(), fake.accept())}
        free, limited = peers[b"f"], peers[b"limited"]
        free.expect(GRAB)
        limited.expect(GRAB)
        limited.assign(b"H:1", b"limited")
        machine.expect_silence(limited)
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


# --- Servers that do not know everything, or talk nonsense.

def test_falls_back_for_perls_server(fake):
    fake.answers = False
    with AtWork(make(fake, lambda job: 1 // 0)):
        peer = fake.accept(*HELLO)
        peer.send((ERROR, b"unknown_option", b"unknown"), (ERROR, b"server_error", b"unknown"))
        peer.expect((GRAB_JOB_UNIQ,))
        peer.send((ERROR, b"server_error", b"unknown"))
        peer.expect((GRAB_JOB,))
        peer.send((JOB_ASSIGN, b"H:1", b"f", b""))
        packets = [peer.receive() for _ in range(3)]
        assert [packet[0] for packet in packets] == [WORK_EXCEPTION, WORK_FAIL, GRAB_JOB]


def test_falls_back_for_gears_server_which_says_nothing(fake):
    fake.answers = False
    machine = Machine(random=lambda: 0.0)
    worker = make(fake, machine=machine)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        machine.pass_time(4)
        peer.expect_end()
        until(lambda: worker.health().down)
        machine.pass_time(1)
        peer = fake.accept((CAN_DO, b"f"), (GRAB_JOB_UNIQ,))
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), (GRAB_JOB_UNIQ,))
        peer.close()
        until(lambda: worker.health().down)
        machine.pass_time(1)
        fake.accept((CAN_DO, b"f"), (GRAB_JOB_UNIQ,))


def test_silence_does_not_make_it_ask_as_perls_server_wants_it(fake):
    """Perl's server says that it does not know a packet, and gear's does not know GRAB_JOB."""
    fake.answers = False
    machine = Machine(random=lambda: 0.0)
    worker = make(fake, machine=machine)
    with AtWork(worker):
        for grab in (GRAB_JOB_ALL, GRAB_JOB_UNIQ, GRAB_JOB_ALL):
            peer = fake.accept((CAN_DO, b"f"), (grab,))
            machine.pass_time(4)
            peer.expect_end()
            until(lambda: worker.health().down)
            machine.pass_time(1)


def test_a_server_that_stops_answering_is_left(fake, other):
    """Its unanswered grab would keep the only thread from the other server for ever."""
    fake.answers = other.answers = False  # an answer to the option would count as a sign of life, whenever it is read
    machine = Machine()
    worker = make([fake.address, other.address], machine=machine)
    with AtWork(worker):
        peers = [server.accept((CAN_DO, b"f")) for server in (fake, other)]
        hung = who_speaks(*peers)
        hung.expect(GRAB)
        machine.pass_time(61)
        hung.expect_end()
        [good] = [peer for peer in peers if peer is not hung]
        good.expect(GRAB)


def test_a_server_that_hangs_after_a_job_is_missed_though_nothing_else_happens(fake):
    """The thread that ended the job has asked for the next one itself, and woke nobody."""
    gate = threading.Event()
    machine = Machine()
    with AtWork(make(fake, lambda job: gate.wait(WAIT) and None, machine=machine)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        machine.settle()
        rounds = machine.selector.rounds
        gate.set()
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
        assert machine.selector.rounds == rounds and machine.selector.waits == 60
        machine.pass_time(61)
        peer.expect_end()


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


def test_what_was_registered_during_an_outage_is_told_too(fake):
    worker = make(fake, random=lambda: 0.0)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        fake.listener.close()
        peer.close()
        until(lambda: worker.health().down)
        worker.register("g", bool, timeout=2)
        again = FakeServer(fake.port)
        try:
            again.accept((CAN_DO, b"f"), (CAN_DO_TIMEOUT, b"g", b"2000"), GRAB)
        finally:
            again.close()


def test_a_proxy_without_a_server_behind_it_is_not_called_connected(fake, caplog):
    """It accepts connections and hangs up; the log tells that once."""
    fake.answers = False
    caplog.set_level(logging.INFO, "gearman_std.worker")
    worker = make(fake, random=lambda: 0.0)
    with AtWork(worker):
        for _ in range(4):
            fake.accept(*HELLO).close()
        peer = fake.accept(*HELLO)
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
    lines = [record.getMessage().split(" ")[0] for record in caplog.records]
    assert lines[:4] == ["connected", fake.address, "connected", "leaving,"], lines


def test_a_sleeper_asks_unbidden_after_a_minute_and_so_finds_a_server_that_is_gone(fake):
    """A wake-up may be lost, and of a connection whose other half is gone nothing would be heard."""
    machine = Machine(random=lambda: 0.0)
    worker = make(fake, machine=machine)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
        machine.pass_time(59)
        machine.expect_silence(peer)
        machine.pass_time(1)
        peer.expect(GRAB)
        machine.pass_time(59)
        machine.expect_silence(peer)
        machine.pass_time(1)
        peer.expect_end()
        until(lambda: worker.health().down)
        machine.pass_time(1)
        fake.accept(*HELLO)


def test_a_result_that_did_not_wholly_leave_is_counted_as_lost(fake):
    worker = make(fake, lambda job: bytes(50000000), random=lambda: 0.0)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        until(lambda: worker.health().grabbed == 1 and not worker.health().running)
        assert (worker.health().lost, worker.health().completed) == (0, 0)
        peer.close()
        until(lambda: worker.health().lost == 1)
        fake.accept(*HELLO)
        assert worker.health().completed == 0


def test_a_slow_server_may_take_its_time_for_a_large_result(fake):
    """The next grab, which waits behind the result, is not missed as long as something moves."""
    machine = Machine()
    large = bytes(30000000)
    worker = make(fake, lambda job: large, machine=machine)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        until(lambda: worker.health().grabbed == 1 and not worker.health().running)
        data = b""
        while len(data) < 20000000:
            machine.now += 1
            data += peer.socket.recv(200000)
        peer.packets += peer.reader.feed(data)
        peer.expect((WORK_COMPLETE, b"H:1", large), GRAB)
        assert machine.now > 1100, "and that took longer than any answer may"
        until(lambda: worker.health().completed == 1)


def test_a_result_without_the_handle_of_a_job_is_nonsense(fake):
    with AtWork(make(fake)):
        fake.accept(*HELLO).assign(b"")
        fake.accept(*HELLO)


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


# --- Leaving.

def test_stop_finishes_what_runs(fake):
    gate = threading.Event()
    stopping = []

    def function(job):
        gate.wait(WAIT)
        stopping.append(job.stopping)
        return b"done"
    machine = Machine()
    worker = Worker(fake.address, threads=2, _system=machine)
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
        machine.expect_silence(peer)
        gate.set()
        peer.expect((WORK_COMPLETE, b"H:1", b"done"), (CANT_DO, b"f"))
        peer.expect_farewell()
        at_work.join()
    assert stopping == [True] and at_work.unfinished == 0


def test_leaving_waits_until_a_large_result_has_left(fake):
    large = bytes(30000000)
    machine = Machine()
    worker = make(fake, lambda job: large, machine=machine)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        until(lambda: worker.health().grabbed == 1 and not worker.health().running)
        worker.stop()
        machine.pass_time(30)
        peer.expect((WORK_COMPLETE, b"H:1", large), GRAB)
        peer.send((NO_JOB,))
        expect_leaving(peer, at_work)


def test_leaving_does_not_wait_long_for_a_server_that_hangs(fake):
    fake.answers = False
    machine = Machine()
    worker = make(fake, machine=machine)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        worker.stop()
        machine.pass_time(4)
        peer.expect_end()
        at_work.join()


def test_leaving_gives_a_server_that_has_answered_before_no_more_time_for_an_answer_than_a_new_one(fake):
    machine = Machine()
    worker = make(fake, machine=machine)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        peer.send((NO_JOB,), (NOOP,))
        peer.expect((PRE_SLEEP,), GRAB)
        machine.settle()
        assert machine.selector.waits == 60
        worker.stop()
        machine.settle()
        assert machine.selector.waits == 3
        peer.send((NO_JOB,))
        expect_leaving(peer, at_work)


def test_a_job_that_was_on_its_way_is_done(fake):
    machine = Machine()
    worker = make(fake, machine=machine)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        worker.stop()
        machine.settle()
        peer.assign(b"H:1", workload=b"x")
        peer.expect((WORK_COMPLETE, b"H:1", b"x"), (CANT_DO, b"f"))
        peer.expect_farewell()
        at_work.join()


def test_the_second_stop_leaves_at_once(fake, caplog):
    gate = threading.Event()
    abandoned = []
    machine = Machine()
    worker = Worker(fake.address, _system=machine)
    worker.register("f", lambda job: gate.wait(WAIT) and None, abandon=lambda: abandoned.append(1))
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        until(lambda: worker.health().running)
        worker.stop()
        machine.settle()
        worker.stop()
        at_work.join()
        peer.expect_end()
    gate.set()
    assert abandoned == [1] and at_work.unfinished == 1
    assert "left unfinished" in caplog.text


def test_grace_ends(fake):
    gate = threading.Event()
    machine = Machine()
    worker = make(fake, lambda job: gate.wait(WAIT) and None, grace=30, machine=machine)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        until(lambda: worker.health().running)
        worker.stop()
        machine.pass_time(29)
        machine.expect_silence(peer)
        machine.pass_time(2)
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
            expect_leaving(peer, at_work)
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
        expect_leaving(peer, at_work)
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
    machine = Machine(random=lambda: 0.5)
    worker = make(fake, max_age=100, splay=50, machine=machine)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        for seconds in (59, 59, 6):
            peer.send((NO_JOB,))
            peer.expect((PRE_SLEEP,))
            machine.pass_time(seconds)
            machine.expect_silence(peer)
            peer.send((NOOP,))
            peer.expect(GRAB)
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
        machine.pass_time(2)
        expect_leaving(peer, at_work)


def test_an_infinite_time_limit_is_none(fake):
    worker = Worker(fake.address)
    worker.register("f", lambda job: job.workload, timeout=float("inf"))
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)


@pytest.mark.parametrize("seconds", [30 * 86400.0, float("inf")])
def test_a_month_is_no_time_that_the_system_refuses_to_wait(fake, seconds):
    worker = make(fake, max_age=seconds)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
        worker.stop()
        expect_leaving(peer, at_work)


def test_watch_makes_it_leave(fake):
    changed = threading.Event()
    worker = make(fake, watch=changed.is_set)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
        changed.set()
        expect_leaving(peer, at_work)


SIGNALLED = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which it is not while coverage is measured
from gearman_std.worker.worker import Worker
worker = Worker(sys.argv[1])
@worker.function("f")
def f(job):
    end = time.monotonic() + float(job.text)
    while not job.stopping:
        time.sleep(0.01)
    job.send_data(b"told to stop")
    time.sleep(max(0.0, end - time.monotonic()))
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
        peer.assign(b"H:1", workload=b"60" if twice else b"0")
        process.send_signal(number)
        peer.expect((WORK_DATA, b"H:1", b"told to stop"))
        if twice:
            process.send_signal(number)
            peer.expect_end()
        else:
            peer.expect((WORK_COMPLETE, b"H:1", b"done"), (CANT_DO, b"f"))
            peer.expect_farewell()
        assert process.communicate(timeout=WAIT)[0] == b"left\n"
        assert process.returncode == 0


UNNOTICED = """
import signal, sys, threading, time
signal.signal(signal.SIGTERM, signal.SIG_DFL)
from gearman_std.worker.worker import Worker
worker = Worker(sys.argv[1])
@worker.function("f")
def f(job):
    while all(frame.f_code.co_name != "select" for frame in sys._current_frames().values()):
        time.sleep(0.001)  # the other thread is about to wait for the server, which nothing tells
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    end = time.monotonic() + 5
    while not job.stopping and time.monotonic() < end:
        time.sleep(0.01)
    return str(job.stopping)
worker.work()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_signal_that_interrupts_no_system_call_is_noticed_at_once(fake, processes):
    """As when it comes just before the call that waits, or to another thread than the one that runs signal handlers."""
    process = processes.start([sys.executable, "-c", UNNOTICED, fake.address])
    peer = fake.accept(*HELLO)
    peer.assign(b"H:1")
    peer.expect((WORK_COMPLETE, b"H:1", b"True"), (CANT_DO, b"f"))
    peer.expect_farewell()
    assert process.wait(WAIT) == 0


# --- One function stops no other.

def assign_large(peer, size, fields=(b"H:1", b"f", b"")):
    """The beginning of a job whose workload has that size."""
    head = b"\0".join(fields + (b"",))
    peer.socket.sendall(struct.pack(">4sII", b"\0RES", JOB_ASSIGN_UNIQ, len(head) + size) + head)


def test_a_workload_that_is_too_large_costs_its_job_alone(fake, caplog):
    size = (256 << 20) + 1
    zeros = bytes(1 << 20)
    with AtWork(make(fake, lambda job: job.workload)) as at_work:
        peer = fake.accept(*HELLO)
        assign_large(peer, size)
        for _ in range(256):
            peer.socket.sendall(zeros)
        peer.socket.sendall(b"\0" + pack_response(NOOP))
        peer.expect((WORK_EXCEPTION, b"H:1", b"the workload is larger than the worker takes"), GRAB)
        peer.assign(b"H:2", workload=b"next")
        peer.expect((WORK_COMPLETE, b"H:2", b"next"), GRAB)
        assert (at_work.worker.health().failed, at_work.worker.health().completed) == (1, 1)
    assert "H:1 of f from %s failed: its workload is larger" % fake.address in caplog.text


TOLD = (ERROR, b"ARGUMENT_TOO_LARGE", b"WORK_COMPLETE of 204 bytes, the limit is 200")


def test_what_a_server_finds_too_large_costs_its_job_alone(fake):
    """The server told the limit and closed the connection; the second time the job fails, whatever is too large about it."""
    def function(job):
        what, size = job.workload.split()
        if what == b"data":
            job.send_data(bytes(int(size)))
        elif what == b"warning":
            job.send_warning(bytes(int(size)))
        elif what == b"error":
            raise ValueError("x" * int(size))
        return bytes(int(size))
    worker = make(fake, function, random=lambda: 0.0)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1", workload=b"result 200")
        peer.expect((WORK_COMPLETE, b"H:1", bytes(200)), GRAB)
        peer.send(TOLD)
        peer.close()
        peer = fake.accept(*HELLO)
        for what, name in ((b"result", b"the result"), (b"data", b"a part of the result"), (b"warning", b"a warning")):
            peer.assign(b"H:1", workload=what + b" 197")
            peer.expect((WORK_EXCEPTION, b"H:1", name + b" of f has 197 bytes, but %s takes no more than 196"
                         % fake.address.encode()), GRAB)
        peer.assign(b"H:1", workload=b"error 197")
        peer.expect((WORK_EXCEPTION, b"H:1", b"x" * 196), GRAB)
        peer.assign(b"H:1", workload=b"result 196")
        peer.expect((WORK_COMPLETE, b"H:1", bytes(196)), GRAB)
        peer.close()
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1", workload=b"result 200")  # a server that begins anew may take more
        peer.expect((WORK_COMPLETE, b"H:1", bytes(200)), GRAB)
    assert worker.health().failed == 4


@pytest.mark.parametrize("size", [2000, 5000000])
def test_a_result_that_a_real_server_finds_too_large(size):
    """Of two attempts, and with a text of what was wrong, whether the server's answer came before all was sent or after."""
    attempts = []
    with JobServer(max_packet_size=1024) as server, server.client(job_timeout=WAIT) as client:
        server.start_worker({"f": lambda job: attempts.append(job.handle) or bytes(int(job.workload))})
        with pytest.raises(JobFailed) as caught:
            client.run("f", b"%d" % size)
        assert b"the result of f has %d bytes, but " % size in caught.value.exception
        assert len(attempts) == 2 and client.run("f", b"900") == bytes(900)


def test_a_packet_for_which_there_is_no_memory_costs_its_connection_alone(fake, caplog, monkeypatch):
    room, refused = PacketReader.room, []

    def scarce(reader):
        if not refused:
            refused.append(reader)
            raise MemoryError
        return room(reader)
    fake.answers = False
    worker = make(fake, random=lambda: 0.0)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        with monkeypatch.context() as patch:
            patch.setattr("gearman_std.worker.link.PacketReader.room", scarce)
            peer.assign(b"H:1")
            peer.expect_end()
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
    assert "%s sends more than there is memory for" % fake.address in caplog.text


def test_a_result_for_which_there_is_no_memory_costs_its_connection_alone(fake, caplog, monkeypatch):
    """And no thread, of which there may be only one."""
    def scarce(*_):
        raise MemoryError

    worker = make(fake, random=lambda: 0.0)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        with monkeypatch.context() as patch:
            patch.setattr(WorkerSession, "complete", scarce)
            peer.assign(b"H:1")
            peer.expect_end()
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
        assert worker.health().lost == 1
    assert "there is no memory to tell %s how a job ended" % fake.address in caplog.text


@pytest.mark.parametrize("point", ["put", "flush", "_next_pieces"])
def test_a_report_that_a_functions_own_time_limit_interrupts_costs_the_connection_and_no_byte_is_sent_twice(
        fake, caplog, monkeypatch, point):
    """The function catches what the handler of a signal has raised, and goes on."""
    class TimeIsUp(Exception):
        pass

    def late(function):
        def interrupted(*arguments):
            function(*arguments)
            monkeypatch.undo()
            raise TimeIsUp
        return interrupted

    def work(job):
        if job.workload == b"late":
            owner = connection if point == "_next_pieces" else connection.Connection
            monkeypatch.setattr(owner, point, late(getattr(owner, point)))
            with pytest.raises(TimeIsUp):
                job.send_data(b"part")
            job.send_data(b"more")
        return b"done"

    worker = make(fake, work, random=lambda: 0.0)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1", workload=b"late")
        if point == "flush":
            peer.expect((WORK_DATA, b"H:1", b"part"))
        peer.expect_end()
        peer = fake.accept(*HELLO)
        peer.assign(b"H:2")
        peer.expect((WORK_COMPLETE, b"H:2", b"done"), GRAB)
    assert "a report to %s was interrupted" % fake.address in caplog.text


def test_a_job_without_a_handle_that_is_too_large_is_nonsense(fake):
    with AtWork(make(fake, random=lambda: 0.0)):
        peer = fake.accept(*HELLO)
        assign_large(peer, 256 << 20, (b"no more than this",))
        try:
            for _ in range(257):
                peer.socket.sendall(bytes(1 << 20))
        except OSError:
            pass  # it is closed before the last bytes
        fake.accept(*HELLO)


# --- Functions that come and go.

def test_unregistering(fake):
    """What runs, or is on its way, is finished on the old connection; the other functions get another one."""
    gate = threading.Event()
    machine = Machine()
    worker = make(fake, lambda job: gate.wait(WAIT) and None, threads=2, machine=machine)
    worker.register("g", lambda job: b"g")
    with AtWork(worker):
        old = fake.accept((CAN_DO, b"f"), (CAN_DO, b"g"), GRAB)
        old.assign(b"H:1")
        old.expect(GRAB)
        worker.unregister("f")
        peer = fake.accept((CAN_DO, b"g"))
        old.assign(b"H:2", b"f")
        old.expect((CANT_DO, b"g"))
        machine.expect_silence(old)
        gate.set()
        assert {old.receive(), old.receive()} == {(WORK_COMPLETE, b"H:1", b""), (WORK_COMPLETE, b"H:2", b"")}
        old.expect((CANT_DO, b"f"))
        old.expect_end()
        peer.expect(GRAB)
        peer.assign(b"H:3", b"g")
        assert sorted(peer.receive() for _ in range(3)) == [(WORK_COMPLETE, b"H:3", b"g"), GRAB, GRAB]
        worker.register("f", lambda job: b"new")
        peer.expect((CAN_DO, b"f"))
        peer.assign(b"H:4")
        peer.expect((WORK_COMPLETE, b"H:4", b"new"), GRAB)
    with pytest.raises(ValueError, match="'h' is not registered"):
        worker.unregister("h")


def test_a_function_that_is_unregistered_alone_leaves_no_connection(fake):
    worker = make(fake)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
        worker.unregister("f")
        peer.send((NO_JOB,))
        peer.expect((CANT_DO, b"f"))
        peer.expect_end()
        worker.register("f", bool)
        fake.accept(*HELLO)

"""How a worker tries jobs again, and what waits for that holds up, against a scripted server."""
import threading

import pytest

from gearman_std.wire.protocol import (CAN_DO, CAN_DO_TIMEOUT, CANT_DO, NO_JOB, NOOP, PRE_SLEEP, WORK_COMPLETE,
                                       WORK_EXCEPTION)
from gearman_std.worker.held import HeldJobs
from gearman_std.worker.job import Ability, Retry
from gearman_std.worker.link import Lane
from gearman_std.worker.running import Run
from gearman_std.worker.worker import Worker

from patience import until
from worker_tools import AtWork, GRAB, HELLO, Machine, WAIT, expect_leaving, make, who_speaks


def test_retry_keeps_the_job_and_frees_the_thread(fake):
    machine = Machine()
    attempts = []

    def function(job):
        if job.workload == b"other":
            return b"done"
        attempts.append(job.attempt)
        if job.attempt < 3:
            raise Retry(after=20)
        return b"at last"
    worker = make(fake, function, machine=machine)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect(GRAB)
        assert worker.health().held == 1 and not worker.health().running
        peer.assign(b"H:2", workload=b"other")
        peer.expect((WORK_COMPLETE, b"H:2", b"done"), GRAB)
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
        machine.pass_time(21)
        until(lambda: attempts == [1, 2] and worker.health().held == 1)
        machine.now += 21
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


def test_a_job_that_waits_does_not_slow_others_down(fake):
    """Result and next grab still leave in one send."""
    def function(job):
        if job.workload == b"later":
            raise Retry(after=3600)
    with AtWork(make(fake, function)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1", workload=b"later")
        peer.expect(GRAB)
        for number in range(10):
            peer.chunks = []
            peer.assign(b"H:2")
            peer.expect((WORK_COMPLETE, b"H:2", b""), GRAB)
            assert len(peer.chunks) == 1


def test_no_retry_after_the_time_limit(fake, caplog):
    """The server takes the job away before that, so trying it again would be in vain."""
    machine = Machine()
    worker = Worker(fake.address, _system=machine)

    @worker.function("f", timeout=30)
    def function(job):
        if job.attempt == 1:
            raise Retry(after=1)
        raise Retry(after=31)
    with AtWork(worker):
        peer = fake.accept((CAN_DO_TIMEOUT, b"f", b"30000"), GRAB)
        peer.assign(b"H:1")
        peer.expect(GRAB)
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
        machine.pass_time(1)
        text = b"to be tried again after its time limit of 30 s"
        peer.expect((WORK_EXCEPTION, b"H:1", text))
        machine.pass_time(40)
    assert text.decode() in caplog.text and "still runs" not in caplog.text, "nothing is kept of a job that has ended"


def test_leaving_hands_back_what_waits_to_be_tried_again(fake):
    def function(job):
        raise Retry(after=3600)
    machine = Machine()
    worker = make(fake, function, machine=machine)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect(GRAB)
        worker.stop()
        machine.settle()
        peer.send((NO_JOB,))
        expect_leaving(peer, at_work)


def test_too_many_held_jobs_stop_the_grabbing(fake):
    """Else a function that always wants to try again later would empty the server's queue."""
    def function(job):
        raise Retry(after=3600)
    machine = Machine()
    worker = make(fake, function, machine=machine)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        for number in range(15):
            peer.assign(b"H:%d" % number)
            peer.expect(GRAB)
        peer.assign(b"H:16")
        until(lambda: worker.health().held == 16)
        machine.expect_silence(peer)


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


def wait_for_later(job):
    if job.attempt == 1:
        raise Retry(after=3600)


def test_a_function_that_holds_many_jobs_leaves_the_others_alone(fake, caplog):
    """Its connection grabs no more until its jobs have been tried again; the other functions get a connection of their own."""
    machine = Machine()
    worker = make(fake, wait_for_later, machine=machine)
    worker.register("g", lambda job: job.workload)
    with AtWork(worker):
        peer = fake.accept((CAN_DO, b"f"), (CAN_DO, b"g"), GRAB)
        for number in range(16):
            peer.assign(b"H:%d" % number)
            peer.expect((CANT_DO, b"g") if number == 15 else GRAB)
        other = fake.accept((CAN_DO, b"g"), GRAB)
        for number in range(3):
            other.assign(b"H:1%d" % number, b"g", b"x")
            other.expect((WORK_COMPLETE, b"H:1%d" % number, b"x"), GRAB)
        other.send((NO_JOB,))
        other.expect((PRE_SLEEP,))
        peer.send((NOOP,))
        machine.expect_silence(peer)
        assert worker.health().held == 16 and "16 jobs of f wait to be tried again" in caplog.text
        machine.pass_time(3601)
        peer.expect(*[(WORK_COMPLETE, b"H:%d" % number, b"") for number in range(16)])
        peer.expect(GRAB)
        assert worker.health().held == 0


def test_a_function_of_its_own_connection_that_holds_many_jobs_grabs_no_more(fake, other):
    """With no other function there is nothing to part, and another server's share of it is held back, too."""
    machine = Machine()
    worker = make([fake.address, other.address], wait_for_later, machine=machine)
    with AtWork(worker):
        peers = [server.accept((CAN_DO, b"f")) for server in (fake, other)]
        for number in range(16):
            peer = who_speaks(*peers)
            peer.expect(GRAB)
            peer.assign(b"H:%d" % number)
        until(lambda: worker.health().held == 16)
        machine.expect_silence(*peers)


def test_the_held_jobs_of_a_lost_server_make_room_for_others(fake):
    machine = Machine()
    worker = make(fake, wait_for_later, machine=machine)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        for number in range(16):
            peer.assign(b"H:%d" % number)
            if number < 15:
                peer.expect(GRAB)
        until(lambda: worker.health().held == 16)
        machine.expect_silence(peer)
        peer.close()
        until(lambda: worker.health().down)
        machine.pass_time(1)
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect(GRAB)


def test_a_retry_into_the_past_is_refused():
    with pytest.raises(ValueError):
        Retry(after=-1)


class Link:
    """As much of a connection as the held jobs look at."""

    def __init__(self):
        self.lane = Lane(None)


def make_run(link, function=b"f"):
    return Run(None, None, Ability(function, bool, None, None, None), link, 0.0)


def test_jobs_are_ready_in_the_order_of_their_times():
    held, link = HeldJobs(), Link()
    jobs = [make_run(link) for _ in range(3)]
    assert [held.hold(job, when) for job, when in zip(jobs, (5.0, 3.0, 9.0))] == [1, 2, 3]
    assert held.next_time() == 3.0 and not held.due(2.9) and held.due(3.0)
    assert held.count_ready(6.0) == 2 and held.due(0.0), "who is ready stays so"
    assert held.first_ready() is jobs[1]
    held.postpone()
    assert held.take() is jobs[0] and held.take() is jobs[1]
    assert len(held.runs) == 1 and held.next_time() == 9.0 and link.lane.held == {b"f": 1}
    assert repr(held) == "<HeldJobs: 1, 0 of them ready>"


@pytest.mark.parametrize("ready", [False, True])
def test_nothing_is_left_of_jobs_that_are_held_no_longer(ready):
    held, link, other = HeldJobs(), Link(), Link()
    jobs = [make_run(link), make_run(other), make_run(link, b"g")]
    for job in jobs:
        held.hold(job, 3.0)
    assert held.count_ready(3.0 if ready else 2.0) == (3 if ready else 0)
    held.forget(link)
    assert len(held.runs) == 1 and not link.lane.held and other.lane.held == {b"f": 1}
    assert held.clear() == [jobs[1]] and not held.runs and not other.lane.held
    assert held.next_time() is None and not held.due(100.0)


def test_a_job_that_is_to_be_tried_again_waits_for_its_functions_limit_and_holds_no_other_up(fake):
    """Its slot is there, but its function's only place is taken; a job of another function is tried again before it."""
    gate = threading.Event()
    machine = Machine()
    worker = Worker(fake.address, threads=3, _system=machine)

    @worker.function("one", limit=1)
    def one(job):
        if job.workload == b"again" and job.attempt == 1:
            raise Retry(after=1)
        assert job.workload == b"again" or gate.wait(WAIT)

    @worker.function("f")
    def f(job):
        if job.attempt == 1:
            raise Retry(after=2)
    with AtWork(worker):
        peers = {peer.receive()[1]: peer for peer in (fake.accept(), fake.accept())}
        limited, free = peers[b"one"], peers[b"f"]
        limited.expect(GRAB)
        free.expect(GRAB)
        limited.assign(b"H:1", b"one", b"again")
        limited.expect(GRAB)
        limited.assign(b"H:2", b"one", b"long")
        free.assign(b"H:3")
        free.expect(GRAB, GRAB)
        free.send((NO_JOB,), (NO_JOB,))
        free.expect((PRE_SLEEP,))
        until(lambda: (worker.health().held, len(worker.health().running)) == (2, 1))
        machine.pass_time(3)
        free.expect((WORK_COMPLETE, b"H:3", b""))
        machine.expect_silence(limited)
        gate.set()
        assert {limited.receive(), limited.receive()} == {(WORK_COMPLETE, b"H:2", b""), (WORK_COMPLETE, b"H:1", b"")}


def test_who_leaves_does_not_keep_a_job_to_try_it_again(fake):
    gate = threading.Event()

    def function(job):
        gate.wait(WAIT)
        raise Retry(after=1)
    machine = Machine()
    worker = make(fake, function, machine=machine)
    with AtWork(worker) as at_work:
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        until(lambda: worker.health().running)
        worker.stop()
        machine.settle()
        gate.set()
        expect_leaving(peer, at_work)
    assert (worker.health().retried, worker.health().failed) == (1, 0)

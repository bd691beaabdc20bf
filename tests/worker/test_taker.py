"""Taking jobs one by one, against a scripted server."""
import os
import threading

import pytest

from gearman_std.net.addresses import split_address
from gearman_std.net.connection import Deadline
from gearman_std.testing import JobServer
from gearman_std.client.client import Client
from gearman_std.wire.protocol import (CAN_DO, CANT_DO, NO_JOB, NOOP, PRE_SLEEP, SET_CLIENT_ID, WORK_COMPLETE, WORK_DATA,
                                       WORK_EXCEPTION, WORK_FAIL)
from gearman_std.worker.taker import Taker

from patience import until
from worker_tools import GRAB, WAIT, FakeServer, Machine, make

HELLO = (CAN_DO, b"f")


@pytest.fixture
def at(fake):
    """at(**options of a worker) returns a Taker that has begun, and the server's end of its connection."""
    takers = []

    def at(**options):
        machine = Machine()
        taker = Taker(make(fake, machine=machine, **options))
        taker.machine = machine
        takers.append(taker)
        taker.begin()
        return taker, fake.accept(HELLO)
    yield at
    for taker in takers:
        taker.close(at_once=True)


def given(taker, peer, handle=b"H:1", **fields):
    """The job that is given when somebody asks."""
    jobs = []
    thread = threading.Thread(target=lambda: jobs.append(taker.take(WAIT)))
    thread.start()
    peer.expect(GRAB)
    peer.assign(handle, **fields)
    thread.join(WAIT)
    return jobs[0]


def test_nothing_is_grabbed_before_somebody_asks_and_one_job_for_each(at):
    taker, peer = at()
    taker.machine.expect_silence(peer)
    assert taker.take(0.001) is None
    peer.expect(GRAB)
    assert taker.take(0.0) is None
    assert taker.take(0.001) is None
    taker.machine.expect_silence(peer)
    peer.assign(b"H:1", workload=b"one")
    job = taker.take(WAIT)
    assert (job.handle, job.workload) == (b"H:1", b"one")
    taker.machine.expect_silence(peer)
    assert taker.complete(job, "result")
    peer.expect((WORK_COMPLETE, b"H:1", b"result"))
    taker.machine.expect_silence(peer)
    assert taker.worker.health().completed == 1


def test_it_sleeps_and_is_woken(at):
    taker, peer = at()
    assert taker.take(0.001) is None
    peer.expect(GRAB)
    peer.send((NO_JOB,))
    peer.expect((PRE_SLEEP,))
    assert taker.take(0.001) is None
    taker.machine.expect_silence(peer)
    peer.send((NOOP,))
    peer.expect(GRAB)


def test_a_job_is_asked_for_however_long_it_takes_to_get_the_lock(at, monkeypatch):
    taker, peer = at()
    monkeypatch.setattr(Deadline, "left", lambda deadline: 0.0)
    assert taker.take(0.0) is None
    taker.machine.expect_silence(peer)
    assert taker.take(0.001) is None
    monkeypatch.undo()
    peer.expect(GRAB)


def test_a_job_ends_once(at):
    taker, peer = at()
    job = given(taker, peer)
    job.send_data(b"part")
    assert taker.exception(job, "broken")
    assert not taker.complete(job, b"late") and not taker.fail(job)
    job.send_data(b"late")
    peer.expect((WORK_DATA, b"H:1", b"part"), (WORK_EXCEPTION, b"H:1", b"broken"))
    taker.machine.expect_silence(peer)
    health = taker.worker.health()
    assert (health.failed, health.completed) == (1, 0)


def test_fail_tells_the_server(at):
    taker, peer = at()
    assert taker.fail(given(taker, peer))
    peer.expect((WORK_FAIL, b"H:1"))


def test_closing_lets_a_job_that_was_taken_end_and_hands_the_others_back(at):
    taker, peer = at()
    job = given(taker, peer)
    assert taker.take(0.001) is None  # one more is wanted,
    peer.expect(GRAB)
    peer.assign(b"H:2")              # and comes when nobody waits any more
    until(lambda: len(taker.worker.health().running) == 2)
    closing = threading.Thread(target=taker.close)
    closing.start()
    until(lambda: taker.leaving)
    assert taker.take(WAIT) is None
    taker.machine.expect_silence(peer)
    taker.complete(job, b"")
    peer.expect((WORK_COMPLETE, b"H:1", b""), (CANT_DO, b"f"))
    peer.expect_farewell()
    closing.join(WAIT)
    assert not closing.is_alive()
    assert not taker.complete(job, b"")


def test_closing_does_not_wait_long_for_a_server_that_does_not_answer(at):
    taker, peer = at()
    taker.complete(given(taker, peer), b"")  # it is known that this server understands how it is asked,
    peer.expect((WORK_COMPLETE, b"H:1", b""))
    assert taker.take(0.001) is None
    peer.expect(GRAB)                      # and now it says nothing more
    closing = threading.Thread(target=taker.close)
    closing.start()
    until(lambda: taker.leaving)
    taker.machine.pass_time(2)
    assert closing.is_alive() and taker.machine.selector.waits == 1
    taker.machine.pass_time(1)
    closing.join(WAIT)
    assert not closing.is_alive()


def test_a_job_whose_server_is_lost_is_not_given_and_nobody_wants_its_end(at):
    taker, peer = at()
    job = given(taker, peer)
    news = taker.news
    peer.close()
    assert taker.take(WAIT, news) is None
    assert job.lost and not taker.complete(job, b"")
    assert taker.worker.health().lost == 1


def test_who_waits_is_told_when_servers_come_and_go(fake, at):
    taker, peer = at()
    address = split_address(fake.address)
    until(lambda: taker.trouble(address) == "")
    assert taker.trouble(("elsewhere", 1)) is None
    news = taker.news
    peer.close()
    assert taker.take(WAIT, news) is None
    until(lambda: taker.trouble(address))
    assert fake.address in taker.trouble(address)


def test_a_server_that_is_not_there_is_told_with_the_reason():
    gone = FakeServer()
    gone.close()
    taker = Taker(make(gone))
    taker.begin()
    try:
        until(lambda: taker.trouble(split_address(gone.address)))
        assert "refused" in taker.trouble(split_address(gone.address)).lower()
    finally:
        taker.close(at_once=True)


def test_functions_and_the_client_id_may_change_while_it_works(at):
    taker, peer = at()
    taker.worker.register("g", len)
    peer.expect((CAN_DO, b"g"))
    taker.change_client_id(b"me")
    peer.expect((SET_CLIENT_ID, b"me"))
    assert taker.worker.client_id == b"me"


def test_it_is_connected_also_without_a_function(fake, at):
    taker, peer = at()
    taker.worker.unregister("f")
    peer.expect((CANT_DO, b"f"))
    peer.expect_end()
    assert fake.accept()


def test_many_takers_share_what_there_is():
    with JobServer() as server, Client([server.address]) as client:
        worker = make([server.address], name="double")
        taker = Taker(worker)
        taker.begin()
        seen = []

        def run():
            while True:
                job = taker.take()
                if job is None:
                    return
                seen.append(threading.get_ident())
                taker.complete(job, job.workload * 2)
        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert list(client.map("double", [b"%d" % number for number in range(100)], timeout=WAIT)) == [
            b"%d" % number * 2 for number in range(100)]
        taker.close()
        for thread in threads:
            thread.join(WAIT)
            assert not thread.is_alive()
        assert len(seen) == 100 and worker.health().completed == 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_in_a_child_of_a_fork_there_is_nothing_to_be_taken(at):
    taker, peer = at()
    job = given(taker, peer)
    child = os.fork()
    if not child:
        try:
            os._exit(3 if taker.take(0.001) is None and not taker.complete(job, b"child's") else 4)
        finally:
            os._exit(5)
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 3
    assert taker.complete(job, b"parent's")
    peer.expect((WORK_COMPLETE, b"H:1", b"parent's"))

"""python-gearman's worker, against a real server, and against one that the test plays."""
import logging
import os
import pickle
import signal
import socket
import threading
import time

import pytest

from gearman_std.legacy import DataEncoder, GearmanClient, GearmanJob, GearmanWorker, errors
from gearman_std.testing import JobServer
from gearman_std.wire.protocol import (CAN_DO, CANT_DO, ECHO_REQ, GRAB_JOB_ALL, NO_JOB, PRE_SLEEP, SET_CLIENT_ID,
                                       WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL, WORK_STATUS, WORK_WARNING)

from worker_tools import WAIT, AtWork


@pytest.fixture(autouse=True)
def short_farewell(monkeypatch):
    """Servers that tests play do not answer a worker's last echo, so let it not wait for that."""
    monkeypatch.setattr("gearman_std.worker.departure.FAREWELL_TIMEOUT", 0.05)


def answer(peer, *packets):
    """Play the server for one connection: answer grabs with these, each a packet or None for no job."""
    for packet in packets:
        peer.expect((GRAB_JOB_ALL,))
        if packet is None:
            peer.send((NO_JOB,))
            peer.expect((PRE_SLEEP,))
        else:
            peer.assign(*packet)


class Hooked(GearmanWorker):
    """Notes which hooks are called, and leaves after some jobs."""

    def __init__(self, *arguments, jobs=1, **options):
        super().__init__(*arguments, **options)
        self.calls = []
        self.jobs = jobs

    def create_job(self, command_handler, job_handle, task, unique, data):
        job = super().create_job(command_handler, job_handle, task, unique, data)
        self.calls.append(("create_job", job_handle, task, unique, data))
        return job

    def on_job_execute(self, current_job):
        self.calls.append("on_job_execute")
        return super().on_job_execute(current_job)

    def on_job_exception(self, current_job, exc_info):
        self.calls.append(("on_job_exception", exc_info[0], str(exc_info[1]), exc_info[2] is not None))
        return super().on_job_exception(current_job, exc_info)

    def on_job_complete(self, current_job, job_result):
        self.calls.append(("on_job_complete", job_result))
        return super().on_job_complete(current_job, job_result)

    def after_poll(self, any_activity):
        self.calls.append(("after_poll", any_activity))
        return True

    def after_job(self):
        self.calls.append("after_job")
        self.jobs -= 1
        return self.jobs > 0


# --- Hooks.

def test_all_hooks_are_called_in_their_order(fake):
    worker = Hooked([fake.address], jobs=2)
    worker.register_task("f", lambda worker, job: 1 / 0 if job.data == b"bad" else job.data[::-1])
    with AtWork(worker, poll_timeout=WAIT) as at_work:
        peer = fake.accept((CAN_DO, b"f"))
        answer(peer, (b"H:1", b"f", b"ab", b"u"))
        peer.expect((WORK_COMPLETE, b"H:1", b"ba"))
        answer(peer, (b"H:2", b"f", b"bad"))
        peer.expect((WORK_FAIL, b"H:2"))
        at_work.join()
    assert worker.calls == [
        ("after_poll", False), ("create_job", b"H:1", b"f", b"u", b"ab"), "on_job_execute", ("on_job_complete", b"ba"),
        ("after_poll", True), "after_job", ("create_job", b"H:2", b"f", b"", b"bad"), "on_job_execute",
        ("on_job_exception", ZeroDivisionError, "division by zero", True), ("after_poll", True), "after_job"]


def test_no_job_is_grabbed_before_the_hooks_have_said_go_on(fake):
    worker = Hooked([fake.address], jobs=1)
    worker.register_task("f", lambda worker, job: b"")
    with AtWork(worker) as at_work:
        peer = fake.accept((CAN_DO, b"f"))
        answer(peer, (b"H:1",))
        at_work.join()
        peer.expect((WORK_COMPLETE, b"H:1", b""), (CANT_DO, b"f"), (ECHO_REQ, b"bye"))
        peer.expect_end()


def test_after_poll_is_called_each_poll_timeout_and_ends_the_work(server):
    class Counting(GearmanWorker):
        count = 0

        def after_poll(self, any_activity):
            self.count += 1
            return self.count < 4
    worker = Counting([server])
    worker.register_task("never", lambda worker, job: b"")
    worker.work(poll_timeout=0.01)
    assert worker.count == 4


def test_functions_and_hooks_run_in_the_thread_that_called_work(fake):
    threads = set()

    class Watched(GearmanWorker):
        def after_poll(self, any_activity):
            threads.add(threading.current_thread())
            return True

        def after_job(self):
            return False
    worker = Watched([fake.address])
    worker.register_task("f", lambda worker, job: threads.add(threading.current_thread()) or b"")
    with AtWork(worker) as at_work:
        answer(fake.accept((CAN_DO, b"f")), (b"H:1",))
        at_work.join()
        assert threads == {at_work.thread}


def test_with_threads_functions_run_in_so_many_at_a_time(server):
    barrier = threading.Barrier(3)
    worker = GearmanWorker([server], threads=3)
    worker.register_task("together", lambda worker, job: b"%d" % barrier.wait(WAIT))
    with AtWork(worker, poll_timeout=0.5):
        client = GearmanClient([server])
        requests = client.submit_multiple_jobs([{"task": "together", "data": ""} for _ in range(3)])
        assert sorted(request.result for request in requests) == [b"0", b"1", b"2"]
        client.shutdown()


@pytest.mark.parametrize("threads", [None, 2])
def test_what_a_hook_raises_comes_out_of_work(server, threads):
    class Broken(GearmanWorker):
        def on_job_complete(self, current_job, job_result):
            raise RuntimeError("of the hook")
    worker = Broken([server], threads=threads)
    worker.register_task("hook%s" % threads, lambda worker, job: b"")
    client = GearmanClient([server])
    client.submit_job("hook%s" % threads, "", background=True)
    with pytest.raises(RuntimeError, match="of the hook"):
        worker.work(poll_timeout=WAIT)
    client.shutdown()


def test_an_encoder_that_does_not_take_a_job_fails_it_and_the_worker_goes_on(fake):
    class Pickled(DataEncoder):
        encode, decode = staticmethod(pickle.dumps), staticmethod(pickle.loads)
    worker = Hooked([fake.address], jobs=2)
    worker.data_encoder = Pickled
    worker.register_task("f", lambda worker, job: sum(job.data))
    with AtWork(worker) as at_work:
        peer = fake.accept((CAN_DO, b"f"))
        answer(peer, (b"H:1", b"f", b"no pickle"))
        peer.expect((WORK_FAIL, b"H:1"))
        answer(peer, (b"H:2", b"f", pickle.dumps([1, 2])))
        assert peer.receive() == (WORK_COMPLETE, b"H:2", pickle.dumps(3))
        at_work.join()
    assert [call[0] for call in worker.calls if call[0] in ("on_job_exception", "on_job_complete")] == [
        "on_job_exception", "on_job_complete"]


# --- What is sent.

def test_everything_about_a_job_is_sent_at_once(fake):
    def work(worker, job):
        worker.send_job_status(job, 1, 2)
        peer.expect((WORK_STATUS, b"H:1", b"1", b"2"))
        worker.send_job_data(job, "d\xe9")
        peer.expect((WORK_DATA, b"H:1", "d\xe9".encode()))
        worker.send_job_warning(job, b"w", poll_timeout=1)
        peer.expect((WORK_WARNING, b"H:1", b"w"))
        worker.send_job_exception(job, "why")
        peer.expect((WORK_EXCEPTION, b"H:1", b"why"))
        return b"late"  # which is of no use any more
    worker = Hooked([fake.address])
    worker.register_task("f", work)
    with AtWork(worker) as at_work:
        peer = fake.accept((CAN_DO, b"f"))
        answer(peer, (b"H:1",))
        at_work.join()
    assert worker.calls[-3:] == [("on_job_complete", b"late"), ("after_poll", True), "after_job"]


def test_a_function_that_returns_nothing_completes_its_job(fake):
    worker = Hooked([fake.address])
    worker.register_task("f", lambda worker, job: None)
    with AtWork(worker) as at_work:
        peer = fake.accept((CAN_DO, b"f"))
        answer(peer, (b"H:1",))
        peer.expect((WORK_COMPLETE, b"H:1", b""))
        at_work.join()


def test_what_cannot_be_sent_is_told(fake):
    told = []

    def work(worker, job):
        for send, data, kind in ((worker.send_job_status, (1, "x"), AssertionError), (worker.send_job_data, (7,), TypeError),
                                 (worker.send_job_complete, (7,), TypeError)):
            try:
                send(job, *data)
            except kind as error:
                told.append(str(error))
        return b""
    worker = Hooked([fake.address])
    worker.register_task("f", work)
    with AtWork(worker) as at_work:
        peer = fake.accept((CAN_DO, b"f"))
        answer(peer, (b"H:1",))
        peer.expect((WORK_COMPLETE, b"H:1", b""))
        at_work.join()
    assert len(told) == 3 and "two numbers" in told[0] and "Expecting byte string" in told[1]


@pytest.mark.parametrize("text", [False, True])
def test_names_are_found_as_text_and_as_bytes(server, text):
    seen = []

    class Worker(GearmanWorker):
        def on_job_execute(self, current_job):
            seen.append((type(current_job.task), type(current_job.data), type(current_job.handle), type(current_job.unique)))
            self.send_job_complete(current_job, self.worker_abilities[current_job.task](self, current_job))
    worker = Worker([server])
    worker.text = text
    names = ["name-\xe9-%s" % text, ("bytes-%s" % text).encode()]
    for name in names:
        assert worker.register_task(name, lambda worker, job: job.data) == name
    with AtWork(worker):
        client = GearmanClient([server])
        for name in names:
            assert client.submit_job(name, "\xe9" * 70).result == ("\xe9" * 70).encode()
        client.shutdown()
    assert seen == [(str,) * 4 if text else (bytes,) * 4] * 2


# --- Registering.

def test_names_and_the_client_id_may_change_while_it_works(fake):
    worker = GearmanWorker([fake.address])
    worker.register_task("f", lambda worker, job: b"")
    worker.set_client_id("me")
    with AtWork(worker, poll_timeout=WAIT):
        peer = fake.accept((SET_CLIENT_ID, b"me"), (CAN_DO, b"f"), (GRAB_JOB_ALL,))
        worker.register_task("g", lambda worker, job: b"")
        peer.expect((CAN_DO, b"g"))
        worker.register_task("g", lambda worker, job: b"another")
        worker.set_client_id(b"you")
        peer.expect((SET_CLIENT_ID, b"you"))
        peer.send((NO_JOB,))
        peer.expect((PRE_SLEEP,))
        assert worker.unregister_task("g") == "g"
        assert worker.unregister_task("unknown") == "unknown"
        assert list(worker.worker_abilities) == ["f"]


def test_a_name_that_a_packet_cannot_carry_is_told(server):
    worker = GearmanWorker([server])
    worker.register_task("a\0b", lambda worker, job: b"")
    with pytest.raises(errors.ProtocolError, match="no function can be registered as"):
        worker.work()


# --- Servers.

def nowhere():
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))  # and does not listen
    return taken, "127.0.0.1:%d" % taken.getsockname()[1]


def test_no_server_is_told_with_address_and_reason():
    taken, address = nowhere()
    worker = GearmanWorker([address])
    worker.register_task("f", lambda worker, job: b"")
    for _ in range(2):
        with pytest.raises(errors.ServerUnavailable, match="Found no valid connections in list.*%s: .*refused" % address):
            worker.work()
    with pytest.raises(errors.ConnectionError, match="refused"):
        worker.establish_connection(worker.connection_list[0])
    worker.shutdown()
    with pytest.raises(errors.ServerUnavailable, match="no server was given"):
        GearmanWorker().work()
    taken.close()


def test_a_server_that_is_lost_is_told_and_a_hook_is_called(fake):
    broken = []

    class Worker(GearmanWorker):
        def handle_error(self, current_connection):
            broken.append(current_connection)
            super().handle_error(current_connection)
    worker = Worker([fake.address])
    worker.register_task("f", lambda worker, job: b"")
    with AtWork(worker, poll_timeout=WAIT) as at_work:
        fake.accept((CAN_DO, b"f"), (GRAB_JOB_ALL,)).close()
        with pytest.raises(errors.ServerUnavailable):
            at_work.join()
        assert broken == worker.connection_list


def test_with_reconnect_it_works_again_when_the_server_is_back(fake, capsys):
    worker = Hooked([fake.address])
    worker.register_task("f", lambda worker, job: b"")
    with AtWork(worker, poll_timeout=WAIT, reconnect=True) as at_work:
        fake.accept((CAN_DO, b"f"), (GRAB_JOB_ALL,)).close()
        peer = fake.accept((CAN_DO, b"f"))
        answer(peer, (b"H:1",))
        peer.expect((WORK_COMPLETE, b"H:1", b""))
        at_work.join()
    assert capsys.readouterr().err.count("they are tried again until one answers") <= 1


def test_establish_connection_is_called_for_every_server_and_the_others_do(server):
    taken, address = nowhere()
    asked = []

    class Worker(Hooked):
        def establish_connection(self, current_connection):
            asked.append(current_connection)
            return super().establish_connection(current_connection)
    worker = Worker([address, server])
    worker.register_task("one_of_two", lambda worker, job: b"done")
    with AtWork(worker) as at_work:
        client = GearmanClient([server])
        assert client.submit_job("one_of_two", "").result == b"done"
        client.shutdown()
        at_work.join()
    assert set(asked) == set(worker.connection_list)
    taken.close()


def test_jobs_of_all_servers_are_done(server):
    with JobServer() as other:
        worker = GearmanWorker([server, other.address])
        worker.register_task("both", lambda worker, job: b"%d" % job.connection.gearman_port)
        with AtWork(worker, poll_timeout=WAIT):
            for address in (server, other.address):
                client = GearmanClient([address])
                assert client.submit_job("both", "").result == b"%d" % address[1]
                client.shutdown()


# --- Leaving.

def test_shutdown_within_a_function_lets_the_job_end(server):
    worker = GearmanWorker([server])
    worker.register_task("quit", lambda worker, job: worker.shutdown() or b"bye")
    client = GearmanClient([server])
    with AtWork(worker, poll_timeout=WAIT) as at_work:
        assert client.submit_job("quit", "").result == b"bye"
        at_work.join()
    assert client.submit_job("quit", "", poll_timeout=0.05).timed_out
    client.shutdown()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no timers for signals")
def test_shutdown_by_a_signal_ends_the_work_and_what_a_handler_raises_comes_out(server):
    worker = GearmanWorker([server])
    worker.register_task("idle", lambda worker, job: b"")

    def stop(number, frame):
        worker.shutdown()

    def interrupt(number, frame):
        raise KeyboardInterrupt
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        worker.work(poll_timeout=WAIT)
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            worker.work(poll_timeout=WAIT)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_job_may_be_ended_later(fake):
    class Later(GearmanWorker):
        waiting = []

        def on_job_execute(self, current_job):
            self.waiting.append(current_job)
            return True

        def after_job(self):
            self.send_job_complete(self.waiting.pop(), "later")
            return False
    worker = Later([fake.address])
    worker.register_task("f", lambda worker, job: b"")
    with AtWork(worker) as at_work:
        peer = fake.accept((CAN_DO, b"f"))
        answer(peer, (b"H:1",))
        peer.expect((WORK_COMPLETE, b"H:1", b"later"))
        at_work.join()


def test_job_class_is_what_functions_get(fake):
    class Job(GearmanJob):
        @property
        def words(self):
            return self.data.split()

    class Worker(Hooked):
        job_class = Job
    worker = Worker([fake.address])
    worker.register_task("f", lambda worker, job: b"%d" % len(job.words))
    with AtWork(worker) as at_work:
        peer = fake.accept((CAN_DO, b"f"))
        answer(peer, (b"H:1", b"f", b"a b c"))
        peer.expect((WORK_COMPLETE, b"H:1", b"3"))
        at_work.join()


def test_without_logging_a_kind_of_failure_has_its_traceback_once(fake, capsys, monkeypatch):
    monkeypatch.setattr("gearman_std.worker.guard._has_handler", lambda logger: False)
    worker = Hooked([fake.address], jobs=4)
    worker.register_task("f", lambda worker, job: 1 / 0)
    with AtWork(worker) as at_work:
        peer = fake.accept((CAN_DO, b"f"))
        for number in range(4):
            answer(peer, (b"H:%d" % number, b"f", b""))
            peer.expect((WORK_FAIL, b"H:%d" % number))
        at_work.join()
    told = capsys.readouterr().err
    assert told.count("Traceback") == 1 and told.count("the function b'f' failed 2 more times with ZeroDivisionError") == 1
    assert told.count("failed again, as 1 did before (ZeroDivisionError, %s, line" % __file__) == 1
    worker.on_job_exception(GearmanJob(None, b"H:9", b"f", b"", b""), (None, None, None))  # as a script's own hook may


def test_exceptions_of_functions_are_logged(fake, caplog):
    worker = Hooked([fake.address])
    worker.register_task("f", lambda worker, job: 1 / 0)
    with AtWork(worker) as at_work:
        answer(fake.accept((CAN_DO, b"f")), (b"H:1",))
        at_work.join()
    [record] = [record for record in caplog.records if "failed" in record.getMessage()]
    assert record.getMessage() == "the job b'H:1' of b'f' failed" and record.exc_info[0] is ZeroDivisionError


def test_a_child_that_a_function_forks_is_told_that_the_job_is_its_parents(fake):
    heard, told = os.pipe()

    def fork(worker, job):
        child = os.fork()
        if child == 0:
            handler = logging.Handler()
            handler.emit = lambda record: os.write(told, record.getMessage().encode() + b"\n")
            logging.getLogger("gearman_std.legacy").addHandler(handler)
            worker.send_job_status(job, 1, 2)
            worker.send_job_complete(job, b"of the child")
            os._exit(0)
        os.waitpid(child, 0)
        return b"of the parent"
    worker = Hooked([fake.address])
    worker.register_task("f", fork)
    with AtWork(worker) as at_work:
        peer = fake.accept((CAN_DO, b"f"))
        answer(peer, (b"H:1",))
        peer.expect((WORK_COMPLETE, b"H:1", b"of the parent"))
        at_work.join()
    os.close(told)
    with open(heard, "rb") as pipe:
        assert pipe.read() == 2 * (b"the job b'H:1' of b'f' belongs to the parent of this process; nothing is sent "
                                   b"about it from here\n")


def test_with_threads_the_hooks_are_called_after_each_job_though_several_have_ended(server, client):
    told = []

    class Slow(Hooked):
        def after_poll(self, any_activity):
            deadline = time.monotonic() + WAIT
            while not any_activity and len(self._ended) < 3 and time.monotonic() < deadline:
                time.sleep(0.001)  # as a hook that takes long
            return super().after_poll(any_activity)

        def after_job(self):
            told.append("job")
            return len(told) < 3
    worker = Slow([server], threads=3)
    worker.register_task("several", lambda worker, job: b"")
    client.submit_multiple_jobs([{"task": "several", "data": ""} for _ in range(3)], background=True)
    with AtWork(worker, poll_timeout=WAIT) as at_work:
        at_work.join()
    assert told == ["job"] * 3


@pytest.mark.parametrize("threads, error", [(0, ValueError), (-1, ValueError), (2.5, TypeError), ("x", TypeError)])
def test_a_number_of_threads_that_is_none_is_refused(threads, error):
    with pytest.raises(error, match="threads"):
        GearmanWorker(["localhost"], threads=threads)

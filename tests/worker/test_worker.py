"""The worker as a program sees it, against a scripted server and real ones."""
import collections
import os
import socket
import sys
import threading

import pytest

from gearman_std.client.client import Client
from gearman_std.net.connection import open_connection
from gearman_std.errors import JobFailed
from gearman_std.wire.protocol import (CAN_DO, CAN_DO_TIMEOUT, CANT_DO, NOOP, NO_JOB, PRE_SLEEP, SET_CLIENT_ID, WORK_COMPLETE,
                                       WORK_EXCEPTION)
from gearman_std.worker.worker import Worker
from gearman_std.worker.job import Retry

from patience import until
from worker_tools import AtWork, GRAB, HELLO, Machine, WAIT, make


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
    machine = Machine()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        down = "127.0.0.1:%d" % probe.getsockname()[1]
    worker = make([fake.address, down], lambda job: gate.wait(WAIT) and None, machine=machine)
    assert worker.health() == ((), (), (), 0, 0, 0, 0, 0, 0, 0)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        until(lambda: worker.health().running)
        machine.now += 5
        health = worker.health()
        assert (health.connected, health.down) == ((fake.address,), (down,))
        assert health.running == ((b"f", b"H:1", fake.address, 5.0),) and health.grabbed == 1
        gate.set()
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
        assert worker.health().completed == 1
    assert worker.health().completed == 1


def test_a_job_that_exceeds_its_time_limit_is_noticed_in_the_log(fake, caplog):
    gate = threading.Event()
    machine = Machine()
    worker = Worker(fake.address, _system=machine)
    worker.register("f", lambda job: gate.wait(WAIT) and None, timeout=5)
    with AtWork(worker):
        peer = fake.accept((CAN_DO_TIMEOUT, b"f", b"5000"), GRAB)
        peer.assign(b"H:1")
        until(lambda: worker.health().running)
        machine.pass_time(6)
        assert "still runs after its time limit of 5 s" in caplog.text
        gate.set()
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
    assert caplog.text.count("still runs") == 1


def test_bad_arguments():
    worker = Worker("localhost")
    for name in ("", "a\0b", "x" * 9000):
        with pytest.raises(ValueError):
            worker.register(name, bool)
    with pytest.raises(TypeError):
        worker.register("f", "not callable")
    for options in ({"limit": 0}, {"timeout": 0}):
        with pytest.raises(ValueError):
            worker.register("f", bool, **options)
    with pytest.raises(TypeError, match="limit is 1.5"):
        worker.register("f", bool, limit=1.5)
    with pytest.raises(ValueError):
        worker.hook("sometimes", bool)
    with pytest.raises(ValueError, match="no function"):
        worker.work()
    worker.register("f", bool)
    with pytest.raises(ValueError, match="registered already"):
        worker.register("f", bool)
    assert repr(worker) == "<Worker of f at localhost:4730, 1 threads>"


def test_a_decorator_without_its_name_is_refused():
    """It would have registered nothing."""
    worker = Worker("localhost")
    with pytest.raises(TypeError, match=r"@worker.function\('resize'\)"):
        @worker.function
        def resize(job):
            return b""
    with pytest.raises(TypeError, match=r'@worker.hook\("error"\)'):
        @worker.hook
        def error(job, error):
            return None
    for name in ("", b"a\0b", 5):
        with pytest.raises((TypeError, ValueError)):
            worker.function(name)
    assert worker.abilities == {} and not any(worker.hooks.values())


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

    class Context:
        wrap_socket = None

    with AtWork(make(fake, tls=Context, connect_timeout=3.0, connect=connect)):
        fake.accept(*HELLO)
    assert seen == [(("127.0.0.1", fake.port), 3.0, Context)]


def test_a_worker_that_cannot_have_its_threads_says_so_and_leaves_none(fake, monkeypatch):
    start = threading.Thread.start
    started = []

    def start_three(thread):
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)
    monkeypatch.setattr(threading.Thread, "start", start_three)
    worker = make(fake, lambda job: None, threads=50)
    with pytest.raises(OSError) as caught:
        worker.work()
    assert "there may be no more threads" in str(caught.value)
    assert len(started) == 3 and not any(thread.is_alive() for thread in started)


BROKEN = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which it is not while coverage is measured
from gearman_std import Worker
worker = Worker(sys.argv[1])
read, write = os.pipe()
os.close(read)
for stream in (1, 2):
    os.dup2(write, stream)
@worker.function("f")
def f(job):
    if job.workload:
        print("a line", file=getattr(sys, job.text), flush=True)
    return b"fine"
worker.work()
os._exit(7)
"""


@pytest.mark.skipif(os.name != "posix", reason="about pipes")
def test_standard_output_and_error_that_nobody_reads(fake, processes):
    """What fails is the function that prints, and nothing else; nor does it matter that nobody can be told of that."""
    process = processes.start([sys.executable, "-c", BROKEN, fake.address])
    peer = fake.accept(*HELLO)
    for number in range(3):
        for name in (b"stdout", b"stderr"):
            peer.assign(b"H:%d" % number, workload=name)
            peer.expect((WORK_EXCEPTION, b"H:%d" % number, b"[Errno 32] Broken pipe"), GRAB)
        peer.assign(b"H:4")
        peer.expect((WORK_COMPLETE, b"H:4", b"fine"), GRAB)
    peer.send((NO_JOB,))
    peer.expect((PRE_SLEEP,))
    process.terminate()
    peer.expect((CANT_DO, b"f"))
    peer.expect_farewell()
    assert process.wait(WAIT) == 7

"""Children of forks in a worker's functions and hooks: whatever they do, the job is their parent's."""
import os
import signal
import sys

import pytest

from gearman_std.wire.protocol import WORK_COMPLETE
from gearman_std.testing import ImmediateClient, JobServer

from worker_tools import AtWork, GRAB, HELLO, make

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def status_of(child):
    """How a child has ended: its status, or minus the signal."""
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


def raise_error(error):
    raise error


ENDS = {
    "returns": (lambda job: b"the child's", 0),
    "exits": (lambda job: sys.exit(), 0),
    "exits with a status": (lambda job: sys.exit(7), 7),
    "exits with a text": (lambda job: sys.exit("enough"), 1),
    "raises": (lambda job: 1 // 0, 1),
    "is interrupted": (lambda job: raise_error(KeyboardInterrupt()), 1),
    "ends at once": (lambda job: os._exit(9), 9),
    "is killed": (lambda job: os.kill(os.getpid(), signal.SIGKILL), -9),
    "is another program": (lambda job: os.execv(sys.executable, [sys.executable, "-c", "raise SystemExit(5)"]), 5),
    "speaks of the job": (lambda job: [job.send_data(b"x"), job.send_status(1, 2), job.send_warning(b"x")] and None, 0),
}


@pytest.mark.parametrize("end", sorted(ENDS))
def test_a_child_that_ends_says_nothing_of_its_parents_job(fake, capfd, end):
    act, expected = ENDS[end]

    def function(job):
        child = os.fork()
        return act(job) if child == 0 else b"%d" % status_of(child)
    with AtWork(make(fake, function)):
        peer = fake.accept(*HELLO)
        for number in range(2):
            peer.assign(b"H:%d" % number)
            peer.expect((WORK_COMPLETE, b"H:%d" % number, b"%d" % expected), GRAB)
    said = capfd.readouterr().err
    assert ("ZeroDivisionError" in said) == (end == "raises") and ("enough" in said) == (end == "exits with a text")


@pytest.mark.parametrize("name", ["before", "after", "error"])
@pytest.mark.parametrize("end", ["returns", "exits with a status", "raises"])
def test_a_child_of_a_hook(fake, name, end):
    act, expected = ENDS[end]
    ends = []
    worker = make(fake, lambda job: 1 // 0 if name == "error" else b"done")

    @worker.hook(name)
    def hook(job, *_):
        child = os.fork()
        if child == 0:
            act(job)
        else:
            ends.append(status_of(child))
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.receive()
        peer.expect(GRAB)
    assert ends == [expected]


def test_a_child_of_the_thread_that_waits_for_servers(fake):
    ends = []
    worker = make(fake)

    @worker.hook("connected")
    def connected(address):
        child = os.fork()
        if child:
            ends.append(status_of(child))
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
    assert ends == [0]


def fork_and_stay(children):
    """A function whose child lives until it is killed."""
    def function(job):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            os.write(writer, b"%d" % len(sockets()))
            os.close(writer)
            signal.pause()
        children.append(child)
        os.close(writer)
        with open(reader, "rb") as said:
            return said.read()
    return function


def sockets():
    """The sockets and selectors that this process has open."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink("/proc/self/fd/" + name)
        except OSError:
            continue
        if link.startswith(("socket:", "anon_inode:[eventpoll]")):
            found.append(link)
    return found


@pytest.fixture
def children():
    """The children of a test, which end with it."""
    children = []
    yield children
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_the_workers_end_is_seen_while_a_child_lives(fake, children):
    with AtWork(make(fake, fork_and_stay(children))) as at_work:
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        assert peer.receive()[0] == WORK_COMPLETE
        peer.expect(GRAB)
        at_work.worker.stop()
        at_work.worker.stop()
        peer.expect_end()


DYING = """
import os, signal, sys
from gearman_std.worker.worker import Worker
worker = Worker(sys.argv[1])
@worker.function("f")
def f(job):
    child = os.fork() if sys.argv[2] == "fork" else start()
    if not child:
        signal.pause()
    return "%d" % child
def start():
    import multiprocessing
    process = multiprocessing.get_context("fork").Process(target=signal.pause)
    process.start()
    return process.pid
worker.work()
"""


@pytest.mark.parametrize("way", ["fork", "multiprocessing"])
def test_the_death_of_a_worker_is_seen_while_a_child_lives(fake, processes, way, children):
    process = processes.start([sys.executable, "-c", DYING, fake.address, way])
    peer = fake.accept(*HELLO)
    peer.assign(b"H:1")
    packet_type, handle, child = peer.receive()
    assert (packet_type, handle) == (WORK_COMPLETE, b"H:1")
    peer.expect(GRAB)
    try:
        process.kill()
        peer.expect_end()
    finally:
        os.kill(int(child.decode()), signal.SIGKILL)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="about descriptors as Linux shows them")
def test_a_child_holds_nothing_of_the_worker(fake, children, processes):
    code = ("import sys; sys.path[:0] = sys.argv[2:]\nfrom test_worker_forks import *\nfrom gearman_std import Worker\n"
            "before, children = len(sockets()), []\n"
            "def f(job):\n    return b'%d' % (int(fork_and_stay(children)(job).decode()) - before)\n"
            "worker = Worker(sys.argv[1]); worker.register('f', f); worker.work()\n"
            "os.kill(children[0], 9)")
    here = os.path.dirname(os.path.abspath(__file__))
    processes.start([sys.executable, "-c", code, fake.address, here, os.path.dirname(here)])
    peer = fake.accept(*HELLO)
    peer.assign(b"H:1")
    peer.expect((WORK_COMPLETE, b"H:1", b"0"), GRAB)


def test_a_worker_in_a_child_of_a_program_that_is_at_work(fake, other):
    """The worker is not at work in the child, which may stop, change and start it."""
    worker = make([fake.address])
    with AtWork(worker):
        fake.accept(*HELLO)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                worker.stop()
                worker.register("g", bool)
                assert worker.health().connected == ()
                worker.work(signals=False)
                status = 0
            finally:
                os._exit(status)
        assert status_of(child) == 0
        worker.register("g", bool)
        peer = fake.peers[0]
        assert peer.receive()[1] == b"g"


def test_a_child_of_an_immediate_clients_job():
    def function(job):
        child = os.fork()
        return sys.exit(3) if child == 0 else b"%d" % status_of(child)
    assert ImmediateClient({"f": function}).run("f") == b"3"


def test_many_threads_that_fork_at_once():
    """A lock that another thread holds when the process forks is held for ever in the child."""
    def function(job):
        child = os.fork()
        if child == 0:
            job.send_data(b"x")
            sys.exit(int(job.text))
        return str(status_of(child))
    with JobServer() as server:
        server.start_worker({"f": function}, threads=8)
        with server.client(job_timeout=60) as client:
            assert list(client.map("f", map(str, range(24)))) == [b"%d" % number for number in range(24)]


INHERITING = """
import subprocess, sys
from gearman_std.worker.worker import Worker
worker = Worker(sys.argv[1])
@worker.function("f")
def f(job):
    return b"%d" % subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False).pid
worker.work()
"""


def test_the_death_of_a_worker_is_seen_while_a_program_that_it_started_lives(fake, processes):
    process = processes.start([sys.executable, "-c", INHERITING, fake.address])
    peer = fake.accept(*HELLO)
    peer.assign(b"H:1")
    child = int(peer.receive()[2].decode())
    peer.expect(GRAB)
    try:
        process.kill()
        peer.expect_end()
    finally:
        os.kill(child, signal.SIGKILL)

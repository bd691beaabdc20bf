"""Signals call functions, wake whoever waits in a selector, and are a new program's whoever started it."""
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading

import pytest

from gearman_std.cli.daemon import SignalHandlers
from gearman_std.net.signals import WokenBySignals, make_handler
from gearman_std.cli.supervisor import Supervised
from gearman_std.worker.worker import Worker

pytestmark = pytest.mark.skipif(os.name != "posix", reason="about signals as POSIX has them")


@pytest.fixture
def pair():
    """The two ends of a pipe, of sockets."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    yield reading, writing
    reading.close()
    writing.close()


@pytest.fixture
def usr1():
    """SIGUSR1 does nothing, but through Python."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


def end_of_child():
    """How a child ends that forks from this process and gets SIGTERM."""
    child = os.fork()
    if not child:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


BEGIN = """if True:
    import signal, time
    from gearman_std.net.signals import begin_with_signals, release_signals
    begin_with_signals()
    print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    release_signals()
    print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    for name in "CHLD PIPE HUP INT QUIT TERM TTOU".split():
        handler = signal.getsignal(getattr(signal, "SIG" + name))
        print(name, getattr(handler, "name", getattr(handler, "__name__", handler)))
    with open("/proc/self/status") as file:
        ignored = int(dict(line.split(":") for line in file if ":" in line)["SigIgn"], 16)
    print([name for name in "CHLD PIPE HUP INT QUIT TERM TTOU".split() if ignored >> getattr(signal, "SIG" + name) - 1 & 1])
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="about signals as Linux shows them")
def test_what_whoever_started_a_program_ignores_or_blocks_is_nothing_to_it():
    """But for a SIGHUP that is ignored, which is nohup's way; the interpreter itself ignores SIGPIPE."""
    numbers = [signal.SIGCHLD, signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTTOU]

    def spoil():
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers + [signal.SIGUSR2])
    # Not measured: coverage.py has a handler of SIGTERM.
    there = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
    done = subprocess.run([sys.executable, "-c", BEGIN], stdout=subprocess.PIPE, universal_newlines=True, timeout=50,
                          restore_signals=False, preexec_fn=spoil, env=there)
    hup = "HUP SIG_IGN" if sys.implementation.name == "cpython" else "HUP SIG_DFL"  # PyPy does not see it
    assert done.stdout.splitlines() == [
        repr(sorted([signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM])), "[]", "CHLD SIG_DFL", "PIPE SIG_IGN",
        hup, "INT default_int_handler", "QUIT SIG_DFL", "TERM SIG_DFL", "TTOU SIG_DFL", "['PIPE', 'HUP']"]


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_handler_is_the_processs_own():
    """What a worker's function forks has the handlers too; a Process.terminate() is to end it all the same."""
    heard = []
    before = signal.signal(signal.SIGTERM, make_handler(lambda: heard.append("stop")))
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == ["stop"]
        assert end_of_child() == signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == ["stop"]


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("install", ["worker", "command", "supervised"])
def test_every_handler_of_ours_is_such_a_one(install):
    numbers = signal.SIGTERM, signal.SIGINT
    before = [(number, signal.signal(number, default))
              for number, default in zip(numbers, (signal.SIG_DFL, signal.default_int_handler))]
    status = None

    def look():
        nonlocal status
        status = end_of_child()
        return True

    try:
        if install == "worker":
            worker = Worker("localhost:1", watch=look)
            worker.register("f", bool)
            worker.work()
        elif install == "command":
            with SignalHandlers({"SIGTERM": lambda: None}):
                look()
        else:
            reading, writing = os.pipe()
            Supervised(lambda: None, reading).listen()
            look()
            os.close(writing)
            os.close(reading)
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    assert status == signal.SIGTERM


def test_a_signal_that_another_thread_gets_ends_a_wait(pair, usr1):
    reading, writing = pair
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        woken = WokenBySignals(writing.fileno())
        with woken:
            assert repr(woken) == "<WokenBySignals %d, set>" % writing.fileno()
            sender = threading.Timer(0.02, lambda: signal.pthread_kill(threading.get_ident(), usr1))
            sender.start()
            assert selector.select(10)
            sender.join()
        assert reading.recv(10)
        os.kill(os.getpid(), usr1)
        assert not selector.select(0), "it is over"
    assert signal.set_wakeup_fd(-1) == -1


def test_who_listens_already_keeps_its_place(pair):
    """asyncio is one."""
    reading, writing = pair
    assert signal.set_wakeup_fd(writing.fileno()) == -1
    try:
        with WokenBySignals(reading.fileno()):
            pass
    finally:
        assert signal.set_wakeup_fd(-1) == writing.fileno()


def test_only_the_main_thread_can_listen(pair):
    def enter():
        with woken:
            reprs.append(repr(woken))
    reprs = []
    woken = WokenBySignals(pair[1].fileno())
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert reprs == ["<WokenBySignals %d>" % pair[1].fileno()]

"""Signals call functions, and wake whoever waits in a selector."""
import os
import selectors
import signal
import socket
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

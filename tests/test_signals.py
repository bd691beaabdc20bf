"""Signals wake whoever waits in a selector."""
import os
import selectors
import signal
import socket
import threading

import pytest

from gearman_std.signals import WokenBySignals

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

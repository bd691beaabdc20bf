"""How a worker comes to its connections: in threads of their own, or without one where there is none."""
import socket
import threading

import pytest

from gearman_std.net.system import System
from gearman_std.wire.protocol import WORK_COMPLETE
from gearman_std.worker.connector import Connector
from gearman_std.worker.worker import Worker

from patience import until
from worker_tools import AtWork, GRAB, HELLO, make


def test_names_are_resolved_again(fake, monkeypatch):
    """A server may have moved."""
    asked = []

    def getaddrinfo(host, port, *arguments, **options):
        asked.append((host, port))
        port = 1 if len(asked) < 3 else fake.port
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]
    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    worker = Worker("jobs.example:4730", _system=System(random=lambda: 0.0))
    worker.register("f", bool)
    with AtWork(worker):
        fake.accept(*HELLO)
    assert asked == [("jobs.example", 4730)] * 3


@pytest.fixture
def few_threads(monkeypatch):
    """few_threads(name, number) lets the system have so many threads of a name."""
    start = threading.Thread.start

    def few_threads(name, number):
        started = []

        def refuse(thread):
            if thread.name.startswith(name):
                if len(started) == number:
                    raise RuntimeError("can't start new thread")
                started.append(thread)
            start(thread)
        monkeypatch.setattr(threading.Thread, "start", refuse)
    return few_threads


def test_without_a_thread_to_connect_it_waits_for_the_connection(fake, few_threads):
    few_threads("gearman_std connect", 0)
    with AtWork(make(fake)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)


class Shift:
    """As much of a shift as a connector uses, and the connections that it makes."""

    connect_timeout, tls = 1.0, None

    def __init__(self):
        self.worker = self._system = self
        self.lock = threading.Lock()
        self.over = False
        self.woken = 0
        self.made = []
        self.last = 2  # connections that there are

    def wake(self):
        self.woken += 1

    def connect(self, address, timeout, tls):
        if len(self.made) == self.last:
            raise OSError("no more")
        self.made.append(Made())
        return self.made[-1]


class Made:
    address = ("a", 4730)
    connecting = closed = False

    def close(self):
        self.closed = True


def test_what_is_made_arrives_together():
    shift, server = Shift(), Made()
    connector = Connector(shift)
    connector.connect(server, [1, 2])
    until(lambda: shift.woken)
    assert server.connecting and connector.arrivals.popleft() == (server, [1, 2], shift.made)
    assert not connector.unmade and not connector.arrivals


def test_one_that_fails_takes_those_before_it_along():
    shift = Shift()
    connector = Connector(shift)
    connector.connect(Made(), [1, 2, 3])
    until(lambda: shift.woken)
    assert str(connector.arrivals[0][2]) == "no more" and not connector.connections()
    assert [made.closed for made in shift.made] == [True, True]


def test_who_comes_after_the_end_is_closed(few_threads):
    few_threads("gearman_std connect", 0)
    shift = Shift()
    connector = Connector(shift)
    connector.connect(Made(), [1, 2])
    shift.over = True
    assert repr(connector) == "<Connector: 0 arrivals, 1 to be made without a thread>"
    connector.connect_without_threads()
    assert not connector.unmade and not connector.arrivals and [made.closed for made in shift.made] == [True, True]

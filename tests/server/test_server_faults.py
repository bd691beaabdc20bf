"""The n-th call of the system fails, for every n: at most that one connection is lost, and nobody else notices."""
import errno
import selectors
import socket

import pytest

from gearman_std.wire.protocol import (CAN_DO, ECHO_REQ, ECHO_RES, GRAB_JOB, GRAB_JOB_UNIQ, JOB_ASSIGN, JOB_ASSIGN_UNIQ,
                                       JOB_CREATED, NO_JOB, NOOP, PRE_SLEEP, SUBMIT_JOB, SUBMIT_JOB_BG, WORK_COMPLETE,
                                       WORK_DATA, pack_request)
from gearman_std.server.channel import Channel
from gearman_std.server.server import Server
from gearman_std.net.streams import TLSStream

from patience import until
from test_tls_choke import CERTIFICATE, TLSPlace

from server_tools import check, in_dispatcher, server_of

LARGE = bytes(range(256)) * 1200  # more than is joined, or read at once

NOT_NOW = [BlockingIOError(errno.EAGAIN, "not now"), InterruptedError(errno.EINTR, "interrupted"), "short"]
UNEXPECTED = [MemoryError(), ValueError("odd")]  # and one that TLS takes for a bad handshake
LOST = [ConnectionResetError(errno.ECONNRESET, "reset"), BrokenPipeError(errno.EPIPE, "pipe"),
        OSError(errno.ETIMEDOUT, "time-out"), OSError(errno.ENOBUFS, "no room")]


class Faults:
    """Which of the calls of all sockets fails, and how: once."""

    def __init__(self, number, fault):
        self.left = number
        self.fault = fault
        self.then = lambda: None  # called when the call has failed

    def next(self):
        """The fault of this call, None for most."""
        self.left -= 1
        if self.left:
            return None
        self.then()
        return self.fault


class FaultySocket:
    """A socket one of whose calls fails."""

    def __init__(self, real, faults):
        self._real = real
        self._faults = faults
        self.fileno, self.setblocking = real.fileno, real.setblocking
        self.family, self.setsockopt = real.family, real.setsockopt

    def _call(self, whole, short):
        fault = self._faults.next()
        if fault is None:
            return whole()
        if fault == "short":
            return short()
        raise fault

    def close(self):
        self._real.close()
        if not isinstance(self._faults.fault, (OSError, str)):  # which no close raises
            self._call(lambda: None, None)

    def shutdown(self, how):
        self._real.shutdown(how)
        if self._faults.fault != "short":
            self._call(lambda: None, None)

    def recv(self, size):
        return self._call(lambda: self._real.recv(size), lambda: self._real.recv(1))

    def recv_into(self, room):
        return self._call(lambda: self._real.recv_into(room), lambda: self._real.recv_into(room[:1]))

    def send(self, data):
        return self._call(lambda: self._real.send(data), lambda: self._real.send(memoryview(data)[:1]))

    def sendmsg(self, pieces):
        return self._call(lambda: self._real.sendmsg(pieces), lambda: self._real.send(memoryview(pieces[0])[:1]))


class FaultyListener:
    """A listener whose connections have the faults, but for those of the first one."""

    def __init__(self, listener, faults, spared=1):
        self._listener = listener
        self.socket, self.address = listener.socket, listener.address
        self.secure, self.http = listener.secure, listener.http
        self.close = listener.close
        self.faults = faults
        self.keepalive, self.patience = listener.keepalive, listener.patience
        self._spared = spared

    def accept(self):
        connection, facts = self._listener.accept()
        self._spared -= 1
        return (connection if self._spared >= 0 else FaultySocket(connection, self.faults)), facts


def serve(place, faults, **settings):
    """A server, and a socket to it that has no faults."""
    server = server_of(**dict({"listen": ["127.0.0.1"]}, **settings))
    server.bind()
    server._entrance.gate.listeners = [FaultyListener(listener, faults) for listener in server._entrance.gate.listeners]
    return server, start(place, server)


def start(place, server):
    place.run(server)
    bystander = place.wire(server)
    bystander.request(ECHO_REQ, b"")
    bystander.response(ECHO_RES, b"")
    return bystander


def work(client, worker):
    """A bit of everything: a sleeper woken, small and large packets, text, a background job."""
    worker.request(CAN_DO, b"f")
    worker.request(PRE_SLEEP)
    worker.request(ECHO_REQ, b"ready")
    worker.response(ECHO_RES, b"ready")
    client.request(SUBMIT_JOB, b"f", b"u", LARGE)
    client.response(JOB_CREATED, b"H:t:1")
    worker.response(NOOP)
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:t:1", b"f", LARGE)
    worker.request(WORK_DATA, b"H:t:1", b"part")
    client.response(WORK_DATA, b"H:t:1", b"part")
    worker.request(WORK_COMPLETE, b"H:t:1", LARGE)
    client.response(WORK_COMPLETE, b"H:t:1", LARGE)
    client.request(SUBMIT_JOB_BG, b"f", b"", b"small")
    client.response(JOB_CREATED, b"H:t:2")
    client.send(b"status\n")
    client.expect(b"f\t1\t0\t1\n.\n")
    worker.request(GRAB_JOB_UNIQ)
    worker.response(JOB_ASSIGN_UNIQ, b"H:t:2", b"f", b"", b"small")


def for_every_call(place, fault, outcome, serve=serve):
    """Have the first, second, third… call fail, until all went well without the fault; return how many that were."""
    number = 0
    while True:
        number += 1
        faults = Faults(number, fault)
        server, bystander = serve(place, faults)
        client, worker = place.wire(server), place.wire(server)
        outcome(server, client, worker, faults)
        for wire in (client, worker):
            wire.abandon()
        until(lambda: in_dispatcher(server, lambda: len(server._channels.all)) == 1)
        through = faults.left > 0
        faults.left = 0
        other = place.wire(server)
        for wire in (bystander, other):
            wire.request(ECHO_REQ, b"as before")
            wire.response(ECHO_RES, b"as before")
        assert in_dispatcher(server, lambda: len(server._channels.all) == len(server.core.peers))
        assert in_dispatcher(server, watched_in_vain, server) == []
        in_dispatcher(server, check, server)
        server.stop()
        server.join(20)
        assert not server.running
        server.core.counters["faults"] = 0  # the test's own
        for wire in (bystander, other):
            wire.ended()
            wire.abandon()
        if through:
            return number


def watched_in_vain(server):
    """The closed sockets among those that the selector watches: no other socket with such a number could be watched."""
    return [key for key in server._selector.get_map().values() if key.fileobj.fileno() != key.fd]


def work_until_it_breaks(server, client, worker, faults):
    """Work; after the fault nobody waits for what will never come.  Return how many connections were open just after it."""
    left = []

    def end():
        left.append(len(server._channels.all))
        for channel in list(server._channels.all)[1:]:
            server._channels.lose(channel)
    faults.then = lambda: server.call_soon(end)
    try:
        work(client, worker)
    except (OSError, AssertionError):
        assert faults.left <= 0
    if faults.left <= 0:
        in_dispatcher(server, lambda: None)
    return left


@pytest.mark.parametrize("fault", NOT_NOW, ids=["EAGAIN", "EINTR", "short"])
def test_when_the_nth_call_says_not_now_or_takes_a_part_nothing_is_lost(place, fault):
    def outcome(server, client, worker, faults):
        work(client, worker)
        assert in_dispatcher(server, lambda: len(server._channels.all)) == 3
    assert for_every_call(place, fault, outcome) > 15


@pytest.mark.parametrize("fault", LOST, ids=["ECONNRESET", "EPIPE", "ETIMEDOUT", "ENOBUFS"])
def test_when_the_nth_call_breaks_only_that_connection_is_lost(place, fault):
    def outcome(server, client, worker, faults):
        assert work_until_it_breaks(server, client, worker, faults) == ([2] if faults.left <= 0 else [])
        assert not server.core.counters["faults"]
    assert for_every_call(place, fault, outcome) > 15


@pytest.mark.parametrize("fault", UNEXPECTED, ids=repr)
def test_when_the_nth_call_raises_what_nobody_expects_only_that_connection_is_lost(place, fault):
    def outcome(server, client, worker, faults):
        assert work_until_it_breaks(server, client, worker, faults) == ([2] if faults.left <= 0 else [])
        assert bool(server.core.counters["faults"]) == (faults.left <= 0)
    assert for_every_call(place, fault, outcome) > 15


@pytest.fixture
def quick(monkeypatch):
    """No pause of the server is long."""
    monkeypatch.setattr("gearman_std.server.gate.ACCEPT_PAUSE", 0.01)
    monkeypatch.setattr("gearman_std.server.server.STUMBLE_PAUSE", 0.0)


def break_calls(thing, faults, names, after=False):
    """Have methods of a thing, whose calls are counted together, fail before, or after, they do what they do."""
    def broken(method):
        def call(*arguments):
            fault = faults.next()
            if fault is not None and not after:
                raise fault
            result = method(*arguments)
            if fault is not None:
                raise fault
            return result
        return call
    for name in names:
        setattr(thing, name, broken(getattr(thing, name)))


class Selector(selectors.DefaultSelector):
    """One whose methods can be replaced."""


SYSTEM_FAULTS = [OSError(errno.ENOMEM, "no memory"), MemoryError(), ValueError("odd")]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", SYSTEM_FAULTS, ids=repr)
def test_when_the_nth_change_of_what_the_selector_watches_fails_nobody_else_is_lost(place, quick, fault, after):
    def serve_over(place, faults):
        server = server_of(listen=["127.0.0.1"], make_selector=Selector)
        server.bind()
        bystander = start(place, server)
        in_dispatcher(server, break_calls, server._selector, faults, ("register", "modify", "unregister"), after)
        return server, bystander

    def outcome(server, client, worker, faults):
        assert work_until_it_breaks(server, client, worker, faults) in ([1], [2], [3], [])
    assert for_every_call(place, fault, outcome, serve_over) > 3


@pytest.mark.parametrize("names", [("accept",), ("select",), ("tick", "settle", "wait_time")], ids=" ".join)
@pytest.mark.parametrize("fault", SYSTEM_FAULTS, ids=repr)
def test_what_fails_for_all_of_them_costs_nobody_anything(place, quick, names, fault):
    for number in (1, 2, 3):
        faults = Faults(number, fault)
        server = server_of(listen=["127.0.0.1"], make_selector=Selector)
        server.bind()
        listener = server._entrance.gate.listeners[0]
        break_calls({"accept": listener, "select": server._selector}.get(names[0], server.core), faults, names)
        bystander = start(place, server)
        client, worker = place.wire(server), place.wire(server)
        work(client, worker)
        assert faults.left <= 0
        bystander.request(ECHO_REQ, b"as before")
        bystander.response(ECHO_RES, b"as before")
        server.core.counters["faults"] = 0


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", SYSTEM_FAULTS, ids=repr)
def test_when_the_nth_call_of_the_core_fails_only_that_connection_is_lost(place, quick, fault, after):
    def serve_with(place, faults):
        server = server_of(listen=["127.0.0.1"])
        server.bind()
        bystander = start(place, server)
        in_dispatcher(server, break_calls, server.core, faults, ("connect", "receive", "disconnect"), after)
        return server, bystander

    def outcome(server, client, worker, faults):
        assert work_until_it_breaks(server, client, worker, faults) in ([], [1], [2])
        assert bool(server.core.counters["faults"]) == (faults.left <= 0)
    assert for_every_call(place, fault, outcome, serve_with) > 8


@pytest.mark.parametrize("fault", UNEXPECTED, ids=repr)
def test_when_the_nth_call_of_a_connection_itself_fails_only_that_connection_is_lost(place, quick, monkeypatch, fault):
    names = "wait", "put_back", "take", "put", "write", "move", "cost"
    methods = {name: getattr(Channel, name) for name in names}

    def serve_with(place, faults):
        for name, method in methods.items():
            monkeypatch.setattr(Channel, name, method)
        server = server_of(listen=["127.0.0.1"])
        server.bind()
        bystander = start(place, server)
        in_dispatcher(server, break_methods, monkeypatch, methods, faults)
        return server, bystander

    def outcome(server, client, worker, faults):
        try:
            client.send(b"version\n" * 3 + pack_request(ECHO_REQ, b"1") * 100 + b"shutdown\0\nHost: x\n")
            client.broken()
            other = place.wire(server)
            work_until_it_breaks(server, other, worker, faults)
            other.abandon()
        except (OSError, AssertionError):
            assert faults.left <= 0
    assert for_every_call(place, fault, outcome, serve_with) > 8


def break_methods(monkeypatch, methods, faults):
    """Have methods of a class, whose calls are counted together, fail."""
    def broken(method):
        def call(*arguments):
            fault = faults.next()
            if fault is not None:
                raise fault
            return method(*arguments)
        return call
    for name, method in methods.items():
        monkeypatch.setattr(Channel, name, broken(method))


class FaultyTLS:
    """TLS one of whose calls fails."""

    def __init__(self, real, faults):
        self._real = real
        self._faults = faults

    def wrap(self, connected):
        holder = Holder()
        holder.wrap = self._real.wrap
        break_calls(holder, self._faults, ("wrap",))
        stream = FaultyStream(holder.wrap(connected))
        break_calls(stream, self._faults, ("do_handshake", "getpeercert", "recv", "send", "shutdown", "close"))
        return stream


class Holder:
    """Something that has methods."""


class FaultyStream(TLSStream):
    """One whose methods can be replaced; it behaves as another."""

    def __init__(self, stream):
        super().__init__(stream._socket)


@pytest.mark.parametrize("fault", UNEXPECTED + LOST[:1], ids=repr)
def test_when_the_nth_call_of_tls_fails_only_that_connection_is_lost(fault):
    place, faults, number = TLSPlace(), None, 0
    while faults is None or faults.left <= 0:
        number += 1
        faults = Faults(number, fault)
        server = Server(port=0, listen=["127.0.0.1"], tls=CERTIFICATE)
        server.bind()
        bystander = start(place, server)
        real, server._entrance._tls = server._entrance._tls, FaultyTLS(server._entrance._tls, faults)
        try:
            client = place.wire(server)
            for data in (b"small", LARGE):
                client.request(ECHO_REQ, data)
                client.response(ECHO_RES, data)
            client.abandon()
        except (OSError, AssertionError):
            assert faults.left <= 0
        until(lambda: in_dispatcher(server, lambda: len(server._channels.all) == 1 and not server._entrance.handshakes.open))
        server._entrance._tls = real
        for wire in (bystander, place.wire(server)):
            wire.request(ECHO_REQ, b"as before")
            wire.response(ECHO_RES, b"as before")
            wire.close()
        server.stop()
        server.join(20)
        assert not server.running
        server.core.counters["faults"] = 0
    place.end()
    assert number > 8


@pytest.mark.parametrize("fault", UNEXPECTED + LOST, ids=repr)
def test_when_the_nth_call_of_http_fails_only_that_connection_is_lost(place, fault):
    number, faults = 0, None
    while faults is None or faults.left <= 0:
        number += 1
        faults = Faults(number, fault)
        server = server_of(listen=["127.0.0.1:0", "http:127.0.0.1:0"])
        server.bind()
        server._entrance.gate.listeners[1] = FaultyListener(server._entrance.gate.listeners[1], faults, 0)
        worker = start(place, server)
        worker.request(CAN_DO, b"f")
        with socket.create_connection(server.addresses[1], 20) as client:
            try:
                client.sendall(b"POST /f HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(LARGE) + LARGE)
                kind = NO_JOB
                while kind == NO_JOB and faults.left > 0:
                    worker.request(GRAB_JOB)
                    kind, _ = worker.packet()
                if kind == JOB_ASSIGN:
                    worker.request(WORK_COMPLETE, b"H:t:1", LARGE)
                    got = b""
                    while not got.endswith(LARGE):
                        data = client.recv(65536)
                        assert data or faults.left <= 0
                        if not data:
                            break
                        got += data
            except OSError:
                assert faults.left <= 0
        until(lambda: in_dispatcher(server, lambda: len(server._channels.all)) == 1)
        worker.request(ECHO_REQ, b"as before")
        while worker.packet() != (ECHO_RES, b"as before"):
            assert faults.left <= 0  # then its job may have gone
        worker.abandon()
        in_dispatcher(server, check, server)
        server.stop()
        server.join(20)
        assert not server.running
        server.core.counters["faults"] = 0
    assert number > 5


class FaultyWaker:
    """The receiving end of the wake-up whose n-th recv fails."""

    def __init__(self, real, faults):
        self._real = real
        self._faults = faults

    def recv(self, size):
        fault = self._faults.next()
        if fault is not None:
            raise fault
        return self._real.recv(size)


@pytest.mark.parametrize("fault", NOT_NOW[:2], ids=["EAGAIN", "EINTR"])
def test_when_the_wake_up_cannot_be_read_at_once_it_is_read_later(place, fault):
    server = Server(port=0)
    server.bind()
    waker = FaultyWaker(server._wake_receiver, Faults(1, fault))
    on_wake = server._on_wake
    server._selector.modify(server._wake_receiver, 1, lambda _: on_wake(waker))
    place.run(server)
    assert in_dispatcher(server, lambda: 1) == 1
    assert in_dispatcher(server, lambda: 2) == 2


def test_a_wake_up_that_finds_the_pipe_full_is_not_lost(place):
    server = Server(port=0)
    server.bind()
    ran = []
    for number in range(100000):  # more than the pipe holds
        server.call_soon(ran.append, number)
    place.run(server)
    assert in_dispatcher(server, lambda: len(ran)) == 100000
    assert ran == list(range(100000))


def test_a_connection_that_is_turned_away_and_gone_already_is_closed(place):
    faults = Faults(1, ConnectionResetError(errno.ECONNRESET, "gone"))
    server, bystander = serve(place, faults)
    server._entrance._max_connections = 1
    with socket.create_connection(server.address) as other:
        assert other.recv(1) == b""
    assert bystander.totals()["connections_refused"] == 1

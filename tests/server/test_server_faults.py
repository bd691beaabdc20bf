"""The n-th call of the system fails, for every n: at most that one connection is lost, and nobody else notices."""
import errno
import socket

import pytest

from gearman_std.wire.protocol import (CAN_DO, ECHO_REQ, ECHO_RES, GRAB_JOB, GRAB_JOB_UNIQ, JOB_ASSIGN, JOB_ASSIGN_UNIQ,
                                       JOB_CREATED, NOOP, PRE_SLEEP, SUBMIT_JOB, SUBMIT_JOB_BG, WORK_COMPLETE, WORK_DATA)
from gearman_std.server.server import Server

from server_tools import check, in_dispatcher

LARGE = bytes(range(256)) * 1200  # more than is joined, or read at once

NOT_NOW = [BlockingIOError(errno.EAGAIN, "not now"), InterruptedError(errno.EINTR, "interrupted"), "short"]
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
        self.fileno, self.close, self.shutdown = real.fileno, real.close, real.shutdown
        self.family, self.setsockopt = real.family, real.setsockopt

    def _call(self, whole, short):
        fault = self._faults.next()
        if fault is None:
            return whole()
        if fault == "short":
            return short()
        raise fault

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

    def __init__(self, listener, faults):
        self._listener = listener
        self.socket, self.address = listener.socket, listener.address
        self.secure, self.http = listener.secure, listener.http
        self.close = listener.close
        self.faults = faults
        self._accepted = 0

    def accept(self):
        connection, facts = self._listener.accept()
        self._accepted += 1
        return (connection if self._accepted == 1 else FaultySocket(connection, self.faults)), facts


def serve(place, faults):
    """A server, and a socket to it that has no faults."""
    server = Server(port=0, handle_prefix="H:t", listen=["127.0.0.1"])
    server.bind()
    server._gate.listeners = [FaultyListener(listener, faults) for listener in server._gate.listeners]
    place.run(server)
    bystander = place.wire(server)
    bystander.request(ECHO_REQ, b"")
    bystander.response(ECHO_RES, b"")
    return server, bystander


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


def for_every_call(place, fault, outcome):
    """Have the first, second, third… call fail, until all went well without the fault; return how many that were."""
    number = 0
    while True:
        number += 1
        faults = Faults(number, fault)
        server, bystander = serve(place, faults)
        client, worker = place.wire(server), place.wire(server)
        outcome(server, client, worker, faults)
        bystander.request(ECHO_REQ, b"as before")
        bystander.response(ECHO_RES, b"as before")
        assert in_dispatcher(server, lambda: len(server._channels) == len(server.core.peers))
        in_dispatcher(server, check, server)
        for wire in (bystander, client, worker):
            wire.abandon()
        server.stop()
        server.join(20)
        if faults.left > 0:
            return number


@pytest.mark.parametrize("fault", NOT_NOW, ids=["EAGAIN", "EINTR", "short"])
def test_when_the_nth_call_says_not_now_or_takes_a_part_nothing_is_lost(place, fault):
    def outcome(server, client, worker, faults):
        work(client, worker)
        assert in_dispatcher(server, lambda: len(server._channels)) == 3
    assert for_every_call(place, fault, outcome) > 15


@pytest.mark.parametrize("fault", LOST, ids=["ECONNRESET", "EPIPE", "ETIMEDOUT", "ENOBUFS"])
def test_when_the_nth_call_breaks_only_that_connection_is_lost(place, fault):
    def outcome(server, client, worker, faults):
        left = []

        def end():  # or those who are left would wait for what never comes
            left.append(len(server._channels))
            for channel in server._channels:
                if isinstance(channel.socket, FaultySocket):
                    channel.socket.shutdown(socket.SHUT_RDWR)
        faults.then = lambda: server.call_soon(end)
        try:
            work(client, worker)
        except (OSError, AssertionError):
            assert faults.left <= 0
        if faults.left <= 0:
            in_dispatcher(server, lambda: None)
            assert left == [2]
    assert for_every_call(place, fault, outcome) > 15


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
    server._max_connections = 1
    with socket.create_connection(server.address) as other:
        assert other.recv(1) == b""
    assert bystander.totals()["connections_refused"] == 1

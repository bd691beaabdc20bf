"""What the tests of the client share: a server that plays a script, a worker in a thread, clocks."""
import collections
import concurrent.futures
import contextlib
import os
import queue
import socket
import threading

import pytest

from gearman_std.client.client import Client
from gearman_std.net.connection import make_waiter
from gearman_std.net.system import System
from gearman_std.wire.protocol import (ECHO_REQ, ECHO_RES, GET_STATUS, GET_STATUS_UNIQUE, JOB_CREATED, OPTION_REQ, OPTION_RES,
                                       REQUEST_MAGIC, STATUS_RES, STATUS_RES_UNIQUE, SUBMIT_JOB, SUBMIT_JOB_HIGH,
                                       SUBMIT_JOB_LOW, SUBMIT_REDUCE_JOB, WORK_COMPLETE, PacketReader, pack_response)
from gearman_std.worker.worker import Worker

HERE = os.path.dirname(os.path.abspath(__file__))
CERTIFICATE, KEY = os.path.join(HERE, "tls_certificate.pem"), os.path.join(HERE, "tls_key.pem")
LONG = 20.0  # seconds that pass only if a test fails


class Peer:
    """One connection of a fake server."""

    def __init__(self, connected):
        self.socket = connected
        self.reader = PacketReader(REQUEST_MAGIC)
        self.packets = collections.deque()

    def receive(self):
        """The next packet as (type, argument, …) without OPTION_REQ, which is answered; None when the client has gone."""
        while True:
            while not self.packets:
                data = self.hear()
                if not data:
                    return None
                self.packets.extend(self.reader.feed(data))
                assert self.reader.error is None
            packet_type, arguments = self.packets.popleft()
            if packet_type != OPTION_REQ:
                return (packet_type,) + tuple(bytes(argument) for argument in arguments)
            assert bytes(arguments[0]) == b"exceptions"
            self.send(OPTION_RES, b"exceptions")

    def hear(self):
        """The next bytes, none when the client has gone."""
        try:
            return self.socket.recv(1000000)
        except OSError:
            return b""

    def send(self, packet_type, *arguments):
        self.raw(pack_response(packet_type, *arguments))

    def raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            return


class FakeServer:
    """A server that runs a script for each connection; what the script returns or raises is its outcome."""

    def __init__(self, script, address=("127.0.0.1", 0), wrap=None):
        self.script = script
        self.wrap = wrap
        self.listener = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(address)
        self.listener.listen(64)
        self.address = self.listener.getsockname()
        self.name = self.address if isinstance(address, str) else "127.0.0.1:%d" % self.address[1]
        self.outcomes = queue.Queue()
        self.connections = []
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self):
        while True:
            try:
                connected, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connected)
            self.threads.append(threading.Thread(target=self.serve, args=(connected,)))
            self.threads[-1].start()

    def serve(self, connected):
        try:
            connected.settimeout(LONG)
            if connected.family == socket.AF_INET:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.wrap is not None:
                connected = self.wrap(connected)
                self.connections.append(connected)
            self.outcomes.put(self.script(Peer(connected)))
        except BaseException as error:
            self.outcomes.put(error)
        finally:
            hang_up(connected)
            connected.close()

    def outcome(self):
        outcome = self.outcomes.get(timeout=LONG)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def close(self):
        hang_up(self.listener)
        self.listener.close()
        for connected in list(self.connections):
            hang_up(connected)
        for thread in self.threads:
            thread.join(LONG)
            assert not thread.is_alive()
        while not self.outcomes.empty():
            self.outcome()


def hang_up(connected):
    """Have whoever waits for a socket go on; it is closed by the thread that uses it."""
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is not connected any more


def obey(peer, seen=None):
    """Be a good server with an instant worker, which echoes the workload; return the packets received."""
    seen = [] if seen is None else seen
    count = 0
    while True:
        packet = peer.receive()
        if packet is None:
            return seen
        seen.append(packet)
        if packet[0] == ECHO_REQ:
            peer.send(ECHO_RES, packet[1])
        elif packet[0] in (GET_STATUS, GET_STATUS_UNIQUE):
            answer = STATUS_RES if packet[0] == GET_STATUS else STATUS_RES_UNIQUE
            peer.send(answer, packet[1], b"0", b"0", b"0", b"0", *[b"0"] * (answer == STATUS_RES_UNIQUE))
        else:
            count += 1
            handle = b"H:%d" % count
            answer = pack_response(JOB_CREATED, handle)
            if packet[0] in (SUBMIT_JOB, SUBMIT_JOB_HIGH, SUBMIT_JOB_LOW, SUBMIT_REDUCE_JOB):
                answer += pack_response(WORK_COMPLETE, handle, packet[-1])
            peer.raw(answer)


@pytest.fixture
def serve():
    """serve(script) starts a FakeServer."""
    servers = []

    def serve(script=obey, *arguments, **options):
        servers.append(FakeServer(script, *arguments, **options))
        return servers[-1]
    yield serve
    for server in servers:
        server.close()


def client_of(servers, **options):
    """A Client, also with time, chance or connections of the test's."""
    system = {name: options.pop(name) for name in System.__slots__ if name in options}
    return Client(servers, _system=System(**system), **options)


@pytest.fixture
def make_client():
    clients = []

    def make_client(*servers, **options):
        names = [server.name if isinstance(server, FakeServer) else server for server in servers]
        clients.append(client_of(names, **options))
        return clients[-1]
    yield make_client
    for client in clients:
        client.close()
        assert client._pool.first._waker is None
        assert all(link.connection is None for link in client._pool.first.links)


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Pace(Clock):
    """Time that passes only while the client waits and nothing is there for it: all that it would wait, as fast as it asks;
    or with a `pace` so many seconds, after which the script, which waits with `tick`, says the next word.

    While a server that is not among `silent` may have something to say, the client waits for it as long as it takes.
    """

    def __init__(self, pace=None, silent=None):
        super().__init__()
        self.pace, self.silent = pace, silent
        self.ended = False
        self.ticks = threading.Semaphore(0)

    def make_waiter(self, connections):
        """What a System has of that name."""
        connections = list(connections)
        wait = make_waiter(connections)
        hurries = self.silent is None or any(
            getattr(connection, "address", None) in self.silent for connection, _ in connections)

        def wait_in_this_time(timeout):
            ready = wait(timeout if not hurries else 0)
            if ready or not hurries or not timeout:
                return ready
            if self.pace is None or timeout < self.pace:
                self.now += timeout
                return ready
            self.now += self.pace
            self.ticks.release()
            return wait(LONG)
        return wait_in_this_time

    def tick(self):
        """Wait until the next word is to be said; return whether one is."""
        assert self.ticks.acquire(timeout=LONG)
        return not self.ended

    def end(self):
        """No script is to say anything any more."""
        self.ended = True
        self.ticks.release()


def middle():
    """What is no chance: always the middle."""
    return 0.5


def unused_address():
    """Where nobody listens: a bound socket, to be kept, and its address."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held, "127.0.0.1:%d" % held.getsockname()[1]


@pytest.fixture
def nowhere():
    held, address = unused_address()
    yield address
    held.close()


def in_threads(count, function):
    """Run function(number) in so many threads at once; return the results, raise the first error."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, range(count)))


@contextlib.contextmanager
def silent_listener():
    """The address of a listener that answers nothing, not even who connects, like a host behind a firewall."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(3):
        fillers.append(socket.socket())
        fillers[-1].setblocking(False)
        fillers[-1].connect_ex(listener.getsockname())
    yield "127.0.0.1:%d" % listener.getsockname()[1]
    for one in fillers + [listener]:
        one.close()


@pytest.fixture
def silent():
    with silent_listener() as address:
        yield address


@pytest.fixture
def two_silent():
    with silent_listener() as one, silent_listener() as other:
        yield one, other


def be_silent(peer):
    """Accept everything, answer nothing."""
    while peer.hear():
        continue


def once(*scripts):
    """A script of which each connection plays the next part."""
    parts = iter(scripts)
    return lambda peer: next(parts)(peer)


def vanish(peer):
    """Take one job and close the connection without an answer."""
    return peer.receive()


def worker_of(servers, **functions):
    """A Worker with four threads for these functions."""
    worker = Worker(servers, threads=4)
    for name, function in functions.items():
        worker.register(name, function)
    return worker


def one_job(*packets):
    """A script: accept one job, send these packets for it, wait for the client to go."""
    def script(peer):
        assert peer.receive()[0] == SUBMIT_JOB
        peer.send(JOB_CREATED, b"H:1")
        for packet in packets:
            peer.send(*packet)
        return peer.receive()
    return script

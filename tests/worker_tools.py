"""What the tests of the worker share: a scripted server, and a world of servers in simulated time."""
import collections
import random
import socket
import threading
import time

from gearman_std.errors import NoServer, ServerLost
from gearman_std.protocol import (CANT_DO, CAN_DO, ECHO_REQ, ECHO_RES, GRAB_JOB_ALL, JOB_ASSIGN_UNIQ, NOOP, NO_JOB, PRE_SLEEP,
                                  PacketReader, REQUEST_MAGIC, WORK_COMPLETE, pack_response, packet_name)
from gearman_std.worker import Worker

WAIT = 10  # seconds until something that must happen is given up


class Peer:
    """The server's end of one connection; every packet must be asked for."""

    def __init__(self, connected):
        self.socket = connected
        self.socket.settimeout(WAIT)
        self.reader = PacketReader(REQUEST_MAGIC, text=False, max_size=1 << 30)
        self.packets = collections.deque()
        self.chunks = []

    def receive(self):
        while not self.packets:
            data = self.socket.recv(65536)
            assert data, "the worker closed the connection"
            self.chunks.append(data)
            self.packets += self.reader.feed(data)
        packet_type, arguments = self.packets.popleft()
        return (packet_type,) + tuple(bytes(argument) for argument in arguments)

    def expect(self, *packets):
        for packet in packets:
            got = self.receive()
            assert got == packet, "%s %r instead of %s %r" % (packet_name(got[0]), got[1:], packet_name(packet[0]), packet[1:])

    def expect_end(self):
        assert not self.packets
        assert self.socket.recv(65536) == b""

    def expect_farewell(self):
        """An echo, and the end."""
        self.expect((ECHO_REQ, b"bye"))
        self.send((ECHO_RES, b"bye"))
        self.expect_end()

    def expect_nothing(self):
        """Nothing comes within a twentieth of a second."""
        assert not self.packets
        self.socket.settimeout(0.05)
        try:
            data = self.socket.recv(65536)
            raise AssertionError("unexpected: %r" % data)
        except socket.timeout:
            pass
        finally:
            self.socket.settimeout(WAIT)

    def send(self, *packets):
        self.socket.sendall(b"".join(pack_response(*packet) for packet in packets))

    def assign(self, handle, function=b"f", workload=b"", unique=b""):
        self.send((JOB_ASSIGN_UNIQ, handle, function, unique, workload))

    def close(self):
        self.socket.close()


class FakeServer:
    """Listens on a port of its own; the test plays the server."""

    def __init__(self, port=0):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(20)
        self.listener.settimeout(WAIT)
        self.port = self.listener.getsockname()[1]
        self.address = "127.0.0.1:%d" % self.port
        self.peers = []

    def accept(self, *greeting):
        peer = Peer(self.listener.accept()[0])
        self.peers.append(peer)
        peer.expect(*greeting)
        return peer

    def close(self):
        self.listener.close()
        for peer in self.peers:
            peer.close()


class AtWork:
    """Runs `worker.work()` in a thread, which must have ended when the test has."""

    def __init__(self, worker):
        self.worker = worker
        self.error = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            self.worker.work()
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def join(self):
        self.thread.join(WAIT)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error

    def __exit__(self, kind, *_):
        self.worker.stop()
        self.worker.stop()
        if kind is None:
            self.join()


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def until(condition):
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


HELLO = ((CAN_DO, b"f"), (GRAB_JOB_ALL,))
GRAB = (GRAB_JOB_ALL,)


def make(fake, function=lambda job: job.workload, name="f", **options):
    worker = Worker(fake if isinstance(fake, list) else fake.address, **options)
    worker.register(name, function)
    return worker


class World:
    """Servers that come and go in simulated time: connecting, selecting and sending of a worker, without a system below.

    A server that is up answers every grab with one of its jobs, or with NO_JOB, and notes what comes back.
    """

    def __init__(self, seed, names):
        self.random = random.Random(seed)
        self.clock = Clock()
        self.names = names
        self.up = {name: False for name in names}
        self.flips = {name: self.clock.now + self.random.uniform(0, 60) for name in names}
        self.jobs = {name: 0 for name in names}
        self.done = collections.Counter()
        self.attempts = collections.Counter()
        self.streams = []
        self.registered = {}
        self.end = self.clock.now + 3600
        self.worker = None

    # What the worker is given for `connect` and `selector`.

    def connect(self, address, timeout, tls):
        self.attempts[address[0]] += 1
        if not self.up[address[0]]:
            raise NoServer("nobody listens at %s" % address[0])
        stream = _Stream(self, address[0])
        self.streams.append(stream)
        return stream

    def selector(self):
        return self

    def register(self, file, events, data):
        self.registered[file] = data

    modify = register

    def unregister(self, file):
        del self.registered[file]

    def close(self):
        self.registered.clear()

    def select(self, timeout):
        waker = [file for file, data in self.registered.items() if data is None][0]
        # While a thread connects or runs a job, real time is waited for it; else simulated time passes at once.
        waker.settimeout(0.02 if self.busy() else 0)
        events = []
        try:
            if waker.recv(1, socket.MSG_PEEK):
                events.append((_Key(None), 1))
        except (BlockingIOError, socket.timeout):
            pass
        waker.setblocking(False)
        if not self.busy() and not events and not any(stream.inbox for stream in self.streams):
            step = 2.0 if timeout is None else min(max(timeout, 0.001), 2.0)
            self.clock.now += step
            self.advance()
        for stream in self.streams:
            if stream.inbox or stream.dead:
                events.append((_Key(self.registered[stream]), 1))
        return events

    def busy(self):
        shift = self.worker._shift
        return shift is not None and (
            shift._running or any(server.connecting for server in shift._servers) and not shift._arrivals)

    def advance(self):
        now = self.clock.now
        for name in self.names:
            if now >= self.flips[name]:
                self.up[name] = not self.up[name]
                self.flips[name] = now + self.random.uniform(1, 120)
                if not self.up[name]:
                    for stream in self.streams:
                        stream.dead = stream.dead or stream.name == name
            elif self.up[name] and self.random.random() < 0.05:
                self.jobs[name] += 1
                for stream in self.streams:
                    if stream.name == name and stream.asleep:
                        stream.asleep = False
                        stream.inbox += pack_response(NOOP)
        if now >= self.end:
            self.worker.stop()


_Key = collections.namedtuple("_Key", "data")


class _Stream:
    """What `World.connect` returns: as much of a Connection as the worker uses, and the server behind it."""

    pending = False
    unsent = False
    queued = sent = 0

    def __init__(self, world, name):
        self.world = world
        self.name = name
        self.reader = PacketReader(REQUEST_MAGIC, text=False)
        self.inbox = b""
        self.outbox = b""
        self.asleep = False
        self.dead = False
        self.able = False

    def put(self, *pieces):
        self.outbox += b"".join(pieces)

    def flush(self):
        data, self.outbox = self.outbox, b""
        if self.dead:
            return True
        for packet_type, arguments in self.reader.feed(data):
            self.answer(packet_type, arguments)
        return True

    def answer(self, packet_type, arguments):
        if packet_type == CAN_DO:
            self.able = True
        elif packet_type == GRAB_JOB_ALL:
            assert self.able and not self.asleep
            if self.world.jobs[self.name]:
                self.world.jobs[self.name] -= 1
                self.inbox += pack_response(JOB_ASSIGN_UNIQ, b"H:1", b"f", b"", b"work")
            else:
                self.inbox += pack_response(NO_JOB)
        elif packet_type == PRE_SLEEP:
            self.asleep = True
            if self.world.jobs[self.name]:
                self.asleep = False
                self.inbox += pack_response(NOOP)
        elif packet_type == WORK_COMPLETE:
            self.world.done[self.name] += 1
        elif packet_type == ECHO_REQ:
            self.inbox += pack_response(ECHO_RES, arguments[0])
        else:
            assert packet_type == CANT_DO

    def receive(self, room=None):
        data, self.inbox = self.inbox, b""
        if not data and self.dead:
            raise ServerLost("%s is gone" % self.name)
        return data or None

    def close(self):
        self.world.streams.remove(self)

"""What the tests of the worker share: a scripted server, and a world of servers in simulated time."""
import collections
import random
import select
import selectors
import socket
import threading

from gearman_std.errors import NoServer, ServerLost
from gearman_std.net.system import REAL_SYSTEM, System
from gearman_std.wire.protocol import (CAN_DO, CANT_DO, ECHO_REQ, ECHO_RES, ERROR, GRAB_JOB, GRAB_JOB_ALL, GRAB_JOB_UNIQ,
                                       JOB_ASSIGN, JOB_ASSIGN_UNIQ, JOB_CREATED, NO_JOB, NOOP, OPTION_REQ, OPTION_RES,
                                       PRE_SLEEP, REQUEST_MAGIC, WORK_COMPLETE, PacketReader, pack_request, pack_response,
                                       packet_name)
from gearman_std.worker.worker import Worker

from patience import until

WAIT = 20  # seconds until something that must happen is given up


class Peer:
    """The server's end of one connection; every packet must be asked for, but OPTION_REQ, which is answered or passed over."""

    def __init__(self, connected, answers=True):
        self.answers = answers
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
        if packet_type == OPTION_REQ:
            if self.answers:
                self.send((OPTION_RES, bytes(arguments[0])))
            return self.receive()
        return (packet_type,) + tuple(bytes(argument) for argument in arguments)

    def expect(self, *packets):
        for packet in packets:
            got = self.receive()
            assert got == packet, "%s %r instead of %s %r" % (packet_name(got[0]), got[1:], packet_name(packet[0]), packet[1:])

    def expect_end(self):
        assert not self.packets
        try:
            assert self.socket.recv(65536) == b""
        except ConnectionResetError:
            pass  # an end, too, of a worker that has not read all that was sent to it

    def expect_farewell(self):
        """An echo, and the end."""
        self.expect((ECHO_REQ, b"bye"))
        self.send((ECHO_RES, b"bye"))
        self.expect_end()

    def send(self, *packets):
        self.socket.sendall(b"".join(pack_response(*packet) for packet in packets))

    def assign(self, handle, function=b"f", workload=b"", unique=b""):
        self.send((JOB_ASSIGN_UNIQ, handle, function, unique, workload))

    def close(self):
        self.socket.close()


def who_speaks(*peers):
    """The first of these that has something to read, which must come."""
    for peer in peers:
        if peer.packets:
            return peer
    readable = select.select([peer.socket for peer in peers], [], [], WAIT)[0]
    assert readable, "the worker says nothing to anyone"
    return [peer for peer in peers if peer.socket in readable][0]


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
        self.answers = True  # it knows the option that a worker asks for

    def accept(self, *greeting):
        peer = Peer(self.listener.accept()[0], self.answers)
        self.peers.append(peer)
        peer.expect(*greeting)
        return peer

    def close(self):
        self.listener.close()
        for peer in self.peers:
            peer.close()


class AtWork:
    """Runs a worker's `work` in a thread, which must have ended when the test has; what it raised, `join` raises, once.

    Also a worker of python-gearman's API.
    """

    def __init__(self, worker, **options):
        self.worker = worker
        self.error = None
        self.unfinished = None
        self.thread = threading.Thread(target=self._run, kwargs=options, daemon=True)

    def _run(self, **options):
        try:
            self.unfinished = self.worker.work(**options)
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def join(self):
        self.thread.join(WAIT)
        assert not self.thread.is_alive(), "the worker goes on"
        error, self.error = self.error, None
        if error is not None:
            raise error

    def __exit__(self, kind, *_):
        if hasattr(self.worker, "shutdown"):
            self.worker.shutdown()
        else:
            self.worker.stop()
            self.worker.stop()  # at once
        if kind is None:
            self.join()


class Machine(System):
    """What a worker under test runs on: its clock stands still until it is told to move, and it tells what it waits for.

    Other parts of a System may be given by name.
    """

    def __init__(self, **parts):
        self.now = 1000.0
        self.selector = None
        super().__init__(clock=lambda: self.now, make_selector=self._make_selector, **parts)

    def _make_selector(self):
        self.selector = _Selector()
        return self.selector

    def settle(self):
        """Return when the worker has taken in all that was sent to it, and has done what is due."""
        until(lambda: self.selector is not None)
        # What had come in when this was called is taken in before the second round from then on begins.
        for _ in range(2):
            self.selector.begin_a_round()

    def pass_time(self, seconds):
        """Move the clock, not before all that was sent is taken in; return when the worker has done what is due by then."""
        self.settle()
        self.now += seconds
        self.settle()

    def expect_silence(self, *peers):
        """Nothing has been sent to these that was not asked for, and nothing will be unless something happens."""
        self.settle()
        for peer in peers:
            assert not peer.packets, peer.packets
            assert not select.select([peer.socket], [], [], 0)[0], "unexpected: %r" % peer.socket.recv(65536)


class _Selector:
    """A worker's selector, which counts its rounds."""

    def __init__(self):
        self.real = REAL_SYSTEM.make_selector()
        self.unregister, self.modify, self.register = self.real.unregister, self.real.modify, self.real.register
        self.rounds = 0
        self.waits = None  # for how many seconds at most, in this round; None for ever
        self.closed = False
        self.poked_in = 0   # the round that the last poke has ended
        self.changed = threading.Condition()
        self.poke, self.poked = socket.socketpair()
        self.real.register(self.poked, selectors.EVENT_READ, self)

    def select(self, timeout=None):
        with self.changed:
            self.rounds += 1
            self.waits = timeout
            self.changed.notify_all()
        events = self.real.select(timeout)
        for key, mask in events:
            if key.data is self:
                self.poked.recv(4096)
                self.poked_in = self.rounds
        return [(key, mask) for key, mask in events if key.data is not self]

    def begin_a_round(self):
        """End the one that is under way, and return when the next has begun, or there will be no more."""
        with self.changed:
            if not self.closed:
                seen = self.rounds
                self.poke.send(b"x")
                assert self.changed.wait_for(lambda: self.closed or self.rounds > self.poked_in >= seen, WAIT)

    def close(self):
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self.real.close()
        self.poke.close()
        self.poked.close()


HELLO = ((CAN_DO, b"f"), (GRAB_JOB_ALL,))
GRAB = (GRAB_JOB_ALL,)


def make(fake, function=lambda job: job.workload, name="f", **options):
    system = options.pop("machine", None) or System(**{part: options.pop(part) for part in System.__slots__ if part in options})
    worker = Worker(fake if isinstance(fake, list) else fake.address, _system=system, **options)
    worker.register(name, function)
    return worker


def expect_leaving(peer, at_work):
    """The worker of the function f gives it up, asks for a last answer, and ends."""
    peer.expect((CANT_DO, b"f"))
    peer.expect_farewell()
    at_work.join()


class World:
    """Servers that come and go in simulated time: connecting, selecting and sending of a worker, without a system below.

    A server is in one of MODES; from "up" it falls into another at random, and back.  Its jobs are in `waiting`, or `running`
    of a connection; those of a lost connection go back, as with a real server.  For the last quarter of an hour every server is
    up.
    """

    MODES = ("down", "closing", "silent", "garbage", "flapping", "waking")

    def __init__(self, seed, names, modes=MODES, hours=1.0, arrivals=0.1):
        self.random = random.Random(seed)
        self.now = 1000.0
        self.names = names
        self.modes = modes
        self.arrivals = arrivals  # jobs per second and server
        self.mode = {name: "down" for name in names}
        self.flips = {name: self.now + self.random.uniform(0, 60) for name in names}
        self.changes = 0
        self.waiting = {name: collections.deque() for name in names}
        self.submitted = 0
        self.done = collections.Counter()
        self.attempts = collections.Counter()
        self.selects = 0
        self.packets = 0
        self.streams = []
        self.registered = {}
        self.end = self.now + 3600 * hours
        self.worker = None

    # What the worker's system is made of.

    def clock(self):
        return self.now

    def connect(self, address, timeout, tls):
        name = address[0]
        self.attempts[name] += 1
        if self.mode[name] == "down":
            raise NoServer("nobody listens at %s" % name)
        stream = _Stream(self, name, self.mode[name])
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
        self.selects += 1
        waker = [file for file, data in self.registered.items() if data is None][0]
        # While a thread connects or runs a job, real time is waited for it; else simulated time passes at once.
        waker.settimeout(0.002 if self.busy() else 0)
        events = []
        try:
            if waker.recv(1, socket.MSG_PEEK):
                events.append((_Key(None), 1))
        except (BlockingIOError, socket.timeout):
            pass
        waker.setblocking(False)
        if not self.busy() and not events and not self.readable():
            self.now += 2.0 if timeout is None else min(max(timeout, 0.0001), 2.0)
            self.advance()
        return events + [(_Key(self.registered[stream]), 1) for stream in self.readable()]

    def readable(self):
        return [stream for stream in self.streams if stream in self.registered and (stream.inbox or stream.dead)]

    def busy(self):
        shift = self.worker._shift
        return shift is not None and (
            shift.running or any(server.connecting for server in shift.links.servers)
            and not shift.links.connector.arrivals)

    def advance(self):
        now = self.now
        last = now >= self.end - 900
        for name in self.names:
            if last and self.mode[name] != "up" or not last and now >= self.flips[name]:
                self.change(name, "up" if self.mode[name] != "up" else self.random.choice(self.modes))
                self.flips[name] = now + self.random.uniform(1, 120)
            elif self.mode[name] == "up" and now < self.end - 300 and self.random.random() < self.arrivals:
                self.submitted += 1
                self.waiting[name].append(b"%s:%d" % (name.encode(), self.submitted))
                self.wake(name)
        if now >= self.end:
            self.worker.stop()

    def change(self, name, mode):
        self.mode[name] = mode
        self.changes += 1
        for stream in self.streams:
            if stream.name == name and stream.mode != "silent":  # who is silent stays so: the other half is gone
                self.take_back(stream)
                if mode == "silent":
                    stream.mode, stream.inbox = "silent", b""
                else:
                    stream.dead = True

    def take_back(self, stream):
        self.waiting[stream.name] += sorted(stream.running)
        stream.running.clear()

    def wake(self, name):
        for stream in self.streams:
            if stream.name == name and stream.asleep and stream.mode != "silent":
                stream.asleep = False
                stream.inbox += pack_response(NOOP)

    def garbage(self):
        """Bytes that a server never sends, some of them nearly right."""
        source = self.random
        packets = [pack_response(NO_JOB), pack_response(NOOP), pack_response(JOB_ASSIGN_UNIQ, b"H:1", b"f", b"", b"work"),
                   pack_response(JOB_ASSIGN_UNIQ, b"", b"f", b"", b"work"), pack_response(JOB_CREATED, b"H:1"),
                   pack_response(ERROR, b"INVALID_COMMAND", b"what?"), pack_response(ERROR, b"JOB_NOT_FOUND", b"gone"),
                   pack_response(ECHO_RES, b"bye"), pack_response(JOB_ASSIGN, b"H:2", b"unheard", b""), pack_request(GRAB_JOB)]
        data = bytearray(b"".join(source.choice(packets) for _ in range(source.randrange(1, 6))))
        for _ in range(source.choice((0, 1, 1, 2, 8))):
            data[source.randrange(len(data))] = source.choice((0, 1, 255, source.randrange(256)))
        return bytes(data[:source.choice((len(data), source.randrange(len(data) + 1)))])


_Key = collections.namedtuple("_Key", "data")


class _Stream:
    """What `World.connect` returns: as much of a Connection as the worker uses, and the server behind it."""

    pending = False
    unsent = False
    queued = sent = 0

    def __init__(self, world, name, mode):
        self.world = world
        self.name = name
        self.mode = mode
        self.reader = PacketReader(REQUEST_MAGIC, text=False)
        self.inbox = b""
        self.outbox = b""
        self.running = set()
        self.asleep = False
        self.dead = mode == "closing"
        self.able = False

    def put(self, *pieces):
        self.outbox += b"".join(pieces)

    def flush(self):
        data, self.outbox = self.outbox, b""
        if self.dead or self.mode == "silent":
            return True
        if self.mode == "garbage":
            self.inbox += self.world.garbage()
            return True
        for packet_type, arguments in self.reader.feed(data):
            self.world.packets += 1
            self.answer(packet_type, [bytes(argument) for argument in arguments])
        return True

    def answer(self, packet_type, arguments):
        waiting = self.world.waiting[self.name]
        if packet_type == CAN_DO:
            self.able = True
        elif packet_type in (GRAB_JOB_ALL, GRAB_JOB_UNIQ):
            assert self.able
            self.asleep = False
            if waiting and self.mode == "up":
                handle = waiting.popleft()
                self.running.add(handle)
                self.inbox += pack_response(JOB_ASSIGN_UNIQ, handle, b"f", b"", handle)
            else:
                self.inbox += pack_response(NO_JOB)
                self.dead = self.mode == "flapping"
        elif packet_type == PRE_SLEEP:
            self.asleep = True
            if waiting and self.mode == "up" or self.mode == "waking":  # as gearmand for a job that is due later
                self.asleep = False
                self.inbox += pack_response(NOOP)
        elif packet_type == WORK_COMPLETE:
            self.running.remove(arguments[0])
            self.world.done[arguments[0]] += 1
        elif packet_type == ECHO_REQ:
            self.inbox += pack_response(ECHO_RES, arguments[0])
        elif packet_type == OPTION_REQ:
            self.inbox += pack_response(OPTION_RES, arguments[0])
        else:
            assert packet_type == CANT_DO, packet_name(packet_type)

    def receive(self, room=None):
        data, self.inbox = self.inbox, b""
        if not data and self.dead:
            raise ServerLost("%s is gone" % self.name)
        return data or None

    def close(self):
        self.world.take_back(self)
        self.world.streams.remove(self)

"""A core with peers whose every byte must be accounted for: what the tests of the core and its parts are told in.

Requests go in as bytes, through a PacketReader; replies are compared as bytes.  After every step the core's invariants are
checked; while the core has very much, after some, as that looks at everything.
"""
from contextlib import contextmanager
from operator import itemgetter
from unittest import mock

from gearman_std.core.core import Core
from gearman_std.core.invariants import check_core
from gearman_std.core.jobs import JOB_ARROWS, DELAYED, WAITING, Function, Totals
from gearman_std.core.ledger import ADD, AddRecord
from gearman_std.core.peers import Peer
from gearman_std.core.rights import ALL_RIGHTS
from gearman_std.wire.protocol import (CAN_DO, PRE_SLEEP, ERROR, GET_STATUS, GRAB_JOB_UNIQ, JOB_ASSIGN_UNIQ, JOB_CREATED,
                                       NO_JOB, RESPONSE_MAGIC, SUBMIT_JOB, SUBMIT_JOB_BG, PacketReader, pack_request,
                                       pack_response, packet_name)

FULL = (b"QUEUE_ERROR", b"the disk is full")  # the answer to a submit that cannot be stored
EASY = 100  # so many jobs, functions and peers are looked at after every step, twice as many after every second, and so on


def packets_of(data):
    """What is in a stream of responses, for reading by people."""
    reader = PacketReader(RESPONSE_MAGIC, text=True)
    return [(packet_name(kind),) + tuple(map(bytes, arguments)) for kind, arguments in reader.feed(data)]


class Talker:
    """One connection: says requests, hears replies."""

    def __init__(self, world, number, rights):
        self.world = world
        self.peer = Peer(number, b"127.0.0.1")
        self.reader = PacketReader()
        self.later = []  # packets that wait until the store has what the peer waits for
        world.core.connect(self.peer, rights)

    def goes_on(self, packets):
        """Its packets are obeyed, as far as they are not put off."""
        packets = self.world.core.receive(self.peer, packets)
        while packets and not self.peer.put_off:
            self.world.after_step()
            packets = self.world.core.receive(self.peer, packets)
        self.later = packets

    def sends(self, data):
        packets = self.reader.feed(data)
        if self.peer.put_off:
            self.later += packets
        else:
            self.goes_on(packets)
        if self.reader.error is not None and not self.peer.closing:
            self.world.core.refuse(self.peer, self.reader.error)
        self.world.after_step()
        return self

    def says(self, packet_type, *arguments):
        return self.sends(pack_request(packet_type, *arguments))

    def asks(self, line):
        """A line of text; returns all that comes back."""
        assert self.heard() == b"", packets_of(self.heard())
        self.sends(line + b"\n")
        return self.takes()

    def heard(self):
        """What was sent to it; what waits for the store only where the world has no store that would get it."""
        held = self.world.has_store and self.peer.holds
        return b"".join(map(bytes, self.peer.outgoing[:held[0][1] if held else None]))

    def takes(self):
        """All bytes that were sent to it and not yet taken."""
        data = self.heard()
        self.peer.take_ready()
        if not self.world.has_store:
            self.peer.taken += len(self.peer.outgoing)
            self.peer.outgoing.clear()
            self.peer.parked = False
        self.world.core.unsent[:] = [peer for peer in self.world.core.unsent if peer is not self.peer]
        return data

    def hears(self, *packets):
        """Exactly these packets, each a tuple of type and arguments, have been sent to it."""
        data = self.takes()
        assert data == b"".join(pack_response(*packet) for packet in packets), packets_of(data)
        return self

    def submits(self, function=b"f", unique=b"", workload=b"w", packet_type=SUBMIT_JOB):
        """Submits a job; returns its handle."""
        self.says(packet_type, function, unique, workload)
        assert len(self.peer.outgoing) == 1, packets_of(self.heard())
        data = self.takes()
        assert data[:8] == pack_response(JOB_CREATED, b"")[:8], packets_of(data)
        return data[12:]

    def submits_bg(self, function=b"f", unique=b"", workload=b"w", packet_type=SUBMIT_JOB_BG):
        return self.submits(function, unique, workload, packet_type)

    def grabs(self):
        """Takes the next job; returns its handle, or None if there is none."""
        self.says(GRAB_JOB_UNIQ)
        data = self.takes()
        if data == pack_response(NO_JOB):
            return None
        assert data[:8] == pack_response(JOB_ASSIGN_UNIQ)[:8], packets_of(data)
        return data[12:].split(b"\0")[0]

    def knows(self, handle):
        """Whether GET_STATUS finds a job of that handle."""
        self.says(GET_STATUS, handle)
        reply = packets_of(self.takes())
        assert reply[0][:2] == ("STATUS_RES", handle) and len(reply) == 1, reply
        return reply[0][2] == b"1"

    def hears_error(self, code, text=None):
        data = self.takes()
        assert data[:8] == pack_response(ERROR)[:8], packets_of(data)
        heard = data[12:].split(b"\0", 1)
        assert heard[0] == code and (text is None or heard[1] == text), heard
        return self

    def leaves(self):
        assert self.heard() == b"", packets_of(self.heard())
        self.world.core.disconnect(self.peer)
        self.world.talkers.remove(self)
        self.world.after_step()


class World:
    """A core, its peers, and a clock that stands still between orders."""

    has_store = False  # so that the test itself says when records are on disk

    def __init__(self, handle_prefix=b"H:x", **settings):
        self.core = Core(handle_prefix, **settings)
        self.now = 1000.0
        self.wall = 1600000000.0
        self.core.tick(self.now, self.wall)
        self.talkers = []
        self.wait = None
        self.unchecked = 0  # steps since the invariants were checked

    def check(self):
        """Check the invariants, unless that was done a moment ago, in relation to how long it takes."""
        core = self.core
        self.unchecked += 1
        if self.unchecked * EASY >= len(core.jobs) + len(core.aside) + len(core.functions) + len(core.peers):
            check_core(core)
            self.unchecked = 0

    def after_step(self):
        self.check()
        resumed, self.core.ledger.resumed = self.core.ledger.resumed, []
        for talker in [talker for talker in self.talkers if talker.peer in resumed]:
            talker.goes_on(talker.later)
        self.does_chores()
        self.core.settle()
        self.wait = self.core.wait_time()
        self.check()

    def does_chores(self):
        """What the server does between the packets of its peers; returns the number of turns."""
        count = 0
        while self.core.turns.chores:
            self.core.turns.work()
            self.check()
            count += 1
        return count

    def does(self, talker, packets):
        """What a peer asks for with these packets, or with what is left of them; returns the number of turns."""
        count = 0
        while packets:
            packets = self.core.receive(talker.peer, packets)
            self.check()
            count += 1
        return count

    def connects(self, rights=ALL_RIGHTS):
        talker = Talker(self, len(self.talkers) + 1, rights)
        self.talkers.append(talker)
        return talker

    def worker(self, *functions, sleeps=False):
        """A worker of some functions."""
        talker = self.connects()
        talker.sends(b"".join(pack_request(CAN_DO, function) for function in functions))
        return talker.says(PRE_SLEEP) if sleeps else talker

    def passes(self, seconds):
        """So much time passes."""
        self.now += seconds
        self.wall += seconds
        self.core.tick(self.now, self.wall)
        self.after_step()

    def sets_clock(self, seconds):
        """Somebody sets the wall clock forward, or back."""
        self.wall += seconds
        self.passes(0.0)

    def loses(self, times, function=b"f"):
        """So many workers take a job of a function and are lost."""
        for _ in range(times):
            worker = self.worker(function)
            assert worker.grabs() is not None
            worker.leaves()

    def restores(self, handle, unique=b"", due=0.0, state="", priority=1, schedule=None, attempts=0):
        """A job comes back from a store."""
        job = self.core.restore(AddRecord(ADD, handle, b"f", unique, b"w", None, priority, due, attempts, state or (
            DELAYED if due else WAITING), b"", schedule, self.wall, 0))
        self.after_step()
        return job

    def aside(self):
        """Handle and last error of each job that is set aside."""
        return [(job.handle, job.error) for job in self.core.aside.values()]

    def totals(self):
        """What has happened to all jobs since the start."""
        totals = Totals()
        assert set(self.core.registry.add_up(totals)) <= {b""}
        return totals

    def recorded(self):
        """The kinds of the records that wait for the store, with their handles."""
        return [one[:2] for one in self.core.ledger.records]

    def stores(self):
        """The store has the batch that was handed over; if none was, the one that gathers."""
        if self.core.ledger.under_way is None:
            self.core.ledger.hand_over()
        self.core.stored()
        self.after_step()

    def refuses_to_store(self, reason=b"the disk is full"):
        self.core.not_stored(reason)
        self.after_step()

    def ends(self):
        """Nothing was sent that no assertion looked at."""
        if self.unchecked:
            check_core(self.core)
        for talker in self.talkers:
            assert talker.heard() == b"", (talker.peer, packets_of(talker.heard()))


def things_of(timers):
    """All things whose timers are set, in the order in which they are due."""
    return [thing for _, _, thing in sorted(timers.entries + (timers._kept or []), key=itemgetter(0, 1)) if thing is not None]


@contextmanager
def watched_arrows():
    """Gives what leads where while it lasts: the states, by the last state, None for a new job, and the method of Function."""
    seen, last = {}, {}

    def watched(way):
        method = getattr(Function, way)

        def arrow(function, *arguments):
            result = method(function, *arguments)
            job = result or arguments[0]
            seen.setdefault((last.get(job), way), set()).add(job.state)
            last[job] = job.state
            return result
        return arrow
    with mock.patch.multiple(Function, **{way: watched(way) for way in {way for _, way in JOB_ARROWS}}):
        yield seen

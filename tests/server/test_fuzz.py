"""Random and mutated packets and lines over sockets: the server neither breaks nor leaks, and who behaves well notices nothing.

The seed is printed when a test fails.  GEARMAN_STD_FUZZ_SEED repeats a run, GEARMAN_STD_FUZZ sets how many packets and lines
are sent: 20,000 are a matter of seconds, a million one of minutes.
"""
import gc
import os
import random
import selectors
import socket
import struct
import time

import pytest

from gearman_std.core.limits import Limits
from gearman_std.wire.protocol import (CAN_DO, GRAB_JOB_UNIQ, JOB_ASSIGN_UNIQ, JOB_CREATED, PACKETS, REQUEST_MAGIC,
                                       RESPONSE_MAGIC, SUBMIT_JOB, WORK_COMPLETE, pack_request)

from samples import few
from server_tools import TIMEOUT, check, in_dispatcher

FEW = 2000
COUNT = int(os.environ.get("GEARMAN_STD_FUZZ") or 20000)
SEED = int(os.environ.get("GEARMAN_STD_FUZZ_SEED") or time.time() * 1000 % 1e9)

UNITS = 60         # packets and lines of a connection, on average
TOGETHER = 8       # connections at once
MAX_PACKET = 200000
LINES = [b"status", b"prioritystatus", b"workers", b"version", b"getpid", b"verbose", b"maxqueue", b"create function",
         b"drop function", b"cancel job", b"cancel function", b"cancel unique", b"show jobs", b"show jobs json",
         b"show unique jobs", b"show aside", b"show totals", b"pause function", b"resume function", b"requeue all",
         b"requeue function", b"purge all", b"purge function", b"", b" ", b"nonsense", b"\xff\xfe", b"show", b"cancel",
         b"drop function x force"]


class Fuzz:
    """What one connection sends, all of it from one seed."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self._wild = self._random.random() < 0.5  # it may get out of step, or send what ends the connection

    def stream(self):
        """Bytes of some packets and lines, most of them sound; and how many these are."""
        choice = self._random.random
        units = [self._unit() for _ in range(self._random.randint(1, 2 * UNITS))]
        if choice() < 0.2:
            units[-1] = units[-1][:self._random.randrange(len(units[-1]) + 1)]
        return b"".join(units), len(units)

    def _unit(self):
        kind = self._random.random()
        if kind < 0.15:
            return self._line()
        packet = self._packet()
        if kind < 0.90:
            return packet
        if kind < 0.95 or not self._wild:
            return RESPONSE_MAGIC + packet[4:]
        if kind < 0.97:
            return packet[:8] + struct.pack(">I", self._size(len(packet) - 12)) + packet[12:]
        if kind < 0.985:
            return self._flipped(packet)
        if kind < 0.995:
            packet_type = self._random.choice([0, max(PACKETS) + 1, 255, 0x7fffffff, 0x80000000, 0xffffffff])
            return packet[:4] + struct.pack(">I", packet_type) + packet[8:]
        return self._bytes(40)

    def _size(self, right):
        return self._random.choice([0, 1, right - 1, right + 1, right + 12, right // 2, 65535, 65536, 65537, MAX_PACKET + 1,
                                    0xffffffff]) % (1 << 32)

    def _packet(self):
        number = self._random.choice(list(PACKETS))
        arguments = [self._argument(name) for name in PACKETS[number][2]]
        if self._random.random() < 0.05 and arguments:
            arguments.pop()
        return pack_request(number, *arguments)

    def _argument(self, name):
        pick = self._random
        if pick.random() < 0.03:
            return self._bytes(pick.choice([0, 1, 63, 64, 65, 8191]))
        if pick.random() < 0.01 and self._wild:
            return self._bytes(pick.choice([8192, 8193, 70000]))
        if name in ("function", "reducer", "aggregator"):
            return b"fuzz%d" % pick.randrange(30)
        if name == "unique":
            return pick.choice([b"", b"-", b"u%d" % pick.randrange(20)])
        if name == "handle":
            return b"H:t:%d" % pick.randrange(3000)
        if name in ("numerator", "denominator", "timeout_ms", "epoch", "minute", "hour", "day_of_month", "month",
                    "day_of_week"):
            return pick.choice([b"", b"*", b"0", b"1", b"-1", b"59", b"1000", b"99999999999", b"1 2", b"x", b"9" * 25])
        if name == "option":
            return pick.choice([b"exceptions", b"Exceptions", b"nonsense"])
        return self._bytes(pick.choice([0, 1, 10, 100, 1000]))

    def _line(self):
        pick = self._random
        more = [pick.choice([b"fuzz%d" % pick.randrange(30), b"u1", b"7", b"on", b"H:none:1", self._bytes(9)])
                for _ in range(pick.choice([0, 0, 0, 1, 1, 2, 5]))]
        words = b" ".join([pick.choice(LINES)] + more).split(b" ")
        line = b" ".join(words if self._wild else words[:5]).replace(b"\n", b"").lstrip(b"\0")
        if pick.random() < 0.02 and self._wild:
            line += b"x" * pick.choice([8000, 8191, 8192, 8193, 20000])
        return line + pick.choice([b"\n", b"\r\n"])

    def _flipped(self, packet):
        changed = bytearray(packet)
        for _ in range(self._random.randint(1, 4)):
            changed[self._random.randrange(len(changed))] = self._random.randrange(256)
        return bytes(changed)

    def _bytes(self, size):
        return bytes(self._random.getrandbits(8) for _ in range(size)) if size <= 1000 else bytes(size)

    def ending(self):
        """How it leaves."""
        return self._random.choice(["half-close", "close", "reset"]) if self._wild else "half-close"

    def part(self):
        """How many bytes it sends at once."""
        return self._random.choice([1, 7, 100, 5000, 100000])


class Fuzzer:
    """One connection that sends what a Fuzz says, and reads whatever it gets."""

    def __init__(self, address, seed):
        self._fuzz = Fuzz(seed)
        self.rest, self.units = self._fuzz.stream()
        self.socket = socket.create_connection(address, TIMEOUT)
        self.socket.setblocking(False)
        self.sending, self.over = True, False

    def go_on(self, events):
        """Send and read; it is over when the server has ended the connection, or it has."""
        try:
            if events & selectors.EVENT_READ and not self.socket.recv(65536):
                self.over = True
            if events & selectors.EVENT_WRITE and self.sending:
                if self.rest:
                    self.rest = self.rest[self.socket.send(self.rest[:self._fuzz.part()]):]
                else:
                    self._leave()
        except BlockingIOError:
            return
        except OSError:
            self.over = True

    def _leave(self):
        self.sending = False
        ending = self._fuzz.ending()
        if ending == "half-close":
            self.socket.shutdown(socket.SHUT_WR)
            return
        if ending == "reset":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.over = True


def play(fuzzers):
    """Have connections send and read until all of them are over."""
    with selectors.DefaultSelector() as selector:
        for fuzzer in fuzzers:
            selector.register(fuzzer.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, fuzzer)
        while selector.get_map():
            ready = selector.select(TIMEOUT)
            assert ready, "the server does not end the connections of those who said all that they had to say"
            for key, events in ready:
                fuzzer = key.data
                fuzzer.go_on(events)
                if fuzzer.over:
                    selector.unregister(fuzzer.socket)
                    fuzzer.socket.close()
                elif not fuzzer.sending:
                    selector.modify(fuzzer.socket, selectors.EVENT_READ, fuzzer)


def one_good_job(client, worker, number):
    """A job of those who behave well, beside all that."""
    client.request(SUBMIT_JOB, b"good", b"", b"in %d" % number)
    packet_type, handle = client.packet()
    assert packet_type == JOB_CREATED
    worker.request(GRAB_JOB_UNIQ)
    worker.response(JOB_ASSIGN_UNIQ, handle, b"good", b"", b"in %d" % number)
    worker.request(WORK_COMPLETE, handle, b"out")
    client.response(WORK_COMPLETE, handle, b"out")


def open_files():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.mark.timeout(60 + COUNT // 200)
@pytest.mark.parametrize("size", few([FEW, COUNT]))
def test_whatever_is_sent_the_server_neither_breaks_nor_leaks_and_others_are_served(place, size):
    print("seed %d: GEARMAN_STD_FUZZ_SEED=%d GEARMAN_STD_FUZZ=%d repeats this" % (SEED, SEED, size))
    server = place.serve(max_packet_size=MAX_PACKET, limits=Limits(function_jobs=10, functions=1000))
    client, worker = place.wire(server), place.wire(server)
    worker.request(CAN_DO, b"good")
    one_good_job(client, worker, 0)
    gc.collect()
    files = open_files()
    sent = number = 0
    obeyed = []
    receive = server.core.receive

    def count(peer, packets):
        obeyed.append(len(packets))
        return receive(peer, packets)
    in_dispatcher(server, setattr, server.core, "receive", count)
    while sent < size:
        fuzzers = [Fuzzer(server.address, "%d %d" % (SEED, number + offset)) for offset in range(TOGETHER)]
        number += TOGETHER
        sent += sum(fuzzer.units for fuzzer in fuzzers)
        play(fuzzers)
        one_good_job(client, worker, number)
    while in_dispatcher(server, lambda: len(server._channels.all)) > 2:
        one_good_job(client, worker, number)  # until it has noticed that all of them have left
    in_dispatcher(server, check, server)
    core = server.core
    assert in_dispatcher(server, lambda: (len(core.peers), len(server._channels.turns), len(core.unsent))) == (2, 0, 0)
    assert not in_dispatcher(server, lambda: [job for job in core.jobs.values()
                                              if not job.background or job.worker is not None or job.watchers])
    assert open_files() == files
    assert sum(obeyed) > sent // 4, "much of it was understood"
    totals = client.totals()
    assert totals["connections_accepted"] == number + 2
    assert totals["faults"] == 0
    if size > FEW:
        assert totals["streams_refused"] > 0 and totals["packets_too_large"] > 0 and totals["refused"] > 0
    assert totals["peers_dropped_stalled"] == totals["peers_dropped_unread"] == 0


def test_the_same_seed_sends_the_same_bytes():
    streams = [Fuzz("%d %d" % (SEED, number)).stream() for number in range(20)]
    assert streams == [Fuzz("%d %d" % (SEED, number)).stream() for number in range(20)]
    assert all(stream.count(REQUEST_MAGIC) > 0 for stream, units in streams if units > 20)

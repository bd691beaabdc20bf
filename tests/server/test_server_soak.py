"""Memory is given back: a server through which jobs and connections go without end stays as large as it was after a while.

GEARMAN_STD_SOAK sets the number of jobs: 20,000 take a second or two, 2,000,000 some minutes; the curve is printed.
"""
import collections
import gc
import os
import random
import socket
import ssl
import subprocess
import sys
from contextlib import suppress

import pytest

from gearman_std.server.channel import Channel
from gearman_std.core.jobs import Job
from gearman_std.core.peers import Peer
from gearman_std.wire.protocol import (CAN_DO, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, NO_JOB, SUBMIT_JOB, SUBMIT_JOB_BG,
                                       SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW, WORK_COMPLETE, WORK_FAIL, PacketReader,
                                       pack_request)
from gearman_std.core.roster import AbilitySet

from server_tools import Wire, in_dispatcher

TLS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tls")
JOBS = int(os.environ.get("GEARMAN_STD_SOAK") or 20000)
ROUND = 400        # jobs of a round
BOUND = 1000       # KiB that it may grow after the first quarter

PROGRAM = ("from gearman_std.server.server import Server; server = Server(port=0, listen=['127.0.0.1']); server.bind();"
           "print(server.address[1], flush=True); server.serve()")


def resident(process):
    """Its memory now, in KiB."""
    with open("/proc/%d/status" % process.pid) as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def grab(worker, count):
    """Grab and end up to so many jobs; return how many there were."""
    worker.send(pack_request(GRAB_JOB) * count)
    handles = []
    for _ in range(count):
        packet_type, body = worker.packet()
        if packet_type != NO_JOB:
            assert packet_type == JOB_ASSIGN
            handles.append(body.split(b"\0", 1)[0])
    worker.send(*[pack_request(WORK_COMPLETE, handle, b"x" * 50) if index % 10 else pack_request(WORK_FAIL, handle)
                  for index, handle in enumerate(handles)])
    return len(handles)


def play_round(address, chance, number):
    """Some jobs, from clients and by workers that come and go, also in the middle of everything."""
    client, hasty, worker, lost = [Wire(address) for _ in range(4)]
    functions = [b"steady", b"of round %d" % (number % 7)]
    for one in (worker, lost):
        one.send(*[pack_request(CAN_DO, function) for function in functions])
    packets = [pack_request(chance.choice([SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW]),
                            chance.choice(functions), chance.choice([b"", b"", b"unique %d %d" % (number, index)]),
                            b"x" * chance.choice([0, 10, 300, 3000]))
               for index in range(ROUND)]
    client.send(*packets[ROUND // 4:])
    hasty.send(*packets[:ROUND // 4])
    created = 0
    while created < len(packets) - ROUND // 4:
        created += client.packet()[0] == JOB_CREATED
    hasty.packet()
    lost.send(pack_request(GRAB_JOB) * 10)
    lost.packet()
    lost.abandon()   # with jobs that it runs
    hasty.abandon()  # with jobs that it waits for
    while grab(worker, 100):
        continue
    worker.send(b"version\n")
    worker.line()
    client.abandon()
    worker.abandon()


def objects():
    """How many objects there are that a job or a connection consists of."""
    kinds = collections.Counter(type(thing).__name__ for thing in gc.get_objects())
    return {kind.__name__: kinds[kind.__name__] for kind in (Job, Peer, Channel, PacketReader, AbilitySet)}


def left_in_cycles():
    """The objects of the server's that nothing but a collection of cycles frees, by kind."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return collections.Counter(type(thing).__name__ for thing in gc.garbage
                                   if type(thing).__module__.startswith("gearman_std.") or isinstance(thing, ssl.SSLObject))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@pytest.fixture
def uncollected():
    """No collection of cycles, which would hide what is left."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def end_of(server):
    """Wait until nobody is connected."""
    while in_dispatcher(server, lambda: len(server._channels.all) + len(server._channels.leaving)):
        continue


def test_no_object_is_left_of_jobs_and_connections_that_are_gone(place, uncollected):
    server = place.serve()
    before = in_dispatcher(server, objects)
    for number in range(5):
        play_round(server.address, random.Random(number), number)
    end_of(server)
    assert in_dispatcher(server, objects) == before


SAYINGS = [b"status\nworkers\nshow jobs json\nshow totals\n", b"nonsense\n", b"x" * 100000, b"\0REQ\xff\xff\xff\xff\0\0\0\1",
           b"\0REQ\0\0\0\x07\0\1\0\0half", b"\x16\x03\x01", pack_request(SUBMIT_JOB, b"f", b"u", b"w"),
           b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
           b"POST /f HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
           b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n", b""]


def say(address, secure, saying):
    """Say something over a connection, hear what comes back, if it is not ended before, and leave."""
    connection = socket.create_connection(address, 20)
    with suppress(OSError):
        if secure:
            context = ssl.create_default_context(cafile=os.path.join(TLS, "ca.pem"))
            connection = context.wrap_socket(connection, server_hostname="localhost")
        connection.sendall(saying)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            continue
    connection.close()


def test_what_people_say_leaves_no_cycles_for_the_collector(place, uncollected):
    kinds = ["tcp", "http", "web", "tls", "https", "webs"]
    server = place.serve(listen=["%s:127.0.0.1:0" % kind for kind in kinds], tls={
        "certificate": os.path.join(TLS, "server.pem")})
    for kind, address in zip(kinds, server.addresses):
        for saying in SAYINGS:
            say(address, kind in ("tls", "https", "webs"), saying)
        say(address, False, SAYINGS[0])  # no TLS where some is expected
    end_of(server)
    assert left_in_cycles() == {}


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads memory from /proc")
@pytest.mark.timeout(60 + JOBS // 2000)
def test_memory_stays_flat_while_jobs_and_connections_come_and_go(place, root):
    chance = random.Random(7)
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, cwd=root)
    with process:
        try:
            address = ("127.0.0.1", int(process.stdout.readline()))
            curve, rounds = [], max(8, JOBS // ROUND)
            for number in range(rounds):
                play_round(address, chance, number)
                curve.append(resident(process))
            watcher = place.wire(address)
            totals = watcher.totals()
            watcher.close()
        finally:
            process.kill()
    print("KiB, from the first to the last of %d rounds: %s" % (rounds, curve[::max(1, rounds // 40)] + curve[-1:]))
    assert totals["submitted"] >= rounds * ROUND * 3 // 4
    assert totals["jobs"] == totals["job_bytes"] == 0 and totals["peers"] <= 5
    settled = max(curve[:rounds // 4])
    assert max(curve) - settled < BOUND, curve

"""A worker outlives servers that come and go, in simulated time and in real time."""
import collections
import logging
import os
import random
import socket
import sys
import threading
import time

import pytest

from gearman_std.client.client import Client
from gearman_std.errors import GearmanError
from gearman_std.net.system import System
from gearman_std.server.server import Server
from gearman_std.worker.worker import Worker
from gearman_std.worker.job import Retry

from patience import until
from samples import few
from worker_tools import WAIT, AtWork, World


def live_through(world, caplog, seed, threads=2):
    """Have a worker do the jobs of a world to its end; return the lines that it has logged."""
    caplog.set_level(logging.INFO, "gearman_std.worker")
    system = System(clock=world.clock, random=random.Random(seed).random, connect=world.connect, make_selector=world.selector)
    world.worker = worker = Worker(world.names, threads=threads, _system=system)

    @worker.function("f")
    def function(job):
        if job.attempt == 1 and job.workload.endswith(b"7"):
            raise Retry(after=3)
        return job.workload
    with AtWork(worker) as at_work:
        at_work.thread.join(50)
    assert world.now >= world.end
    return [record.getMessage() for record in caplog.records]


def changes_told(lines, name):
    """What the log says of a server: up, down, …"""
    return ["up" if "connected to" in line else "down" for line in lines
            if " %s:4730" % name in line + " " and ("connected to" in line or "tried again until" in line)]


@pytest.mark.long
@pytest.mark.parametrize("seed", (2 * sys.version_info[1], 2 * sys.version_info[1] + 1))
def test_an_hour_of_servers_that_come_and_go(seed, caplog):
    """Servers refuse, hang up, fall silent, talk nonsense, answer once and fail, wake without a reason.  In the end every job
    was done; tries were few, the log is as long as the changes of state, and nothing was done over and over again.  Each Python
    has hours of its own."""
    world = World(seed, ["a", "b", "c"])
    lines = live_through(world, caplog, seed)
    assert world.submitted > 50 and not any(world.waiting.values())
    assert len(world.done) == world.submitted
    assert sum(world.attempts.values()) < 3600 / 2, world.attempts
    assert world.selects < 40000, world.selects
    for name in world.names:
        told = changes_told(lines, name)
        assert all(one != two for one, two in zip(told, told[1:])), "one line for each change of state"


@pytest.mark.parametrize("mode", few(World.MODES))
def test_half_an_hour_of_one_kind_of_trouble(mode, caplog):
    """A server in trouble all the time neither busies the worker nor keeps it from the jobs of a good one."""
    world = World(0, ["good", "bad"], (mode,), hours=0.5)
    world.change("good", "up")
    world.flips = {"good": world.end, "bad": world.end}
    world.change("bad", mode)
    lines = live_through(world, caplog, 0, threads=1)
    assert world.submitted > 50 and not world.waiting["good"] and len(world.done) == world.submitted
    assert world.attempts["good"] == 1
    assert world.attempts["bad"] < 900 / 4, "at most a try in five seconds, after the first ones"
    assert world.selects < (13000 if mode == "waking" else 4000), "woken all the time it rests, else there is nothing to do"
    if mode in ("down", "closing", "silent"):
        assert changes_told(lines, "bad") in (["down", "up"], ["up", "down", "up"])


class NobodyThere(World):
    """Of which no server ever comes up."""

    def change(self, name, mode):
        pass


@pytest.mark.long
def test_an_hour_in_which_every_server_is_down(caplog):
    """There is hardly anything to do, and a line of log for each server."""
    world = NobodyThere(0, ["a", "b"])
    lines = live_through(world, caplog, 0)
    assert 3600 / 60 <= min(world.attempts.values()) and max(world.attempts.values()) < 3600 / 4
    assert world.selects < 6000, "the world lets no wait be longer than two seconds"
    assert [changes_told(lines, name) for name in world.names] == [["down"], ["down"]] and len(lines) <= 3


SECONDS = float(os.environ.get("GEARMAN_STD_SURVIVAL", "2"))


class Trouble:
    """Holds a port in a server's place: accepts connections and hangs up, says nothing, or talks nonsense."""

    def __init__(self, port, kind, source):
        self.kind = kind
        self.source = source
        self.accepted = []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(20)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                connected = self.listener.accept()[0]
            except OSError:
                return
            self.accepted.append(connected)
            if self.kind == "closing":
                connected.close()
            elif self.kind == "garbage":
                connected.sendall(bytes(self.source.randrange(256) for _ in range(100)))

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def join(self):
        self.thread.join(WAIT)
        for connected in self.accepted:
            connected.close()


class Town:
    """Three ports, at each of which a server, trouble, or nobody is, changing all the time."""

    def __init__(self, seed):
        self.source = random.Random(seed)
        self.places = [Server(port=0) for _ in range(3)]
        self.ports = []
        self.changes = 0
        for server in self.places:
            server.start()
            self.ports.append(server.address[1])

    def change(self, index, what=None):
        """Replace what is at a port, by default by something else than a server if there is one."""
        if what is None:
            good = isinstance(self.places[index], Server)
            what = self.source.choice(("nobody", "closing", "silent", "garbage")) if good else "server"
        if self.places[index] is not None:
            self.places[index].stop()
            self.places[index].join()
        self.places[index] = None
        self.changes += 1
        if what == "server":
            self.places[index] = server = Server(port=self.ports[index])
            server.start()
        elif what != "nobody":
            self.places[index] = Trouble(self.ports[index], what, self.source)

    def close(self):
        for place in self.places:
            if place is not None:
                place.stop()
                place.join()


def descriptors():
    """How many files this process has open, where that can be told."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.mark.long
@pytest.mark.timeout(60 + SECONDS)
def test_servers_that_come_and_go_in_real_time(caplog):
    """GEARMAN_STD_SURVIVAL is for how many seconds, by default two.  A client submits what was lost again; every job is done
    at last, nothing is left of all the connections and threads, and the log is as long as the changes of state."""
    caplog.set_level(logging.INFO, "gearman_std.worker")
    before = threading.active_count(), descriptors()
    end = time.monotonic() + SECONDS
    town = Town(int(os.environ.get("GEARMAN_STD_SEED", "0")))
    addresses = [("127.0.0.1", port) for port in town.ports]
    worker = Worker(addresses, threads=4, _system=System(random=lambda: 0.0))
    worker.register("double", lambda job: job.workload * 2)
    results, troubles = {}, collections.Counter()
    with AtWork(worker), Client(addresses, connect_timeout=1.0, command_timeout=0.5, job_timeout=1.0) as client:
        number = 0
        while time.monotonic() < end or len(results) <= 50:  # when servers hang, a job takes up to a second
            town.change(town.source.randrange(3))
            pause = time.monotonic() + town.source.uniform(0.0, 0.3)
            while time.monotonic() < pause:
                number += 1
                results[number] = try_once(client, number, troubles)
        for index in range(3):
            town.change(index, "server")
        for number in [number for number, result in results.items() if result is None]:
            until(lambda: try_once(client, number, troubles) is not None)
            results[number] = b"%d" % number * 2
        until(lambda: len(worker.health().connected) == 3)
    town.close()
    assert len(results) > 50 and all(result == b"%d" % number * 2 for number, result in results.items())
    until(lambda: threading.active_count() <= before[0])
    assert descriptors() <= before[1]
    lines = [record.getMessage() for record in caplog.records]
    states = [line for line in lines if "connected to" in line or "tried again until" in line]
    assert len(states) <= 2 * town.changes + 6
    assert len(lines) - len(states) <= troubles["failed"] + town.changes * 4 + 2


def try_once(client, number, troubles):
    """The result of a job, None if it came to nothing."""
    try:
        return client.run("double", b"%d" % number)
    except GearmanError as error:
        troubles["failed"] += 1
        troubles[type(error).__name__] += 1
        return None

"""A worker outlives servers that come and go, in simulated time and in real time."""
import logging
import random

import pytest

from gearman_std.worker import Worker
from gearman_std.worker_job import Retry

from worker_tools import AtWork, World


def live_through(world, caplog, seed, threads=2):
    """Have a worker do the jobs of a world to its end; return the lines that it has logged."""
    caplog.set_level(logging.INFO, "gearman_std.worker")
    world.worker = worker = Worker(world.names, threads=threads, clock=world.clock, random=random.Random(seed).random,
                                   connect=world.connect, selector=world.selector)

    @worker.function("f")
    def function(job):
        if job.attempt == 1 and job.workload.endswith(b"7"):
            raise Retry(after=3)
        return job.workload
    with AtWork(worker) as at_work:
        at_work.thread.join(50)
    assert world.clock.now >= world.end
    return [record.getMessage() for record in caplog.records]


def changes_told(lines, name):
    """What the log says of a server: up, down, …"""
    return ["up" if "connected to" in line else "down" for line in lines
            if " %s:4730" % name in line + " " and ("connected to" in line or "tried again until" in line)]


@pytest.mark.parametrize("seed", range(4))
def test_an_hour_of_servers_that_come_and_go(seed, caplog):
    """Servers refuse, hang up, fall silent, talk nonsense, answer once and fail, wake without a reason.  In the end every job
    was done; tries were few, the log is as long as the changes of state, and nothing was done over and over again."""
    world = World(seed, ["a", "b", "c"])
    lines = live_through(world, caplog, seed)
    assert world.submitted > 100 and not any(world.waiting.values())
    assert len(world.done) == world.submitted
    assert sum(world.attempts.values()) < 3600 / 2, world.attempts
    assert world.selects < 40000, world.selects
    for name in world.names:
        told = changes_told(lines, name)
        assert all(one != two for one, two in zip(told, told[1:])), "one line for each change of state"


@pytest.mark.parametrize("mode", World.MODES)
def test_half_an_hour_of_one_kind_of_trouble(mode, caplog):
    """A server in trouble all the time neither busies the worker nor keeps it from the jobs of a good one."""
    world = World(0, ["good", "bad"], (mode,), hours=0.5)
    world.change("good", "up")
    world.flips = {"good": world.end, "bad": world.end}
    world.change("bad", mode)
    lines = live_through(world, caplog, 0, threads=1)
    assert world.submitted > 100 and not world.waiting["good"] and len(world.done) == world.submitted
    assert world.attempts["good"] == 1
    assert world.attempts["bad"] < 900 / 4, "at most a try in five seconds, after the first ones"
    assert world.selects < (13000 if mode == "waking" else 4000), "woken all the time it rests, else there is nothing to do"
    if mode in ("down", "closing", "silent"):
        assert changes_told(lines, "bad") in (["down", "up"], ["up", "down", "up"])

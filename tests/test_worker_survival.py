"""A worker outlives servers that come and go."""
import logging
import random

import pytest

from gearman_std.worker import Worker

from worker_tools import AtWork, World


@pytest.mark.parametrize("seed", range(2))
def test_an_hour_of_servers_that_come_and_go(seed, caplog):
    """Every server's jobs are done whenever it is up; tries are few and the log is as long as the changes of state."""
    caplog.set_level(logging.INFO, "gearman_std.worker")
    world = World(seed, ["a", "b", "c"])
    world.worker = worker = Worker(world.names, clock=world.clock, random=random.Random(seed).random, connect=world.connect,
                                   selector=world.selector)
    worker.register("f", lambda job: b"done")
    with AtWork(worker) as at_work:
        at_work.thread.join(50)
    assert world.clock.now >= world.end
    assert min(world.done.values()) >= 10, world.done
    assert sum(world.attempts.values()) < 3 * 3600 / 3, world.attempts
    lines = [record.getMessage() for record in caplog.records]
    for name in world.names:
        told = ["up" if "connected to" in line else "down" for line in lines if " %s:4730" % name in line + " "
                and ("connected to" in line or "tried again" in line)]
        assert all(one != two for one, two in zip(told, told[1:])), "one line for each change of state"

"""The invariants notice what is wrong; a check that cannot fail would prove nothing."""
from unittest import mock

import pytest

from gearman_std.core.invariants import check_core
from gearman_std.core.chain import untie
from gearman_std.core.jobs import GONE, SET_ASIDE, FunctionPolicy, Job
from gearman_std.wire.protocol import CAN_DO_TIMEOUT, NOOP, SUBMIT_JOB_EPOCH


@pytest.fixture
def full(make_world):
    """A world with something of everything."""
    world = make_world(policy=FunctionPolicy(retries=1))
    world.client, world.runner = world.connects(), world.connects()
    world.runner.says(CAN_DO_TIMEOUT, b"f", b"5000")
    world.client.submits_bg()
    world.loses(1)
    world.running = world.core.jobs[world.client.submits()]
    world.runner.grabs()
    world.client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 9), b"").takes()
    world.waiting = world.core.jobs[world.client.submits(b"f", b"u")]
    world.sleepers = [world.worker(b"g", sleeps=True) for _ in range(2)]
    world.client.submits_bg(b"g")
    world.sleepers[0].hears((NOOP,))
    with mock.patch("gearman_std.core.jobs.MOST_TOLD", 0):
        world.asking = world.worker(b"h", sleeps=True)
    world.crowd = world.core.functions[b"h"].crowd
    check_core(world.core)
    return world


def lose_escalation(world):
    world.core.functions[b"g"].escalating = 0


def leave_queue(job):
    job.ahead.behind, job.behind.ahead = job.behind, job.ahead


def set_state(job, state):
    job.state = state


BREAKAGES = {
    "a count of waiting jobs": lambda world: world.core.functions[b"f"].waiting.__setitem__(1, 7),
    "a count of running jobs": lambda world: setattr(world.core.functions[b"f"], "running", 0),
    "a count of delayed jobs": lambda world: world.core.functions[b"f"].delayed.__setitem__(0, 1),
    "a count of jobs set aside": lambda world: setattr(world.core.functions[b"f"], "aside", 0),
    "a count of workers": lambda world: setattr(world.core.functions[b"f"], "workers", 2),
    "the bytes of all jobs": lambda world: setattr(world.core, "size", 0),
    "the bytes of a function's jobs": lambda world: setattr(world.core.functions[b"g"], "size", 0),
    "a job without a queue": lambda world: leave_queue(world.waiting),
    "a job in the queue of another priority": lambda world: setattr(world.waiting, "priority", 2),
    "a job that is ahead of one that is not behind it": lambda world: setattr(world.waiting, "ahead", world.running),
    "a finished job that is listed": lambda world: set_state(world.waiting, GONE),
    "a job set aside that is not": lambda world: set_state(world.running, SET_ASIDE),
    "a running job without a worker": lambda world: setattr(world.running, "worker", None),
    "a worker that knows nothing of its job": lambda world: world.runner.peer.running.clear(),
    "a watcher that knows nothing of its job": lambda world: world.client.peer.watching.clear(),
    "a job that knows nothing of its watcher": lambda world: setattr(world.waiting, "watchers", ()),
    "a time limit without a timer": lambda world: world.core.time_limits.cancel(world.running.timer),
    "a unique of a job that is not there": lambda world: world.core.functions[b"g"].uniques.update(x=world.waiting),
    "a sleeper in no list": lambda world: world.sleepers[1].peer.ability_set.sleepers.clear(),
    "a count of members": lambda world: setattr(world.runner.peer.ability_set, "members", 9),
    "a ready function that is not listed": lambda world: world.runner.peer.ability_set.ready[1].clear(),
    "a function about which nobody asks": lambda world: world.asking.peer.ability_set.crowds.clear(),
    "an urgency that is none": lambda world: setattr(world.crowd, "urgency", 0),
    "a sleeper that nobody would find": lambda world: world.crowd.asleep.clear(),
    "a set that does not ask": lambda world: world.crowd.asleep.update({world.runner.peer.ability_set: None}),
    "a lost wake-up": lose_escalation,
    "an escalation that never comes": lambda world: world.core.roster.escalations.clear(),
    "a job that is not in the chain": lambda world: untie(world.waiting) or world.core.aside_chain.add(world.waiting),
    "a chain that has too many": lambda world: world.core.aside_chain.add(
        Job(b"H", world.waiting.function, b"", b"", 1, True, 0)),
    "a watcher that is not counted": lambda world: world.client.peer.watching.__setitem__(world.waiting, 0),
    "a peer twice among the unsent": lambda world: world.core.unsent.extend([world.client.peer] * 2),
    "a peer with something to send that nobody will": lambda world: world.client.peer.outgoing.append(b"x"),
}


@pytest.mark.parametrize("what", sorted(BREAKAGES))
def test_the_check_notices(full, what):
    BREAKAGES[what](full)
    with pytest.raises(AssertionError):
        check_core(full.core)
    for talker in full.talkers:
        talker.peer.outgoing.clear()

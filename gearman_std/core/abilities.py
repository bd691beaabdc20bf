"""Which functions a worker says it can do, and which of its jobs go back into their queues when it can do fewer or is lost."""
from itertools import islice

from ..wire.protocol import PRE_SLEEP
from .attempts import attempt_lost
from .limits import TOO_MANY_ABILITIES, TOO_MANY_FUNCTIONS, tell_refusal
from .peers import ASLEEP, AWAKE
from .tables import LARGE_TABLE, in_layers
from .turns import MANY, STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator
    from ..wire.protocol import Data
    from .jobs import Function
    from .peers import Peer
    from .state import CoreState


def register_ability(core: "CoreState", peer: "Peer", name: bytes, time_limit: float) -> None:
    """A peer can do a function; the time limit is in seconds, 0 for none."""
    most = core.limits.abilities
    if name not in peer.abilities and most and len(peer.abilities) >= most:
        tell_refusal(core.counters, peer, TOO_MANY_ABILITIES)
        return
    room = core.registry.make_room_for(name)
    if room is None:
        core.turns.undertake(peer, core.registry.find_room_for(
            name, lambda: register_ability(core, peer, name, time_limit)), lasts=False)
    elif not room:
        tell_refusal(core.counters, peer, TOO_MANY_FUNCTIONS)
    else:
        core.roster.register(peer, core.add_function(name), time_limit)
        _rejoin(core, peer)


def unregister_ability(core: "CoreState", peer: "Peer", name: bytes) -> None:
    """A peer can no longer do a function; its jobs of that function go back into their queues."""
    if name not in peer.abilities:
        return
    function = core.functions[name]
    core.roster.unregister(peer, function)
    _after_unregistering(core, function, peer.sleep != ASLEEP)
    _rejoin(core, peer)
    if peer.running and function.running:
        core.turns.undertake(peer, give_back(core, peer, b"the worker gave it back"), lasts=True)


def _rejoin(core: "CoreState", peer: "Peer") -> None:
    """A sleeper whose many abilities have changed falls asleep anew, as it joins its new set in several turns."""
    if peer.sleep == ASLEEP and peer.ability_set is None and len(peer.abilities) > MANY:
        peer.sleep = AWAKE
        core.turns.put_off(PRE_SLEEP)


def unregister_all(core: "CoreState", peer: "Peer") -> None:
    """A peer can no longer do any function; its jobs go back into their queues."""
    core.turns.finish(withdraw(core, peer))
    if peer.running:
        core.turns.undertake(peer, give_back(core, peer, b"the worker gave it back"), lasts=True)


def withdraw(core: "CoreState", peer: "Peer") -> "Iterator[Data]":
    awake = peer.sleep != ASLEEP
    for count, function in enumerate(core.roster.unregister_all(peer), 1):
        _after_unregistering(core, function, awake)
        if not count % STEP:
            yield b""


def _after_unregistering(core: "CoreState", function: "Function", awake: bool) -> None:
    if not function.workers:
        core.registry.note_unused(function, core.now)
    if awake:
        core.roster.pass_on(function, core.now)


def give_back(core: "CoreState", peer: "Peer", error: bytes) -> "Iterator[Data]":
    """The jobs that a worker can no longer do go back into their queues, in the order in which it got them."""
    running, peer.running = peer.running, {}
    jobs = iter(running.values())
    left = len(running)
    while left:
        some = list(islice(jobs, STEP))
        left -= len(some)
        for job in some:
            if job.worker is not peer:
                continue
            if job.function.name in peer.abilities:
                peer.running[job.handle] = job
            else:
                attempt_lost(core, job, error)
        if len(peer.running) >= LARGE_TABLE:
            peer.running = in_layers(peer.running)
        if left:
            yield b""
    while len(running) > MANY:  # one at a time, because emptying a very large dict at once takes long
        for _ in range(MANY):
            running.popitem()
        yield b""

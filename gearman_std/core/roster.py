"""Who can do what, who sleeps, and who is woken for a job.

A peer that sent PRE_SLEEP is ASLEEP until a NOOP makes it WOKEN; it is WOKEN until it grabs or sleeps again.  A waiting job
wakes as few peers as needed; if it still waits after a while, more and more.
"""
from collections import OrderedDict, deque

from ..wire.protocol import NOOP, pack_response
from .jobs import AbilitySet
from .peers import ASLEEP, AWAKE, WOKEN
from .turns import MANY, STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Deque, Dict, FrozenSet, Iterator, List, Optional, Tuple
    from .jobs import Function
    from .peers import Peer
    from .turns import Turns

# How long a waiting job may stay un-grabbed, in seconds, before more sleepers are woken for it.
ESCALATION_DELAY = 0.05

# An ability set with more functions than this is changed in place, not made anew, if its only member's abilities change.
FEW_ABILITIES = 32

_ALL = float("inf")
_NOOP_PACKET = pack_response(NOOP)


class Roster:
    """Abilities and sleep of all peers.

    `functions` are the core's, by name; `wakeup` is how many sleepers a new job wakes, see CoreState.

    Owner: the Core.
    """

    def __init__(self, functions: "Dict[bytes, Function]", wakeup: "Optional[int]", turns: "Turns") -> None:
        self.wakeup = wakeup
        self.handing_out = True   # jobs are given to workers
        self.ability_sets = {}    # type: Dict[FrozenSet[bytes], AbilitySet]
        self.changed = []         # type: List[Peer] # sleepers whose abilities changed
        self.leaving = []         # type: List[Dict[bytes, int]] # abilities that are being unregistered
        self.expecting = deque()  # type: Deque[Peer] # woken peers that want no NOOP but the job itself
        self.rousing = {}         # type: Dict[Function, float] # how many more sleepers are woken in steps, after those of now
        self._functions = functions
        self._turns = turns
        self.escalations = deque()  # type: Deque[Tuple[float, Function]] # when more are woken for which function

    def __repr__(self) -> str:
        return "<Roster: %d ability sets, %d escalations>" % (len(self.ability_sets), len(self.escalations))

    # ----------------------------------------------------------------------------------------------------------- abilities

    def register(self, peer: "Peer", function: "Function", time_limit: float) -> None:
        """A peer can do a function; the time limit is in seconds, 0 for none."""
        if function.name not in peer.abilities:
            peer.abilities[function.name] = 0
            ability_set = self._own_set(peer)
            if ability_set is not None:
                ability_set.add(function)
        function.gain_worker()
        peer.abilities[function.name] += 1
        if time_limit:
            peer.time_limits[function] = time_limit
        else:
            peer.time_limits.pop(function, None)

    def unregister(self, peer: "Peer", function: "Function") -> None:
        """A peer can no longer do one of its functions."""
        ability_set = self._own_set(peer)
        if ability_set is not None:
            ability_set.remove(function)
        function.lose_workers(peer.abilities.pop(function.name))
        peer.time_limits.pop(function, None)

    def unregister_all(self, peer: "Peer") -> "Iterator[Function]":
        """A peer can no longer do any function; yields each function when it has been removed."""
        abilities, peer.abilities = peer.abilities, OrderedDict()
        if peer.sleep == ASLEEP and peer.ability_set is not None:
            self.changed.append(peer)
        left = self._leave(peer)
        peer.time_limits = {}
        if peer.gone:
            peer.sleep = AWAKE
        self.leaving.append(abilities)
        while abilities:
            name, count = abilities.popitem(last=False)
            function = self._functions[name]
            function.lose_workers(count)
            if left is not None:
                left.remove(function)
            yield function
        self.leaving.remove(abilities)

    def _own_set(self, peer: "Peer") -> "Optional[AbilitySet]":
        """The abilities of a peer are about to change: return its set if it is the only member; else leave the set.

        If the peer sleeps, it looks for work, or for its new set, when all packets of this round are read.
        """
        ability_set = peer.ability_set
        if ability_set is None:
            return None
        if peer.sleep == ASLEEP:
            self.changed.append(peer)
        if ability_set.members > 1 or len(ability_set.functions) <= FEW_ABILITIES:
            left = self._leave(peer)
            if left is not None:
                for function in list(left.functions):
                    left.remove(function)
            return None
        self._take_key(ability_set)
        return ability_set

    def _leave(self, peer: "Peer") -> "Optional[AbilitySet]":
        """Leave the ability set; return the set if nobody is left in it, so that the caller removes its functions."""
        ability_set = peer.ability_set
        if ability_set is None:
            return None
        peer.ability_set = None
        ability_set.sleepers.pop(peer, None)
        ability_set.members -= 1
        if ability_set.members:
            return None
        self._take_key(ability_set)
        return ability_set

    def _take_key(self, ability_set: AbilitySet) -> None:
        if ability_set.key is not None:
            del self.ability_sets[ability_set.key]
            ability_set.key = None

    def join(self, peer: "Peer") -> AbilitySet:
        """Put a peer that is in no ability set into the set for its abilities."""
        key = frozenset(peer.abilities)
        ability_set = self.ability_sets.get(key)
        if ability_set is None:
            # gearmand looks first at the function that was registered last.
            functions = [self._functions[name] for name in reversed(peer.abilities)]
            ability_set = self.ability_sets[key] = AbilitySet(key, functions)
        return self._enter(peer, ability_set)

    def join_in_steps(self, peer: "Peer") -> "Iterator[bytes]":
        """`join` in steps, for a peer with very many functions; nothing comes of it if the peer leaves meanwhile."""
        abilities = peer.abilities
        key = frozenset(abilities)
        yield b""
        ability_set = self.ability_sets.get(key)
        if ability_set is None:
            ability_set = AbilitySet(None, ())
            names = list(abilities)
            while names and peer.abilities is abilities:
                for name in [names.pop() for _ in range(min(len(names), MANY))]:
                    ability_set.add(self._functions[name], first=False)
                yield b""
            if not names and peer.abilities is abilities and key not in self.ability_sets:
                ability_set.key = key
                self.ability_sets[key] = ability_set
            else:  # it has left, or another with the same abilities was faster
                functions = list(ability_set.functions)
                while functions:
                    for function in [functions.pop() for _ in range(min(len(functions), MANY))]:
                        ability_set.remove(function)
                    yield b""
        if peer.abilities is abilities and peer.ability_set is None:
            self._enter(peer, self.ability_sets[key])

    def _enter(self, peer: "Peer", ability_set: AbilitySet) -> AbilitySet:
        ability_set.members += 1
        peer.ability_set = ability_set
        return ability_set

    # --------------------------------------------------------------------------------------------------------------- sleep

    def fall_asleep(self, peer: "Peer") -> None:
        """A peer sleeps, unless there is work for it."""
        ability_set = peer.ability_set or self.join(peer)
        if self.handing_out and ability_set.has_work():
            if peer.sleep == ASLEEP:
                ability_set.sleepers.pop(peer, None)
            self._wake_peer(peer)
        else:
            peer.sleep = ASLEEP
            ability_set.add_sleeper(peer)

    def settle(self) -> None:
        """All packets of this round are read: sleepers whose abilities changed find their new sets."""
        changed, self.changed = self.changed, []
        for peer in changed:
            if peer.sleep == ASLEEP and (peer.ability_set is None or peer.ability_set.has_work()):
                self.fall_asleep(peer)

    # ------------------------------------------------------------------------------------------------------------- wake-up

    def wake(self, function: "Function", now: float) -> bool:
        """One more job of a function waits: make sure that a sleeper comes for it; return False if none can be woken."""
        for ability_set in function.ability_sets:  # what `sets_asleep` does (benchmark: every job)
            if ability_set.sleepers:
                break
        else:
            if function.crowd is None or not function.crowd.asleep:
                return False
        if function.paused or not self.handing_out:
            return False
        if self.wakeup is not None:
            self.rouse_many(function, self.wakeup)
        elif self.rouse(function, 1) and not function.escalating:
            function.escalating = 2
            self.escalations.append((now + ESCALATION_DELAY, function))
        return True

    def wake_for_all(self, function: "Function", now: float) -> "Iterator[bytes]":
        """The waiting jobs of a function may be given out again: make sure that sleepers come for them."""
        for count in range(1, sum(function.waiting) + 1):
            if not self.wake(function, now):
                return
            if not count % STEP:
                yield b""

    def rouse(self, function: "Function", count: int) -> bool:
        """Wake `count` more sleepers of a function, 0 for all; return whether some still sleep."""
        sets = function.sets_asleep()
        for ability_set in sets:
            sleepers = ability_set.sleepers
            while sleepers:
                peer, _ = sleepers.popitem(last=False)
                self._wake_peer(peer)
                if count == 1:
                    return bool(sleepers) or next(sets, None) is not None
                count -= 1
        return False

    def rouse_many(self, function: "Function", count: int) -> None:
        """Wake `count` more sleepers, 0 for all that sleep now; if they are many, in steps."""
        if function in self.rousing:
            self.rousing[function] += count or _ALL
        elif self.rouse(function, min(count or STEP, STEP)) and not 0 < count <= STEP:
            self.rousing[function] = count - STEP if count else _ALL
            self._turns.finish(self._rouse_in_steps(function))

    def _rouse_in_steps(self, function: "Function") -> "Iterator[bytes]":
        while self.rousing[function]:
            left, self.rousing[function] = self.rousing[function], 0
            for count, peer in enumerate(_sleepers_of_now(function), 1):
                self._wake_peer(peer)
                if count >= left:
                    break
                if not count % STEP:
                    yield b""
        del self.rousing[function]

    def escalate(self, now: float) -> None:
        """Where woken workers did not come in time for a job, wake twice as many as the last time, MANY at most."""
        for _ in range(min(len(self.escalations), STEP)):
            if self.escalations[0][0] > now:
                break
            function = self.escalations.popleft()[1]
            count, function.escalating = function.escalating, 0
            if any(function.waiting) and not function.paused and self.handing_out and self.rouse(function, count):
                function.escalating = min(count * 2, MANY)
                self.escalations.append((now + ESCALATION_DELAY, function))

    def next_escalation(self) -> "Optional[float]":
        """When `escalate` has something to do, in monotonic seconds, or None."""
        return self.escalations[0][0] if self.escalations else None

    def pass_on(self, function: "Function", now: float) -> None:
        """A worker that was awake will not grab jobs of this function: make sure that another one comes for those that wait."""
        if any(function.waiting):
            self.wake(function, now)

    def _wake_peer(self, peer: "Peer") -> None:
        peer.sleep = WOKEN
        if peer.all_yours:
            self.expecting.append(peer)
        else:
            peer.send(_NOOP_PACKET)


def _sleepers_of_now(function: "Function") -> "Iterator[Peer]":
    """Take out the sleepers of a function, the longest asleep first in each set; not those that fall asleep meanwhile."""
    for ability_set in function.list_sets_asleep():
        sleepers = ability_set.sleepers
        for _ in range(len(sleepers)):
            if not sleepers:  # they have left meanwhile
                break
            yield sleepers.popitem(last=False)[0]
        if not sleepers and function.crowd is not None:
            function.crowd.asleep.pop(ability_set, None)

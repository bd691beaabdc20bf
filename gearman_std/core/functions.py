"""Which functions there are, how many there may be, when an unused one is forgotten, and which ones have statistics."""
from collections import OrderedDict

from ..arguments import check_numbers
from .jobs import Function, Totals
from .statistics import END_SIZE, FunctionStatistics
from .tables import LARGE_TABLE, in_layers
from .turns import MANY, STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, MutableMapping, Optional, Tuple
    from .jobs import FunctionPolicy
    from .limits import Limits

UNUSED_TIME = 3600.0   # seconds after which an unused function is forgotten


class Registry:
    """All functions by name.

    A function is made when it is first named.  It goes an hour after its last use, or when room is needed, or by an order; the
    limit on its waiting jobs stays under its name, and its totals stay in the sum.

    Owner: the Core.
    """

    __slots__ = ("by_name", "dropped", "max_queues", "unused", "name_size", "totals", "_limits", "_policy",
                 "_policies", "_statistics", "_all")

    def __init__(self, limits: "Limits", policy: "FunctionPolicy", policies: "Dict[bytes, FunctionPolicy]",
                 statistics: "Statistics") -> None:
        self.by_name = {}           # type: Dict[bytes, Function] # listed whole, which a plain dict does quickest
        self.dropped = {}           # type: Dict[bytes, Function] # by name: no functions any longer, but of jobs set aside
        self.max_queues = {}        # type: Dict[bytes, Tuple[int, int, int]]
        # Since when, the longest first; or used again.
        self.unused = OrderedDict()  # type: MutableMapping[Function, float]
        self.name_size = 0          # bytes of the names of all functions
        self.totals = Totals()      # of functions that are gone, and what belongs to no function
        self._limits = limits
        self._policy = policy
        self._policies = policies
        self._statistics = statistics
        self._all = None            # type: Optional[List[Function]] # until a function comes or goes

    def __repr__(self) -> str:
        return "<Registry: %d functions, %d dropped, %d perhaps unused>" % (
            len(self.by_name), len(self.dropped), len(self.unused))

    def all(self) -> "List[Function]":
        """The functions that there are now; the same list for all who ask, as there may be thousands of slow readers."""
        if self._all is None:
            self._all = list(self.by_name.values())
        return self._all

    def make_room_for(self, name: bytes) -> "Optional[bool]":
        """Whether there is a function of that name, or room for it; those unused for the longest time go if that makes room.

        None if it is not known yet, because very many have to be looked at: ask again in a later turn.
        """
        if name in self.by_name:
            return True
        for _ in range(4 * STEP):
            if not self._limits.lack_room(len(self.by_name), self.name_size, len(name)):
                return True
            if not self.unused:
                return False
            self._forget(next(iter(self.unused)))
        return None

    def find_room_for(self, name: bytes, then: "Callable[[], Any]") -> "Iterator[bytes]":
        """In steps, look until it is known; then call something that asks again."""
        while self.make_room_for(name) is None:
            yield b""
        then()

    def policy_of(self, name: bytes) -> "FunctionPolicy":
        """The policy for the function of that name, whether it exists now or not."""
        return self._policies.get(name, self._policy)

    def add(self, name: bytes, now: float) -> Function:
        """The function of that name, made if it is new."""
        function = self.by_name.get(name)
        if function is None:
            function = self.dropped.pop(name, None) or Function(name, self.policy_of(name))
            self.by_name[name] = function
            self._all = None
            function.max_queue = self.max_queues.get(name)
            self.name_size += len(name)
            self.note_unused(function, now)
            if len(self.unused) >= LARGE_TABLE:
                self.unused = in_layers(self.unused)
        return function

    def drop(self, function: Function) -> bool:
        """Forget a function, unless it has workers or jobs; jobs set aside do not count, and keep their count in it."""
        if function.workers or function.total or self.by_name.get(function.name) is not function:
            return False
        self._take_out(function)
        self.unused.pop(function, None)
        function.resume()
        function.kept = False
        if function.aside:
            self.dropped[function.name] = function
        else:
            self.totals.add(function.totals)
        return True

    def set_max_queue(self, name: bytes, limits: "Optional[Tuple[int, int, int]]", now: float) -> None:
        """Limit the jobs of a function, known or not, for high, normal and low submits; 0 or None: no limit."""
        if limits is None:
            self.max_queues.pop(name, None)
        else:
            self.max_queues[name] = limits
        function = self.by_name.get(name)
        if function is not None:
            function.max_queue = limits
            self.note_unused(function, now)

    def note_unused(self, function: Function, now: float) -> None:
        """One use of a function is over, perhaps the last."""
        if self.by_name.get(function.name) is function:
            self.unused.pop(function, None)
            self.unused[function] = now
        elif not function.aside and self.dropped.pop(function.name, None) is not None:
            self.totals.add(function.totals)

    def refuse(self, jobs: int = 1) -> None:
        """Count refused jobs that belong to no function."""
        self.totals.refused += jobs

    def add_up(self, totals: Totals) -> "Iterator[bytes]":
        """Add what happened to all jobs since the start, in steps."""
        totals.add(self.totals)
        for count, function in enumerate(self.all() + list(self.dropped.values()), 1):
            totals.add(function.totals)
            if not count % STEP:
                yield b""

    def forget_unused(self, now: float) -> "Iterator[bytes]":
        """Forget functions that nobody has used for long, in steps."""
        while True:
            for _ in range(STEP):
                if not self.overdue(now):
                    return
                self._forget(next(iter(self.unused)))
            yield b""

    def overdue(self, now: float) -> bool:
        """Whether a function may be one that nobody has used for long."""
        return bool(self.unused) and next(iter(self.unused.values())) + UNUSED_TIME <= now

    def _forget(self, function: Function) -> None:
        """Forget a function that was noted as unused, unless it is used again."""
        del self.unused[function]
        if not function.in_use:
            self._take_out(function)
            self.totals.add(function.totals)

    def _take_out(self, function: Function) -> None:
        del self.by_name[function.name]
        self._all = None
        self.name_size -= len(function.name)
        self._statistics.forget(function)


class Statistics:
    """Which functions have FunctionStatistics: the `functions` that were active last, each with its last `ends` ends; all ends
    together have about `end_bytes` bytes at most.

    Owner: the Core.
    """

    def __init__(self, functions: int = 1000, ends: int = 10, end_bytes: int = 4 << 20) -> None:
        check_numbers(locals(), "functions", "ends", "end_bytes")
        self.functions = functions
        self.ends = ends
        self.end_bytes = end_bytes
        self.size = 0                # bytes of all ends, about, as of the last second
        # The bytes of the ends of each; who did nothing for longest first.
        self._known = OrderedDict()  # type: OrderedDict[Function, int]
        self.active = {}            # type: Dict[Function, None] # who did something since their steps were ended

    def __repr__(self) -> str:
        return "<Statistics of %d functions>" % len(self._known)

    def note(self, function: Function, second: int, now: float) -> None:
        """Something happens to a function's jobs for the first time in this second."""
        function.noted = second
        self.active[function] = None
        statistics = function.statistics
        if statistics is not None:
            self._known.move_to_end(function)
            function.update_statistics(now)
            return
        if not self.functions:
            return
        statistics = function.statistics = FunctionStatistics(self.ends)
        function.note_success = statistics.fresh.append
        function.update_statistics(now)
        self._known[function] = 0
        if len(self._known) > self.functions:
            self.forget(next(iter(self._known)))

    def end_steps(self, now: float) -> "Iterator[bytes]":
        """A second is over: end the steps of the functions that were active, and drop ends for which there is no room."""
        active, self.active = self.active, {}
        looked_at = 0
        while active:  # one at a time, as to free very many that are forgotten by now takes long
            function, _ = active.popitem()
            statistics = function.statistics
            if statistics is not None:
                function.update_statistics(now)
                self._weigh(function, statistics)
                looked_at += len(statistics.ends)
            looked_at += MANY // STEP
            if looked_at >= MANY:
                yield b""
                looked_at = 0
        for function in list(self._known) if self.size > self.end_bytes else ():
            if self.size <= self.end_bytes:
                break
            if function.statistics is not None and self._known.get(function):
                function.statistics.forget_ends()
                self._weigh(function, function.statistics)

    def _weigh(self, function: Function, statistics: FunctionStatistics) -> None:
        """Update how many bytes the ends of a function have."""
        size = sum(END_SIZE + len(end[0]) + len(end[1]) + len(end[7]) for end in statistics.ends)
        self.size += size - self._known[function]
        self._known[function] = size

    def forget(self, function: Function) -> None:
        """Drop the statistics of a function."""
        size = self._known.pop(function, None)
        if size is not None:
            self.size -= size
            function.statistics = None
            function.note_success = bool
            function.noted = -1

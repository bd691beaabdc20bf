"""Orders that stand until they are taken back: pauses, limits, functions that stay, draining.  A store has them, too."""
from ..wire.protocol import parse_number
from .ledger import ORDER, OrderRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Optional, Tuple
    from .jobs import Function
    from .state import CoreState

# What they are called in a store.
PAUSE, MAX_QUEUE, CREATE, DRAIN = "pause", "maxqueue", "create", "drain"


def pause_function(core: "CoreState", function: "Function") -> None:
    """Give out no more jobs of a function."""
    if not function.paused:
        function.pause()
        core.ledger.order(PAUSE, function.name, b"")


def resume_function(core: "CoreState", function: "Function") -> None:
    """Give out the jobs of a function again."""
    if function.paused:
        core.ledger.order(PAUSE, function.name, None)
    _go_on(core, function)


def _go_on(core: "CoreState", function: "Function") -> None:
    function.resume()
    core.registry.note_unused(function, core.now)
    core.turns.finish(core.roster.wake_for_all(function, core.now))


def limit_function(core: "CoreState", name: bytes, limits: "Optional[Tuple[int, int, int]]") -> None:
    """Limit the jobs of a function, known or not, for high, normal and low submits; 0 or None: no limit."""
    if limits != core.registry.max_queues.get(name):
        core.registry.set_max_queue(name, limits, core.now)
        core.ledger.order(MAX_QUEUE, name, None if limits is None else b"%d %d %d" % limits)


def keep_function(core: "CoreState", function: "Function", kept: bool = True) -> None:
    """Let a function stay even if nobody uses it, or no longer."""
    if function.kept != kept:
        function.kept = kept
        core.ledger.order(CREATE, function.name, b"" if kept else None)


def begin_drop(core: "CoreState", function: "Function") -> None:
    """A function is being dropped, which takes a while: give out no more of its jobs; its own orders stand no longer."""
    if function.paused:
        core.ledger.order(PAUSE, function.name, None)
    keep_function(core, function, False)
    function.pause()
    core.dropping.add(function)


def end_drop(core: "CoreState", function: "Function") -> None:
    """A function has been dropped; if it was created again, or new jobs have come meanwhile, it stays."""
    core.dropping.discard(function)
    if core.functions.get(function.name) is function:
        if function.total or function.workers or function.kept:
            _go_on(core, function)
        else:
            core.registry.drop(function)


def drop_function(core: "CoreState", function: "Function") -> None:
    """Forget a function that has neither workers nor jobs, with its pause."""
    for name, stands in ((PAUSE, function.paused), (CREATE, function.kept)):
        if stands:
            core.ledger.order(name, function.name, None)
    core.registry.drop(function)


def drain(core: "CoreState", draining: bool) -> None:
    """Take no new jobs, or take them again."""
    core.draining = draining
    if draining != core.drain_ordered:
        core.drain_ordered = draining
        core.ledger.order(DRAIN, b"", b"" if draining else None)


def standing_orders(core: "CoreState") -> "Iterator[OrderRecord]":
    """The records of all orders that stand now, whatever changes before the last one is asked for."""
    functions, max_queues = core.registry.all(), list(core.registry.max_queues.items())
    if core.drain_ordered:
        yield OrderRecord(ORDER, b"", DRAIN, b"", b"")
    for name, limits in max_queues:
        yield OrderRecord(ORDER, b"", MAX_QUEUE, name, b"%d %d %d" % limits)
    for function in functions:
        if function.paused and function not in core.dropping:
            yield OrderRecord(ORDER, b"", PAUSE, function.name, b"")
        if function.kept:
            yield OrderRecord(ORDER, b"", CREATE, function.name, b"")


def restore_order(core: "CoreState", record: OrderRecord) -> None:
    """Take in an order from the store.  Raises ValueError for one that makes no sense."""
    if record.name == PAUSE:
        core.add_function(record.function).pause()
    elif record.name == CREATE:
        core.add_function(record.function).kept = True
    elif record.name == DRAIN:
        core.draining = core.drain_ordered = True
    elif record.name == MAX_QUEUE:
        numbers = [parse_number(word) for word in record.value.split()]
        if len(numbers) != 3 or min(numbers) < 0 or not any(numbers):
            raise ValueError("it limits nothing")
        core.registry.set_max_queue(record.function, (numbers[0], numbers[1], numbers[2]), core.now)
    else:
        raise ValueError("there is no such order")


def tell_standing(core: "CoreState") -> str:
    """The orders that stand, for people; empty if there are none."""
    paused = sum(function.paused for function in core.functions.values())
    limited = len(core.registry.max_queues)
    parts = ["no new jobs are taken"] * core.drain_ordered
    parts += ["functions paused: %d" % paused] * bool(paused) + ["functions with a limit: %d" % limited] * bool(limited)
    return ", ".join(parts)

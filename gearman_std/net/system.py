"""What this package needs from the world outside: the time, random numbers, sleep, connections, and what waits for them."""
import os
import sys
import time
from functools import partial

from .connection import make_waiter, open_connection
from .selector import PatientSelector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Optional, Tuple
    from .connection import Connection


def throw_dice() -> float:
    """A random number from 0 up to 1, without the module random, which takes long to load."""
    return (int.from_bytes(os.urandom(7), "big") >> 3) / (1 << 53)


def find_boot_clock() -> "Callable[[], float]":
    """A clock of monotonic seconds that goes on while the machine sleeps, if the system has one."""
    number = 7 if sys.platform.startswith("linux") else getattr(time, "CLOCK_MONOTONIC", -1)  # Python 3.6 has no name for 7
    try:
        clock = partial(time.clock_gettime, number)
        clock()
    except (AttributeError, OSError):
        return time.monotonic
    return clock


class System:
    """The system on which a server, client or worker runs; tests that simulate time or the network make their own.

    `clock` returns monotonic seconds, and so does `boot_clock`, which goes on while the machine sleeps; `wall_clock` seconds
    since 1970, `random` a number from 0 up to 1; `sleep` takes seconds.  `connect` is called like `open_connection`,
    `make_waiter` like the function in the module connection, and `make_selector` like `selectors.DefaultSelector`.

    Owner: nobody, it does not change.
    """

    __slots__ = ("clock", "boot_clock", "wall_clock", "random", "sleep", "connect", "make_selector", "make_waiter")

    def __init__(self, *, clock: "Callable[[], float]" = time.monotonic,
                 boot_clock: "Callable[[], float]" = find_boot_clock(), wall_clock: "Callable[[], float]" = time.time,
                 random: "Callable[[], float]" = throw_dice, sleep: "Callable[[float], Any]" = time.sleep,
                 connect: "Callable[[Any, Optional[float], Any], Connection]" = open_connection,
                 make_selector: "Callable[[], Any]" = PatientSelector,
                 make_waiter: "Callable[[Iterable[Tuple[Any, bool]]], Callable[[Optional[float]], List[int]]]" = make_waiter,
                 ) -> None:
        self.clock = clock
        self.boot_clock = boot_clock
        self.wall_clock = wall_clock
        self.random = random
        self.sleep = sleep
        self.connect = connect
        self.make_selector = make_selector
        self.make_waiter = make_waiter

    def __repr__(self) -> str:
        return "<System: %s>" % ("the real one" if self is REAL_SYSTEM else "one of somebody's own")


REAL_SYSTEM = System()

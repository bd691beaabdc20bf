"""The numbers in handles: no two servers ever give out the same, whether they run at the same time or one after the other.

A number is made of three parts: the second in which its block was taken (31 bits), what distinguishes this process from the
others on the machine (15 bits), and the place in the block (17 bits).
"""
import os
import threading
import time

from ..core.jobs import HANDLE_BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

_EPOCH = 1577836800  # the beginning of 2020, as unix time
_LATEST = 1 << 31    # seconds after that; a clock beyond it is not believed, because a number has to fit 63 bits
_PROCESSES = 1 << 15
_SECOND = _PROCESSES * HANDLE_BLOCK

_second_lock = threading.Lock()
_last_second = 0  # in which this process has taken a block


def take_handle_numbers(after: int, wall_clock: "Callable[[], float]" = time.time) -> int:
    """The number before the first one of a block that nobody else has; it is also beyond `after`, in case the clock is wrong.

    Processes on one machine that start in the same second differ by their ids.
    """
    global _last_second
    clock = int(wall_clock()) - _EPOCH
    with _second_lock:
        second = _last_second = max(clock if clock < _LATEST else 0, _last_second + 1, after // _SECOND + 1)
    return second * _SECOND + _process_number() * HANDLE_BLOCK


def _process_number() -> int:
    try:
        container = os.stat("/proc/self/ns/pid").st_ino  # where ids begin at 1 again
    except OSError:
        container = 0
    return (os.getpid() + container * 40503) % _PROCESSES

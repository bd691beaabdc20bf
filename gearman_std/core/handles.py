"""The handles of new jobs: a prefix, and a number that is given out once."""
from operator import length_hint

from .jobs import HANDLE_BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator, Optional

_ROUND = 1000  # numbers that differ only in their last digits, which are made beforehand (benchmark: every submit)
_FIRST_ENDS = tuple(b"%d" % number for number in range(_ROUND))
_ENDS = tuple(b"%03d" % number for number in range(_ROUND))


class Handles:
    """Gives out one handle after the other.

    The next handle is the next one of `round` or, if there is none, `next_round()`.  Each has `prefix`, a colon and a number.
    When a block of numbers is used up, `numbers` is called with the last one and returns the number before the next block;
    without it, handles are counted from 1.

    Owner: the Core.
    """

    __slots__ = ("prefix", "numbers", "round", "_last", "_end", "_ends")

    def __init__(self, prefix: bytes, numbers: "Optional[Callable[[int], int]]" = None) -> None:
        self.prefix = prefix
        self.numbers = numbers
        self.round = iter(())  # type: Iterator[bytes] # the next handles, those of one round
        self._last = 0 if numbers is not None else 1 << 63  # number of the block
        self._end = 0          # the last number of the round
        self._ends = iter(())  # type: Iterator[bytes] # the last digits of the handles of the round that are left
        self.number = 0

    def __repr__(self) -> str:
        return "<Handles after %s:%d>" % (self.prefix.decode("latin-1"), self.number)

    @property
    def number(self) -> int:
        """The number of the last handle that was given out."""
        return self._end - length_hint(self._ends)

    @number.setter
    def number(self, number: int) -> None:
        base = (number + 1) // _ROUND * _ROUND
        self._end = max(number, min(base + _ROUND - 1, self._last))
        self._ends = iter((_ENDS if base else _FIRST_ENDS)[number + 1 - base:self._end + 1 - base])
        self.round = map((b"%b:%b" % (self.prefix, b"%d" % (base // _ROUND) if base else b"")).__add__, self._ends)

    def next_round(self) -> bytes:
        """Begin the next round; return its first handle."""
        if self.number < self._last:
            self.number = self.number
        else:
            self.take_block()
        return next(self.round)

    def take_block(self, after: int = 0) -> None:
        """Number the next handles from a new block, beyond all numbers that were given out and beyond `after`."""
        number = max(self.number, after)
        if self.numbers is not None:
            number = self.numbers(number)
            self._last = number + HANDLE_BLOCK - 1
        self.number = number


def handle_number(handle: bytes) -> int:
    """The number that a handle ends with."""
    return int(handle[handle.rindex(b":") + 1:])

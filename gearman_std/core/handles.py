"""The handles of new jobs: a prefix, and a number that is given out once."""
from .jobs import HANDLE_BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

_ROUND = 1000  # numbers that differ only in their last digits, which are made beforehand (benchmark: every submit)
_FIRST_ENDS = tuple(b"%d" % number for number in range(_ROUND))
_ENDS = tuple(b"%03d" % number for number in range(_ROUND))


class Handles:
    """Gives out one handle after the other.

    Each begins with `prefix`, a colon and a number.  When a block of numbers is used up, `numbers` is called with the last one
    and returns the number before the next block; without it, handles are counted from 1.

    Owner: the Core.
    """

    __slots__ = ("prefix", "numbers", "_last", "_base", "_place", "_most", "_head", "_ends")

    def __init__(self, prefix: bytes, numbers: "Optional[Callable[[int], int]]" = None) -> None:
        self.prefix = prefix
        self.numbers = numbers
        self._last = 0 if numbers is not None else 1 << 63  # of the block
        self._base = self._place = self._most = 0           # the last number is base + place, the round's last one base + most
        self._head = b""
        self._ends = _ENDS
        self.number = 0

    def __repr__(self) -> str:
        return "<Handles after %s:%d>" % (self.prefix.decode("latin-1"), self.number)

    @property
    def number(self) -> int:
        """The number of the last handle that was given out."""
        return self._base + self._place

    @number.setter
    def number(self, number: int) -> None:
        base = self._base = (number + 1) // _ROUND * _ROUND
        self._place = number - base
        self._most = min(_ROUND - 1, self._last - base)
        self._head = b"%b:%b" % (self.prefix, b"%d" % (base // _ROUND) if base else b"")
        self._ends = _ENDS if base else _FIRST_ENDS

    def new(self) -> bytes:
        """The next handle."""
        place = self._place + 1
        if place > self._most:
            if self.number < self._last:
                self.number = self.number  # the next round begins
            else:
                self.take_block()
            place = self._place + 1
        self._place = place
        return self._head + self._ends[place]

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

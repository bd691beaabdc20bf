"""Handles are given out once each, in their order, over the ends of rounds and blocks."""
import pytest

from gearman_std.core.handles import Handles
from gearman_std.core.jobs import HANDLE_BLOCK


def new(handles):
    """The next handle, as `submit` takes it."""
    return next(handles.round, b"") or handles.next_round()


def test_handles_are_counted_from_one():
    handles = Handles(b"H:x")
    assert [new(handles) for _ in range(12345)] == [b"H:x:%d" % number for number in range(1, 12346)]
    assert handles.number == 12345 and repr(handles) == "<Handles after H:x:12345>"


@pytest.mark.parametrize("number", (0, 1, 998, 999, 1000, 1001, 999998, 999999, 1000000, 10 ** 18 - 1, 7305926000000005119))
def test_they_go_on_after_any_number(number):
    handles = Handles(b"H:x")
    handles.number = number
    assert handles.number == number
    assert [new(handles) for _ in range(2500)] == [b"H:x:%d" % (number + count) for count in range(1, 2501)]
    assert handles.number == number + 2500


@pytest.mark.parametrize("begin", (0, 999, 5 << 17, 999 << 42))
def test_when_a_block_is_used_up_another_is_asked_for(begin):
    asked = []

    def numbers(last):
        asked.append(last)
        return begin + len(asked) * 10 * HANDLE_BLOCK
    handles = Handles(b"H", numbers)
    given = [new(handles) for _ in range(2 * HANDLE_BLOCK - 2)]
    first, second = begin + 10 * HANDLE_BLOCK, begin + 20 * HANDLE_BLOCK
    assert given == [b"H:%d" % number for block in (first, second) for number in range(block + 1, block + HANDLE_BLOCK)]
    assert asked == [0, first + HANDLE_BLOCK - 1], "not before the last one was given out"
    handles.take_block(after=second + 99 * HANDLE_BLOCK)
    assert asked[2:] == [second + 99 * HANDLE_BLOCK]

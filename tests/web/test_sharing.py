"""What many pages ask for is made once a second, in steps that all of them share."""
import pytest

from gearman_std.core.rights import ADMIN, STEER
from gearman_std.errors import ProtocolError
from gearman_std.web.exchange import Answer
from gearman_std.web.sharing import SHARED_SIZE, SHARED_TIME, SharedAnswers
from web_tools import Browser


def test_an_answer_is_made_once_by_all_who_read_it():
    made = []

    def make():
        for number in range(4):
            made.append(number)
            yield b"" if number == 1 else b"%d" % number
    shared = SharedAnswers()
    first, second = [iter(shared.find("a", 10.0, lambda: Answer(make(), b"t", 203)).pieces) for _ in range(2)]
    assert next(first) == b"0" and made == [0]
    assert next(second) == b"0" and made == [0]   # which is there
    assert next(second) == b"" and made == [0, 1]  # a step without a piece
    assert b"".join(first) == b"23" and made == [0, 1, 2, 3]
    assert b"".join(second) == b"23"
    late = shared.find("a", 10.0 + SHARED_TIME * 0.9, lambda: pytest.fail("it is there"))
    assert list(late.pieces) == [b"0", b"2", b"3"] and (late.content_type, late.status) == (b"t", 203)


def answer_of(size):
    return lambda: Answer([b"x" * size], b"t")


def size_of(shared, key, now, size=1):
    return sum(map(len, shared.find(key, now, answer_of(size)).pieces))


def test_it_is_made_anew_after_a_second_or_an_order_and_for_another_question():
    shared = SharedAnswers()
    assert size_of(shared, "a", 10.0, 1) == 1 and size_of(shared, "a", 10.5, 2) == 1
    assert size_of(shared, "b", 10.5, 2) == 2
    assert size_of(shared, "a", 10.0 + SHARED_TIME, 3) == 3
    shared.clear()
    assert size_of(shared, "a", 11.0, 4) == 4
    assert repr(shared) == "<SharedAnswers: 1>"


def test_what_is_kept_of_them_is_bounded():
    shared = SharedAnswers()
    for number in range(50):
        size_of(shared, number, 10.0, SHARED_SIZE // 10)
    assert size_of(shared, 49, 10.0, 1) == SHARED_SIZE // 10  # the newest is there
    assert size_of(shared, 0, 10.0, 1) == 1                   # the oldest is not
    assert sum(one.size for one in shared._known.values()) <= SHARED_SIZE * 1.2
    size_of(shared, "huge", 10.0, 2 * SHARED_SIZE)
    size_of(shared, "a", 10.0, 1)
    assert list(shared._known) == ["a"]


def test_what_goes_wrong_in_the_middle_goes_wrong_for_all_who_read_it_and_for_nobody_else():
    def make():
        yield b"begun"
        raise ProtocolError("it is gone", b"404")
    shared = SharedAnswers()
    readers = [iter(shared.find("a", 10.0, lambda: Answer(make(), b"t")).pieces) for _ in range(2)]
    for reader in readers:
        assert next(reader) == b"begun"
    for reader in readers:
        with pytest.raises(ProtocolError, match="it is gone"):
            next(reader)
    assert size_of(shared, "a", 10.0, 5) == 5


def test_pages_share_what_they_ask_for_and_see_what_was_ordered(world):
    shared = SharedAnswers()
    one, other = [Browser(world, shared=shared, number=900 + number) for number in range(2)]
    guest = Browser(world, frozenset((ADMIN,)), shared, 902)
    client = world.connects()
    client.submits_bg(b"one-f")
    assert "one-f" in one.gets("/?part=main")
    client.submits_bg(b"two-f")
    assert "two-f" not in other.gets("/?part=main") and other.turns <= one.turns
    assert "two-f" in other.gets("/") and "two-f" in other.gets("/?part=main&sort=waiting")
    assert STEER in one.peer.rights and "data-order" in one.gets("/?part=main")
    assert "data-order" not in guest.gets("/?part=main")
    assert one.orders("/api/functions/one-f/pause") is True
    assert "Resume" in other.gets("/?part=main") and "Resume" not in guest.gets("/?part=main")
    client.submits_bg(b"three-f")
    world.passes(SHARED_TIME)
    assert "three-f" in other.gets("/?part=main")


def test_what_nobody_may_see_is_not_shared(world):
    shared = SharedAnswers()
    Browser(world, shared=shared).gets("/?part=main")
    assert "may not" in Browser(world, frozenset(), shared, 901).gets("/?part=main", 403)
    assert "no function" in Browser(world, shared=shared, number=902).gets("/functions/none?part=main", 404)

"""A channel, over sockets that take what the test says: what is sent is what was put, whatever the socket takes at once."""
import errno

import pytest

from gearman_std.server import channel as channel_module
from gearman_std.server.channel import (AGREED, ARROWS, CLOSED, ENDED, OPEN, PIECE_COST, REFUSED, SEND_PIECES, SENT, SHAKING,
                                        STATES, Channel)
from gearman_std.core.peers import Peer
from gearman_std.wire.protocol import LARGE_BODY, PacketReader
from pictures import drawn


class FakeSocket:
    """Takes as many bytes of each send as it is told, or raises what it is told; then nothing more."""

    def __init__(self, *takes, pieces=True):
        self.takes = list(takes)
        self.sent = b""
        self.calls = []
        self.open = True
        if pieces:
            self.sendmsg = self._sendmsg

    def _take(self, data):
        take = self.takes.pop(0) if self.takes else BlockingIOError(errno.EAGAIN, "full")
        if isinstance(take, Exception):
            raise take
        self.sent += data[:take]
        return min(take, len(data))

    def send(self, data):
        self.calls.append("send")
        return self._take(bytes(data))

    def _sendmsg(self, pieces):
        self.calls.append(len(pieces))
        return self._take(b"".join(pieces))

    def shutdown(self, how):
        self.calls.append("shutdown")

    def close(self):
        self.open = False


def channel(*takes, **options):
    fake = FakeSocket(*takes, **options)
    return fake, Channel(fake, Peer(7, b"::1"), PacketReader())


def test_small_pieces_are_joined_and_large_ones_are_not_copied():
    fake, one = channel(10 ** 6)
    large = memoryview(bytes(LARGE_BODY))
    one.put([b"a", b"b", large, b"c", b"d"])
    assert [bytes(piece) for piece in one.backlog] == [b"ab", bytes(large), b"cd"]
    assert one.backlog[1] is large
    assert one.backlog_size == LARGE_BODY + 4
    assert one.cost() == LARGE_BODY + 4 + 3 * PIECE_COST
    one.write()
    assert fake.sent == b"ab" + large + b"cd"
    assert (fake.calls, one.backlog_size, one.moved) == ([3], 0, LARGE_BODY + 4)


@pytest.mark.parametrize("pieces", [True, False], ids=["sendmsg", "without sendmsg"])
@pytest.mark.parametrize("take", range(1, 12))
def test_short_writes_lose_and_repeat_nothing(take, pieces):
    fake, one = channel(*[take] * 20, pieces=pieces)
    for piece in (b"abc", b"defg", b"h", b"ij"):
        one.put([piece])
    one.write()
    assert fake.sent == b"abcdefghij"
    assert (one.backlog_size, list(one.backlog)) == (0, [])


@pytest.mark.parametrize("trouble", [BlockingIOError(errno.EAGAIN, ""), InterruptedError(errno.EINTR, "")])
@pytest.mark.parametrize("number", range(4))
def test_when_the_nth_send_says_not_now_the_rest_waits(number, trouble):
    fake, one = channel(*[3] * number + [trouble])
    one.put([b"abcdefghij"])
    one.write()
    assert fake.sent == b"abcdefghij"[:3 * number]
    assert one.backlog_size == 10 - 3 * number
    fake.takes = [100]
    one.write()
    assert fake.sent == b"abcdefghij"


def test_what_is_joined_is_bounded():
    _, one = channel()
    pieces = [bytes([number % 256]) * 1000 for number in range(1000)]
    one.put(pieces)
    assert b"".join(one.backlog) == b"".join(pieces)
    assert max(map(len, one.backlog)) < LARGE_BODY
    assert len(one.backlog) < 20


def test_a_lost_connection_is_reported():
    fake, one = channel(3, ConnectionResetError(errno.ECONNRESET, "gone"))
    one.put([b"abcdefghij"])
    with pytest.raises(ConnectionResetError):
        one.write()


def test_the_system_is_not_handed_more_pieces_than_it_takes():
    fake, one = channel(*[10 ** 6] * 3)
    for _ in range(SEND_PIECES + 2):
        one.put([b"x"])
    one.write()
    assert fake.calls == [SEND_PIECES, 2]


def test_packets_wait_and_closing_forgets_all():
    fake, one = channel()
    assert not one.waiting
    one.wait([(4, ()), (9, ()), (15, (b"x",)), (9, ())])
    one.put([b"abc"])
    assert one.take(1) == [(4, ())]
    assert one.take(2) == [(9, ()), (15, (b"x",))]
    assert len(one.waiting) == 1
    assert repr(one) == "<Channel <Peer 7 ::1: 0 abilities, 0 running, 0 watched, awake>, open, 0 bytes half read, 3 unsent>"
    one.close()
    assert one.take(2) == []
    assert (fake.open, len(one.waiting), one.backlog_size, len(one.backlog)) == (False, 0, 0, 0)
    assert one.send(b"lost") == 4 and fake.sent == b""
    assert not channel()[1].waiting, "channels without packets share nothing that one of them can change"


def test_the_picture_shows_the_arrows_and_no_others(sources):
    assert drawn(channel_module) == ARROWS


def test_every_state_but_the_first_can_be_reached_and_every_one_but_the_last_left():
    assert {start for start, _ in ARROWS} == set(STATES) - {CLOSED}
    assert set(ARROWS.values()) == set(STATES) - {SHAKING}


def test_a_channel_is_in_one_state_and_nothing_but_what_is_drawn_changes_it():
    _, one = channel()
    assert one.state is OPEN
    with pytest.raises(KeyError):
        one.move(AGREED)
    one.move(REFUSED)
    one.move(SENT)
    one.move(ENDED)
    assert one.state is CLOSED

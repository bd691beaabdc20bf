"""Who does not go on: the limits of time, without sockets."""
import pytest

from gearman_std.server.channel import Channel
from gearman_std.server.gate import NEVER
from gearman_std.wire.http_jobs import JobSession
from gearman_std.core.peers import Peer
from gearman_std.wire.protocol import PacketReader, pack_request
from gearman_std.server.stalls import LINGER_TIME, PROGRESS, SWEEP_INTERVAL, Stalls


class FakeSocket:
    def send(self, data):
        return len(data)


def channel(reader=None):
    return Channel(FakeSocket(), Peer(7, b"::1"), PacketReader() if reader is None else reader)


def half_a_packet():
    one = channel()
    one.reader.feed(pack_request(16, b"x" * 100)[:50])
    return one


def test_nobody_is_looked_at_while_all_is_sent_and_read():
    stalls = Stalls(60.0)
    assert (stalls.look_at, stalls.look(1000.0), repr(stalls)) == (NEVER, [], "<Stalls: 0 unfinished>")


def test_who_is_through_is_forgotten_and_who_goes_on_has_more_time():
    stalls = Stalls(60.0)
    through, on, stuck = half_a_packet(), half_a_packet(), half_a_packet()
    for one in (through, on, stuck):
        stalls.note(one, 0, 100.0)
    assert stalls.look_at == 100.0 + SWEEP_INTERVAL
    through.reader.held = 0
    assert stalls.look(120.0) == []
    assert list(stalls.unfinished) == [on, stuck] and stalls.look_at == 120.0 + SWEEP_INTERVAL
    stalls.note(on, PROGRESS, 130.0)
    stalls.note(stuck, PROGRESS - 1, 130.0)
    assert stalls.look(159.9) == []
    assert stalls.look(160.0) == [stuck]
    assert stalls.look(219.8) == [stuck] and stalls.look(219.9) == [on, stuck]


def test_who_was_told_the_end_has_a_time_of_its_own():
    stalls = Stalls(60.0)
    one = half_a_packet()
    one.ended = True
    stalls.begin(one, 100.0)
    assert stalls.look(99.9 + LINGER_TIME) == []
    assert stalls.look(100.0 + LINGER_TIME) == [one]


@pytest.mark.parametrize("timeout", [60.0, NEVER])
def test_http_between_two_requests_has_the_same_time_and_none_runs_while_a_job_does(timeout):
    stalls = Stalls(timeout)
    session = JobSession(1000)
    one = channel(session)
    stalls.begin(one, 100.0)
    session.feed(b"GET /f HTTP/1.1\r\nHost: x\r\n\r\n")
    assert session.serving
    for now in (150.0, 1000.0, 2000.0):
        assert stalls.look(now) == []
    session.serving = False
    assert stalls.look(2059.9) == []
    assert stalls.look(2060.0) == ([one] if timeout == 60.0 else [])
    session.serving = True
    one.backlog.append(b"unread")
    assert stalls.look(2060.0) == ([one] if timeout == 60.0 else [])

"""Who does not go on: the limits of time, without sockets."""
import pytest

from gearman_std.server.channel import REFUSED, SENT, Channel
from gearman_std.core.turns import STEP
from gearman_std.server.gate import NEVER
from gearman_std.timers import Timers
from gearman_std.wire.http_jobs import JobSession
from gearman_std.core.peers import Peer
from gearman_std.wire.protocol import PacketReader, pack_request
from gearman_std.server.stalls import LINGER_TIME, PROGRESS, SWEEP_INTERVAL, Stalls


class FakeSocket:
    def send(self, data):
        return len(data)


class World:
    """Stalls, and what they plan."""

    def __init__(self, timeout):
        self.deadlines = Timers()
        self.stalls = Stalls(timeout, self.deadlines, lambda: None)

    def look(self, now):
        self.deadlines.pop_due(now)
        return [one for step in self.stalls.look(now) for one in step]


def channel(reader=None):
    return Channel(FakeSocket(), Peer(7, b"::1"), PacketReader() if reader is None else reader)


def half_a_packet():
    one = channel()
    one.reader.feed(pack_request(16, b"x" * 100)[:50])
    return one


def test_nobody_is_looked_at_while_all_is_sent_and_read():
    world = World(60.0)
    assert (len(world.deadlines), world.look(1000.0), repr(world.stalls)) == (0, [], "<Stalls: 0 unfinished>")
    assert not world.deadlines


def test_a_crowd_is_looked_at_in_steps_and_who_has_gone_meanwhile_is_not_told_of():
    world = World(60.0)
    crowd = [half_a_packet() for _ in range(2 * STEP + 2)]
    for one in crowd:
        world.stalls.note(one, 0, 100.0)
    assert world.deadlines.pop_due(160.0)
    steps = world.stalls.look(160.0)
    assert next(steps) == crowd[:STEP] and not world.deadlines, "the next look is planned at the end"
    del world.stalls.unfinished[crowd[STEP]]
    assert next(steps) == crowd[STEP + 1:2 * STEP]
    assert list(steps) == [crowd[2 * STEP:]] and world.deadlines.next_time() == 160.0 + SWEEP_INTERVAL


def test_a_look_that_fails_is_not_the_last():
    world = World(60.0)
    world.stalls.note(half_a_packet(), 0, 100.0)
    assert world.deadlines.pop_due(160.0)
    steps = world.stalls.look(160.0)
    next(steps)
    with pytest.raises(MemoryError):
        steps.throw(MemoryError())
    assert world.deadlines.next_time() == 160.0 + SWEEP_INTERVAL


def test_who_is_through_is_forgotten_and_who_goes_on_has_more_time():
    world = World(60.0)
    through, on, stuck = half_a_packet(), half_a_packet(), half_a_packet()
    for one in (through, on, stuck):
        world.stalls.note(one, 0, 100.0)
    assert world.deadlines.next_time() == 100.0 + SWEEP_INTERVAL and len(world.deadlines) == 1
    through.reader.held = 0
    assert world.look(120.0) == []
    assert list(world.stalls.unfinished) == [on, stuck] and world.deadlines.next_time() == 120.0 + SWEEP_INTERVAL
    world.stalls.note(on, PROGRESS, 130.0)
    world.stalls.note(stuck, PROGRESS - 1, 130.0)
    assert world.look(159.9) == []
    assert world.look(160.0) == [stuck]
    assert world.look(219.8) == [stuck] and world.look(219.9) == [on, stuck]


def test_who_is_kept_waiting_by_the_server_has_its_time_afterwards():
    """It gets the rest of a job only when that is proved anew."""
    world = World(60.0)
    one = channel()
    one.put([b"x" * 100])
    one.late = True
    world.stalls.begin(one, 100.0)
    assert world.look(1000.0) == []
    one.late = False
    assert world.look(1059.9) == [] and world.look(1060.0) == [one]


def test_who_was_told_the_end_has_a_time_of_its_own():
    world = World(60.0)
    one = half_a_packet()
    one.move(REFUSED)
    one.move(SENT)
    world.stalls.begin(one, 100.0)
    assert world.look(99.9 + LINGER_TIME) == []
    assert world.look(100.0 + LINGER_TIME) == [one]


@pytest.mark.parametrize("timeout", [60.0, NEVER])
def test_http_between_two_requests_has_the_same_time_and_none_runs_while_a_job_does(timeout):
    world = World(timeout)
    session = JobSession(1000)
    one = channel(session)
    world.stalls.begin(one, 100.0)
    session.feed(b"GET /f HTTP/1.1\r\nHost: x\r\n\r\n")
    assert session.serving
    for now in (150.0, 1000.0, 2000.0):
        assert world.look(now) == []
    session.serving = False
    assert world.look(2059.9) == []
    assert world.look(2060.0) == ([one] if timeout == 60.0 else [])
    session.serving = True
    one.backlog.append(b"unread")
    assert world.look(2060.0) == ([one] if timeout == 60.0 else [])

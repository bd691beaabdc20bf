"""The gate, over a selector and listeners that do what the test says."""
import errno

import pytest

from gearman_std.server.gate import ACCEPT_COUNT, ACCEPT_PAUSE, Gate
from gearman_std.timers import Timers

from server_tools import Clock


class FakeSelector:
    """Knows what is registered, and refuses what a real one refuses."""

    def __init__(self, room=100):
        self.watched = {}
        self.room = room

    def register(self, thing, events, data):
        assert thing not in self.watched and events == 1
        if len(self.watched) == self.room:
            raise OSError(errno.ENOSPC, "no more watches")
        self.watched[thing] = data

    def unregister(self, thing):
        if thing not in self.watched:
            raise KeyError(thing)
        del self.watched[thing]


class FakeListener:
    """Accepts what it is given, then says not now."""

    def __init__(self, name, *comes):
        self.socket = name
        self.comes = list(comes)
        self.open = True

    def accept(self):
        one = self.comes.pop(0) if self.comes else BlockingIOError(errno.EAGAIN, "not now")
        if isinstance(one, Exception):
            raise one
        return one, "facts of " + one

    def close(self):
        self.open = False


class World:
    def __init__(self, *listeners):
        self.clock, self.deadlines, self.selector, self.welcomed, self.pauses = Clock(), Timers(), FakeSelector(), [], 0
        self.gate = Gate(self.selector, list(listeners), lambda *found: self.welcomed.append(found), self._pause, self.clock,
                         self.deadlines)

    def _pause(self):
        self.pauses += 1

    def comes(self, listener):
        self.selector.watched[listener.socket](listener.socket)


def out_of_files():
    return OSError(errno.EMFILE, "too many open files")


def test_connections_are_welcomed_with_what_is_known_of_them():
    first, second = FakeListener("first"), FakeListener("second", "a", "b")
    world = World(first, second)
    world.comes(second)
    assert world.welcomed == [("a", "facts of a", second), ("b", "facts of b", second)]
    assert repr(world.gate) == "<Gate of 2 listeners>"


def test_not_too_many_are_accepted_at_once():
    listener = FakeListener("one", *["x"] * (ACCEPT_COUNT + 1))
    world = World(listener)
    world.comes(listener)
    assert len(world.welcomed) == ACCEPT_COUNT
    world.comes(listener)
    assert len(world.welcomed) == ACCEPT_COUNT + 1


@pytest.mark.parametrize("error", [InterruptedError(errno.EINTR, ""), BlockingIOError(errno.EAGAIN, "")])
def test_not_now_is_no_trouble(error):
    listener = FakeListener("one", error, "later")
    world = World(listener)
    world.comes(listener)
    assert (world.welcomed, world.pauses) == ([], 0)
    world.comes(listener)
    assert len(world.welcomed) == 1


@pytest.mark.parametrize("error", [
    ConnectionAbortedError(errno.ECONNABORTED, ""), ConnectionAbortedError(errno.EINVAL, "gone before it was set up"),
    OSError(errno.EPROTO, ""), OSError(errno.ENETUNREACH, "")])
def test_a_connection_that_is_lost_before_it_is_accepted_does_not_keep_the_next_from_coming(error):
    listener = FakeListener("one", error, "next")
    world = World(listener)
    world.comes(listener)
    assert (len(world.welcomed), world.pauses) == (1, 0)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EIO])
def test_while_there_is_no_room_no_listener_is_watched(number):
    first, second = FakeListener("first", OSError(number, "no room"), "a"), FakeListener("second", "b")
    world = World(first, second)
    world.comes(first)
    assert (world.selector.watched, world.pauses) == ({}, 1)
    assert world.deadlines.next_time() == world.clock() + ACCEPT_PAUSE
    assert repr(world.gate) == "<Gate of 2 listeners, paused>"
    world.gate.open()
    assert not world.gate.paused and not world.deadlines
    world.comes(first)
    world.comes(second)
    assert [connection for connection, _, _ in world.welcomed] == ["a", "b"]


@pytest.mark.parametrize("error", [MemoryError(), ValueError("odd"), KeyError("odd")])
def test_whatever_accepting_raises_is_a_pause(error):
    listener = FakeListener("one", error, "a")
    world = World(listener)
    world.comes(listener)
    assert (world.selector.watched, world.pauses, listener.comes) == ({}, 1, ["a"])


def test_a_second_pause_begins_anew():
    world = World(FakeListener("first"), FakeListener("second"))
    world.gate.pause()
    world.clock.advance(0.5)
    world.gate.pause()
    assert world.deadlines.next_time() == world.clock() + ACCEPT_PAUSE
    world.gate.open()
    assert sorted(world.selector.watched) == ["first", "second"]


def test_a_pause_does_not_end_while_there_is_no_room_to_watch_the_listeners():
    world = World(FakeListener("first"), FakeListener("second"))
    world.gate.pause()
    world.selector.room = 1
    world.gate.open()
    assert (world.selector.watched, world.pauses) == ({}, 2)
    assert world.deadlines.next_time() == world.clock() + ACCEPT_PAUSE
    world.selector.room = 2
    world.clock.advance(ACCEPT_PAUSE)
    world.deadlines.pop_due(world.clock())()
    assert sorted(world.selector.watched) == ["first", "second"] and not world.gate.paused and not world.deadlines
    world.gate.close()
    assert world.selector.watched == {}


def test_open_without_a_pause_changes_nothing():
    world = World(FakeListener("one"))
    world.gate.open()
    assert list(world.selector.watched) == ["one"]


def test_a_second_listener_that_was_ready_in_the_same_round_does_not_try():
    first, second = FakeListener("first", out_of_files()), FakeListener("second", "a")
    world = World(first, second)
    ready = world.selector.watched["second"]
    world.comes(first)
    ready("second")
    assert (second.comes, world.pauses) == (["a"], 1)


def test_a_welcome_that_finds_no_room_pauses_too():
    listener = FakeListener("one", "a", "b")
    world = World(listener)
    world.gate._welcome = lambda *_: world.gate.pause()
    world.comes(listener)
    assert (listener.comes, world.pauses) == (["b"], 1)


@pytest.mark.parametrize("paused", [False, True])
def test_closing_closes_every_listener_also_during_a_pause(paused):
    listeners = [FakeListener("first"), FakeListener("second")]
    world = World(*listeners)
    if paused:
        world.gate.pause()
    for _ in range(2):
        world.gate.close()
    assert world.selector.watched == {} and not world.gate.paused and not world.deadlines
    assert not any(listener.open for listener in listeners)
    world.gate.open()
    assert world.selector.watched == {}


def test_listeners_that_cannot_be_watched_are_closed():
    listeners = [FakeListener("first"), FakeListener("second")]
    with pytest.raises(OSError):
        Gate(FakeSelector(room=1), listeners, None, None, Clock(), Timers())
    assert not any(listener.open for listener in listeners)

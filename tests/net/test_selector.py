"""The selector that tells of a bounded number of sockets at once whose other end is gone."""
import os
import select
import selectors
import socket
from selectors import EVENT_READ, EVENT_WRITE

import pytest

from gearman_std.net.selector import BoundedSelector, PatientSelector

MOST_ENDED = 8

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="this system has no epoll")


@pytest.fixture
def pairs(monkeypatch):
    monkeypatch.setattr("gearman_std.net.selector.MOST_ENDED", MOST_ENDED)
    made = [socket.socketpair() for _ in range(2 * MOST_ENDED + 10)]
    yield made
    for pair in made:
        for one in pair:
            one.close()


def test_it_tells_of_all_who_are_ready(pairs):
    with PatientSelector() as selector:
        for number, (ours, theirs) in enumerate(pairs):
            selector.register(ours, EVENT_READ, number)
            theirs.send(b"x")
        for _ in range(2):
            assert sorted(key.data for key, _ in selector.select(0)) == list(range(len(pairs)))


def test_the_rest_of_an_answer_comes_first_unless_nobody_wants_it_any_longer(pairs):
    with PatientSelector() as selector:
        for number, (ours, theirs) in enumerate(pairs):
            selector.register(ours, EVENT_READ, number)
            theirs.send(b"x")
        ready = selector.select(0)
        selector.put_back(ready[3:8])
        wanted = ready[4:7]
        for key, _ in (ready[3], ready[7]):
            selector.unregister(key.fileobj)
        selector.register(ready[3][0].fileobj, EVENT_WRITE, "something else")
        selector.modify(ready[4][0].fileobj, EVENT_READ | EVENT_WRITE, "both")
        assert [(key.data, events) for key, events in selector.select(0)] == [("both", EVENT_READ)] + [
            (key.data, EVENT_READ) for key, _ in wanted[1:]]
        selector.put_back(ready[4:5])
        selector.unregister(ready[4][0].fileobj)
        assert len(selector.select(0)) == len(pairs) - 2, "all who are ready and watched, as nothing of the rest is left"


@pytest.mark.parametrize("leave", [socket.socket.close, lambda one: one.shutdown(socket.SHUT_WR)], ids=["close", "half-close"])
def test_a_crowd_that_leaves_does_not_hold_up_who_is_there_and_each_has_its_turn(pairs, leave):
    with PatientSelector() as selector:
        for number, (ours, theirs) in enumerate(pairs):
            selector.register(ours, EVENT_READ, number)
            if number != 5:
                leave(theirs)
        pairs[5][1].send(b"x")
        for _ in range(3):
            told = set()
            for _ in range(4):
                ready = selector.select(0)
                assert all(events == EVENT_READ for _, events in ready)
                numbers = [key.data for key, _ in ready]
                assert 5 in numbers and len(numbers) == len(set(numbers)) <= MOST_ENDED + 1
                assert sorted(set(numbers) | set(selector.held_back)) == list(range(len(pairs)))
                assert len(numbers) + len(selector.held_back) == len(pairs)
                told.update(numbers)
            assert told == set(range(len(pairs)))


def test_where_nobody_knows_who_has_left_a_bounded_number_of_those_who_are_ready_have_their_turn(pairs, monkeypatch):
    monkeypatch.setattr("gearman_std.net.selector.MOST_READY", MOST_ENDED)
    with BoundedSelector() as selector:
        assert repr(selector) == "<BoundedSelector of 0>"
        for number, (ours, theirs) in enumerate(pairs):
            selector.register(ours, EVENT_READ, number)
            theirs.close()
        for _ in range(3):
            told = [key.data for _ in range(4) for key, _ in selector.select(0)]
            assert len(told) <= 4 * MOST_ENDED and set(told) == set(range(len(pairs)))
        for ours, _ in pairs[MOST_ENDED:]:
            selector.unregister(ours)
        assert len(selector.select(0)) == MOST_ENDED
    assert repr(selector) == "<BoundedSelector of 0>"


def test_it_tells_of_what_it_was_asked_for(pairs):
    (ours, theirs), (other, _) = pairs[:2]
    with PatientSelector() as selector:
        assert selector.select(0) == [] and repr(selector) == "<PatientSelector of 0>"
        selector.register(ours, EVENT_READ, "ours")
        selector.register(other, EVENT_WRITE, "other")
        assert [(key.data, events) for key, events in selector.select()] == [("other", EVENT_WRITE)]
        selector.unregister(other)
        assert selector.select(0) == selector.select(0.0001) == []
        selector.modify(ours, EVENT_READ | EVENT_WRITE, "both")
        theirs.send(b"x")
        assert [(key.data, events) for key, events in selector.select()] == [("both", EVENT_READ | EVENT_WRITE)]
        selector.modify(ours, EVENT_READ, "again")
        theirs.close()
        assert [(key.data, events) for key, events in selector.select()] == [("again", EVENT_READ)]
        with pytest.raises(KeyError):
            selector.register(ours, EVENT_READ)
        assert {one: key.data for one, key in selector.get_map().items()} == {ours: "again"}
        with pytest.raises(KeyError):
            selector.unregister(other)


def test_it_leaves_no_descriptor_open(pairs):
    before = os.listdir("/proc/self/fd")
    with PatientSelector() as selector:
        selector.register(pairs[0][0], EVENT_READ)
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("name", ["SelectSelector", "PollSelector", "EpollSelector", "DefaultSelector"])
def test_a_socket_may_be_looked_at_for_nothing_for_a_while_whatever_the_system_has(name):
    """As that of a peer whose packets wait and that is to get nothing at present: select would refuse that."""
    bounded = type(name, (getattr(selectors, name),), {"modify": BoundedSelector.modify})
    ours, theirs = socket.socketpair()
    with bounded() as selector, ours, theirs:
        selector.register(ours, EVENT_READ, "reads")
        theirs.send(b"x")
        for _ in range(2):
            key = selector.modify(ours, 0, "nothing")
            assert (key.fileobj, key.fd, key.events, key.data) == (ours, ours.fileno(), 0, "nothing")
            assert selector.select(0) == []
        selector.modify(ours, EVENT_WRITE, "writes")
        selector.modify(ours, EVENT_READ, "reads")
        (key, events), = selector.select(0)
        assert (key.data, events) == ("reads", EVENT_READ)
        selector.unregister(ours)
        assert not selector.get_map()

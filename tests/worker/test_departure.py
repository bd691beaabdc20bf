"""When a worker leaves, and what it waits for before it has left; without threads, sockets and clocks."""
import pytest

from gearman_std.net.system import System
from gearman_std.worker.departure import (CONFIRMED, DEPARTURE_ARROWS, DEPARTURE_STATES, FAREWELL_TIMEOUT, FINISHED,
                                          FINISHING_JOBS, LEAVES, LEFT, PARTING, TIME_IS_UP, WORKING, Departure)
from gearman_std.worker.settings import WorkerSettings

from pictures import drawn


def make_departure(now=100.0, random=0.5, **settings):
    return Departure(WorkerSettings("localhost", _system=System(random=lambda: random), **settings), now)


def reason(departure, now=100.0, used_up=False):
    """Why it leaves, and when it is to be asked again."""
    due = []
    return departure.reason(now, used_up, due), due


def advance(departure, now, busy=False, unconfirmed=False):
    """Its state, and when it is to be asked again."""
    due = []
    return departure.advance(now, busy, unconfirmed, due), due


def test_the_arrows_are_as_drawn():
    assert drawn(Departure) == DEPARTURE_ARROWS
    assert {state for state, _ in DEPARTURE_ARROWS} | set(DEPARTURE_ARROWS.values()) == set(DEPARTURE_STATES)
    assert {event for _, event in DEPARTURE_ARROWS} == {LEAVES, FINISHED, CONFIRMED, TIME_IS_UP}


def test_it_works_until_there_is_a_reason_to_leave():
    departure = make_departure()
    assert reason(departure) == ("", []) and departure.state is WORKING
    departure._settings.stops = 1
    assert reason(departure) == ("asked to", [])


@pytest.mark.parametrize("random, end", [(0.0, 160.0), (0.5, 165.0), (1.0, 170.0)])
def test_it_leaves_when_it_is_old(random, end):
    """Up to `splay` seconds later, lest workers that were started together leave together."""
    departure = make_departure(random=random, max_age=60, splay=10)
    assert reason(departure, end - 0.001) == ("", [end])
    assert reason(departure, end) == ("60 s old", [])


def test_it_leaves_when_it_has_done_all_its_jobs():
    departure = make_departure(max_jobs=3)
    assert reason(departure) == ("", [])
    assert reason(departure, used_up=True) == ("3 jobs done", [])


def test_it_finishes_then_asks_for_confirmation_then_has_left():
    departure = make_departure()
    departure.begin(200.0)
    assert departure.state is FINISHING_JOBS
    assert advance(departure, 300.0, busy=True) == (FINISHING_JOBS, [])
    assert advance(departure, 400.0) == (PARTING, [400.0 + FAREWELL_TIMEOUT])
    assert advance(departure, 400.0, unconfirmed=True) == (PARTING, [400.0 + FAREWELL_TIMEOUT])
    assert advance(departure, 400.1)[0] is LEFT


def test_what_is_still_to_be_sent_is_waited_for_when_confirmation_was_asked_for():
    departure = make_departure()
    departure.begin(0.0)
    advance(departure, 0.0)
    assert advance(departure, FAREWELL_TIMEOUT, busy=True, unconfirmed=True) == (PARTING, [])


@pytest.mark.parametrize("late, state", [(-0.001, PARTING), (0.0, LEFT)])
def test_a_server_that_does_not_confirm_is_not_waited_for_for_long(late, state):
    departure = make_departure()
    departure.begin(0.0)
    advance(departure, 5.0)
    assert advance(departure, 5.0 + FAREWELL_TIMEOUT + late, unconfirmed=True)[0] is state


def test_grace_ends_while_jobs_run():
    departure = make_departure(grace=10)
    departure.begin(200.0)
    assert advance(departure, 209.999, busy=True) == (FINISHING_JOBS, [210.0])
    assert advance(departure, 210.0, busy=True) == (LEFT, [])


def test_grace_ends_while_a_server_is_asked_for_confirmation():
    departure = make_departure(grace=0.25)
    departure.begin(200.0)
    assert advance(departure, 200.0) == (PARTING, [200.25, 200.0 + FAREWELL_TIMEOUT])
    assert advance(departure, 200.25, unconfirmed=True) == (LEFT, [])


@pytest.mark.parametrize("finished", [False, True])
def test_who_is_told_to_stop_twice_waits_for_nothing(finished):
    departure = make_departure()
    departure._settings.stops = 1
    departure.begin(0.0)
    if finished:
        advance(departure, 0.0)
    assert advance(departure, 0.0, busy=True, unconfirmed=True)[0] in (FINISHING_JOBS, PARTING)
    departure._settings.stops = 2
    assert advance(departure, 0.0, busy=True, unconfirmed=True) == (LEFT, [])


def test_repr():
    assert repr(make_departure()) == "<Departure: working>"

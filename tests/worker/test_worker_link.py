"""Servers as a worker keeps them in mind: when one that failed is tried again."""
import pytest

from gearman_std.wire.protocol import NO_JOB
from gearman_std.worker.link import (ANSWER_TIMEOUT, CONNECTED, CUT, DOUBTFUL, DOWN, DROPPED, FIRST_RETRY, FOR_EVER, FRUITLESS,
                                     HEARD, LAST_RETRY, LINK_ARROWS, LINK_LOST, LINK_STATES, LONGEST_REST, PROBE_TIMEOUT,
                                     SERVER_ARROWS, SERVER_STATES, SILENT, SLEEP_TIMEOUT, UNKNOWN, UP, Lane, WorkerLink,
                                     WorkerServer)

from pictures import drawn


def fail(server, now=0.0, random=1.0, lived=0.0):
    """The seconds that a server is left alone when it fails."""
    server.back_off(now, lambda: random, lived)
    return server.retry_at - now


def test_tries_become_rarer_up_to_a_limit():
    server, now, waits = WorkerServer(("a", 4730)), 0.0, []
    for _ in range(30):
        waits.append(fail(server, now))
        now = server.retry_at
    assert waits[:3] == pytest.approx([FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY])
    assert waits[-20:] == pytest.approx([LAST_RETRY] * 20)


@pytest.mark.parametrize("random, wait", [(0.0, 0.5 * LAST_RETRY), (0.5, 0.75 * LAST_RETRY), (1.0, LAST_RETRY)])
def test_half_of_a_wait_is_random(random, wait):
    """So that a thousand workers of a restarted server do not all come at once."""
    server = WorkerServer(("a", 4730))
    server.failures = 40
    assert fail(server, random=random) == wait


def test_only_a_server_that_was_good_for_a_while_is_tried_at_once():
    """One that answers and fails, again and again, is no better than one that is down."""
    server = WorkerServer(("a", 4730))
    server.failures = 3
    assert fail(server, lived=8 * FIRST_RETRY) == pytest.approx(8 * FIRST_RETRY)
    server.retry_at = 0.0
    assert fail(server, lived=17 * FIRST_RETRY) == pytest.approx(FIRST_RETRY)


def test_connections_lost_together_are_one_failure():
    server = WorkerServer(("a", 4730))
    for _ in range(10):
        fail(server)
    assert server.failures == 1 and server.retry_at == FIRST_RETRY


def test_a_server_that_wakes_for_nothing_too_often_has_to_wait():
    link = WorkerLink(WorkerServer(("a", 4730)), Lane(None), None, b"", 0.0, None)
    now, rests = 100.0, []
    for _ in range(60):
        link.found_no_job(now)
        rests.append(max(0.0, link.rest_until - now))
        now += 0.001 + rests[-1]
    assert rests[:FRUITLESS] == [0.0] * FRUITLESS
    assert rests[-1] == pytest.approx(LONGEST_REST)
    link.found_no_job(now + 2)
    assert link.rest_until <= now + 2, "not so often any more"


def test_reprs_show_the_state():
    server, lane = WorkerServer(("::1", 4730)), Lane(2)
    link = WorkerLink(server, lane, None, b"", 0.0, None)
    assert repr(server) == "<WorkerServer [::1]:4730, unknown: 0 connections, 0 failures>"
    assert repr(lane) == "<Lane []: 0 of 2 taken>"
    assert repr(link) == "<WorkerLink to [::1]:4730: <WorkerSession: awake, 0 grabs unanswered, 0 jobs>>"


class Connection:
    unsent = False


@pytest.mark.parametrize("leaving", [False, True])
def test_how_long_a_connection_may_stand_still(leaving):
    link = WorkerLink(WorkerServer(("a", 4730)), Lane(None), Connection(), b"", 0.0, None)
    assert link.patience(leaving) == FOR_EVER, "with a job, or with nothing to do"
    link.session.grab()
    assert link.patience(leaving) == PROBE_TIMEOUT, "whether the server knows this way to ask is not known yet"
    link.session.receive(NO_JOB, ())
    assert link.patience(leaving) == (FOR_EVER if leaving else SLEEP_TIMEOUT)
    link.session.rouse()
    link.session.grab()
    assert link.patience(leaving) == (PROBE_TIMEOUT if leaving else ANSWER_TIMEOUT)
    link.connection.unsent = True
    assert link.patience(leaving) == ANSWER_TIMEOUT


# --- States.

def test_the_pictures_show_the_states_and_the_arrows():
    assert drawn(WorkerServer) == SERVER_ARROWS and drawn(WorkerLink) == LINK_ARROWS
    assert set(SERVER_STATES) == {UNKNOWN} | set(SERVER_ARROWS.values())
    assert set(LINK_STATES) == {SILENT} | set(LINK_ARROWS.values())


def test_a_server_in_any_state_takes_whatever_can_happen_to_it():
    """Of several connections to it one may come while another goes, but before the first one none can."""
    events = {CONNECTED, HEARD, DROPPED, CUT}
    assert {event for start, event in SERVER_ARROWS if start is UNKNOWN} == {CONNECTED, DROPPED}
    for state in set(SERVER_STATES) - {UNKNOWN}:
        assert {event for start, event in SERVER_ARROWS if start is state} == events


def test_a_server_behind_a_proxy_is_up_only_when_it_has_said_something():
    server = WorkerServer(("a", 4730))
    seen = [server.move(event) for event in (CONNECTED, CUT, CONNECTED, CUT, DROPPED, CONNECTED, HEARD, DROPPED, CONNECTED)]
    assert seen == [(UNKNOWN, UP), (UP, DOUBTFUL), (DOUBTFUL, DOUBTFUL), (DOUBTFUL, DOUBTFUL), (DOUBTFUL, DOUBTFUL),
                    (DOUBTFUL, DOUBTFUL), (DOUBTFUL, UP), (UP, DOWN), (DOWN, UP)]


def test_a_connection_ends_once():
    link = WorkerLink(WorkerServer(("a", 4730)), Lane(None), None, b"", 0.0, None)
    assert not link.lost
    link.move(HEARD)
    link.move(DROPPED)
    assert link.lost and link.state is LINK_LOST
    for event in (HEARD, DROPPED):
        with pytest.raises(KeyError):
            link.move(event)

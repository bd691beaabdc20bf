"""One server as a client sees it: the states of its connection, a new session for each, and pauses that grow."""
import glob
import os
import re

import pytest

from gearman_std.client.link import APART, CONNECTING, CONNECTION_ARROWS, CONNECTION_STATES, JOINED, Link, Request
from gearman_std.errors import NoServer, ServerLost
from gearman_std.wire.protocol import OPTION_REQ, pack_request

from pictures import drawn


class Recorder:
    """A connection that keeps what it is given, and how it ended."""

    def __init__(self):
        self.data = b""
        self.ended = ""

    def put(self, *pieces):
        self.data += b"".join(pieces)

    def close(self):
        self.ended = "closed"

    def leave(self):
        self.ended = "left"


def link_in(state):
    link = Link(("h", 4730))
    if state is not APART:
        link.claimed(1)
    if state is JOINED:
        link.reached(Recorder(), 5.0)
    assert link.state is state
    return link


# The calls that are the arrows.
CALLS = {
    "claimed": lambda link: link.claimed(2), "reached": lambda link: link.reached(Recorder(), 5.0),
    "failed": lambda link: link.failed(NoServer("no"), 7, 100.0, 0.5), "given up": Link.given_up, "lost": Link.lost,
    "left": Link.left}


def test_the_picture_shows_the_states_and_the_arrows():
    assert drawn(Link) == CONNECTION_ARROWS
    assert set(CONNECTION_STATES) == {start for start, _ in CONNECTION_ARROWS} == set(CONNECTION_ARROWS.values())
    assert set(CALLS) == {event for _, event in CONNECTION_ARROWS}


@pytest.mark.parametrize("state", CONNECTION_STATES)
@pytest.mark.parametrize("event", sorted(CALLS))
def test_each_arrow_is_a_call_and_there_are_no_others(state, event):
    link = link_in(state)
    if (state, event) not in CONNECTION_ARROWS:
        with pytest.raises(AssertionError, match="<Link to h:4730, %s> cannot be %s" % (state, event)):
            CALLS[event](link)
        assert link.state is state
        return
    CALLS[event](link)
    assert link.state is CONNECTION_ARROWS[state, event]


def test_nothing_else_changes_the_state(sources):
    """A link's `connection` and `connecting` are assigned in its arrows alone, the last of what each assigns."""
    for path in glob.glob(os.path.join(sources, "**", "*.py"), recursive=True):
        with open(path, encoding="utf-8") as file:
            assert not re.findall(r"\blink\.(?:connection|connecting)\b[^=\n]* = ", file.read()), path


def test_how_a_connection_ends():
    for end, ended in ((Link.lost, "closed"), (Link.left, "left")):
        link = link_in(JOINED)
        connection = link.connection
        assert link.heard == 5.0
        end(link)
        assert connection.ended == ended and link.connection is None and link.connecting is None


def test_a_server_that_cannot_be_reached_is_left_alone_for_a_while():
    link, failure = link_in(CONNECTING), NoServer("no")
    link.failed(failure, 7, 100.0, 0.5)
    assert (link.failure, link.failure_number, link.failures, link.retry_at) == (failure, 7, 1, 100.25)
    link.claimed(1)
    link.given_up()
    assert (link.failure_number, link.failures) == (7, 1), "that counts for nothing"


def test_each_connection_begins_with_the_exceptions_option():
    link = Link(("h", 4730))
    for _ in range(2):
        connection = Recorder()
        old = link.session
        link.claimed(1)
        link.reached(connection, 5.0)
        assert link.session is not old
        assert connection.data == pack_request(OPTION_REQ, b"exceptions")
        link.hand_on()
        assert connection.data == pack_request(OPTION_REQ, b"exceptions")
        link.lost()


def test_pauses_double_up_to_half_a_minute_and_vary_by_a_half():
    link, pauses = Link(("h", 4730)), []
    for _ in range(10):
        link.back_off(100.0, 0.5)
        pauses.append(link.retry_at - 100.0)
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    for spread, pause in ((0.0, 15.0), (1.0, 45.0)):
        link.back_off(100.0, spread)
        assert link.retry_at == 100.0 + pause


def test_links_and_requests_show_their_state():
    request = Request()
    assert (repr(Link(("h", 4730))), repr(request)) == ("<Link to h:4730, apart>", "<Request: unanswered>")
    request.refused(ServerLost("gone"))
    assert request.ended and repr(request) == "<Request: gone>"

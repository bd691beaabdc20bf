"""A shift's connections, with a selector and connections that the test plays: no sockets, no threads, no clock."""
import collections
import logging
import selectors

import pytest

from gearman_std.errors import ServerLost
from gearman_std.net.system import System
from gearman_std.wire.protocol import (CANT_DO, ERROR, GRAB_JOB_ALL, GRAB_JOB_UNIQ, JOB_ASSIGN_ALL, JOB_CREATED, NO_JOB, NOOP,
                                       PRE_SLEEP, REQUEST_MAGIC, PacketReader, packet_name, pack_response)
from gearman_std.worker.job import Ability
from gearman_std.worker.link import (ANSWER_TIMEOUT, CONNECTED, CUT, DOUBTFUL, DOWN, DROPPED, HEARD, PROBE_TIMEOUT,
                                     SLEEP_TIMEOUT, UNKNOWN, UP)
from gearman_std.worker.links import Links
from gearman_std.worker.settings import WorkerSettings
from gearman_std.worker.shared import Shared
from gearman_std.worker.slots import Slots

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Connection:
    """The test puts into `arrived` what the server has sent; what is sent to it can be read as the names of packets."""

    def __init__(self):
        self.arrived = collections.deque()
        self.queued = self.sent = 0
        self.slow = self.closed = self.left = False
        self.reader = PacketReader(REQUEST_MAGIC, text=False)
        self.names = []

    def put(self, *pieces):
        for piece in pieces:
            self.queued += len(piece)
            self.names += [packet_name(packet_type) for packet_type, _ in self.reader.feed(bytes(piece))]

    def flush(self):
        if not self.slow:
            self.sent = self.queued
        return not self.slow

    @property
    def unsent(self):
        return self.sent < self.queued

    @property
    def pending(self):
        return bool(self.arrived)

    def receive(self, room):
        data = self.arrived.popleft()
        if isinstance(data, Exception):
            raise data
        return data

    def close(self):
        self.closed = True

    def leave(self):
        self.left = True

    def said(self):
        names, self.names = self.names, []
        return names


class Selector:
    def __init__(self):
        self.watched = {}
        self.closed = False

    def register(self, connection, events, link):
        assert connection not in self.watched
        self.watched[connection] = events

    def modify(self, connection, events, link):
        assert connection in self.watched
        self.watched[connection] = events

    def unregister(self, connection):
        del self.watched[connection]

    def close(self):
        self.closed = True


class Scene:
    """The connections of a shift of two threads; `told` is what they said to it."""

    def __init__(self, servers="a"):
        self.selector = Selector()
        self.settings = WorkerSettings(servers, _system=System(random=lambda: 1.0, make_selector=lambda: self.selector))
        self.shared = Shared(self.settings)
        self.shared.lock.acquire()  # what a shift does around all that it asks of its connections
        self.slots = Slots(2, None)
        self.slots.learn(Ability(b"f", bool, None, None, None))
        self.told = []
        self.links = Links(self.shared, self.slots, lambda link, job, now: self.told.append((job.handle, now)), self.dropped,
                           lambda server, *move: self.told.append((server.name.split(":")[0],) + move))

    def dropped(self, link):
        assert link not in self.slots.links and link.lost
        self.told.append("dropped")

    def arrive(self, now=100.0, server=0, outcome=None):
        """A connection to a server is made; returns it, greeted."""
        made = [Connection() for _ in self.slots.lanes] if outcome is None else outcome
        self.links.servers[server].connecting = True
        self.links.connector.arrivals.append((self.links.servers[server], list(self.slots.lanes), made))
        self.links.advance(now)
        assert not self.links.servers[server].connecting
        if outcome is None:
            made[0].said()
            self.take()
            return self.slots.links[0]

    def take(self):
        told, self.told = self.told, []
        return told

    def receive(self, link, *data, now=100.0):
        link.connection.arrived.extend(data)
        self.links.serve(link, READ, now)

    def check(self, now):
        due = []
        self.links.check(now, due)
        return due

    def logged(self, caplog):
        caplog.clear()
        with caplog.at_level(logging.INFO, "gearman_std"):
            self.shared.notices.announce()
        return [record.getMessage() for record in caplog.records]

    def close(self):
        self.shared.lock.release()
        self.shared.waker.close()
        self.shared.woken.close()


@pytest.fixture
def scene():
    scene = Scene()
    yield scene
    scene.close()


@pytest.fixture
def two():
    scene = Scene("a,b")
    yield scene
    scene.close()


# --- Coming.

def test_missing_connections_are_asked_for_unless_a_server_is_left_alone(two):
    asked, due = [], []
    two.links.connector = type("Connector", (), {"connect": lambda self, *what: asked.append(what)})()
    first, second = two.links.servers
    second.retry_at = 100.5
    two.links.connect(100.0, due)
    assert asked == [(first, two.slots.lanes)] and due == [100.5]
    first.connecting = True
    two.links.connect(100.5, due)
    assert asked[1:] == [(second, two.slots.lanes)]


def test_only_the_lanes_without_a_connection_get_one(scene):
    asked = []
    scene.arrive()
    scene.links.connector = type("Connector", (), {"connect": lambda self, *what: asked.append(what)})()
    scene.links.connect(100.0, [])
    assert not asked
    limited = scene.slots.learn(Ability(b"g", bool, None, 1, None))
    scene.links.connect(100.0, [])
    assert asked == [(scene.links.servers[0], [limited])]


def test_a_connection_that_was_made_is_greeted_and_watched(scene):
    made = Connection()
    scene.arrive(outcome=[made])
    assert made.said() == ["OPTION_REQ", "CAN_DO"]
    assert scene.selector.watched == {made: READ}
    assert scene.take() == [("a", CONNECTED, UNKNOWN, UP, "")]
    assert repr(scene.links) == "<Links: 1 servers, 1 connections>"


def test_a_server_that_cannot_be_reached_is_left_alone_for_a_while(scene):
    scene.arrive(outcome=OSError("refused"))
    assert scene.take() == [("a", DROPPED, UNKNOWN, DOWN, "refused")]
    assert scene.links.servers[0].retry_at > 100.0 and not scene.links.servers[0].connecting


def test_a_connection_that_comes_while_the_worker_leaves_takes_no_jobs(scene):
    scene.shared.leaving = True
    made = Connection()
    scene.arrive(outcome=[made])
    assert made.said() == ["OPTION_REQ", "CAN_DO", packet_name(CANT_DO)]


# --- Serving.

def test_a_job_is_handed_on(scene):
    link = scene.arrive()
    scene.slots.grab(100.0, scene.shared.send)
    scene.receive(link, pack_response(JOB_ASSIGN_ALL, b"H:1", b"f", b"", b"", b""), now=101.0)
    assert scene.take() == [(b"H:1", 101.0), ("a", HEARD, UP, UP, "")]
    assert link.moved == 101.0 and link.server.confirmed


def test_what_came_in_several_pieces_is_taken_at_once(scene):
    link = scene.arrive()
    scene.slots.grab(100.0, scene.shared.send)
    packet = pack_response(JOB_ASSIGN_ALL, b"H:1", b"f", b"", b"", b"")
    scene.receive(link, packet[:7], packet[7:], None)
    assert scene.take()[0] == (b"H:1", 100.0)


def test_a_grab_that_brings_nothing_frees_its_slot(scene):
    link = scene.arrive()
    scene.slots.grab(100.0, scene.shared.send)
    assert (scene.slots.free, link.lane.taken) == (1, 1)
    scene.receive(link, pack_response(NO_JOB))
    assert (scene.slots.free, link.lane.taken) == (2, 0) and link.slept_at == 100.0
    scene.receive(link, pack_response(NOOP))
    assert (scene.slots.free, link.lane.taken) == (2, 0), "a call to wake answers no grab"


def test_a_server_that_has_answered_no_grab_is_not_known_to_understand_them(scene):
    link = scene.arrive()
    scene.receive(link, pack_response(NOOP))
    assert not link.server.confirmed


@pytest.mark.parametrize("data, reason", [
    (pack_response(JOB_CREATED, b"H:1"), "unexpected JOB_CREATED"),
    (b"\0RES\0\0\0\xff\0\0\0\0", "unknown"),
    (ServerLost("a:4730 has closed the connection"), "a:4730 has closed the connection"),
    (MemoryError(), "a:4730 sends more than there is memory for"),
])
def test_nonsense_and_the_end_lose_the_connection(scene, data, reason):
    link = scene.arrive()
    scene.receive(link, pack_response(NOOP))
    scene.take()
    scene.receive(link, data, now=100.5)
    dropped, (name, event, before, after, why) = scene.take()
    assert (dropped, name, event, before, after) == ("dropped", "a", DROPPED, UP, DOWN) and reason in why
    assert link.connection.closed and not scene.selector.watched and not link.server.links


def test_a_connection_lost_before_anything_came_is_called_cut(scene):
    link = scene.arrive()
    scene.receive(link, ServerLost("gone"))
    assert scene.take() == ["dropped", ("a", CUT, UP, DOUBTFUL, "gone")]


REFUSED = pack_response(ERROR, b"JOB_NOT_FOUND", b"no such job")
NO_USE = "a:4730 has no use for a result any more: JOB_NOT_FOUND: no such job"


def test_refusals_are_counted_and_logged_once_a_second(scene, caplog):
    link, other = scene.arrive(), pack_response(ERROR, b"OTHER", b"what")
    scene.receive(link, pack_response(NOOP))
    for now in (100.0, 100.999, 101.0):
        scene.receive(link, other, now=now)
    assert scene.logged(caplog) == 2 * ["a:4730 refused something: OTHER: what"]
    assert scene.settings.totals["refused"] == 0, "what is not of a job is none that was refused"


def test_of_results_that_a_server_has_no_use_for_the_first_is_logged_and_how_many_came_before_a_quiet_minute(scene, caplog):
    link = scene.arrive()
    scene.receive(link, pack_response(NOOP))
    for number in range(500):
        scene.receive(link, REFUSED, now=100.0 + number)
    assert scene.settings.totals["refused"] == 500 and scene.logged(caplog) == [NO_USE]
    due = []
    scene.links.check(658.9, due)
    assert scene.logged(caplog) == [] and 659.0 in due
    scene.links.check(659.0, [])
    scene.links.check(660.0, [])
    assert scene.logged(caplog) == ["a:4730 had no use for 499 more since then"]
    scene.receive(link, REFUSED, now=700.0)
    scene.receive(link, REFUSED, now=701.0)
    scene.receive(link, REFUSED, now=800.0)
    assert scene.logged(caplog) == [NO_USE, "a:4730 had no use for one more since then", NO_USE]
    scene.receive(link, REFUSED, now=801.0)
    scene.links.close()
    assert scene.logged(caplog) == ["a:4730 had no use for one more since then"]


def test_results_count_when_they_have_left(scene):
    link = scene.arrive()
    connection = link.connection
    connection.slow = True
    connection.put(b"\0REQ\0\0\0\x09\0\0\0\0" * 2)
    link.results.extend([(connection.sent + 12, None, "completed"), (connection.sent + 24, None, "failed")])
    scene.shared.attention.append(link)
    scene.links.advance(100.0)
    assert scene.selector.watched[connection] == READ | WRITE
    connection.sent += 12
    scene.links.serve(link, WRITE, 107.0)
    assert scene.settings.totals["completed"] == 1 and scene.settings.totals["failed"] == 0
    assert scene.selector.watched[connection] == READ | WRITE and link.moved == 107.0
    connection.slow = False
    scene.links.serve(link, WRITE, 108.0)
    assert scene.settings.totals["failed"] == 1 and not link.results
    assert scene.selector.watched[connection] == READ


def test_what_a_thread_found_while_it_sent_loses_the_connection_once(scene):
    link = scene.arrive()
    link.error = ServerLost("broken")
    scene.shared.attention.extend([link, link])
    scene.links.advance(100.0)
    assert scene.take() == ["dropped", ("a", CUT, UP, DOUBTFUL, "broken")]


def test_who_waits_for_room_is_told_when_something_has_left_and_when_nothing_will(scene):
    told = []
    scene.shared.drained = type("Condition", (), {"notify_all": lambda self: told.append(1)})()
    link = scene.arrive()
    scene.links.serve(link, WRITE, 100.0)
    assert len(told) == 1
    scene.links.drop(link)
    assert len(told) == 2


def test_nothing_is_received_on_a_connection_that_was_lost_while_it_sent(scene):
    link = scene.arrive()
    link.error = ServerLost("broken")
    scene.links.serve(link, READ | WRITE, 100.0)
    assert scene.take() == ["dropped", ("a", CUT, UP, DOUBTFUL, "broken")]


def test_a_connection_that_was_dropped_is_watched_no_more(scene):
    link = scene.arrive()
    link.connection.slow = True
    scene.slots.grab(100.0, scene.shared.send)
    scene.links.drop(link)
    assert list(scene.shared.attention) == [link]
    scene.links.advance(100.0)
    assert not scene.selector.watched


def test_one_of_two_grabs_that_brings_nothing_does_not_count_as_a_call_for_nothing(scene):
    link = scene.arrive()
    scene.slots.grab(100.0, scene.shared.send)
    scene.receive(link, pack_response(JOB_ASSIGN_ALL, b"H:1", b"f", b"", b"", b""))
    scene.slots.free = 2
    scene.slots.grab(100.0, scene.shared.send)
    assert link.session.grabs == 2
    scene.receive(link, pack_response(NO_JOB))
    assert link.slept_at == 0.0
    scene.receive(link, pack_response(NO_JOB))
    assert link.slept_at == 100.0


def test_what_a_server_says_of_its_limit_is_noted(scene):
    link = scene.arrive()
    scene.receive(link, pack_response(ERROR, b"ARGUMENT_TOO_LARGE", b"WORK_COMPLETE of 2000 bytes, the limit is 1000"))
    assert link.reporter.largest == 1000 and link.told_limit
    scene.receive(link, pack_response(ERROR, b"OTHER", b"what"))
    assert link.reporter.largest == 1000


# --- Giving up.

def test_a_server_that_does_not_answer_is_asked_in_another_way_next_time(scene):
    link = scene.arrive()
    scene.slots.grab(100.0, scene.shared.send)
    assert scene.check(100.0 + PROBE_TIMEOUT - 0.001) == [100.0 + PROBE_TIMEOUT]
    assert scene.check(100.0 + PROBE_TIMEOUT) == []
    assert scene.take() == ["dropped", ("a", CUT, UP, DOUBTFUL, "a:4730 did not answer")]
    assert link.server.grab_type == GRAB_JOB_UNIQ and scene.slots.free == 2
    scene.arrive(now=110.0)
    scene.slots.grab(110.0, scene.shared.send)
    scene.check(110.0 + PROBE_TIMEOUT)
    assert link.server.grab_type == GRAB_JOB_ALL


def test_a_server_that_has_answered_before_is_asked_in_the_same_way(scene):
    link = scene.arrive()
    scene.slots.grab(100.0, scene.shared.send)
    scene.receive(link, pack_response(NO_JOB))
    link.session.rouse()
    scene.slots.grab(100.0, scene.shared.send)
    assert scene.check(100.0 + ANSWER_TIMEOUT - 0.001) == [100.0 + ANSWER_TIMEOUT]
    scene.check(100.0 + ANSWER_TIMEOUT)
    assert link.lost and link.server.grab_type == GRAB_JOB_ALL


def test_a_sleeper_asks_unbidden_in_the_end(scene):
    link = scene.arrive()
    scene.slots.grab(100.0, scene.shared.send)
    scene.receive(link, pack_response(NO_JOB))
    scene.shared.send(link)
    assert link.connection.said()[-1] == packet_name(PRE_SLEEP) and not link.session.can_grab
    assert scene.check(100.0 + SLEEP_TIMEOUT - 0.001) == [100.0 + SLEEP_TIMEOUT] and not link.session.can_grab
    assert scene.check(100.0 + SLEEP_TIMEOUT) == [] and link.session.can_grab


def test_a_server_that_does_not_take_what_is_sent_is_given_up(scene):
    link = scene.arrive()
    link.connection.slow = True
    link.connection.put(b"\0REQ\0\0\0\x09\0\0\0\0")
    assert scene.check(100.0 + ANSWER_TIMEOUT - 0.001) == [100.0 + ANSWER_TIMEOUT]
    scene.check(100.0 + ANSWER_TIMEOUT)
    assert link.lost and scene.take() == ["dropped", ("a", CUT, UP, DOUBTFUL, "a:4730 did not answer")]


def test_one_that_rests_is_looked_at_again_when_it_has_rested(scene):
    link = scene.arrive()
    assert scene.check(100.0) == []
    link.rest_until = 100.1
    assert scene.check(100.0) == [100.1]


def test_a_connection_without_functions_ends_when_its_jobs_have(scene):
    link = scene.arrive()
    scene.slots.grab(100.0, scene.shared.send)
    scene.slots.forget(b"f")
    scene.check(100.0)
    assert not link.lost, "an answer is still to come"
    scene.slots.give_back(link.lane, 1)
    link.session.grabs = 0
    scene.check(100.0)
    assert link.lost and not link.server.links and scene.take() == ["dropped"], "which is no failure of the server"


def test_results_that_have_not_left_are_lost_with_the_connection(scene, caplog):
    link = scene.arrive()
    sent = link.connection.sent
    link.results.extend([(sent, "one", "completed"), (sent + 1, "two", "completed")])
    scene.links.drop(link)
    assert scene.settings.totals["completed"] == scene.settings.totals["lost"] == 1 and not link.results
    assert scene.logged(caplog) == ["the end of 'two' is of no use, its server is lost"]


def test_a_limit_that_a_server_told_lasts_as_long_as_its_connection(scene):
    link = scene.arrive()
    link.reporter.largest, link.told_limit = 1000, True
    scene.receive(link, ServerLost("gone"))
    assert link.server.largest == 1000, "the next one begins with it"
    link = scene.arrive(now=200.0)
    assert link.reporter.largest == 1000
    scene.receive(link, ServerLost("gone"))
    assert link.server.largest > 1000, "a server that begins anew may take more"


@pytest.mark.parametrize("heard, failures", [(False, 4), (True, 1)])
def test_only_a_server_that_has_answered_for_long_begins_with_a_short_wait(scene, heard, failures):
    link = scene.arrive()
    scene.links.servers[0].failures = 3
    if heard:
        scene.receive(link, pack_response(NOOP))
    scene.receive(link, ServerLost("gone"), now=110.0)
    assert scene.links.servers[0].failures == failures


def test_nothing_is_tried_again_while_the_worker_leaves(scene):
    link = scene.arrive()
    scene.shared.leaving = True
    scene.receive(link, ServerLost("gone"))
    assert scene.take() == ["dropped"] and link.server.retry_at == 0.0


# --- The end.

def test_the_end_closes_also_what_was_made_just_now(scene):
    link, late = scene.arrive(), Connection()
    scene.links.connector.arrivals.append((scene.links.servers[0], [], [late]))
    scene.links.close()
    assert link.connection.closed and late.closed and not scene.slots.links and not scene.selector.closed


def test_a_child_of_a_fork_lets_go_without_a_word(scene):
    link, late = scene.arrive(), Connection()
    scene.links.connector.arrivals.append((scene.links.servers[0], [], [late]))
    scene.links.leave()
    assert link.lost and link.connection.left and late.left and scene.selector.closed
    assert not link.connection.closed and link.connection.said() == [] and scene.take() == []

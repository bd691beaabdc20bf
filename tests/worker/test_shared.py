"""What a shift's threads share, and how a job's words get out, without a server."""
import os

import pytest

from gearman_std.errors import ServerLost
from gearman_std.wire.worker_session import Assignment, WorkerSession
from gearman_std.worker.job import Ability, WorkerJob
from gearman_std.worker.link import DROPPED, Lane, WorkerLink, WorkerServer
from gearman_std.worker.running import Run
from gearman_std.worker.settings import WorkerSettings
from gearman_std.worker.shared import UNSENT_LIMIT, LinkReporter, Shared


class Connection:
    """What is sent is in `sent_pieces`, or stays as long as `slow`."""

    def __init__(self):
        self.pieces = []
        self.queued = self.sent = 0
        self.slow = False
        self.error = None

    def put(self, *pieces):
        self.pieces += pieces
        self.queued += sum(map(len, pieces))

    def flush(self):
        if self.error is not None:
            raise self.error
        if not self.slow:
            self.sent = self.queued
        return not self.slow


@pytest.fixture
def scene():
    """A shift's common things, a connection that has introduced itself, and a job of it that runs."""
    shared = Shared(WorkerSettings())
    reporter = LinkReporter(shared, "a:4730", 100)
    connection = Connection()
    reporter.link = link = WorkerLink(WorkerServer(("a", 4730)), Lane(None), connection, b"", 0.0, reporter)
    shared.send(link)
    connection.pieces.clear()
    assignment = Assignment(b"H:1", b"f", b"", b"", b"")
    job = WorkerJob(assignment, reporter)
    shared.running[job] = Run(job, assignment, Ability(b"f", bool, None, None, None), link, 0.0)
    yield shared, link, connection, job
    shared.waker.close()
    shared.woken.close()


def test_what_a_running_job_says_is_sent_at_once(scene):
    shared, link, connection, job = scene
    job.send_warning("careful")
    assert len(connection.pieces) == 1 and connection.pieces[0].endswith(b"H:1\0careful")
    assert not shared.attention
    del shared.running[job]
    job.send_warning("late")
    assert len(connection.pieces) == 1
    assert repr(job._reporter) == "<LinkReporter to a:4730>"


def test_nothing_is_sent_to_a_server_that_is_lost(scene):
    shared, link, connection, job = scene
    assert not job.lost
    link.move(DROPPED)
    job.send_data("x")
    assert job.lost and not connection.pieces and repr(job._reporter) == "<LinkReporter to a:4730, lost>"


def test_a_child_of_a_fork_says_nothing(scene):
    shared, link, connection, job = scene
    shared.process = os.getpid() + 1
    job.send_data("x")
    assert not connection.pieces and not shared.at_work


def test_who_cannot_send_leaves_that_to_the_thread_in_the_selector(scene):
    shared, link, connection, job = scene
    connection.slow = True
    job.send_data("x")
    assert list(shared.attention) == [link] and shared.woken.recv(10) == b"\0"
    connection.error = ServerLost("gone")
    job.send_data("y")
    assert link.error is connection.error and len(shared.attention) == 2


def test_a_job_that_says_much_waits_until_the_server_has_taken_it(scene):
    shared, link, connection, job = scene
    waits = []

    class Drained:
        def wait(self):
            assert not connection.pieces
            waits.append(connection.queued - connection.sent)
            connection.sent += 1
    shared.drained = Drained()
    connection.queued = connection.sent + UNSENT_LIMIT + 2
    job.send_data("x")
    assert len(connection.pieces) == 1 and waits == [UNSENT_LIMIT + 2, UNSENT_LIMIT + 1]


def test_waking_never_waits_and_never_fails(scene):
    shared = scene[0]
    for _ in range(100000):
        shared.wake()
    shared.waker.close()
    shared.wake()


def test_how_far_it_is(scene):
    shared, _, _, job = scene
    assert repr(shared) == "<Shared: 1 running>" and not job.stopping
    shared.leaving = True
    assert repr(shared) == "<Shared: 1 running, leaving>" and job.stopping
    shared.over = True
    assert repr(shared) == "<Shared: 1 running, over>" and shared.at_work
    shared.ended = True
    assert repr(shared) == "<Shared: 1 running, ended>" and not shared.at_work


def test_the_session_is_what_makes_packets_of_it(scene):
    shared, link, connection, job = scene
    job._reporter.say(job, WorkerSession.status, b"1", b"2")
    assert bytes(connection.pieces[0]).endswith(b"H:1\x001\x002")

"""Forks of programs with clients: a child ends and answers nothing of its parent's, whose end is seen while it lives."""
import os
import signal
import sys
import threading

import pytest

from client_tools import LONG, client_of
from gearman_std.client.admin import AdminClient
from gearman_std.client.client import Client
from gearman_std.errors import GearmanError, NoServer, ServerLost
from gearman_std.net.connection import open_connection
from gearman_std.net.system import REAL_SYSTEM
from gearman_std.testing import JobServer

pytestmark = [pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
              pytest.mark.filterwarnings("ignore:.*fork")]


def in_child(function):
    """Run a function in a child, which then ends; return what the function left of it as a status."""
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.alarm(int(LONG))
            function()
            status = 0
        except SystemExit:
            status = 7
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


@pytest.fixture
def server():
    with JobServer() as server:
        server.start_worker({"echo": lambda job: job.workload}, threads=4)
        yield server


def leave_by_exit(client, admin):
    with client, admin:
        sys.exit(7)


def leave_by_kill(client, admin):
    os.kill(os.getpid(), signal.SIGKILL)


def use_and_close(client, admin):
    assert client.run("echo", b"child", timeout=LONG) == b"child"
    assert admin.version()
    client.close()
    admin.close()


@pytest.mark.parametrize("leave, status", [(leave_by_exit, 7), (leave_by_kill, -signal.SIGKILL), (use_and_close, 0)])
def test_a_child_that_ends_in_any_way_changes_nothing_for_its_parent(server, leave, status):
    with server.client() as client, AdminClient([server.name]) as admin:
        assert client.run("echo", b"before", timeout=LONG) == b"before" and admin.version()
        connections = client._pool.first.links[0].connection, admin._connection
        assert in_child(lambda: leave(client, admin)) == status
        assert client.run("echo", b"after", timeout=LONG) == b"after" and admin.version()
        assert connections == (client._pool.first.links[0].connection, admin._connection)


def test_a_child_holds_no_connection_of_its_parent(server):
    with server.client() as client, AdminClient([server.name]) as admin:
        client.ping()
        admin.ping()
        ends = [client._pool.first.links[0].connection, admin._connection]
        assert in_child(lambda: [end.fileno() == -1 or sys.exit(1) for end in ends]) == 0


def test_a_connection_that_was_being_made_at_a_fork_is_the_parents(server):
    """As when a signal's handler forks, and its child goes on where it was."""
    forked = []

    def connect(*arguments):
        connection = REAL_SYSTEM.connect(*arguments)
        if not forked:
            forked.append(os.fork())
        return connection

    with client_of([server.name], connect=connect) as client:
        outcome = None
        try:
            outcome = client.run("echo", b"x", timeout=LONG)
        except ServerLost:
            assert forked == [0]
            outcome = client.run("echo", b"child", timeout=LONG)
        finally:
            if forked == [0]:
                os._exit(0 if outcome == b"child" else 1)
        assert os.waitpid(forked[0], 0)[1] == 0
        assert outcome == b"x" and client.run("echo", b"y", timeout=LONG) == b"y"


def test_forks_at_any_moment_while_other_threads_use_the_client(server):
    with server.client(command_timeout=LONG) as client:
        over, failures = threading.Event(), []

        def use(number):
            turn = 0
            while not over.is_set():
                turn += 1
                try:
                    assert client.run("echo", b"%d of %d" % (turn, number), timeout=LONG) == b"%d of %d" % (turn, number)
                except BaseException as error:
                    failures.append(error)
                    return

        threads = [threading.Thread(target=use, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            for number in range(15):
                assert in_child(lambda: client.run("echo", b"child", timeout=LONG) == b"child" or sys.exit(1)) == 0
        finally:
            over.set()
            for thread in threads:
                thread.join(LONG)
        assert not failures


def test_the_end_of_a_parents_connections_is_seen_while_a_child_lives(serve):
    ended = threading.Event()

    def script(peer):
        while peer.hear():
            continue
        ended.set()

    client = Client([serve(script).name])
    client.submit("f")
    orders, order = os.pipe()
    child = os.fork()
    if not child:
        os.close(order)
        os.read(orders, 1)
        os._exit(0)
    os.close(orders)
    try:
        client.close()
        assert ended.wait(LONG)
    finally:
        os.close(order)
        os.waitpid(child, 0)


def test_a_child_that_is_made_while_a_connection_is_made_makes_its_own(server, monkeypatch):
    with server.client() as client:
        network, outcomes = client._pool.first, []
        connect = network.open

        def open_and_fork(address, timeout):
            monkeypatch.setattr(network, "open", connect)
            outcomes.append(in_child(lambda: client.run("echo", b"child", timeout=LONG) == b"child" or sys.exit(1)))
            return connect(address, timeout)

        monkeypatch.setattr(network, "open", open_and_fork)
        assert client.run("echo", b"parent", timeout=LONG) == b"parent"
        assert outcomes == [0]


def test_a_connection_that_was_left_is_a_named_error(server):
    connection = open_connection(server.address, LONG)
    assert not connection.inherited

    def use():
        assert connection.inherited
        connection.close()
        connection.put(b"version\n")
        with pytest.raises(GearmanError):
            connection.flush()

    assert in_child(use) == 0
    connection.put(b"version\n")
    assert connection.flush() and connection.wait(LONG)
    connection.close()
    with pytest.raises(NoServer):
        open_connection("127.0.0.1:1", LONG)

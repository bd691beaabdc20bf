"""The server of the library gear, as test suites embed it."""
import socket

import pytest

from gearman_std.client.client import Client
from gearman_std.legacy.gear_packets import ConfigurationError
from gearman_std.legacy.gear_server import Server


@pytest.fixture
def server():
    made = Server(0)
    yield made
    made.shutdown()


def test_what_it_has_is_told_in_copies(server):
    with Client("127.0.0.1:%d" % server.port) as client:
        handle = client.submit("f", b"data", unique="u", background=True).handle
        job = server.jobs[handle]
        assert (job.name, job.arguments, job.unique, job.handle, job.running) == (b"f", b"data", b"u", handle, False)
        assert server.normal_queue[0].handle == handle and server.functions == set()
        assert [peer.host for peer in server.active_connections] == ["127.0.0.1"]
        assert client.submit("f", b"watched").handle
        assert [job.arguments for job in server.active_connections[0].related_jobs.values()] == [b"watched"]
        server.jobs.clear()
        assert server.total_jobs == 2


def test_it_can_be_reached_by_every_address_of_the_machine_or_by_one():
    made = Server(0, host="127.0.0.1")
    assert made.port and repr(made).endswith("port: %d>" % made.port)
    with Client("127.0.0.1:%d" % made.port) as client:
        assert client.ping() >= 0
    made.shutdown()
    assert (made.total_jobs, made.getQueue(), made.functions) == (0, [], set())


def test_a_port_that_is_taken_is_an_exception():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        with pytest.raises(Exception, match="Could not open socket: .*in use"):
            Server(taken.getsockname()[1], host="127.0.0.1")


def test_what_cannot_be_here_is_said():
    class Holding(Server):
        def getJobForConnection(self, connection, peek=False):
            return None

    class Handling(Server):
        def handlePacket(self, packet):
            return None
    for make, text in ((lambda: Holding(0), "getJobForConnection cannot be overridden"),
                       (lambda: Handling(0), "handlePacket cannot be overridden"), (lambda: Server(0, acl=object()), "acl "),
                       (lambda: Server(0, "key"), "TLS needs all of")):
        with pytest.raises(ConfigurationError, match=text):
            make()


def test_statsd_is_told_in_the_log_and_a_second_shutdown_too(caplog):
    made = Server(0, statsd_host="metrics")
    made.shutdown()
    made.shutdown()
    assert "nothing is sent to metrics" in caplog.text and "shut down before" in caplog.text

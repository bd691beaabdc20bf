"""One server as a client sees it: a new session for each connection, and pauses that grow."""
from gearman_std.client.link import Link, Request
from gearman_std.errors import ServerLost
from gearman_std.wire.protocol import OPTION_REQ, pack_request


class Recorder:
    """A connection that keeps what it is given."""

    def __init__(self):
        self.data = b""

    def put(self, *pieces):
        self.data += b"".join(pieces)


def test_each_connection_begins_with_the_exceptions_option():
    link = Link(("h", 4730))
    for _ in range(2):
        connection = Recorder()
        old = link.session
        link.connected(connection)
        assert link.session is not old
        assert connection.data == pack_request(OPTION_REQ, b"exceptions")
        link.hand_on()
        assert connection.data == pack_request(OPTION_REQ, b"exceptions")


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
    assert (repr(Link(("h", 4730))), repr(request)) == ("<Link to h:4730: None>", "<Request: unanswered>")
    request.refused(ServerLost("gone"))
    assert request.ended and repr(request) == "<Request: gone>"

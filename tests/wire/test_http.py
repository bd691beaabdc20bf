"""What every session of HTTP does: reads requests, frames responses, refuses what it cannot read, and says so."""
import pytest

from gearman_std.wire.http import HTTPSession, pack_head, refused, split_target
from gearman_std.wire.protocol import ECHO_REQ, ECHO_RES, ERROR, WORK_COMPLETE, pack_response


class Parrot(HTTPSession):
    """Answers a request with its path and body."""

    def take_path(self, path):
        if path == b"/unwanted":
            raise refused(404, "unwanted")
        self.path = path

    def take_request(self, body):
        return [(ECHO_REQ, (self.path + b" " + bytes(body),))]

    def on_packet(self, packet_type, arguments):
        if packet_type == ERROR:
            return self.refuse(bytes(arguments[0]), bytes(arguments[1]))
        return self.answer(200, [], [arguments[1]])


def ask(session, data):
    """What a session makes of bytes, and then of the core's echo of them."""
    packets = session.feed(data)
    assert session.error is None, session.error
    return [(kind, arguments[0]) for kind, arguments in packets]


def test_request_and_response():
    session = Parrot(100)
    assert ask(session, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nb") == []
    assert session.held
    assert ask(session, b"c") == [(ECHO_REQ, b"/a bc")]
    assert session.serving and repr(session) == "<Parrot serving>"
    sent = session.respond([pack_response(WORK_COMPLETE, b"", b"done")])
    assert b"".join(sent) == (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nServer: gearman_std\r\nConnection: keep-alive\r\n\r\n"
                              b"done")
    assert not session.serving and not session.over
    assert ask(session, b"HEAD /b HTTP/1.0\r\n\r\n") == [(ECHO_REQ, b"/b ")]
    sent = session.respond([pack_response(WORK_COMPLETE, b"", b"done")])
    assert b"".join(sent) == b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\nServer: gearman_std\r\nConnection: close\r\n\r\n"
    assert session.over and repr(session) == "<Parrot over>"
    assert session.feed(b"GET / HTTP/1.1\r\n") == []
    assert session.respond([pack_response(WORK_COMPLETE, b"", b"late")]) == []


def test_an_echo_is_sent_as_it_is():
    go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert Parrot(100).respond([pack_response(ECHO_RES, go_on)]) == [go_on]


@pytest.mark.parametrize("line, code", [
    (b"PUT / HTTP/1.1", b"405"), (b"DELETE / HTTP/1.1", b"405"), (b"BREW / HTTP/1.1", b"501"), (b"GET / HTTP/2.0", b"505"),
    (b"GET / HTTP/x.1", b"400"), (b"GET /", b"400"), (b"GET /unwanted HTTP/1.1", b"404")])
def test_a_first_line_that_is_refused(line, code):
    session = Parrot(100)
    assert session.feed(line + b"\r\n") == []
    assert session.error.code == code
    assert repr(session) == "<Parrot %s>" % session.error


def test_a_method_that_is_not_allowed_is_told_which_are():
    session = Parrot(100)
    session.feed(b"PUT / HTTP/1.1\r\n")
    assert b"\r\nAllow: GET, HEAD, POST\r\n" in b"".join(session.refuse(session.error.code, str(session.error).encode()))


def test_a_response_in_chunks_says_so_where_the_client_knows_chunks():
    assert b"Transfer-Encoding: chunked" in pack_head(b"HTTP/1.1", 200, [], -1, True)
    head = pack_head(b"HTTP/1.0", 200, [], -1, False)
    assert b"Transfer-Encoding" not in head and b"Content-Length" not in head


@pytest.mark.parametrize("target, host, path", [
    (b"/a?b", b"", b"/a?b"), (b"http://x/a", b"x", b"/a"), (b"HTTPS://x:1/", b"x:1", b"/"), (b"http://x", b"x", b""),
    (b"http://x?a/b", b"x", b""), (b"http://[::1]:4730/a", b"[::1]:4730", b"/a")])
def test_the_host_and_the_path_of_a_target(target, host, path):
    assert split_target(target) == (host, path)

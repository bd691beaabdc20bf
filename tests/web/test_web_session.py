"""HTTP for people and monitors: who may ask, how an answer is framed, and what other sites cannot do through a browser."""
import pytest

from gearman_std.web.sharing import SharedAnswers
from gearman_std.web.session import WebSession
from gearman_std.wire.protocol import ERROR, pack_response
from web_tools import HOST, Browser, unchunked


@pytest.fixture
def browser(world):
    return Browser(world)


def test_a_page_says_what_it_is_and_what_it_may_load(browser):
    status, headers, body = browser.asks("GET /")
    assert status == 200 and headers["content-type"] == "text/html; charset=utf-8"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers
    assert body.startswith(b"<!DOCTYPE html>") and body.endswith(b"</html>\n")


def test_requests_follow_one_another_on_a_connection(browser):
    for _ in range(3):
        assert browser.gets("/healthz") == {"alive": True}
    assert repr(browser.session) == "<WebSession 0 bytes of a request>"


@pytest.mark.parametrize("host", [b"evil.example", b"evil.example:80", b"queue.example.evil", b"127.0.0.1.evil", b"1.2.3.x"])
def test_a_name_that_is_not_ours_is_refused(browser, host):
    status, _, body = browser.asks("GET /", host=host)
    assert status == 421 and b"not called" in body


@pytest.mark.parametrize("host", [HOST, HOST.upper(), HOST + b":8080", b"127.0.0.1", b"127.0.0.1:80", b"[::1]", b"[::1]:80"])
def test_our_names_and_addresses_are_taken(browser, host):
    assert browser.asks("GET /healthz", host=host)[0] == 200


def test_without_a_host_only_the_old_protocol_speaks(browser):
    assert browser.sends(b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 OK\r\n")


@pytest.mark.parametrize("named, host, status", [(b"evil.example", HOST, 421), (HOST, b"evil.example", 200)])
def test_the_host_of_a_whole_url_counts_and_not_the_header(browser, named, host, status):
    assert browser.asks("GET http://%s/healthz" % named.decode(), host=host)[0] == status


def test_a_url_without_a_path_is_that_of_the_page(browser):
    status, _, body = browser.asks("GET http://%s" % HOST.decode())
    assert status == 200 and body.startswith(b"<!DOCTYPE html>")


def test_an_order_needs_the_header_that_no_form_can_send(world, browser):
    world.connects().submits_bg()
    status, _, body = browser.asks("POST /api/functions/f/pause")
    assert status == 403 and b"X-Gearman-Steer" in body
    assert not world.core.functions[b"f"].paused
    assert Browser(world).asks("GET /api/functions/f/pause", b"X-Gearman-Steer: yes")[0] == 405
    assert not world.core.functions[b"f"].paused


@pytest.mark.parametrize("request_line, allowed", (
    ("GET /api/functions/f/pause", "POST"), ("HEAD /api/functions/f/pause", "POST"), ("POST /api/functions", "GET, HEAD"),
    ("PUT /api/functions", "GET, HEAD, POST")))
def test_who_uses_the_wrong_method_is_told_the_right_one(world, browser, request_line, allowed):
    world.connects().submits_bg()
    status, headers, _ = browser.asks(request_line, b"X-Gearman-Steer: yes")
    assert (status, headers["allow"]) == (405, allowed)


def test_a_long_answer_comes_in_chunks_and_turns(world, browser):
    client = world.connects()
    for number in range(500):
        client.submits_bg(unique=b"unique-%d" % number)
    status, headers, body = browser.asks("GET /api/jobs?limit=500")
    assert status == 200 and headers["transfer-encoding"] == "chunked" and browser.turns > 5
    assert body.count(b'"handle"') == 500
    assert browser.asks("HEAD /api/jobs?limit=500")[2] == b""
    assert browser.asks("GET /healthz")[0] == 200


@pytest.mark.parametrize("first", [b"HTTP/1.1\r\nConnection: close", b"HTTP/1.1"])
def test_a_long_answer_before_the_end_of_the_connection_is_in_chunks_and_says_so(world, browser, first):
    client = world.connects()
    for _ in range(500):
        client.submits_bg()
    more = b"" if b"close" in first else b"GET / HTTP/1.1\r\n"  # a request that comes too early closes the connection, too
    head, _, body = browser.sends(
        b"GET /api/jobs?limit=500 " + first + b"\r\nHost: 127.0.0.1\r\n\r\n" + more).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head and b"Connection: close" in head and browser.session.over
    assert unchunked(body).count(b'"handle"') == 500


def test_the_old_protocol_gets_a_long_answer_up_to_the_end_of_the_connection(world, browser):
    client = world.connects()
    for _ in range(500):
        client.submits_bg()
    head, _, body = browser.sends(b"GET /api/jobs?limit=500 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").partition(b"\r\n\r\n")
    assert b"Content-Length" not in head and b"Connection: close" in head
    assert body.count(b'"handle"') == 500 and browser.session.over


def test_a_trouble_in_the_middle_of_an_answer_ends_the_connection(world, browser):
    client = world.connects()
    for _ in range(500):
        client.submits_bg()
    packets = browser.session.feed(b"GET /api/jobs?limit=500 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    while len(browser.peer.outgoing) < 3:
        packets = browser.core.receive(browser.peer, packets)
    assert repr(browser.session) == "<WebSession serving /api/jobs>"
    sent = b"".join(browser.session.respond(browser.peer.outgoing))
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert browser.session.respond([pack_response(ERROR, b"SERVER_ERROR", b"trouble")]) == []
    assert browser.session.over
    browser.core.disconnect(browser.peer)


def test_a_body_that_is_too_large_is_refused():
    session = WebSession(frozenset(), SharedAnswers())
    session.feed(b"POST / HTTP/1.1\r\nHost: [::1]\r\nX-Gearman-Steer: 1\r\nContent-Length: 70000\r\n\r\n")
    assert session.error.code == b"413"

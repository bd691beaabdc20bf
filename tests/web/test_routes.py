"""Which paths can be asked for, by whom, and the errors for everything else."""
import pytest

from gearman_std.core import facts
from gearman_std.core.rights import ADMIN, STEER, SUBMIT, WORK
from gearman_std.web import api, metrics, page
from gearman_std.wire.protocol import CAN_DO, GRAB_JOB, SUBMIT_JOB_BG
from web_tools import HOST, Browser


@pytest.fixture
def browser(world):
    return Browser(world)


@pytest.mark.parametrize("rights, status", [({SUBMIT, WORK}, 403), ({ADMIN}, 200), ({ADMIN, STEER}, 200)])
def test_who_may_ask(world, rights, status):
    browser = Browser(world, frozenset(rights))
    for path in ("/", "/metrics", "/api/server", "/api/jobs", "/functions/f"):
        world.core.add_function(b"f")
        assert browser.asks("GET " + path)[0] == status, path
    for path in ("/healthz", "/readyz", "/page.css", "/page.js"):
        assert browser.asks("GET " + path)[0] == 200, path


def test_who_may_not_steer_is_offered_nothing_and_refused(world):
    world.connects().submits_bg()
    browser = Browser(world, frozenset((ADMIN,)))
    assert "data-order" not in browser.gets("/")
    assert "may not do that" in browser.orders("/api/functions/f/pause", 403)


@pytest.mark.parametrize("path, status, words", [
    ("/nothing", 404, "only at /, /api/aside"), ("/api", 404, "/metrics"), ("/jobs/H%3Ax%3A7", 404, "no job H:x:7"),
    ("/functions/%ff", 404, "no function"), ("/api/jobs?limit=0", 400, "from 1 to 1000"), ("/api/jobs?limit=x", 400, "limit"),
    ("/api/jobs?stat=waiting", 400, "stat"), ("/api/jobs?state=lost", 400, "waiting, running"), ("/?sort=1", 400, "sort"),
    ("/api/functions?sort=waiting&after=a", 400, "after"), ("/api/server?x", 400, "nor anything else"),
    ("/api/workers?after=5", 409, "start again")])
def test_what_cannot_be_answered(browser, path, status, words):
    got, _, body = browser.asks("GET " + path)
    assert got == status and words in body.decode()
    assert browser.asks("GET /healthz")[0] == 200


def test_a_query_or_a_form_of_very_many_values_is_a_400(world, browser):
    many = b"&".join([b"a"] * 5000)
    assert browser.asks("GET /api/jobs?" + many.decode())[0] == 400
    browser = Browser(world)
    assert "more than 100 values" in browser.orders("/api/server/drain", 400, body=many) and not world.core.draining


LONG = 8191  # bytes: no name is longer


@pytest.mark.parametrize("path", ["/", "/?sort=oldest", "/?search=a", "/metrics", "/api/functions?limit=100",
                                  "/api/functions?sort=waiting&limit=100", "/api/jobs?limit=100", "/api/workers"])
def test_of_long_names_few_are_looked_at_in_one_turn(world, browser, monkeypatch, path):
    """Names of thousands of bytes that are not UTF-8, as someone who scans ports leaves them, hold up nobody."""
    looked_at = []

    def look(value, text_of=facts.text_of):
        looked_at.append(len(value))
        return text_of(value)
    for module in (facts, api, metrics, page):
        monkeypatch.setattr(module, "text_of", look)
    names = [b"\xff" * (LONG - 2) + b"%02d" % number for number in range(60)]
    client, worker = world.connects(), world.connects()
    for packet_type, rest in ((SUBMIT_JOB_BG, [b"", b"w"]), (CAN_DO, []), (GRAB_JOB, [])):
        one = worker if packet_type != SUBMIT_JOB_BG else client
        world.does(one, [(packet_type, [name] + rest if packet_type != GRAB_JOB else []) for name in names])
        one.takes()
    packets = browser.session.feed(b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (path.encode(), HOST))
    while packets:
        packets = world.core.receive(browser.peer, packets)
        assert sum(looked_at) <= 6 * LONG and len(b"".join(browser.peer.outgoing)) < 2 * 44 * 4 * LONG
        looked_at.clear()
        browser.peer.outgoing.clear()
        world.core.unsent.clear()

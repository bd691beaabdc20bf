"""Which paths can be asked for, by whom, and the errors for everything else."""
import pytest

from gearman_std.core.rights import ADMIN, STEER, SUBMIT, WORK
from web_tools import Browser


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

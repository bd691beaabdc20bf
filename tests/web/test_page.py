"""The page for people, as HTML: what it shows, also without a script, and that names of any bytes do no harm."""
from html.parser import HTMLParser

import pytest

from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.rights import ADMIN
from gearman_std.store.store import Neighbour
from gearman_std.wire.protocol import (SET_CLIENT_ID, SUBMIT_JOB_EPOCH, SUBMIT_JOB_SCHED, WORK_COMPLETE,
                                       WORK_EXCEPTION, WORK_STATUS)
from web_tools import Browser

EVIL = b"<script>alert('1')</script>\"&"


class Reader(HTMLParser):
    """Takes HTML apart, and asserts that what is opened is closed, in order."""

    EMPTY = frozenset(("meta", "link", "input", "rect", "polyline"))

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.words = []   # text, in its order
        self.orders = []  # (path, question)
        self.links = []
        self.tags = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        assert not any(name.startswith("on") or name == "style" for name in known), "the policy forbids %s" % known
        self.tags.append(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "button" and "data-order" in known:
            self.orders.append((known["data-order"], known["data-ask"]))
        if tag == "a":
            self.links.append(known["href"])

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data.split()

    def row(self, first):
        """The words from a word on."""
        return self.words[self.words.index(first):]


@pytest.fixture
def browser(world):
    return Browser(world)


def test_an_empty_server(browser):
    page = Reader(browser.gets("/"))
    assert "None." in page.words and "takes" in page.words and page.tags.count("script") == 1


def test_functions_jobs_and_workers_at_a_glance(world, browser):
    client, worker = world.connects(), world.worker(b"resize")
    worker.says(SET_CLIENT_ID, b"mill")
    handle = client.submits_bg(b"resize", b"photo")
    client.submits_bg(b"resize")
    client.submits_bg(b"stuck")
    world.passes(2.0)
    worker.grabs()
    worker.says(WORK_STATUS, handle, b"1", b"4")
    world.passes(3.0)
    page = Reader(browser.gets("/"))
    assert page.row("resize")[:3] == ["resize", "1", "1"] and "5.0" in page.row("resize")
    for name, workers, busy in (("resize", "1", "1"), ("stuck", "0", "0")):
        row = page.row(name)
        assert row[row.index("Pause") - 2:row.index("Pause")] == [workers, busy]
    job = page.row(handle.decode())
    assert job[:4] == [handle.decode(), "resize", "photo", "running"] and "25" in job
    assert "mill" in page.words
    assert "/functions/resize" in page.links and "/jobs/" + handle.decode().replace(":", "%3A") in page.links


def test_servers_of_the_same_database_if_there_are_any(world, browser):
    assert "database" not in Reader(browser.gets("/")).words
    world.core.servers = [Neighbour("one", 1, 0.5, 5.0, False, "", 0.0), Neighbour("two", 3, 90.0, 5.0, False, "o<b>", 61.0),
                          Neighbour("three", 4, 7.0, 5.0, False, "", 0.0), Neighbour("four", 5, 7.0, 5.0, True, "", 0.0)]
    page = Reader(browser.gets("/"))
    assert page.row("one")[1:4] == ["lives", "500", "ms"]
    assert page.row("two")[1] == "adopted" and " ".join(page.row("two")[5:11]) == "taken over by o<b> 61.0 s"
    assert page.row("three")[1] == "silent" and page.row("four")[1] == "ended"


def test_a_part_of_the_page_is_what_the_script_puts_in_its_place(browser):
    whole, part = browser.gets("/"), browser.gets("/?part=main")
    assert part in whole and "<main>" not in part and part.startswith("<dl")


def test_names_of_any_bytes_are_harmless(world, browser):
    client, worker = world.connects(), world.worker(EVIL)
    worker.says(SET_CLIENT_ID, b"<b>id</b>")
    handle = client.submits_bg(EVIL, EVIL)
    client.submits_bg(b"\xff\x1b", b"\xfe")
    worker.grabs()
    for path in ("/", "/?search=%3Cscript", "/functions/%3Cscript%3Ealert%28%271%27%29%3C%2Fscript%3E%22%26",
                 "/functions/%FF%1B", "/jobs/" + handle.decode()):
        text = browser.gets(path)
        page = Reader(text)
        assert "<b>id" not in text and page.tags.count("script") == (1 if "part" not in path else 0)
        assert "alert('1')</script>\"&" in " ".join(page.words) or "%FF" in path


def test_links_and_orders_lead_to_names_that_are_no_text(world, browser):
    world.connects().submits_bg(b"\xff\x1b")
    for path in ("/", "/functions/%FF%1B"):
        text = browser.gets(path)
        assert "/functions/%FF%1B" in text and "/api/functions/%FF%1B/pause" in text and "%5Cx" not in text


def test_a_search_finds_functions_and_jobs(world, browser):
    client = world.connects()
    first = client.submits_bg(b"resize", b"photo-1").decode()
    second = client.submits_bg(b"other", b"photo-2").decode()
    page = Reader(browser.gets("/?search=photo-2"))
    assert second in page.words and first not in page.words
    page = Reader(browser.gets("/?search=resize"))
    assert first in page.words and second not in page.words


def test_sorting(world, browser):
    client = world.connects()
    for name, count in ((b"aaa", 1), (b"bbb", 3), (b"ccc", 2)):
        for _ in range(count):
            client.submits_bg(name)

    def order(path):
        words = Reader(browser.gets(path)).words
        return sorted(("aaa", "bbb", "ccc"), key=words.index)
    assert order("/") == ["aaa", "bbb", "ccc"] and order("/?sort=waiting") == ["bbb", "ccc", "aaa"]


def test_what_was_set_aside_with_its_error_and_what_can_be_done(make_world):
    world = make_world(policy=FunctionPolicy(attempts=2, backoff=1.0))
    browser, client, worker = Browser(world), world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    for _ in range(2):
        worker.grabs()
        worker.says(WORK_EXCEPTION, handle, b"no such <file>")
        world.passes(5.0)
    page = Reader(browser.gets("/"))
    assert "<file>" in page.words
    path = "/api/jobs/%s/" % handle.decode().replace(":", "%3A")
    paths = [path for path, _ in page.orders]
    assert path + "requeue" in paths and path + "purge" in paths and "/api/aside/requeue" in paths
    assert all(question.endswith("?") for _, question in page.orders)
    page = Reader(browser.gets("/functions/f"))
    assert "/api/functions/f/requeue" in [path for path, _ in page.orders]
    assert page.row("Last")[:2] == ["Last", "5"] and "failed" in page.words


def test_who_may_not_steer_sees_no_buttons(world):
    world.connects().submits_bg()
    assert Reader(Browser(world, frozenset((ADMIN,))).gets("/")).orders == []


def test_a_function_with_durations_and_ends(world, browser):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg(unique=b"u")
    world.passes(0.2)
    worker.grabs()
    world.passes(40.0)
    worker.says(WORK_COMPLETE, handle, b"")
    world.passes(1.0)
    page = Reader(browser.gets("/functions/f"))
    text = " ".join(page.words)
    assert "up to 250 ms 1" in text and "up to 60.0 s 1" in text and "40.0 s on average" in text
    assert "completed" in page.words and handle.decode() in page.words
    assert "rect" in page.tags


def test_a_clock_that_was_set_back_shows_no_time_before_zero(world, browser):
    client, worker = world.connects(), world.worker(b"f")
    client.submits_bg(b"f")
    worker.says(WORK_COMPLETE, worker.grabs(), b"")
    world.sets_clock(-3600)
    assert "0 ms ago" in browser.gets("/functions/f") and "-3600" not in browser.gets("/functions/f")


def test_a_progress_beyond_its_end_is_all(world, browser):
    handle, worker = world.connects().submits_bg(b"f"), world.worker(b"f")
    worker.grabs()
    worker.says(WORK_STATUS, handle, b"7", b"2")
    assert "</progress> 100 %" in browser.gets("/")


def test_schedules_and_delayed_jobs(world, browser):
    client = world.connects()
    client.says(SUBMIT_JOB_EPOCH, b"later", b"", b"%d" % (world.wall + 90), b"w")
    client.takes()
    page = Reader(browser.gets("/"))
    assert "later" in page.words and "Schedules" not in page.words  # it does not come back


def test_a_job_that_recurs_is_shown_while_it_waits_and_runs(world, browser):
    client, worker = world.connects(), world.worker(b"tick")
    client.says(SUBMIT_JOB_SCHED, b"tick", b"", b"*", b"*", b"*", b"*", b"*", b"w")
    handle = client.takes()[12:].decode()

    def section():
        page = Reader(browser.gets("/"))
        return page.row("Schedules"), "/api/jobs/%s/run" % handle.replace(":", "%3A") in [path for path, _ in page.orders]
    words, runs = section()
    assert " ".join(words).startswith("Schedules 1 Function Unique Schedule Next Last tick * * * * * in") and runs
    world.passes(60.0)
    words, runs = section()
    assert words[words.index("tick") + 6] == "waiting" and not runs
    worker.grabs()
    words, runs = section()
    assert words[words.index("tick") + 6] == "running" and not runs
    worker.says(WORK_COMPLETE, handle.encode(), b"")
    words, runs = section()
    assert words[words.index("tick") + 6] == "in" and runs


def test_a_draining_server_says_so_and_can_accept_again(world, browser):
    world.core.draining = True
    page = Reader(browser.gets("/"))
    assert "draining" in page.words and "/api/server/accept" in [path for path, _ in page.orders]


def test_ten_thousand_functions_are_shown_fifty_at_a_time(world, browser):
    for number in range(10000):
        world.core.add_function(b"<f%05d>" % number)
    page = Reader(browser.gets("/"))
    assert sum(word.startswith("<f") for word in page.words) == 50 and "10,000" in page.words
    assert browser.turns > 10000 // 256


def test_a_job_that_has_ended_shows_its_result_or_the_first_of_it(make_world):
    world = make_world(policy=FunctionPolicy(keep=100))
    browser, worker, client = Browser(world), world.worker(b"f"), world.connects()
    done, failed = client.submits_bg(), client.submits_bg(unique=EVIL)
    worker.says(WORK_COMPLETE, worker.grabs(), EVIL + b"\xff" + b"x" * 5000)
    worker.grabs()
    worker.says(WORK_EXCEPTION, failed, EVIL)
    page = " ".join(Reader(browser.gets("/jobs/" + done.decode())).words)
    assert "Result <script>alert('1')</script>\"&\\xffxxx" in page and "(5,%03d bytes)" % (len(EVIL) + 1) in page
    page = " ".join(Reader(browser.gets("/jobs/" + failed.decode())).words)
    assert "Text " + EVIL.decode() in page and "failed" in page
    world.passes(100.0)
    browser.gets("/jobs/" + done.decode(), 404)


def test_the_bounds_of_a_histogram_are_told_as_they_are(world, browser):
    client, worker = world.connects(), world.worker(b"f")
    for ran in (0.002, 0.004, 0.0005, 0.02):
        handle = client.submits_bg()
        worker.grabs()
        world.passes(ran)
        worker.says(WORK_COMPLETE, handle, b"")
    page = " ".join(Reader(browser.gets("/functions/f")).words)
    for bound in ("1 ms", "2.5 ms", "5 ms", "25 ms"):
        assert "up to %s 1" % bound in page

"""The JSON API: what it tells, how its listings are searched, sorted and paged, and what its orders do."""
import re
from base64 import b64decode
from urllib.parse import quote

import pytest

from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core import tables
from gearman_std.core.functions import Statistics
from gearman_std.core.turns import STEP
from gearman_std.wire.protocol import (CAN_DO, SET_CLIENT_ID, SUBMIT_JOB_EPOCH, SUBMIT_JOB_SCHED, WORK_COMPLETE, WORK_FAIL,
                                       WORK_STATUS)
from web_tools import Browser


@pytest.fixture
def browser(world):
    return Browser(world)


def names(answer, kind="functions", key="function"):
    return [entry[key] for entry in answer[kind]]


def test_the_server(world, browser):
    world.connects().submits_bg(workload=b"12345")
    told = browser.gets("/api/server")
    assert (told["jobs"], told["aside"], told["size"], told["functions"]) == (1, 0, 5, 1)
    assert told["draining"] is False and told["stopping"] is None and told["store_trouble"] is None
    assert told["time"] == world.wall and "refused_draining" in told["counters"]


def test_a_function_from_its_figures_to_its_last_ends(world, browser):
    client, worker = world.connects(), world.connects()
    worker.says(SET_CLIENT_ID, b"mill").says(CAN_DO, b"f")
    first, _ = client.submits_bg(unique=b"a"), client.submits_bg(unique=b"b")
    world.passes(2.0)
    assert worker.grabs() == first
    world.passes(1.0)
    told = browser.gets("/api/functions/f")
    assert (told["waiting"], told["running"], told["workers"], told["submitted"], told["oldest"]) == (1, 1, 1, 2, 3.0)
    assert told["busy"] == browser.gets("/api/functions")["functions"][0]["busy"] == 1
    assert told["last_success"] is None and told["ends"] == []
    worker.says(WORK_COMPLETE, first, b"")
    told = browser.gets("/api/functions/f")
    end = {"handle": first.decode(), "unique": "a", "outcome": "completed", "time": world.wall, "waited": 2.0,
           "ran": 1.0, "age": 0.0, "text": "",
           "worker": {"number": worker.peer.number, "address": "127.0.0.1", "client_id": "mill"}}
    assert told["last_success"] == end and told["ends"] == [end] and told["last_failure"] is None
    assert told["ran"]["counts"][-1] == 1 and told["ran"]["seconds"] == 1.0 and told["ran"]["bounds"][-1] is None
    world.passes(1.0)
    seconds, minutes = browser.gets("/api/functions/f")["history"]
    assert (seconds["seconds"], minutes["seconds"]) == (1, 60)
    assert seconds["columns"] == ["time", "submitted", "completed", "failed", "waiting"]
    assert seconds["rows"] == [[world.wall - 4, 2, 0, 0, 2], [world.wall - 1, 0, 1, 0, 1]]


@pytest.mark.parametrize("path", ["/api/functions/f", "/functions/f"])
def test_thousands_of_ends_are_told_in_turns_the_newest_first(make_world, path):
    turns = []
    for count in (0, 5, 400):
        world = make_world(statistics=Statistics(ends=1000))
        browser, client, worker = Browser(world), world.connects(), world.worker(b"f")
        world.core.add_function(b"f")
        for number in range(count):
            client.submits_bg(unique=b"unique%d" % number)
            worker.says(WORK_COMPLETE, worker.grabs(), b"")
        told = browser.gets(path)
        turns.append(browser.turns)
        uniques = [end["unique"] for end in told["ends"]] if path.startswith("/api") else re.findall(
            '<td class="k wide">(unique[0-9]+)', told)
        assert uniques == ["unique%d" % number for number in reversed(range(count))]
        assert path.startswith("/api") or ("Last ends" in told, told.count("</table>")) == (count > 0, told.count("<table>"))
    assert turns[2] >= turns[1] + 400 // STEP


def test_a_job_that_has_ended_if_that_is_kept(make_world):
    world = make_world(policy=FunctionPolicy(keep=100, keep_bytes=10 ** 6))
    browser = Browser(world)
    worker = world.worker(b"f")
    handle, large = world.connects().submits_bg(), world.connects().submits_bg()
    assert browser.gets("/api/jobs/" + handle.decode())["end"] is None
    worker.says(WORK_COMPLETE, worker.grabs(), b"\0 result")
    told = browser.gets("/api/jobs/" + handle.decode())
    assert (told["state"], told["end"]["outcome"], b64decode(told["end"]["result"])) == ("ended", "completed", b"\0 result")
    worker.says(WORK_COMPLETE, worker.grabs(), b"x" * 500000)
    told = browser.gets("/api/jobs/" + large.decode())
    assert b64decode(told["end"]["result"]) == b"x" * 500000 and browser.turns > 5
    world.passes(100.0)
    assert "there is no job" in browser.gets("/api/jobs/" + handle.decode(), 404)
    world.core.loading = True
    assert "still being read" in browser.gets("/api/jobs/" + handle.decode(), 503)


def test_functions_are_searched_sorted_and_paged(world, browser):
    client = world.connects()
    for name, count in ((b"beta", 3), (b"Alpha", 1), (b"gamma", 2), (b"alpha/2", 0)):
        world.core.add_function(name)
        for _ in range(count):
            client.submits_bg(name)
        world.passes(1.0)
    assert names(browser.gets("/api/functions")) == ["Alpha", "alpha/2", "beta", "gamma"]
    assert names(browser.gets("/api/functions?search=ALPHA")) == ["Alpha", "alpha/2"]
    assert names(browser.gets("/api/functions?sort=waiting")) == ["beta", "gamma", "Alpha", "alpha/2"]
    assert names(browser.gets("/api/functions?sort=oldest&limit=2")) == ["beta", "Alpha"]
    assert browser.gets("/api/functions?sort=waiting&limit=2")["next"] is None
    page, seen = browser.gets("/api/functions?limit=3"), []
    seen += names(page)
    assert page["next"] == "beta"
    page = browser.gets("/api/functions?limit=3&after=beta")
    assert seen + names(page) == ["Alpha", "alpha/2", "beta", "gamma"] and page["next"] is None


@pytest.mark.parametrize("name, path", [
    (b"a/b c?#%", "a%2Fb%20c%3F%23%25"), (b"\xff\xfe", "%ff%FE"), ("gr\u00fcn".encode(), "gr%C3%BCn")])
def test_a_name_of_any_bytes_has_its_path(world, browser, name, path):
    world.core.add_function(name)
    assert browser.gets("/api/functions/" + path)["function"] == name.decode("utf-8", "backslashreplace")


def test_pages_of_names_that_are_no_text_come_to_an_end(world, browser):
    given = [b"a", b"\xfe", b"\xff1", b"\xff2", "\u00fc".encode()]
    for name in given:
        world.core.add_function(name)
    seen, after = [], ""
    for _ in given:
        page = browser.gets("/api/functions?limit=1&after=" + quote(after))
        seen += names(page)
        after = page["next"]
        if after is None:
            break
    assert after is None and sorted(seen) == sorted(name.decode("utf-8", "backslashreplace") for name in given)


def test_a_job_while_it_waits_and_runs(world, browser):
    client, worker = world.connects(), world.connects()
    handle = client.submits_bg(unique=b"u", workload=b"1234")
    world.passes(2.0)
    path = "/api/jobs/" + handle.decode()
    told = browser.gets(path)
    assert (told["state"], told["age"], told["waiting"], told["running"]) == ("waiting", 2.0, 2.0, None)
    assert (told["function"], told["unique"], told["size"], told["background"]) == ("f", "u", 4, True)
    worker.says(CAN_DO, b"f").grabs()
    worker.says(WORK_STATUS, handle, b"3", b"10")
    world.passes(1.5)
    told = browser.gets(path)
    assert (told["state"], told["waiting"], told["running"], told["progress"]) == ("running", 2.0, 1.5, [3, 10])
    assert told["worker"]["number"] == worker.peer.number
    assert names(browser.gets("/api/jobs?state=running"), "jobs", "handle") == [handle.decode()]


def test_jobs_are_searched_and_paged_also_when_the_last_shown_is_gone(world, browser):
    client = world.connects()
    handles = [client.submits_bg(b"f" if number % 2 else b"g", unique=b"photo-%d" % number) for number in range(6)]
    shown = [handle.decode() for handle in handles]
    assert names(browser.gets("/api/jobs"), "jobs", "handle") == shown
    assert names(browser.gets("/api/jobs?function=g"), "jobs", "handle") == shown[::2]
    assert names(browser.gets("/api/jobs?search=photo-4"), "jobs", "handle") == [shown[4]]
    assert names(browser.gets("/api/jobs?search=" + shown[2]), "jobs", "handle") == [shown[2]]
    assert names(browser.gets("/api/jobs?state=delayed"), "jobs", "handle") == []
    page = browser.gets("/api/jobs?limit=2")
    assert names(page, "jobs", "handle") == shown[:2] and page["next"] == shown[1]
    assert names(browser.gets("/api/jobs?limit=2&after=" + shown[1]), "jobs", "handle") == shown[2:4]
    client.asks(b"cancel job " + handles[1])
    page = browser.gets("/api/jobs?limit=10&after=" + shown[1])
    assert names(page, "jobs", "handle") == shown[2:] and page["next"] is None


def test_many_jobs_are_looked_through_in_turns(world, browser):
    client = world.connects()
    for number in range(1000):
        client.submits_bg(unique=b"u%d" % number)
    assert len(browser.gets("/api/jobs?search=u999")["jobs"]) == 1 and browser.turns >= 1000 // 64
    for number in range(2000):
        world.core.add_function(b"f%d" % number)
    assert len(browser.gets("/api/functions?search=f1999")["functions"]) == 1 and browser.turns >= 2000 // 256


def recurring(client, minute, function=b"f", unique=b""):
    """A job that recurs, every hour at that minute."""
    client.says(SUBMIT_JOB_SCHED, function, unique, minute, b"*", b"*", b"*", b"*", b"w")
    return client.takes()[12:].decode()


def test_jobs_that_recur_are_shown_by_their_time_also_while_they_wait_and_run(world, browser):
    client, worker = world.connects(), world.worker(b"f")
    late, first, soon = [recurring(client, minute) for minute in (b"50", b"27", b"40")]  # it is 12:26:40
    client.submits_bg()
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 90), b"w")
    client.takes()
    other = recurring(client, b"40", b"g")

    def shown(path="/api/schedules"):
        return names(browser.gets(path), "schedules", "handle")
    assert shown() == [first, soon, other, late]
    assert shown("/api/schedules?function=g") == [other]
    seen, page = [], browser.gets("/api/schedules?limit=1")
    while page["next"] is not None:
        seen += names(page, "schedules", "handle")
        page = browser.gets("/api/schedules?limit=1&after=" + quote(page["next"]))
    assert seen + names(page, "schedules", "handle") == [first, soon, other, late]
    for wrong in ("nan%20x", "x", "12", "-1%20x"):
        browser.gets("/api/schedules?after=" + wrong, 400)
    world.passes(60.0)
    assert [(one["handle"], one["state"]) for one in browser.gets("/api/schedules")["schedules"]][:2] == [
        (first, "waiting"), (soon, "delayed")]
    while worker.grabs() != first.encode():
        pass
    assert browser.gets("/api/schedules")["schedules"][0]["state"] == "running"
    worker.says(WORK_COMPLETE, first.encode(), b"")
    assert shown() == [soon, other, late, first]
    client.asks(b"cancel job " + soon.encode())
    assert shown() == [other, late, first] and len(world.core.recurring) == 3


def test_very_many_that_recur_are_looked_through_in_turns(world, browser, monkeypatch):
    monkeypatch.setattr(tables, "LARGE_TABLE", 100)
    client = world.connects()
    shown = {recurring(client, b"%d" % (number % 60), unique=b"u%d" % number) for number in range(300)}
    told = browser.gets("/api/schedules?limit=1000")["schedules"]
    assert {one["handle"] for one in told} == shown and [one["due"] for one in told] == sorted(one["due"] for one in told)
    assert browser.turns > 50  # as their hashes are spread over many parts


def test_workers_are_paged_by_connection(world):
    workers = [world.worker(b"f") for _ in range(3)]
    browser = Browser(world)
    workers[1].says(SET_CLIENT_ID, b"mill")
    told = browser.gets("/api/workers?limit=2")
    assert [one["client_id"] for one in told["workers"]] == ["-", "mill"] and told["next"] == workers[1].peer.number
    assert told["workers"][0]["some_functions"] == ["f"] and told["workers"][0]["jobs"] == []
    assert len(browser.gets("/api/workers?after=%d" % workers[1].peer.number)["workers"]) == 2  # the browser is one


def test_orders_for_a_function(world, browser):
    client = world.connects()
    client.submits_bg()
    assert browser.orders("/api/functions/f/pause") is True and world.core.functions[b"f"].paused
    assert browser.orders("/api/functions/f/resume") is True and not world.core.functions[b"f"].paused
    assert "queued" in browser.orders("/api/functions/f/drop", 409)
    assert "force is '0'" in browser.orders("/api/functions/f/drop", 400, body=b"force=0") and world.core.jobs
    assert browser.orders("/api/functions/f/drop", body=b"force=1") is True
    assert len(world.core.aside) == 1
    assert browser.orders("/api/functions/f/requeue") == "1" and not world.core.aside
    assert browser.orders("/api/functions/f/cancel") == "1" and not world.core.jobs
    assert "no function" in browser.gets("/api/functions/g", 404)
    assert "not found" in browser.orders("/api/functions/g/pause", 404)
    assert "pause, resume" in browser.orders("/api/functions/f/explode", 404)


def test_orders_for_a_job_and_for_all_aside(make_world):
    world = make_world(policy=FunctionPolicy(attempts=2, backoff=1.0))
    browser, client, worker = Browser(world), world.connects(), world.worker(b"f")
    handles = [client.submits_bg() for _ in range(3)]
    for _ in range(2 * len(handles)):
        worker.says(WORK_FAIL, worker.grabs())
        world.passes(5.0)
    assert names(browser.gets("/api/aside"), "jobs", "handle") == [handle.decode() for handle in handles]
    path = "/api/jobs/%s/" % handles[0].decode()
    assert browser.gets(path[:-1])["state"] == "set aside"
    assert browser.orders(path + "requeue") == "1"
    assert browser.orders(path + "cancel") is True
    assert "UNKNOWN" in browser.orders(path + "cancel", 404)
    assert browser.orders("/api/jobs/%s/purge" % handles[1].decode()) == "1"
    assert browser.orders("/api/aside/purge") == "1"
    assert not world.core.aside and not world.core.jobs


def test_a_delayed_job_is_run_at_once(world, browser):
    client, worker = world.connects(), world.worker(b"f")
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 3600), b"w")
    handle = client.takes()[12:]
    assert worker.grabs() is None
    path = "/api/jobs/%s/run" % handle.decode()
    assert browser.orders(path) is True
    assert worker.grabs() == handle
    assert "does not wait" in browser.orders(path, 409)


def test_the_server_is_drained(world, browser):
    assert browser.orders("/api/server/drain") is True and world.core.draining
    assert browser.gets("/readyz", 503) == {"loaded": True, "accepts": False, "stores": True, "ready": False}
    assert browser.orders("/api/server/accept") is True and not world.core.draining
    assert browser.gets("/readyz")["ready"] is True

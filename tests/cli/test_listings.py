"""What `admin` shows of jobs: all about one, also until it ends, and tables of jobs, ends and schedules."""
import io
import json
import os
import pty

import pytest

from patience import until
from gearman_std.cli.cli import main
from gearman_std.cli.console import Console
from gearman_std.cli.listings import Listings
from gearman_std.client.admin import AdminClient
from gearman_std.client.client import Client
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.server.access import Access
from gearman_std.server.server import Server
from gearman_std.worker.worker import Worker


def admin(address, *words):
    there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    status = main(["admin", "-h", "%s:%d" % tuple(address)] + list(words), there)
    return status, there.stdout.getvalue().decode(), there.stderr.getvalue().decode()


@pytest.fixture
def there():
    """A server that has jobs of three functions, and a client of it."""
    with Server(port=0, policies={"kept": FunctionPolicy(keep=60.0)}) as server, Client([server.address]) as client:
        client.submit("wc", b"one", unique="u1\x1b[2J", background=True)
        client.submit("wc", b"three", unique="u2", background=True, priority="high")
        client.submit("nightly", b"", unique="n", background=True, schedule="0 0 1 1 *")
        client.submit("later", b"", unique="l", background=True, delay=60)
        yield server.address, client


def do(address, name, function):
    worker = Worker([address], max_jobs=1)
    worker.register(name, function)
    worker.work(signals=False)


def test_tables(there):
    address, _ = there
    status, output, errors = admin(address, "--jobs", "--schedules")
    assert (status, errors) == (0, "") and "\x1b" not in output
    rows = [line.split() for line in output.splitlines()]
    assert rows[0] == ["HANDLE", "FUNCTION", "UNIQUE", "STATE", "FOR"]
    assert [" ".join(row[1:4]) for row in rows[1:5]] == [
        "wc u1?[2J waiting", "wc u2 waiting", "nightly n delayed", "later l delayed"]
    assert rows[5] == ["FUNCTION", "UNIQUE", "SCHEDULE", "STATE", "NEXT", "HANDLE"]
    assert [row[:2] for row in rows[6:]] == [["later", "l"], ["nightly", "n"]]  # the next first


@pytest.mark.parametrize("words", [("--jobs=wc",), ("--jobs", "wc"), ("--jobs", "wc", "--limit", "2")])
def test_of_one_function(there, words):
    status, output, errors = admin(there[0], *words)
    assert (status, output.count("wc"), output.count("\n"), errors) == (0, 2, 3, "")


def test_a_limit_says_that_there_are_more(there):
    status, output, errors = admin(there[0], "--jobs", "--limit", "3")
    assert (status, output.count("\n")) == (0, 4)
    assert errors == "gearman-std admin: there are more than 3: --limit N shows more, --limit 0 all\n"


def test_the_history_has_the_newest_first(there):
    address, _ = there

    def fail(job):
        raise ValueError("no\tspace\nleft")
    do(address, "wc", len)
    do(address, "wc", fail)
    status, output, _ = admin(address, "--history")
    rows = output.splitlines()
    assert rows[0].split() == ["FUNCTION", "HANDLE", "UNIQUE", "ENDED", "AGO", "WAITED", "RAN", "WORKER", "TEXT"]
    assert rows[1].endswith("no space left") and " failed " in rows[1] and " failed " in rows[2]
    status, output, _ = admin(address, "--history", "--json")
    assert [end["text"] for end in json.loads(output)][0] == "no\tspace\nleft"


def test_all_about_a_job_that_waits_runs_and_has_ended(there):
    address, client = there
    handle = client.submit("kept", b"12345", unique="k", background=True).handle.decode()
    shown = []

    def look(job):
        job.send_status(3, 4)
        shown.append(admin(address, "--job", handle)[1])
        return "a result"
    shown.append(admin(address, "--job", handle)[1])
    do(address, "kept", look)
    shown.append(admin(address, "--job", handle)[1])
    waits, runs, ended = [dict(line.split(None, 1) for line in text.splitlines()) for text in shown]
    assert [waits[name] for name in ("handle", "function", "unique", "data", "joins")] == [handle, "kept", "k", "5 bytes", "0"]
    assert waits["state"].startswith("waiting for 0.") and waits["priority"] == "normal, in the background"
    assert runs["state"].startswith("running for 0.") and " at 127.0.0.1" in runs["state"]
    assert runs["progress"] == "[############################----------] 75% (3 of 4)"
    assert ended["ended"].startswith("completed 0.") and ended["result"] == "8 bytes"
    status, output, _ = admin(address, "--json", "--job", handle)
    assert json.loads(output)["end"]["result"] == "a result"


def test_schedules_and_attempts_are_told(there):
    address, client = there
    told = Listings(None, None, None, wall=lambda: 1000.0).about({
        "handle": "H:1", "function": "", "unique": "", "state": "delayed", "age": 90.0, "progress": None, "attempts": 2,
        "error": "a\nb", "priority": "low", "background": True, "size": 1, "joins": 3, "schedule": "* * * * *", "due": 1030.0,
        "end": None, "waiting": None, "running": None, "worker": None})
    assert [line.split(None, 1)[1] for line in told if not line.startswith("next")] == [
        "H:1", "(no name)", "delayed; submitted 90.0s ago", "2 failed or were lost", "a b", "low, in the background", "1 bytes",
        "3", "* * * * *"]
    assert [line for line in told if line.startswith("next      in 30.0s, 1970-")]


def test_a_job_that_nobody_knows(there):
    address, _ = there
    assert admin(address, "--job", "H:none:1") == (
        1, "", "gearman-std admin: no job H:none:1 is known: it has ended, or never was\n")
    assert admin(address, "--job", "H:none:1", "--watch")[0] == 1


def test_of_several_servers_one_that_knows_the_job_is_enough(there):
    address, client = there
    handle = client.submit("f", background=True).handle.decode()
    with Server(port=0) as other:
        names = ["%s:%d" % tuple(one) for one in (other.address, address)]
        out = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
        assert main(["admin", "-h", ",".join(names), "--job", handle], out) == 0
        assert out.stdout.getvalue().decode().startswith("%s:\n%s:\nhandle    %s\n" % (names[0], names[1], handle))
        out = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
        assert main(["admin", "-h", ",".join(names), "--cancel-job", handle], out) == 1
        assert out.stderr.getvalue().decode() == "%s: Error: UNKNOWN_JOB\n" % names[0]


def watch(address, handle, steps, stdout):
    """Watch a job while steps are done, one before each look."""
    rest = iter(steps)
    there = Console("", io.BytesIO(), stdout, io.BytesIO())
    with AdminClient(address) as one, Client([address]) as same:
        return Listings(one, same, there, sleep=lambda seconds: next(rest)()).job(handle, watch=True)


def test_watching_is_a_line_a_change_where_there_is_no_terminal(there):
    address, client = there
    handle, out = client.submit("f", background=True).handle, io.BytesIO()
    assert watch(address, handle, [lambda: None, lambda: do(address, "f", lambda job: "x")], out)
    lines = out.getvalue().decode().splitlines()
    assert lines[0] == handle.decode() + " waiting" and lines[1].startswith("handle ")
    assert lines[-2].startswith("ended     completed")


def test_watching_draws_in_place_on_a_terminal(there, monkeypatch):
    address, client = there
    handle = client.submit("f", unique="u" * 60, background=True).handle
    master, slave = pty.openpty()
    try:
        with os.fdopen(slave, "wb", 0) as terminal:
            monkeypatch.setenv("COLUMNS", "40")
            assert watch(address, handle, [lambda: do(address, "f", lambda job: "x")], terminal)
            shown = b""
            while b"ended     completed" not in shown:
                shown += os.read(master, 65536)
        shown = shown.decode().replace("\r\n", "\n")
    finally:
        os.close(master)
    first, again, second = shown.partition("\x1b[7A\x1b[J")
    assert again and first.count("\n") == 7 and "waiting for" in first and "completed" in second
    assert max(map(len, first.splitlines() + second.splitlines())) < 40


@pytest.mark.interop
def test_at_gearmand_a_job_is_shown_as_far_as_that_tells(gearmand):
    with Client([gearmand]) as client:
        handle = client.submit("f", background=True).handle.decode()
        there = "handle    %s\nstate     %%s\n%%smore      is not told by this server\n" % handle
        assert admin(gearmand, "--job", handle) == (0, there % ("waiting", ""), "")
        shown = []

        def look(job):
            job.send_status(1, 4)
            until(lambda: client.status(handle).denominator)
            shown.append(admin(gearmand, "--job", handle))
            shown.append(admin(gearmand, "--job", handle, "--json"))
        do(gearmand, "f", look)
        progress = "progress  [%s] 25%% (1 of 4)\n" % ("#" * 9 + "-" * 29)
        assert shown[0] == (0, there % ("running", progress), "")
        told = json.loads(shown[1][1])
        assert (told["handle"], told["state"], told["progress"], told["function"]) == (handle, "running", [1, 4], None)
        assert admin(gearmand, "--job", handle) == (
            1, "", "gearman-std admin: no job %s is known: it has ended, or never was\n" % handle)


@pytest.mark.interop
def test_at_gearmand_a_job_is_watched_until_it_has_ended(gearmand):
    with Client([gearmand]) as client:
        handle, out = client.submit("f", background=True).handle, io.BytesIO()
        assert watch(gearmand, handle, [lambda: do(gearmand, "f", lambda job: "x")], out)
        assert out.getvalue().decode() == (
            "%s waiting\nhandle    %s\nstate     ended, and it is not known how\nmore      is not told by this server\n" % (
                (handle.decode(),) * 2))


def test_a_server_that_tells_this_peer_no_more_is_asked_what_every_server_tells():
    with Server(port=0, access=Access(admin=["none"])) as server, Client([server.address]) as client:
        handle = client.submit("f", background=True).handle.decode()
        status, output, errors = admin(server.address, "--job", handle)
        assert (status, errors) == (0, "")
        assert output.splitlines()[1:] == ["state     waiting", "more      is not told by this server"]

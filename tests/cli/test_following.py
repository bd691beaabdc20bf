"""A job followed until it ends: what is told on the way, how it ended, kept or only remembered, and jobs that recur."""
import io

import pytest

from gearman_std.cli.cli import main
from gearman_std.cli.console import Console
from gearman_std.cli.following import first_that_knows, follow_job, look_for_job, show_following
from gearman_std.client.admin import AdminClient
from gearman_std.client.client import Client
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.errors import NoServer, ServerError
from gearman_std.server.server import Server
from gearman_std.worker.worker import Worker


@pytest.fixture
def there():
    """A server that keeps the results of "kept", a client of it and an admin client."""
    policies = {"kept": FunctionPolicy(keep=60.0), "poor": FunctionPolicy(attempts=2, backoff=0.0)}
    with Server(port=0, policies=policies) as server:
        with Client([server.address]) as client, AdminClient(server.address) as admin:
            yield server, client, admin


def work(server, function, count=1, name="f"):
    """What does jobs when it is called as sleep, which is between two looks."""
    def sleep(seconds):
        sleep.calls += 1
        if sleep.calls > 1:  # so that there is a look while nothing happens
            worker = Worker([server.address], max_jobs=count)
            worker.register(name, function)
            worker.work(signals=False)
    sleep.calls = 0
    return sleep


def outcomes(stories):
    return [(story["state"], (story["end"] or {}).get("outcome")) for story in stories]


def test_a_job_is_followed_to_its_end_which_its_functions_history_knows(there):
    server, client, admin = there
    handle = client.submit("f", b"data", background=True).handle
    stories = list(follow_job(admin, handle, work(server, lambda job: "done")))
    assert outcomes(stories) == [("waiting", None), ("waiting", None), ("ended", "completed")]
    assert stories[-1]["function"] == "f" and stories[-1]["end"]["result"] is None


def test_a_failure_has_its_text(there):
    server, client, admin = there

    def fail(job):
        raise ValueError("it broke")
    handle = client.submit("f", background=True).handle
    end = list(follow_job(admin, handle, work(server, fail)))[-1]["end"]
    assert (end["outcome"], end["text"]) == ("failed", "it broke")


def test_a_kept_result_is_there(there):
    server, client, admin = there
    handle = client.submit("kept", background=True).handle
    end = list(follow_job(admin, handle, work(server, lambda job: b"\xff\0", name="kept")))[-1]["end"]
    assert (end["outcome"], end["result"]) == ("completed", b"\xff\0")
    assert look_for_job(admin, handle)["end"]["result"] == b"\xff\0"


def test_a_job_that_was_set_aside_has_ended(there):
    server, client, admin = there

    def fail(job):
        raise ValueError("poison")
    handle = client.submit("poor", background=True).handle
    last = list(follow_job(admin, handle, work(server, fail, 2, "poor")))[-1]
    assert (last["state"], last["error"]) == ("set aside", "poison")


def test_of_a_job_that_recurs_one_run_is_followed(there):
    server, client, admin = there
    handle = client.submit("f", background=True, schedule="0 0 1 1 *").handle
    ran = work(server, lambda job: None)

    def sleep(seconds):
        if ran.calls:
            admin.run_job(handle)
        ran(seconds)
    for _ in range(2):  # the end of the first run is none of the second
        ran.calls = 0
        assert outcomes(follow_job(admin, handle, sleep)) == [("delayed", None), ("delayed", None), ("ended", "completed")]


class Told:
    """An AdminClient of a server that says what it is told to say."""

    def __init__(self, *stories):
        self.stories = list(stories)
        self.ends = []

    def result(self, handle):
        story = self.stories.pop(0)
        if story is None:
            raise ServerError("UNKNOWN_JOB", "")
        return dict({"function": "f", "schedule": None, "attempts": 0, "end": None}, **story)

    def history(self, function=None):
        return self.ends


def test_an_attempt_that_is_to_be_repeated_is_no_end_of_a_run():
    recurring = {"state": "delayed", "schedule": "* * * * *"}
    runs = dict(recurring, state="running")
    admin = Told(recurring, runs, dict(recurring, attempts=1), dict(runs, attempts=1), recurring)

    def sleep(seconds):
        if len(admin.stories) in (3, 1):
            admin.ends.append({"handle": "H:1", "time": 9.0 - len(admin.stories), "outcome": "completed"})
    assert outcomes(follow_job(admin, b"H:1", sleep)) == [
        ("delayed", None), ("running", None), ("delayed", None), ("running", None), ("ended", "completed")]


def test_a_job_that_nobody_remembers_ended_somehow(there):
    server, client, admin = there
    assert outcomes(follow_job(Told({"state": "waiting"}, None), b"H:1", lambda seconds: None)) == [
        ("waiting", None), ("ended", None)]
    assert list(follow_job(admin, b"H:none:1", None)) == [] and look_for_job(admin, b"H:none:1") is None


def test_functions_whose_name_has_a_blank_are_found(there):
    server, client, admin = there
    handle = client.submit("two words", background=True).handle
    client.cancel(handle)
    assert look_for_job(admin, handle, "two words")["end"]["outcome"] == "cancelled"


def test_the_server_that_has_a_job_is_found_whatever_the_others_do(there):
    server, client, admin = there
    handle = client.submit("f", background=True).handle
    with Server(port=0) as gone:
        address = gone.address
    with Server(port=0) as other, AdminClient(other.address) as empty, AdminClient(address) as dead:
        assert first_that_knows([dead, empty, admin], handle) is admin
        assert first_that_knows([empty], handle) is None
        with pytest.raises(NoServer):
            first_that_knows([dead, empty], handle)


@pytest.mark.interop
def test_gearmand_does_not_tell(gearmand):
    with AdminClient(gearmand) as admin, pytest.raises(ServerError):
        look_for_job(admin, b"H:1")


# --- The command `client --follow`.


def follow(address, handle, *words):
    there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    status = main(["client", "-h", "%s:%d" % tuple(address), "--follow", handle] + list(words), there)
    return status, there.stdout.getvalue(), there.stderr.getvalue().decode()


def break_down(job):
    raise ValueError("it broke")


@pytest.mark.parametrize("name, function, status, output, errors", [
    ("f", lambda job: "not kept", 0, b"", ""), ("kept", lambda job: b"\xff\0", 0, b"\xff\0", ""),
    ("f", break_down, 1, b"", "gearman-std client: %s failed: it broke\n")])
def test_it_ends_as_in_the_foreground(there, name, function, status, output, errors):
    server, client, _ = there
    handle = client.submit(name, background=True).handle.decode()
    do = work(server, function, name=name)
    do.calls = 1
    do(0)
    assert follow(server.address, handle) == (status, output, errors % handle if errors else "")


def test_what_is_not_known_and_what_takes_too_long(there):
    server, client, admin = there
    assert follow(server.address, "H:none:1")[0] == 5
    handle = client.submit("f", background=True).handle.decode()
    assert follow(server.address, handle, "-t", "1")[0] == 4
    admin.cancel_job(handle)
    assert follow(server.address, handle)[0] == 1
    assert follow(server.address, handle, "-f", "x")[0] == 2


def test_progress_is_printed_as_it_changes():
    there = Console("client", None, io.BytesIO(), io.BytesIO())
    stories = [{"state": "running", "progress": progress, "end": None} for progress in (None, [1, 4], [1, 4], [3, 4], [0, 0])]
    assert show_following(there, iter(stories), b"H:1") == 5
    assert there.stdout.getvalue() == b"25% Complete\n75% Complete\n0% Complete\n"


@pytest.mark.interop
def test_at_gearmand_a_job_is_followed_but_not_its_end(gearmand):
    with Client([gearmand]) as client:
        handle = client.submit("f", background=True).handle.decode()
        assert follow(gearmand, handle, "-t", "1")[0] == 4
        client.cancel(handle)
        assert follow(gearmand, "H:none:1")[0] == 5

"""The result of a background job is fetched by who has its handle; each way not to get it has its error."""
import threading

import pytest

from client_tools import LONG
from gearman_std.client.client import Client
from gearman_std.client.fetching import result_in
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.errors import ConnectTimeout, JobFailed, JobTimeout, NoServer, ResultNotKept, ServerError
from gearman_std.net.system import System
from gearman_std.server.access import Access
from gearman_std.testing import JobServer

KEEP = {"reverse": FunctionPolicy(keep=3600), "fail": FunctionPolicy(keep=3600), "wait": FunctionPolicy(keep=3600),
        "large": FunctionPolicy(keep=3600, keep_bytes=1000), "aside": FunctionPolicy(keep=3600, attempts=2, backoff=0)}


def fail(job):
    raise ValueError("no %s" % job.text)


@pytest.fixture(scope="module")
def server():
    with JobServer(policies=KEEP) as server:
        server.start_worker({
            "reverse": lambda job: job.workload[::-1], "fail": fail, "aside": fail, "large": lambda job: b"x" * 2000,
            "plain": lambda job: job.workload})
        yield server


def test_by_the_handle_or_by_the_task(server):
    with server.client() as client, server.client() as other:
        task = client.submit("reverse", b"\0hello\xff", background=True)
        assert client.fetch(task, timeout=LONG) == b"\xffolleh\0"
        assert other.fetch(task.handle, timeout=LONG) == other.fetch(task.handle.decode(), timeout=0) == b"\xffolleh\0"


def test_the_serializer_makes_a_value_of_it(server):
    with server.client(serializer="json") as client:
        assert client.fetch(client.submit("reverse", 12, background=True), timeout=LONG) == 21


def test_it_waits_until_the_job_has_ended(server):
    """The pauses between the questions grow; a job that ends meanwhile is seen at the next."""
    pauses = []
    going = threading.Event()

    def wait(job):
        going.wait(LONG)
        return b"done"

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            going.set()
            client.wait_for.wait(LONG)
    server.start_worker({"wait": wait})
    with Client([server.name], _system=System(sleep=sleep)) as client, server.client() as other:
        handle = client.submit("wait", background=True).handle
        client.wait_for = threading.Event()

        def ended():
            other.fetch(handle, timeout=LONG)
            client.wait_for.set()
        thread = threading.Thread(target=ended)
        thread.start()
        assert client.fetch(handle) == b"done"
        thread.join()
    assert pauses == [0.02, 0.04, 0.08]


def test_a_failure_has_its_text(server):
    with server.client() as client:
        task = client.submit("fail", "luck", background=True)
        with pytest.raises(JobFailed, match="failed: no luck") as caught:
            client.fetch(task, timeout=LONG)
        assert (caught.value.exception, caught.value.handle) == (b"no luck", task.handle)


def test_a_job_that_was_set_aside_or_cancelled_has_failed(server):
    with server.client() as client:
        with pytest.raises(JobFailed, match="was set aside: no luck") as caught:
            client.fetch(client.submit("aside", "luck", background=True), timeout=LONG)
        assert caught.value.exception == b"no luck"
        later = client.submit("reverse", background=True, delay=1000)
        client.cancel(later)
        with pytest.raises(JobFailed, match="was cancelled") as caught:
            client.fetch(later, timeout=LONG)
        assert caught.value.exception is None


def test_what_is_not_kept(server):
    with server.client() as client:
        with pytest.raises(ResultNotKept, match="the results of plain are not kept"):
            client.fetch(client.submit("plain", background=True, delay=1000))
        with pytest.raises(ResultNotKept, match="no server knows how H:nix:1 ended"):
            client.fetch("H:nix:1")
        large = client.submit("large", background=True)
        with pytest.raises(ResultNotKept, match="is complete, but the result is larger than the 1000 bytes that are kept"):
            client.fetch(large, timeout=LONG)


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_a_time_out(server, timeout):
    with server.client() as client:
        task = client.submit("reverse", background=True, delay=1000)
        with pytest.raises(JobTimeout, match="did not end in time") as caught:
            client.fetch(task, timeout=timeout)
        assert caught.value.handle == task.handle
    with server.client(job_timeout=0.01) as client, pytest.raises(JobTimeout):
        client.fetch(task.handle)


def test_of_several_servers_the_one_that_knows_the_job_is_asked_on(server):
    with JobServer(policies=KEEP) as empty, Client([empty.name, server.name]) as client, server.client() as other:
        handle = other.submit("reverse", "ab", background=True).handle
        assert client.fetch(handle, timeout=LONG) == b"ba" == client.fetch(handle, server=server.name)
        with pytest.raises(ResultNotKept):
            client.fetch(handle, server=empty.name)
        with pytest.raises(ValueError, match="none of this client's servers"):
            client.fetch(handle, server="elsewhere")


def test_that_a_server_cannot_be_reached_is_said_only_if_no_other_knows_the_job(server, nowhere):
    with Client([nowhere, server.name]) as client, server.client() as other:
        assert client.fetch(other.submit("reverse", "ab", background=True).handle, timeout=LONG) == b"ba"
        with pytest.raises(NoServer):
            client.fetch("H:nix:1")


def test_a_server_that_says_nothing(silent):
    with Client([silent], command_timeout=0.05) as client, pytest.raises(ConnectTimeout):
        client.fetch("H:x:1", timeout=LONG)
    with Client([silent], command_timeout=LONG) as client, pytest.raises(JobTimeout):
        client.fetch("H:x:1", timeout=0.05)


def test_who_may_not_ask_may_not_fetch():
    with JobServer(policies=KEEP, access=Access(admin=["none"])) as server, server.client() as client:
        task = client.submit("reverse", background=True)
        with pytest.raises(ServerError, match="PERMISSION_DENIED"):
            client.fetch(task)


def test_what_is_no_handle(server):
    with server.client() as client, pytest.raises(ValueError):
        client.fetch("a\0b")


def test_the_outcome_of_a_story():
    story = {"state": "ended", "end": {"outcome": "completed", "result": b"r", "text": ""}}
    assert result_in(story, b"H:1") == b"r"

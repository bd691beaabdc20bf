"""The helpers for tests of other people's programs: a real server in a block, and a client that runs the functions itself."""
import concurrent.futures
import inspect
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from client_tools import CERTIFICATE, KEY
from gearman_std.client.client import Client
from gearman_std.client.plan import HIGH, LOW
from gearman_std.errors import JobFailed, JobTimeout, NoServer, NoWorker
from gearman_std.testing import ImmediateClient, JobServer
from gearman_std.worker.worker import Worker
from gearman_std.worker.job import Retry


def echo(job):
    return job.workload


def fail(job):
    job.send_warning(b"careful")
    raise ValueError("no good: %s" % job.text)


@pytest.fixture
def client():
    with ImmediateClient({"echo": echo, "fail": fail}) as client:
        yield client


def test_without_logging_failures_of_a_kind_are_told_once_and_counted(capsys, monkeypatch):
    monkeypatch.setattr("gearman_std.worker.guard._has_handler", lambda logger: False)
    with ImmediateClient({"fail": lambda job: 1 // 0}) as client:
        for _ in range(5):
            with pytest.raises(JobFailed):
                client.run("fail")
        told = capsys.readouterr().err
        assert told.count("Traceback") == 1 and "more times" not in told
    assert "fail failed 3 more times with ZeroDivisionError" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------- a real server

def test_a_real_server_on_a_free_port_with_workers():
    with JobServer() as server, JobServer() as another:
        assert server.address != another.address
        assert server.name == "127.0.0.1:%d" % server.address[1]
        server.start_worker({"echo": echo, "fail": fail}, threads=2)
        with server.client(job_timeout=10) as client:
            assert client.run("echo", "x", require_worker=True) == b"x"
            with pytest.raises(JobFailed, match="no good: y"):
                client.run("fail", "y")
        with another.client() as client, pytest.raises(NoWorker):
            client.submit("echo", require_worker=True)
        with Client(server.address) as client:
            assert client.ping() >= 0.0
        name = server.name
    with pytest.raises(NoServer):
        Client(name).ping()


@pytest.mark.parametrize("place", ["tls:127.0.0.1", "unix:socket"])
def test_the_server_may_speak_tls_or_at_a_unix_socket(tmp_path, place):
    place = place.replace("socket", str(tmp_path / "socket"))
    tls = {"ca": CERTIFICATE, "hostname": "localhost"} if place.startswith("tls") else None
    with JobServer(listen=[place], tls={"certificate": CERTIFICATE, "key": KEY} if tls else None) as server:
        server.start_worker({"echo": echo}, tls=tls)
        with server.client(tls=tls) as client:
            assert client.run("echo", "x", timeout=10) == b"x"


def test_a_worker_that_the_server_does_not_understand_is_an_error_and_not_a_hang(monkeypatch):
    monkeypatch.setattr("gearman_std.testing.START_TIMEOUT", 0.05)
    with JobServer() as server, pytest.raises(NoServer, match="worker.*TLS"):
        server.start_worker({"echo": echo}, tls={"ca": CERTIFICATE})


def test_a_workers_functions_run_at_the_test_server_whatever_servers_it_names():
    worker = Worker("production.example", serializer="json")
    told = []
    worker.register("double", lambda job: job.value * 2)
    worker.hook("before", told.append)
    with JobServer() as server:
        assert server.start_worker(worker) is not worker
        with server.client(serializer="json") as client:
            assert client.run("double", 21, timeout=10) == 42
    assert len(told) == 1


def test_clients_and_workers_of_a_server_take_all_options():
    def options(call):
        return {name: one.default for name, one in inspect.signature(call).parameters.items()}
    clients, workers = options(Client), options(Worker)
    for one in clients, workers:
        del one["servers"], one["_system"]
    assert options(JobServer.client) == dict(clients, self=inspect.Parameter.empty)
    assert options(JobServer.start_worker) == dict(
        workers, self=inspect.Parameter.empty, functions=inspect.Parameter.empty)


def test_the_server_takes_options_and_workers_end_with_it():
    before = threading.active_count()
    with JobServer(exceptions=True, handle_prefix="T:test") as server:
        server.start_worker({"echo": echo})
        server.start_worker({"fail": fail})
        with server.client() as client:
            assert client.submit("echo").handle.startswith(b"T:test:")
    assert threading.active_count() == before
    with JobServer() as server, pytest.raises(ValueError, match="without a function"):
        server.start_worker({})


def test_a_function_that_never_ends_does_not_keep_the_block_open(monkeypatch):
    import gearman_std.testing
    monkeypatch.setattr(gearman_std.testing, "LEAVE_TIMEOUT", 0.05)
    started, let_go = threading.Event(), threading.Event()

    def endless(job):
        started.set()
        let_go.wait(20)

    with JobServer() as server:
        server.start_worker({"endless": endless})
        with server.client() as client:
            client.submit("endless", background=True)
            assert started.wait(10)
    let_go.set()


# ------------------------------------------------------------------------------------------------------------ immediate mode

def test_a_job_has_run_when_submit_returns(client):
    ran = []
    client.function("note")(lambda job: ran.append((job.function, job.workload, job.unique)))
    client.submit("note", "a", background=True)
    assert ran == [(b"note", b"a", b"")]
    task = client.submit("note", "b", unique="u")
    assert ran[1:] == [(b"note", b"b", b"u")]
    assert task.done() and task.result() == b"" and task.handle.startswith(b"H:") and task.status().known is False


def test_results_are_the_same_as_with_a_server(client):
    assert client.run("echo", "x") == b"x"
    large = os.urandom(3000000)
    assert client.run("echo", large) == large
    tasks = client.submit_many([("echo", b"%d" % number) for number in range(2000)])
    assert all(task.done() for task in tasks)
    assert client.wait(tasks) == (tasks, [])
    assert [task.result() for task in client.as_completed(tasks)] == [b"%d" % number for number in range(2000)]
    assert list(client.map("echo", (b"%d" % number for number in range(50)), in_flight=7)) == [b"%d" % n for n in range(50)]
    assert client.ping() == 0.0


def test_a_failed_job_has_its_text_and_its_warnings(client, caplog):
    task = client.submit("fail", "y")
    with pytest.raises(JobFailed, match="fail failed: no good: y") as caught:
        task.result()
    assert (caught.value.exception, caught.value.warnings, caught.value.handle) == (b"no good: y", (b"careful",), task.handle)
    assert "ValueError" in caplog.text  # the traceback, as in a worker's log
    client.submit("fail", "z", background=True)
    assert client.run("echo", "still here") == b"still here"


def test_progress_data_and_warnings(client):
    @client.function("tell")
    def tell(job):
        job.send_status(1, 2)
        job.send_data("a")
        job.send_warning("w")
        job.send_data(b"b")
        return "end"

    told = []
    task = client.submit("tell", on_status=lambda *n: told.append(n), on_data=told.append, on_warning=told.append)
    assert (task.result(), told) == (b"end", [(1, 2), b"a", b"w", b"b"])
    task = client.submit("tell")
    assert list(task.stream()) == [b"a", b"b"] and task.progress == (1, 2) and task.warnings == [b"w"]


def test_time_passes_only_when_it_is_told_to(client):
    ran = []
    client.function("later")(lambda job: ran.append(job.workload))
    began = time.monotonic()
    hour = client.submit("later", "hour", background=True, delay=3600)
    client.submit("later", "minute", background=True, delay=60)
    assert client.status(hour.handle).known
    client.advance(59.0)
    assert ran == []
    client.advance(1.0)
    assert ran == [b"minute"]
    client.advance(3600.0)
    assert ran == [b"minute", b"hour"] and not client.status(hour.handle).known
    client.submit("later", "at", background=True, at=time.time() + 86400)
    client.advance(86500.0)
    assert ran[2:] == [b"at"] and time.monotonic() - began < 60
    with pytest.raises(ValueError):
        client.advance(-1)


def test_a_job_is_tried_again_as_its_function_says(client):
    attempts = []

    @client.function("moody")
    def moody(job):
        attempts.append(job.attempt)
        if job.attempt < 3:
            raise Retry(after=600)
        return b"%d" % job.attempt

    task = client.submit("moody")
    assert attempts == [1] and not task.done()
    with pytest.raises(JobTimeout):
        task.result(timeout=599)
    assert attempts == [1]
    assert task.result() == b"3"
    client.function("hopeless")(lambda job: (_ for _ in ()).throw(Retry(after=1, text="no luck", attempts=2)))
    with pytest.raises(JobFailed, match="no luck"):
        client.run("hopeless")


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan"), 10 ** 400, "1", None])
def test_time_cannot_pass_as_it_never_does(client, seconds):
    with pytest.raises((TypeError, ValueError), match="seconds is "):
        client.advance(seconds)
    assert client._stage.clock() == 0.0


def test_retries_of_the_client_do_not_sleep_either(client):
    tries = []

    @client.function("third")
    def third(job):
        tries.append(job.handle)
        if len(tries) < 3:
            raise ValueError("not yet")
        return b"now"

    assert client.run("third", attempts=3, backoff=1000.0, backoff_max=1000.0) == b"now"
    with pytest.raises(JobFailed):
        client.run("fail", attempts=2)


def test_what_nobody_can_run_is_an_error_and_not_a_hang(client):
    with pytest.raises(NoWorker, match="no function was registered as missing"):
        client.run("missing")
    with pytest.raises(JobTimeout):
        client.run("missing", timeout=3600)
    with pytest.raises(NoWorker):
        client.submit("missing", require_worker=True)
    assert client.submit("echo", require_worker=True).result() == b""


def test_what_waits_for_its_function_runs_once_it_is_there(client):
    ran = []
    client.submit("new", "low", priority=LOW, background=True)
    client.submit("new", "high", priority=HIGH, background=True)
    first = client.submit("new", "one", unique="u")
    assert client.submit("new", "two", unique="u").handle == first.handle  # equal jobs are joined while they wait
    client.worker.register("new", lambda job: ran.append(job.workload))
    client.advance(0)
    assert ran == [b"high", b"one", b"low"] and first.done()


def test_a_job_may_use_the_client(client):
    order = []
    client.function("note")(lambda job: order.append(job.text))

    @client.function("outer")
    def outer(job):
        client.submit("note", "background", background=True)
        order.append("submitted")
        result = client.run("echo", job.workload)
        order.append("waited")
        return result

    assert client.run("outer", "x") == b"x"
    assert order == ["submitted", "background", "waited"]

    @client.function("countdown")
    def countdown(job):
        order.append(int(job.text))
        if int(job.text):
            client.submit("countdown", b"%d" % (int(job.text) - 1), background=True)

    del order[:]
    client.submit("countdown", "2000", background=True)  # one after the other, not one within the other
    assert order == list(range(2000, -1, -1))
    client.function("self")(lambda job: client.run("self", unique="same") if job.unique else b"")
    with pytest.raises(JobFailed, match="wait for ever"):
        client.run("self", unique="same")


def test_a_worker_is_tested_with_its_own_functions_hooks_and_serializer():
    worker = Worker(serializer="json")
    seen = []
    worker.hook("before", lambda job: seen.append("before"))
    worker.hook("after", lambda job, result: seen.append(result))
    worker.hook("error", lambda job, error: seen.append(type(error)))
    client = ImmediateClient(worker)
    worker.register("add", lambda job: sum(job.value))
    worker.register("bad", lambda job: {}["x"])
    assert client.run("add", [1, 2, 3]) == 6
    with pytest.raises(JobFailed, match="KeyError"):
        client.run("bad")
    assert seen == ["before", b"6", "before", KeyError]


def test_the_executor_and_many_threads(client):
    with client.executor(4) as executor:
        futures = [executor.submit("echo", b"%d" % number) for number in range(200)]
        assert [future.result(20) for future in futures] == [b"%d" % number for number in range(200)]
    both = threading.Barrier(2, timeout=20)
    client.function("meet")(lambda job: b"%d" % both.wait())  # two jobs at a time, in two threads
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda number: client.run("meet"), range(2)))
    assert sorted(results) == [b"0", b"1"]


def test_no_socket_and_no_thread(client, monkeypatch):
    def forbidden(*arguments, **options):
        raise AssertionError("a socket")

    monkeypatch.setattr(socket, "socketpair", forbidden)
    monkeypatch.setattr(socket, "socket", forbidden)
    before = threading.active_count()
    assert client.run("echo", "x") == b"x"
    client.submit("echo", require_worker=True, background=True)
    assert threading.active_count() == before


def test_serializers(client):
    with ImmediateClient({"double": lambda job: job.value * 2}, serializer="json") as client:
        assert client.run("double", [1]) == [1, 1]
        with pytest.raises(TypeError):
            client.submit("double", object())


def test_equal_programs_have_equal_endings():
    program = """
import json, logging, sys
from gearman_std.testing import ImmediateClient
client = ImmediateClient({"echo": lambda job: job.workload})
tasks = client.submit_many([("echo", b"%d" % number) for number in range(50)])
print(json.dumps([task.handle.decode() for task in client.as_completed(tasks)]))
"""
    outputs = {subprocess.check_output([sys.executable, "-c", program], env=dict(os.environ, PYTHONHASHSEED=seed))
               for seed in ("1", "2")}
    assert len(outputs) == 1 and len(json.loads(outputs.pop().decode())) == 50


def test_it_shows_its_state(client, caplog):
    caplog.set_level(logging.CRITICAL)
    assert repr(client).startswith("<ImmediateClient of <Stage after 0.000 s: <Core: 1 peers")

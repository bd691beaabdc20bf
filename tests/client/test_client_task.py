"""A task: what its arguments become, and what it says of itself."""
import pickle

import pytest

from client_tools import LONG, once, one_job
from gearman_std.client.client import Client
from gearman_std.client.plan import plan_job
from gearman_std.client.task import Task
from gearman_std.errors import (ClientBusy, CommandTimeout, ConnectTimeout, JobFailed, JobTimeout, NoServer, NoWorker,
                                ProtocolError, QueueFull, ServerError, ServerLost)
from gearman_std.wire.protocol import ERROR, WORK_COMPLETE, WORK_DATA, WORK_FAIL


def unplaced(function):
    """A task that no server has yet."""
    with Client("127.0.0.1:1") as client:
        return Task(plan_job(client._sharing, function), b"", client._pool)


def test_a_task_tells_of_its_life(serve, make_client):
    server = serve(once(one_job((WORK_DATA, b"H:1", b"x"), (WORK_COMPLETE, b"H:1", b"y"))))
    task = make_client(server).submit("f", unique="u")
    assert repr(task) == "<Task ? of f: submitted>"
    assert task.handle == b"H:1" and "H:1 of f" in repr(task)
    assert task.result(LONG) == b"y" and repr(task) == "<Task H:1 of f: done>"
    assert task.exception() is None and task.wait(0) and task.server == server.name
    failed = make_client(serve(one_job((WORK_FAIL, b"H:1")))).submit("f")
    assert failed.failed is False, "nobody has looked yet"
    assert isinstance(failed.exception(LONG), JobFailed) and repr(failed) == "<Task H:1 of f: failed>"
    assert failed.failed is True and task.failed is False
    assert repr(unplaced("größe")) == "<Task ? of größe: submitted>"
    assert repr(unplaced(b"gr\xf6\xdfe")) == r"<Task ? of gr\xf6\xdfe: submitted>"


def test_a_task_is_made_of_what_its_caller_gave(serve, make_client):
    client = make_client(serve(), serializer="json")
    task = client.submit("f", {"a": 1}, unique="u", priority="low", tag=7)
    assert (task.function, task.unique, task.priority, task.background, task.workload, task.tag) == (
        b"f", b"u", "low", False, {"a": 1}, 7)
    assert (task.progress, task.warnings, unplaced("f").server) == (None, [], "")
    with pytest.raises(AttributeError):
        task.function = b"g"


@pytest.mark.parametrize("name", ["created", "accepted", "refused", "progressed", "received", "warned", "completed",
                                  "abandoned", "tell"])
def test_what_its_network_does_with_a_job_is_not_the_tasks(name):
    assert not hasattr(Task, name)


def test_a_task_that_no_server_took_has_failed(serve, make_client):
    def refuse(peer):
        peer.receive()
        peer.send(ERROR, b"CODE", b"no")
        return peer.receive()

    task = make_client(serve(refuse)).submit("f")
    assert isinstance(task.exception(LONG), ServerError) and task.failed is True


@pytest.mark.parametrize("error", [
    JobFailed("f failed: x", b"H:1", b"x", [b"w"]), JobTimeout("slow", b"H:1"), NoWorker("nobody"),
    ServerLost("gone", "confirmed"),
    CommandTimeout("late", "unconfirmed"), NoServer("none"), ConnectTimeout("none yet"), QueueFull("QUEUE_ERROR", "full"),
    ServerError("CODE", "text"), ClientBusy("within", True), ProtocolError("bytes", b"CODE"),
])
def test_errors_survive_a_process_boundary(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))

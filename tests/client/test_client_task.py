"""A task: what its arguments become, and what it says of itself."""
import pickle

import pytest

from client_tools import LONG, once, one_job
from gearman_std.client.task import HIGH, LOW, NORMAL, make_task
from gearman_std.errors import (ClientBusy, CommandTimeout, ConnectTimeout, JobFailed, JobTimeout, NoServer, NoWorker,
                                ProtocolError, QueueFull, ServerError, ServerLost)
from gearman_std.net.system import System
from gearman_std.wire.protocol import (SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG,
                                       SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG, SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND,
                                       WORK_COMPLETE, WORK_DATA, WORK_FAIL)


class Settings:
    """As much of a client as a task that is not submitted needs."""

    class serializer:
        dumps = staticmethod(lambda value: value)

    _network = None
    _system = System(wall_clock=lambda: 1000.25)


@pytest.mark.parametrize("options, packet_type, middle", [
    ({}, SUBMIT_JOB, ()),
    ({"priority": HIGH}, SUBMIT_JOB_HIGH, ()),
    ({"priority": LOW}, SUBMIT_JOB_LOW, ()),
    ({"background": True}, SUBMIT_JOB_BG, ()),
    ({"background": True, "priority": HIGH}, SUBMIT_JOB_HIGH_BG, ()),
    ({"background": True, "priority": LOW}, SUBMIT_JOB_LOW_BG, ()),
    ({"background": True, "at": 77}, SUBMIT_JOB_EPOCH, (b"77",)),
    ({"background": True, "at": 77.5}, SUBMIT_JOB_EPOCH, (b"78",)),  # never too early
    ({"background": True, "delay": 10}, SUBMIT_JOB_EPOCH, (b"1011",)),
    ({"background": True, "delay": 0}, SUBMIT_JOB_EPOCH, (b"1001",)),
    ({"reducer": "r"}, SUBMIT_REDUCE_JOB, (b"r", b"0")),
    ({"reducer": b"r", "background": True}, SUBMIT_REDUCE_JOB_BACKGROUND, (b"r", b"0")),
])
def test_the_options_decide_the_packet(options, packet_type, middle):
    task = make_task(Settings, "résumé", "wörk", unique="ü", **options)
    assert (task._packet_type, task._middle) == (packet_type, middle)
    assert (task.function, task.unique, task._workload) == ("résumé".encode(), "ü".encode(), "wörk".encode())
    assert (task.priority, task.background) == (options.get("priority", NORMAL), options.get("background", False))


@pytest.mark.parametrize("options", [
    {"priority": "urgent"}, {"at": 5}, {"delay": 5}, {"background": True, "at": 1, "delay": 1}, {"background": True, "at": -1},
    {"background": True, "at": 2 ** 63}, {"background": True, "delay": float("nan")},
    {"background": True, "delay": 1, "priority": HIGH},
    {"background": True, "delay": 1, "reducer": "r"}, {"reducer": "r", "priority": LOW}, {"reducer": ""}, {"reducer": "r" * 65},
    {"unique": "u\0"}, {"unique": "u" * 65},
])
def test_what_the_protocol_cannot_say_is_a_value_error(options):
    with pytest.raises(ValueError):
        make_task(Settings, "f", b"", **options)


def test_a_task_tells_of_its_life(serve, make_client):
    server = serve(once(one_job((WORK_DATA, b"H:1", b"x"), (WORK_COMPLETE, b"H:1", b"y"))))
    task = make_client(server).submit("f", unique="u")
    assert repr(task) == "<Task ? of f: submitted>"
    assert task.handle == b"H:1" and "H:1 of f" in repr(task)
    assert task.result(LONG) == b"y" and repr(task) == "<Task H:1 of f: done>"
    assert task.exception() is None and task.wait(0) and task.server == server.name
    failed = make_client(serve(one_job((WORK_FAIL, b"H:1")))).submit("f")
    assert isinstance(failed.exception(LONG), JobFailed) and repr(failed) == "<Task H:1 of f: failed>"
    assert repr(make_task(Settings, "größe", b"")) == "<Task ? of größe: submitted>"
    assert repr(make_task(Settings, b"gr\xf6\xdfe", b"")) == r"<Task ? of gr\xf6\xdfe: submitted>"


@pytest.mark.parametrize("error", [
    JobFailed("f failed: x", b"H:1", b"x", [b"w"]), JobTimeout("slow", b"H:1"), NoWorker("nobody"),
    ServerLost("gone", "confirmed"),
    CommandTimeout("late", "unconfirmed"), NoServer("none"), ConnectTimeout("none yet"), QueueFull("QUEUE_ERROR", "full"),
    ServerError("CODE", "text"), ClientBusy("within", True), ProtocolError("bytes", b"CODE"),
])
def test_errors_survive_a_process_boundary(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))

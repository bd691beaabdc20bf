"""What a worker can be told, and what it refuses to be told."""
import inspect

import pytest

from gearman_std.worker.settings import HOOKS, WorkerHealth, WorkerSettings
from gearman_std.worker.worker import Worker


def test_what_it_is_told_and_has_counted():
    settings = WorkerSettings("a,b:7", threads=3, client_id="me", grace=5.0)
    assert settings.addresses == [("a", 4730), ("b", 7)] and settings.client_id == b"me"
    assert (settings.threads, settings.grace, settings.max_jobs, settings.stops) == (3, 5.0, None, 0)
    assert set(settings.hooks) == set(HOOKS) and settings.abilities == {}
    assert settings.totals == dict.fromkeys(WorkerHealth._fields[4:], 0)
    assert repr(settings) == "<WorkerSettings: 2 servers, 0 functions, 3 threads>"


def test_the_class_worker_is_called_with_them():
    assert inspect.signature(Worker) == inspect.signature(WorkerSettings)
    assert list(inspect.signature(Worker).parameters) == [
        "servers", "threads", "client_id", "grace", "max_jobs", "max_age", "splay", "serializer", "tls", "connect_timeout",
        "watch", "_system"]


@pytest.mark.parametrize("options", [
    {"threads": 0}, {"max_jobs": 0}, {"grace": -1}, {"max_age": -1}, {"splay": -1}, {"connect_timeout": -1},
    {"client_id": "a\0b"}, {"serializer": "xml"}, {"servers": "host:port"}, {"tls": {"caa": "x"}}])
def test_what_cannot_be_is_refused(options):
    with pytest.raises(ValueError):
        Worker(**options)


@pytest.mark.parametrize("options", [{"threads": 2.0}, {"threads": None}, {"threads": "2"}, {"max_jobs": 1.5}, {"splay": None},
                                     {"grace": "1"}])
def test_what_is_no_number_is_refused_by_its_name(options):
    with pytest.raises(TypeError, match="%s is .*, not a (whole )?number" % "".join(options)):
        Worker("localhost", **options)


def test_what_cannot_be_called_or_read_is_refused():
    with pytest.raises(TypeError):
        Worker(watch="now and then")
    with pytest.raises(OSError, match="/no/such/file"):
        Worker(tls={"ca": "/no/such/file"})

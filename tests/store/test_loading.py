"""What a start does with a store: opened in a thread that can be interrupted, read in steps, given up at any point."""
import sqlite3
import threading
from contextlib import closing

import pytest

from gearman_std.core.core import Core
from gearman_std.core.invariants import check_core
from gearman_std.core.ledger import ADD, AddRecord
from gearman_std.errors import StoreError
from gearman_std.store import loading as loading_module
from gearman_std.store.loading import Loading
from gearman_std.store.files import connect_sqlite
from gearman_std.store.records import LOAD_STEP
from gearman_std.store.sqlite import JobStore

from server_tools import TIMEOUT

ENDLESS = "WITH RECURSIVE counted(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM counted) SELECT max(n) FROM counted"


class SlowToCheck:
    """A connection for which the check of the file never ends by itself."""

    def __init__(self, path, checking):
        self._real = connect_sqlite(path)
        self._checking = checking

    def __getattr__(self, name):
        return getattr(self._real, name)

    def __setattr__(self, name, value):
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._real, name, value)

    def execute(self, statement, *arguments):
        if "quick_check" in statement:
            self._checking.set()
            statement = ENDLESS
        return self._real.execute(statement, *arguments)


@pytest.fixture
def path(tmp_path):
    """A store of 200 jobs."""
    path = tmp_path / "jobs.db"
    store = JobStore(path)
    store.open(b"H:x", 1000.0)
    store.write([AddRecord(ADD, b"H:x:%d" % number, b"f", b"", b"w", None, 1, 0.0, 0, "waiting", b"", None, 900.0, 0)
                 for number in range(1, 201)], 200)
    store.close(200)
    return path


def loading_of(store):
    core = Core(durable=True, numbers=int)
    core.tick(50.0, 1000.0)
    return core, Loading(core, store)


def begun(loading):
    done = threading.Event()
    loading.begin(done.set)
    return done


def test_a_thread_opens_it_and_each_step_gives_some_jobs_to_the_core(path):
    store = JobStore(path)
    core, loading = loading_of(store)
    assert repr(loading) == "<Loading: opening and checking %s>" % store.path
    done = begun(loading)
    assert done.wait(TIMEOUT) and not loading.waiting
    sizes = [0]
    while not loading.step():
        sizes.append(len(core.jobs))
        assert sizes[-1] - sizes[-2] <= LOAD_STEP
        assert loading.progress == "reading %s: %d of 200 jobs" % (store.path, store.jobs_read)
    assert len(core.jobs) == 200 and list(core.jobs)[0] == b"H:x:1" and core.number >= 200
    assert {core.now - job.created for job in core.jobs.values()} == {100.0}
    check_core(core)
    loading.give_up()


def test_before_the_thread_is_done_a_step_does_nothing(path):
    go_on = threading.Event()

    def connect(path):
        assert go_on.wait(TIMEOUT)
        return connect_sqlite(path)
    core, loading = loading_of(JobStore(path, _connect=connect))
    done = begun(loading)
    assert loading.waiting and not loading.step() and not core.jobs
    go_on.set()
    assert done.wait(TIMEOUT) and not loading.step() and not loading.step() and core.jobs
    loading.give_up()


@pytest.mark.parametrize("error", [StoreError("broken"), MemoryError("odd")])
def test_what_goes_wrong_in_the_thread_is_met_by_the_next_step(path, error):
    def connect(path):
        raise error
    _, loading = loading_of(JobStore(path, _connect=connect))
    assert begun(loading).wait(TIMEOUT)
    with pytest.raises(type(error), match=str(error)):
        loading.step()


@pytest.mark.skipif(not hasattr(sqlite3.Connection, "interrupt"), reason="this Python, as PyPy, cannot interrupt SQLite")
def test_a_check_that_takes_long_is_interrupted(path):
    checking = threading.Event()
    _, loading = loading_of(JobStore(path, _connect=lambda path: SlowToCheck(path, checking), check=True))
    done = begun(loading)
    assert checking.wait(TIMEOUT)
    loading.give_up()
    assert done.wait(TIMEOUT)
    store = JobStore(path)
    store.open(b"H:x", 1000.0)  # which nobody has locked
    store.abandon()


def test_where_sqlite_cannot_be_interrupted_as_with_pypy_the_thread_is_left_to_itself(path, monkeypatch):
    monkeypatch.setattr(loading_module, "LEAVE_TIME", 0.0)
    checking, go_on = threading.Event(), threading.Event()

    class NeverInterrupted(SlowToCheck):
        def __getattr__(self, name):
            if name == "interrupt":
                raise AttributeError(name)
            return super().__getattr__(name)

        def execute(self, statement, *arguments):
            if "quick_check" in statement:
                self._checking.set()
                assert go_on.wait(TIMEOUT)
            return self._real.execute(statement, *arguments)
    _, loading = loading_of(JobStore(path, _connect=lambda path: NeverInterrupted(path, checking), check=True))
    done = begun(loading)
    assert checking.wait(TIMEOUT)
    loading.give_up()
    go_on.set()
    assert done.wait(TIMEOUT)


def test_a_thread_that_does_not_come_back_closes_the_store_when_it_does(path, monkeypatch):
    monkeypatch.setattr(loading_module, "LEAVE_TIME", 0.0)
    go_on, connecting = threading.Event(), threading.Event()

    def connect(path):
        connecting.set()
        assert go_on.wait(TIMEOUT)
        return connect_sqlite(path)
    store = JobStore(path, _connect=connect)
    _, loading = loading_of(store)
    done = begun(loading)
    assert connecting.wait(TIMEOUT)
    loading.give_up()
    assert loading.waiting
    go_on.set()
    assert done.wait(TIMEOUT) and not store.usable
    other = JobStore(path)
    other.open(b"H:x", 1000.0)
    other.abandon()


@pytest.mark.parametrize("steps", range(4))
def test_it_can_be_given_up_after_any_step_and_twice(path, monkeypatch, steps):
    """Nothing keeps the file in use: another program can have all that is in the log beside it put into the file."""
    monkeypatch.setattr("gearman_std.store.sqlite.LOAD_STEP", 1)
    store = JobStore(path)
    _, loading = loading_of(store)
    assert begun(loading).wait(TIMEOUT)
    for _ in range(steps):
        loading.step()
    for _ in range(2):
        loading.give_up()
    assert not store.usable
    with closing(sqlite3.connect(str(path), timeout=0)) as other:
        other.execute("CREATE TABLE another (one)")
        busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy


def test_where_there_is_no_thread_left_it_is_opened_all_the_same(path, monkeypatch, caplog):
    def start_thread(*_):
        raise OSError("there may be no more threads")
    monkeypatch.setattr(loading_module, "start_thread", start_thread)
    core, loading = loading_of(JobStore(path))
    loading.begin(lambda: None)
    assert not loading.waiting
    while not loading.step():
        continue
    assert len(core.jobs) == 200 and "nobody is answered while the store is opened" in caplog.text
    loading.give_up()

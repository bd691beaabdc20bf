"""The jobs that a gearmand left in its SQLite file are taken over, once, whatever fails."""
import os
import sqlite3

import pytest

from gearman_std.errors import StoreError
from store_tools import Faulty, Plan, content, load, opened, refusal


def gearmand_file(path, rows, columns="unique_key TEXT, function_name TEXT, priority INTEGER, data BLOB, when_to_run INTEGER",
                  table="gearman_queue"):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE %s (%s, PRIMARY KEY (unique_key, function_name))" % (table, columns))
    connection.executemany("INSERT INTO %s VALUES (%s)" % (table, ", ".join("?" * (columns.count(",") + 1))), rows)
    connection.commit()
    connection.close()


ROWS = [("u1", "f", 1, b"\x00data", 0), ("u2", "f", 0, None, 0), ("", "g", 2, "text", 12345),
        ("u" * 63 + "\0", "f", 9, b"", None)]
TAKEN = [(b"f", b"u1", b"\x00data", 1, 0.0, "waiting"), (b"f", b"u2", b"", 0, 0.0, "waiting"),
         (b"f", b"u" * 63, b"", 1, 0.0, "waiting"), (b"g", b"", b"text", 2, 12345.0, "delayed")]


def taken(store):
    return [(row.function, row.unique, row.workload, row.priority, row.due, row.state) for row in load(store)]


def test_a_gearmands_jobs_are_taken_over_once(path, tmp_path):
    old = str(tmp_path / "old.db")
    gearmand_file(old, ROWS)
    store = opened(path, gearmand_queue=(old, "gearman_queue"))
    assert taken(store) == TAKEN
    assert [row.handle for row in load(store)] == [b"H:x:1", b"H:x:2", b"H:x:4", b"H:x:3"]
    assert store.number == 4
    store.abandon()
    store = opened(path, gearmand_queue=(old, "gearman_queue"))
    assert taken(store) == TAKEN
    store.abandon()
    connection = sqlite3.connect(old)
    assert connection.execute("SELECT count(*) FROM gearman_queue_imported").fetchone() == (4,)
    connection.close()


def test_a_table_in_the_same_file_is_taken_over_on_request_and_not_overlooked(path):
    gearmand_file(path, ROWS)
    before = content(path)
    assert "4 jobs of a gearmand" in refusal(path)
    assert content(path) == before
    store = opened(path, gearmand_queue=(path, "gearman_queue"))
    assert taken(store) == TAKEN
    store.abandon()
    store = opened(path)
    assert taken(store) == TAKEN


def test_an_empty_table_in_the_same_file_is_no_obstacle(path):
    gearmand_file(path, [])
    opened(path).abandon()


def test_a_later_table_of_the_same_gearmand_is_taken_over_too(path, tmp_path):
    old = str(tmp_path / "old.db")
    for _ in range(3):
        gearmand_file(old, ROWS[:1])
        store = opened(path, gearmand_queue=(old, "gearman_queue"))
        count = len(load(store))
        store.abandon()
    assert count == 3


def test_an_old_table_has_no_times(path, tmp_path):
    old = str(tmp_path / "old.db")
    gearmand_file(old, [row[:4] for row in ROWS], "unique_key TEXT, function_name TEXT, priority INTEGER, data BLOB", "q")
    store = opened(path, gearmand_queue=(old, "q"))
    assert [row.due for row in load(store)] == [0.0] * 4


def test_what_cannot_be_taken_over(path, tmp_path):
    old = str(tmp_path / "old.db")
    with pytest.raises(StoreError, match="no such file"):
        opened(path, gearmand_queue=(old, "gearman_queue"))
    sqlite3.connect(old).close()
    with pytest.raises(StoreError, match="no table gearman_queue"):
        opened(path, gearmand_queue=(old, "gearman_queue"))
    connection = sqlite3.connect(old)
    connection.execute("CREATE TABLE gearman_queue (unique_key, data)")
    connection.close()
    with pytest.raises(StoreError, match="no column function_name, priority"):
        opened(path, gearmand_queue=(old, "gearman_queue"))


def test_a_file_that_cannot_be_taken_over_is_named_and_not_the_new_one_alone(path, tmp_path):
    old = tmp_path / "old.db"
    old.write_bytes(b"no database, " * 100)
    with pytest.raises(StoreError) as caught:
        opened(path, gearmand_queue=(str(old), "gearman_queue"))
    assert str(caught.value) == "%s: cannot import %s: file is not a database" % (path, old)


def test_taking_over_fails_at_the_nth_statement_for_every_n(path, tmp_path):
    """The jobs are taken over, or still where they were; never neither, and with one file never both."""
    for n in range(1, 60):
        for name in os.listdir(os.path.dirname(path)):
            os.unlink(os.path.join(os.path.dirname(path), name))
        gearmand_file(path, ROWS)
        plan = Plan()
        plan.arm(n)
        try:
            store = opened(path, gearmand_queue=(path, "gearman_queue"), _connect=lambda path: Faulty(path, plan))
        except StoreError:
            store = opened(path, gearmand_queue=(path, "gearman_queue"))
        ended = plan.disarm()
        assert taken(store) == TAKEN
        store.abandon()
        if ended:
            break
    assert n > 15

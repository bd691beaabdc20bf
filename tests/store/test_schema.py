"""The schema of the SQLite file: its versions, and what is refused because it is none of ours."""
import re
import sqlite3

import pytest

from gearman_std.core.jobs import HELD, SET_ASIDE, WAITING
from gearman_std.core.ledger import ORDER, OrderRecord
from gearman_std.errors import StoreError
from gearman_std.store import schema
from gearman_std.store.files import APPLICATION_ID
from gearman_std.store.schema import MIGRATIONS
from store_tools import add, again, kept, load, load_all, numbers, opened, refusal, update


@pytest.mark.parametrize("change", [
    "jobs SET handle = 5", "jobs SET handle = X'313a'", "jobs SET handle = 'H:x:2'", "jobs SET function = 1.5",
    "jobs SET unique_key = 0", "jobs SET workload = 7", "jobs SET reducer = 0", "jobs SET due = 'soon'", "jobs SET due = X'31'",
    "jobs SET attempts = 'a'", "jobs SET attempts = 0.5", "jobs SET priority = 'high'",
    "jobs SET error = 0", "jobs SET schedule = 5", "jobs SET created = 'then'", "jobs SET position = 'x'",
    "results SET handle = 9", "results SET ended = 'x'", "results SET ran = X'30'", "results SET attempts = 'x'",
    "results SET text = 0", "results SET data = 4", "results SET result = 4.5",
    "settings SET value = 'x' WHERE name = 'handles'",
    "settings SET value = NULL WHERE name = 'handles'", "settings SET name = 'x' WHERE name = 'handles'"])
def test_what_others_wrote_into_a_column_is_refused_when_it_is_read_if_it_is_none_of_ours(store, change):
    store.write([add(1), kept(2)], 2)
    store.close(2)
    with sqlite3.connect(store.path, isolation_level=None) as connection:
        assert connection.execute("UPDATE " + change).rowcount == 1
    connection.close()
    table = change.split()[0]
    with pytest.raises(StoreError, match="^%s: the row .* of the table %s makes no sense$" % (re.escape(store.path), table)):
        load_all(opened(store.path))


def test_what_others_wrote_as_text_into_a_column_of_bytes_is_read(store):
    store.write([add(1), kept(2)], 2)
    store.close(2)
    with sqlite3.connect(store.path, isolation_level=None) as connection:
        connection.execute("UPDATE jobs SET function = 'g', workload = 'text', due = 5")
    connection.close()
    row, = load(again(store))
    assert (row.function, row.workload, row.due) == (b"g", b"text", 5.0)


@pytest.mark.parametrize("row", ["('pause', 5, '')", "('pause', 'f', 1.5)"])
def test_a_row_of_an_order_that_makes_no_sense_is_refused(store, row):
    store._connection.execute("INSERT INTO orders VALUES " + row)
    with pytest.raises(StoreError, match="a row of the table orders makes no sense"):
        load(store)


# --- Versions.

NEXT_VERSION = MIGRATIONS + (("ALTER TABLE jobs ADD COLUMN colour BLOB", "UPDATE jobs SET colour = 'red'"),)


def test_the_file_says_what_it_is(store):
    connection = sqlite3.connect(store.path)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()


def test_the_schema_is_as_documented(store, sources):
    connection = sqlite3.connect(store.path)
    for table in ("jobs", "orders", "settings"):
        for row in connection.execute("PRAGMA table_info(%s)" % table):
            if table != "settings":
                assert "\n        %-11s %s" % (row[1], row[2]) in schema.__doc__
    assert {name for name, in connection.execute("SELECT name FROM settings")} == {"handles", "id"}
    connection.close()


def test_an_old_file_is_brought_up_to_date_with_its_jobs(store):
    store.write([add(1, workload=b"kept")], 1)
    store.close(1)
    newer = opened(store.path, _migrations=NEXT_VERSION)
    assert load(newer)[0].workload == b"kept"
    newer.close(1)
    connection = sqlite3.connect(store.path)
    assert connection.execute("SELECT colour FROM jobs").fetchone() == ("red",)
    connection.close()


def test_in_a_file_of_version_1_the_newer_of_two_equal_jobs_is_held_back_by_the_other(path):
    old = opened(path, _migrations=MIGRATIONS[:1])
    old.write([add(1, unique=b"u"), add(2, unique=b"u"), update(1), add(3, unique=b"-"), add(4, unique=b"-"), add(5), add(6),
               add(7, b"g", b"u"), add(8, unique=b"v", state=SET_ASIDE), add(9, unique=b"v")], 9)
    old.close(9)
    assert [(row.handle, row.state) for row in load(opened(path)) if row.state != WAITING] == [
        (b"H:x:8", SET_ASIDE), (b"H:x:2", HELD)]


def test_a_file_of_version_3_gets_a_place_for_orders_and_keeps_all_that_is_in_it(path):
    old = opened(path, _migrations=MIGRATIONS[:3])
    old.write([add(1, workload=b"x"), add(2, unique=b"u"), kept(3)], 3)
    old.close(3)
    store = opened(path)
    assert load_all(store) == [kept(3), add(1, workload=b"x"), add(2, unique=b"u")]
    pause = OrderRecord(ORDER, b"", "pause", b"f", b"")
    store.write([pause], 3)
    store = again(store)
    assert load_all(store)[0] == pause
    store.abandon()
    assert "written by a newer release: its schema has version 4, this release knows 3" in refusal(path,
                                                                                                   _migrations=MIGRATIONS[:3])


def test_a_newer_file_is_refused(path):
    opened(path, _migrations=NEXT_VERSION).close(0)
    assert "newer release" in refusal(path)


def test_an_update_of_the_schema_that_fails_leaves_the_file_as_it_was(store):
    store.write([add(1)], 1)
    store.close(1)
    refusal(store.path, _migrations=MIGRATIONS + (("ALTER TABLE jobs ADD COLUMN colour BLOB", "nonsense"),))
    store = opened(store.path)
    assert numbers(store) == [1]

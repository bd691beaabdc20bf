"""The check of a store's file from outside: what it says, and that it changes nothing, whoever uses the file meanwhile."""
import os
import shutil
import sqlite3

import pytest

from gearman_std.errors import StoreError
from gearman_std.store import checking
from gearman_std.store.checking import check_store
from gearman_std.store.files import APPLICATION_ID, connect_sqlite
from gearman_std.store.schema import MIGRATIONS
from store_tools import add, load, numbers, opened, removed


def damage(path, pages):
    with open(path, "r+b") as file:
        for page in pages:
            file.seek(page * 4096)
            file.write(b"\xa5" * 1000)


def looks(path):
    """All that can be seen of a store and of what is beside it."""
    found = {}
    for name in os.listdir(os.path.dirname(path)):
        if not name.endswith("-shm"):
            with open(os.path.join(os.path.dirname(path), name), "rb") as file:
                found[name] = file.read()
    return found


def test_a_whole_file_that_nobody_uses_is_left_as_it_is_with_nothing_beside_it(store):
    store.write([add(1), add(2)], 2)
    store.close(2)
    before = looks(store.path)
    assert check_store(store.path) == 2
    assert looks(store.path) == before and not os.path.exists(store.path + "-shm")


def test_a_file_that_a_server_uses_is_checked_with_what_is_in_its_wal_and_the_server_goes_on(store):
    store.write([add(number, workload=b"x" * 3000) for number in range(1, 300)], 300)
    before = looks(store.path)
    assert check_store(store.path) == 299 and looks(store.path) == before
    store.write([removed(1), add(301)], 301)
    store.prove_room(100)  # a checkpoint
    assert check_store(store.path) == 299
    store.close(301)
    assert not os.path.exists(store.path + "-wal") and len(numbers(opened(store.path))) == 299


def test_what_a_server_that_crashed_has_left_is_checked_and_is_there_for_the_next_one(store, tmp_path):
    store.write([add(number) for number in range(1, 30)], 30)
    there = tmp_path / "there"
    there.mkdir()
    for end in ("", "-wal"):
        shutil.copy(store.path + end, str(there / "jobs.db") + end)
    path = str(there / "jobs.db")
    before = looks(path)
    assert check_store(path) == 29 and looks(path) == before
    assert len(load(opened(path))) == 29


@pytest.mark.parametrize("in_use", [False, True])
def test_damage_is_found_also_where_no_job_is(store, in_use):
    store.write([add(n, workload=b"x" * 3000) for n in range(1, 200)], 200)
    store.write([removed(n) for n in range(1, 200)] + [add(200)], 200)
    store.close(200)
    with sqlite3.connect(store.path) as connection:
        pages, = connection.execute("PRAGMA page_count").fetchone()
    connection.close()
    damage(store.path, range(6, pages))
    if in_use:
        opened(store.path)
    with pytest.raises(StoreError, match="^[^\n]* is damaged: [^\n]+$"):
        check_store(store.path)


def test_the_file_that_is_to_take_its_place_is_checked_when_it_is_whole(store):
    store.write([add(1), add(2)], 2)
    store.close(2)
    shutil.copy(store.path, store.path + "-new")
    damage(store.path, range(1, 3))
    assert check_store(store.path) == 2
    damage(store.path + "-new", range(1, 3))
    with pytest.raises(StoreError):
        check_store(store.path)


@pytest.mark.parametrize("statements, reason", [
    ([], "is no store of a job server"),
    (["CREATE TABLE things (name TEXT)"], "is the database of another program"),
    (["PRAGMA application_id = %d" % APPLICATION_ID, "PRAGMA user_version = %d" % (len(MIGRATIONS) + 1)],
     "was written by a newer release"),
])
def test_a_file_of_somebody_else_is_none(tmp_path, statements, reason):
    path = str(tmp_path / "x.db")
    connection = connect_sqlite(path)
    connection.execute("PRAGMA user_version = 0")
    for statement in statements:
        connection.execute(statement)
    connection.close()
    with open(path, "ab"):
        pass
    with pytest.raises(StoreError, match=reason):
        check_store(path)


def test_what_is_no_database_and_what_is_not_there(tmp_path):
    (tmp_path / "text").write_text("no database, " * 100)
    with pytest.raises(StoreError, match="text: file is (not a database|encrypted or is not a database)$"):
        check_store(str(tmp_path / "text"))
    with pytest.raises(StoreError):
        check_store(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        check_store(str(tmp_path / "none"))
    assert sorted(os.listdir(str(tmp_path))) == ["text"]


def test_a_file_that_stays_locked_is_told(store, monkeypatch):
    monkeypatch.setattr(checking, "CHECK_PATIENCE", 0.01)
    store.write([add(1)], 1)
    store.close(1)
    connection = connect_sqlite(store.path)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute("UPDATE settings SET value = 5 WHERE name = 'handles'")
    with pytest.raises(StoreError, match="locked"):
        check_store(store.path)
    connection.close()


def test_a_server_that_starts_during_the_check_does_not_make_it_wrong(store, monkeypatch):
    """What was read as if nobody could change it is read again."""
    store.write([add(1)], 1)
    store.close(1)
    real, ways = checking._check_file, []

    def check_file(path, name, how):
        if not ways:
            opened(path).write([add(2)], 2)
        ways.append(how)
        return real(path, name, how)
    monkeypatch.setattr(checking, "_check_file", check_file)
    assert check_store(store.path) == 2 and ways == ["mode=ro&immutable=1", "mode=ro"]

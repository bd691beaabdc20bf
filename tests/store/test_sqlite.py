"""The file of the durable queue: what is written comes back, whatever fails leaves the file as it was, old files are read."""
import errno
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest

from gearman_std.errors import StoreError
from gearman_std.core.handles import handle_number
from gearman_std.core.jobs import DELAYED, HANDLE_BLOCK, HELD, POSITIONS, SET_ASIDE, WAITING, place_of
from gearman_std.core.ledger import FORGET, REMOVE, ForgetRecord, RemoveRecord, UsualJobs, records_of_usual
from gearman_std.core.statistics import END_CANCELLED, END_FAILED
from gearman_std.store import sqlite as sqlite_module
from gearman_std.store.files import connect_sqlite
from gearman_std.store.records import LOAD_STEP
from gearman_std.store.sqlite import JobStore
from gearman_std.store.store import BATCH, DURABILITIES, EXIT
from samples import few
from store_tools import (OPENED, Faulty, Plan, add, again, changed, content, kept, load, load_all, load_ends, numbers, opened,
                         refusal, removed, update)


# --- What is written comes back.

def test_every_property_of_a_job_comes_back(store):
    rows = [add(1, b"f\xff\x00", b"u", bytes(range(256)), b"reducer", 0, 12.5, 3, DELAYED, b"\x00error", b"1 2 * * *", 77.25),
            add(2, b"", b"-", b""), add(3, state=SET_ASIDE, error=b"gone wrong", attempts=5)]
    store.write(rows, 3)
    store = again(store)
    assert sorted(load(store)) == sorted(rows)
    assert sorted(store.load()) == sorted(row[1:] for row in rows), "as rows, as in release 1.0.0"


def test_a_memoryview_is_stored_like_bytes(store):
    store.write([add(1, workload=memoryview(b"xworkloadx")[1:-1])], 1)
    assert load(store)[0].workload == b"workload"


def test_large_workloads_come_back(store):
    store.write([add(1, workload=b"x" * (5 << 20))], 1)
    assert load(store)[0].workload == b"x" * (5 << 20)


def test_removed_jobs_are_gone(store):
    store.write([add(1), add(2), removed(1), add(3)], 3)
    assert numbers(store) == [2, 3]


def test_removing_what_is_not_there_does_nothing(store):
    store.write([RemoveRecord(REMOVE, b"H:x:7")], 7)
    assert numbers(store) == []


def test_jobs_come_back_in_the_order_of_their_positions_in_whatever_order_they_were_written(store):
    store.write([add(2), add(1)], 2)
    store.write([add(3), add(4)._replace(position=0), add(5)._replace(position=POSITIONS + 1)], 5)
    assert numbers(again(store)) == [1, 5, 2, 3, 4], "0 is the place of a new job of that number"


@pytest.mark.parametrize("seed", range(5))
def test_jobs_of_all_states_come_back_in_order_wherever_they_were_put(store, monkeypatch, seed):
    monkeypatch.setattr("gearman_std.store.sqlite.LOAD_STEP", 3)
    chance = random.Random(seed)
    rows = []
    for number in range(1, 60):
        state = chance.choice([WAITING, WAITING, WAITING, DELAYED, HELD, SET_ASIDE])
        position = place_of(number) if chance.random() < 0.6 else place_of(chance.randrange(1, 80)) + number
        row = add(number, due=float(chance.randrange(5)) if state == DELAYED else 0.0, state=state)
        rows.append(row._replace(position=position))
    store.write(rows, 60)
    order = {DELAYED: 1, HELD: 2}
    expected = sorted(rows, key=lambda row: (order.get(row.state, 0), row.due, row.position))
    store = again(store)
    assert store.jobs_stored == len(rows)
    pieces = list(store.load_records())
    assert [row for some in pieces for row in some] == expected
    assert len(pieces) > 10 and store.jobs_read == len(rows)


def is_usual(record):
    """Whether it is read the quick way: it waits for the first time, where a new job of its number stands, and is small."""
    return record == record._replace(
        state=WAITING, reducer=None, due=0.0, attempts=0, error=b"", schedule=None,
        position=place_of(handle_number(record.handle))) and len(record.workload) <= 4096


def unusual_at_random(chance, number, record):
    """The same job, with something that few have."""
    return record._replace(**chance.choice([
        dict(state=DELAYED, due=float(chance.randrange(5))), dict(state=DELAYED, due=7.5, schedule=b"* * * * *"),
        dict(state=HELD), dict(state=SET_ASIDE, error=b"no", attempts=3), dict(state=SET_ASIDE), dict(attempts=1),
        dict(error=b"lost"), dict(reducer=b"r"), dict(due=5.0), dict(workload=b"x" * 4097),
        dict(position=place_of(chance.randrange(1, 900)) + number)]))


@pytest.mark.parametrize("share", [0.0, 0.002, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_usual_jobs_are_read_the_quick_way_and_others_as_they_are(store, monkeypatch, seed, share):
    monkeypatch.setattr("gearman_std.store.sqlite.LOAD_STEP", 7)
    chance = random.Random(seed)
    base = chance.choice([0, 1700000000 << 32, (1700000000 << 32) + HANDLE_BLOCK * 5 - 400])
    records = []
    for number in range(base + 1, base + 701):
        record = add(number, chance.choice([b"f", b"g\xff"]), chance.choice([b"", b"-", b"u\0"]),
                     chance.choice([b"", b"w\0\xff", b"x" * 4096]), priority=chance.choice([0, 1, 2]),
                     created=chance.choice([0.0, 1e9, 1234.5, -3.25]))
        prefix = b"H:other:" if 300 <= number - base < 400 else b"H:x:"
        record = record._replace(position=place_of(number), handle=prefix + b"%d" % number)
        records.append(unusual_at_random(chance, number, record) if chance.random() < share else record)
    store.write(records, records[-1].position)
    order = {DELAYED: 1, HELD: 2}
    expected = sorted(records, key=lambda row: (order.get(row.state, 0), row.due if row.state == DELAYED else 0, row.position))
    store = again(store)
    pieces = list(store.load_pieces())
    quickly = [record for piece in pieces if isinstance(piece, UsualJobs) for record in records_of_usual(piece)]
    assert all(map(is_usual, quickly)) and store.jobs_read == len(records)
    assert len(quickly) >= {0.0: 640, 0.002: 500, 0.02: 300}.get(share, 0)
    assert [record for piece in pieces for record in (
        records_of_usual(piece) if isinstance(piece, UsualJobs) else piece)] == expected == load(store)


def test_where_few_jobs_are_usual_it_is_seldom_asked_for_them(path, monkeypatch):
    monkeypatch.setattr("gearman_std.store.sqlite.LOAD_STEP", 5)
    plan = Plan()
    store = opened(path, _connect=lambda path: Faulty(path, plan))
    store.write([add(number, attempts=1) for number in range(1, 501)], 500)
    plan.disarm()
    assert len(load(store)) == 500
    assert -plan.left < 120, "a hundred pieces, and a dozen questions"


def test_what_other_programs_wrote_as_text_is_read_as_bytes(store):
    store.write([add(number, b"f", b"u", b"work") for number in range(1, 600)], 600)
    expected = load(store)
    for column in ("handle", "function", "unique_key", "workload", "error"):
        store._connection.execute("UPDATE jobs SET %s = CAST(%s AS TEXT) WHERE number %% 4 = 1" % (column, column))
        assert load(store) == expected


@pytest.mark.parametrize("number", [1, 500, 599])
@pytest.mark.parametrize("change", [
    "handle = x'483a783a3939'", "handle = CAST('H:x' || number AS BLOB)", "handle = CAST('H:x:0' || number AS BLOB)",
    "handle = 5", "function = 7", "function = 7.5", "unique_key = 0", "workload = 12", "workload = 1.5",
    "priority = 3", "priority = 1.5", "priority = 'high'", "due = 'soon'", "due = x'00'", "attempts = 0.5",
    "attempts = 'none'", "state = 'lost'", "state = ''", "state = x'00'", "error = 0", "schedule = 1", "reducer = 1",
    "created = 'today'", "created = x'00'", "position = 0.5", "position = 'first'"])
def test_a_row_that_makes_no_sense_is_refused_wherever_it_is(store, change, number):
    store.write([add(number) for number in range(1, 600)], 600)
    store._connection.execute("UPDATE jobs SET %s WHERE number = %d" % (change, number))
    with pytest.raises(StoreError, match="the row %d of the table jobs makes no sense" % number):
        list(store.load_pieces())


def test_where_the_file_has_the_place_of_a_new_job():
    connection = connect_sqlite(":memory:")
    for number in (1, 77, (1 << 32) - 1, 1 << 32, (5 << 32) + (9 << 17) + 77, (1 << 63) - 1):
        found, = connection.execute("SELECT %s FROM (SELECT ? AS number)" % sqlite_module._SQL_PLACE, (number,)).fetchone()
        assert found == place_of(number)
    connection.close()


def test_a_requeued_job_comes_back_at_the_tail(store):
    store.write([add(1), add(2)], 2)
    store.write([update(1), add(3)], 3)
    store = again(store)
    assert numbers(store) == [2, 1, 3]
    store.write([update(2)], 3)
    assert numbers(store) == [1, 3, 2]


def test_an_update_changes_state_attempts_due_and_error(store):
    store.write([add(1), update(1, DELAYED, 4, 99.5, b"why")], 1)
    assert load(store)[0][7:11] == (99.5, 4, "delayed", b"why")


def test_a_raised_priority_leaves_a_job_where_it_is(store):
    """That it goes to the tail, if it waits, is an update."""
    store.write([add(1), add(2), changed(1, "priority", 0)], 2)
    assert [(row.handle, row.priority) for row in load(store)] == [(b"H:x:1", 0), (b"H:x:2", 1)]


def test_jobs_that_are_held_back_come_last(store):
    store.write([add(1, state=HELD), add(2, state=DELAYED, due=30.0), add(3)], 3)
    assert numbers(store) == [3, 2, 1]


def test_a_replaced_workload_leaves_a_job_where_it_is(store):
    store.write([add(1), add(2), changed(1, "workload", b"new")], 2)
    assert [(row.handle, row.workload) for row in load(store)] == [(b"H:x:1", b"new"), (b"H:x:2", b"w")]


def test_jobs_whose_time_comes_later_follow_in_the_order_of_their_times(store):
    store.write([add(1, state=DELAYED, due=30.0), add(2, state=DELAYED, due=20.0), add(3)], 3)
    assert numbers(store) == [3, 2, 1]


def test_replace_leaves_nothing_else(store):
    store.write([add(1), add(2)], 2)
    store.replace([add(2, workload=b"new"), add(5)], 5)
    assert [(row.handle, row.workload) for row in load(store)] == [(b"H:x:2", b"new"), (b"H:x:5", b"w")]


def test_what_was_not_flushed_survives_a_crash_of_the_process(path):
    """In WAL mode a commit without fsync is with the system, which does not crash with us."""
    code = ("from gearman_std.core.ledger import AddRecord, RemoveRecord\n"
            "from gearman_std.store.sqlite import JobStore; import os, signal\n"
            "store = JobStore(%r, 'batch'); store.open(b'H', 0.0)\n"
            "store.write([AddRecord('add', b'H:%%d' %% n, b'f', b'', b'', None, 1, 0, 0, 'waiting', b'', None, 0, 0)\n"
            "             for n in range(1, 100)], 99)\n"
            "store.write([RemoveRecord('remove', b'H:5')], 99, flush=False)\n"
            "os.kill(os.getpid(), signal.SIGKILL)" % path)
    subprocess.call([sys.executable, "-c", code])
    store = opened(path)
    assert len(load(store)) == 98


def test_a_write_waits_for_the_disk_unless_told_not_to(store):
    """In WAL mode SQLite flushes each commit with synchronous 2 (FULL), and none with 1 (NORMAL)."""
    def mode():
        return store._connection.execute("PRAGMA synchronous").fetchone()[0]
    store.write([add(1)], 1)
    assert mode() == 2
    store.write([add(2)], 2, flush=False)
    assert mode() == 1
    store.write([], HANDLE_BLOCK, flush=False)
    assert mode() == 2, "what keeps handles from repeating is always flushed"
    store.write([add(3)], 3, flush=True)
    assert mode() == 2


# --- Handles never repeat.

def test_handles_go_on_after_a_clean_stop(store):
    store.write([add(1)], 17)
    store.close(17)
    assert opened_number(store.path) == 17


def test_handles_skip_what_may_have_been_given_out_before_a_crash(store):
    store.write([add(1)], 1)
    assert again(store).number >= 1 + HANDLE_BLOCK // 2


def test_handles_are_reserved_before_anything_is_written(store):
    """So that a disk that refuses everything from then on does not make them repeat."""
    assert again(store).number == HANDLE_BLOCK


def opened_number(path):
    store = opened(path)
    store.abandon()
    return store.number


def test_a_write_is_wanted_before_the_reserved_handles_run_out(store):
    assert not store.wants(1) and not store.wants(HANDLE_BLOCK // 2)
    assert store.wants(HANDLE_BLOCK // 2 + 2)
    store.write([], HANDLE_BLOCK // 2 + 2)
    assert again(store).number > HANDLE_BLOCK


def test_handles_of_jobs_that_are_there_count_even_if_the_setting_is_lost(store):
    store.write([add(1000000)], 5)
    assert again(store).number == 1000000


# --- What cannot be opened.

def test_a_second_server_is_kept_out(store):
    assert "in use by another server" in refusal(store.path)
    again(store).abandon()


def test_a_second_name_of_the_file_is_the_same_file(store, tmp_path):
    if os.name == "posix":
        os.symlink(store.path, str(tmp_path / "other.db"))
        with pytest.raises(StoreError, match="in use by another server"):
            opened(str(tmp_path / "other.db"))


def test_a_python_without_sqlite(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    assert "this Python has no SQLite" in refusal(path)


def test_no_such_directory(tmp_path):
    assert re.search("unable to open|Could not open", refusal(str(tmp_path / "no" / "jobs.db")))  # the second is PyPy's


def test_not_a_database(path):
    with open(path, "w") as file:
        file.write("hello " * 1000)
    assert "not a database" in refusal(path)


def damage(path, pages):
    """Spoil some pages of a file."""
    with open(path, "r+b") as file:
        for page in pages:
            file.seek(page * 4096)
            file.write(b"\xa5" * 100)


@pytest.mark.parametrize("check", [True, False])
def test_a_damaged_file_is_refused(store, check):
    store.write([add(n, workload=b"x" * 3000) for n in range(1, 200)], 200)
    store.close(200)
    damage(store.path, range(3, 40))
    message = refusal(store.path, check=check)
    assert "damaged" in message or "malformed" in message


def test_what_is_damaged_where_no_job_is_is_found_by_a_check_of_the_whole_file(store):
    store.write([add(n, workload=b"x" * 3000) for n in range(1, 200)], 200)
    store.write([removed(n) for n in range(1, 200)] + [add(200)], 200)
    store.close(200)
    with sqlite3.connect(store.path) as connection:
        free, = connection.execute("PRAGMA freelist_count").fetchone()
        pages, = connection.execute("PRAGMA page_count").fetchone()
    connection.close()
    assert free > 100
    damage(store.path, range(6, pages))
    assert numbers(opened(store.path)) == [200]
    OPENED[-1].abandon()
    assert "damaged" in refusal(store.path, check=True)


def test_damage_that_is_found_when_something_is_written_loses_nothing(store):
    """Memory has all that was read, of which the file is written anew."""
    store.write([add(n, workload=b"x" * 3000) for n in range(1, 200)], 200)
    store.write([removed(n) for n in range(1, 200)] + [add(200)], 200)
    store.close(200)
    damage(store.path, range(6, os.path.getsize(store.path) // 4096))
    store = opened(store.path)
    records = load(store)
    with pytest.raises(StoreError):
        for n in range(201, 400):
            store.write([add(n, workload=b"x" * 3000)], n)
    assert not store.usable and store.uncertain
    renewed(store, records + [add(500)], 500)
    assert numbers(again(store)) == [200, 500]


def test_another_programs_database_is_refused_and_left_alone(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE cookies (name)")
    connection.close()
    before = content(path)
    assert "another program" in refusal(path)
    assert content(path) == before


def test_a_read_only_file_is_refused(store):
    store.close(0)

    def connect(path):
        return sqlite3.connect("file:%s?mode=ro" % path, uri=True, isolation_level=None)
    assert "readonly" in refusal(store.path, _connect=connect)


def test_a_row_that_makes_no_sense_is_refused(store):
    store.write([add(1, priority=7)], 1)
    with pytest.raises(StoreError, match="the row 1 of the table jobs makes no sense"):
        load(store)


def test_durability_is_one_of_three(path):
    assert DURABILITIES == ("every", "batch", "exit")
    with pytest.raises(ValueError):
        JobStore(path, "sometimes")


# --- Failures.

BEFORE = [add(1), add(2), add(3, state=SET_ASIDE)]
CHANGES = [add(4), update(1), changed(2, "workload", b"new"), RemoveRecord(REMOVE, b"H:x:3"), add(5)]
AFTER = [2, 4, 1, 5]


def renewed(store, records, number):
    for _ in store.renew(records, number):
        continue
    assert store.usable


def fresh_folder(path):
    for name in os.listdir(os.path.dirname(path)):
        os.unlink(os.path.join(os.path.dirname(path), name))


@pytest.mark.parametrize("late", [False, True])
def test_the_nth_statement_of_a_write_fails_for_every_n(path, late):
    """The store is written anew then with what its owner knows, also when COMMIT did its work and yet failed."""
    failures = 0
    for n in range(1, 50):
        fresh_folder(path)
        plan = Plan()
        store = opened(path, _connect=lambda path: Faulty(path, plan))
        store.write(BEFORE, 3)
        plan.arm(n, late)
        try:
            store.write(CHANGES, 5)
        except StoreError as error:
            failures += 1
            assert error.reason == "disk I/O error"
            assert not store.usable
            renewed(store, BEFORE, 3)
            assert numbers(store) == [1, 2, 3]
            store.write(CHANGES, 5)
        ended = plan.disarm()
        assert numbers(store) == AFTER
        store.abandon()
        if ended:
            break
    else:
        raise AssertionError("it never ended")
    assert failures >= 6


@pytest.mark.parametrize("late", few([False, True]))
def test_writing_anew_fails_at_the_nth_statement_for_every_n(path, late):
    """What the next server finds after a crash is the old file or the new one, and another attempt succeeds."""
    found = []
    for n in range(1, 60):
        for crash in (True, False):
            fresh_folder(path)
            plan = Plan()
            store = opened(path, _connect=lambda path: Faulty(path, plan))
            store.write(BEFORE, 3)
            plan.arm(1)
            with pytest.raises(StoreError):
                store.write(CHANGES, 5)
            plan.arm(n, late)
            try:
                renewed(store, [add(7), add(8)], 8)
                ended = plan.disarm()
            except StoreError:
                ended = False
                if crash:
                    store = again(store)
                    found.append(numbers(store))
                else:
                    renewed(store, [add(7), add(8)], 8)
            if not crash or ended:
                assert numbers(store) == [7, 8]
            store.abandon()
        if ended:
            break
    assert n > 15
    assert found == sorted(found) and found[0] == [1, 2, 3] and found[-1] == [7, 8]
    assert sorted(set(map(tuple, found))) == [(1, 2, 3), (7, 8)]


def test_a_large_store_is_written_anew_a_piece_at_a_time(store):
    store.write([add(n) for n in range(1, 6)], 5)
    records = [add(n, workload=b"x" * 3000) for n in range(1, 3001)]
    steps = sum(1 for _ in store.renew(iter(records), 3000))
    assert steps > 3
    assert load(store) == records
    store.write([add(3001)], 3001)
    assert numbers(again(store)) == list(range(1, 3002))


def test_a_new_file_that_was_left_half_written_is_of_no_account(store):
    store.write([add(1)], 1)
    renewal = store.renew(iter([add(n, workload=b"x" * 3000) for n in range(1, 3001)]), 3000)
    next(renewal)
    assert os.path.exists(store.path + "-new")
    store = again(store)
    assert numbers(store) == [1] and not os.path.exists(store.path + "-new")
    store.write([add(2)], 2)
    assert numbers(again(store)) == [1, 2]


def test_the_nth_statement_of_opening_fails_for_every_n(path):
    """For a moment, that does no harm; for long, the file is refused with the reason, and is not locked by the attempt."""
    for n in range(1, 60):
        for for_long in (True, False):
            plan = Plan()
            plan.arm(n, for_long=for_long)
            try:
                store = opened(path, _connect=lambda path: Faulty(path, plan))
            except StoreError as error:
                assert for_long and "disk I/O error" in str(error)
                continue
            ended = plan.disarm()
            assert ended or not for_long
            store.abandon()
        if ended:
            break
    assert n > 10
    store = opened(path)
    store.write([add(1)], 1)
    assert numbers(store) == [1]


def test_a_full_disk_refuses_a_write_and_keeps_what_is_there(path):
    connections = []

    def connect(path):
        connections.append(connect_sqlite(path))
        return connections[-1]
    store = opened(path, _connect=connect)
    store.write([add(1)], 1)
    pages = connections[0].execute("PRAGMA page_count").fetchone()[0]
    connections[0].execute("PRAGMA max_page_count = %d" % (pages + 1))
    with pytest.raises(StoreError, match="full"):
        store.write([add(2, workload=b"x" * 100000)], 2)
    assert store.usable and numbers(store) == [1]
    connections[0].execute("PRAGMA max_page_count = 1000")
    store.write([add(2, workload=b"x" * 100000)], 2)
    assert numbers(store) == [1, 2]


def test_a_file_locked_by_another_process_is_no_long_wait(store):
    import time
    other = connect_sqlite(store.path)
    other.execute("BEGIN IMMEDIATE")
    begin = time.monotonic()
    for _ in range(2):
        with pytest.raises(StoreError, match="locked"):
            store.write([add(1)], 1)
        assert store.usable
    assert time.monotonic() - begin < 4, "SQLite alone would wait for five seconds"
    other.execute("ROLLBACK")
    other.close()
    store.write([add(1)], 1)
    assert numbers(store) == [1]


POSIX = pytest.mark.skipif(os.name != "posix", reason="elsewhere open files cannot be deleted")


def delete(path):
    os.unlink(path)


def move(path):
    os.rename(path, path + ".away")


def truncate(path):
    with open(path, "r+b"):
        os.truncate(path, os.path.getsize(path) // 2)


def empty(path):
    open(path, "wb").close()


def put_an_older_copy_in_its_place(path):
    os.rename(path + ".copy", path)


def copy_an_older_one_on_top(path):
    with open(path + ".copy", "rb") as copy, open(path, "r+b") as file:
        file.write(copy.read())
        file.truncate()


def put_a_copy_of_now_in_its_place(path):
    with open(path, "rb") as file, open(path + ".now", "wb") as copy:
        copy.write(file.read())
    os.rename(path + ".now", path)


def overwrite_one_page(path):
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 4096)


def link_another(path):
    os.rename(path, path + ".other")
    os.link(path + ".copy", path)


HARM = [delete, move, truncate, empty, put_an_older_copy_in_its_place, copy_an_older_one_on_top, put_a_copy_of_now_in_its_place,
        overwrite_one_page, link_another]


def copy_all(store):
    for end in ("", "-wal"):
        with open(store.path + end, "rb") as file, open(store.path + end + ".copy", "wb") as copy:
            copy.write(file.read())


@POSIX
@pytest.mark.parametrize("ends", [[""], ["-wal"], ["", "-wal"]])
@pytest.mark.parametrize("harm", HARM)
def test_whatever_is_done_to_the_files_is_noticed_and_made_good(store, harm, ends):
    store.write([add(n, workload=b"x" * 3000) for n in range(1, 10)], 9)
    store._checkpoint("PASSIVE")
    copy_all(store)
    store.write([add(10, workload=b"x" * 30000), removed(1)], 10)
    store._checkpoint("PASSIVE")
    store.write([add(11)], 11)
    for end in ends:
        harm(store.path + end)
    with pytest.raises(StoreError, match="moved, deleted, replaced or changed"):
        store.write([add(12)], 12)
    assert not store.usable
    renewed(store, [add(n) for n in range(2, 12)], 11)
    store.write([add(13)], 13)
    store = again(store)
    assert numbers(store) == list(range(2, 12)) + [13]


@POSIX
@pytest.mark.parametrize("harm", [delete, move])
def test_a_lock_that_is_taken_away_is_noticed(store, harm):
    harm(store.path + "-lock")
    with pytest.raises(StoreError, match="moved, deleted, replaced or changed"):
        store.write([add(1)], 1)
    renewed(store, [], 0)
    store.write([add(1)], 1)
    assert "in use by another server" in refusal(store.path)


@POSIX
@pytest.mark.parametrize("harm", [delete, move, truncate, empty])
def test_what_is_done_to_the_memory_that_all_share_is_noticed_before_it_ends_the_server(store, harm):
    """Who touches what is missing of it gets SIGBUS."""
    store.write([add(1)], 1)
    harm(store.path + "-shm")
    with pytest.raises(StoreError, match="moved, deleted, replaced or changed"):
        store.write([add(2)], 2)
    renewed(store, [add(1)], 1)
    store.write([add(3)], 3)
    assert numbers(again(store)) == [1, 3]


def link_elsewhere(link, target):
    """Point a link elsewhere, or put it in the place of a file, in one step."""
    os.symlink(target, link + ".new")
    os.rename(link + ".new", link)


@POSIX
@pytest.mark.parametrize("what", ("file", "folder", "file in a folder"))
@pytest.mark.parametrize("there", ("nothing", "a copy", "the file itself"))
def test_where_a_link_is_pointed_elsewhere_the_store_is_where_the_next_server_looks(tmp_path, what, there):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old, new, given = (str(tmp_path / name / "jobs.db") for name in ("old", "new", "given"))
    if what == "file":
        given, link, target = old, old, new
    elif what == "folder":
        link, target = os.path.dirname(given), os.path.dirname(new)
        os.symlink(os.path.dirname(old), link)
    else:
        os.mkdir(os.path.dirname(given))
        os.symlink(old, given)
        link, target = given, new
    store = opened(given)
    store.write([add(1), add(2)], 2)
    if there == "a copy":
        shutil.copy(old, new)
    elif there == "the file itself":
        os.rename(old, new)
    link_elsewhere(link, target)
    with pytest.raises(StoreError, match="moved, deleted, replaced or changed"):
        store.write([add(3)], 3)
    renewed(store, [add(1), add(2)], 2)
    store.write([add(4)], 4)
    assert store.path == new and "in use by another server" in refusal(new)
    store.abandon()
    assert numbers(opened(given)) == [1, 2, 4]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a program that reads the file puts nothing off")
@pytest.mark.parametrize("done", range(4))
def test_a_link_that_is_pointed_elsewhere_while_the_store_is_written_anew_makes_it_begin_there(tmp_path, done):
    """When so many steps are done, of which another program puts off the last."""
    link, new = str(tmp_path / "jobs.db"), str(tmp_path / "new.db")
    os.symlink(str(tmp_path / "old.db"), link)
    store = opened(link)
    store.write([add(1)], 1)
    reader = connect_sqlite(store.path)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    if done > 0:
        store.begin_anew(1, False)
    if done > 1:
        store.add_anew([add(1)])
    if done > 2:
        with pytest.raises(StoreError, match="locked by another program"):
            store.end_anew()
    reader.close()
    assert store.is_whole == (done > 2)
    link_elsewhere(link, new)
    if done:
        with pytest.raises(StoreError, match="moved, deleted, replaced or changed"):
            store.end_anew()
    assert not store.is_whole
    renewed(store, [add(1)], 1)
    assert store.path == new and numbers(again(store)) == [1]


@POSIX
def test_a_link_to_the_file_of_another_server_is_trouble_until_that_one_ends(tmp_path):
    link = str(tmp_path / "jobs.db")
    os.symlink(str(tmp_path / "one.db"), link)
    store, other = opened(link), opened(str(tmp_path / "two.db"))
    link_elsewhere(link, other.path)
    with pytest.raises(StoreError, match="moved, deleted, replaced or changed"):
        store.write([add(1)], 1)
    with pytest.raises(StoreError, match="in use by another server"):
        renewed(store, [], 0)
    other.close(0)
    renewed(store, [], 0)
    assert store.path == other.path


@POSIX
def test_a_link_that_nobody_may_follow_is_trouble_until_it_is_gone(tmp_path):
    def check_link(path):
        raise OSError(errno.ELOOP, "%s is a link that another user may have put there" % path)
    path, other = str(tmp_path / "jobs.db"), str(tmp_path / "other")
    store = JobStore(path, _check_link=check_link)
    OPENED.append(store)
    store.open(b"H:x", 1.0)
    link_elsewhere(path, other)
    for _ in range(2):
        with pytest.raises(StoreError, match="another user may have put there"):
            renewed(store, [add(1)], 1)
    os.unlink(path)
    renewed(store, [add(1)], 1)
    assert store.path == path and numbers(store) == [1] and not os.path.exists(other)


@POSIX
def test_what_is_done_to_the_files_is_noticed_when_the_store_is_closed(store):
    store.write([add(1)], 1)
    os.unlink(store.path)
    with pytest.raises(StoreError, match="moved, deleted, replaced or changed"):
        store.close(1)
    renewed(store, [add(1)], 1)
    store.close(1)
    assert numbers(opened(store.path)) == [1]


@POSIX
def test_a_file_in_a_folder_that_is_gone_is_written_where_there_is_one_again(store):
    directory = os.path.dirname(store.path)
    store.write([add(1)], 1)
    os.rename(directory, directory + "-away")
    with pytest.raises(StoreError):
        store.write([add(2)], 2)
    with pytest.raises(StoreError):
        renewed(store, [add(1)], 1)
    os.mkdir(directory)
    renewed(store, [add(1)], 1)
    store.write([add(2)], 2)
    assert numbers(store) == [1, 2]
    with pytest.raises(StoreError, match="in use"):
        opened(store.path)


def test_a_file_system_that_changes_times_by_itself_is_put_up_with(store):
    """Some network file systems do; the store is not written anew for ever."""
    for n in range(1, 20):
        os.utime(store.path, (n, n))
        try:
            store.write([add(n)], n)
        except StoreError:
            renewed(store, [add(m) for m in range(1, n + 1)], n)
            failed = n
    assert 3 < failed < 10
    assert numbers(store) == list(range(1, 20))


@POSIX
def test_one_file_has_one_server_whatever_its_name(store, tmp_path):
    if sys.platform.startswith("linux"):
        os.link(store.path, str(tmp_path / "other.db"))
        assert "in use by another server" in refusal(str(tmp_path / "other.db"))
        code = "from gearman_std.store import JobStore; JobStore(%r).open(b'H', 0.0)" % str(tmp_path / "other.db")
        other = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE)
        assert b"in use by another server" in other.stderr
        store.write([add(1)], 1)  # its own locks are still there
        renewed(store, [add(1)], 1)
        assert os.stat(store.path).st_ino == os.stat(str(tmp_path / "other.db")).st_ino
        assert "in use by another server" in refusal(str(tmp_path / "other.db"))
        store.close(1)
        assert numbers(opened(str(tmp_path / "other.db"))) == [1]


@POSIX
def test_a_program_that_reads_the_file_is_not_harmed_when_it_is_written_anew(store):
    if sys.platform.startswith("linux"):
        store.write([add(1)], 1)
        reader = connect_sqlite(store.path)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
        with pytest.raises(StoreError, match="locked by another program"):
            renewed(store, [add(1), add(2)], 2)
        assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
        reader.close()
        assert store.is_whole
        renewed(store, [], 0)
        assert numbers(store) == [1, 2]


def test_a_reader_does_not_disturb(store):
    """A backup with the sqlite3 program while the server runs."""
    store.write([add(1)], 1)
    reader = connect_sqlite(store.path)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    store.write([add(2)], 2)
    assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    reader.close()
    assert numbers(store) == [1, 2]


def test_the_repr_tells_path_and_state(store):
    assert repr(store) == "<JobStore %s, open>" % store.path
    store.close(0)
    assert repr(store) == "<JobStore %s, closed>" % store.path
    assert EXIT in DURABILITIES and BATCH in DURABILITIES


# ------------------------------------------------------------------------------------------------------------ how jobs ended

def test_how_jobs_ended_comes_back_the_first_first(store):
    records = [kept(3, END_FAILED, 5.0, b"no \xff"), kept(1, ended=7.0, result=b"\0" * 100),
               kept(2, END_CANCELLED, 7.0, data=b"d"), kept(5, ended=9.0, data=None, result=None)]
    store.write([add(4)] + records[::-1] + [kept(4)], 5)
    store.write([ForgetRecord(FORGET, b"H:x:4"), removed(4)], 5)
    assert load_ends(store) == records and load(store) == []


def test_a_later_end_takes_the_place_of_the_last(store):
    store.write([add(1), kept(1), kept(1, result=b"second")], 1)
    assert load_ends(store) == [kept(1, result=b"second")] and numbers(store) == [1]


def test_many_come_in_pieces(store):
    records = [kept(number, ended=float(number)) for number in range(1, 200)]
    store.write(records, 200)
    assert load_all(store) == records and max(map(len, store.load_records())) <= LOAD_STEP


def test_replacing_and_renewing_keep_nothing_but_what_they_are_told(store):
    store.write([kept(1), kept(2)], 2)
    store.replace([add(4), kept(3)], 4)
    assert load_ends(store) == [kept(3)] and numbers(store) == [4]
    for _ in store.renew(iter([add(6), kept(5), kept(7, data=None, result=None)]), 7):
        continue
    assert load_ends(store) == [kept(5), kept(7, data=None, result=None)] and numbers(store) == [6]
    for _ in store.renew(iter([kept(8)]), 8):
        continue
    assert load_ends(store) == [kept(8)] and numbers(store) == []


def test_a_row_with_an_outcome_that_there_is_not(store):
    store.write([kept(1)], 1)
    store._connection.execute("UPDATE results SET outcome = 'odd'")
    with pytest.raises(StoreError, match="the row 1 of the table results makes no sense"):
        load_ends(store)


@pytest.mark.skipif(os.name != "posix", reason="a folder that is in use can be deleted")
def test_a_path_in_a_current_folder_that_was_deleted_is_an_error_that_says_so(tmp_path, monkeypatch):
    gone = str(tmp_path / "gone")
    os.mkdir(gone)
    monkeypatch.chdir(gone)
    os.rmdir(gone)
    with pytest.raises(OSError, match="jobs.db: the current folder: No such file or directory"):
        JobStore("jobs.db")
    assert JobStore(str(tmp_path / "jobs.db")).path == str(tmp_path / "jobs.db")

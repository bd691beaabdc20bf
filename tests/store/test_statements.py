"""What is said to a database, as text: what records come to, and that nothing in a job is ever taken for SQL."""
import re

import pytest

from gearman_std.core.jobs import DELAYED, SET_ASIDE, WAITING, place_of
from gearman_std.core.ledger import (ADD, CHANGE, FORGET, KEEP, REMOVE, UPDATE, AddRecord, ChangeRecord, ForgetRecord,
                                     KeepRecord, RemoveRecord, UpdateRecord)
from gearman_std.core.statistics import END_COMPLETED
from gearman_std.store.dialects import JOBS_TABLE, MYSQL, POSTGRES, RESULTS_TABLE, TABLES, column_names
from gearman_std.store.statements import MOST_ERROR, MOST_ROWS, ROOM_ROW, STATEMENT_SIZE, Merged, Statements


def added(number, workload=b"w", **fields):
    return AddRecord(ADD, b"H:x:%d" % number, b"f", b"", workload, None, 1, 0, 0, WAITING, b"", None, 5.5, 0)._replace(**fields)


def updated(number, state=SET_ASIDE, **fields):
    return UpdateRecord(UPDATE, b"H:x:%d" % number, state, 2, 7.5, b"why", 9)._replace(**fields)


def changed(number, column, value):
    return ChangeRecord(CHANGE, b"H:x:%d" % number, column, value)


def removed(number):
    return RemoveRecord(REMOVE, b"H:x:%d" % number)


def kept(number, **fields):
    return KeepRecord(KEEP, b"H:x:%d" % number, b"f", b"u", END_COMPLETED, 6.0, 1.0, 2.0, 1, b"", b"d", b"r")._replace(**fields)


def forgotten(number):
    return ForgetRecord(FORGET, b"H:x:%d" % number)


def merged(*records):
    found = Merged(records)
    return {name: getattr(found, name) for name in Merged.__slots__ if getattr(found, name)}


def write(*records):
    return list(Statements(POSTGRES, "a").write(records))


def test_what_happens_to_a_job_that_is_new_is_in_its_row():
    new, = merged(added(1), updated(1), changed(1, "workload", b"v"), changed(1, "priority", 0))["added"].values()
    assert new == added(1, b"v", priority=0, state=SET_ASIDE, attempts=2, due=7.5, error=b"why", position=9)


def test_of_what_happens_to_another_one_the_last_counts():
    assert merged(updated(1), changed(1, "workload", b"v"), updated(1, DELAYED), changed(1, "workload", b"z"),
                  changed(1, "schedule", None)) == {
        "updated": {b"H:x:1": updated(1, DELAYED)}, "changed": {b"H:x:1": {"workload": b"z", "schedule": None}}}


def test_a_job_that_is_gone_is_removed_whatever_was_before_or_after():
    gone = {"removed": {b"H:x:1"}}
    assert merged(added(1), removed(1)) == gone
    assert merged(updated(1), changed(1, "priority", 0), removed(1), updated(1), changed(1, "priority", 1)) == gone


def test_a_job_that_is_added_again_is_as_it_was_added_last():
    assert merged(removed(1), added(1)) == merged(updated(1), changed(1, "priority", 0), added(1)) == {
        "added": {b"H:x:1": added(1)}}


def test_the_end_of_a_job_is_kept_or_forgotten():
    assert merged(kept(1), kept(2), forgotten(1), kept(3), forgotten(3), kept(3)) == {
        "kept": {b"H:x:2": kept(2), b"H:x:3": kept(3)}, "forgotten": {b"H:x:1"}}


def test_many_rows_are_one_text():
    assert len(write(*map(added, range(1, MOST_ROWS + 1)))) == 1
    assert len(write(*map(added, range(1, MOST_ROWS + 2)))) == 2
    assert len(write(*map(removed, range(1, MOST_ROWS + 2)))) == 2
    assert len(write(*map(updated, range(1, MOST_ROWS + 2)))) == 2
    assert write() == []


def test_a_text_is_of_moderate_size_unless_one_job_is_larger():
    half = b"x" * (STATEMENT_SIZE // 4)
    assert list(map(len, write(*(added(n, half) for n in range(1, 5))))) == [len(write(added(1, half))[0])] * 4
    assert len(write(added(1), added(2, half * 4), added(3))) == 3


def test_nothing_of_a_job_is_in_a_text_but_in_hexadecimal_digits():
    evil = b"'); DROP TABLE x; -- \\ \0 %s {0} \xff"
    texts = write(added(1, evil, function=evil, unique=evil, reducer=evil, error=evil, schedule=evil), updated(2, error=evil),
                  changed(3, "workload", evil), kept(4, function=evil, unique=evil, text=evil, data=evil, result=evil))
    assert len(texts) == 4
    for text in texts:
        assert "DROP" not in text and "\0" not in text and all(" " <= letter <= "~" for letter in text)
        assert evil.hex() in text


def test_the_position_of_a_new_job_is_that_of_its_number():
    assert ",%d,'\\x77')" % place_of(12) in write(added(12))[0]
    assert ",%d,'\\x77')" % 77 in write(added(12, position=77))[0]
    assert ", %d)" % place_of(12) in write(updated(12, position=0))[0]


def test_a_result_that_is_too_large_for_a_statement_is_not_kept_but_the_end_is():
    statements = Statements(POSTGRES, "a")
    statements.limit(1 << 16)
    fits = kept(1, data=b"x" * (statements.most_bytes - 10), result=b"y" * 10)
    assert "78" * 100 in list(statements.write([fits]))[0]
    text, = statements.write([fits._replace(result=b"y" * 11)])
    assert text.partition(" ON ")[0].endswith("'\\x',NULL,NULL)")


def test_a_long_reason_is_cut():
    text, = write(updated(1, error=b"e" * (MOST_ERROR + 5)))
    assert text.count("65") == MOST_ERROR


@pytest.mark.parametrize("table, record", [(JOBS_TABLE, added(1)), (RESULTS_TABLE, kept(1))])
def test_a_row_has_a_value_for_each_column(table, record):
    row = write(record)[0].partition(" VALUES ")[2].partition(" ON ")[0]
    assert row.count(",") == len(column_names(table)) - 1 == TABLES[table].count(", ")


@pytest.mark.parametrize("size", [1, ROOM_ROW, 3 * ROOM_ROW + 7, 3 * STATEMENT_SIZE])
def test_room_is_looked_for_in_rows_that_fit_into_a_page(size):
    """A larger one MariaDB would put elsewhere, and end itself if there is room for some of it only."""
    texts = list(Statements(MYSQL, "a").fill(size))
    rows = re.findall(r"\(x'([0-9a-f]+)','a',.*?,x'([0-9a-f]*)'\)", "".join(texts))
    assert len({handle for handle, _ in rows}) == len(rows) and sum(len(workload) // 2 for _, workload in rows) == size
    assert max(len(workload) // 2 for _, workload in rows) <= ROOM_ROW < 16384 // 8
    assert all(len(text) < 2 * STATEMENT_SIZE for text in texts)
    assert not set(rows).intersection(re.findall(r"\(x'([0-9a-f]+)'", "".join(Statements(MYSQL, "b").fill(size))))

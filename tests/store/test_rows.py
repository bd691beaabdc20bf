"""Rows of a database's tables: what makes no sense is told of, and handles are read in pieces."""
import pytest

from gearman_std.core.jobs import WAITING
from gearman_std.core.ledger import ADD, KEEP, ORDER
from gearman_std.core.statistics import END_FAILED
from gearman_std.store.records import LOAD_SIZE
from gearman_std.store.rows import LOAD_ROWS, job_record, kept_record, keys_of, order_record, pieces_of, plain_row

JOB = b"H:x:1", b"f", b"u", b"w", None, 1, 0.0, 0, WAITING, b"", None, 5.25, 1
END = b"H:x:1", b"f", b"u", END_FAILED, 6.25, 1.5, 2.5, 1, b"why", None, None


def test_rows_become_records():
    assert job_record(JOB) == (ADD,) + JOB and job_record(JOB).state == WAITING
    assert kept_record(END) == (KEEP,) + END and kept_record(END).outcome == END_FAILED
    assert order_record(("pause", memoryview(b"f"), bytearray(b""))) == (ORDER, b"", "pause", b"f", b"")
    assert plain_row((memoryview(b"a"), bytearray(b"b"), "c", None, 1)) == [b"a", b"b", "c", None, 1]


@pytest.mark.parametrize("place, value", [(8, "sleeping"), (5, 7), (8, None)])
def test_a_job_that_makes_no_sense(place, value):
    with pytest.raises(ValueError, match="^the row of job H:x:1 makes no sense$"):
        job_record(JOB[:place] + (value,) + JOB[place + 1:])


def test_an_end_that_makes_no_sense():
    with pytest.raises(ValueError, match="^the row of the ended job H:x:1 makes no sense$"):
        kept_record(END[:3] + ("unclear",) + END[4:])


@pytest.mark.parametrize("sizes, lengths", [
    ([], []), ([1], [1]), ([1] * LOAD_ROWS, [LOAD_ROWS]), ([1] * (LOAD_ROWS + 1), [LOAD_ROWS, 1]),
    ([LOAD_SIZE + 1, 1, LOAD_SIZE - 1, 1], [1, 2, 1]), ([LOAD_SIZE], [1])])
def test_handles_are_read_in_pieces_of_so_many_rows_and_bytes(sizes, lengths):
    keys = keys_of((memoryview(b"H:x:%d" % number), size) for number, size in enumerate(sizes))
    pieces = list(pieces_of(keys))
    assert list(map(len, pieces)) == lengths and sum(pieces, []) == [handle for handle, _ in keys]

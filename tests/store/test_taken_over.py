"""What is taken over of another server, without a database: it is read once the transaction is known to be committed."""
import pytest

from gearman_std.core.jobs import WAITING
from gearman_std.core.ledger import ORDER, OrderRecord
from gearman_std.store.adoption import Adoption
from gearman_std.store.dialects import POSTGRES
from gearman_std.store.statements import Statements

JOB = b"f", b"u", b"w", None, 1, 0.0, 0, WAITING, b"", None, 5.25, 1


class Told:
    """A connection to a database in which a server called two has jobs; notes what was changed."""

    def __init__(self, *handles, silent=True, schedules=(), pauses=(), left=()):
        self.changes = []
        self._answers = [("SKIP LOCKED", [(1,)] * silent), ("schedule IS NOT NULL", list(schedules)),
                         ("AS theirs", list(pauses)), ("octet_length(data)", []),
                         ("octet_length(workload)", [(handle, 1) for handle in handles]),
                         ("UNION ALL", [(handle,) for handle in left])]

    def rows(self, query):
        return next(answer for part, answer in self._answers if part in query)

    def run(self, statement):
        self.changes.append(statement)


@pytest.fixture
def adoption():
    return Adoption("here", Statements(POSTGRES, "one"))


def read(adoption, gone=(), spoilt=()):
    """The handles of the next records."""
    def rows_of(query):
        return [(handle,) + JOB[:7] + ("sleeping" if handle in spoilt else WAITING,) + JOB[8:]
                for handle in (b"H:1", b"H:2", b"H:3") if handle.hex() in query and handle not in gone]
    return [record.handle for record in adoption.read(rows_of)]


def test_jobs_are_read_once_the_transaction_is_known_to_be_committed(adoption):
    adoption.take_over(Told(b"H:1", b"H:2"), 7, "two", 3, 5.0)
    assert read(adoption) == []
    assert adoption.settle() == ("two", 3)
    assert read(adoption) == [b"H:1", b"H:2"] and read(adoption) == []
    assert adoption.settle() is None


def test_who_has_been_heard_of_is_left_alone(adoption):
    told = Told(b"H:1", silent=False)
    adoption.take_over(told, 7, "two", 3, 5.0)
    assert told.changes == [] and adoption.settle() is None and read(adoption) == []


def test_what_was_committed_though_the_answer_got_lost_is_not_done_again(adoption):
    adoption.take_over(Told(b"H:1"), 7, "two", 3, 5.0)
    adoption.drop(7)
    told = Told(b"H:2")
    adoption.take_over(told, 8, "two", 3, 5.0)
    assert told.changes == [] and adoption.settle() == ("two", 3) and read(adoption) == [b"H:1"]


@pytest.mark.parametrize("committed", [0, 6])
def test_what_was_not_committed_is_dropped(adoption, committed):
    adoption.take_over(Told(b"H:1"), 7, "two", 3, 5.0)
    adoption.drop(committed)
    assert adoption.settle() is None and read(adoption) == []
    told = Told(b"H:2")
    adoption.take_over(told, 7, "two", 3, 5.0)
    assert told.changes and adoption.settle() == ("two", 3) and read(adoption) == [b"H:2"]


def test_a_job_whose_schedule_is_not_valid_stays_where_it_is(adoption, caplog):
    told = Told(b"H:1", b"H:2", b"H:3", schedules=[(memoryview(b"H:1"), memoryview(b"* * * * *")), (b"H:2", b"now and then")],
                left=[b"H:2"])
    adoption.take_over(told, 7, "two", 3, 5.0)
    moved, = (text for text in told.changes if "UPDATE gearman_std_jobs" in text)
    assert b"H:2".hex() in moved and b"H:1".hex() not in moved
    assert adoption.settle() and read(adoption) == [b"H:1", b"H:3"]
    assert [record.getMessage() for record in caplog.records] == [
        "here: 1 rows of the server two make no sense, and are left with it, such as that of job H:2"]


def test_pauses_come_first_and_rows_that_are_spoilt_or_gone_are_passed_over(adoption, caplog):
    adoption.take_over(Told(b"H:1", b"H:2", b"H:3", pauses=[("pause", b"f", b"")]), 7, "two", 3, 5.0)
    adoption.settle()
    assert adoption.read(None) == [OrderRecord(ORDER, b"", "pause", b"f", b"")]
    assert read(adoption, gone=[b"H:1"], spoilt=[b"H:2"]) == [b"H:3"]
    assert [record.getMessage() for record in caplog.records] == [
        "here: the row of job H:2 makes no sense, and is left in the store"]


def test_after_an_error_the_same_come_again_until_the_store_is_closed(adoption):
    adoption.take_over(Told(b"H:1"), 7, "two", 3, 5.0)
    adoption.settle()

    def fails(_):
        raise OSError("gone")
    with pytest.raises(OSError):
        adoption.read(fails)
    assert "1 pieces" in repr(adoption)
    assert read(adoption) == [b"H:1"]
    adoption.take_over(Told(b"H:2"), 8, "two", 4, 5.0)
    adoption.clear()
    assert adoption.settle() is None and read(adoption) == []

"""What every store has from the base class: its errors, when it is written although nothing happens, how it is written anew."""
import pytest

from gearman_std.core.jobs import HANDLE_BLOCK
from gearman_std.errors import StoreError
from gearman_std.store.records import PIECE
from gearman_std.store.store import BATCH, DURABILITIES, EVERY, Store
from store_tools import add


class Renewed(Store):
    """Notes how it is written anew, and fails when it is told to."""

    def __init__(self):
        super().__init__("a store")
        self.notes = []
        self.failing = ""

    def _note(self, *note):
        if note[0] == self.failing:
            raise self.error("the database is away")
        self.notes.append(note)

    def begin_anew(self, number, is_empty):
        self._note("begin", number, is_empty)

    def add_anew(self, records):
        self._note("add", len(records))

    def end_anew(self):
        self.is_whole = True
        self._note("end")
        self.is_whole = False


def test_one_is_certain_and_usable_unless_it_says_otherwise():
    store = Store("x at y", BATCH)
    assert store.usable and not store.uncertain and not store.could_shrink(0) and not store.is_whole
    assert (store.name, store.durability, store.number, store.jobs_stored, store.jobs_read) == ("x at y", BATCH, 0, 0, 0)
    assert repr(store) == "<Store x at y>"


def test_durability_is_one_of_those_that_there_are():
    assert Store("x").durability == EVERY
    with pytest.raises(ValueError, match="durability is one of %s, not 'never'" % ", ".join(DURABILITIES)):
        Store("x", "never")


def test_its_errors_name_it_and_tell_the_reason_alone():
    error = Store("x at y").error(OSError(28, "No space left on device"))
    assert type(error) is StoreError and str(error) == "x at y: No space left on device"
    assert error.reason == "No space left on device"


def test_it_wants_to_be_written_when_half_of_the_reserved_handles_are_used_up():
    store = Store("x")
    store.reserved = 5 * HANDLE_BLOCK
    last = 5 * HANDLE_BLOCK - HANDLE_BLOCK // 2
    assert not store.wants(last) and store.wants(last + 1)


def test_it_is_written_anew_in_pieces_of_some_size():
    store = Renewed()
    steps = sum(1 for _ in store.renew((add(n, workload=b"x" * (PIECE // 3)) for n in range(1, 9)), 8))
    assert store.notes == [("begin", 8, False), ("add", 4), ("add", 3), ("add", 1), ("end",)]
    assert steps == 3


def test_with_nothing_in_it_it_is_told_so_at_once():
    store = Renewed()
    list(store.renew([], 9))
    assert store.notes == [("begin", 9, True), ("add", 0), ("end",)]


def test_once_all_is_written_only_the_end_is_tried_again():
    store = Renewed()
    store.failing = "end"
    with pytest.raises(StoreError):
        list(store.renew([add(1)], 1))
    store.failing = ""
    del store.notes[:]
    records = iter([add(1)])
    list(store.renew(records, 1))
    assert store.notes == [("end",)] and len(list(records)) == 1

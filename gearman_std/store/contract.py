"""What any store must do, as tests, for whoever writes one.

    from gearman_std.store.contract import StoreContract

    class TestMyStore(StoreContract):                         # with pytest
        def make_store(self):
            return MyStore(...)

With unittest, let the class also be a TestCase.  Nothing here needs a test framework.
"""
import random
import threading
from contextlib import contextmanager

from ..core.jobs import DELAYED, HANDLE_BLOCK, HELD, SET_ASIDE, WAITING, place_of
from ..core.ledger import (ADD, CHANGE, FORGET, KEEP, ORDER, REMOVE, UPDATE, AddRecord, ChangeRecord, ForgetRecord,
                           KeepRecord, OrderRecord, RemoveRecord, UpdateRecord)
from ..core.statistics import END_CANCELLED, END_COMPLETED, END_FAILED
from ..errors import StoreInUse
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator, List, Tuple
    from ..core.ledger import Record

_ALL_BYTES = bytes(range(256))
_WALL = 1000.0  # unix time of each start


class StoreContract:
    """Tests that any store must pass.

    Each test may begin with a store that has been used; what is in it, the test removes.  `large` is how large a workload may
    be.

    Owner: the test that runs.
    """

    large = 5 << 20

    def __repr__(self) -> str:
        return "<%s>" % type(self).__name__

    def make_store(self) -> Store:
        """A new object for the same database each time, not open, with the durability "every".  To be defined."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------------------- helpers

    @contextmanager
    def life(self) -> "Iterator[Store]":
        """A store that is open, until its server crashes at the end of the block."""
        store = self.make_store()
        try:
            store.open(b"H:x", _WALL)
            yield store
        finally:
            store.abandon()

    @contextmanager
    def first_life(self) -> "Iterator[Store]":
        """The same, with nothing in it."""
        with self.life() as store:
            store.replace([], 0)
            yield store

    def check(self, *records: "Any") -> None:
        """Check that the next server finds these records, and no others."""
        with self.life() as store:
            _agree(_read_all(store), list(records))

    # ---------------------------------------------------------------------------------------------------- what comes back

    def test_every_property_of_a_job_comes_back(self) -> None:
        records = [
            _job(1, function=_ALL_BYTES, unique=b"u\0\xff", workload=_ALL_BYTES, reducer=b"", priority=0, due=12.5, attempts=3,
                 state=DELAYED, error=b"\0error\xff", schedule=b"1 2 * * *", created=77.25),
            _job(2, function=b"", unique=b"-", workload=b"", priority=2),
            _job(3, state=SET_ASIDE, error=b"gone wrong", attempts=5, reducer=b"r", schedule=b"    "),
            _job(4, due=4102444800.000001, state=DELAYED, created=1700000000.123456)]
        with self.first_life() as store:
            store.write(records, 4)
        self.check(*_in_order(records))

    def test_a_workload_may_be_a_view_of_other_bytes(self) -> None:
        with self.first_life() as store:
            store.write([_job(1, workload=memoryview(b"xworkloadx")[1:-1])], 1)
        self.check(_job(1, workload=b"workload"))

    def test_a_large_workload_comes_back(self) -> None:
        with self.first_life() as store:
            store.write([_job(1, workload=b"x" * self.large), _job(2)], 2)
        self.check(_job(1, workload=b"x" * self.large), _job(2))

    def test_numbers_of_handles_may_be_large_and_prefixes_differ(self) -> None:
        handles = [b"H:a:1", b"H:b:c:%d" % ((3 << 32) + 5), b"H::%d" % ((1 << 63) - 1)]
        with self.first_life() as store:
            store.write([_job(1)._replace(handle=handle, position=0) for handle in handles], 5)
            store.write([RemoveRecord(REMOVE, handles[1])], 5)
        with self.life() as store:
            _agree([job.handle for job in _read_all(store)], [handles[0], handles[2]])
            store.replace([], 0)

    def test_how_jobs_ended_comes_back_the_first_first(self) -> None:
        records = [_end(3, END_FAILED, 5.0, text=b"no \xff"), _end(1, ended=7.0, result=_ALL_BYTES),
                   _end(2, END_CANCELLED, 7.5, data=b""), _end(5, ended=9.0, data=None, result=None)]
        with self.first_life() as store:
            store.write([_job(4)] + records[::-1], 5)
        self.check(*(records + [_job(4)]))

    def test_orders_stand_until_they_are_taken_back_and_come_first(self) -> None:
        with self.first_life() as store:
            store.write([_standing("pause", b"f"), _standing("maxqueue", b"f", b"1 2 3"), _job(1), _standing("drain"), _end(2),
                         _standing("pause", _ALL_BYTES), _standing("create", b"g"), _standing("maxqueue", b"f", b"5 5 5")], 2)
            store.write([_standing("create", b"g", None), _standing("create", b"h", None), _standing("pause", b"f")], 2)
        wanted = [_standing("drain"), _standing("maxqueue", b"f", b"5 5 5"), _standing("pause", b"f"),
                  _standing("pause", _ALL_BYTES)]
        with self.life() as store:
            records = _read_all(store)
            _agree(sorted(records[:4], key=str), sorted(wanted, key=str))
            _agree(records[4:], [_end(2), _job(1)])
            store.replace([_standing("create", b"i"), _job(1)], 2)
        self.check(_standing("create", b"i"), _job(1))

    def test_many_orders_come_some_at_a_time(self) -> None:
        with self.first_life() as store:
            store.write([_standing("pause", b"%d" % number) for number in range(1000)], 0)
        with self.life() as store:
            pieces = list(store.load_records())
            _agree(sum(map(len, pieces)), 1000)
            assert len(pieces) > 3, "they come in %d pieces" % len(pieces)

    def test_a_new_job_has_the_place_of_its_number(self) -> None:
        with self.first_life() as store:
            store.write([_job(9, position=0), _job(7, position=place_of(9) + 1), _job(8, position=0)], 9)
        self.check(_job(8), _job(9), _job(7, position=place_of(9) + 1))

    def test_jobs_of_all_states_come_back_in_their_order_some_at_a_time(self) -> None:
        chance = random.Random(1)
        records = [_job(number, state=chance.choice([WAITING, WAITING, SET_ASIDE, DELAYED, HELD]),
                        due=float(chance.randrange(1, 4)), position=place_of(chance.randrange(1, 2000)) + number)
                   for number in range(1, 1001)]
        with self.first_life() as store:
            store.write(records, 1000)
        with self.life() as store:
            _agree(store.jobs_stored, 1000)
            pieces = list(store.load_records())
            _agree([record for some in pieces for record in some], _in_order(records))
            _agree(store.jobs_read, 1000)
            assert len(pieces) > 3, "they come in %d pieces" % len(pieces)

    # ------------------------------------------------------------------------------------------------- what records do

    def test_updates_changes_and_removals(self) -> None:
        with self.first_life() as store:
            store.write([_job(number) for number in range(1, 6)], 5)
            behind = place_of(5) + 1
            store.write([UpdateRecord(UPDATE, b"H:x:1", DELAYED, 2, 33.5, b"lost", behind),
                         UpdateRecord(UPDATE, b"H:x:2", SET_ASIDE, 7, 0.0, _ALL_BYTES, 0),
                         ChangeRecord(CHANGE, b"H:x:3", "workload", _ALL_BYTES), ChangeRecord(CHANGE, b"H:x:3", "priority", 2),
                         ChangeRecord(CHANGE, b"H:x:4", "schedule", b"* * * * *"), RemoveRecord(REMOVE, b"H:x:5")], 5)
            store.write([ChangeRecord(CHANGE, b"H:x:4", "schedule", None)], 5)
        self.check(_job(2, state=SET_ASIDE, attempts=7, error=_ALL_BYTES), _job(3, workload=_ALL_BYTES, priority=2), _job(4),
                   _job(1, state=DELAYED, attempts=2, due=33.5, error=b"lost", position=behind))

    def test_records_of_one_batch_are_carried_out_in_their_order(self) -> None:
        with self.first_life() as store:
            store.write([_job(1), RemoveRecord(REMOVE, b"H:x:1"), _job(2), ChangeRecord(CHANGE, b"H:x:2", "workload", b"1"),
                         _job(3), ChangeRecord(CHANGE, b"H:x:2", "workload", b"2"), _end(4), ForgetRecord(FORGET, b"H:x:4"),
                         RemoveRecord(REMOVE, b"H:x:5"), _job(5)], 5)
        self.check(_job(2, workload=b"2"), _job(3), _job(5))

    def test_many_records_in_one_batch(self) -> None:
        records = [_job(number) for number in range(1, 2501)]
        with self.first_life() as store:
            store.write(records, 2500)
            store.write([RemoveRecord(REMOVE, record.handle) for record in records[:2400]], 2500)
        self.check(*records[2400:])

    def test_to_carry_out_a_batch_once_more_does_no_harm(self) -> None:
        batch = [_job(1), _job(2), UpdateRecord(UPDATE, b"H:x:1", SET_ASIDE, 1, 0.0, b"e", 0), RemoveRecord(REMOVE, b"H:x:2"),
                 _end(2), _end(3), ForgetRecord(FORGET, b"H:x:3")]
        with self.first_life() as store:
            store.write(batch, 3)
        for _ in range(2):
            with self.life() as store:
                store.write(batch, 3)
                store.write(batch, 3)
            self.check(_end(2), _job(1, state=SET_ASIDE, attempts=1, error=b"e"))

    def test_what_comes_last_takes_the_place_of_what_was_there(self) -> None:
        with self.first_life() as store:
            store.write([_job(1), _job(1, workload=b"second"), _end(2), _end(2, END_FAILED, text=b"second")], 2)
            store.write([_job(1, workload=b"third")], 2)
        self.check(_end(2, END_FAILED, text=b"second"), _job(1, workload=b"third"))

    def test_what_is_about_nothing_does_nothing(self) -> None:
        with self.first_life() as store:
            store.write([RemoveRecord(REMOVE, b"H:x:9"), ChangeRecord(CHANGE, b"H:x:9", "priority", 0),
                         UpdateRecord(UPDATE, b"H:x:9", WAITING, 1, 0.0, b"", 0), ForgetRecord(FORGET, b"H:x:9")], 9)
        self.check()

    # ------------------------------------------------------------------------------------------------------------ crashes

    def test_what_was_written_survives_a_crash_of_the_server_flushed_or_not(self) -> None:
        with self.first_life() as store:
            store.write([_job(1)], 1)
            store.write([_job(2)], 2, False)
            store.write([RemoveRecord(REMOVE, b"H:x:1")], 2, flush=False)
        self.check(_job(2))

    def test_of_a_batch_that_breaks_off_nothing_is_there(self) -> None:
        def breaks_off() -> "Iterator[Record]":
            for number in range(3, 503):
                yield _job(number)
            yield RemoveRecord(REMOVE, b"H:x:1")
            raise RuntimeError("a fault of the server")
        with self.first_life() as store:
            store.write([_job(1), _job(2)], 2)
            try:
                store.write(breaks_off(), 502)
            except RuntimeError:
                store.drop_connection()
            else:
                raise AssertionError("the batch has been written")
            if store.usable:
                store.write([_job(600)], 600)
            else:
                for _ in store.renew([_job(1), _job(2), _job(600)], 600):
                    continue
        self.check(_job(1), _job(2), _job(600))

    def test_a_store_that_was_closed_has_all_and_may_be_opened(self) -> None:
        with self.first_life() as store:
            store.write([_job(1), _end(2)], 7, flush=False)
            store.close(7)
            store.abandon()
        with self.life() as store:
            _agree(_read_all(store), [_end(2), _job(1)])
            assert store.number >= 7, store.number

    # ----------------------------------------------------------------------------------------------------- handles

    def test_handles_never_repeat(self) -> None:
        with self.first_life() as store:
            first, reserved = store.number, store.reserved
            assert reserved > first, (first, reserved)
        with self.life() as store:  # nothing was written, but these numbers may have been given out
            assert store.number >= reserved and store.reserved > store.number, (reserved, store.number, store.reserved)

    def test_more_handles_are_reserved_when_half_of_them_are_used_up(self) -> None:
        with self.first_life() as store:
            number = store.reserved - HANDLE_BLOCK // 2
            assert not store.wants(number) and store.wants(number + 1)
            store.write([], number + 1, flush=False)
            assert not store.wants(number + 1) and store.reserved > number + 1
            reserved = store.reserved
        with self.life() as store:
            assert store.number >= reserved, (reserved, store.number)

    def test_handles_go_on_after_those_of_the_jobs_that_are_there(self) -> None:
        with self.first_life() as store:
            store.write([_job(10 * HANDLE_BLOCK)], 5)
            store.close(5)
        with self.life() as store:
            assert store.number >= 10 * HANDLE_BLOCK, store.number
            store.replace([], 0)

    # ------------------------------------------------------------------------------------- replaced, and written anew

    def test_replacing_keeps_nothing_but_what_it_is_told(self) -> None:
        with self.first_life() as store:
            store.write([_job(1), _job(2), _end(3)], 3)
            store.replace([_job(2, workload=b"new"), _end(4)], 4)
        with self.life() as store:
            _agree(_read_all(store), [_end(4), _job(2, workload=b"new")])
            store.replace([], 4)
        self.check()

    def test_a_replacement_that_breaks_off_changes_nothing(self) -> None:
        def breaks_off() -> "Iterator[Record]":
            yield _job(5)
            raise RuntimeError("a fault of the server")
        with self.first_life() as store:
            store.write([_job(1), _end(2)], 2)
            try:
                store.replace(breaks_off(), 5)
            except RuntimeError:
                store.drop_connection()
            else:
                raise AssertionError("it has been replaced")
        self.check(_end(2), _job(1))

    def test_what_is_written_anew_takes_the_place_of_the_old_at_the_end(self) -> None:
        if type(self.make_store()).begin_anew is Store.begin_anew:
            return  # this store is never written anew
        with self.first_life() as store:
            store.write([_job(1), _end(2)], 2)
            store.begin_anew(9, False)
            store.add_anew([_job(3), _job(4)])
            store.add_anew([_end(5)])
        with self.life() as store:
            _agree(_read_all(store), [_end(2), _job(1)])
            store.begin_anew(9, False)
            store.add_anew([_job(3), _job(4)])
            store.add_anew([_end(5), _standing("pause", b"f")])
            store.end_anew()
            assert store.usable and not store.is_whole
            store.write([_job(6)], 9)
        with self.life() as store:
            _agree(_read_all(store), [_standing("pause", b"f"), _end(5), _job(3), _job(4), _job(6)])
            assert store.number >= 9, store.number
            for _ in store.renew([], 9):
                continue
        self.check()

    # ---------------------------------------------------------------------------------------------- who has the store

    def test_one_server_at_a_time_has_the_store(self) -> None:
        with self.first_life() as store:
            store.write([_job(1)], 1)
            for name in ("take", "open"):
                other = self.make_store()
                try:
                    other.open(b"H:y", _WALL) if name == "open" else other.take()
                except StoreInUse as error:
                    assert "\n" not in str(error), error
                else:
                    raise AssertionError("another server has it, too")
                finally:
                    other.abandon()
            store.write([_job(2)], 2)
            store.close(2)
            self.check(_job(1), _job(2))

    def test_a_store_that_was_taken_can_be_opened(self) -> None:
        store = self.make_store()
        try:
            store.take()
            store.take()
            store.open(b"H:x", _WALL)
            store.replace([_job(1)], 1)
        finally:
            store.abandon()
        self.check(_job(1))

    def test_a_store_that_is_not_open_can_be_abandoned_and_interrupted(self) -> None:
        store = self.make_store()
        store.abandon()
        store.abandon()
        with self.first_life() as store:
            store.interrupt()
            store.interrupt()
            store.write([_job(1)], 1)
        self.check(_job(1))

    def test_one_thread_opens_another_writes(self) -> None:
        store = self.make_store()
        failures = []  # type: List[BaseException]

        def do(function: "Any", *arguments: "Any") -> None:
            def carry_out() -> None:
                try:
                    function(*arguments)
                except BaseException as error:
                    failures.append(error)
            thread = threading.Thread(target=carry_out)
            thread.start()
            thread.join()
            assert not failures, failures
        try:
            do(store.open, b"H:x", _WALL)
            do(store.replace, [_job(1)], 1)
            store.be_patient(1.0)
            do(store.write, [_job(2)], 2)
            do(store.close, 2)
        finally:
            store.abandon()
        self.check(_job(1), _job(2))

    def test_it_has_room_and_shows_what_it_is(self) -> None:
        with self.first_life() as store:
            store.write([_job(1)], 1)
            store.prove_room(100000)
            assert store.usable and not store.uncertain and not store.is_whole
            assert store.durability == "every", store.durability
            assert store.name and "\n" not in store.name + repr(store), (store.name, repr(store))
        self.check(_job(1))


def _job(number: int, **properties: "Any") -> AddRecord:
    """A record that adds a job."""
    record = AddRecord(ADD, b"H:x:%d" % number, b"f", b"", b"w", None, 1, 0.0, 0, WAITING, b"", None, _WALL, place_of(number))
    return record._replace(**properties)


def _end(number: int, outcome: str = END_COMPLETED, ended: float = 5.0, text: bytes = b"", data: "Any" = b"",
         result: "Any" = b"") -> KeepRecord:
    """A record that keeps how a job ended."""
    return KeepRecord(KEEP, b"H:x:%d" % number, b"f", b"u", outcome, ended, 1.5, 2.25, 1, text, data, result)


def _standing(name: str, function: bytes = b"", value: "Any" = b"") -> OrderRecord:
    """A record of an order that stands, or does no longer."""
    return OrderRecord(ORDER, b"", name, function, value)


def _in_order(jobs: "Iterable[AddRecord]") -> "List[AddRecord]":
    """The order in which `load_records` has them."""
    def place(job: AddRecord) -> "Tuple[Any, ...]":
        return (2 if job.state == HELD else 1 if job.state == DELAYED else 0, job.due if job.state == DELAYED else 0.0,
                job.position)
    return sorted(jobs, key=place)


def _read_all(store: Store) -> "List[Record]":
    """All that is in the store."""
    return [record for some in store.load_records() for record in some]


def _agree(found: "Any", wanted: "Any") -> None:
    """Raise AssertionError if they are not equal."""
    if found != wanted:
        if isinstance(found, list) and isinstance(wanted, list):
            pairs = [(one, other) for one, other in zip(found, wanted) if one != other] + [(len(found), len(wanted))]
            found, wanted = pairs[0]
        raise AssertionError("%.2000r instead of %.2000r" % (found, wanted))

"""A store in a real database: what it keeps, whose it is, what it does when the connection breaks, and starts in vain."""
import itertools
import select
import socket
import socketserver
import threading
import time
from importlib import import_module

import pytest

from databases import INSTALLED, Breaking
from gearman_std import HIGH
from gearman_std.client.client import Client
from gearman_std.core.jobs import DELAYED, HANDLE_BLOCK, HELD, SET_ASIDE, WAITING
from gearman_std.core.ledger import (ADD, CHANGE, FORGET, KEEP, ORDER, REMOVE, UPDATE, AddRecord, ChangeRecord, ForgetRecord,
                                     KeepRecord, OrderRecord, RemoveRecord, UpdateRecord)
from gearman_std.core.statistics import END_FAILED
from gearman_std.errors import Deposed, StoreError, StoreInUse
from gearman_std.store.contract import StoreContract
from gearman_std.store.database import LARGEST_PROOF, RECONNECT_TIME, DatabaseStore
from patience import until
from programs import free_port

pytestmark = pytest.mark.long

BYTES = bytes(range(256))


def add(number, **fields):
    return AddRecord(ADD, b"H:x:%d" % number, b"f", b"", b"w", None, 1, 0.0, 0, WAITING, b"", None, 5.25,
                     number)._replace(**fields)


def keep(number, **fields):
    return KeepRecord(KEEP, b"H:x:%d" % number, b"f", b"u", END_FAILED, 6.25, 1.5, 2.5, 1, b"why", None,
                      None)._replace(**fields)


class Home:
    """Stores of one database, which are closed with the test."""

    def __init__(self, place):
        self.place = place
        self.run, self.rows = place.run, place.rows
        self._stores = []
        self.now = 0.0

    def store(self, name="a", database=None, **options):
        store = DatabaseStore(database or self.place.database(), self.place.dialect, name, clock=self.clock, sleep=self.sleep,
                              **options)
        self._stores.append(store)
        return store

    def opened(self, name="a", database=None, **options):
        store = self.store(name, database, **options)
        store.open(b"H:x", 9.0)
        return store

    def breaking(self):
        return Breaking(self.place.database())

    def our_tables(self):
        return sorted(name for name, in self.rows(
            "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'gearman_std%'"))

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def abandon(self, store):
        """Leave a store as a killed server does, and wait until the database knows: by the test's clock, that takes no time."""
        there = self.place.dialect.has_backend.format(store._backend, *store._lock_numbers)
        store.abandon()
        until(lambda: not self.rows(there))

    def close(self):
        for store in self._stores:
            store.abandon()


def opened_home(place):
    home = Home(place)
    yield home
    home.close()


@pytest.fixture(params=sorted(INSTALLED))
def home(request, database_place):
    yield from opened_home(database_place(request.param))


@pytest.fixture(params=[(kind, driver) for kind, drivers in sorted(INSTALLED.items()) for driver in drivers],
                ids=lambda pair: pair[1])
def each_home(request, database_place):
    """By each driver that is installed."""
    yield from opened_home(database_place(*request.param))


@pytest.fixture
def postgres_home(database_place):
    yield from opened_home(database_place("postgres"))


@pytest.fixture
def mysql_home(database_place):
    yield from opened_home(database_place("mysql"))


def mysql_error(*arguments):
    """What the driver raises."""
    return import_module(INSTALLED["mysql"][0]).OperationalError(*arguments)


def loaded(store):
    return list(itertools.chain.from_iterable(store.load_records()))


def again(home, store, name="a"):
    """What the next server of this name reads."""
    home.abandon(store)
    return loaded(home.opened(name))


# -------------------------------------------------------------------------------------------------------------- what it keeps

def test_what_is_written_is_read_by_the_next_server_byte_by_byte(each_home):
    store = each_home.opened()
    records = [add(1, function=BYTES, unique=BYTES, workload=BYTES * 9, reducer=BYTES, priority=2, attempts=3, error=BYTES,
                   schedule=b"* * * * *", created=1795737821.1398911, position=(1 << 62) + 1, due=1795737821.1398912,
                   state=DELAYED)]
    ends = [keep(7, function=BYTES, unique=BYTES, text=BYTES, data=BYTES, result=b"", ended=1795737821.1398911)]
    store.write(records + ends, 1)
    assert again(each_home, store) == ends + records


def test_all_kinds_of_records_are_carried_out(each_home):
    store = each_home.opened()
    store.write([add(number) for number in range(1, 6)] + [keep(8), keep(9)], 9)
    store.write([UpdateRecord(UPDATE, b"H:x:%d" % number, SET_ASIDE, 2, 7.5, b"why", 90 + number) for number in (1, 2)] + [
        ChangeRecord(CHANGE, b"H:x:3", "workload", BYTES), ChangeRecord(CHANGE, b"H:x:3", "priority", 0),
        ChangeRecord(CHANGE, b"H:x:4", "schedule", b"* * * * *"), RemoveRecord(REMOVE, b"H:x:5"),
        ForgetRecord(FORGET, b"H:x:8"), keep(9, text=b"other")], 9)
    # Once more, and about what is not there, they do no harm.
    store.write([RemoveRecord(REMOVE, b"H:x:5"), UpdateRecord(UPDATE, b"H:x:5", WAITING, 0, 0.0, b"", 1),
                 ChangeRecord(CHANGE, b"H:x:6", "priority", 0), add(4, schedule=b"* * * * *"),
                 ForgetRecord(FORGET, b"H:x:8")], 9)
    aside = {"state": SET_ASIDE, "attempts": 2, "due": 7.5, "error": b"why"}
    assert again(each_home, store) == [
        keep(9, text=b"other"), add(3, workload=BYTES, priority=0), add(4, schedule=b"* * * * *"),
        add(1, position=91, **aside), add(2, position=92, **aside)]


def test_jobs_are_read_in_the_order_in_which_they_are_restored(home):
    store = home.opened()
    jobs = [add(4, position=1), add(3, position=2, state=SET_ASIDE), add(1, position=3),
            add(9, state=DELAYED, due=5.0, position=9),
            add(8, state=DELAYED, due=6.0, position=7), add(7, state=DELAYED, due=6.0, position=8),
            add(6, state=HELD, position=1), add(2, state=HELD, position=5)]
    store.write(reversed(jobs), 9)
    assert again(home, store) == jobs


def test_more_jobs_than_are_read_at_once(home):
    store = home.opened()
    jobs = [add(number, workload=b"x" * (number % 7)) for number in range(1, 700)] + [
        add(number, workload=b"y" * 600000) for number in range(700, 704)]
    store.write(jobs, 703)
    home.abandon(store)
    store = home.opened()
    pieces = list(store.load_records())
    assert list(itertools.chain.from_iterable(pieces)) == jobs and len(pieces) == 6
    assert store.jobs_stored == store.jobs_read == 703


def test_servers_of_one_database_have_jobs_of_their_own(home):
    one, two = home.opened("a"), home.opened("bä c")
    one.write([add(1)], 1)
    two.write([add(2), keep(3)], 3)
    assert again(home, one, "a") == [add(1)] and again(home, two, "bä c") == [keep(3), add(2)]


def test_handles_go_on_after_the_last_one(home):
    store = home.opened()
    assert (store.number, store.reserved) == (0, HANDLE_BLOCK)
    store.write([], 5 * HANDLE_BLOCK)
    assert store.reserved == 6 * HANDLE_BLOCK and not store.wants(5 * HANDLE_BLOCK)
    home.abandon(store)
    store = home.opened()
    assert store.number == 6 * HANDLE_BLOCK
    store.close(store.number + 3)
    assert home.opened().number == 6 * HANDLE_BLOCK + 3


def test_replace_leaves_nothing_else_of_this_server(home):
    one, two = home.opened("a"), home.opened("b")
    one.write([add(1), keep(2)], 2)
    two.write([add(3)], 3)
    one.replace([add(4)], 4)
    assert again(home, one, "a") == [add(4)] and again(home, two, "b") == [add(3)]


def test_after_a_fault_of_ours_it_is_written_anew_and_until_that_is_done_the_old_remains(home):
    store = home.opened()
    store.write([add(1), keep(2)], 2)
    store.drop_connection()
    assert not store.usable and store.uncertain
    store.begin_anew(9, False)
    store.add_anew([add(3)])
    store.drop_connection()
    assert home.rows("SELECT handle FROM gearman_std_jobs") != []
    list(store.renew([add(4), keep(5)], 9))
    assert store.usable and again(home, store) == [keep(5), add(4)]


def test_what_has_to_be_flushed_is_and_what_has_not_is_written_all_the_same(home):
    store = home.opened()
    store.write([add(1)], 1, flush=False)
    store.prove_room(100000)
    assert again(home, store) == [add(1)]


# ----------------------------------------------------------------------------------------------------------- whose it is

def test_each_start_is_a_new_epoch_and_each_transaction_counts(home):
    store = home.opened()
    store.write([add(1)], 1)
    store.write([], 1)
    store.close(1)
    assert home.rows("SELECT name, epoch, batch, is_over, handles FROM gearman_std_servers") == [("a", 1, 4, 1, 1)]
    store = home.opened()
    assert store.epoch == 2
    (seen, started, now), = home.rows("SELECT seen, started, %s FROM gearman_std_servers" % home.place.dialect.clock)
    assert abs(seen - started) < 1 and 0 <= now - seen < 60


def test_a_second_server_of_the_same_name_is_refused_while_the_first_one_is_there(home):
    store = home.opened()
    with pytest.raises(StoreInUse) as caught:
        home.opened()
    assert "a server with the name a is using the database, or was 0 s ago: give this one another name (--server-name)" in str(
        caught.value)
    store.write([add(1)], 1)
    assert again(home, store) == [add(1)]


def test_a_start_waits_a_moment_for_the_connection_of_a_server_that_has_just_been_killed(home, monkeypatch):
    first = home.opened()
    second = home.store()

    def sleep(seconds):
        home.now += seconds
        if home.now > 0.5 and first.usable:
            home.abandon(first)
    monkeypatch.setattr(second, "_sleep", sleep)
    second.open(b"H:x", 9.0)
    assert second.epoch == 2 and 0.5 < home.now < 2


def test_one_that_seems_to_be_there_but_is_silent_for_long_is_not(home):
    store = home.opened()
    home.run("UPDATE gearman_std_servers SET seen = seen - 70")
    assert home.opened().epoch == 2
    with pytest.raises(Deposed):
        store.write([add(1)], 1)


def test_who_is_deposed_writes_nothing(each_home):
    store = each_home.opened()
    each_home.run("UPDATE gearman_std_servers SET epoch = epoch + 1")
    for _ in range(2):
        with pytest.raises(Deposed, match="another server has taken the jobs of a$"):
            store.write([add(1)], 1)
    assert each_home.rows("SELECT * FROM gearman_std_jobs") == []


def test_servers_that_have_nothing_are_forgotten_after_a_week_and_their_numbers_never_come_again(home):
    for name, records in (("gone", []), ("jobs", [add(1)]), ("ends", [keep(2)]), ("orders", [OrderRecord(
            ORDER, b"", "pause", b"f", b"")]), ("lately", []), ("old", [])):
        store = home.opened(name)
        for _ in range(3 if name == "old" else 0):
            home.abandon(store)
            store = home.opened(name)
        store.write(records, 50 if name == "gone" else 9)
        store.close(50 if name == "gone" else 9)

    def names():
        return [name for name, in home.rows("SELECT name FROM gearman_std_servers ORDER BY name")]
    home.run("UPDATE gearman_std_servers SET seen = seen - 604700")
    home.opened("a").close(9)
    assert len(names()) == 7
    home.run("UPDATE gearman_std_servers SET seen = seen - 200 WHERE name <> 'lately'")
    home.opened("a").close(9)
    assert names() == ["a", "ends", "jobs", "lately", "orders"]
    again = home.opened("gone")
    assert (again.epoch, again.number) == (5, 50), "as if it had been each of those"
    again.close(60)
    home.run("UPDATE gearman_std_servers SET seen = seen - 700000 WHERE name IN ('gone', 'lately')")
    home.opened("a").close(9)
    assert names() == ["a", "ends", "jobs", "orders"]
    assert home.rows("SELECT value FROM gearman_std_meta WHERE name = 'forgotten'") == [("5 60",)]


def test_one_that_is_forgotten_and_comes_back_to_life_is_deposed(home):
    store = home.opened("asleep")
    home.run("UPDATE gearman_std_servers SET seen = seen - 700000")
    home.opened("a")
    again = home.opened("asleep")
    with pytest.raises(Deposed):
        store.write([add(1)], 1)
    again.write([add(2)], 2)


@pytest.mark.parametrize("name", ["", "a'b", "one ", 'a"b', "a\\b", "a\nb", "x" * 256])
def test_a_name_that_cannot_be(home, name):
    with pytest.raises(ValueError, match="is no name for a server"):
        home.store(name)


# --------------------------------------------------------------------------------------------------- broken connections

@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("statement", ["BEGIN", "UPDATE gearman_std_servers", "INTO gearman_std_jobs", "COMMIT"])
def test_a_connection_that_breaks_is_made_again_and_all_is_written_once(home, when, statement):
    database = home.breaking()
    store = home.opened(database=database)
    store.write([add(1)], 1)
    database.breaks = [(when, statement)]
    store.write([add(2), RemoveRecord(REMOVE, b"H:x:1")], 2)
    assert not database.breaks and database.connections == 2 and not store.uncertain
    store.write([add(3)], 3)
    # 1: the start; 2, 3, 4: those three, whether the second was committed at the first attempt or not.
    assert home.rows("SELECT batch FROM gearman_std_servers") == [(4,)]
    assert again(home, store) == [add(2), add(3)]


@pytest.mark.parametrize("when", ["before", "after"])
def test_if_the_database_stays_away_it_is_uncertain_whether_the_last_was_committed_until_it_is_back(home, when):
    database = home.breaking()
    store = home.opened(database=database)
    database.breaks = [(when, "COMMIT")]
    database.away = OSError(111, "Connection refused")
    with pytest.raises(StoreError, match="Connection refused"):
        store.write([add(1)], 1)
    assert home.now >= RECONNECT_TIME and store.usable and store.uncertain
    database.away = None
    store.write([RemoveRecord(REMOVE, b"H:x:1"), add(2)], 2)
    assert not store.uncertain
    assert home.rows("SELECT batch FROM gearman_std_servers") == [(3 if when == "after" else 2,)]
    assert again(home, store) == [add(2)]


def test_a_connection_that_breaks_between_two_steps_of_a_start_is_made_again(home):
    """As MySQL ends one that is idle, and as any database does that is started again."""
    store = home.store(take_over=5.0)
    store.take()
    backend = str(store._connection.rows(home.place.dialect.backend)[0][0])
    home.run(home.place.dialect.end_backend.format(backend))
    store.open(b"H:x", 9.0)
    store.write([add(1)], 1)
    assert again(home, store) == [add(1)]


def test_of_a_connection_that_broke_nothing_is_left_open(each_home):
    """pg8000 would leave it to the garbage collector."""
    database = each_home.place.database()
    connection = database.connect()
    things = [thing for thing in (getattr(connection._connection, name, None) for name in ("_usock", "_sock"))
              if thing is not None]
    for thing in things:
        if hasattr(thing, "shutdown"):
            thing.shutdown(socket.SHUT_RDWR)
    try:
        connection.close()
    except database.errors as error:
        assert "network" in str(error)
    for thing in things:
        assert thing.fileno() == -1 if hasattr(thing, "shutdown") else thing.closed


def test_if_the_database_is_away_before_the_end_nothing_was_written_for_sure(home):
    database = home.breaking()
    store = home.opened(database=database)
    database.breaks = [("before", "BEGIN")]
    database.away = OSError(111, "Connection refused")
    with pytest.raises(StoreError):
        store.write([add(1)], 1)
    assert store.usable and not store.uncertain


def test_a_session_that_does_not_notice_that_its_connection_is_gone_is_ended(each_home):
    """It is in a transaction that has proved the epoch, and so holds the lock that the next one needs."""
    database = each_home.breaking()
    store = each_home.opened(database=database)
    hanging = store._connection
    store._connection = None
    hanging.run("BEGIN")
    hanging.run("UPDATE gearman_std_servers SET batch = batch + 1")
    store.write([add(1)], 1)
    assert each_home.rows("SELECT batch FROM gearman_std_servers") == [(2,)]
    with pytest.raises(database.errors):
        hanging.run("COMMIT")
    store._close(hanging)


def test_who_was_deposed_while_the_connection_was_gone_is_told(home):
    database = home.breaking()
    store = home.opened(database=database)
    database.breaks = [("before", "BEGIN")]
    home.run("UPDATE gearman_std_servers SET epoch = epoch + 1")
    with pytest.raises(Deposed):
        store.write([add(1)], 1)


def test_a_definite_refusal_is_told_at_once_and_nothing_is_stored(each_home):
    store = each_home.opened()
    each_home.run("ALTER TABLE gearman_std_jobs ADD CONSTRAINT small CHECK (octet_length(workload) < 10)")
    with pytest.raises(StoreError, match="small"):
        store.write([add(1), add(2, workload=b"x" * 10)], 2)
    assert each_home.now == 0.0 and store.usable and not store.uncertain
    store.write([add(3)], 3)
    assert again(each_home, store) == [add(3)]


def test_a_disk_that_is_full_is_told_at_once_and_harms_nothing(mysql_home):
    """What MariaDB says of a small row; the connection remains."""
    database = mysql_home.breaking()
    store = mysql_home.opened(database=database)
    database.error = mysql_error(1114, "The table 'gearman_std_jobs' is full")
    database.breaks = [("instead", "INTO gearman_std_jobs")] * 2
    with pytest.raises(StoreError, match="The table 'gearman_std_jobs' is full$"):
        store.write([add(1)], 1)
    with pytest.raises(StoreError, match="The table 'gearman_std_jobs' is full$"):
        store.prove_room(9)
    assert mysql_home.now == 0.0 and store.usable and not store.uncertain and database.connections == 1
    store.prove_room(9)
    store.write([add(2)], 2)
    assert again(mysql_home, store) == [add(2)]


@pytest.mark.parametrize("statement, lost", [("INTO gearman_std_jobs", True), ("COMMIT", False)])
def test_a_database_that_has_ended_itself_is_used_again_when_it_is_back(mysql_home, statement, lost):
    """As MariaDB does if the disk becomes full within a large row; with a binary log there, COMMIT waits, and then is lost."""
    database = mysql_home.breaking()
    store = mysql_home.opened(database=database)
    database.error = mysql_error(2013, "Lost connection to MySQL server during query")
    database.away = mysql_error(2003, "Can't connect to MySQL server on 'localhost' ([Errno 111])")
    database.breaks = [("before", statement)]
    with pytest.raises(StoreError, match="Can't connect to MySQL server"):
        store.write([add(1)], 1)
    assert store.usable and store.uncertain is not lost
    with pytest.raises(StoreError, match="Can't connect to MySQL server"):
        store.prove_room(9)
    database.away = None
    store.prove_room(9)
    assert not store.uncertain
    store.write([add(2)], 2)
    assert again(mysql_home, store) == [add(2)]


def test_large_jobs_do_not_fit_on_a_full_disk_and_looking_for_room_ends_nobody(small_place):
    """MariaDB would end itself if it had stored a part of a large row on the last of the disk."""
    home = Home(small_place("mysql"))
    try:
        store = home.opened()
        numbers = itertools.count(1)
        with pytest.raises(StoreError, match="is full"):
            while True:
                store.write([add(next(numbers), workload=b"w" * 2000) for _ in range(100)], 1)
        for size in (1 << 20, LARGEST_PROOF):
            with pytest.raises(StoreError, match="is full"):
                store.prove_room(size)
        assert home.place.server.lives()
        home.place.grow()
        store.prove_room(LARGEST_PROOF)
        store.write([add(next(numbers))], 1)
    finally:
        home.close()


def test_reading_goes_on_with_a_new_connection(each_home):
    store = each_home.opened()
    jobs = [add(number) for number in range(1, 600)]
    store.write(jobs, 600)
    each_home.abandon(store)
    database = each_home.breaking()
    store = each_home.opened(database=database)
    database.breaks = [("before", "SELECT handle, function")]
    assert loaded(store) == jobs


# ------------------------------------------------------------------------------------------------------ starts in vain

READ_ONLY = "can only be read, as a replica's; name the one that can be written$"


def test_a_postgres_that_can_only_be_read(postgres_home):
    home = postgres_home
    home.run("ALTER ROLE gearman SET default_transaction_read_only = on")
    try:
        with pytest.raises(StoreError, match=READ_ONLY):
            home.opened()
    finally:
        home.run("SET default_transaction_read_only = off", "ALTER ROLE gearman RESET default_transaction_read_only")
    assert home.our_tables() == []


def test_a_mysql_that_can_only_be_read(mysql_home):
    home = mysql_home
    home.run("SET GLOBAL read_only = 1")
    try:
        with pytest.raises(StoreError, match=READ_ONLY):
            home.opened()
    finally:
        home.run("SET GLOBAL read_only = 0")
    assert home.our_tables() == []


def test_the_schema_of_another_release(home):
    home.opened().close(1)
    home.run("UPDATE gearman_std_meta SET value = '99' WHERE name = 'version'")
    with pytest.raises(StoreError, match="have version 99 of the schema, this release knows 1: use the release that made them"):
        home.opened()
    assert home.rows("SELECT epoch FROM gearman_std_servers") == [(1,)]


@pytest.mark.parametrize("table, columns, reason", [
    ("gearman_std_jobs", "(id INTEGER)", "the table gearman_std_jobs is not ours, as it has no column attempts, created"),
    ("gearman_std_meta", "(name VARCHAR(9), value VARCHAR(9))", "gearman_std_meta are not ours, as gearman_std_meta does not")])
def test_a_table_of_somebody_elses(home, table, columns, reason):
    home.run("CREATE TABLE %s %s" % (table, columns))
    with pytest.raises(StoreError) as caught:
        home.opened()
    assert reason in str(caught.value) and home.our_tables() == [table]


def test_tables_that_were_not_all_made_are_made_at_the_next_start(home):
    home.opened().close(1)
    home.run("DROP TABLE gearman_std_results", "DROP TABLE gearman_std_jobs")
    home.opened().write([add(1), keep(2)], 2)


def guest_is_refused(home, *reasons, name=None):
    with pytest.raises(StoreError) as caught:
        home.opened(database=home.place.database(name, "guest"))
    assert any(reason in str(caught.value) for reason in reasons) and "\n" not in str(caught.value)


def test_rights_that_are_missing_in_postgres(postgres_home):
    home = postgres_home
    home.opened().close(1)
    home.run("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
    try:
        guest_is_refused(home, "permission denied for table gearman_std_jobs")
        home.run("DROP TABLE gearman_std_meta, gearman_std_servers, gearman_std_jobs, gearman_std_results, "
                 "gearman_std_orders",
                 "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        guest_is_refused(home, "permission denied for schema public")
    finally:
        home.run("DROP OWNED BY guest", "DROP ROLE guest")
    assert home.our_tables() == []


def test_rights_that_are_missing_in_mysql(mysql_home):
    home = mysql_home
    home.opened().close(1)
    home.run("DROP USER IF EXISTS guest@localhost", "CREATE USER guest@localhost IDENTIFIED BY ''",
             "GRANT SELECT ON jobs.* TO guest@localhost")
    try:
        guest_is_refused(home, "command denied to user 'guest'@'localhost' for table")
        home.run("DROP TABLE gearman_std_meta, gearman_std_servers, gearman_std_jobs, gearman_std_results, "
                 "gearman_std_orders")
        guest_is_refused(home, "command denied to user 'guest'@'localhost' for table")
    finally:
        home.run("DROP USER guest@localhost")
    assert home.our_tables() == []


def test_an_encoding_without_all_letters(home):
    if home.place.kind == "postgres":
        create = "CREATE DATABASE old ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    else:
        create = "CREATE DATABASE old CHARACTER SET latin1"
    home.run("DROP DATABASE IF EXISTS old", create)
    try:
        with pytest.raises(StoreError, match="(?i)the encoding of the database is latin1; make one whose encoding is utf8"):
            home.opened(database=home.place.database("old"))
    finally:
        home.run("DROP DATABASE old")


def test_a_row_that_makes_no_sense(home):
    store = home.opened()
    store.write([add(1)], 1)
    home.run("UPDATE gearman_std_jobs SET state = 'sleeping'")
    with pytest.raises(StoreError, match="the row of job H:x:1 makes no sense"):
        again(home, store)


def test_a_start_that_is_interrupted(each_home):
    store = each_home.store()
    connect = store._database.connect

    def interrupted():
        store.interrupt()
        return connect()
    store._database.connect = interrupted
    with pytest.raises(StoreError, match="interrupted"):
        store.open(b"H:x", 9.0)
    store._database.connect = connect
    store.open(b"H:x", 9.0)
    assert store.usable


def test_a_database_that_is_too_old_for_taking_over(each_home, monkeypatch):
    """It takes these words for a mistake, and is told of none without that option."""
    store = each_home.store(take_over=5.0)
    silent = store._statements.silent
    monkeypatch.setattr(store._statements, "silent", lambda *arguments: silent(*arguments).replace("SKIP LOCKED", "SKIP THEM"))
    with pytest.raises(StoreError, match="too old for --take-over, which needs PostgreSQL 9.5, MySQL 8.0 or MariaDB 10.6 at "
                                         "least: start without that option$"):
        store.open(b"H:x", 9.0)
    assert each_home.rows("SELECT * FROM gearman_std_servers") == []
    store.take_over = 0.0
    store.open(b"H:x", 9.0)


def test_a_database_that_is_not_there(home):
    with pytest.raises(StoreError, match="(?i)(does not exist|unknown database)"):
        home.opened(database=home.place.database("nowhere"))


# ------------------------------------------------------------------------------------------------------------ sizes

def test_the_largest_job_that_is_taken_can_be_written_and_read(mysql_home):
    home = mysql_home
    size = home.rows("SELECT @@max_allowed_packet")[0][0]
    store = home.opened()
    assert size // 3 < store.most_bytes < size // 2
    job = add(1, workload=b"\0\xff'\\" * (store.most_bytes // 4), function=b"")
    end = keep(2, data=b"d" * (store.most_bytes - 9), result=b"123456789")
    store.write([job, end, add(3)], 3)
    assert again(home, store) == [end, job, add(3)]


def test_room_is_looked_for_in_what_one_statement_can_have(mysql_home):
    store = mysql_home.opened()
    assert store.most_bytes < LARGEST_PROOF
    store.prove_room(4 * LARGEST_PROOF)
    store.write([add(1)], 1)


def test_servers_that_look_for_room_do_not_wait_for_each_other(home):
    one, two = home.opened("a"), home.opened("b" * 255)
    one._connection.run("BEGIN")
    for statement in one._statements.fill(9):
        one._connection.run(statement)
    two.prove_room(9)


# ------------------------------------------------------------------------------------------------- the jobs of a gearmand

def gearmands_table(home, name, when=True):
    data = "BYTEA" if home.place.kind == "postgres" else "LONGBLOB"
    home.run("CREATE TABLE %s (unique_key VARCHAR(64), function_name VARCHAR(255), priority INTEGER, data %s%s)" % (
        name, data, ", when_to_run INTEGER" if when else ""))


def test_the_jobs_of_a_gearmand_are_taken_over_once(home):
    gearmands_table(home, "queue")
    value = home.place.dialect.value
    home.run("INSERT INTO queue VALUES ('ü', 'resize', 0, %s, 0), ('b', 'later', 9, NULL, 77)" % (value % BYTES.hex()))
    store = home.opened(gearmand_table="queue")
    one, two = sorted(loaded(store), key=lambda job: job.due)
    assert one[1:9] == (b"H:x:1", b"resize", "ü".encode(), BYTES, None, 0, 0.0, 0) and one.state == WAITING
    assert two[1:9] == (b"H:x:2", b"later", b"b", b"", None, 1, 77.0, 0) and two.state == DELAYED
    assert store.number == 2 and store.reserved == 2 + HANDLE_BLOCK
    store.close(2)
    assert len(home.rows("SELECT priority FROM queue_imported")) == 2
    store = home.opened(gearmand_table="queue")
    assert len(loaded(store)) == 2
    store.close(2)
    gearmands_table(home, "queue", when=False)
    store = home.opened(gearmand_table="queue")
    assert len(loaded(store)) == 2 and home.rows("SELECT priority FROM queue_imported_too") == []


class Relay(socketserver.BaseRequestHandler):
    """From a port to the Unix socket of its `path`, for a program that knows no other way to a database than a port."""

    path = ""

    def handle(self):
        with socket.socket(socket.AF_UNIX) as there:
            there.connect(self.path)
            ways = {self.request: there, there: self.request}
            while True:
                for source in select.select(list(ways), [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    ways[source].sendall(data)


@pytest.mark.interop
def test_the_jobs_that_a_gearmand_has_stored_are_taken_over(home, require, module_processes, tmp_path):
    """By its own queue in the same database."""
    place, port = home.place, free_port()
    relay = socketserver.ThreadingTCPServer(("127.0.0.1", 0), type("_", (Relay,), {"path": place.server.socket}))
    relay.daemon_threads = True
    threading.Thread(target=relay.serve_forever, daemon=True).start()
    if place.kind == "postgres":
        words = ["-q", "Postgres"] + place.options()[2:] + ["--libpq-table", "old"]
    else:
        words = ["-q", "MySQL", "--mysql-host", "127.0.0.1", "--mysql-port", str(relay.server_address[1]), "--mysql-user",
                 "root", "--mysql-db", place.name, "--mysql-table", "old"]
    gearmand = module_processes.start_server([require("gearmand"), "-p", str(port), "-L", "127.0.0.1", "-l", "none",
                                              "-P", str(tmp_path / "pid")] + words, port)
    with Client("127.0.0.1:%d" % port) as client:
        client.submit("resize", BYTES, unique="ü", background=True, priority=HIGH)
        client.submit("later", b"", unique="b", background=True, delay=3600)
    gearmand.kill()
    gearmand.wait()
    relay.shutdown()
    relay.server_close()
    store = home.opened(gearmand_table="old")
    one, two = sorted(loaded(store), key=lambda job: job.due)
    assert one[1:9] == (b"H:x:1", b"resize", "ü".encode(), BYTES, None, 0, 0.0, 0) and one.state == WAITING
    assert two[1:7] == (b"H:x:2", b"later", b"b", b"", None, 1) and two.state == DELAYED
    assert abs(two.due - time.time() - 3600) < 300


def test_what_is_no_table_of_a_gearmand(home):
    with pytest.raises(StoreError, match="there is no table queue to import$"):
        home.opened(gearmand_table="queue")
    home.run("CREATE TABLE queue (unique_key VARCHAR(64), data INTEGER)")
    with pytest.raises(StoreError, match="the table queue is not gearmand's: it has no column function_name, priority$"):
        home.opened(gearmand_table="queue")
    with pytest.raises(ValueError, match="is no name of a table"):
        home.store(gearmand_table="queue; DROP TABLE x")


# --------------------------------------------------------------------------------------------------------- the contract

class DatabaseContract(StoreContract):
    """What every store must do, of one in a database."""

    kind = ""

    @pytest.fixture(autouse=True)
    def in_place(self, database_place):
        self.place = database_place(self.kind)

    def make_store(self):
        return DatabaseStore(self.place.database(), self.place.dialect, "a")


class TestPostgres(DatabaseContract):
    kind = "postgres"


class TestMysql(DatabaseContract):
    kind = "mysql"

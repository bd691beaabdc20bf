"""A store in a real database: what it keeps, whose it is, what it does when the connection breaks, and starts in vain."""
import itertools

import pytest

from databases import Breaking
from gearman_std.core.jobs import DELAYED, HANDLE_BLOCK, HELD, SET_ASIDE, WAITING
from gearman_std.core.ledger import (ADD, CHANGE, FORGET, KEEP, REMOVE, UPDATE, AddRecord, ChangeRecord, ForgetRecord,
                                     KeepRecord, RemoveRecord, UpdateRecord)
from gearman_std.core.statistics import END_FAILED
from gearman_std.errors import Deposed, StoreError, StoreInUse
from gearman_std.store.database import RECONNECT_TIME, DatabaseStore
from gearman_std.store.dialects import POSTGRES

BYTES = bytes(range(256))


def add(number, **fields):
    return AddRecord(ADD, b"H:x:%d" % number, b"f", b"", b"w", None, 1, 0.0, 0, WAITING, b"", None, 5.25,
                     number)._replace(**fields)


def keep(number, **fields):
    return KeepRecord(KEEP, b"H:x:%d" % number, b"f", b"u", END_FAILED, 6.25, 1.5, 2.5, 1, b"why", None,
                      None)._replace(**fields)


class Home:
    """Stores of one database, which are closed with the test."""

    def __init__(self, make_database):
        self._make_database = make_database
        self._stores = []
        self.now = 0.0
        self.database = make_database()

    def store(self, name="a", database=None, **options):
        store = DatabaseStore(database or self._make_database(), POSTGRES, name, clock=self.clock, sleep=self.sleep, **options)
        self._stores.append(store)
        return store

    def opened(self, name="a", database=None, **options):
        store = self.store(name, database, **options)
        store.open(b"H:x", 9.0)
        return store

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def run(self, *statements):
        connection = self.database.connect()
        try:
            for statement in statements:
                connection.run(statement)
        finally:
            connection.close()

    def rows(self, query):
        connection = self.database.connect()
        try:
            return list(map(tuple, connection.rows(query)))
        finally:
            connection.close()

    def close(self):
        for store in self._stores:
            store.abandon()


@pytest.fixture
def home(postgres):
    home = Home(postgres)
    yield home
    home.close()


def loaded(store):
    return list(itertools.chain.from_iterable(store.load_records()))


def again(home, store, name="a"):
    """What the next server of this name reads."""
    store.abandon()
    return loaded(home.opened(name))


# -------------------------------------------------------------------------------------------------------------- what it keeps

def test_what_is_written_is_read_by_the_next_server_byte_by_byte(home):
    store = home.opened()
    records = [add(1, function=BYTES, unique=BYTES, workload=BYTES * 9, reducer=BYTES, priority=2, attempts=3, error=BYTES,
                   schedule=b"* * * * *", created=1795737821.1398911, position=(1 << 62) + 1, due=1795737821.1398912,
                   state=DELAYED)]
    ends = [keep(7, function=BYTES, unique=BYTES, text=BYTES, data=BYTES, result=b"", ended=1795737821.1398911)]
    store.write(records + ends, 1)
    assert again(home, store) == ends + records


def test_all_kinds_of_records_are_carried_out(home):
    store = home.opened()
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
    assert again(home, store) == [
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
    store.abandon()
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
    store.abandon()
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
    (seen, started, now), = home.rows("SELECT seen, started, %s FROM gearman_std_servers" % POSTGRES.clock)
    assert abs(seen - started) < 1 and 0 <= now - seen < 60


def test_a_second_server_of_the_same_name_is_refused_while_the_first_one_is_there(home):
    store = home.opened()
    with pytest.raises(StoreInUse) as caught:
        home.opened()
    assert "a server with the name a is using the database, or was 0 s ago: give this one another name (--server-name)" in str(
        caught.value)
    store.write([add(1)], 1)
    assert again(home, store) == [add(1)]


def test_one_that_seems_to_be_there_but_is_silent_for_long_is_not(home):
    store = home.opened()
    home.run("UPDATE gearman_std_servers SET seen = seen - 70")
    assert home.opened().epoch == 2
    with pytest.raises(Deposed):
        store.write([add(1)], 1)


def test_who_is_deposed_writes_nothing(home):
    store = home.opened()
    home.run("UPDATE gearman_std_servers SET epoch = epoch + 1")
    for _ in range(2):
        with pytest.raises(Deposed, match="another server has taken the jobs of a$"):
            store.write([add(1)], 1)
    assert home.rows("SELECT * FROM gearman_std_jobs") == []


@pytest.mark.parametrize("name", ["", "a'b", 'a"b', "a\\b", "a\nb", "x" * 256])
def test_a_name_that_cannot_be(home, name):
    with pytest.raises(ValueError, match="is no name for a server"):
        home.store(name)


# --------------------------------------------------------------------------------------------------- broken connections

@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("statement", ["BEGIN", "UPDATE gearman_std_servers", "INSERT INTO gearman_std_jobs", "COMMIT"])
def test_a_connection_that_breaks_is_made_again_and_all_is_written_once(home, when, statement):
    database = Breaking(home.database)
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
    database = Breaking(home.database)
    store = home.opened(database=database)
    database.breaks = [(when, "COMMIT")]
    database.away = True
    with pytest.raises(StoreError, match="Connection refused"):
        store.write([add(1)], 1)
    assert home.now >= RECONNECT_TIME and store.usable and store.uncertain
    database.away = False
    store.write([RemoveRecord(REMOVE, b"H:x:1"), add(2)], 2)
    assert not store.uncertain
    assert home.rows("SELECT batch FROM gearman_std_servers") == [(3 if when == "after" else 2,)]
    assert again(home, store) == [add(2)]


def test_if_the_database_is_away_before_the_end_nothing_was_written_for_sure(home):
    database = Breaking(home.database)
    store = home.opened(database=database)
    database.breaks = [("before", "BEGIN")]
    database.away = True
    with pytest.raises(StoreError):
        store.write([add(1)], 1)
    assert store.usable and not store.uncertain


def test_a_session_that_does_not_notice_that_its_connection_is_gone_is_ended(home):
    """It is in a transaction that has proved the epoch, and so holds the lock that the next one needs."""
    database = Breaking(home.database)
    store = home.opened(database=database)
    hanging = store._connection
    store._connection = None
    hanging.run("BEGIN")
    hanging.run("UPDATE gearman_std_servers SET batch = batch + 1")
    store.write([add(1)], 1)
    assert home.rows("SELECT batch FROM gearman_std_servers") == [(2,)]
    with pytest.raises(database.errors):
        hanging.run("COMMIT")
    store._close(hanging)


def test_who_was_deposed_while_the_connection_was_gone_is_told(home):
    database = Breaking(home.database)
    store = home.opened(database=database)
    database.breaks = [("before", "BEGIN")]
    home.run("UPDATE gearman_std_servers SET epoch = epoch + 1")
    with pytest.raises(Deposed):
        store.write([add(1)], 1)


def test_a_definite_refusal_is_told_at_once_and_nothing_is_stored(home):
    store = home.opened()
    home.run("ALTER TABLE gearman_std_jobs ADD CONSTRAINT small CHECK (octet_length(workload) < 10)")
    with pytest.raises(StoreError, match="small"):
        store.write([add(1), add(2, workload=b"x" * 10)], 2)
    assert home.now == 0.0 and store.usable and not store.uncertain
    store.write([add(3)], 3)
    assert again(home, store) == [add(3)]


def test_reading_goes_on_with_a_new_connection(home):
    store = home.opened()
    jobs = [add(number) for number in range(1, 600)]
    store.write(jobs, 600)
    store.abandon()
    database = Breaking(home.database)
    store = home.opened(database=database)
    database.breaks = [("before", "SELECT handle, function")]
    assert loaded(store) == jobs


# ------------------------------------------------------------------------------------------------------ starts in vain

def test_a_database_that_can_only_be_read(home):
    home.run("ALTER ROLE gearman SET default_transaction_read_only = on")
    try:
        with pytest.raises(StoreError, match="can only be read, as a replica's; name the one that can be written$"):
            home.opened()
    finally:
        connection = home.database.connect()
        connection.run("SET default_transaction_read_only = off")
        connection.run("ALTER ROLE gearman RESET default_transaction_read_only")
        connection.close()
    assert home.rows("SELECT 1 FROM pg_tables WHERE tablename LIKE 'gearman%'") == []


def test_the_schema_of_another_release(home):
    home.opened().close(1)
    home.run("UPDATE gearman_std_meta SET value = '99' WHERE name = 'version'")
    with pytest.raises(StoreError, match="have version 99 of the schema, this release knows 1: use the release that made them"):
        home.opened()
    assert home.rows("SELECT epoch FROM gearman_std_servers") == [(1,)]


@pytest.mark.parametrize("table, reason", [
    ("gearman_std_jobs (id INTEGER)", "the table gearman_std_jobs is not ours, as it has no column attempts, created"),
    ("gearman_std_meta (name TEXT, value TEXT)", "tables gearman_std_meta are not ours, as gearman_std_meta does not say so")])
def test_a_table_of_somebody_elses(home, table, reason):
    home.run("CREATE TABLE " + table)
    with pytest.raises(StoreError) as caught:
        home.opened()
    assert reason in str(caught.value)
    assert len(home.rows("SELECT 1 FROM pg_tables WHERE tablename LIKE 'gearman%'")) == 1


def test_names_are_right_but_rights_are_missing(home, postgres):
    home.opened().close(1)
    home.run("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
    try:
        with pytest.raises(StoreError, match="permission denied for table gearman_std_jobs") as caught:
            home.opened(database=postgres(user="guest"))
        assert "\n" not in str(caught.value)
        home.run("DROP TABLE gearman_std_meta, gearman_std_servers, gearman_std_jobs, gearman_std_results",
                 "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        with pytest.raises(StoreError, match="permission denied for schema public"):
            home.opened(database=postgres(user="guest"))
    finally:
        home.run("DROP OWNED BY guest", "DROP ROLE guest")


def test_an_encoding_without_all_letters(home, postgres):
    home.run("DROP DATABASE IF EXISTS old", "CREATE DATABASE old ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(StoreError, match="the encoding of the database is LATIN1; make one whose encoding is utf8"):
            home.opened(database=postgres("old"))
    finally:
        home.run("DROP DATABASE old")


def test_a_row_that_makes_no_sense(home):
    store = home.opened()
    store.write([add(1)], 1)
    home.run("UPDATE gearman_std_jobs SET state = 'sleeping'")
    with pytest.raises(StoreError, match="the row of job H:x:1 makes no sense"):
        again(home, store)


def test_a_start_that_is_interrupted(home):
    store = home.store()
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

"""Servers of one real database: who lives, whose jobs are taken over, and that nothing is written after an epoch's end."""
import threading
import time

import pytest

from databases import INSTALLED, Breaking
from gearman_std.core.jobs import DELAYED, HELD, SET_ASIDE, WAITING
from gearman_std.core.ledger import ADD, KEEP, ORDER, AddRecord, KeepRecord, OrderRecord, RemoveRecord
from gearman_std.core.statistics import END_FAILED
from gearman_std.errors import Deposed, StoreError, StoreInUse
from gearman_std.store import rows as rows_module
from gearman_std.store.database import DatabaseStore
from patience import until

pytestmark = pytest.mark.long

AFTER = 50.0  # seconds, which the tests have pass in the database alone


@pytest.fixture(params=sorted(INSTALLED))
def home(request, database_place):
    return database_place(request.param)


@pytest.fixture
def silence(home):
    """silence(name) has a server be silent for longer than AFTER."""
    return lambda name: home.run("UPDATE gearman_std_servers SET seen = seen - 51 WHERE name = '%s'" % name)


@pytest.fixture
def opened(home):
    """opened(name, …) is a store of that name, which is open."""
    stores = []

    def opened(name, take_over=AFTER, database=None, **options):
        store = DatabaseStore(database or home.database(), home.dialect, name, take_over=take_over, **options)
        stores.append(store)
        store.open(b"H:" + name.encode(), 9.0)
        return store
    yield opened
    for store in stores:
        store.abandon()


def add(number, state=WAITING, due=0.0, position=0, workload=b"w"):
    return AddRecord(ADD, b"H:x:%d" % number, b"f", b"u", workload, None, 1, due, 0, state, b"", None, 5.25,
                     position or number)


def all_of(store):
    found = []
    while True:
        some = store.read_adopted()
        if not some:
            return found
        found.append([record.handle for record in some])


class Unanswered:
    """A store called one whose database goes away with the answer to the COMMIT of an adoption of two, and comes back when it
    is told to; `was_done` says whether that was committed."""

    def __init__(self, home, opened, silence, was_done):
        self.database = Breaking(home.database())
        self.now = 0.0
        self.store = opened("one", database=self.database, clock=lambda: self.now, sleep=self._sleep)
        self.two = opened("two")
        self.two.write([add(number) for number in (1, 2)], 2)
        silence("two")
        self.database.breaks = [("after" if was_done else "before", "COMMIT")]
        self.database.away = OSError(111, "Connection refused")
        with pytest.raises(StoreError, match="Connection refused"):
            self.store.adopt("two", 1)
        assert self.store.uncertain and self.store.read_adopted() == []
        self.database.away = None

    def _sleep(self, seconds):
        self.now += seconds


def seen(store, name):
    return next(server for server in store.look_around() if server.name == name)


def test_who_lives_and_how_long_the_others_have_been_silent(opened, silence):
    one, two = opened("one"), opened("two", 0.0)
    assert [server.name for server in one.look_around()] == ["one", "two"]
    assert seen(one, "one").silent < AFTER and seen(two, "one").take_over == AFTER and seen(one, "two").take_over == 0
    silence("two")
    assert seen(one, "two").silent >= 51 and not seen(one, "two").ended
    two.close(1)
    assert seen(one, "two").ended and not seen(one, "one").ended


def test_jobs_and_ends_are_taken_over_in_one_go_and_read_in_their_order(opened, silence, monkeypatch):
    monkeypatch.setattr(rows_module, "LOAD_ROWS", 3)
    one, two, three = opened("one"), opened("two"), opened("three")
    states = {1: (WAITING, 0.0, 70), 2: (HELD, 0.0, 10), 3: (DELAYED, 9.0, 20), 4: (SET_ASIDE, 0.0, 60), 5: (WAITING, 0.0, 50),
              6: (DELAYED, 8.0, 99), 7: (WAITING, 0.0, 90)}
    two.write([add(number, *state) for number, state in states.items()]
              + [KeepRecord(KEEP, b"H:x:8", b"f", b"", END_FAILED, 6.25, 1.5, 2.5, 1, b"why", None, None)], 9)
    three.write([add(9)], 9)
    one.write([add(10)], 10)
    silence("two")
    found = seen(one, "two")
    assert one.adopt("two", found.epoch)
    assert all_of(one) == [[b"H:x:8"], [b"H:x:5", b"H:x:4", b"H:x:1"], [b"H:x:7", b"H:x:6", b"H:x:3"], [b"H:x:2"]]
    found = seen(one, "two")
    assert (found.adopted_by, found.epoch) == ("one", 2) and 0 <= found.adopted_ago < 10
    one.write([RemoveRecord("remove", b"H:x:5")], 10)
    one.close(10)
    again = opened("one")
    assert again.jobs_stored == 7
    assert seen(again, "two").adopted_by == "one"
    three.close(9)
    assert opened("three").jobs_stored == 1


def order(name, function):
    return OrderRecord(ORDER, b"", name, function, b"1 2 3" if name == "maxqueue" else b"")


def test_of_functions_with_jobs_pauses_are_taken_over_first(opened, silence):
    one, two = opened("one"), opened("two")
    jobs = [add(1), add(2)._replace(function=b"g\0'"), add(3)._replace(function=b"both")]
    theirs = [order("pause", b"g\0'"), order("pause", b"both"), order("pause", b"without jobs"), order("maxqueue", b"f"),
              order("create", b"f"), order("drain", b"")]
    two.write(jobs + theirs, 9)
    one.write([order("pause", b"both"), order("create", b"f")], 9)
    silence("two")
    assert one.adopt("two", 1)
    assert one.read_adopted() == [order("pause", b"g\0'")] and all_of(one) == [[job.handle for job in jobs]]
    one.close(9)
    assert sorted(next(opened("one").load_records())) == sorted([
        order("create", b"f"), order("pause", b"both"), order("pause", b"g\0'")])
    assert sorted(next(opened("two").load_records())) == sorted(theirs), "they stand where they were given"


def test_rows_that_make_no_sense_are_left_and_told_of_and_all_others_are_taken_over(opened, home, silence, caplog):
    """Nor do they keep the heir from starting again."""
    one, two = opened("one"), opened("two")
    end = KeepRecord(KEEP, b"H:x:8", b"f", b"", END_FAILED, 6.25, 1.5, 2.5, 1, b"why", None, None)
    times = {5: b"* * * * *", 6: b"soon, and often", 7: b"* * 30 2 *", 10: b"\xff"}
    two.write([add(number) for number in range(1, 5)] + [add(number)._replace(schedule=text) for number, text in times.items()]
              + [end, end._replace(handle=b"H:x:9")], 10)
    home.run("UPDATE gearman_std_jobs SET state = 'sleeping' WHERE position = 2",
             "UPDATE gearman_std_jobs SET priority = 7 WHERE position = 3",
             "UPDATE gearman_std_results SET outcome = 'unclear' WHERE handle = " + home.dialect.value % b"H:x:9".hex())
    silence("two")
    assert one.adopt("two", 1)
    assert all_of(one) == [[b"H:x:8"], [b"H:x:1", b"H:x:4", b"H:x:5"]]
    said = [record.getMessage() for record in caplog.records if "no sense" in record.getMessage()]
    assert len(said) == 1
    assert ": 6 rows of the server two make no sense, and are left with it, such as that of job H:x:" in said[0]
    one.close(10)
    assert len(sum(opened("one").load_records(), [])) == 4
    two.abandon()
    assert opened("two").jobs_stored == 5, "nothing is lost"


def test_a_row_that_is_spoilt_or_gone_before_it_is_read_is_left(opened, home, silence, caplog, monkeypatch):
    monkeypatch.setattr(rows_module, "LOAD_ROWS", 2)
    one, two = opened("one"), opened("two")
    two.write([add(number) for number in range(1, 6)], 9)
    silence("two")
    assert one.adopt("two", 1)
    home.run("UPDATE gearman_std_jobs SET state = 'sleeping' WHERE position = 1",
             "DELETE FROM gearman_std_jobs WHERE position IN (3, 4)")
    assert all_of(one) == [[b"H:x:2"], [b"H:x:5"]]
    assert sum("the row of job H:x:1 makes no sense, and is left" in record.getMessage() for record in caplog.records) == 1


def test_one_that_is_deposed_writes_nothing_more(opened, silence):
    one, two = opened("one"), opened("two")
    two.write([add(1)], 1)
    silence("two")
    assert one.adopt("two", 1)
    for call in (lambda: two.write([add(2)], 2), two.look_around, lambda: two.prove_room(1), lambda: two.adopt("one", 1),
                 lambda: two.close(2), lambda: two.begin_anew(2, False)):
        with pytest.raises(Deposed):
            call()
    assert [handle for some in all_of(one) for handle in some] == [b"H:x:1"]
    again = opened("two")
    assert (again.epoch, again.jobs_stored) == (3, 0)


@pytest.mark.parametrize("what", ["heard of", "another epoch", "not willing", "unknown", "adopted"])
def test_who_is_not_taken_over(opened, silence, what):
    one, two = opened("one"), opened("two", 0.0 if what == "not willing" else AFTER)
    silence("two")
    if what == "heard of":
        two.look_around()
    elif what == "adopted":
        assert opened("three").adopt("two", 1)
    assert not one.adopt("nobody" if what == "unknown" else "two", 2 if what in ("another epoch", "adopted") else 1)
    assert one.read_adopted() == []
    one.look_around()


def test_of_many_that_try_at_once_one_takes_over(opened, silence):
    opened("gone").write([add(number) for number in range(1, 51)], 50)
    others = [opened("other %d" % number) for number in range(4)]
    silence("gone")
    outcomes = []

    def adopt(store):
        outcomes.append((store.adopt("gone", 1), len(sum(all_of(store), []))))
    threads = [threading.Thread(target=adopt, args=(store,)) for store in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [(False, 0)] * 3 + [(True, 50)]


def test_of_two_that_take_each_other_for_dead_one_remains_at_least(opened, silence):
    one, two = opened("one"), opened("two")
    one.write([add(1)], 1)
    two.write([add(2)], 2)
    silence("one")
    silence("two")
    outcomes = {}

    def adopt(store, name):
        try:
            outcomes[store.server] = store.adopt(name, 1)
        except Deposed:
            outcomes[store.server] = "deposed"
    threads = [threading.Thread(target=adopt, args=pair) for pair in ((one, "two"), (two, "one"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes.values())) in (["True", "deposed"], ["False", "True"], ["False", "False"])
    heir = two if outcomes["two"] is True else one
    assert sum(bool(server.adopted_by) for server in heir.look_around()) == (True in outcomes.values())


@pytest.mark.parametrize("was_done", [True, False])
@pytest.mark.parametrize("between", ["nothing", "a write", "a new beginning"])
def test_an_adoption_whose_answer_got_lost_for_long_is_told_when_asked_for_again(home, opened, silence, was_done, between):
    world = Unanswered(home, opened, silence, was_done)
    one = world.store
    if between == "a write":
        one.write([add(9)], 9)
    elif between == "a new beginning":
        one.drop_connection()
    assert one.adopt("two", 1) and one.uncertain == (between == "a new beginning")
    assert all_of(one) == [[b"H:x:1", b"H:x:2"]]
    if between == "a new beginning":
        for _ in one.renew([add(number) for number in (1, 2)], 9):
            continue
    assert not one.adopt("two", 1), "it is told once"
    one.close(9)
    assert opened("one").jobs_stored == (3 if between == "a write" else 2)


def test_one_that_was_heard_of_before_an_adoption_is_asked_for_again_is_left_alone(home, opened, silence):
    world = Unanswered(home, opened, silence, False)
    world.two.look_around()
    assert not world.store.adopt("two", 1) and not world.store.uncertain


def test_an_adoption_that_was_taken_back_is_done_anew(home, opened, silence):
    """It was refused for sure; that as many transactions have been committed since as if it had not does not matter."""
    one, two = opened("one"), opened("two")
    two.write([add(1)], 1)
    silence("two")
    adopt, statements = one._statements.adopt, ["SELECT nothing"]
    one._statements.adopt = lambda *arguments: adopt(*arguments) + statements
    with pytest.raises(StoreError, match="nothing"):
        one.adopt("two", 1)
    assert not one.uncertain
    one.write([add(9)], 9)
    statements.clear()
    assert seen(one, "two").silent > AFTER and one.adopt("two", 1)
    assert all_of(one) == [[b"H:x:1"]]


def test_one_that_stands_still_in_a_transaction_is_taken_over(opened):
    """Its connection lives, and has its row locked; the database ends that."""
    one, two = opened("one", 0.2), opened("two", 0.2)
    two.write([add(1)], 1)
    two._begin(two._connection, two._batch + 1, two.reserved, True)
    deadline = time.monotonic() + 20
    while not one.adopt("two", 1):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert all_of(one) == [[b"H:x:1"]]
    with pytest.raises(Deposed):
        two.write([add(2)], 2)


def test_a_start_that_takes_long_shows_that_it_lives(opened, silence, monkeypatch):
    monkeypatch.setattr(rows_module, "LOAD_ROWS", 1)
    store = opened("two")
    store.write([add(number) for number in range(1, 4)], 9)
    store.close(9)
    now = [0.0]
    two, one = opened("two", clock=lambda: now[0]), opened("one")
    for _ in two.load_records():
        assert not one.adopt("two", 2)
        silence("two")
        now[0] += AFTER
    assert one.adopt("two", 2), "it is silent now"


def test_a_transaction_that_takes_long_shows_at_its_end_that_the_server_lives(opened):
    now = [0.0]
    one, two = opened("one"), opened("two", clock=lambda: now[0])

    def work(connection):
        connection.run("UPDATE gearman_std_servers SET seen = seen - 51 WHERE name = 'two'")
        now[0] += AFTER
    two._transact(work, two.reserved, True)
    assert not one.adopt("two", 1)
    two.begin_anew(9, False)
    two.add_anew([add(1)])
    work(two._connection)
    two.end_anew()
    assert not one.adopt("two", 1) and seen(one, "two").silent < AFTER


def test_who_looks_for_room_for_long_lives(opened, home):
    """As where the way to the database is slow."""
    now = [0.0]
    one, two = opened("one"), opened("two", clock=lambda: now[0])
    prove, fill, outcomes = two._statements.prove, two._statements.fill, []
    two._statements.prove = lambda *arguments: prove(*arguments).replace(
        "seen = %s," % home.dialect.clock, "seen = %s - 51," % home.dialect.clock)

    def fill_slowly(size):
        now[0] += AFTER
        outcomes.append(one.adopt("two", 1))
        return fill(size)
    two._statements.fill = fill_slowly
    two.prove_room(1000)
    assert outcomes == [False] and not one.adopt("two", 1)
    assert home.rows("SELECT count(*) FROM gearman_std_jobs") == [(0,)]


def test_a_standby_waits_for_its_name(opened, home, silence):
    one = opened("one", 0.0)
    standby = DatabaseStore(home.database(), home.dialect, "one")
    with pytest.raises(StoreInUse, match="another server has the name one"):
        standby.take()
    silence("one")
    assert not _takes(standby), "its connection is there"
    one.abandon()
    until(lambda: _takes(standby))
    standby.open(b"H:one", 9.0)
    assert standby.epoch == 2
    standby.abandon()


@pytest.mark.parametrize("take_over, interval", [(0.0, 2.0), (5.0, 1.0), (AFTER, 2.0)])
def test_a_connection_that_broke_is_no_end_of_a_server_that_lives(opened, home, take_over, interval):
    """It connects again, though it may be a while before it has something to say."""
    one = opened("one", take_over)
    standby = DatabaseStore(home.database(), home.dialect, "one", take_over=take_over)
    one._disconnect()

    def wrote(ago):
        home.run("UPDATE gearman_std_servers SET seen = %s - %r" % (home.dialect.clock, ago))
    for ago in (0.0, 2 * interval - 0.9):
        wrote(ago)
        with pytest.raises(StoreInUse, match="another server has the name one"):
            standby.take()
    one.write([add(1)], 1)
    one._disconnect()
    wrote(2 * interval + 0.1)
    until(lambda: _takes(standby))
    standby.open(b"H:one", 9.0)
    with pytest.raises(Deposed):
        one.write([add(2)], 2)
    standby.abandon()


def test_a_server_that_crashed_starts_again_at_once(opened):
    opened("one").abandon()
    assert opened("one").epoch == 2


def test_one_that_waits_for_its_name_waits_for_no_other(opened, home):
    """As the next release does, while the second of two servers goes on."""
    one, two = opened("one"), opened("two")
    standby = DatabaseStore(home.database(), home.dialect, "one", take_over=AFTER)
    with pytest.raises(StoreInUse, match="another server has the name one"):
        standby.take()
    one.close(1)
    until(lambda: _takes(standby))
    standby.open(b"H:one", 9.0)
    assert standby.epoch == 2 and seen(two, "one").silent < AFTER
    standby.abandon()


def _takes(store):
    try:
        store.take()
        return True
    except StoreInUse:
        return False


def test_a_standby_that_may_take_over_waits_as_long_as_another_server_lives(opened, silence, home):
    standby = DatabaseStore(home.database(), home.dialect, "two", take_over=AFTER)
    standby.take()  # there is none, not even a table
    opened("one")
    with pytest.raises(StoreInUse, match="the server one lives"):
        standby.take()
    silence("one")
    standby.take()
    standby.open(b"H:two", 9.0)
    assert standby.adopt("one", 1)
    standby.abandon()

"""Jobs of another server, taken in while this one runs: nothing of them is lost, and they come behind those that wait."""
import random

import pytest

from gearman_std.core.jobs import DELAYED, GONE, HELD, RERUN, RUNNING, SET_ASIDE, STORING, WAITING, FunctionPolicy, place_of
from gearman_std.core.ledger import ADD, AddRecord
from gearman_std.core.orders import cancel_job, drop_job
from gearman_std.wire.protocol import (GET_STATUS, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, NOOP, STATUS_RES, SUBMIT_JOB_BG,
                                       SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_SCHED, WORK_COMPLETE)
from samples import few


def adopts(world, handle, unique=b"", state=WAITING, due=0.0, priority=1, schedule=None, attempts=0, position=7, age=60,
           workload=b"w", error=b""):
    """Another server's job is taken in."""
    job = world.core.adopt(AddRecord(ADD, handle, b"f", unique, workload, None, priority, due, attempts, state, error, schedule,
                                     world.wall - age, position))
    world.after_step()
    return job


def restarts(make_world, world, policy=None):
    """A new core with what the records of this one have left in a store."""
    rows = {}
    for record in world.records:
        if record.kind == "add":
            rows[record.handle] = record._replace(position=record.position or place_of(int(record.handle.rpartition(b":")[2])))
        elif record.kind == "update" and record.handle in rows:
            fields = record._asdict()
            fields.pop("kind")
            rows[record.handle] = rows[record.handle]._replace(**fields)
        elif record.kind == "remove":
            rows.pop(record.handle, None)
    again = make_world(durable=True, policy=policy)
    order = [WAITING, SET_ASIDE, DELAYED, HELD]
    for record in sorted(rows.values(), key=lambda record: (order.index(record.state) > 1, order.index(record.state),
                                                            record.position)):
        again.core.restore(record)
    again.after_step()
    return again


@pytest.fixture
def noted(durable):
    """A World with a store that notes all records; what is adopted counts as in the store."""
    durable.records = []
    hand_over = durable.stores

    def stores():
        durable.records += durable.core.ledger.records
        hand_over()
    durable.stores = stores
    return durable


def test_they_wait_behind_those_that_wait_by_their_priority(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    for packet_type in (SUBMIT_JOB_BG, SUBMIT_JOB_BG, SUBMIT_JOB_HIGH_BG):
        client.says(packet_type, b"f", b"", b"own")
    durable.stores()
    client.hears(*[(JOB_CREATED, b"H:x:%d" % number) for number in (1, 2, 3)])
    for number, priority in ((900, 1), (800, 0), (901, 1), (902, 2)):
        adopts(durable, b"H:y:%d" % number, priority=priority)
    client.says(SUBMIT_JOB_BG, b"f", b"", b"later")
    durable.stores()
    client.hears((JOB_CREATED, b"H:x:4"))
    assert [worker.grabs() for _ in range(9)] == [b"H:x:3", b"H:y:800", b"H:x:1", b"H:x:2", b"H:y:900", b"H:y:901", b"H:x:4",
                                                  b"H:y:902", None]
    assert durable.core.counters["jobs_adopted"] == 4 and durable.totals().submitted == 4


def test_the_order_is_that_of_the_next_start_too(noted, make_world):
    client = noted.connects()
    for _ in range(3):
        client.submits_bg()
    noted.stores()
    records = [AddRecord(ADD, b"H:y:%d" % number, b"f", b"", b"w", None, 1, 0.0, 0, WAITING, b"", None, noted.wall,
                         number) for number in (5, 1, 9)]
    for record in records:
        noted.records.append(record)
        noted.core.adopt(record)
    noted.stores()
    for _ in range(2):
        client.submits_bg()
    noted.stores()
    again = restarts(make_world, noted)
    order = [job.handle for job in noted.core.functions[b"f"].jobs_waiting()]
    assert order[:6] == [b"H:x:1", b"H:x:2", b"H:x:3", b"H:y:5", b"H:y:1", b"H:y:9"] and len(order) == 8
    assert [job.handle for job in again.core.functions[b"f"].jobs_waiting()] == order
    client.takes()


def test_their_handles_go_on_and_late_results_are_counted_as_late(durable):
    adopts(durable, b"H:y:1", attempts=2, error=b"why")
    asker, worker, old = durable.connects(), durable.worker(b"f"), durable.connects()
    asker.says(GET_STATUS, b"H:y:1").hears((STATUS_RES, b"H:y:1", b"1", b"0", b"0", b"0"))
    assert worker.grabs() == b"H:y:1"
    old.says(WORK_COMPLETE, b"H:y:1", b"late").hears_error(b"JOB_NOT_FOUND")
    assert durable.core.counters["late_results"] == 1
    asker.says(GET_STATUS, b"H:y:1").hears((STATUS_RES, b"H:y:1", b"1", b"1", b"0", b"0"))
    worker.says(WORK_COMPLETE, b"H:y:1", b"")
    assert ("remove", b"H:y:1") in durable.recorded()
    durable.stores()
    worker.hears()


def test_a_sleeping_worker_is_woken_for_them(durable):
    worker = durable.worker(b"f", sleeps=True)
    adopts(durable, b"H:y:1")
    worker.hears((NOOP,)).says(GRAB_JOB).hears((JOB_ASSIGN, b"H:y:1", b"f", b"w"))


def test_each_state_goes_on(durable):
    waiting = adopts(durable, b"H:y:1")
    late = adopts(durable, b"H:y:2", state=DELAYED, due=durable.wall - 1)
    delayed = adopts(durable, b"H:y:3", state=DELAYED, due=durable.wall + 60)
    retried = adopts(durable, b"H:y:4", state=DELAYED, due=durable.wall + 1, attempts=1)
    recurring = adopts(durable, b"H:y:5", state=DELAYED, due=durable.wall + 60, schedule=b"* * * * *")
    aside = adopts(durable, b"H:y:6", state=SET_ASIDE, error=b"broken")
    states = [job.state for job in (waiting, late, delayed, retried, recurring, aside)]
    assert states == [WAITING, WAITING, DELAYED, DELAYED, DELAYED, SET_ASIDE]
    assert durable.aside() == [(b"H:y:6", b"broken")] and recurring in durable.core.recurring
    assert waiting.created == durable.now - 60 == waiting.since
    durable.passes(61)
    assert [job.state for job in (delayed, retried, recurring)] == [WAITING] * 3
    with pytest.raises(ValueError):
        adopts(durable, b"H:y:7", schedule=b"no schedule")


def test_one_that_is_here_already_is_not_taken_in_again(durable):
    """As a piece may be read twice."""
    assert adopts(durable, b"H:y:1") and adopts(durable, b"H:y:2", state=SET_ASIDE)
    assert adopts(durable, b"H:y:1") is None and adopts(durable, b"H:y:2", state=SET_ASIDE) is None
    assert durable.core.counters["jobs_adopted"] == 2


@pytest.mark.parametrize("unique, workload", [(b"u", b"w"), (b"-", b"same")])
def test_an_equal_one_is_held_back_until_those_before_it_have_ended(durable, unique, workload):
    client, worker, other = durable.connects(), durable.worker(b"f"), durable.worker(b"f")
    client.says(SUBMIT_JOB_BG, b"f", unique, workload)
    assert adopts(durable, b"H:y:1", unique, workload=workload).state is HELD, "the one here is not even stored"
    durable.stores()
    client.hears((JOB_CREATED, b"H:x:1"))
    assert worker.grabs() == b"H:x:1" and other.grabs() is None
    assert adopts(durable, b"H:y:2", unique, HELD, workload=workload).state is HELD
    assert adopts(durable, b"H:z:1", unique, workload=workload).state is HELD
    client.says(SUBMIT_JOB_BG, b"f", unique, workload).hears((JOB_CREATED, b"H:x:1"))
    for handle, following in ((b"H:x:1", b"H:y:1"), (b"H:y:1", b"H:y:2"), (b"H:y:2", b"H:z:1"), (b"H:z:1", None)):
        assert other.grabs() is None
        worker.says(WORK_COMPLETE, handle, b"")
        durable.stores()
        worker.hears()
        assert worker.grabs() == following


@pytest.mark.parametrize("gone", [0, 1, 2, 3])
@pytest.mark.parametrize("order, state", [(cancel_job, GONE), (drop_job, SET_ASIDE)])
def test_when_one_of_a_row_of_equal_ones_goes_the_next_waits_for_the_one_before(make_world, gone, order, state):
    world = make_world(durable=True, policy=FunctionPolicy(RERUN))
    worker = world.worker(b"f")
    handles = [b"H:y:%d" % number for number in range(4)]
    jobs = [adopts(world, handle, b"u") for handle in handles]
    assert [job.state for job in jobs] == [WAITING, HELD, HELD, HELD]
    order(world.core, jobs[gone])
    world.stores()
    left = handles[:gone] + handles[gone + 1:]
    for handle in left:
        assert [worker.grabs(), worker.grabs()] == [handle, None]
        worker.says(WORK_COMPLETE, handle, b"")
        world.stores()
        worker.hears()
    assert worker.grabs() is None and jobs[gone].state is state


def test_none_waits_for_a_recurring_one_that_waits_for_its_date(durable):
    client, worker = durable.connects(), durable.worker(b"f")
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"0", b"0", b"1", b"1", b"", b"w")
    durable.stores()
    client.hears((JOB_CREATED, b"H:x:1"))
    assert adopts(durable, b"H:y:1", b"u").state is WAITING
    assert adopts(durable, b"H:y:2", b"u", DELAYED, durable.wall + 60, schedule=b"* * * * *").state is DELAYED
    assert worker.grabs() == b"H:y:1"


def test_those_that_wait_for_a_recurring_one_go_on_when_it_has_run(durable):
    client, admin, worker, other = durable.connects(), durable.connects(), durable.worker(b"f"), durable.worker(b"f")
    client.says(SUBMIT_JOB_SCHED, b"f", b"u", b"0", b"0", b"1", b"1", b"", b"w")
    durable.stores()
    client.hears((JOB_CREATED, b"H:x:1"))
    assert admin.asks(b"run job H:x:1") == b"OK\r\n"
    durable.stores()
    assert worker.grabs() == b"H:x:1"
    assert [adopts(durable, handle, b"u").state for handle in (b"H:y:1", b"H:y:2", b"H:y:3")] == [HELD] * 3
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    durable.stores()
    worker.hears()
    assert [worker.grabs(), other.grabs(), worker.grabs(), other.grabs()] == [b"H:y:1", b"H:y:2", b"H:y:3", None]


@pytest.mark.parametrize("seed", few(range(20), 4))
def test_whatever_happens_in_any_order_every_job_ends_once(make_world, seed):
    """Equal jobs, ours and adopted ones, some that recur, cancelled, failed, run and restarted at random."""
    chance = random.Random(seed)
    world = make_world(durable=True, policy=FunctionPolicy(chance.choice(["join", RERUN]), attempts=2, backoff=1.0))
    client, admin = world.connects(), world.connects()
    workers = [world.worker(b"f") for _ in range(3)]
    known, ended, count = set(), set(), 0
    for _ in range(150):
        what = chance.randrange(8)
        if what < 2:
            count += 1
            handle = b"H:y:%d" % count
            state = chance.choice([WAITING, HELD, DELAYED, SET_ASIDE])
            assert adopts(world, handle, chance.choice([b"u", b"v", b""]), state,
                          world.wall + chance.randrange(-5, 5) if state is DELAYED else 0.0)
            known.add(handle)
        elif what == 2:
            client.says(SUBMIT_JOB_BG, b"f", chance.choice([b"u", b"v", b""]), b"w")
        elif what == 3:
            world.stores()
            client.takes()
            known.update(world.core.jobs)
        elif what == 4:
            world.passes(chance.randrange(3))
        elif what == 5 and known:
            handle = chance.choice(sorted(known))
            if not workers_have(world, handle):
                was = handle in world.core.jobs or handle in world.core.aside
                assert admin.asks(b"cancel job " + handle) == (b"OK\r\n" if was else b"ERR UNKNOWN_JOB\r\n")
                world.stores()
                admin.takes()
                assert not was or handle not in ended
                ended.update([handle] if was else [])
        else:
            worker = chance.choice(workers)
            if not worker.peer.running:
                world.stores()
                handle = worker.grabs()
                if handle is not None and chance.randrange(4):
                    known.add(handle)
                    assert handle not in ended
                    ended.add(handle)
                    worker.says(WORK_COMPLETE, handle, b"")
                    world.stores()
                    worker.takes()
                elif handle is not None:
                    known.add(handle)
                    worker.leaves()
                    workers[workers.index(worker)] = world.worker(b"f")
    world.stores()
    client.takes()
    for _ in range(300):
        world.passes(10)
        handle = workers[0].grabs()
        if handle is not None:
            assert handle not in ended
            ended.add(handle)
            workers[0].says(WORK_COMPLETE, handle, b"")
            world.stores()
            workers[0].takes()
    assert {handle for handle in known if handle not in ended} == set(world.core.aside) and not world.core.jobs


def workers_have(world, handle):
    job = world.core.jobs.get(handle)
    return job is not None and job.state in (RUNNING, STORING)

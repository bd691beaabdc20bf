"""How a job goes from one state into another, with all that goes along with it."""
import pytest

from gearman_std.core.jobs import DELAYED, WAITING, FunctionPolicy, POSITIONS
from gearman_std.core.ledger import UPDATE
from gearman_std.wire.protocol import JOB_CREATED, NOOP, SUBMIT_JOB_EPOCH, SUBMIT_JOB_SCHED, WORK_COMPLETE, pack_response


def test_when_the_places_between_two_numbers_are_used_up_the_number_goes_on(make_world, monkeypatch):
    for module in ("transitions", "jobs"):
        monkeypatch.setattr("gearman_std.core.%s.POSITIONS" % module, 2)
    world = make_world(durable=True, policy=FunctionPolicy(retries=0))
    client = world.connects()
    client.submits_bg()
    world.stores()
    world.loses(9)
    assert POSITIONS > 2 and world.core.number > 1
    assert world.core.handle_prefix == b"H:x" and client.submits_bg() == b"H:x:%d" % world.core.number
    world.core.take_numbers(500)
    assert client.submits_bg() == b"H:x:501" and world.core.numbers is None


def test_a_waiting_job_goes_when_its_last_client_leaves(world):
    one, two = world.connects(), world.connects()
    handle = one.submits(b"f", b"u")
    two.submits(b"f", b"u")
    one.leaves()
    assert two.knows(handle)
    two.leaves()
    assert world.core.jobs == {}
    assert world.worker(b"f").grabs() is None


def test_a_running_job_whose_clients_have_left_may_be_finished(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits()
    worker.grabs()
    client.leaves()
    worker.says(WORK_COMPLETE, handle, b"r").hears()
    assert world.core.jobs == {}


def test_a_running_job_whose_clients_have_left_does_not_come_back_from_a_lost_worker(world):
    client, worker = world.connects(), world.worker(b"f")
    client.submits()
    worker.grabs()
    client.leaves()
    worker.leaves()
    assert world.core.jobs == {}


def test_a_job_to_be_tried_again_is_restored_to_the_rest_of_its_pause(make_world):
    """Which is over at once if its time came while no server ran, and is no longer than any pause if the clock was set back."""
    policy = FunctionPolicy(attempts=9, backoff=8.0, backoff_max=100.0)
    world = make_world(durable=True, policy=policy)
    over = world.restores(b"H:x:1", due=world.wall - 1, attempts=1)
    soon = world.restores(b"H:x:2", due=world.wall + 3, attempts=2)
    late = world.restores(b"H:x:3", due=world.wall + 5000, attempts=2)
    assert [job.state for job in (over, soon, late)] == [WAITING, DELAYED, DELAYED]
    assert world.core.retries.next_time() == world.now + 3
    longest = policy.delay(2, 1.0)
    assert late.due == world.wall + longest == world.wall + 20.0
    world.passes(3)
    assert soon.state is WAITING and late.state is DELAYED
    world.passes(17)
    assert late.state is WAITING


def test_a_restored_job_that_has_not_failed_waits_for_its_date(make_world):
    world = make_world(durable=True)
    due = world.wall + 5000
    assert world.restores(b"H:x:1", due=due).due == due and len(world.core.delayed) == 1 and not len(world.core.retries)


@pytest.mark.parametrize("wakeup, woken", [(None, 3), (0, 3), (1, 1), (2, 2)])
def test_a_submit_for_a_date_wakes_as_many_as_gearmand_would(make_world, wakeup, woken):
    world = make_world(wakeup=wakeup)
    workers = [world.worker(b"f", sleeps=True) for _ in range(3)]
    client = world.connects()
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 60), b"").hears((JOB_CREATED, b"H:x:1"))
    assert [worker.takes() for worker in workers] == [pack_response(NOOP)] * woken + [b""] * (3 - woken)


def test_a_job_that_comes_back_to_its_queue_has_waited_since_then(world):
    world.connects().submits_bg()
    world.passes(30)
    worker = world.worker(b"f")
    worker.grabs()
    world.passes(30)
    worker.leaves()
    world.passes(5)
    assert world.core.functions[b"f"].oldest(world.now) == 5


def test_without_a_store_nothing_is_recorded(make_world):
    world = make_world(policy=FunctionPolicy(retries=2))
    world.connects().submits_bg()
    world.loses(2)
    assert [job.position for job in world.core.aside.values()] == [0] and world.core.ledger.records == []


def test_a_recurring_job_that_becomes_due_earlier_by_a_clock_set_back_is_recorded_so(make_world):
    world = make_world(durable=True)
    client = world.connects()
    client.says(SUBMIT_JOB_SCHED, b"f", b"", b"*", b"*", b"*", b"*", b"*", b"w")
    world.stores()
    client.takes()
    before = world.core.jobs[b"H:x:1"].due
    world.core.ledger.records = []
    world.sets_clock(-7200)
    due = world.core.jobs[b"H:x:1"].due
    assert due == before - 7200
    assert [(record.kind, record.handle, record.due) for record in world.core.ledger.records] == [(UPDATE, b"H:x:1", due)]

"""How a job goes from one state into another, with all that goes along with it."""
from gearman_std.core.jobs import FunctionPolicy, POSITIONS
from gearman_std.wire.protocol import WORK_COMPLETE


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

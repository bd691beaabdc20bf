"""How often the disk is asked while foreground jobs come, and that nobody else waits for that."""
import pytest

from gearman_std.core.limits import Limits
from gearman_std.store.pace import PACE, STREAM, Pace
from gearman_std.store.store import BATCH, EVERY, EXIT
from gearman_std.wire.protocol import JOB_CREATED, SUBMIT_JOB_BG, WORK_COMPLETE, pack_request

from store_world import Stepped, StoredWorld


class PacedWorld(Stepped, StoredWorld):
    """A StoredWorld whose store does something when the test says so."""


@pytest.fixture
def start(tmp_path):
    worlds = []

    def start(durability=EVERY, **settings):
        return PacedWorld(worlds, str(tmp_path / "jobs.db"), durability, **settings)
    yield start
    for world in worlds:
        world.store.abandon()


CREATED = [(JOB_CREATED, b"H:x:%d" % number) for number in range(10)]


def begin(world):
    """A client whose background job is being written, and another one, whose foreground job has come meanwhile."""
    client, other = world.connects(), world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    other.submits(b"g")
    return client, other


def waits(world):
    """Whether what gathers waits although the store has nothing to do."""
    assert not world.keeper._thread.busy and world.core.ledger.awaited
    assert not world.keeper.due()
    return world.keeper.next_time() - world.now


@pytest.mark.parametrize("before, foreground, patient, wait", [
    (0, 0, True, 0), (0, 0, False, 0), (0, 3, False, 0), (0, 1, True, PACE), (0, 3, True, PACE),
    (STREAM - 1, 0, True, 0), (STREAM, 0, True, PACE), (STREAM, 0, False, 0), (1000, 5, True, PACE)])
def test_only_foreground_jobs_are_waited_for_and_only_with_patience(before, foreground, patient, wait):
    pace = Pace()
    assert pace.gathers_until(foreground, patient) == float("-inf")  # the first batch does not wait for anything
    pace.hand_over(7.0, before)
    assert pace.gathers_until(foreground, patient) == 7.0 + wait


def test_a_stream_that_has_ended_delays_one_batch_and_no_more():
    pace = Pace()
    pace.hand_over(7.0, STREAM)
    assert repr(pace) == "<Pace, a stream of foreground jobs>"
    pace.hand_over(pace.gathers_until(0, True), 0)
    assert pace.gathers_until(0, True) == 7.0 + PACE and repr(pace) == "<Pace>"


@pytest.mark.parametrize("durability", [EVERY, BATCH])
def test_while_foreground_jobs_come_a_client_waits_with_others_for_one_commit(start, durability):
    world = start(durability)
    client, other = begin(world)
    world.writes()
    client.hears(CREATED[1]).says(SUBMIT_JOB_BG, b"f", b"", b"w").hears()
    assert waits(world) == pytest.approx(PACE)
    world.passes(PACE / 2)
    second = world.connects().says(SUBMIT_JOB_BG, b"f", b"", b"w")
    assert waits(world) == pytest.approx(PACE / 2)
    commits = world.commits
    world.passes(PACE / 2)
    world.writes()
    client.hears(CREATED[3])
    second.hears(CREATED[4])
    assert world.commits == commits + 1


def test_without_foreground_jobs_each_commit_follows_at_once(start):
    world = start()
    client, _ = begin(world)
    world.writes()
    client.takes()
    world.passes(PACE)
    for number in range(3, 8):
        client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
        world.writes()
        client.hears(CREATED[number])


def test_a_disk_that_is_faster_than_the_next_foreground_job_does_not_end_the_pace(start):
    world = start()
    client, other = begin(world)
    world.writes()
    client.hears(CREATED[1]).says(SUBMIT_JOB_BG, b"f", b"", b"w")
    for _ in range(STREAM):
        other.submits(b"g")
    world.passes(PACE)
    world.writes()
    client.takes()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    assert waits(world) == pytest.approx(PACE)  # although none has come yet since the last batch
    world.passes(PACE)
    world.writes()
    client.takes()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    world.writes()  # they come no longer


def test_a_commit_that_took_long_is_rest_enough(start):
    world = start()
    client, other = begin(world)
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    world.passes(PACE)
    world.writes()
    assert world.keeper._thread.busy
    world.writes()
    client.hears(CREATED[1], CREATED[3])


def test_a_worker_that_ended_a_job_is_not_kept_waiting(start):
    world = start()
    client, other = begin(world)
    world.writes()
    client.hears(CREATED[1]).says(SUBMIT_JOB_BG, b"f", b"", b"w")
    worker = world.worker(b"f")
    assert worker.grabs() == b"H:x:1" and waits(world)
    worker.says(WORK_COMPLETE, b"H:x:1", b"")
    world.writes()
    client.hears(CREATED[3])


def test_an_admin_whose_order_stands_is_not_kept_waiting(start):
    world = start()
    client, _ = begin(world)
    world.writes()
    client.hears(CREATED[1]).says(SUBMIT_JOB_BG, b"f", b"", b"w")
    admin = world.connects()
    assert waits(world)
    admin.sends(b"pause function f\n")
    world.writes()
    assert admin.takes() == b"OK\r\n"
    client.hears(CREATED[3])


@pytest.mark.parametrize("limits, size", [(Limits(unstored_jobs=4), 1), (Limits(unstored_job_bytes=2000), 500)])
def test_what_takes_half_the_room_is_written_at_once(start, limits, size):
    """Or a client with many jobs under way would be refused because of the rest."""
    world = start(limits=limits)
    client, _ = begin(world)
    world.writes()
    client.takes()
    submit = pack_request(SUBMIT_JOB_BG, b"f", b"", b"w" * size)
    client.sends(submit)
    assert waits(world)
    client.sends(submit)
    world.settles()
    client.hears(CREATED[3], CREATED[4])


def test_a_stop_does_not_wait_for_that(start):
    world = start()
    client, _ = begin(world)
    world.writes()
    client.hears(CREATED[1]).says(SUBMIT_JOB_BG, b"f", b"", b"w")
    assert waits(world)
    world.core.stop(False)
    world.after_step()
    world.writes()
    client.hears(CREATED[3])
    assert world.keeper.settled


def test_a_store_that_is_written_at_the_end_only_keeps_nobody_waiting(start):
    world = start(EXIT)
    client, other = begin(world)
    client.hears(CREATED[1])
    other.submits(b"g")
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w").hears(CREATED[4])

"""What the store refuses for good: very many promises, new jobs and records, in steps between which anything may happen."""
import itertools

import pytest

from core_world import FULL, packets_of
from gearman_std.core import storing, tables
from gearman_std.core.invariants import check_core
from gearman_std.core.jobs import COALESCING, STORING, FunctionPolicy
from gearman_std.core.ledger import ADD, CHANGE, KEEP, REMOVE, UPDATE
from gearman_std.wire.protocol import (ECHO_REQ, GRAB_JOB, JOB_CREATED, PRE_SLEEP, SUBMIT_JOB, SUBMIT_JOB_BG,
                                       SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_SCHED, TEXT_LINE, WORK_COMPLETE,
                                       WORK_FAIL)

REFUSED = ("ERROR",) + FULL


@pytest.fixture
def writing(make_world):
    """A World whose store gets the batches when the test says so."""
    world = make_world(durable=True, policies={name.encode(): FunctionPolicy(name, keep=60.0) for name in COALESCING})
    world.has_store = True
    return world


def says(talker, packet_type, *arguments):
    """What it says is obeyed, and nothing that takes long goes on meanwhile."""
    core = talker.world.core
    talker.later = core.receive(talker.peer, talker.later + [(packet_type, arguments)])
    core.settle()
    check_core(core)


def refuse(world, written=True):
    """The store refuses the batch; yields before each step but the first."""
    core = world.core
    core.not_stored(FULL[1], written)
    check_core(core)
    for number in itertools.count():
        if core.ledger.refusal is None:
            return
        assert core.turns.chores, "somebody would wait for ever"
        yield number
        core.turns.work()
        check_core(core)


def ready(talker):
    """What was sent to it and does not wait for the store."""
    return packets_of(talker.takes())


def test_who_waits_is_told_then_those_that_clients_wait_for_go_on_in_their_order(writing, monkeypatch):
    monkeypatch.setattr(storing, "REFUSED_STEP", 2)
    client, core = writing.connects(), writing.core
    for number in range(6):
        client.says(SUBMIT_JOB_BG, b"f", b"u%d" % number, b"")
    listener = writing.connects()
    listener.says(SUBMIT_JOB, b"f", b"u5", b"").says(SUBMIT_JOB, b"f", b"u4", b"")
    core.ledger.hand_over()
    left, heard = [], []
    for number in refuse(writing):
        left.append(len(core.jobs))
        heard += ready(client)
        if number == 0:
            assert heard == [], "answers in their order, and none before all promises are broken"
        if number == 3:
            says(client, SUBMIT_JOB_BG, b"f", b"u3", b"")
            says(listener, SUBMIT_JOB, b"f", b"u2", b"")
    assert heard == 7 * [REFUSED], "who submits one of them again is not misled"
    assert left[:5] == [6, 6, 6, 4, 3] and left[5:] == (len(left) - 5) * [3]
    assert [job.handle for job in core.functions[b"f"].jobs_waiting()] == [b"H:x:3", b"H:x:5", b"H:x:6"] == list(core.jobs)
    assert writing.worker(b"f").grabs() == b"H:x:3"
    listener.hears((JOB_CREATED, b"H:x:6"), (JOB_CREATED, b"H:x:5"), (JOB_CREATED, b"H:x:3"))


@pytest.mark.parametrize("written", (False, True))
def test_what_may_be_written_is_taken_out_of_the_store(writing, written):
    client, core = writing.connects(), writing.core
    client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    core.ledger.hand_over()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    assert list(refuse(writing, written)) == []
    assert writing.recorded() == written * [(REMOVE, b"H:x:1")], "the second was never handed over"
    assert ready(client) == 2 * [REFUSED]


def test_what_is_not_much_is_refused_in_one_step(writing):
    client = writing.connects()
    for _ in range(storing.REFUSED_STEP // 3 - 1):
        client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    writing.core.ledger.hand_over()
    assert list(refuse(writing)) == [] and not writing.core.jobs
    assert ready(client) == (storing.REFUSED_STEP // 3 - 1) * [REFUSED]


def test_a_step_is_never_more_than_so_much(writing, monkeypatch):
    """However many promises, jobs, records and peers there are, and records of other jobs that come meanwhile."""
    monkeypatch.setattr(storing, "REFUSED_STEP", 10)
    monkeypatch.setattr(tables, "LARGE_TABLE", 20)
    clients, core = [writing.connects() for _ in range(35)], writing.core
    for number in range(100):
        clients[number % 35].says(SUBMIT_JOB_BG, b"join", b"", b"")
    writing.stores()
    for number in range(100):
        clients[number % 35].says(SUBMIT_JOB_BG, b"f", b"", b"")
    core.ledger.hand_over()
    for number in range(50):
        clients[number % 35].says(SUBMIT_JOB_BG, b"f", b"", b"")
    ledger, last = core.ledger, None
    rest = [job.handle for job in core.functions[b"join"].jobs_waiting()]
    for number in refuse(writing):
        batches = ledger.refusal.batches
        now = [sum(len(batch[field]) for batch in batches) for field in (1, 2, 3, 4)] + [len(ledger.refusal._handles)]
        if last is not None:
            assert sum(max(0, before - after) for before, after in zip(last, now)) < 20, (number, last, now)
        last = now
        for handle in rest[3 * number:3 * number + 3]:
            says(clients[0], TEXT_LINE, b"cancel job " + handle)
    assert number > 60 and [record.handle for record in core.ledger.records if record.kind == REMOVE] == [
        b"H:x:%d" % number for number in range(101, 201)] + rest
    for client in clients:
        client.takes()


def test_the_bytes_of_what_is_refused_are_added_up_until_the_store_is_in_order(writing):
    client, worker, ledger = writing.connects(), writing.worker(b"join"), writing.core.ledger
    client.says(SUBMIT_JOB_BG, b"join", b"", b"")
    writing.stores()
    handle = worker.grabs()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"x" * 100)
    ledger.hand_over()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"y" * 30)
    assert list(refuse(writing)) == [] and ledger.refused_size == 130
    worker.says(WORK_COMPLETE, handle, b"r" * 1000)
    assert KEEP in [record.kind for record in writing.core.ledger.records]
    assert list(refuse(writing)) == [] and ledger.refused_size > 1130
    writing.stores()
    assert ledger.refused_size == 0
    client.takes()


@pytest.mark.parametrize("kind", COALESCING)
def test_a_submit_joins_what_is_refused_only_in_the_foreground(writing, monkeypatch, kind):
    monkeypatch.setattr(storing, "REFUSED_STEP", 1)
    function, client, core = kind.encode(), writing.connects(), writing.core
    for number in range(4):
        client.says(SUBMIT_JOB_BG, function, b"u%d" % number, b"")
    core.ledger.hand_over()
    for number in refuse(writing):
        if number == 1:
            for packet_type in (SUBMIT_JOB_BG, SUBMIT_JOB_HIGH_BG):
                says(client, packet_type, function, b"u3", b"")
            says(client, SUBMIT_JOB_SCHED, function, b"u3", b"*", b"*", b"*", b"*", b"*", b"")
            says(client, SUBMIT_JOB, function, b"u3", b"other")
    heard = ready(client)
    if kind == "reject":
        assert heard[:4] == 4 * [REFUSED] and [packet[1] for packet in heard[4:]] == 4 * [b"JOB_EXISTS"] and not core.jobs
    else:
        assert heard == 7 * [REFUSED] + [("JOB_CREATED", b"H:x:4")]
        (job,) = core.jobs.values()
        assert not job.background and job.schedule is None and job.workload == (b"other" if kind == "replace" else b"")
    assert all(record.kind == REMOVE for record in core.ledger.records)


def test_jobs_that_are_requeued_while_they_are_refused_end_like_the_others(writing, monkeypatch):
    monkeypatch.setattr(storing, "REFUSED_STEP", 2)
    client, admin, core = writing.connects(), writing.connects(), writing.core
    for number in range(6):
        client.says(SUBMIT_JOB_BG, b"f", b"", b"")
    core.ledger.hand_over()
    for number in refuse(writing):
        if number == 0:
            says(admin, TEXT_LINE, b"drop function f force")
            says(admin, TEXT_LINE, b"requeue all")
            assert len(core.jobs) == 6 and repr(core.ledger.refusal) == "<Refusal: 4 promises, 6 new jobs>"
    assert number > 2 and not core.jobs and not core.aside and ready(client) == 6 * [REFUSED]
    admin.takes()


# --- Anything else, before any step.

def submits_again(world, client, worker, admin, old):
    says(client, SUBMIT_JOB_BG, b"rerun", b"u2", b"")
    says(client, SUBMIT_JOB_BG, b"other", b"", b"")
    return {"client": 2}


def joins_one(world, client, worker, admin, old):
    watching = world.connects()
    world.core.receive(watching.peer, [(SUBMIT_JOB_HIGH, (b"rerun", b"u5", b""))])
    handle = ready(watching)[0][1]
    return {"left": {handle}, "unless": (b"cancel", b"drop")}


def cancels(world, client, worker, admin, old):
    says(admin, TEXT_LINE, b"cancel unique u4")
    says(admin, TEXT_LINE, b"cancel function rerun")
    return {}


def drops_and_requeues(world, client, worker, admin, old):
    says(admin, TEXT_LINE, b"drop function rerun force")
    says(admin, TEXT_LINE, b"requeue all")
    return {}


def purges(world, client, worker, admin, old):
    says(admin, TEXT_LINE, b"drop function rerun force")
    says(admin, TEXT_LINE, b"purge function rerun")
    return {}


def ends_a_stored_one(world, client, worker, admin, old):
    says(worker, WORK_COMPLETE, old, b"r")
    return {"gone": {old}}


def fails_a_stored_one(world, client, worker, admin, old):
    says(worker, WORK_FAIL, old)
    return {"gone": {old}}


def loses_the_worker(world, client, worker, admin, old):
    world.core.disconnect(worker.peer)
    world.talkers.remove(worker)
    return {}


def loses_the_client(world, client, worker, admin, old):
    world.core.disconnect(client.peer)
    world.talkers.remove(client)
    return {"lost": True}


def lets_time_pass(world, client, worker, admin, old):
    for seconds in (0.1, 100.0):
        world.now += seconds
        world.wall += seconds
        world.core.tick(world.now, world.wall)
    world.wall -= 1000.0
    world.core.tick(world.now, world.wall)
    return {}


def stops(world, client, worker, admin, old):
    world.core.stop(True)
    assert not world.core.idle
    return {}


def sleeps_and_asks(world, client, worker, admin, old):
    sleeper = world.connects()
    world.core.receive(sleeper.peer, [(1, (b"rerun",)), (GRAB_JOB, ()), (PRE_SLEEP, ())])
    says(client, ECHO_REQ, b"echo")
    return {"client": 1, "any": sleeper}


EVENTS = (submits_again, joins_one, cancels, drops_and_requeues, purges, ends_a_stored_one, fails_a_stored_one,
          loses_the_worker, loses_the_client, lets_time_pass, stops, sleeps_and_asks)


@pytest.mark.parametrize("shared", (False, True), ids=("own", "shared"))
@pytest.mark.parametrize("event", EVENTS, ids=[event.__name__ for event in EVENTS])
def test_whatever_happens_before_a_step_all_end_as_they_should(make_world, monkeypatch, event, shared):
    """One thing before each of the steps, and then two things, as far apart as can be."""
    monkeypatch.setattr(storing, "REFUSED_STEP", 2)
    for moment in itertools.count():
        if not play(make_world, shared, {moment: event}):
            break
    assert moment > 8
    for second in EVENTS:
        if second is not event and (event, second) != (loses_the_client, submits_again):
            play(make_world, shared, {0: event, moment - 1: second})


def finish(world):
    """All that takes long comes to its end."""
    core = world.core
    while True:
        later = [talker for talker in world.talkers if talker.later and not talker.peer.put_off]
        for talker in later:
            talker.later = core.receive(talker.peer, talker.later)
        if core.turns.chores:
            core.turns.work()
        elif not later:
            break
    core.settle()
    check_core(core)


def play(make_world, shared, events):
    """Refuse a batch, with such events before its steps; return whether all of them came."""
    world = make_world(durable=True, policy=FunctionPolicy("rerun", retries=5))
    world.has_store, core, ledger = True, world.core, world.core.ledger
    client, worker, admin = world.connects(), world.worker(b"rerun"), world.connects()
    client.says(SUBMIT_JOB_BG, b"rerun", b"u1", b"")
    world.stores()
    old = worker.grabs()
    ledger.shared = shared
    client.takes()
    watcher = world.connects()
    watched = watcher.submits(b"rerun", b"u2")
    for number in range(1, 6):
        client.says(SUBMIT_JOB_BG, b"rerun", b"u%d" % number, b"")
    says(admin, TEXT_LINE, b"pause function f")
    ledger.hand_over()
    client.says(SUBMIT_JOB_BG, b"rerun", b"u6", b"").says(SUBMIT_JOB_BG, b"rerun", b"", b"")
    new = {job.handle for job in core.jobs.values() if job.state is STORING}
    assert len(new) == 6 and old not in new and watched not in new
    what, left = {}, dict(events)
    for number in refuse(world):
        if number in left:
            what.update(left.pop(number)(world, client, worker, admin, old) or {})
            check_core(core)
    finish(world)
    assert ledger.refusal is None and core.store_trouble == FULL[1]
    if not what.get("lost"):
        heard = ready(client)
        assert heard[:7] == 7 * [REFUSED] and len(heard) >= 7 + what.get("client", 0), heard
    assert not any(record.kind in (ADD, UPDATE, CHANGE) and record.handle in new for record in core.ledger.records)
    assert not any(job.background for job in core.jobs.values() if job.handle in new)
    assert not new & set(core.aside)
    assert not any(talker.peer.holds for talker in world.talkers) or shared
    for job in core.jobs.values():
        assert job.handle in (old, watched) or job.watchers or job.state is not STORING
    world.stores()
    finish(world)
    assert not any(talker.peer.holds for talker in world.talkers) and not core.store_trouble
    for talker in world.talkers:
        talker.takes()
    return not left

"""Tables that go on in parts when they are large: as a dict does, but for the order, and with no step that takes long."""
import random

import pytest

from gearman_std.core import abilities, attempts, core, functions, submits, tables
from gearman_std.core.jobs import Function, FunctionPolicy, Job
from gearman_std.core.tables import LayeredTable, PartedTable, in_layers, in_parts, lists_of
from gearman_std.core.uniques import Uniques
from gearman_std.wire.protocol import CAN_DO, CANT_DO, JOB_CREATED, SUBMIT_JOB_BG, WORK_COMPLETE
from core_world import World, packets_of


def test_it_does_what_a_dict_does():
    chance = random.Random(5)
    table, model = in_parts({number: number for number in range(50)}), {number: number for number in range(50)}
    for step in range(20000):
        key = chance.randrange(600)
        what = chance.randrange(7)
        if what < 2:
            table[key] = model[key] = step
        elif what == 2:
            assert table.pop(key, None) == model.pop(key, None)
        elif what == 3 and key in model:
            del table[key], model[key]
        elif what == 4 and model:
            key, value = table.popitem()
            assert model.pop(key) == value
        elif what == 5:
            for one in (table, model):
                one.update([(key, step), (key + 300, -step), (key + 300, step)])
        assert table.get(key) == model.get(key) and (key in table) == (key in model) and len(table) == len(model)
        if not step % 100:
            assert sorted(key for keys in lists_of(table) for key in keys) == sorted(model) == sorted(*lists_of(model))
            assert dict(table) == model and sorted(table.values()) == sorted(model.values())
    while model:
        model.pop(table.popitem()[0])
    assert not table and repr(table) == "<PartedTable of 0>"
    for fails in (table.popitem, lambda: table[1], lambda: table.__delitem__(1)):
        with pytest.raises(KeyError):
            fails()


def test_it_is_made_once():
    table = in_parts({})
    assert in_parts(table) is table


@pytest.mark.parametrize("make", [lambda number: b"H:host:%d" % number, lambda number: Job(
    b"", None, b"", b"", 1, True, 0.0)], ids=["handles", "jobs"])
def test_no_part_grows_large(make):
    table = PartedTable({})
    keys = [make(number) for number in range(50000)]
    for key in keys:
        table[key] = None
    assert len(table) == len(keys) and max(map(len, table._parts)) < 500


def test_a_layered_table_does_what_a_dict_does_in_its_order(monkeypatch):
    monkeypatch.setattr(tables, "LARGE_TABLE", 40)
    chance = random.Random(7)
    table, model = in_layers({number: number for number in range(50)}), {number: number for number in range(50)}
    for step in range(20000):
        key = chance.randrange(600)
        what = chance.randrange(6)
        if what < 3:
            table[key] = model[key] = step
        elif what == 3:
            assert table.pop(key, None) == model.pop(key, None)
        elif what == 4 and key in model:
            del table[key], model[key]
        elif what == 5 and model and not step % 5:
            assert table.popitem() == model.popitem()
        assert table.get(key) == model.get(key) and (key in table) == (key in model) and len(table) == len(model)
        if not step % 100:
            assert list(table.items()) == list(model.items())
            assert max(map(len, table._layers)) <= 50 and all(table._layers[:-1])
    assert len(table._layers) > 3
    while model:
        assert table.popitem() == model.popitem()
    assert not table and repr(table) == "<LayeredTable of 0>" and in_layers(table) is table
    for fails in (table.popitem, lambda: table[1], lambda: table.__delitem__(1)):
        with pytest.raises(KeyError):
            fails()


@pytest.fixture
def small(monkeypatch):
    """Tables of 5 entries are large."""
    for module in (abilities, attempts, core, functions, submits, tables):
        monkeypatch.setattr(module, "LARGE_TABLE", 5)


def test_the_jobs_of_a_core_and_those_that_a_peer_watches_go_on_in_parts(small):
    world = World()
    client, worker = world.connects(), world.worker(b"f")
    handles = [client.submits(b"f", b"u%d" % number) for number in range(20)]
    world.passes(1.0)
    jobs, function = world.core.jobs, world.core.functions[b"f"]
    assert all(isinstance(table, PartedTable) for table in (jobs, client.peer.watching, function.uniques))
    assert world.core.uniques.find(b"u19") is jobs[handles[19]]
    for handle in handles:
        assert worker.grabs() == handle
        worker.says(WORK_COMPLETE, handle, b"")
        client.hears((WORK_COMPLETE, handle, b""))
    assert not jobs and not client.peer.watching and not function.uniques


def test_the_functions_that_nobody_uses_go_on_in_layers_and_the_longest_unused_are_forgotten_first(small):
    world = World()
    client, admin = world.connects(), world.connects()
    for number in range(20):
        world.passes(1.0)
        client.submits_bg(b"f%d" % number)
        admin.asks(b"cancel function f%d" % number)
    client.submits_bg(b"f3")
    admin.asks(b"cancel function f3")
    registry = world.core.registry
    order = [b"f%d" % number for number in list(range(3)) + list(range(4, 20)) + [3]]
    assert isinstance(registry.unused, LayeredTable) and [function.name for function in registry.unused] == order
    while registry.unused:
        world.passes(functions.UNUSED_TIME / 1000)
        assert list(registry.by_name) == sorted(order[-len(registry.by_name):], key=lambda name: int(name[1:])) or (
            not registry.by_name)
    assert not registry.by_name


@pytest.mark.parametrize("keeps", ("f", "g"))
def test_the_jobs_that_a_worker_runs_go_on_in_layers_and_go_back_in_their_order(small, keeps):
    world = World()
    client, worker, other = world.connects(), world.worker(b"f", b"g"), world.connects()
    handles = [client.submits(b"f") for _ in range(20)]
    assert [worker.grabs() for _ in handles] == handles and isinstance(worker.peer.running, LayeredTable)
    worker.says(WORK_COMPLETE, handles[7], b"")
    client.hears((WORK_COMPLETE, handles.pop(7), b""))
    worker.says(CANT_DO, b"g" if keeps == "f" else b"f")
    world.does_chores()
    if keeps == "f":
        worker.says(CANT_DO, b"g")
        assert list(worker.peer.running) == handles and isinstance(worker.peer.running, LayeredTable)
        worker.leaves()
        world.does_chores()
    other.says(CAN_DO, b"f")
    assert [other.grabs() for _ in handles] == handles


def test_the_jobs_that_a_worker_keeps_go_on_in_layers_when_it_gives_others_back(small):
    world = World()
    client, worker, other = world.connects(), world.worker(b"f", b"g"), world.connects()
    kept = [client.submits(b"f") for _ in range(8)]
    given_back = client.submits(b"g")
    for _ in range(9):
        worker.grabs()
    worker.says(CANT_DO, b"g")
    assert list(worker.peer.running) == kept and isinstance(worker.peer.running, LayeredTable)
    other.says(CAN_DO, b"g")
    assert other.grabs() == given_back


def test_what_a_peer_watches_that_joined_all_of_it_goes_on_in_parts(small):
    world = World()
    client, other, worker = world.connects(), world.connects(), world.worker(b"f")
    handles = [client.submits(b"f", b"u%d" % number) for number in range(20)]
    assert [other.submits(b"f", b"u%d" % number) for number in range(20)] == handles
    assert isinstance(other.peer.watching, PartedTable) and len(other.peer.watching) == 20
    client.leaves()
    for handle in handles:
        assert worker.grabs() == handle
        worker.says(WORK_COMPLETE, handle, b"")
        other.hears((WORK_COMPLETE, handle, b""))
    assert not other.peer.watching and not world.core.jobs


def test_the_jobs_of_a_start_and_those_set_aside_go_on_in_parts(small):
    world = World()
    handles = [b"H:x:%d" % number for number in range(1, 21)]
    for handle in handles:
        world.restores(handle)
    assert isinstance(world.core.jobs, PartedTable) and set(world.core.jobs) == set(handles)
    admin = world.connects()
    assert admin.asks(b"drop function f force") == b"OK\r\n" and not world.core.jobs
    assert isinstance(world.core.aside, PartedTable) and set(world.core.aside) == set(handles)
    assert admin.asks(b"requeue job H:x:20") == admin.asks(b"purge job H:x:1") == b"OK 1\r\n"
    assert admin.asks(b"requeue all") == b"OK 18\r\n" and not world.core.aside
    worker = world.worker(b"f")
    assert [worker.grabs() for _ in range(20)] == [b"H:x:20"] + handles[1:-1] + [None]


def test_the_jobs_that_recur_go_on_in_parts(small):
    world = World()
    handles = [b"H:x:%d" % number for number in range(1, 21)]
    for handle in handles:
        world.restores(handle, due=world.wall + 30.0, schedule=b"* * * * *")
    assert isinstance(world.core.recurring, PartedTable)
    assert {job.handle for job in world.core.recurring} == set(handles)
    admin = world.connects()
    assert [admin.asks(b"cancel job " + handle) for handle in handles] == [b"OK\r\n"] * 20
    assert not world.core.recurring


def test_uniques_go_on_in_parts(small):
    function, known = Function(b"f", FunctionPolicy()), Uniques()
    jobs = [Job(b"H:x:%d" % number, function, b"u%d" % number, b"", 1, True, 0.0) for number in range(20)]
    for job in jobs:
        known.add(job)
    assert [known.find(job.unique) for job in jobs] == jobs and repr(known) == "<Uniques: 20>"
    for job in jobs:
        known.remove(job)
    assert repr(known) == "<Uniques: 0>" and not function.uniques


@pytest.mark.parametrize("refused", (False, True), ids=("stored", "refused"))
def test_the_jobs_that_wait_for_the_disk_go_on_in_layers_in_their_order(small, refused):
    world = World(durable=True)
    world.has_store = True
    client, core = world.connects(), world.core
    for number in range(20):
        client.says(SUBMIT_JOB_BG, b"f", b"", b"%d" % number)
        if number == 3:
            world.passes(1.0)
            assert isinstance(core.ledger.storing, LayeredTable)
    assert [job.workload for job in core.ledger.storing] == [b"%d" % number for number in range(20)]
    core.ledger.hand_over()
    assert core.ledger.storing == {}
    if refused:
        core.not_stored(b"no")
        world.does_chores()
        assert not core.jobs and [packet[0] for packet in packets_of(client.takes())] == ["ERROR"] * 20
    else:
        core.stored()
        world.does_chores()
        client.hears(*[(JOB_CREATED, b"H:x:%d" % number) for number in range(1, 21)])
        assert [job.workload for job in core.functions[b"f"].jobs_waiting()] == [b"%d" % number for number in range(20)]

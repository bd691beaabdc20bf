"""What the core knows at a time."""
from gearman_std.core.handles import Handles


def test_handles_may_grow_longer_than_c_programs_expect(make_world):
    world = make_world()
    world.core.handles = Handles(b"p" * 51)
    world.core.handles.number = 10 ** 15
    assert len(world.connects().submits()) == 51 + 1 + 16


def test_repr_shows_the_state(world):
    client, worker = world.connects(), world.worker(b"f")
    client.submits()
    worker.grabs()
    assert repr(world.core) == "<Core: 2 peers, 1 functions, 1 jobs, 0 set aside>"
    assert repr(world.core.jobs[b"H:x:1"]) == "<Job H:x:1 of f: running>"

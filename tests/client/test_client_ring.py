"""Consistent hashing: who a job belongs to, and what moves when a server leaves."""
import collections
import os
import subprocess
import sys

from gearman_std.client.ring import Ring

NAMES = ["10.0.0.%d:4730" % number for number in range(1, 6)]
PLACES = [3, 2, 4, 1, 4, 4, 4, 3, 0, 3, 3, 3]  # of photo-0 to photo-11 among NAMES
KEYS = [(b"f", b"u%d" % number) for number in range(5000)]


def test_places_are_the_same_in_all_versions_and_machines_for_ever():
    ring, backwards = Ring(NAMES), Ring(NAMES[::-1])
    assert [ring.nearest(b"resize", b"photo-%d" % number) for number in range(12)] == PLACES
    assert [4 - backwards.nearest(b"resize", b"photo-%d" % number) for number in range(12)] == PLACES


def test_another_process_picks_the_same_server():
    program = ("from gearman_std.client.ring import Ring\nring = Ring(%r)\n"
               "print([ring.nearest(b'resize', b'photo-%%d' %% number) for number in range(12)])" % NAMES)
    for seed in ("1", "2"):
        output = subprocess.check_output([sys.executable, "-c", program], env=dict(os.environ, PYTHONHASHSEED=seed))
        assert output.decode().strip() == repr(PLACES)


def test_moving_one_server_moves_only_its_share():
    ring, other = Ring(NAMES), Ring(NAMES[:4] + ["10.9.9.9:4730"])
    before, after = [ring.nearest(*key) for key in KEYS], [other.nearest(*key) for key in KEYS]
    moved = [(old, new) for old, new in zip(before, after) if old != new]
    assert all(old == 4 or new == 4 for old, new in moved)  # nothing moves between servers that stay
    assert 0.1 < len(moved) / len(KEYS) < 0.5


def test_every_server_has_its_share_and_a_lost_ones_goes_to_all_others():
    ring, four = Ring(NAMES), Ring(NAMES[:4])
    before, after = [ring.nearest(*key) for key in KEYS], [four.nearest(*key) for key in KEYS]
    assert all(600 < share < 1400 for share in collections.Counter(before).values())
    assert all(new == old for old, new in zip(before, after) if old != 4)
    assert len({new for old, new in zip(before, after) if old == 4}) == 4


def test_the_walk_names_every_server_once_and_who_would_follow_a_lost_one():
    ring, four = Ring(NAMES), Ring(NAMES[:4])
    for key in KEYS[:200]:
        order = ring.walk(*key)
        assert order[0] == ring.nearest(*key) and sorted(order) == list(range(5))
        assert [index for index in order if index != 4] == four.walk(*key)


def test_a_ring_shows_its_size():
    assert repr(Ring(NAMES)) == "<Ring of 5 servers>"

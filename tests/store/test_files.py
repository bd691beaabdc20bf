"""A write or a sync of a store fails, then the power: no job that was acknowledged is lost, whatever is on the disk.

To write the WAL again and sync it, once a sync of it had failed, was not enough.  SQLite closes a connection by copying the WAL
to the file: after the failure that syncs the WAL once more, which now succeeds without writing the pages that were lost, then
writes to the file what is newer than the WAL that is on the disk.  When the power fails after that and before the WAL is gone,
the next server applies the older pages of the WAL, which ends at the hole, to the newer file: a mixture, and it is damaged.
That takes a commit that did not wait for the disk, before the one that failed, and a page that was not in the WAL before.

GEARMAN_STD_POWER_CUTS=1 cuts the power after every step of every life, instead of at some.
"""
import errno
import os
import random
import shutil
import sys

import pytest

from gearman_std.store.sqlite import JobStore

from disk import Disk, Lives, build
from samples import few

pytestmark = pytest.mark.skipif(os.name != "posix", reason="preloads a library as POSIX does")

CUTS = float(os.environ.get("GEARMAN_STD_POWER_CUTS", "0"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Not on a real disk if that can be had, as nothing here depends on what it does."""
    where = "/dev/shm/gearman_std-test-%d" % os.getpid() if os.path.isdir("/dev/shm") else str(tmp_path_factory.mktemp("power"))
    os.makedirs(where, exist_ok=True)
    yield where
    shutil.rmtree(where)


@pytest.fixture(scope="module")
def lives(folder, root):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        assert not os.environ.get("CI"), "there is no C compiler"
        pytest.skip("there is no C compiler to build the disk that forgets")
    lives = Lives(build(compiler, folder), os.path.join(root, "tests"), root)
    yield lives
    lives.end()


def survivors(disk, folder, chance=None):
    """The handles that a server finds after a power failure now."""
    where = os.path.join(folder, "image")
    os.mkdir(where)
    disk.write_image(where, chance)
    store = JobStore(os.path.join(where, "jobs.db"))
    store.open(b"H:x", 1.0)
    found = {row.handle for some in store.load_records() for row in some}
    store.abandon()
    shutil.rmtree(where)
    return found


def play(lives, folder, chance, case, n):
    """One life, with power cuts here and there; returns the share of steps that were tried and whether the failure came."""
    notes, met = lives.live(os.path.join(folder, "life"), case[0], n, case[1], case[2], "stop" if n % 2 else "crash")
    disk, count = Disk(), 0
    for step, kind in enumerate(disk.steps(notes)):
        for may_be_there in (None, chance):
            if chance.random() < (CUTS or (0.02 if kind in "SUM" else 0.005)):
                lost = disk.promised - disk.ended - survivors(disk, folder, may_be_there)
                assert not lost, "%s n = %d, step %d (%s), %s pages: %s" % (
                    case, n, step, kind, "random" if may_be_there else "no other", sorted(lost))
                count += 1
    assert len(disk.promised) >= 8
    return count, met


CASES = [("S", 1, errno.EIO), ("S", 2, errno.EIO), ("S", 9, errno.EIO), ("W", 1, errno.EIO), ("W", 1, errno.ENOSPC),
         ("W", 6, errno.ENOSPC)]


@pytest.mark.parametrize("case", few(reversed(CASES)))
def test_power_fails_after_the_nth_write_or_sync_failed_for_every_n(lives, folder, case):
    """Some n, others with every Python, where there are too many; the first and the last are always among them."""
    chance = random.Random("%r with Python 3.%d" % (case, sys.version_info[1]))
    cuts, n, met = 0, 1, True
    while met:
        count, met = play(lives, folder, chance, case, n)
        cuts += count
        n += 1 if CUTS else chance.choice((1, 2, 5) if case[0] == "S" else (1, 30, 60))
    assert cuts > 10 and n > 25


@pytest.mark.long
def test_the_disk_forgets_what_was_not_synced(lives, folder):
    """So that the other tests can fail."""
    notes, _ = lives.live(os.path.join(folder, "life"), "S", 10000, 1, errno.EIO)
    forgetful = Disk()
    lost = 0
    for step, kind in enumerate(forgetful.steps(notes, ignored="S")):
        if kind == "M" and step % 3 == 0:
            lost += len(forgetful.promised - forgetful.ended - survivors(forgetful, folder))
    assert lost

"""The stores of the package keep the contract, and the contract's tests fail for a store that does not."""
import os
import shutil
import tempfile
import unittest

import pytest

from gearman_std.core.ledger import ADD, KEEP, ORDER, REMOVE
from gearman_std.errors import StoreInUse
from gearman_std.core.jobs import HANDLE_BLOCK, place_of
from gearman_std.store.contract import StoreContract
from gearman_std.core.handles import handle_number
from gearman_std.store.sqlite import JobStore
from gearman_std.store.store import Store


class TestSqlite(StoreContract):
    """The SQLite store, in a file."""

    @pytest.fixture(autouse=True)
    def in_folder(self, tmp_path):
        self.path = str(tmp_path / "jobs.db")

    def make_store(self):
        return JobStore(self.path)


class TestWithUnittest(StoreContract, unittest.TestCase):
    """The same as unittest runs it, of a store that has the fewest methods."""

    def setUp(self):
        self.database = {}

    def make_store(self):
        return MemoryStore(self.database)


class MemoryStore(Store):
    """A store in a dictionary that outlives it: what is the least that keeps the contract."""

    faults = ()  # what it does wrong

    def __init__(self, database):
        super().__init__("memory")
        self.database = database
        self.is_open = False

    def take(self):
        if self.database.setdefault("owner", self) is not self:
            raise StoreInUse("memory is in use by another server")

    def open(self, handle_prefix, wall, numbers=None):
        self.take()
        jobs = self.database.setdefault("jobs", {})
        self.database.setdefault("ends", {})
        self.database.setdefault("orders", {})
        self.number = max(list(jobs) + [self.database.get("number", 0)])
        self.jobs_stored = len(jobs)
        self.jobs_read = 0
        self.is_open = True
        self.reserve(self.number)

    def reserve(self, number):
        self.reserved = number + HANDLE_BLOCK
        if "handles" not in self.faults:
            self.database["number"] = self.reserved

    def load_records(self):
        ends = sorted(self.database["ends"].values(), key=lambda end: (end.ended, end.handle))
        jobs = self.database["jobs"].values()
        if "order" not in self.faults:
            rank = {"delayed": 1, "held back": 2}
            jobs = sorted(jobs, key=lambda job: (rank.get(job.state, 0), (job.state == "delayed") * job.due, job.position))
        records = [self.database["orders"][key] for key in sorted(self.database["orders"])] + ends + list(jobs)
        for start in range(0, len(records), 100):
            self.jobs_read += sum(record.kind == ADD for record in records[start:start + 100])
            yield records[start:start + 100]

    def write(self, records, number, flush=True):
        self.change(records, number, *(dict(self.database[name]) for name in ("jobs", "ends", "orders")))

    def replace(self, records, number):
        self.change(records, number, {}, {}, {})

    def change(self, records, number, jobs, ends, orders):
        if "atomic" in self.faults:
            self.database["jobs"] = jobs
        for record in records:
            if record.kind == ORDER:
                orders[record.name, record.function] = record
                if record.value is None:
                    del orders[record.name, record.function]
                continue
            key = handle_number(record.handle)
            if record.kind == ADD:
                jobs[key] = record._replace(position=record.position or place_of(key), workload=bytes(record.workload))
            elif record.kind == KEEP:
                ends[key] = record
            elif record.kind == REMOVE:
                jobs.pop(key, None)
            elif record.kind == "forget":
                ends.pop(key, None)
            elif key in jobs:
                if record.kind == "change":
                    jobs[key] = jobs[key]._replace(**{record.column: record.value})
                else:
                    changes = dict(record._asdict(), position=record.position or place_of(key))
                    del changes["kind"], changes["handle"]
                    jobs[key] = jobs[key]._replace(**changes)
        self.database.update(jobs=jobs, ends=ends, orders=orders)
        if self.wants(number):
            self.reserve(number)

    def close(self, number):
        self.database["number"] = number
        self.abandon()

    def abandon(self):
        self.is_open = False
        if self.database.get("owner") is self and "owner" not in self.faults:
            del self.database["owner"]


@pytest.mark.parametrize("fault, test", [
    ("handles", "test_handles_never_repeat"), ("order", "test_jobs_of_all_states_come_back_in_their_order_some_at_a_time"),
    ("atomic", "test_of_a_batch_that_breaks_off_nothing_is_there"), ("owner", "test_one_server_at_a_time_has_the_store")])
def test_the_contract_finds_what_a_store_does_wrong(fault, test):
    class Faulty(StoreContract):
        database = {}

        def make_store(self):
            store = MemoryStore(self.database)
            store.faults = (fault,)
            return store

    with pytest.raises((AssertionError, StoreInUse)):
        getattr(Faulty(), test)()


def test_it_runs_with_unittest_alone(root):
    """As a program of somebody who has no pytest."""
    import subprocess
    import sys
    folder = tempfile.mkdtemp()
    try:
        with open(os.path.join(folder, "test_mine.py"), "w") as file:
            file.write("import unittest\nfrom gearman_std.store import JobStore\n"
                       "from gearman_std.store.contract import StoreContract\n"
                       "class TestMine(StoreContract, unittest.TestCase):\n    def make_store(self):\n"
                       "        return JobStore(%r)\n" % os.path.join(folder, "jobs.db"))
        done = subprocess.run([sys.executable, "-m", "unittest", "test_mine"], cwd=folder, stderr=subprocess.PIPE,
                              universal_newlines=True, timeout=120)
        assert done.returncode == 0 and "OK" in done.stderr, done.stderr
    finally:
        shutil.rmtree(folder)

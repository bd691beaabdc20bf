"""What the tests of stores share: records, stores that are opened and closed, a connection that fails when it is told to."""
import os
import sqlite3

import pytest

from gearman_std.core.jobs import POSITIONS, WAITING
from gearman_std.core.ledger import (ADD, CHANGE, KEEP, REMOVE, UPDATE, AddRecord, ChangeRecord, KeepRecord, RemoveRecord,
                                     UpdateRecord)
from gearman_std.core.statistics import END_COMPLETED
from gearman_std.errors import StoreError
from gearman_std.store.files import connect_sqlite
from gearman_std.store.sqlite import JobStore

PLACE = [0]  # of the last job


def add(number, function=b"f", unique=b"", workload=b"w", reducer=None, priority=1, due=0.0, attempts=0, state=WAITING,
        error=b"", schedule=None, created=1000.0):
    PLACE[0] = number * POSITIONS
    return AddRecord(ADD, b"H:x:%d" % number, function, unique, workload, reducer, priority, due, attempts, state, error,
                     schedule, created, number * POSITIONS)


def update(number, state=WAITING, attempts=1, due=0.0, error=b"lost"):
    """The job is put behind all that were made, or put behind others, before."""
    PLACE[0] += 1
    return UpdateRecord(UPDATE, b"H:x:%d" % number, state, attempts, due, error, PLACE[0])


def changed(number, column, value):
    return ChangeRecord(CHANGE, b"H:x:%d" % number, column, value)


def removed(number):
    return RemoveRecord(REMOVE, b"H:x:%d" % number)


OPENED = []


def opened(path, *arguments, **options):
    store = JobStore(path, *arguments, **options)
    store.open(b"H:x", 1000.0)
    OPENED.append(store)
    return store


def load_all(store):
    return [record for some in store.load_records() for record in some]


def load(store):
    """Its jobs."""
    return [record for record in load_all(store) if record.kind == ADD]


def load_ends(store):
    return [record for record in load_all(store) if record.kind == KEEP]


def numbers(store):
    return [int(row.handle.rpartition(b":")[2]) for row in load(store)]


def content(path):
    with open(path, "rb") as file:
        return file.read()


def again(store):
    """The same file, opened by the next server after a crash of this one."""
    store.abandon()
    return opened(store.path)


def refusal(path, *arguments, **options):
    with pytest.raises(StoreError) as caught:
        opened(path, *arguments, **options)
    assert str(caught.value).startswith(os.path.realpath(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def kept(number, outcome=END_COMPLETED, ended=1000.0, text=b"", data=b"", result=b"r"):
    return KeepRecord(KEEP, b"H:x:%d" % number, b"f", b"u", outcome, ended, 1.5, 2.5, 1, text, data, result)


class Faulty:
    """An SQLite connection whose n-th statement fails, before or after it has done its work."""

    def __init__(self, path, plan):
        self._real = connect_sqlite(path)
        self._plan = plan

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)
        if name == "text_factory":
            self._real.text_factory = value

    def execute(self, *arguments):
        return self._plan.run(self._real.execute, *arguments)

    def executemany(self, *arguments):
        return self._plan.run(self._real.executemany, *arguments)

    def close(self):
        self._real.close()


class Plan:
    """Lets the n-th statement fail from when it is armed, or all from that on."""

    def __init__(self):
        self.left = 0
        self.late = self.for_long = False

    def arm(self, n, late=False, for_long=False):
        self.left, self.late, self.for_long = n, late, for_long

    def disarm(self):
        """Whether it had not come to the n-th."""
        left, self.left = self.left, 0
        return left > 0

    def run(self, method, *arguments):
        self.left -= 1
        if self.left == 0 or self.for_long and self.left < 0:
            if self.late:
                method(*arguments)
            raise sqlite3.OperationalError("disk I/O error")
        return method(*arguments)

#!/usr/bin/env python3
"""What a lock is held for: to look and to note, never while something takes long.

    python3 tests/tour/locks.py

A worker with four threads does jobs that take 50 milliseconds each.  Its threads share one lock; the program measures for how
long it is held.  Then the same with functions that hold a lock of their own while they work.
"""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from gearman_std.testing import JobServer  # noqa: E402
from gearman_std.worker import shared  # noqa: E402
from gearman_std.worker.worker import Worker  # noqa: E402

THREADS, JOBS, TAKES = 4, 16, 0.05


class WatchedLock:
    """A lock that notes for how long it was held.

    Owner: whoever holds the lock.
    """

    def __init__(self):
        self._lock = threading.RLock()
        self._since = []
        self.held = []

    def acquire(self, *arguments):
        got = self._lock.acquire(*arguments)
        if got:
            self._since.append(time.perf_counter())
        return got

    def release(self):
        if self._since:
            self.held.append(time.perf_counter() - self._since.pop())
        self._lock.release()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *error):
        self.release()

    def _is_owned(self):
        return self._lock._is_owned()  # its Condition asks for it


class Threading:
    """What the worker gets in place of the module threading."""

    def __init__(self):
        self.locks = []

    def __getattr__(self, name):
        return getattr(threading, name)

    def RLock(self):
        self.locks.append(WatchedLock())
        return self.locks[-1]


def measure(function):
    """Let a worker do all jobs; return how many seconds it took, and for how long its lock was held each time."""
    shared.threading = watched = Threading()
    try:
        with JobServer() as server:
            worker = Worker(server.address, threads=THREADS)
            worker.register("f", function)
            thread = threading.Thread(target=worker.work, kwargs={"signals": False})
            with server.client() as client:
                tasks = [client.submit("f", b"") for _ in range(JOBS)]
                began = time.perf_counter()
                thread.start()
                for task in tasks:
                    task.result(60)
                took = time.perf_counter() - began
            worker.stop()
            thread.join()
    finally:
        shared.threading = threading
    return took, [seconds for lock in watched.locks for seconds in lock.held]


def main():
    own = threading.Lock()

    def job(job):
        time.sleep(TAKES)

    def job_with_lock(job):
        with own:
            time.sleep(TAKES)

    for what, function in (("nothing is locked", job), ("a lock is held", job_with_lock)):
        took, held = measure(function)
        print("%d jobs of %d ms each, during which %s, in %d threads: %4d ms." % (
            JOBS, 1000 * TAKES, what, THREADS, 1000 * took))
        print("  The worker's own lock was taken %d times and held for %.1f ms in all, %.2f ms at most." % (
            len(held), 1000 * sum(held), 1000 * max(held)))


if __name__ == "__main__":
    main()

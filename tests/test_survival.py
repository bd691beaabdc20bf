"""Servers are killed and restarted under a load of jobs, and each job ends exactly once: as its result or as a named error."""
import collections
import sys
import threading

import pytest

from client_tools import LONG, unused_address, worker_of
from gearman_std.client.client import Client
from gearman_std.errors import NoServer, ServerLost
from worker_tools import AtWork

pytestmark = pytest.mark.long

SERVERS, KILLS, BATCH, BATCHES = 3, 9, 500, 6
RUNS = 200  # of jobs in the foreground between two kills, so that a slow machine loses no more of them than a fast one
SERVER_PROGRAM = """
import sys
from gearman_std.server.server import Server
Server(port=int(sys.argv[1]), listen=["127.0.0.1"]).serve()
"""


class Fleet:
    """Server processes of which one after the other is killed without warning and started again."""

    def __init__(self, processes):
        self.processes = processes
        held = [unused_address() for _ in range(SERVERS)]
        self.names = [name for _, name in held]
        for one, _ in held:
            one.close()
        self.running = [self.start(name) for name in self.names]
        self.kills = 0
        self.runs = 0
        self.due = threading.Event()
        self.pause = threading.Event()  # set when it is over
        self.thread = threading.Thread(target=self.kill_and_restart)

    def start(self, name):
        port = name.split(":")[1]
        return self.processes.start_server([sys.executable, "-c", SERVER_PROGRAM, port], int(port))

    def kill_and_restart(self):
        while self.due.wait(LONG) and not self.pause.is_set():
            self.due.clear()
            turn = self.kills % SERVERS
            self.running[turn].kill()
            self.running[turn].wait()
            self.kills += 1
            self.running[turn] = self.start(self.names[turn])

    def has_run(self):
        self.runs += 1
        if self.runs % RUNS == 0:
            self.due.set()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.pause.set()
        self.due.set()
        self.thread.join(LONG)
        assert not self.thread.is_alive()


def what_became_of(error):
    """The name of an ending; anything but a lost or unreachable server is a failure of the test."""
    assert isinstance(error, (ServerLost, NoServer)), error
    return "%s %s" % (type(error).__name__, getattr(error, "sent", ""))


def submit_in_background(client, fleet, endings, accepted):
    """Background jobs, with and without a unique, until the fleet is at rest."""
    number = 0
    while not fleet.pause.is_set():
        number += 1
        unique = "background-%d" % number if number % 2 else None
        try:
            client.submit("count", b"background %d" % number, unique=unique, background=True)
            accepted.append(number)
            endings["accepted"] += 1
        except (ServerLost, NoServer) as error:
            endings[what_became_of(error)] += 1
    endings["all"] = number


def test_every_job_ends_once_while_servers_are_killed_and_restarted(processes):
    """Thousands in the foreground, with and without a unique, over three servers; another thread submits in the background.

    Besides, no job without a unique runs twice: it is not sent again where it may have been taken.
    """
    fleet = Fleet(processes)
    runs, endings, background, accepted = collections.Counter(), collections.Counter(), collections.Counter(), []
    lock = threading.Lock()

    def count(job):
        with lock:
            runs[job.workload] += 1
            if not job.workload.startswith(b"background"):
                fleet.has_run()
        return job.workload

    with Client(fleet.names) as client, Client(fleet.names) as second, AtWork(worker_of(fleet.names, count=count)):
        submitter = threading.Thread(target=submit_in_background, args=(second, fleet, background, accepted))
        batch = 0
        with fleet:
            submitter.start()
            while fleet.kills < KILLS or batch < BATCHES:
                batch += 1
                jobs = [{"function": "count", "workload": b"%d %d" % (batch, number),
                         "unique": "%d-%d" % (batch, number) if number % 2 else None} for number in range(BATCH)]
                try:
                    tasks = client.submit_many(jobs)
                except NoServer as error:
                    endings[what_became_of(error)] += BATCH
                    continue
                places = {task: number for number, task in enumerate(tasks)}
                for task in client.as_completed(tasks, LONG):
                    number = places.pop(task)  # a second ending of a task would be a KeyError
                    error = task.exception(0)
                    if error is None:
                        assert task.result() == jobs[number]["workload"]
                        assert runs[task.result()] >= 1
                        endings["result"] += 1
                    else:
                        endings[what_became_of(error)] += 1
                assert not places
        submitter.join(LONG)
        assert not submitter.is_alive()
        # The same clients go on as if nothing had been.
        assert client.run("count", b"at last", timeout=LONG, attempts=5) == b"at last"
        assert second.run("count", b"at last", timeout=LONG, attempts=5) == b"at last"
        assert all(not link.session._tasks for link in client._pool.first.links if link.connection is not None)
    assert sum(endings.values()) == BATCH * batch >= 3000 and fleet.kills >= KILLS
    assert endings["result"] > BATCH * batch // 3, endings
    assert background.pop("all") == sum(background.values()) and background["accepted"] == len(set(accepted)) > 100
    twice = [workload for workload, times in runs.items() if times > 1 and workload != b"at last"]
    assert all(int(workload.split()[-1]) % 2 for workload in twice), twice  # those with a unique

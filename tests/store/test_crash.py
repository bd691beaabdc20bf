"""A server with a store is killed under load, again and again: no acknowledged background job is lost.

A real server process gets jobs in bursts, priorities, epochs, joins and foreground jobs among them, from several connections,
while workers take, finish, fail and abandon jobs; at a random moment it is killed with SIGKILL, or told to stop, and started
again.  At last every job is run.  GEARMAN_STD_CRASH_SEEDS=N runs N seeds of each kind instead of a few.
"""
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from gearman_std.client.client import Client
from gearman_std.errors import JobTimeout
from gearman_std.wire.protocol import (CAN_DO, ERROR, GRAB_JOB_UNIQ, JOB_ASSIGN_UNIQ, JOB_CREATED, NO_JOB, PRE_SLEEP,
                                       RESPONSE_MAGIC, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH_BG,
                                       SUBMIT_JOB_LOW_BG, WORK_COMPLETE, WORK_FAIL, PacketReader, pack_request)

from samples import few

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")

SEEDS = int(os.environ.get("GEARMAN_STD_CRASH_SEEDS", "0"))
ROUNDS = 3 if SEEDS else 2
FUNCTIONS = (b"f", b"g", b"h")

# Runs a server whose COMMIT fails now and then, after it did its work or before, as if fsync had failed.
FAULTY_SERVER = """
import random, sqlite3, sys
from gearman_std.cli.cli import main
from gearman_std.cli import server as cli_server
from gearman_std.store import sqlite as store
chance = random.Random(int(sys.argv[1]))
class Connection:
    def __init__(self, path):
        self.real = store.connect_sqlite(path)
        self.executemany, self.close = self.real.executemany, self.real.close
    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)
        if name == "text_factory":
            self.real.text_factory = value
    def execute(self, statement, *arguments):
        if statement != "COMMIT" or chance.random() > 0.05:
            return self.real.execute(statement, *arguments)
        if chance.random() < 0.5:
            self.real.execute(statement)
        raise sqlite3.OperationalError("disk I/O error")
from gearman_std.server.server import Server
server = Server(0, ["127.0.0.1"], store=store.JobStore(sys.argv[2], _connect=Connection))
server.bind()
server.open_store()
print("127.0.0.1:%d" % server.address[1], flush=True)
server.serve()
"""


class Lost(Exception):
    """The server is gone."""


class Talk:
    """One connection of a client or worker."""

    def __init__(self, address):
        try:
            self.socket = socket.create_connection(address, 20)
        except OSError:
            raise Lost from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = PacketReader(RESPONSE_MAGIC, text=True)
        self.packets = []
        self.running = None  # the handle of the job it runs

    def send(self, *packets):
        try:
            self.socket.sendall(b"".join(packets))
        except OSError:
            raise Lost from None

    def receive(self):
        while not self.packets:
            try:
                data = self.socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                raise Lost
            self.packets += [(kind, tuple(map(bytes, arguments))) for kind, arguments in self.reader.feed(data)]
        return self.packets.pop(0)

    def close(self):
        self.socket.close()


class Story:
    """What is known of the jobs of one seed over all lives of its server."""

    def __init__(self, seed, path, faulty=False):
        self.random = random.Random(seed)
        self.seed = seed
        self.path = path
        self.faulty = faulty
        self.options = []       # of the server
        self.count = 0
        self.handles = set()    # of all jobs that were acknowledged
        self.promised = set()   # of those acknowledged in the background
        self.ran = set()        # of those that a worker was given and ended
        self.confirmed = set()  # of those of which the worker knows that the server knows
        self.again = []         # of those that ran once more after that
        self.address = None
        self.process = None
        self.talks = []

    def starts(self):
        if self.faulty:
            command = [sys.executable, "-c", FAULTY_SERVER, str(self.random.randrange(1 << 30)), self.path]
        else:
            command = [sys.executable, "-m", "gearman_std", "server", "--config-file", os.devnull, "-L", "127.0.0.1", "-p", "0",
                       "--print-address", "-q", "sqlite3", "--sqlite3-db", self.path] + self.options
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        host, _, port = self.process.stdout.readline().decode().strip().rpartition(":")
        self.address = (host, int(port))

    def ends(self, how):
        self.process.send_signal(how)
        self.process.wait(20)
        self.process.stdout.close()

    def lives(self, how, seconds):
        """Work until the server ends."""
        timer = threading.Timer(seconds, self.process.send_signal, [how])
        timer.start()
        try:
            clients = [Talk(self.address) for _ in range(3)]
            workers = []
            self.talks = clients + workers
            while True:
                self.step(clients, workers)
        except Lost:
            pass
        finally:
            timer.join()
            for talk in self.talks:
                talk.close()
        self.process.wait(20)
        self.process.stdout.close()

    def step(self, clients, workers):
        chance = self.random
        for client, jobs in [(client, self.burst(client)) for client in clients if chance.random() < 0.6]:
            for background, unique in jobs:
                self.acknowledged(client, background, unique)
        if len(workers) < 3:
            worker = Talk(self.address)
            workers.append(worker)
            self.talks.append(worker)
            worker.send(*[pack_request(CAN_DO, function) for function in FUNCTIONS])
            worker.send(pack_request(GRAB_JOB_UNIQ))
            self.assigned(worker, None)
        for worker in list(workers):
            choice = chance.random()
            if choice < 0.1:
                worker.close()
                workers.remove(worker)
            elif worker.running is None:
                worker.send(pack_request(GRAB_JOB_UNIQ))
                self.assigned(worker, None)
            elif choice < 0.9:
                handle = worker.running
                self.ran.add(handle)
                end = pack_request(WORK_COMPLETE, handle, b"r") if chance.random() < 0.8 else pack_request(WORK_FAIL, handle)
                worker.send(end, pack_request(GRAB_JOB_UNIQ))
                self.assigned(worker, handle)

    def burst(self, client):
        """Send some submits at once."""
        chance, jobs, packets = self.random, [], []
        for _ in range(chance.choice([1, 1, 5, 20])):
            self.count += 1
            workload = b"%d %s" % (self.count, b"x" * chance.choice([0, 10, 3000]))
            function, unique, choice = chance.choice(FUNCTIONS), b"", chance.random()
            if choice < 0.2:
                function, unique = b"f", b"u%d" % chance.randrange(self.count)
            kind = chance.choice([SUBMIT_JOB_BG, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW_BG])
            if choice > 0.9:
                packets.append(pack_request(SUBMIT_JOB_EPOCH, function, unique, b"%d" % (time.time() + 1), workload))
            else:
                kind = SUBMIT_JOB if choice > 0.8 else kind
                packets.append(pack_request(kind, function, unique, workload))
            jobs.append((kind != SUBMIT_JOB or choice > 0.9, unique))
        client.send(*packets)
        return jobs

    def acknowledged(self, client, background, unique):
        kind, arguments = client.receive()
        while kind not in (JOB_CREATED, ERROR):  # results of foreground jobs
            kind, arguments = client.receive()
        if kind == ERROR:
            assert arguments[0] == b"QUEUE_ERROR" and (self.faulty or b"is draining" in arguments[1]), arguments  # as it stops
            return
        handle = arguments[0]
        assert unique or handle not in self.handles, "handle %r was given out twice" % handle
        self.handles.add(handle)
        if background:
            self.promised.add(handle)

    def assigned(self, worker, ended):
        """The answer to a grab, which tells that the end of a job was noted, too."""
        worker.running = None
        kind, arguments = worker.receive()
        assert kind in (NO_JOB, JOB_ASSIGN_UNIQ), (kind, arguments)
        if ended is not None:
            self.confirmed.add(ended)
        if kind == JOB_ASSIGN_UNIQ:
            worker.running = arguments[0]
            if worker.running in self.confirmed:
                self.again.append(worker.running)

    def drains(self):
        """Run all that is there, also what comes due within the next seconds, and what was set aside."""
        admin = Talk(self.address)
        admin.send(b"requeue all\n")
        admin.socket.recv(100)
        admin.close()
        worker = Talk(self.address)
        worker.send(*[pack_request(CAN_DO, function) for function in FUNCTIONS])
        worker.send(pack_request(GRAB_JOB_UNIQ))
        self.assigned(worker, None)
        while True:
            if worker.running is not None:
                handle = worker.running
                self.ran.add(handle)
                worker.send(pack_request(WORK_COMPLETE, handle, b""), pack_request(GRAB_JOB_UNIQ))
                self.assigned(worker, handle)
                continue
            worker.send(b"status\n")
            kind, arguments = worker.receive()
            lines = [arguments[0]]
            while lines[-1] != b".":
                lines.append(worker.receive()[1][0])
            if not any(int(line.split(b"\t")[1]) for line in lines[:-1]):
                break
            worker.send(pack_request(PRE_SLEEP))
            worker.receive()  # NOOP, when an epoch has come
            worker.send(pack_request(GRAB_JOB_UNIQ))
            self.assigned(worker, None)
        worker.close()

    def verdict(self):
        lost = self.promised - self.ran
        assert not lost, "seed %d: %d of %d acknowledged jobs never ran: %r" % (
            self.seed, len(lost), len(self.promised), sorted(lost)[:5])
        return len(self.promised)


def tell(seed, path, hows, faulty=False):
    """A whole story: the server ends as many times as there are ways, then all that is left runs."""
    story = Story(seed, path, faulty)
    for how in hows:
        story.starts()
        story.lives(how, story.random.uniform(0.02, 0.4))
        assert story.process.returncode == (-how if how == signal.SIGKILL else 0)
    story.starts()
    try:
        story.drains()
    finally:
        story.ends(signal.SIGTERM)
    story.verdict()
    return story


@pytest.mark.parametrize("seed", few(range(SEEDS or 2)))
def test_no_acknowledged_job_is_lost_when_the_server_is_killed(tmp_path, seed):
    """And as disk comes before reply, no job runs again whose worker has had an answer since."""
    story = tell(seed, str(tmp_path / "jobs.db"), [signal.SIGKILL] * ROUNDS)
    assert not story.again
    print("seed %d: %d promises, %d handles" % (seed, len(story.promised), len(story.handles)))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(SEEDS or 1))
def test_no_job_is_lost_or_runs_again_over_clean_stops(tmp_path, seed):
    story = tell(1000 + seed, str(tmp_path / "jobs.db"), [signal.SIGTERM] * ROUNDS)
    assert not story.again


@pytest.mark.long
@pytest.mark.parametrize("seed", range(SEEDS or 1))
def test_no_acknowledged_job_is_lost_when_commits_fail_and_the_server_is_killed(tmp_path, seed):
    tell(2000 + seed, str(tmp_path / "jobs.db"), [signal.SIGKILL] * ROUNDS, faulty=True)


@pytest.mark.long
def test_results_outlive_a_server_that_is_killed(tmp_path):
    """A job whose worker has had an answer since it sent the result has it; another one runs again, and has none."""
    path = str(tmp_path / "jobs.db")
    story = Story(0, path)
    story.options = ["--policy", "f:keep=1h"]
    story.starts()
    client, worker = Talk(story.address), Talk(story.address)
    worker.send(pack_request(CAN_DO, b"f"))
    handles = []
    for number in range(5):
        client.send(pack_request(SUBMIT_JOB_BG, b"f", b"", b"w"))
        handles.append(client.receive()[1][0])
        worker.send(pack_request(GRAB_JOB_UNIQ))
        assert worker.receive()[1][0] == handles[-1]
        if number < 4:
            worker.send(pack_request(WORK_COMPLETE, handles[-1], b"result %d" % number), pack_request(GRAB_JOB_UNIQ))
            assert worker.receive()[0] == NO_JOB
    story.ends(signal.SIGKILL)
    client.close()
    worker.close()
    for how in (signal.SIGKILL, signal.SIGTERM):
        story.starts()
        try:
            with Client("127.0.0.1:%d" % story.address[1]) as known:
                assert [known.fetch(handle, timeout=0) for handle in handles[:4]] == [b"result %d" % n for n in range(4)]
                with pytest.raises(JobTimeout):
                    known.fetch(handles[4], timeout=0)
        finally:
            story.ends(how)


# --- A full disk: the system lets no file of the server grow beyond a limit.

LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (%d, resource.RLIM_INFINITY)); " \
          "import sys; from gearman_std.cli.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.long
def test_a_full_disk_refuses_jobs_and_loses_none(tmp_path):
    """All else goes on, and when there is room again the server takes jobs again by itself."""
    resource = pytest.importorskip("resource")
    path = str(tmp_path / "jobs.db")
    words = ["server", "--config-file", os.devnull, "-L", "127.0.0.1", "-p", "0", "--print-address", "--sqlite3-db", path]
    story = Story(0, path)
    story.process = subprocess.Popen([sys.executable, "-c", LIMITED % 300000] + words, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL)
    try:
        host, _, port = story.process.stdout.readline().decode().strip().rpartition(":")
        story.address = (host, int(port))
        client = Talk(story.address)

        def submit():
            story.count += 1
            workload = b"%d %s" % (story.count, b"x" * 10000)
            client.send(pack_request(SUBMIT_JOB_BG, b"f", b"", workload))
            kind, arguments = client.receive()
            if kind == JOB_CREATED:
                story.promised.add(arguments[0])
            else:
                assert (kind, arguments[0]) == (ERROR, b"QUEUE_ERROR") and b"cannot be stored" in arguments[1], arguments
            return kind == JOB_CREATED
        while submit():
            assert len(story.promised) < 100, "the disk is not full"
        assert len(story.promised) >= 5
        # A worker still gets jobs, and a client its result.
        worker = Talk(story.address)
        worker.send(pack_request(CAN_DO, b"f"), pack_request(CAN_DO, b"now"), pack_request(GRAB_JOB_UNIQ))
        story.assigned(worker, None)
        story.ran.add(worker.running)
        worker.send(pack_request(WORK_COMPLETE, worker.running, b""))
        client.send(pack_request(SUBMIT_JOB, b"now", b"", b"w"))
        assert client.receive()[0] == JOB_CREATED
        if hasattr(resource, "prlimit"):
            resource.prlimit(story.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            while not submit():
                continue
        worker.close()
        client.close()
    finally:
        story.ends(signal.SIGKILL)
    story.starts()
    try:
        story.drains()
    finally:
        story.ends(signal.SIGTERM)
    assert story.verdict() >= 5

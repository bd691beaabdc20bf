"""A server whose background jobs are in PostgreSQL or MySQL: they outlive it, and it outlives the database."""
import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from databases import INSTALLED
from gearman_std import AdminClient, Client, ServerError, Worker
from patience import until

pytestmark = pytest.mark.long

SERVER = [sys.executable, "-m", "gearman_std", "server", "--config-file", os.devnull, "-L", "127.0.0.1", "-p", "0"]


@pytest.fixture(params=sorted(INSTALLED))
def place(request, database_place):
    return database_place(request.param)


class Life:
    """A server of the name a, as a process, from its start to its end."""

    def __init__(self, processes, place, tmp_path, *words):
        self._log = str(tmp_path / "log")
        self.process = processes.start(
            SERVER + ["--print-address", "--server-name", "a", "-l", self._log] + place.options() + list(words),
            stdout=subprocess.PIPE)
        self.address = self.process.stdout.readline().decode().strip()
        assert self.address, self.log()

    def log(self):
        with open(self._log, encoding="utf-8") as file:
            return file.read()

    def submit(self, *workloads):
        with Client([self.address]) as client:
            return [client.submit("work", workload, background=True).handle for workload in workloads]

    def waiting(self):
        with AdminClient(self.address) as admin:
            return sum(status.total for status in admin.status())

    def work(self, count):
        """Run so many jobs; return their workloads."""
        done = []
        worker = Worker([self.address], max_jobs=count)
        worker.register("work", lambda job: done.append(bytes(job.workload)))
        worker.work()
        return done

    def end(self, number):
        self.process.send_signal(number)
        self.process.wait(30)


def test_jobs_outlive_a_server_that_is_killed_and_those_that_are_done_do_not_run_again(processes, place, tmp_path):
    life = Life(processes, place, tmp_path)
    life.submit(b"one", bytes(range(256)), b"three")
    assert life.work(1) == [b"one"]
    until(lambda: life.waiting() == 2)
    life.end(signal.SIGKILL)
    life = Life(processes, place, tmp_path)
    assert life.waiting() == 2
    life.submit(b"four")
    assert life.work(3) == [bytes(range(256)), b"three", b"four"]
    life.end(signal.SIGTERM)
    assert life.process.returncode == 0
    assert place.rows("SELECT count(*) FROM gearman_std_jobs") == [(0,)]


def test_a_second_server_of_the_same_name_does_not_start(processes, place, tmp_path):
    life = Life(processes, place, tmp_path)
    second = subprocess.run(SERVER + ["--server-name", "a"] + place.options(), stderr=subprocess.PIPE, timeout=50)
    assert second.returncode == 1
    assert b"a server with the name a is using the database, or was " in second.stderr and second.stderr.count(b"\n") == 1
    life.submit(b"one")


def test_the_database_is_started_again_under_a_running_server(processes, place, tmp_path):
    database = place.server
    try:
        life = Life(processes, place, tmp_path)
        life.submit(b"one")
        database.stop()
        with pytest.raises(ServerError, match="Background jobs cannot be stored at present"):
            life.submit(b"two")
        database.start()

        def submitted():
            try:
                return life.submit(b"three")
            except ServerError:
                return None
        until(submitted)
        life.end(signal.SIGKILL)
        life = Life(processes, place, tmp_path)
        assert life.work(2) == [b"one", b"three"] and life.waiting() == 0
        life.end(signal.SIGTERM)
        assert life.log().count("background jobs are refused") == 1
    finally:
        database.start()


def test_a_job_that_is_too_large_for_the_database_is_refused_alone(processes, database_place, tmp_path):
    place = database_place("mysql")
    largest = place.rows("SELECT @@max_allowed_packet")[0][0] // 2
    life = Life(processes, place, tmp_path)
    life.submit(b"small")
    with pytest.raises(ServerError, match="The job is too large for the store"):
        life.submit(b"x" * largest)
    life.submit(b"y" * (largest - (1 << 20)), b"small again")
    assert [len(workload) for workload in life.work(3)] == [5, largest - (1 << 20), 11]
    assert "refused" not in life.log()


def test_a_start_in_vain_is_told_in_one_line_without_the_password(processes, place):
    words = ["--libpq-conninfo", "host=/nowhere password=secret"] if place.kind == "postgres" else [
        "--mysql-host", "/nowhere/socket", "--mysql-password", "secret", "--mysql-db", "jobs"]
    done = subprocess.run(SERVER + ["-q", place.kind, "--verbose", "DEBUG", "-l", "stderr"] + words, stderr=subprocess.PIPE,
                          timeout=50)
    assert done.returncode == 1 and b"secret" not in done.stderr
    assert done.stderr.strip().split(b"\n")[-1].startswith(b"gearman-std server: %s" % (
        b"PostgreSQL" if place.kind == "postgres" else b"MySQL"))


@pytest.mark.parametrize("kind, size", [("mysql", 20000), ("mysql", 1 << 18), ("postgres", 1 << 18)])
def test_while_the_disk_of_the_database_is_full_jobs_are_refused_and_none_is_lost(processes, small_place, tmp_path, kind, size):
    """MariaDB ends itself if the disk becomes full within a large row; it is started again when there is room."""
    small = small_place(kind)
    with ExitStack() as stack:
        life = Life(processes, small, tmp_path)
        stack.callback(life.end, signal.SIGKILL)
        client = stack.enter_context(Client([life.address], command_timeout=60))
        acknowledged, refused = [], []

        def submit():
            workload = b"%d:" % len(acknowledged) + os.urandom(size)
            try:
                client.submit("work", workload, background=True)
            except ServerError as error:
                refused.append(str(error))
                return False
            acknowledged.append(workload)
            return True
        while submit():
            assert len(acknowledged) * size < 1 << 27
        assert len(acknowledged) > 20 and life.waiting() == len(acknowledged)
        assert "cannot be stored at present" in refused[0]
        assert any(reason in refused[0] for reason in (
            "No space left", "is full", "Lost connection", "has gone away", "does not answer")), refused[0]
        assert not submit()
        small.grow()
        until(submit)
        until(lambda: "can be written again" in life.log())
        assert submit()
        assert life.log().count("are refused") == life.log().count("can be written again") == 1
        life.end(signal.SIGKILL)
        life = Life(processes, small, tmp_path)
        stack.callback(life.end, signal.SIGKILL)
        assert life.waiting() == len(acknowledged)
        assert sorted(life.work(len(acknowledged))) == sorted(acknowledged)

"""A server that stands by does not listen while another one has the store, and takes over when that ends, however it ends."""
import logging
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from gearman_std.client.admin import AdminClient
from gearman_std.client.client import Client
from gearman_std.errors import StoreError
from gearman_std.server.server import Server
from gearman_std.store.sqlite import JobStore
from gearman_std.wire.protocol import JOB_CREATED, SUBMIT_JOB_BG
from patience import until
from programs import free_port
from server_tools import TIMEOUT, server_command, server_of

posix = pytest.mark.skipif(os.name != "posix", reason="about signals and processes as POSIX has them")


class Standby:
    """A server that stands by in a thread of its own."""

    def __init__(self, **settings):
        self.server = server_of(listen=["127.0.0.1"], **settings)
        self.begun = threading.Event()
        self.outcomes = []
        self._thread = threading.Thread(target=lambda: self.outcomes.append(self.server.stand_by(self.begun.set)))
        self._thread.start()

    def outcome(self):
        self._thread.join(TIMEOUT)
        assert len(self.outcomes) == 1
        return self.outcomes[0]


def test_it_takes_over_when_the_other_server_ends(place, tmp_path, caplog):
    caplog.set_level(logging.INFO, "gearman_std")
    first = place.serve(store=tmp_path / "jobs.db")
    wire = place.wire(first)
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    wire.response(JOB_CREATED, b"H:t:1")
    standby = Standby(store=tmp_path / "jobs.db")
    assert standby.begun.wait(TIMEOUT) and standby.server.standing_by
    assert standby.server.addresses == [] and not standby.outcomes
    first.stop()
    assert standby.outcome() and not standby.server.standing_by
    place.run(standby.server)
    asker = place.wire(standby.server)
    asker.send(b"show jobs\n")
    asker.expect(b"H:t:1\t0\t0\t1\n.\n")
    asker.send(b"status\n")
    asker.expect(b"f\t1\t0\t0\n.\n")
    said = [record.getMessage() for record in caplog.records]
    assert sum(text.startswith("standing by: another server has ") for text in said) == 1
    assert sum(text.startswith("taking over: ") for text in said) == 1


def test_a_store_that_nobody_has_is_not_waited_for(place, tmp_path):
    standby = Standby(store=tmp_path / "jobs.db")
    assert standby.outcome() and not standby.begun.is_set()
    place.run(standby.server)
    with pytest.raises(RuntimeError, match="needs a store"):
        server_of().stand_by()


def test_a_store_that_is_away_for_a_while_is_waited_for(place, tmp_path, caplog):
    """But not at the first look, which tells what is wrong with the options."""
    class Away(JobStore):
        reasons = ["", "gone", "gone", ""]

        def take(self):
            reason = self.reasons.pop(0) if self.reasons else ""
            if reason:
                raise self.error(reason)
            super().take()
    first = place.serve(store=tmp_path / "jobs.db")
    standby = Standby(store=Away(tmp_path / "jobs.db"))
    until(lambda: not Away.reasons)
    first.stop()
    assert standby.outcome()
    assert [record.getMessage().endswith("jobs.db: gone") for record in caplog.records].count(True) == 1
    place.run(standby.server)
    Away.reasons = ["gone"]
    with pytest.raises(StoreError, match="gone"):
        server_of(store=Away(tmp_path / "other.db")).stand_by()


def test_of_several_that_stand_by_one_takes_over(place, tmp_path):
    first = place.serve(store=tmp_path / "jobs.db")
    others = [Standby(store=tmp_path / "jobs.db") for _ in range(3)]
    assert all(other.begun.wait(TIMEOUT) for other in others)
    first.stop()
    heir = until(lambda: [other for other in others if other.outcomes])[0]
    assert heir.outcome()
    place.run(heir.server)
    for other in others:
        if other is not heir:
            other.server.stop()
    assert sorted(other.outcome() for other in others) == [False, False, True]


@pytest.mark.parametrize("graceful", [False, True])
def test_one_that_is_told_to_stop_meanwhile_does_so(place, tmp_path, graceful):
    place.serve(store=tmp_path / "jobs.db")
    standby = Standby(store=tmp_path / "jobs.db")
    assert standby.begun.wait(TIMEOUT)
    standby.server.stop(graceful)
    assert standby.outcome() is False and standby.server.addresses == []


@pytest.fixture
def heir(place, tmp_path):
    """A server that stands by for one that ends at the first nap, and whose address another socket has; that socket; what to do
    at the third nap, once that is known; and the naps."""
    naps, third = [], []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)

        def nap(seconds):
            naps.append(seconds)
            if len(naps) == 1:
                first.stop()
                first.join(TIMEOUT)
            elif len(naps) == 3:
                third[0]()
        first = place.serve(store=tmp_path / "jobs.db")
        yield server_of(store=tmp_path / "jobs.db", listen=[taken.getsockname()], sleep=nap), taken, third, naps


def test_addresses_that_the_other_server_is_about_to_close_are_waited_for(place, heir):
    server, taken, third, naps = heir
    third.append(taken.close)
    assert server.stand_by()
    place.run(server)
    assert len(naps) == 3


def test_a_stop_while_they_are_waited_for(heir):
    server, _, third, _ = heir
    third.append(server.stop)
    assert server.stand_by()
    server.serve()
    assert server.addresses == []


def test_others_than_that_server_are_not_waited_for_longer(place, tmp_path):
    class Hasty:
        """A clock that is far ahead after each nap."""
        now = 1000.0

        def __call__(self):
            return self.now

        def nap(self, seconds):
            self.now += 60
            first.stop()
            first.join(TIMEOUT)
    first, clock = place.serve(store=tmp_path / "jobs.db"), Hasty()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        second = server_of(store=tmp_path / "jobs.db", listen=[taken.getsockname()], sleep=clock.nap, clock=clock)
        assert second.stand_by()
        with pytest.raises(OSError, match="cannot listen on 127.0.0.1 port"):
            second.bind()
    place.serve(store=tmp_path / "jobs.db")  # which it has let go


# --- The command.


@pytest.fixture
def start(processes, tmp_path):
    """start(words…) starts a server with a store; its log is told to standard error."""
    def start(*words, **options):
        environment = dict(os.environ, **options.pop("environment", {}))
        return processes.start([sys.executable, "-m", "gearman_std", "server", "--config-file", os.devnull, "--print-address",
                                "--sqlite3-db", "jobs.db", "--verbose", "INFO"] + list(words),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=str(tmp_path), env=environment, **options)
    return start


def hear(process, text):
    """Read the log up to a line with a text."""
    for line in process.stderr:
        if text in line:
            return line
    raise AssertionError("it never says %r" % text)


@posix
def test_nothing_acknowledged_is_lost_when_the_first_is_killed(start, tmp_path):
    """The addresses are the same, a port and a Unix socket; each server that is killed has one behind it."""
    words = ["-L", "127.0.0.1", "-p", str(free_port()), "-L", "unix:%s" % (tmp_path / "socket"), "--standby"]
    first = start(*words)
    address = first.stdout.readline().decode().strip()
    first.stdout.readline()
    handles = []
    for _ in range(3):
        second = start(*words)
        hear(second, b"standing by: another server has ")
        stop = threading.Event()

        def submit():
            with Client([address], connect_timeout=1, command_timeout=TIMEOUT) as client:
                while True:
                    try:
                        handles.append(client.submit("f", b"%d" % len(handles), background=True).handle)
                    except Exception:
                        assert stop.is_set()
                        return
        before, thread = len(handles), threading.Thread(target=submit)
        thread.start()
        until(lambda: len(handles) >= before + 20)
        stop.set()
        first.kill()
        first.wait()
        hear(second, b"taking over: ")
        assert second.stdout.readline().decode().strip() == address
        second.stdout.readline()
        thread.join()
        first = second
    with AdminClient(str(tmp_path / "socket")) as admin:
        there = [job.handle for job in admin.jobs()]
    assert len(handles) >= 60 and [handle for handle in there if handle in handles] == handles
    assert len(there) <= len(handles) + 3  # those that were on their way


@posix
def test_signals_reach_one_that_stands_by(start, tmp_path):
    first = start("-L", "unix:%s" % (tmp_path / "one"))
    first.stdout.readline()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        second = start("-L", "unix:%s" % (tmp_path / "two"), "--standby", "-P", "pid", "-l", "log")
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() == "%d\n" % second.pid)
        os.rename(str(tmp_path / "log"), str(tmp_path / "old"))
        second.send_signal(signal.SIGHUP)
        until(lambda: (tmp_path / "log").exists() and "the log file was opened again" in (tmp_path / "log").read_text())
        assert not (tmp_path / "two").exists()
        second.send_signal(number)
        assert second.wait(TIMEOUT) == 0 and second.stdout.read() == b""
        assert not (tmp_path / "pid").exists()
        assert "stopped while it stood by" in (tmp_path / "log").read_text()
    assert first.poll() is None


@posix
def test_the_service_manager_takes_one_that_stands_by_for_ready(start, tmp_path):
    first = start("-L", "unix:%s" % (tmp_path / "one"))
    first.stdout.readline()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(TIMEOUT)

        def heard(text, besides=(b"WATCHDOG=1",)):
            while True:
                message = manager.recv(1000)
                if message.startswith(text):
                    return message
                assert message.startswith(besides)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
        second = start("-L", "unix:%s" % (tmp_path / "two"), "--standby", environment=environment)
        heard(b"READY=1\nSTATUS=standing by")
        heard(b"WATCHDOG=1")
        second.send_signal(signal.SIGHUP)
        heard(b"RELOADING=1\n")
        heard(b"READY=1")
        first.terminate()
        heard(b"READY=1\nSTATUS=listening on %s" % os.fsencode(str(tmp_path / "two")),
              (b"WATCHDOG=1", b"EXTEND_TIMEOUT_USEC="))
        second.terminate()
        heard(b"STOPPING=1")
        assert second.wait(TIMEOUT) == 0


@posix
def test_in_the_background_it_is_started_when_it_stands_by(start, tmp_path):
    first = start("-L", "unix:%s" % (tmp_path / "one"))
    first.stdout.readline()
    second = start("-L", "unix:%s" % (tmp_path / "two"), "--standby", "-d", "-P", "pid", "-l", "log")
    assert second.wait(TIMEOUT) == 0 and not (tmp_path / "two").exists()
    pid = int((tmp_path / "pid").read_text())
    try:
        first.terminate()
        until((tmp_path / "two").exists)
        with AdminClient(str(tmp_path / "two")) as admin:
            assert admin.getpid() == pid
            admin.shutdown()
        until(lambda: not (tmp_path / "pid").exists())
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise


@posix
def test_what_keeps_it_from_taking_over_is_in_the_log(start, tmp_path):
    """Where nobody reads standard error any longer."""
    first = start("-L", "unix:%s" % (tmp_path / "one"))
    first.stdout.readline()
    second = start("-L", "unix:%s" % (tmp_path / "nowhere" / "two"), "--standby", "-l", str(tmp_path / "log"))
    until(lambda: (tmp_path / "log").exists() and "standing by" in (tmp_path / "log").read_text())
    first.kill()
    assert second.wait(TIMEOUT) == 1
    assert "cannot listen on %s: No such file" % (tmp_path / "nowhere" / "two") in (tmp_path / "log").read_text()


def test_it_needs_a_store():
    status, _, errors = server_command("--standby")
    assert status == 2 and "--standby needs -q sqlite3" in errors


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_it_cannot_wait_as_root(tmp_path):
    status, _, errors = server_command("--standby", "--sqlite3-db", str(tmp_path / "db"), "-u", "nobody", "-p", "99",
                                       "-l", "none")
    assert status == 2 and "a port below 1024" in errors and not (tmp_path / "db").exists()


def test_a_server_of_a_program_stands_by_too(tmp_path):
    server = Server(0, ["127.0.0.1"], store=tmp_path / "jobs.db")
    assert server.stand_by()
    with server:
        assert server.address

"""Two servers of one PostgreSQL under load; one dies, stands still or loses the database: nothing acknowledged is lost.

GEARMAN_DEATHS says how often each of these happens: 2 times, unless it is set.
"""
import contextlib
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from crew import AFTER, Crew
from databases import INSTALLED
from patience import until

TIMES = int(os.environ.get("GEARMAN_DEATHS", "2"))
pytestmark = [pytest.mark.long, pytest.mark.skipif(os.name != "posix", reason="about signals as POSIX has them"),
              pytest.mark.timeout(60 + 20 * TIMES)]
PAIRS = 5    # of servers, at most, of which one is killed again and again: a trial is waiting, most of the time
QUICK = 1.0  # seconds, of --take-over, of these
GRACE = 2.0  # seconds beyond AFTER within which the jobs have to be taken over


@pytest.fixture
def crew(postgres, postgres_server, processes, tmp_path):
    driver = INSTALLED["postgres"][0]
    database = postgres()
    database.connect().close()
    crew = Crew(processes, tmp_path, dict.fromkeys(("one", "two"), postgres_server.conninfo()), driver)
    crew.database = postgres_server
    yield crew
    crew.end()


class Wire:
    """A way to the database that can be cut: then nothing passes, and nobody is told; `mend` lets all of that end, and new ones
    pass."""

    def __init__(self, folder, to):
        self.folder = folder
        self._to = os.path.join(to, ".s.PGSQL.5432")
        self._cut, self._ways = threading.Event(), []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(os.path.join(folder, ".s.PGSQL.5432"))
        self._listening.listen(10)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                one, _ = self._listening.accept()
            except OSError:
                return
            two = socket.socket(socket.AF_UNIX)
            two.connect(self._to)
            self._ways += [one, two]
            for pair in ((one, two), (two, one)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source, target):
        try:
            while True:
                data = source.recv(65536)
                while self._cut.is_set():
                    time.sleep(0.01)
                if not data:
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            end.close()

    def cut(self):
        self._cut.set()

    def mend(self):
        ways, self._ways = self._ways, []
        for way in ways:
            try:
                way.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._cut.clear()

    def close(self):
        self._listening.close()
        self.mend()


@pytest.fixture
def pairs(postgres, postgres_server, processes, tmp_path):
    """Crews, each with a database of its own."""
    crews = []
    with contextlib.closing(postgres().connect()) as connection:
        for number in range(min(PAIRS, TIMES)):
            name = "pair%d" % number
            connection.run("DROP DATABASE IF EXISTS " + name)
            connection.run("CREATE DATABASE " + name)
            folder = tmp_path / name
            folder.mkdir()
            crews.append(Crew(processes, folder, dict.fromkeys(("one", "two"), postgres_server.conninfo(name)),
                              INSTALLED["postgres"][0], QUICK))
    yield crews
    for crew in crews:
        crew.end()


def kill_again_and_again(crew, times, over):
    """Until it is `over`, or so many times: the seconds that each take-over took, by the database's clock; how many jobs were
    lost, and how many ran twice."""
    crew.start("one")
    crew.start("two")
    crew.work(1, 1)
    waits = []
    for count in range(times):
        if over.is_set():
            break
        name = ("one", "two")[count % 2]
        time.sleep(0.3)
        killed = time.time()
        crew.servers[name].kill()
        crew.servers[name].wait()
        waits.append(until(lambda: crew.adoption(name, killed), QUICK + 20) - killed)
        crew.start(name)
    return (waits,) + crew.finish()


def test_one_of_two_is_killed_again_and_again(pairs, capsys):
    begun, over = time.monotonic(), threading.Event()
    with ThreadPoolExecutor(len(pairs)) as threads:
        shares = [TIMES // len(pairs) + (number < TIMES % len(pairs)) for number in range(len(pairs))]
        try:
            outcomes = list(threads.map(kill_again_and_again, pairs, shares, [over] * len(pairs)))
        finally:
            over.set()  # where one fails, or Ctrl-C ends it, the others do not go on for minutes
    waits = [wait for some, _, _ in outcomes for wait in some]
    acknowledged = sum(len(crew.acknowledged) for crew in pairs)
    lost = sum(lost for _, lost, _ in outcomes)
    with capsys.disabled():
        print("\n%d kills in %d s, %d acknowledged jobs, %d lost, %d ran twice, taken over after %.2f s, at most %.2f" % (
            TIMES, time.monotonic() - begun, acknowledged, lost, sum(twice for _, _, twice in outcomes),
            sum(waits) / TIMES, max(waits)))
    assert lost == 0 and acknowledged > 20 * TIMES and len(waits) == TIMES
    late = [wait for wait in waits if wait >= QUICK + GRACE]
    assert len(late) <= TIMES // 100, "the system itself may let a process wait"


def check_late(late):
    """A process that stands still between its last look at the clock and the system's send sends that all the same; without the
    look, and without the proof before it, each time something is handed out."""
    assert len(late) <= 1 + TIMES // 20, late


def test_one_that_stood_still_for_too_long_hands_nothing_out(crew, capsys):
    crew.start("one")
    crew.start("two")
    crew.work()
    late = []
    for count in range(TIMES):
        name = ("one", "two")[count % 2]
        time.sleep(0.3)
        stopped = time.time()
        crew.servers[name].send_signal(signal.SIGSTOP)
        adopted = until(lambda: crew.adoption(name, stopped), AFTER + 20)
        crew.servers[name].send_signal(signal.SIGCONT)
        until(lambda: crew.log(name).count("beginning anew") == count // 2 + 1)
        until(lambda: crew.servers[name].stdout.readline())
        late += crew.late(name, stopped, adopted)
    lost, twice = crew.finish()
    with capsys.disabled():
        print("\n%d times stopped, %d acknowledged jobs, %d lost, %d ran twice, %d handed out after the end of an epoch" % (
            TIMES, len(crew.acknowledged), lost, twice, len(late)))
    assert lost == 0
    check_late(late)


def test_one_that_was_cut_off_from_the_database_for_too_long_hands_nothing_out(crew, tmp_path, capsys):
    """The connection is there, but nothing passes."""
    folder = str(tmp_path / "way")
    os.mkdir(folder)
    wire = Wire(folder, crew.database.folder)
    try:
        crew.conninfos["two"] = crew.conninfos["one"].replace(crew.database.folder, folder)
        crew.start("one")
        crew.start("two")
        crew.work()
        late = []
        for count in range(TIMES):
            time.sleep(0.3)
            since = time.time()
            wire.cut()
            adopted = until(lambda: crew.adoption("two", since), AFTER + 20)
            wire.mend()
            until(lambda: crew.log("two").count("beginning anew") == count + 1)
            until(lambda: crew.servers["two"].stdout.readline())
            late += crew.late("two", since, adopted)
        lost, twice = crew.finish()
    finally:
        crew.end()
        for process in crew.servers.values():
            process.terminate()
            process.wait(20)
        wire.close()
    with capsys.disabled():
        print("\n%d times cut off, %d acknowledged jobs, %d lost, %d ran twice, %d handed out after the end of an epoch" % (
            TIMES, len(crew.acknowledged), lost, twice, len(late)))
    assert lost == 0
    check_late(late)


@pytest.mark.parametrize("seconds", [0, AFTER + 1])
def test_the_database_is_started_again(crew, capsys, seconds):
    """Neither server takes the other for dead, however long it was away."""
    crew.start("one")
    crew.start("two")
    crew.work()
    for _ in range(TIMES):
        time.sleep(0.5)
        crew.database.stop()
        time.sleep(seconds)
        crew.database.start()
        before = len(crew.acknowledged)
        until(lambda: len(crew.acknowledged) > before + 20, 60)
    lost, twice = crew.finish()
    with capsys.disabled():
        print("\ndatabase %d times started again, %d acknowledged jobs, %d lost, %d ran twice" % (
            TIMES, len(crew.acknowledged), lost, twice))
    assert lost == 0
    assert "taking over" not in crew.log("one") + crew.log("two")

"""Two servers of one PostgreSQL as processes, with clients and workers that note all that is acknowledged, and all that runs.

The servers get their store by `-q crew:make_store`, which reads where and what it is from the environment.
"""
import os
import queue
import socket
import subprocess
import sys
import threading
import time

from gearman_std.store.database import DatabaseStore
from gearman_std.store.dialects import POSTGRES
from gearman_std.store.drivers import PostgresDatabase
from gearman_std.wire.protocol import (CAN_DO, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, NO_JOB, RESPONSE_MAGIC, SUBMIT_JOB_BG,
                                       WORK_COMPLETE, PacketReader, pack_request)
from patience import until

AFTER = 2.0     # seconds, of --take-over
PAUSE = 0.01    # seconds between two jobs of a client, so that there is work all the time and a processor has time for more
IDLE = 0.01     # seconds between two questions of a worker that has nothing to do


def make_store(durability):
    return DatabaseStore(PostgresDatabase(os.environ["CREW_CONNINFO"], {}, os.environ["CREW_DRIVER"]), POSTGRES,
                         os.environ["CREW_NAME"], durability)


class Link:
    """A connection to a server, which says what it hears; OSError when it breaks."""

    def __init__(self, path):
        self.made = time.time()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(60)
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._reader = PacketReader(RESPONSE_MAGIC)
        self._packets = []

    def ask(self, *packets):
        """Send, and return the next packet that comes: type and arguments."""
        self._socket.sendall(b"".join(packets))
        while not self._packets:
            data = self._socket.recv(65536)
            if not data:
                raise OSError("the end")
            self._packets += self._reader.feed(data)
        kind, arguments = self._packets.pop(0)
        return kind, [bytes(argument) for argument in arguments]

    def close(self):
        self._socket.close()


class Crew:
    """Servers by name, and threads that submit and work until it ends; each event is noted with its unix time."""

    def __init__(self, processes, folder, conninfos, driver, after=AFTER):
        self._processes, self.folder, self.conninfos, self._driver = processes, str(folder), conninfos, driver
        self.after = after
        self.servers = {}
        self.acknowledged = {}      # by number of the job: when
        self.runs = queue.Queue()   # number, server, when its connection was made, when it was handed out, when it was ended
        self._numbers = iter(range(1 << 30))
        self._lock = threading.Lock()
        self._submits, self._works = threading.Event(), threading.Event()
        self._threads = []
        self._asks = None
        self.faults = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, name):
        environment = dict(os.environ, CREW_CONNINFO=self.conninfos[name], CREW_NAME=name, CREW_DRIVER=self._driver)
        environment["PYTHONPATH"] = os.pathsep.join([os.path.dirname(os.path.abspath(__file__)), environment["PYTHONPATH"]])
        self.servers[name] = process = self._processes.start(
            [sys.executable, "-m", "gearman_std", "server", "--config-file", os.devnull, "-L", "unix:" + self.path(name), "-q",
             "crew:make_store", "--take-over", "%s" % self.after, "--job-handle-prefix", "H:" + name, "-l",
             self.path(name + ".log"), "--print-address"], stdout=subprocess.PIPE, env=environment)
        assert process.stdout.readline().decode().strip() == self.path(name), self.log(name)
        return process

    def log(self, name):
        with open(self.path(name + ".log")) as log:
            return log.read()

    def work(self, clients=2, workers=2):
        """Begin to submit and to work, so many at each server."""
        for name in self.conninfos:
            for call, count in ((self._submit, clients), (self._run, workers)):
                for _ in range(count):
                    self._threads.append(threading.Thread(
                        target=self._go_on, args=(call, name), name="submits" if call == self._submit else "works"))
                    self._threads[-1].start()

    def _go_on(self, call, name):
        try:
            while not (self._submits if call == self._submit else self._works).is_set():
                try:
                    link = Link(self.path(name))
                except OSError:
                    time.sleep(0.02)
                    continue
                try:
                    call(link, name)
                except OSError:
                    pass
                finally:
                    link.close()
        except Exception as error:
            self.faults.append(error)

    def _submit(self, link, name):
        while not self._submits.is_set():
            with self._lock:
                number = next(self._numbers)
            kind, _ = link.ask(pack_request(SUBMIT_JOB_BG, b"f", b"", b"%d" % number))
            if kind == JOB_CREATED:
                self.acknowledged[number] = time.time()
            time.sleep(PAUSE)

    def _run(self, link, name):
        asked = [pack_request(CAN_DO, b"f")]
        while not self._works.is_set():
            kind, arguments = link.ask(*(asked + [pack_request(GRAB_JOB)]))
            asked = []
            now = time.time()
            if kind == JOB_ASSIGN:
                self.runs.put((int(arguments[2]), name, link.made, now))
                asked = [pack_request(WORK_COMPLETE, arguments[0], b"")]
            elif kind == NO_JOB:
                time.sleep(IDLE)

    def rows(self, query):
        """What a query finds; all are asked on one connection, because another process of PostgreSQL for each is dear."""
        if self._asks is None:
            self._asks = PostgresDatabase(self.conninfos["one"], {}, self._driver).connect()
        return self._asks.rows(query)

    def adoption(self, name, since):
        """When another server took over the jobs of this one, by the database's clock, if that was after a time; else 0."""
        found = self.rows("SELECT coalesce(adopted_at, 0) FROM gearman_std_servers WHERE name = '%s'" % name)
        return found[0][0] if found and found[0][0] > since else 0

    def finish(self):
        """Submit no more, and have all that is left be done; return how many jobs were lost, and how many ran twice."""
        self._submits.set()
        for thread in self._threads:
            if thread.name == "submits":
                thread.join(60)
        until(lambda: self.rows("SELECT count(*) FROM gearman_std_jobs")[0][0] == 0, 60)
        self.end()
        ran = {}
        for number, *_ in list(self.runs.queue):
            ran[number] = ran.get(number, 0) + 1
        assert not self.faults, self.faults
        return len(set(self.acknowledged) - set(ran)), sum(count > 1 for count in ran.values())

    def late(self, name, made_before, after):
        """The runs that this server handed out, on connections made before a time, after another one."""
        return [run for run in list(self.runs.queue) if run[1] == name and run[2] < made_before and run[3] > after]

    def end(self):
        self._submits.set()
        self._works.set()
        for thread in self._threads:
            thread.join(60)
        if self._asks is not None:
            self._asks.close()
            self._asks = None

#!/usr/bin/env python3
"""Measure job servers, clients and workers on this machine:  python3 tools/bench.py [options]

Runs this package's server and, where it is installed, gearmand, in turn under the same load, round after round, and prints jobs
per second, the server's CPU time per job and its memory, each with its ratio to gearmand.  A ratio is the median of the ratios
of the rounds, so that a machine whose speed drifts disturbs both sides alike; on a busy machine CPU time is the steadiest.
Then it measures how cost grows with size, how long a start with many stored jobs takes, the CPU time of an idle server, this
package's client and worker beside PHP's, and what round trips lose beside a client that submits durable jobs as fast as it can.

The load comes from this process, on the cores that the server does not have; in the last two, all share all cores.
"""
import argparse
import json
import os
import platform
import selectors
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from struct import pack

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
QUICK = 0.04      # the load of --quick, as a part of the full one
DEADLINE = 120.0  # seconds that a run may take, and one second more for each SLOWEST jobs
SLOWEST = 2000
START = 15.0      # seconds that a server may take to listen
IDLE_TIME = 2.0   # seconds during which an idle server is watched

(CAN_DO, PRE_SLEEP, NOOP, SUBMIT_JOB, JOB_CREATED, GRAB_JOB, NO_JOB, JOB_ASSIGN, WORK_COMPLETE, GET_STATUS, ECHO_REQ, ECHO_RES,
 SUBMIT_JOB_BG) = 1, 4, 6, 7, 8, 9, 10, 11, 13, 15, 16, 17, 18

# The answer that a client counts, by what it sends.  It only looks for the head of such packets; no workload looks like one.
ANSWERS = {SUBMIT_JOB: WORK_COMPLETE, SUBMIT_JOB_BG: JOB_CREATED, ECHO_REQ: ECHO_RES}

# name: the load, see `Load`
SERVER_SCENARIOS = [
    ("round trip, serial", dict(jobs=4000)),
    ("round trip, 8 clients x 16, 8 workers", dict(jobs=40000, clients=8, window=16, workers=8)),
    ("round trip, 4 KiB", dict(jobs=30000, clients=8, window=16, workers=8, size=4096)),
    ("round trip, 1 MiB", dict(jobs=200, clients=2, window=2, workers=2, size=1 << 20)),
    ("round trip, 2000 idle workers", dict(jobs=30000, clients=8, window=16, workers=8, idle=2000)),
    ("round trip, serial, 500 workers asleep on the function", dict(jobs=200, sleepers=500)),
    ("round trip, 1000 functions", dict(jobs=30000, clients=8, window=16, workers=8, functions=1000)),
    ("background submit", dict(packet=SUBMIT_JOB_BG, jobs=150000, clients=4, window=100, workers=0, size=64)),
    ("background drain", dict(packet=None, jobs=150000, clients=0, workers=8)),  # of what the one before has queued
    ("echo", dict(packet=ECHO_REQ, jobs=150000, clients=4, window=50, workers=0, size=64)),
]
DURABLE_SCENARIO = ("durable background submit",
                    dict(packet=SUBMIT_JOB_BG, jobs=4000, clients=8, window=250, workers=0, size=64))
BESIDE_SCENARIO = ("round trip, serial, beside durable submits", dict(jobs=2500))
BESIDE_PAIRS = 5  # of round trips alone and beside, in each round
STORED_TITLE = "start with stored jobs"
QUEUE_SIZES = (10000, 100000, 1000000)
STORED_JOBS = ((1000000, 64), (500000, 4096), (2000, 1 << 20))  # jobs, bytes of each
CONNECTION_COUNTS = (100, 1000, 10000)
FUNCTION_COUNTS = ((50, 5), (500, 50), (5000, 500))  # functions, workers that can do all of them

PHP_WORKER = """<?php $w = new GearmanWorker(); $w->addServer("127.0.0.1", (int)$argv[1]);
$w->addFunction("reverse", function ($job) { return strrev($job->workload()); }); while ($w->work());"""
PHP_CLIENT = """<?php $c = new GearmanClient(); $c->addServer("127.0.0.1", (int)$argv[1]); $figures = [];
$n = (int)$argv[2]; $t = microtime(true); for ($i = 0; $i < $n; $i++) $c->doNormal("reverse", "hello$i");
$figures["serial calls"] = $n / (microtime(true) - $t);
$n = (int)$argv[3]; $t = microtime(true); for ($i = 0; $i < $n; $i++) $c->doBackground("nobody", "hello$i");
$figures["background submits"] = $n / (microtime(true) - $t);
$n = (int)$argv[4]; $t = microtime(true);
for ($k = 0; $k < 3; $k++) { for ($i = 0; $i < $n; $i++) $c->addTask("reverse", "hello$i"); $c->runTasks(); }
$figures["batches"] = 3 * $n / (microtime(true) - $t); echo json_encode($figures);"""
OUR_WORKER = """import sys
from gearman_std import Worker
worker = Worker("127.0.0.1:" + sys.argv[1])
worker.register("reverse", lambda job: job.workload[::-1])
worker.work()"""
OUR_CLIENT = """import json, sys, time
from gearman_std import Client
clock, figures = time.perf_counter, {}
calls, submits, batch = map(int, sys.argv[2:])
with Client("127.0.0.1:" + sys.argv[1]) as client:
    begin = clock()
    for i in range(calls):
        client.run("reverse", "hello%d" % i)
    figures["serial calls"] = calls / (clock() - begin)
    begin = clock()
    for i in range(submits):
        client.submit("nobody", "hello%d" % i, background=True)
    figures["background submits"] = submits / (clock() - begin)
    begin = clock()
    for _ in range(3):
        client.wait(client.submit_many([("reverse", "hello%d" % i) for i in range(batch)]))
    figures["batches"] = 3 * batch / (clock() - begin)
print(json.dumps(figures))"""
SUBMITTER = """import socket, sys
from struct import pack
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
body = b"stored\\0\\0" + b"x" * 64
submit, count = b"\\0REQ" + pack(">II", 18, len(body)) + body, 0
while True:
    connection.sendall(submit)
    answer = connection.recv(4096)
    if answer[:8] != b"\\0RES\\0\\0\\0\\x08":
        sys.exit("got %r" % answer)
    count += 1
    if count == 1:
        print("answered", flush=True)"""


class Trouble(Exception):
    """A run that could not be measured."""


def request(packet_type, *arguments):
    """A request packet."""
    body = b"\0".join(arguments)
    return b"\0REQ" + pack(">II", packet_type, len(body)) + body


GRAB = request(GRAB_JOB)


# ----------------------------------------------------------------------------------------------------------------- the load

class LoadClient:
    """A client that keeps some requests under way; it only counts the answers: reading them would be slower than a server.

    Owner: the Load.
    """

    def __init__(self, connection, requests, answer):
        self._connection = connection
        self._requests = requests
        self._answer = b"\0RES" + pack(">I", answer)
        self._tail = b""
        self._next = 0

    def __repr__(self):
        return "<LoadClient, %d sent>" % self._next

    def submit(self, count):
        """Send so many more requests."""
        requests = self._requests
        if len(requests) == 1:
            self._connection.sendall(requests[0] * count)
        else:
            self._connection.sendall(b"".join([requests[(self._next + i) % len(requests)] for i in range(count)]))
        self._next += count

    def receive(self):
        """Read what has arrived; return how many answers it had."""
        data = self._connection.recv(262144)
        if not data:
            raise Trouble("the server closed a connection")
        seam = self._tail + data[:7]
        self._tail = (self._tail + data)[-7:] if len(data) < 7 else data[-7:]
        return data.count(self._answer) + seam.count(self._answer)


class LoadWorker:
    """A worker that sends each workload back.

    Owner: the Load.
    """

    def __init__(self, connection):
        self._connection = connection
        self._data = b""
        self.grabbed = 0

    def __repr__(self):
        return "<LoadWorker, %d jobs>" % self.grabbed

    def receive(self):
        """Read what has arrived and answer it; return how many jobs it had."""
        data = self._connection.recv(262144)
        if not data:
            raise Trouble("the server closed a connection")
        data = self._data + data
        start, jobs, answers = 0, 0, []
        while len(data) - start >= 12:
            end = start + 12 + int.from_bytes(data[start + 8:start + 12], "big")
            if end > len(data):
                break
            packet_type = data[start + 7]
            if packet_type == JOB_ASSIGN:
                handle, _, workload = data[start + 12:end].split(b"\0", 2)
                answers += [request(WORK_COMPLETE, handle, workload), GRAB]
                jobs += 1
            elif packet_type == NOOP:
                answers.append(GRAB)
            elif packet_type == NO_JOB:
                answers.append(request(PRE_SLEEP))
            elif packet_type != ECHO_RES:
                raise Trouble("a worker got %r" % data[start:end][:200])
            start = end
        self._data = data[start:]
        if answers:
            self._connection.sendall(b"".join(answers))
        self.grabbed += jobs
        return jobs


class Load:
    """What one run does to a server.

    `packet` is what `clients` send, each with `window` of them under way, until `jobs` are answered; None: workers take jobs
    that are queued already.  `workers` can do all `functions`; `sleepers` too, but there is nothing left for them when they
    come; `idle` ones can do others.

    Owner: the thread that made it.
    """

    def __init__(self, port, packet=SUBMIT_JOB, jobs=1000, clients=1, window=1, workers=1, size=16, functions=1, idle=0,
                 sleepers=0):
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._connections = []
        self._jobs = jobs
        self._window = window
        names = [b"load%d" % number for number in range(functions)]
        for number in range(idle):
            self._dial().sendall(request(CAN_DO, b"idle%d" % (number % 100)) + request(PRE_SLEEP))
        abilities = b"".join([request(CAN_DO, name) for name in names])
        for _ in range(sleepers + workers):
            self._play(LoadWorker)
            self._connections[-1].sendall(abilities + (request(PRE_SLEEP) if packet is not None else b""))
        workload = b"x" * size
        if packet == ECHO_REQ:
            requests = [request(packet, workload)]
        else:
            requests = [request(packet or SUBMIT_JOB, name, b"", workload) for name in names]
        self._clients = [self._play(lambda connection: LoadClient(connection, requests, ANSWERS[packet]))
                         for _ in range(clients)]
        self._settle()

    def __repr__(self):
        return "<Load on port %d: %d connections>" % (self._port, len(self._connections))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._selector.close()
        for connection in self._connections:
            connection.close()

    def run(self):
        """Run the scenario; return the seconds it took, and the seconds of each job if one at a time was under way."""
        begin, times = time.perf_counter(), []
        if self._clients:
            self._submit_and_wait(begin, times)
        else:
            self._take_what_is_queued(begin)
        return time.perf_counter() - begin, times

    def _submit_and_wait(self, begin, times):
        left = self._jobs
        serial = len(self._clients) == self._window == 1
        answered = 0
        for client in self._clients:
            count = min(self._window, left)
            if count:
                client.submit(count)
            left -= count
        last = begin
        while answered < self._jobs:
            for player in self._ready(begin):
                count = player.receive()
                if player.__class__ is LoadClient and count:
                    answered += count
                    more = min(count, left)
                    if more:
                        player.submit(more)
                        left -= more
                    if serial:
                        now = time.perf_counter()
                        times.append(now - last)
                        last = now

    def _take_what_is_queued(self, begin):
        for connection in self._connections:
            connection.sendall(GRAB)
        taken = 0
        while taken < self._jobs:
            for player in self._ready(begin):
                taken += player.receive()
        self._settle()

    def _ready(self, begin):
        deadline = DEADLINE + self._jobs / SLOWEST
        if time.perf_counter() - begin > deadline:
            raise Trouble("it was not done after %.0f s" % deadline)
        return [key.data for key, _ in self._selector.select(1.0)]

    def _dial(self):
        begin = time.perf_counter()
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self._port), DEADLINE)
                break
            except OSError as error:
                if time.perf_counter() - begin > START:
                    raise Trouble("cannot connect: %s" % error)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.append(connection)
        return connection

    def _play(self, make):
        connection = self._dial()
        player = make(connection)
        self._selector.register(connection, selectors.EVENT_READ, player)
        return player

    def _settle(self):
        """Wait until the server has done what was sent on each connection; jobs that come meanwhile are left to be read."""
        for connection in self._connections:
            connection.sendall(request(ECHO_REQ, b"settled"))
        for connection in self._connections:
            seen = b""
            while not seen.endswith(b"settled"):
                data = connection.recv(65536)
                if not data:
                    raise Trouble("the server closed a connection")
                seen += data


# -------------------------------------------------------------------------------------------------------------- the servers

class ServerProcess:
    """A job server in a process of its own, for a ``with`` block; in a `folder` that stays, or in one of its own.

    Raises Trouble if it does not listen.

    Owner: the thread that made it.
    """

    def __init__(self, command, cores=None, folder=None):
        self._command = command
        self._cores = cores
        self._process = None
        self._stays = folder is not None
        self._folder = folder
        self.port = 0

    def __repr__(self):
        return "<ServerProcess %s>" % self._command

    def __enter__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        if not self._stays:
            self._folder = tempfile.mkdtemp()
        words = shlex.split(self._command.format(port=self.port, folder=self._folder))
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        try:
            if self._cores:
                os.sched_setaffinity(self._process.pid, self._cores)
            self._wait_until_it_listens()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if not self._stays:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_until_it_listens(self):
        end = time.monotonic() + START
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                if self._process.poll() is not None:
                    raise Trouble("it ended at once")
                if time.monotonic() > end:
                    raise Trouble("it never listened")
                time.sleep(0.02)

    def wait_until_it_serves(self):
        """Wait until it has read what it has stored: only then is anybody told about a job."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), DEADLINE) as connection:
                connection.sendall(request(GET_STATUS, b"H:none:1"))
                if not connection.recv(1):
                    raise Trouble("it ended while it read what it has stored")
        except OSError as error:
            raise Trouble("it never served: %s" % error) from None

    def cpu(self):
        """CPU seconds used so far, or None where the system does not tell."""
        tasks = "/proc/%d/task" % self._process.pid
        try:
            total = 0
            for task in os.listdir(tasks):
                with open("%s/%s/schedstat" % (tasks, task)) as file:
                    total += int(file.read().split()[0])
            return total / 1e9
        except OSError:
            return None

    def memory(self):
        """Resident bytes, or None where the system does not tell."""
        try:
            with open("/proc/%d/statm" % self._process.pid) as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return None


def environment():
    """The environment in which programs find this package."""
    paths = [ROOT] + [path for path in [os.environ.get("PYTHONPATH")] if path]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(paths))


def known_servers(options):
    """The commands to compare by name, the yardstick first, each a pair: as it is, and with a queue on disk."""
    servers = {}
    gearmand = shutil.which("gearmand", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if gearmand and not options.alone:
        plain = "%s -p {port} -L 127.0.0.1 -l none -P {folder}/pid" % shlex.quote(gearmand)
        servers["gearmand"] = (plain, plain + " -q libsqlite3 --libsqlite3-db {folder}/queue")
    plain = "%s -m gearman_std server -p {port} -L 127.0.0.1" % shlex.quote(options.python)
    servers["gearman_std"] = (plain, plain + " -q sqlite3 --sqlite3-db {folder}/queue")
    for name, _, command in [server.partition("=") for server in options.server]:
        servers[name] = (command, None)
    return servers


def measure(server, load):
    """Run a load on a server; return the figures."""
    with Load(server.port, **load) as players:
        cpu, memory = server.cpu(), server.memory()
        seconds, times = players.run()
        jobs = load["jobs"]
        figures = {"jobs": jobs, "per_second": jobs / seconds}
        if cpu is not None:
            figures["cpu_us"] = (server.cpu() - cpu) / jobs * 1e6
        if memory is not None:
            figures["memory"] = server.memory()
            figures["memory_per_job"] = (figures["memory"] - memory) / jobs
    if len(times) > 1:
        times.sort()
        figures.update(p50_us=times[len(times) // 2] * 1e6, p99_us=times[len(times) * 99 // 100] * 1e6)
    return figures


# -------------------------------------------------------------------------------------------------------------- the sections

class Bench:
    """The scenarios that were asked for, and their results.

    Owner: the thread that made it.
    """

    def __init__(self, options):
        self._options = options
        self._wanted = [word for word in options.only.split(",") if word]
        self._servers = known_servers(options)
        self._yardstick = next(iter(self._servers))
        self._cores = None  # of the server
        self._all_cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if len(self._all_cores) > 1 and not options.unpinned:
            self._cores = self._all_cores[:1]
            os.sched_setaffinity(0, self._all_cores[1:])
        self.results = {"python": platform.python_version(), "machine": platform.platform(), "servers": {}, "growth": {},
                        "start": {}, "idle": {}, "clients": {}, "beside": {}}
        self.troubles = []

    def __repr__(self):
        return "<Bench of %s>" % ", ".join(self._servers)

    def wants(self, name):
        """Whether a scenario was asked for."""
        return not self._wanted or any(word in name for word in self._wanted)

    def _scaled(self, count, least=1):
        return max(least, int(count * self._options.load))

    def _load(self, load):
        """A load, scaled as asked for."""
        load = dict(load)
        for key in ("jobs", "idle", "sleepers", "functions"):
            if load.get(key, 0) > 1:
                load[key] = self._scaled(load[key], 2)
        return load

    def _start(self, name, durable=False):
        return ServerProcess(self._servers[name][durable], self._cores)

    def _note_trouble(self, what, name, trouble):
        self.troubles.append("%s, %s: %s" % (what, name, trouble))
        print("  %-14s %s" % (name, trouble))

    # servers

    def compare_servers(self):
        """Every scenario on every server, round after round."""
        scenarios = [(name, self._load(load)) for name, load in SERVER_SCENARIOS if self.wants(name)]
        if self.wants("background drain") and not self.wants("background submit"):
            scenarios.insert([name for name, _ in scenarios].index("background drain"),
                             ("background submit", self._load(dict(SERVER_SCENARIOS)["background submit"])))
        results, troubles = self.results["servers"], {}
        for _ in range(self._options.rounds):
            for name in self._servers if scenarios else ():
                try:
                    with self._start(name) as server:
                        for label, load in scenarios:
                            results.setdefault(label, {}).setdefault(name, []).append(measure(server, load))
                except (Trouble, OSError) as trouble:
                    troubles[name] = trouble
            if self.wants(DURABLE_SCENARIO[0]):
                for name in [name for name in self._servers if self._servers[name][1]]:
                    try:
                        with self._start(name, durable=True) as server:
                            figures = measure(server, self._load(DURABLE_SCENARIO[1]))
                        results.setdefault(DURABLE_SCENARIO[0], {}).setdefault(name, []).append(figures)
                    except (Trouble, OSError) as trouble:
                        troubles[name + " with a store"] = trouble
        for label, by_server in results.items():
            self._print_comparison(label, by_server)
        for name, trouble in troubles.items():
            self._note_trouble("servers", name, trouble)

    def _print_comparison(self, label, by_server):
        print("\n" + label)
        for name in by_server:
            print("  %-14s %s" % (name, "  ".join(
                text for text in (self._figure(by_server, name, key, form, scale) for key, form, scale in (
                    ("per_second", "%9.0f jobs/s", 1), ("cpu_us", "cpu %7.1f us/job", 1), ("p50_us", "p50 %6.0f us", 1),
                    ("p99_us", "p99 %6.0f us", 1), ("memory", "memory %6.1f MB", 1e-6),
                    ("memory_per_job", "%+6.0f bytes/job", 1))) if text)))

    def _figure(self, by_server, name, key, form, scale):
        """A figure as text, with its ratio to the yardstick's."""
        runs, base = by_server[name], by_server.get(self._yardstick, [])
        if key not in runs[0]:
            return ""
        text = form % (statistics.median(run[key] for run in runs) * scale)
        pairs = [(run[key], other[key]) for run, other in zip(runs, base) if other.get(key)]
        if key in ("memory", "p50_us", "p99_us") or not pairs or name == self._yardstick:
            return text
        return text + " (x%.2f)" % statistics.median(mine / theirs for mine, theirs in pairs)

    # growth

    def measure_growth(self):
        """Cost against size, one server after the other."""
        for title, method, sizes in (("growth: queued jobs", self._queue_of, QUEUE_SIZES),
                                     ("growth: idle connections", self._with_idle, CONNECTION_COUNTS),
                                     ("growth: functions x workers", self._with_functions, FUNCTION_COUNTS)):
            if not self.wants(title):
                continue
            print("\n" + title)
            for name in self._servers:
                for size in sizes:
                    try:
                        with self._start(name) as server:
                            label, figures = method(server, size)
                    except (Trouble, OSError) as trouble:
                        self._note_trouble(title, name, trouble)
                        break
                    self.results["growth"].setdefault(title, {}).setdefault(name, []).append(dict(figures, size=label))
                    print("  %-14s %12s  %s" % (name, label, "  ".join(
                        "%s %.1f" % (key, value) for key, value in figures.items())))

    def _queue_of(self, server, size):
        count = self._scaled(size, 10)
        before = server.memory() or 0
        fill = measure(server, dict(packet=SUBMIT_JOB_BG, jobs=count, clients=4, window=100, workers=0, size=64))
        empty = measure(server, dict(packet=None, jobs=count, clients=0, workers=8))
        return str(count), {"submit us": fill.get("cpu_us", 0.0), "drain us": empty.get("cpu_us", 0.0),
                            "bytes/job": (fill.get("memory", 0) - before) / count, "full MB": fill.get("memory", 0) / 1e6,
                            "drained MB": empty.get("memory", 0) / 1e6}

    def _with_idle(self, server, size):
        count = self._scaled(size, 10)
        figures = measure(server, dict(jobs=self._scaled(20000, 10), clients=8, window=16, workers=8, idle=count))
        return str(count), {"us/job": figures.get("cpu_us", 0.0), "MB": figures.get("memory", 0) / 1e6}

    def _with_functions(self, server, size):
        functions, workers = (self._scaled(count, 2) for count in size)
        before = server.cpu() or 0.0
        load = dict(jobs=self._scaled(20000, 10), clients=8, window=16, workers=workers, functions=functions)
        with Load(server.port, **load) as players:
            begun = server.cpu() or 0.0
            players.run()
            ended = server.cpu() or 0.0
        return "%d x %d" % (functions, workers), {
            "us/CAN_DO": (begun - before) / functions / workers * 1e6, "us/job": (ended - begun) / load["jobs"] * 1e6,
            "MB": (server.memory() or 0) / 1e6}

    # a start

    def measure_start(self):
        """How long a server with stored jobs takes until it serves."""
        if not self.wants(STORED_TITLE):
            return
        print("\n" + STORED_TITLE)
        for name in [name for name in self._servers if self._servers[name][1]]:
            for jobs, size in STORED_JOBS:
                count = self._scaled(jobs, 10)
                folder = tempfile.mkdtemp()
                try:
                    with ServerProcess(self._servers[name][1], self._cores, folder) as server:
                        measure(server, dict(packet=SUBMIT_JOB_BG, jobs=count, clients=8, workers=0, size=size, functions=100,
                                             window=250 if size < 10000 else 2))
                    begun = time.perf_counter()
                    with ServerProcess(self._servers[name][1], self._cores, folder) as server:
                        server.wait_until_it_serves()
                        figures = {"seconds": time.perf_counter() - begun, "CPU seconds": server.cpu() or 0.0,
                                   "MB": (server.memory() or 0) / 1e6}
                except (Trouble, OSError) as trouble:
                    self._note_trouble(STORED_TITLE, name, trouble)
                    break
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
                label = "%d x %d bytes" % (count, size)
                self.results["start"].setdefault(name, []).append(dict(figures, size=label))
                print("  %-14s %22s  %s" % (name, label, "  ".join("%s %.2f" % pair for pair in figures.items())))

    # idleness

    def measure_idleness(self):
        """The CPU time of a server with connections on which nothing happens."""
        if not self.wants("idle CPU"):
            return
        print("\nidle CPU, %d connections" % self._scaled(1000, 10))
        for name in self._servers:
            try:
                with self._start(name) as server, Load(server.port, jobs=0, idle=self._scaled(1000, 10)):
                    before = server.cpu()
                    if before is None:
                        raise Trouble("the system does not tell")
                    time.sleep(min(IDLE_TIME, IDLE_TIME * self._options.load))
                    share = (server.cpu() - before) / min(IDLE_TIME, IDLE_TIME * self._options.load)
            except (Trouble, OSError) as trouble:
                self._note_trouble("idle CPU", name, trouble)
                continue
            self.results["idle"][name] = share
            print("  %-14s %.3f %% of a core" % (name, share * 100))

    def _share_cores(self):
        """From now on, all programs have all cores."""
        if self._cores:
            self._cores = None
            os.sched_setaffinity(0, self._all_cores)

    # clients

    def compare_clients(self):
        """Clients with workers of the same kind, on the yardstick's server."""
        if not self.wants("clients and workers"):
            return
        self._share_cores()
        python = [self._options.python, "-c"]
        pairs = {"gearman_std": (python + [OUR_CLIENT], python + [OUR_WORKER])}
        php = shutil.which("php")
        if php and not self._options.alone:
            loaded = subprocess.run([php, "-m"], stdout=subprocess.PIPE, universal_newlines=True).stdout.split()
            if "gearman" in loaded:
                pairs = dict({"PHP": ([php, "-r", PHP_CLIENT[5:], "--"], [php, "-r", PHP_WORKER[5:], "--"])}, **pairs)
        counts = [str(self._scaled(count, 2)) for count in (3000, 15000, 2000)]
        results = self.results["clients"]
        for _ in range(self._options.rounds):
            for name, (client, worker) in pairs.items():
                with self._start(self._yardstick) as server:
                    figures = self._run_pair(server, client, worker, counts)
                if figures is None:
                    self._note_trouble("clients and workers", name, "the client failed")
                    continue
                for label, rate in figures.items():
                    results.setdefault(label, {}).setdefault(name, []).append({"per_second": rate})
        print("\nclients and workers on %s: %s calls, %s background submits, batches of %s" % (
            (self._yardstick,) + tuple(counts)))
        for label, by_kind in results.items():
            rates = {name: statistics.median(run["per_second"] for run in runs) for name, runs in by_kind.items()}
            base = by_kind.get("PHP", by_kind["gearman_std"])
            for name, runs in by_kind.items():
                print("  %-20s %-14s %9.0f/s (x%.2f)" % (label, name, rates[name], statistics.median(
                    run["per_second"] / other["per_second"] for run, other in zip(runs, base))))

    def _run_pair(self, server, client, worker, counts):
        port = str(server.port)
        running = subprocess.Popen(worker + [port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        try:
            done = subprocess.run(client + [port] + counts, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE,
                                  universal_newlines=True, env=environment())
        finally:
            running.kill()
            running.wait()
        return json.loads(done.stdout) if done.returncode == 0 else None

    # round trips beside durable submits

    def measure_beside(self):
        """What a client that submits durable jobs, one after the other, costs round trips: beside it against without it."""
        label, load = BESIDE_SCENARIO
        if not self.wants(label):
            return
        self._share_cores()
        load = self._load(load)
        print("\n%s, against without" % label)
        for name in [name for name in self._servers if self._servers[name][1]]:
            pairs = self.results["beside"].setdefault(name, [])
            try:
                for _ in range(self._options.rounds):
                    with self._start(name, durable=True) as server:
                        pairs += [self._pair_of_trips(server, load) for _ in range(BESIDE_PAIRS)]
            except (Trouble, OSError) as trouble:
                self._note_trouble(label, name, trouble)
            if pairs:
                print("  %-14s %s" % (name, "  ".join(
                    [form % statistics.median(pair["beside"][key] / pair["alone"][key] for pair in pairs) for key, form in (
                        ("per_second", "rate x%.2f"), ("p50_us", "p50 x%.2f"), ("p99_us", "p99 x%.2f"))]
                    + ["%s %.0f/s" % (key, statistics.median(pair[key]["per_second"] for pair in pairs)) for key in (
                        "alone", "beside")]
                    + ["durable submits %.0f/s" % statistics.median(pair["durable_per_second"] for pair in pairs)])))

    def _pair_of_trips(self, server, load):
        alone = measure(server, load)
        submitter = subprocess.Popen([self._options.python, "-c", SUBMITTER, str(server.port)], stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL)
        try:
            if submitter.stdout.readline() != b"answered\n":
                raise Trouble("a durable job was not taken")
            before, begin = stored_jobs(server.port), time.perf_counter()
            beside = measure(server, load)
            rate = (stored_jobs(server.port) - before) / (time.perf_counter() - begin)
            if submitter.poll() is not None:
                raise Trouble("the client of durable jobs ended")
        finally:
            submitter.kill()
            submitter.wait()
            submitter.stdout.close()
        return {"alone": alone, "beside": beside, "durable_per_second": rate}


def stored_jobs(port):
    """How many jobs SUBMITTER has submitted to the server so far."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as connection:
        connection.sendall(b"status\n")
        data = b""
        while not data.endswith(b".\n"):
            piece = connection.recv(65536)
            if not piece:
                raise Trouble("the server closed a connection")
            data += piece
    return sum(int(line.split(b"\t")[1]) for line in data.split(b"\n") if line.startswith(b"stored\t"))


def allow_connections():
    """Let this process, and the servers it starts, have as many connections as the system allows."""
    try:
        import resource
    except ImportError:
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD,WORD", help="what has one of these words in its name; see --list")
    parser.add_argument("--list", action="store_true", help="print the names of all that can be measured")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is compared (default: 3)")
    parser.add_argument("--load", type=float, default=1.0, metavar="FACTOR",
                        help="of the numbers of jobs, connections and functions (default: 1)")
    parser.add_argument("--quick", action="store_true", help="one round, and a load of %s" % QUICK)
    parser.add_argument("--json", metavar="FILE", help="also write every figure there")
    parser.add_argument("--python", default=sys.executable, help="the Python that runs this package (default: this one)")
    parser.add_argument("--server", action="append", default=[], metavar="NAME=COMMAND",
                        help="another server to measure; {port} and {folder}, an empty one, are filled in")
    parser.add_argument("--alone", action="store_true", help="measure this package only")
    parser.add_argument("--unpinned", action="store_true", help="let server and load share all cores")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.load = 1, QUICK
    if options.list:
        print("\n".join([name for name, _ in SERVER_SCENARIOS] + [
            DURABLE_SCENARIO[0], "growth: queued jobs", "growth: idle connections", "growth: functions x workers", STORED_TITLE,
            "idle CPU", "clients and workers", BESIDE_SCENARIO[0]]))
        return 0
    allow_connections()
    bench = Bench(options)
    print("Python %(python)s on %(machine)s" % bench.results)
    bench.compare_servers()
    bench.measure_growth()
    bench.measure_start()
    bench.measure_idleness()
    bench.compare_clients()
    bench.measure_beside()
    if options.json:
        with open(options.json, "w") as file:
            json.dump(bench.results, file, indent=1)
    return 1 if bench.troubles else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What the tests share: the project's root, programs that may be missing, and processes that end with the test."""
import gc
import logging
import os
import random
import shutil
import socket
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Every process that a test starts finds the same gearman_std as the test, wherever it runs.
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
os.environ.pop("GEARMAN_SERVERS", None)
# No test needs the system's certificates, which a driver of MySQL would read for each connection, and that takes long.
os.environ["SSL_CERT_FILE"] = os.devnull

import databases  # noqa: E402
from client_tools import make_client, nowhere, serve, silent, two_silent  # noqa: E402,F401
from programs import Processes, free_port  # noqa: E402
from worker_tools import FakeServer  # noqa: E402 (it imports gearman_std, which must be found first)


def pytest_addoption(parser):
    parser.addoption("--shuffle", metavar="SEED", help="run the tests in an order that is another one for each seed")


def pytest_collection_modifyitems(config, items):
    """Shuffle the files, and the tests within each: a fixture of a file is made once."""
    seed = config.getoption("--shuffle")
    if seed is not None:
        chance = random.Random(seed)
        files = sorted({item.fspath for item in items}, key=str)
        places = {path: place for place, path in enumerate(chance.sample(files, len(files)))}
        chance.shuffle(items)
        items.sort(key=lambda item: places[item.fspath])


def pytest_collection_finish():
    """What is there now stays till the end; who looks for garbage during a test need not look at all of it again and again."""
    if hasattr(gc, "freeze"):  # Python 3.7
        gc.freeze()


def pytest_runtest_teardown():
    assert sys.exc_info()[1] is None, "an exception is still in hand, and would be the context of those of other tests"


@pytest.fixture(scope="session")
def root():
    """The folder of the project, or of the single-file build under test."""
    return ROOT


@pytest.fixture(scope="session")
def sources(root):
    """The package's folder; skips where the single-file build is under test."""
    folder = os.path.join(root, "gearman_std")
    if not os.path.isdir(folder):
        pytest.skip("about the package's sources, and this is the single-file build")
    return folder


def missing(what):
    """Skip, or fail where CI promises that everything is there."""
    if os.environ.get("CI"):
        pytest.fail("%s, and CI is set" % what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def require():
    """require(program) returns the program's path; the test is skipped, or fails when CI is set, if it is not installed."""
    def require(program):
        path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin:/usr/local/bin")
        return path or missing("the program %s is not installed" % program)
    require.missing = missing
    return require


@pytest.fixture(scope="session")
def database_server(require):
    """database_server(kind) is PostgreSQL or MariaDB, which runs until the tests are over."""
    servers = {}

    def database_server(kind):
        if kind not in servers:
            program = databases.find_postgres() if kind == "postgres" else databases.find_mysql()
            if program is None:
                require.missing("PostgreSQL is not installed" if kind == "postgres" else "MariaDB is not installed")
            # Nothing has to outlive the machine.
            servers[kind] = databases.PostgresServer(program, "fsync=off") if kind == "postgres" else databases.MysqlServer(
                program, "--innodb-flush-log-at-trx-commit=2")
            servers[kind].start()
        return servers[kind]
    yield database_server
    for server in servers.values():
        server.remove()


@pytest.fixture
def database_place(require, database_server):
    """database_place(kind, driver) is an empty database, as `databases.Place`."""
    def database_place(kind, driver=""):
        if not databases.is_installed(driver or databases.INSTALLED[kind][0]):
            require.missing("no driver of the database is installed: " + ", ".join(databases.DRIVERS[kind]))
        return databases.Place(kind, database_server(kind), driver)
    return database_place


@pytest.fixture
def small_place(database_place):
    """small_place(kind) is a `databases.SmallPlace`."""
    places = []

    def small_place(kind):
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            pytest.skip("only root can mount a small disk")
        server = database_place(kind).server
        try:
            places.append(databases.SmallPlace(kind, server))
        except subprocess.CalledProcessError as error:
            pytest.skip("a small disk cannot be mounted: %s" % error)
        return places[-1]
    yield small_place
    for place in places:
        place.remove()


@pytest.fixture
def postgres_server(database_server):
    """PostgreSQL, which runs until the tests are over."""
    return database_server("postgres")


@pytest.fixture
def postgres(database_place):
    """postgres(name, user) is a database of PostgreSQL; the one that is meant without a name has no tables."""
    return database_place("postgres").database


@pytest.fixture
def localhost(require):
    """The name of the loopback address; skips where the system does not know it, as without a file /etc/hosts."""
    try:
        socket.getaddrinfo("localhost", None)
    except OSError:
        require.missing("the system knows no localhost")
    return "localhost"


@pytest.fixture(autouse=True)
def logger():
    """The package's logger, as it was before when the test is over."""
    logger = logging.getLogger("gearman_std")
    before, level = list(logger.handlers), logger.level
    yield logger
    for handler in list(logger.handlers):
        if handler not in before:
            logger.removeHandler(handler)
            handler.close()
    logger.setLevel(level)


@pytest.fixture
def make_world():
    """make_world(settings of a Core) returns a World; at the end of the test all that was sent must have been looked at."""
    from core_world import World
    worlds = []

    def make_world(**settings):
        worlds.append(World(**settings))
        return worlds[-1]
    yield make_world
    for world in worlds:
        world.ends()


@pytest.fixture
def world(make_world):
    """A World with default settings."""
    return make_world()


@pytest.fixture
def durable(make_world):
    """A World with a store."""
    return make_world(durable=True)


@pytest.fixture
def processes():
    """Starts processes that end with the test."""
    processes = Processes()
    yield processes
    processes.end()


@pytest.fixture(scope="module")
def module_processes():
    """Starts processes that end with the test file."""
    processes = Processes()
    yield processes
    processes.end()


@pytest.fixture(scope="module")
def gearmand(require, module_processes, tmp_path_factory):
    """(host, port) of a gearmand that lives as long as the test file."""
    port = free_port()
    folder = tmp_path_factory.mktemp("gearmand")
    module_processes.start_server([require("gearmand"), "-p", str(port), "-L", "127.0.0.1", "-l", "none",
                                   "-P", str(folder / "pid")], port)
    return ("127.0.0.1", port)


@pytest.fixture(scope="module")
def server(module_processes):
    """(host, port) of our own server's process, which lives as long as the test file."""
    process = module_processes.start([sys.executable, "-m", "gearman_std", "server", "-p", "0", "-L", "127.0.0.1",
                                      "--print-address", "--config-file", os.devnull], stdout=subprocess.PIPE)
    host, _, port = process.stdout.readline().decode().strip().rpartition(":")
    return (host, int(port))


@pytest.fixture
def fake():
    """A job server whose every word is the test's, at 127.0.0.1 and a port of its own."""
    server = FakeServer()
    yield server
    server.close()


@pytest.fixture
def other():
    """A second one."""
    server = FakeServer()
    yield server
    server.close()


@pytest.fixture
def place():
    """Servers in threads, and sockets to them, that end with the test; all that the servers said must have been read."""
    from server_tools import Place
    place = Place()
    yield place
    place.end()

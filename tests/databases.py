"""Database servers that tests start, of the system's packages: each in a folder of its own, on a Unix socket.

Neither runs as root; where the tests do, another user owns the folder.  They end with the tests, also with those that are
killed: a process that reads from this one ends them when there is nothing more to read.
"""
import glob
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from gearman_std.store.dialects import MYSQL, POSTGRES
from gearman_std.store.drivers import MysqlDatabase, PostgresDatabase
from patience import until


def is_installed(module):
    return importlib.util.find_spec(module.partition(".")[0]) is not None


DRIVERS = {"postgres": ["psycopg", "psycopg2", "pg8000.dbapi"], "mysql": ["MySQLdb", "pymysql"]}
# Of each kind of database the drivers that are installed, or one of them, whose absence a test then tells.
INSTALLED = {kind: list(filter(is_installed, modules)) or modules[-1:] for kind, modules in DRIVERS.items()}


# Runs a command as another user, and ends it by a signal when there is no more to read.
_KEEPER = """
import os, subprocess, sys
signal, user, group = map(int, sys.argv[1:4])

def become():
    if user:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
process = subprocess.Popen(sys.argv[4:], preexec_fn=become, stdin=subprocess.DEVNULL)
sys.stdin.buffer.read()
process.send_signal(signal)
sys.exit(process.wait())
"""


def find_program(name, *folders):
    """The path of a program, None if it is not installed."""
    for folder in folders:
        found = sorted(glob.glob(os.path.join(folder, name)))
        if found:
            return found[-1]
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/local/bin")


class DatabaseServer:
    """A database server in a new folder."""

    users = ()
    stop_signal = signal.SIGTERM

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="gearman-db-", dir="/tmp")  # short: the path of a socket has to be
        self.log = os.path.join(self.folder, "log")
        self._user = self._group = 0
        self._keeper = None
        if os.getuid() == 0:
            import pwd
            for name in self.users + ("nobody",):
                try:
                    found = pwd.getpwnam(name)
                    break
                except KeyError:
                    continue
            self._user, self._group = found.pw_uid, found.pw_gid
            os.chown(self.folder, self._user, self._group)

    def _keep(self, number, command, **options):
        numbers = list(map(str, (int(number), self._user, self._group)))
        return subprocess.Popen([sys.executable, "-S", "-c", _KEEPER] + numbers + list(command), cwd=self.folder, **options)

    def run(self, *command):
        """Run a program as the user of the server."""
        process = self._keep(0, command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        told = process.communicate()[0]
        assert process.returncode == 0, told.decode("utf-8", "replace")

    def start(self):
        """Start it, unless it runs; return once it can be asked."""
        if self._keeper is not None:
            return self
        with open(self.log, "ab") as log:
            self._keeper = self._keep(self.stop_signal, self.command(), stdin=subprocess.PIPE, stdout=log, stderr=log)
        until(self._answers, 60)
        return self

    def _answers(self):
        assert self._keeper.poll() is None, self.told()
        return self.answers()

    def lives(self):
        """Whether somebody listens at its socket."""
        with socket.socket(socket.AF_UNIX) as one:
            return one.connect_ex(self.socket) == 0

    def told(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def stop(self):
        if self._keeper is not None:
            self._keeper.stdin.close()
            self._keeper.wait(60)
            self._keeper = None

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class PostgresServer(DatabaseServer):
    """PostgreSQL; `program` is its path."""

    users = ("postgres",)
    stop_signal = signal.SIGINT

    def __init__(self, program, *settings):
        super().__init__()
        self._program = program
        self._settings = settings
        self.socket = os.path.join(self.folder, ".s.PGSQL.5432")
        self.data = os.path.join(self.folder, "data")
        self.run(os.path.join(os.path.dirname(os.path.realpath(program)), "initdb"), "-D", self.data, "-U", "gearman", "-A",
                 "trust", "-E", "UTF8", "--no-locale", "-N")

    def command(self):
        settings = ("listen_addresses=", "unix_socket_directories=" + self.folder, "max_connections=50") + self._settings
        return [self._program, "-D", self.data] + [word for setting in settings for word in ("-c", setting)]

    def answers(self):
        return "ready to accept connections" in self.told().rpartition("starting PostgreSQL")[2]

    def conninfo(self, database="postgres", user="gearman"):
        return "host=%s dbname=%s user=%s" % (self.folder, database, user)


def find_postgres():
    return find_program("postgres", "/usr/lib/postgresql/*/bin")


class MysqlServer(DatabaseServer):
    """MariaDB; `program` is its path."""

    users = ("mysql",)

    def __init__(self, program, *settings):
        super().__init__()
        self._program = program
        self._settings = settings
        self.socket = os.path.join(self.folder, "socket")
        self.data = os.path.join(self.folder, "data")
        self.run(find_program("mariadb-install-db"), "--no-defaults", "--datadir=" + self.data, "--skip-test-db",
                 "--auth-root-authentication-method=normal", "--skip-name-resolve")

    def command(self):
        return [self._program, "--no-defaults", "--datadir=" + self.data, "--socket=" + self.socket, "--skip-networking",
                "--pid-file=" + os.path.join(self.folder, "pid"), "--character-set-server=utf8mb4"] + list(self._settings)

    def answers(self):
        return "ready for connections" in self.told().rpartition(" as process ")[2]


def find_mysql():
    return find_program("mariadbd")


class Place:
    """An empty database of a server: `database(name, user)` makes what a store is told; `dialect` is that of its kind.

    Without a driver that is named, the best is taken that is installed.
    """

    def __init__(self, kind, server, driver=""):
        self.kind = kind
        self.server = server
        self._driver = driver
        self.dialect = POSTGRES if kind == "postgres" else MYSQL
        self.name = "postgres" if kind == "postgres" else "jobs"
        if kind == "mysql":
            self._do(self.database("mysql"), "DROP DATABASE IF EXISTS jobs",
                     "CREATE DATABASE jobs CHARACTER SET utf8mb4")
        else:
            names = [name for name, in self.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
            self.run(*('DROP TABLE "%s"' % name for name in names))

    def database(self, name=None, user=None):
        if self.kind == "postgres":
            return PostgresDatabase(self.server.conninfo(name or self.name, user or "gearman"), {}, self._driver)
        return MysqlDatabase(self.server.socket, None, user or "root", "", name or self.name, {}, self._driver)

    def options(self, name=None):
        """Those of the command `server` that mean this database."""
        if self.kind == "postgres":
            return ["-q", "postgres", "--libpq-conninfo", self.server.conninfo(name or self.name)]
        return ["-q", "mysql", "--mysql-host", self.server.socket, "--mysql-user", "root", "--mysql-db", name or self.name]

    def run(self, *statements):
        """Say this to the database, as somebody else."""
        self._do(self.database(), *statements)

    @staticmethod
    def _do(database, *statements):
        connection = database.connect()
        try:
            for statement in statements:
                connection.run(statement)
        finally:
            connection.close()

    def rows(self, query):
        connection = self.database().connect()
        try:
            return list(map(tuple, connection.rows(query)))
        finally:
            connection.close()


class SmallPlace(Place):
    """One called small whose tables are on a disk of 20 megabytes, which may grow; only root can have it, and the database
    server may end itself when the disk is full."""

    def __init__(self, kind, server):
        super().__init__(kind, server)
        self.name = "small"
        self._folder = os.path.join(server.folder if kind == "postgres" else server.data, "small")
        os.makedirs(self._folder)
        owner = os.stat(server.folder)
        self._mount("-t", "tmpfs", "-o", "size=20m,mode=700,uid=%d,gid=%d" % (owner.st_uid, owner.st_gid), "tmpfs")
        try:
            if kind == "postgres":  # to MariaDB, the folder is a database
                self._do(self.database("postgres"), "CREATE TABLESPACE small LOCATION '%s'" % self._folder,
                         "CREATE DATABASE small TABLESPACE small")
        except BaseException:
            self.remove()
            raise

    def _mount(self, *words):
        subprocess.run(("mount",) + words + (self._folder,), check=True)

    def grow(self):
        """Make room; a server that has ended itself is started again, as the system would do it."""
        self._mount("-o", "remount,size=128m")
        if not self.server.lives():
            self.server.stop()
            self.server.start()

    def remove(self):
        try:
            self.grow()
            if self.kind == "postgres":
                self._do(self.database("postgres"), "DROP DATABASE IF EXISTS small", "DROP TABLESPACE IF EXISTS small")
            else:
                self.run(*("DROP TABLE " + name for name, in self.rows(
                    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'small'")))
        finally:
            subprocess.run(["umount", "--lazy", self._folder], stderr=subprocess.DEVNULL)
            os.rmdir(self._folder)


class Breaking:
    """A database whose connections break: `breaks` has (when, part of a statement) for each time, "before" or "after", or
    "instead": then the connection remains.

    `error` is what is raised then, and `away`, if it is not None, when somebody connects.
    """

    def __init__(self, database):
        self._database = database
        self.breaks = []
        self.error = OSError(104, "Connection reset by peer")
        self.away = None
        self.connections = 0

    def __getattr__(self, name):
        return getattr(self._database, name)

    def connect(self):
        if self.away is not None:
            raise self.away
        self.connections += 1
        return BreakingConnection(self._database.connect(), self)


class BreakingConnection:
    """One of these: after it broke nothing gets through."""

    def __init__(self, connection, owner):
        self._connection = connection
        self._owner = owner
        self._broken = False

    def _call(self, function, statement):
        when = None
        for number, (some, part) in enumerate(self._owner.breaks):
            if part in statement:
                when = some
                del self._owner.breaks[number]
                break
        if when == "instead":
            raise self._owner.error
        if self._broken or when == "before":
            self._break()
        result = function(statement)
        if when == "after":
            self._break()
        return result

    def _break(self):
        self._broken = True
        self._connection.close()
        raise self._owner.error

    def run(self, statement):
        return self._call(self._connection.run, statement)

    def rows(self, query):
        return self._call(self._connection.rows, query)

    def cancel(self):
        self._connection.cancel()

    def close(self):
        self._connection.close()

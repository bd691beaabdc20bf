"""The modules that speak to a database, which users install: which one there is, and what each has to be told.

They are made as the DB-API says, and are imported when a store is opened that needs one.
"""
import os
from importlib import import_module

from ..errors import StoreError
from ..net.logs import own_logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Optional, Tuple

_logger_drivers = own_logger("gearman_std.store")

CONNECT_TIME = 5   # seconds for making a connection, unless the user says otherwise
ANSWER_TIME = 30   # seconds after which a database that has not acknowledged what was sent to it counts as gone

# What libpq reads if the conninfo says nothing, and what pg8000, which is not made of libpq, calls the same.
_CONNINFO = {"host": ("PGHOST", "host"), "port": ("PGPORT", "port"), "user": ("PGUSER", "user"),
             "password": ("PGPASSWORD", "password"), "dbname": ("PGDATABASE", "database"),
             "connect_timeout": ("PGCONNECT_TIMEOUT", "timeout"), "application_name": ("PGAPPNAME", "application_name"),
             "sslmode": ("PGSSLMODE", "ssl_context")}
_MY_CNF = "/etc/my.cnf", "/etc/mysql/my.cnf", "~/.my.cnf"


class DriverConnection:
    """A connection, used in the same way whatever driver made it: a transaction is what is said between BEGIN and COMMIT.

    Owner: the store.
    """

    def __init__(self, connection: "Any") -> None:
        self._connection = connection
        self._cursor = connection.cursor()

    def __repr__(self) -> str:
        return "<DriverConnection of %s>" % type(self._connection).__module__

    def run(self, statement: str) -> int:
        """Carry out a statement; return how many rows it was about."""
        self._cursor.execute(statement)
        return self._cursor.rowcount  # type: ignore[no-any-return]

    def rows(self, query: str) -> "List[Tuple[Any, ...]]":
        """Ask; return all rows of the answer."""
        self._cursor.execute(query)
        return self._cursor.fetchall()  # type: ignore[no-any-return]

    def cancel(self) -> None:
        """Make the statement that another thread waits for end with an error, if the driver can do that."""
        cancel = getattr(self._connection, "cancel", None)
        if cancel is not None:
            cancel()

    def close(self) -> None:
        """Close it, whatever state it is in."""
        # Those of a connection that broke, pg8000 leaves to the garbage collector.
        left = [getattr(self._connection, name, None) for name in ("_sock", "_usock")]
        try:
            self._connection.close()
        finally:
            for thing in left:
                if thing is not None:
                    try:
                        thing.close()
                    except OSError as error:  # what was still to be sent goes nowhere
                        _logger_drivers.debug("closing a connection: %s", error)


class Database:
    """Where a database is, and how to connect to it.  A base class.

    `name` says which it is, without secrets.  `errors` is what its driver raises, also in a DriverConnection.

    Owner: the store.
    """

    title = ""
    packages = ()  # type: Tuple[Tuple[str, str], ...] # modules, the best first, each with the package that has it

    def __init__(self, name: str, secrets: "Tuple[str, ...]", driver: str = "") -> None:
        self.name = name
        self.errors = ()       # type: Tuple[Any, ...]
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)  # so that none is cut by a shorter one
        self._driver = driver  # the module to use, if not the best
        self._module = None    # type: Any

    def __repr__(self) -> str:
        return "<%s %s>" % (type(self).__name__, self.name)

    def connect(self) -> DriverConnection:
        """A new connection.  Raises StoreError if there is no driver, and `errors`."""
        if self._module is None:
            self._module = self._find()
            self.errors = (self._module.Error, OSError)  # the latter is not always made one of the former
        return DriverConnection(self._connect(self._module))

    def _connect(self, module: "Any") -> "Any":
        raise NotImplementedError

    def _find(self) -> "Any":
        """The module of the best driver that is installed."""
        broken = ""
        for name, package in self.packages:
            if self._driver in ("", name):
                try:
                    return import_module(name)
                except ImportError as error:
                    if error.name != name:
                        broken = " (%s: %s)" % (name, str(error).strip().partition("\n")[0])
        choice = [package for _, package in self.packages]
        raise StoreError("%s needs a driver that is not installed%s: pip install %s (or %s)" % (
            self.title, broken, choice[0], ", or ".join(choice[1:])))

    def text_of(self, error: BaseException) -> str:
        """What an error says, in one line and without secrets."""
        first = error.args[0] if error.args else ""
        if isinstance(first, dict):      # pg8000's
            text = first.get("M") or str(error)
        elif isinstance(first, int) and len(error.args) > 1:  # MySQL's drivers'
            text = str(error.args[1])
        else:
            text = str(error)
        text = text.strip().partition("\n")[0].strip() or type(error).__name__
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def code_of(error: BaseException) -> str:
    """The database's own code for an error: five letters of PostgreSQL, a number of MySQL; empty if there is none."""
    first = error.args[0] if error.args else ""
    if isinstance(first, int):  # MySQL's drivers', of which some have five letters, too
        return str(first)
    code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if not code and isinstance(first, dict):
        code = first.get("C")
    return str(code or "")


class PostgresDatabase(Database):
    """A database of PostgreSQL, where `conninfo` says, as libpq reads it, and otherwise the environment."""

    title = "PostgreSQL"
    packages = (("psycopg", "'psycopg[binary]'"), ("psycopg2", "psycopg2-binary"), ("pg8000.dbapi", "pg8000"))

    def __init__(self, conninfo: str = "", environment: "Mapping[str, str]" = os.environ, driver: str = "") -> None:
        self._conninfo = conninfo
        given = read_conninfo(conninfo)
        self._settings = dict({key: environment[variable] for key, (variable, _) in _CONNINFO.items()
                               if variable in environment}, **given)
        name = "PostgreSQL" + "".join(word + self._settings[key] for word, key in ((" database ", "dbname"), (" at ", "host"))
                                      if key in self._settings)
        secrets = (self._settings.get("password", ""), given.get("sslpassword", ""))
        super().__init__(name, secrets + (_secrets_of_uri(conninfo) if _is_uri(conninfo) else ()), driver)

    def _connect(self, module: "Any") -> "Any":
        if module.__name__ == "pg8000.dbapi":
            connection = module.connect(**self._plain_settings())
            connection.autocommit = True
            return connection
        more = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4}  # type: Dict[str, Any]
        if "connect_timeout" not in self._settings:
            more["connect_timeout"] = CONNECT_TIME
        version = module.pq.version() if module.__name__ == "psycopg" else module.extensions.libpq_version()
        if version >= 120000:
            more["tcp_user_timeout"] = ANSWER_TIME * 1000
        more = {key: value for key, value in more.items() if key not in self._settings}
        if module.__name__ == "psycopg":
            return module.connect(self._conninfo, autocommit=True, prepare_threshold=None, **more)
        connection = module.connect(self._conninfo, **more)
        connection.autocommit = True
        return connection

    def _plain_settings(self) -> "Dict[str, Any]":
        """The keywords of pg8000."""
        settings = {"timeout": ANSWER_TIME}  # type: Dict[str, Any]
        for key, value in self._settings.items():
            if key not in _CONNINFO:
                raise StoreError("pg8000 does not know %s, psycopg does: pip install %s" % (key, self.packages[0][1]))
            settings[_CONNINFO[key][1]] = value
        for key in ("port", "timeout"):
            if key in settings:
                settings[key] = int(settings[key])
        if "user" not in settings:
            from getpass import getuser
            settings["user"] = getuser()
        host = settings.setdefault("host", "/var/run/postgresql")
        if host.startswith("/"):
            settings["unix_sock"] = "%s/.s.PGSQL.%d" % (settings.pop("host"), settings.pop("port", 5432))
        mode = settings.pop("ssl_context", "prefer")
        if mode not in ("disable", "allow", "prefer"):
            import ssl
            context = settings["ssl_context"] = ssl.create_default_context()
            context.check_hostname = mode == "verify-full"
            if mode == "require":
                context.verify_mode = ssl.CERT_NONE
        return settings


class MysqlDatabase(Database):
    """A database of MySQL or MariaDB.  What is None is read from the option files, as by other programs."""

    title = "MySQL"
    packages = (("MySQLdb", "mysqlclient"), ("pymysql", "PyMySQL"))

    def __init__(self, host: "Optional[str]" = None, port: "Optional[int]" = None, user: "Optional[str]" = None,
                 password: "Optional[str]" = None, database: "Optional[str]" = None,
                 environment: "Mapping[str, str]" = os.environ, driver: str = "") -> None:
        if password is None:
            password = environment.get("MYSQL_PWD")
        self._settings = {"host": host, "port": port, "user": user, "password": password, "database": database}
        if host is not None and host.startswith("/"):
            self._settings.update(host=None, unix_socket=host)
        name = "MySQL%s%s" % (" database " + database if database else "", " at " + host if host else "")
        super().__init__(name, (password or "",), driver)

    def _connect(self, module: "Any") -> "Any":
        settings = {key: value for key, value in self._settings.items() if value is not None}  # type: Dict[str, Any]
        for path in map(os.path.expanduser, _MY_CNF):
            if os.path.exists(path):
                settings.update(read_default_file=path, read_default_group="client")
        if module.__name__ == "MySQLdb" and "database" in settings:
            settings["db"] = settings.pop("database")
        return module.connect(charset="utf8mb4", autocommit=True, connect_timeout=CONNECT_TIME, read_timeout=ANSWER_TIME,
                              write_timeout=ANSWER_TIME, **settings)


def read_conninfo(text: str) -> "Dict[str, str]":
    """The settings of a conninfo of libpq: words KEY=VALUE, or a URI.  Raises ValueError, without what may be a secret."""
    if _is_uri(text):
        return _read_uri(text)
    settings = {}
    rest = text.strip()
    while rest:
        key, equals, rest = rest.partition("=")
        rest = rest.lstrip()
        value, quoted = "", rest.startswith("'")
        place = int(quoted)
        while place < len(rest) and not (rest[place] == "'" if quoted else rest[place].isspace()):
            place += rest[place] == "\\"
            value += rest[place:place + 1]
            place += 1
        if not equals or not key.strip().isidentifier() or quoted and place >= len(rest):
            raise ValueError("the conninfo is neither words such as host=NAME nor a URI such as postgresql://NAME")
        settings[key.strip()] = value
        rest = rest[place + quoted:].lstrip()
    return settings


def _is_uri(text: str) -> bool:
    return text.startswith(("postgres://", "postgresql://"))


def _read_uri(text: str) -> "Dict[str, str]":
    from urllib.parse import parse_qsl, unquote, urlsplit
    try:
        uri = urlsplit(text)
    except ValueError:  # which may tell the password
        raise ValueError("the conninfo is no URI such as postgresql://NAME, with %XX for special letters") from None
    user, _, password = uri.netloc.rpartition("@")[0].partition(":")
    places = [place.rpartition(":") if place.rpartition(":")[2].isdigit() else (place, "", "")
              for place in uri.netloc.rpartition("@")[2].split(",")]
    settings = {"user": user, "password": password, "dbname": uri.path[1:], "host": ",".join(host for host, _, _ in places),
                "port": ",".join(port for _, _, port in places).strip(",")}
    return dict({key: unquote(value) for key, value in settings.items() if value}, **dict(parse_qsl(uri.query)))


def _secrets_of_uri(text: str) -> "Tuple[str, ...]":
    """What libpq tells of a URI that it does not like: all of it, or a secret as it is written there."""
    from urllib.parse import urlsplit
    uri = urlsplit(text)
    words = [word.partition("=") for word in uri.query.split("&")]
    return (text, uri.netloc.rpartition("@")[0].partition(":")[2]) + tuple(
        value for key, _, value in words if key in ("password", "sslpassword"))

"""Where a database is, and which of the drivers that users install speaks to it; secrets are in no text."""
import sys
from types import ModuleType

import pytest

from gearman_std.errors import StoreError
from gearman_std.store.drivers import MysqlDatabase, PostgresDatabase, code_of, read_conninfo


class FakeConnection:
    autocommit = False

    def __init__(self, keywords):
        self.keywords = keywords

    def cursor(self):
        return None


def fake_driver(monkeypatch, name, **attributes):
    """Have a module of this name imported, whose `connect` notes its arguments."""
    module = ModuleType(name)
    module.Error = type("Error", (Exception,), {})
    module.calls = []

    def connect(*arguments, **keywords):
        module.calls.append((arguments, keywords))
        return FakeConnection(keywords)
    module.connect = connect
    for key, value in attributes.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def version(number):
    return staticmethod(lambda: number)


@pytest.fixture
def no_drivers(monkeypatch):
    for name in ("psycopg", "psycopg2", "pg8000.dbapi", "MySQLdb", "pymysql"):
        monkeypatch.setitem(sys.modules, name, None)


# ----------------------------------------------------------------------------------------------------------- the conninfo

@pytest.mark.parametrize("text, settings", [
    ("", {}),
    ("host=/tmp port=5433", {"host": "/tmp", "port": "5433"}),
    ("host = h  password='a b\\'c\\\\' user=''", {"host": "h", "password": "a b'c\\", "user": ""}),
    ("password=a\\ b", {"password": "a b"}),
    ("postgresql://", {}),
    ("postgresql://u:p%40w@h:5433/d?sslmode=require&connect_timeout=3",
     {"user": "u", "password": "p@w", "host": "h", "port": "5433", "dbname": "d", "sslmode": "require",
      "connect_timeout": "3"}),
    ("postgres://h1:1,h2:2/d", {"host": "h1,h2", "port": "1,2", "dbname": "d"}),
    ("postgresql:///d?host=/tmp", {"dbname": "d", "host": "/tmp"}),
])
def test_a_conninfo(text, settings):
    assert read_conninfo(text) == settings


@pytest.mark.parametrize("text", ["secret", "host=h secret", "password='secret", "=secret", "se cret=1"])
def test_what_is_no_conninfo_is_told_without_its_text(text):
    with pytest.raises(ValueError) as caught:
        PostgresDatabase(text, {})
    assert "neither words such as host=NAME nor a URI" in str(caught.value) and "secret" not in str(caught.value)


def test_the_name_tells_where_it_is_but_no_secret():
    database = PostgresDatabase("host=h dbname=d password=secret", {})
    assert database.name == "PostgreSQL database d at h" and repr(database) == "<PostgresDatabase PostgreSQL database d at h>"
    assert PostgresDatabase("", {"PGHOST": "h", "PGDATABASE": "d", "PGPASSWORD": "secret"}).name == database.name
    assert MysqlDatabase("h", 3306, "u", "secret", "d", {}).name == "MySQL database d at h"


@pytest.mark.parametrize("database", [
    PostgresDatabase("password=secret", {}), PostgresDatabase("", {"PGPASSWORD": "secret"}),
    PostgresDatabase("postgresql://u:secret@h/d", {}), MysqlDatabase(password="secret", environment={}),
    MysqlDatabase(environment={"MYSQL_PWD": "secret"})])
def test_what_an_error_says_is_one_line_without_secrets(database):
    assert database.text_of(ValueError("no secret\nis known")) == "no ***"
    assert database.text_of(ValueError({"M": "wrong secret", "C": "28P01"})) == "wrong ***"
    assert database.text_of(ValueError(1045, "denied secret")) == "denied ***"
    assert database.text_of(ValueError()) == "ValueError"


@pytest.mark.parametrize("conninfo, text", [
    ("postgresql://u:p%40ss@h/d", 'in IPv6 host address in URI: "postgresql://u:p%40ss@h/d"'),
    ("postgresql://u:p%40ss@h/d", "no p%40ss"), ("postgresql://u:p%40ss@h/d", "no p@ss"),
    ("postgresql://h/d?user=u&password=p%40ss", "no p%40ss"), ("postgresql://h/d?sslpassword=p%40ss", "no p%40ss"),
    ("postgresql://u:p%zzss@h/d", 'invalid percent-encoded token: "p%zzss"')])
def test_a_secret_of_a_uri_is_hidden_as_it_is_written_there_too(conninfo, text):
    said = PostgresDatabase(conninfo, {}).text_of(ValueError(text))
    assert "***" in said and "ss" not in said.replace("IPv6 host address", "")


@pytest.mark.parametrize("conninfo", [
    "postgresql://u:[secret]@h/d", "postgresql://u:se\u2100cret@h/d", "postgresql://u:secret@[::1/d"])
def test_what_is_no_uri_is_told_without_its_text(conninfo):
    try:
        PostgresDatabase(conninfo, {})
    except ValueError as error:
        assert str(error) == "the conninfo is no URI such as postgresql://NAME, with %XX for special letters"
        assert error.__suppress_context__
    else:  # as older releases of Python let it pass
        assert "[secret]" in conninfo


def test_what_libpq_says_of_a_uri_is_told_without_its_secret():
    psycopg = pytest.importorskip("psycopg")
    conninfo = "postgresql://u:p%40ss@[::1]x/db"
    try:
        database = PostgresDatabase(conninfo, {}, "psycopg")
    except ValueError as error:
        assert "ss" not in str(error)
        return
    with pytest.raises(psycopg.Error) as caught:
        database.connect()
    assert "p%40ss" in str(caught.value) and "p%40ss" not in database.text_of(caught.value)


def test_the_code_of_an_error():
    assert code_of(ValueError({"M": "deadlock", "C": "40P01"})) == "40P01"
    assert code_of(ValueError(1213, "deadlock")) == "1213"
    error = ValueError("deadlock")
    error.pgcode = "40P01"
    assert code_of(error) == "40P01"
    error = ValueError(1213, "deadlock")
    error.sqlstate = "40001"  # as of newer releases of PyMySQL
    assert code_of(error) == "1213"
    assert code_of(ValueError("?")) == code_of(ValueError()) == ""


# ------------------------------------------------------------------------------------------------------------- the drivers

@pytest.mark.parametrize("database, line", [
    (PostgresDatabase, "PostgreSQL needs a driver that is not installed: pip install 'psycopg[binary]' (or psycopg2-binary, or "
     "pg8000)"),
    (MysqlDatabase, "MySQL needs a driver that is not installed: pip install mysqlclient (or PyMySQL)")])
def test_without_a_driver_the_packages_are_named(no_drivers, database, line):
    with pytest.raises(StoreError) as caught:
        database(environment={}).connect()
    assert str(caught.value) == line


def test_a_driver_that_is_broken_is_passed_over_and_told_if_there_is_no_other(no_drivers, monkeypatch, tmp_path):
    (tmp_path / "psycopg.py").write_text("raise ImportError('no pq wrapper available.\\nAttempts made: ...')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "psycopg")
    with pytest.raises(StoreError, match=r"not installed \(psycopg: no pq wrapper available.\): pip install"):
        PostgresDatabase("", {}).connect()
    module = fake_driver(monkeypatch, "psycopg2", extensions=type("", (), {"libpq_version": version(90600)}))
    PostgresDatabase("", {}).connect()
    assert len(module.calls) == 1


def test_drivers_made_of_libpq_are_given_the_conninfo_and_notice_when_the_database_is_gone(no_drivers, monkeypatch):
    module = fake_driver(monkeypatch, "psycopg", pq=type("", (), {"version": version(160000)}))
    PostgresDatabase("host=h keepalives_idle=77", {"PGCONNECT_TIMEOUT": "3"}).connect()
    assert module.calls == [(("host=h keepalives_idle=77",), {
        "autocommit": True, "prepare_threshold": None, "keepalives_interval": 5, "keepalives_count": 4,
        "tcp_user_timeout": 30000})]


def test_pg8000_is_told_the_same_in_its_own_words(no_drivers, monkeypatch):
    package = ModuleType("pg8000")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "pg8000", package)
    module = fake_driver(monkeypatch, "pg8000.dbapi")
    PostgresDatabase("host=/tmp/x dbname=d user=u", {"PGPASSWORD": "secret", "PGPORT": "5433"}).connect()
    PostgresDatabase("postgresql://u@h/d?sslmode=verify-full&connect_timeout=7", {}).connect()
    context = module.calls[1][1].pop("ssl_context")
    assert context.check_hostname
    assert [keywords for _, keywords in module.calls] == [
        {"unix_sock": "/tmp/x/.s.PGSQL.5433", "database": "d", "user": "u", "password": "secret", "timeout": 30},
        {"host": "h", "database": "d", "user": "u", "timeout": 7}]
    with pytest.raises(StoreError, match="pg8000 does not know service, psycopg does"):
        PostgresDatabase("service=x", {}).connect()


def test_drivers_of_mysql_are_told_what_is_known_and_read_the_rest_from_the_option_file(no_drivers, monkeypatch, tmp_path):
    module = fake_driver(monkeypatch, "pymysql")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".my.cnf").write_text("[client]\nuser = u\n")
    MysqlDatabase("/tmp/my.sock", None, None, "secret", "d", {}).connect()
    (_, keywords), = module.calls
    assert keywords.pop("read_default_file") == str(tmp_path / ".my.cnf")
    assert keywords == {"unix_socket": "/tmp/my.sock", "password": "secret", "database": "d", "read_default_group": "client",
                        "charset": "utf8mb4", "autocommit": True, "connect_timeout": 5, "read_timeout": 30,
                        "write_timeout": 30}

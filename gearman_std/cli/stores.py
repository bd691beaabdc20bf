"""Which store the options of the command `server` ask for."""
import os
import socket

from ..net.addresses import DEFAULT_PORT
from ..store.gearmand_queue import GEARMAND_TABLE
from ..store.sqlite import JobStore
from ..store.store import EVERY, EXIT, Store
from .callables import load_callable
from .common import need_module
from .opening import check_link
from .options import OneOf, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional
    from ..store.drivers import Database
    from .options import Parsed


DATABASE_TYPES = "postgres", "Postgres", "mysql", "MySQL"  # of -q; gearmand's have capital letters


class QueueType(OneOf):
    """A reader of one of several words, or of MODULE:FACTORY.

    Owner: nobody, it does not change.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<QueueType %s>" % ", ".join(self.choices)

    def __call__(self, text: str) -> str:
        return text if ":" in text else super().__call__(text)


def is_database_option(key: str, queue_type: "Optional[str]" = None) -> bool:
    """Whether an option is about a database; with `queue_type`, about the database of that type."""
    beginnings = {"postgres": "libpq_", "mysql": "mysql_"}
    return key.startswith(tuple(beginnings.values()) if queue_type is None else beginnings.get(queue_type.lower(), "-"))


def server_store(options: "Parsed") -> "Optional[Store]":
    """The store that the options ask for, or None.  Raises UsageError."""
    path = options.sqlite3_db
    kind = options.queue_type or ("sqlite3" if path else "builtin")
    if kind == "builtin":
        for key in ("durability", "import_gearmand", "standby", "check_store", "server_name"):
            if getattr(options, key):
                raise UsageError("--%s needs -q %s" % (key.replace("_", "-"), "postgres or mysql" if key == "server_name"
                                                       else "sqlite3"))
        return None
    if options.store_queue_on_shutdown and options.durability not in (None, EXIT):
        raise UsageError("--store-queue-on-shutdown is not --durability %s" % options.durability)
    durability = EXIT if options.store_queue_on_shutdown else options.durability or EVERY
    if kind in DATABASE_TYPES:
        return _database_store(options, kind.lower(), durability)
    if ":" in kind:
        for key in ("sqlite3_db", "import_gearmand", "check_store"):
            if getattr(options, key):
                raise UsageError("--%s needs -q sqlite3" % key.replace("_", "-"))
        return _made_store(kind, durability)
    if not path:
        raise UsageError("-q %s needs --sqlite3-db FILE" % kind)
    need_module("sqlite3", "a queue on disk")
    table = options.libsqlite3_table or GEARMAND_TABLE
    gearmand_queue = None
    if options.import_gearmand:
        file = options.import_gearmand
        if ":" in file and not os.path.exists(file):
            file, _, table = file.rpartition(":")
        gearmand_queue = file, table
    return JobStore(path, durability, gearmand_queue, check=options.check_store, _check_link=check_link)


def _database_store(options: "Parsed", kind: str, durability: str) -> Store:
    """The store in PostgreSQL or MySQL."""
    from ..store.database import DatabaseStore
    from ..store.dialects import MYSQL, POSTGRES
    from ..store.drivers import MysqlDatabase, PostgresDatabase
    for key in ("sqlite3_db", "check_store"):
        if getattr(options, key):
            raise UsageError("--%s needs -q sqlite3" % key.replace("_", "-"))
    name = options.server_name or "%s:%d" % (socket.gethostname(), options.port or DEFAULT_PORT)
    try:
        database = MysqlDatabase(
            options.mysql_host, options.mysql_port, options.mysql_user, options.mysql_password,
            options.mysql_db) if kind == "mysql" else PostgresDatabase(options.libpq_conninfo or "")  # type: Database
        return DatabaseStore(database, MYSQL if kind == "mysql" else POSTGRES, name, durability,
                             gearmand_table=options.import_gearmand)
    except ValueError as error:
        raise UsageError("-q %s: %s" % (kind, error)) from None


def _made_store(word: str, durability: str) -> Store:
    """The store that a factory makes."""
    factory = load_callable(word, word, "MODULE:FACTORY")
    try:
        store = factory(durability)
    except (Exception, SystemExit) as error:  # whatever its code may raise
        raise UsageError("-q %s: %s: %s" % (word, type(error).__name__, " ".join(str(error).split()))) from None
    if not isinstance(store, Store):
        raise UsageError("-q %s has made a %s, which is no gearman_std.store.Store" % (word, type(store).__name__))
    if store.durability != durability:
        raise UsageError("-q %s has made a store of --durability %s, not %s" % (word, store.durability, durability))
    return store

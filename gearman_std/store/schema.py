"""The tables of a store in an SQLite file: how they are made and brought up to date, and whether what is in them is ours.

``PRAGMA application_id`` is 0x47534a51, ``PRAGMA user_version`` the version of the schema, at present 4:

    jobs      one row for each background job
        number      INTEGER  what the handle ends with; never used twice in one file
        handle      BLOB     the whole handle
        function    BLOB     name of the function
        unique_key  BLOB     the unique, empty if it has none
        reducer     BLOB     of a reduce job, else NULL
        priority    INTEGER  0 high, 1 normal, 2 low
        due         REAL     unix time before which it does not run (epoch), 0 for at once
        attempts    INTEGER  how many attempts have failed or were lost
        state       TEXT     'waiting' (also while it runs), 'delayed' (until due), 'held back' (until the job of the same
                             function and unique has ended that came before it), 'set aside'
        error       BLOB     what the last attempt ended with
        schedule    BLOB     the five fields of a recurring job, else NULL
        created     REAL     unix time of the submit
        position    INTEGER  waiting jobs of one priority run in this order: that of a new job is told by its number
        workload    BLOB
    results   one row for each background job that has ended and whose end is kept
        number      INTEGER  what the handle ends with
        handle, function, unique_key, attempts  as in jobs
        outcome     TEXT     'completed', 'failed' or 'cancelled'
        ended       REAL     unix time
        waited, ran REAL     seconds
        text        BLOB     why it failed
        data        BLOB     what its worker sent before its result; `data` and `result` are NULL if they were too large
        result      BLOB
    orders    one row for each order that stands until it is taken back
        name        TEXT     'pause', 'maxqueue', 'create' or 'drain'
        function    BLOB     name of the function, empty for 'drain'
        value       BLOB     of 'maxqueue' the three numbers, else empty
    settings  one row for each name
        'handles'   up to this number handles may have been given out, so the next start begins after it
        'id'        random, made with the file, for releases before 1.1

A release with a newer schema brings the file up to date when it opens it; an older one refuses it.
"""
from itertools import product

from ..errors import StoreError
from .files import APPLICATION_ID
from .gearmand_queue import GEARMAND_TABLE, table_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

# What makes version 1, version 2 … of the schema out of the one before.
MIGRATIONS = (
    ("CREATE TABLE jobs (number INTEGER PRIMARY KEY, handle BLOB NOT NULL, function BLOB NOT NULL, unique_key BLOB NOT NULL, "
     "reducer BLOB, priority INTEGER NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL, state TEXT NOT NULL, "
     "error BLOB NOT NULL, schedule BLOB, created REAL NOT NULL, position INTEGER NOT NULL, workload BLOB NOT NULL)",
     "CREATE TABLE settings (name TEXT PRIMARY KEY, value)",
     "INSERT INTO settings VALUES ('handles', 0), ('id', randomblob(16))"),
    # Of two jobs of a function and unique, the newer one was the one that waited for the end of the other.
    ("UPDATE jobs SET state = 'held back' WHERE state = 'waiting' AND number IN (SELECT max(number) FROM jobs WHERE unique_key "
     "NOT IN (X'', X'2D') AND state <> 'set aside' AND schedule IS NULL GROUP BY function, unique_key HAVING count(*) > 1)",),
    ("CREATE TABLE results (number INTEGER PRIMARY KEY, handle BLOB NOT NULL, function BLOB NOT NULL, "
     "unique_key BLOB NOT NULL, "
     "outcome TEXT NOT NULL, ended REAL NOT NULL, waited REAL NOT NULL, ran REAL NOT NULL, attempts INTEGER NOT NULL, "
     "text BLOB NOT NULL, data BLOB, result BLOB)",),
    ("CREATE TABLE orders (name TEXT NOT NULL, function BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (name, function))",),
)  # type: Sequence[Sequence[str]]

_BYTES, _PERHAPS, _WHOLE, _REAL = (bytes,), (bytes, type(None)), (int,), (float,)
# What the columns of a row of jobs, and of results, may be, in the order in which they are read.
JOB_KINDS = frozenset(product(_BYTES, _BYTES, _BYTES, _BYTES, _WHOLE, _REAL, _WHOLE, _WHOLE, _PERHAPS, _REAL, _WHOLE, _BYTES,
                              _BYTES, _PERHAPS))
END_KINDS = frozenset(product(_BYTES, _BYTES, _BYTES, _BYTES, _REAL, _REAL, _REAL, _WHOLE, _BYTES, _PERHAPS, _PERHAPS, _WHOLE))


def read_pragma(connection: "Any", text: str) -> "Any":
    """What SQLite answers to a PRAGMA, if that is one value."""
    row = connection.execute("PRAGMA " + text).fetchone()
    return row[0] if row else None


def schema_version(connection: "Any", path: str, known: int, gearmand_table: str) -> int:
    """The version of the file's schema, 0 for a new one.  Raises StoreError for other programs' files."""
    version = int(read_pragma(connection, "user_version"))
    if read_pragma(connection, "application_id") == APPLICATION_ID:
        if version > known:
            raise StoreError("%s was written by a newer release: its schema has version %d, this release knows %d"
                             % (path, version, known))
        return version
    strangers = [table for table in table_names(connection) if not table.startswith((gearmand_table, "sqlite_"))]
    if version or strangers:
        raise StoreError("%s is the database of another program" % path)
    return 0


def migrate(connection: "Any", migrations: "Sequence[Sequence[str]]", number: int) -> None:
    """Bring the schema from this version to the next."""
    for statement in migrations[number]:
        connection.execute(statement)
    connection.execute("PRAGMA user_version = %d" % (number + 1))


def check_whole(connection: "Any", path: str) -> None:
    """Raise StoreError for a damaged file; reads all of it."""
    verdict = read_pragma(connection, "quick_check(1)")
    if verdict != b"ok":
        raise StoreError("%s is damaged: %s" % (path, verdict.decode("latin-1").replace("\n", " ")))


def check_no_import(connection: "Any", path: str) -> None:
    """Raise StoreError for jobs of a gearmand that nobody told us to take over."""
    if GEARMAND_TABLE in table_names(connection):
        count = connection.execute('SELECT count(*) FROM "%s"' % GEARMAND_TABLE).fetchone()[0]
        if count:
            raise StoreError("%s holds %d jobs of a gearmand, which have to be imported (--import-gearmand)" % (path, count))


def read_last_number(connection: "Any", path: str) -> int:
    """Up to which number handles may have been given out."""
    row = connection.execute("SELECT value FROM settings WHERE name = 'handles'").fetchone()
    if row is None or type(row[0]) is not int:
        reason = "the row 'handles' of the table settings makes no sense"
        raise StoreError("%s: %s" % (path, reason), reason)
    return row[0]

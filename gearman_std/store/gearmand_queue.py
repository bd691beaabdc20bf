"""The jobs that a gearmand left in a table of its own, taken over once."""
import os

from ..core.jobs import DELAYED, HANDLE_BLOCK, PRIORITY_CLASSES, PRIORITY_NORMAL, WAITING
from ..core.ledger import ADD, AddRecord
from ..errors import StoreError
from ..net.logs import own_logger
from .files import connect_sqlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple
    GearmandJob = Tuple[bytes, bytes, int, bytes, float]  # unique, function, priority, data, unix time

_logger_import = own_logger("gearman_std.store")

GEARMAND_TABLE = "gearman_queue"


def import_gearmand(connection: "Any", own_path: str, path: str, table: str,
                    add: "Callable[[Sequence[GearmandJob]], None]") -> None:
    """Have `add` write to the store, by `connection`, the jobs of a gearmand's table in an SQLite file, and rename the table so
    that they are taken over once only.

    `own_path` is the store's file.  Raises StoreError, and what sqlite3 raises.
    """
    source = connection
    try:
        if path != own_path:
            if not os.path.exists(path):
                raise StoreError("%s: there is no such file to import" % path)
            source = connect_sqlite(path)
            source.text_factory = bytes
        source.execute("BEGIN IMMEDIATE")
        tables = table_names(source)
        old = table + "_imported"
        if table not in tables:
            if old not in tables:
                raise StoreError("%s has no table %s to import" % (path, table))
            source.execute("ROLLBACK")
            _logger_import.info("%s: the table %s was imported before", path, table)
            return
        jobs = read_gearmand_table(source, table)
        while old in tables:
            old += "_too"
        source.execute("ALTER TABLE %s RENAME TO %s" % (_quoted(table), _quoted(old)))
        if source is not connection:
            connection.execute("BEGIN IMMEDIATE")
        add(jobs)
        # Ours first: after a crash between the two, jobs are there twice rather than not at all.
        connection.execute("COMMIT")
        if source is not connection:
            source.execute("COMMIT")
    finally:
        if source is not connection:
            source.close()
    _logger_import.warning("%s: %d jobs imported from the table %s, which is now called %s", path, len(jobs), table, old)


def read_gearmand_table(connection: "Any", table: str) -> "List[GearmandJob]":
    """The jobs of a table that gearmand's libsqlite3 queue made, in their order: (unique, function, priority, data, unix time).

    Payloads may be NULL, which is how it stores empty ones; tables of old releases have no column `when_to_run`.  Raises
    StoreError if it is no such table.
    """
    columns = [row[1].decode() for row in connection.execute("PRAGMA table_info(%s)" % _quoted(table))]
    when = "when_to_run" if check_gearmand_columns(table, columns) else "0"
    return [gearmand_job(*row) for row in connection.execute(
        "SELECT unique_key, function_name, priority, CAST(data AS BLOB), CAST(%s AS REAL) FROM %s ORDER BY rowid"
        % (when, _quoted(table)))]


def check_gearmand_columns(table: str, columns: "Iterable[str]") -> bool:
    """Whether a gearmand's table with these columns knows when jobs are due.  Raises StoreError if it is no such table."""
    missing = sorted({"unique_key", "function_name", "priority", "data"}.difference(columns))
    if missing:
        raise StoreError("the table %s is not gearmand's: it has no column %s" % (table, ", ".join(missing)))
    return "when_to_run" in columns


def gearmand_job(unique: "Optional[bytes]", function: "Optional[bytes]", priority: int, data: "Optional[bytes]",
                 due: "Optional[float]") -> "GearmandJob":
    """A job of a row of such a table."""
    # A unique of 64 bytes was stored with a NUL in place of its last.
    return ((unique or b"").partition(b"\0")[0], (function or b"").partition(b"\0")[0],
            priority if priority in PRIORITY_CLASSES else PRIORITY_NORMAL, data or b"", max(0.0, due or 0.0))


def records_of_gearmand(jobs: "Sequence[GearmandJob]", handle_prefix: bytes, wall: float, number: int,
                        numbers: "Callable[[int], int]") -> "Tuple[List[AddRecord], int]":
    """The records that add a gearmand's jobs, with handles after `number`, and the number of the last of these."""
    records = []
    for count, (unique, function, priority, data, when) in enumerate(jobs):
        if count % (HANDLE_BLOCK - 1) == 0:
            number = numbers(number)
        number += 1
        records.append(AddRecord(ADD, b"%s:%d" % (handle_prefix, number), function, unique, data, None, priority,
                                 when, 0, DELAYED if when else WAITING, b"", None, wall, 0))
    return records, number


def table_names(connection: "Any") -> "List[str]":
    """The tables of an SQLite file, whose texts are read as bytes."""
    return [name.decode() for name, in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def _quoted(name: str) -> str:
    return '"%s"' % name.replace('"', '""')

"""All that is said to a database, as text: the tables, who may write, what a batch of records does, what a start reads."""
import os
from binascii import crc32

from ..core.handles import handle_number
from ..core.jobs import DELAYED, HELD, PRIORITY_CLASSES, STORED_STATES, WAITING, place_of
from ..core.ledger import ADD, CHANGE, KEEP, ORDER, REMOVE, UPDATE, AddRecord
from ..core.standing import PAUSE
from ..core.statistics import END_CANCELLED, END_COMPLETED, END_FAILED
from .dialects import JOBS_TABLE, META_TABLE, ORDERS_TABLE, RESULTS_TABLE, SCHEMA_VERSION, SERVERS_TABLE, TABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple
    from ..core.ledger import KeepRecord, Record
    from .dialects import Dialect

STATEMENT_SIZE = 1 << 20  # letters, about, of a statement that is about many rows
ROOM_ROW = 1500           # bytes, at most, of a row that looks for room
MOST_ROWS = 1000          # that one statement is about, at most
FORGOTTEN = "forgotten"   # the row of the table meta about servers that have none any longer
MOST_HANDLES = (1 << 63) - 1
MOST_ERROR = 1 << 16      # bytes of what an attempt ended with that are stored
_JOB = ("handle, function_name, unique_key, workload, reducer, priority, due, attempts, state, error, schedule, created, "
        "position")
OUTCOMES = END_COMPLETED, END_FAILED, END_CANCELLED
# What is so of each row that makes sense.
_SENSIBLE = {JOBS_TABLE: "state IN ('%s') AND priority IN %s" % ("', '".join(STORED_STATES), PRIORITY_CLASSES),
             RESULTS_TABLE: "outcome IN ('%s')" % "', '".join(OUTCOMES)}
_RESULT = "handle, function_name, unique_key, outcome, ended, waited, ran, attempts, text, data, result"


class Statements:
    """What the server of this name says in a dialect.

    Only numbers, hexadecimal digits and words of ours get into a text, and the name, which has no quotes and no backslashes.

    Owner: the store.
    """

    def __init__(self, dialect: "Dialect", server: str) -> None:
        self._dialect = dialect
        self._server = server
        value = dialect.value
        self._value = value
        # Between the digits of two values.
        self._value_comma = value.partition("%s")[2] + "," + value.partition("%s")[0]
        self._job_row = "(%s,'%s',%s,%s,%%s,%%d,%%r,%%d,'%%s',%s,%%s,%%r,%%d,%s)" % (
            value, server, value, value, value, value)
        self._result_row = "(%s,'%s',%s,%s,'%%s',%%r,%%r,%%r,%%d,%s,%%s,%%s)" % (value, server, value, value, value)
        self._words = {"meta": META_TABLE, "servers": SERVERS_TABLE, "jobs": JOBS_TABLE, "results": RESULTS_TABLE,
                       "orders": ORDERS_TABLE,
                       "server": server, "clock": dialect.clock, "schema": dialect.schema, "version": SCHEMA_VERSION}
        self.most_bytes = 0  # how large a workload may be, or a result with its data
        self._size = 0       # letters that a statement about many rows has, about
        self.limit(0)

    def __repr__(self) -> str:
        return "<Statements of %s for %s>" % (self._server, self._dialect.title)

    def _text(self, text: str, **more: "Any") -> str:
        return text.format(**self._words, **more)

    # -------------------------------------------------------------------------------------------------------------- tables

    def columns(self) -> str:
        """Which of our tables there are: names, each with the name of a column."""
        return self._text("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = {schema} AND "
                          "table_name IN ('{meta}', '{servers}', '{jobs}', '{results}', '{orders}')")

    def create(self, is_first: bool) -> "List[str]":
        """Make the tables that are missing; if `is_first`, say whose they are."""
        ends = self._dialect.table_ends
        texts = ["CREATE TABLE IF NOT EXISTS %s (%s)%s" % (
            table, ", ".join(map(self._column, columns.split(", "))), ends.get(table, self._dialect.table_end))
            for table, columns in TABLES.items()]
        if is_first:
            texts.insert(1, self._text("INSERT INTO {meta} VALUES ('application', 'gearman_std'), ('version', '{version}')"))
        return texts

    def _column(self, column: str) -> str:
        name, kind, *rest = column.split(" ", 2)
        return " ".join([name, self._dialect.types[kind]] + rest)

    def marks(self) -> str:
        """Ask for the rows of the table meta."""
        return self._text("SELECT name, value FROM {meta}")

    def rehearse(self) -> "List[str]":
        """Each statement that a server may need, for no row: those fail for which rights are missing."""
        texts = []
        for table, column in ((JOBS_TABLE, "state"), (RESULTS_TABLE, "outcome"), (ORDERS_TABLE, "name"),
                              (SERVERS_TABLE, "name")):
            texts += ["SELECT count(*) FROM %s WHERE 1 = 0" % table, "UPDATE %s SET %s = '' WHERE 1 = 0" % (table, column),
                      "DELETE FROM %s WHERE 1 = 0" % table, "INSERT INTO %s SELECT * FROM %s WHERE 1 = 0" % (table, table)]
        return texts

    # ------------------------------------------------------------------------------------------------------ who may write

    def look(self) -> str:
        """The row of this server, which nobody else changes before the end of the transaction: epoch, batch, handles, how
        long ago it wrote, seconds, and 1 if its epoch is over, because it has ended or another one has its jobs."""
        return self._text("SELECT epoch, batch, handles, {clock} - seen, CASE WHEN is_over = 1 OR adopted_by IS NOT NULL "
                          "THEN 1 ELSE 0 END FROM {servers} WHERE name = '{server}' FOR UPDATE")

    def enter(self, epoch: int, handles: int) -> str:
        """A row for this server, which has none; epochs and handles go on after these."""
        return self._text("INSERT INTO {servers} VALUES ('{server}', {epoch}, 0, 0, 0, {handles}, 0, 1, NULL, NULL)",
                          epoch=epoch, handles=handles)

    def forgotten(self, locked: bool = False) -> str:
        """What the table meta says of servers whose rows were removed; if `locked`, nobody else changes that then."""
        return self._text("SELECT value FROM {meta} WHERE name = '{forgotten}'{lock}", forgotten=FORGOTTEN,
                          lock=" FOR UPDATE" * locked)

    def useless(self, silence: float, locked: bool = False) -> str:
        """The other servers that nothing is stored for, and that have been silent for so long: names, epochs and handles; if
        `locked`, nobody else changes their rows then."""
        unused = ["NOT EXISTS (SELECT 1 FROM %s AS theirs WHERE theirs.server = %s.name)" % (table, SERVERS_TABLE)
                  for table in (JOBS_TABLE, RESULTS_TABLE, ORDERS_TABLE)]
        return self._text("SELECT name, epoch, handles FROM {servers} WHERE name <> '{server}' AND seen < {clock} - {silence} "
                          "AND {unused} ORDER BY name{lock}", silence=silence, unused=" AND ".join(unused),
                          lock=" FOR UPDATE" * locked)

    def forget(self, names: "Iterable[str]", forgotten: str, is_first: bool) -> "List[str]":
        """Remove the rows of these servers, and note this of them."""
        note = ("INSERT INTO {meta} VALUES ('%s', '%s')" if is_first else
                "UPDATE {meta} SET value = '%s' WHERE name = '%s'") % (
                    (FORGOTTEN, forgotten) if is_first else (forgotten, FORGOTTEN))
        return [self._text(note), self._text("DELETE FROM {servers} WHERE name IN ('%s')" % "', '".join(names))]

    def claim(self, epoch: int, handles: int, take_over: float) -> str:
        """A new epoch begins; up to this number, handles may be given out."""
        return self._text("UPDATE {servers} SET epoch = {epoch}, batch = batch + 1, seen = {clock}, started = {clock}, "
                          "handles = {handles}, take_over = {take_over}, is_over = 0, adopted_by = NULL, adopted_at = NULL "
                          "WHERE name = '{server}'", epoch=epoch, handles=min(handles, MOST_HANDLES), take_over=take_over)

    def prove(self, epoch: int, batch: int, handles: int) -> str:
        """The beginning of each transaction that writes: is about no row if the epoch is over."""
        return self._text("UPDATE {servers} SET batch = {batch}, seen = {clock}, handles = {handles} "
                          "WHERE name = '{server}' AND epoch = {epoch}", epoch=epoch, batch=batch,
                          handles=min(handles, MOST_HANDLES))

    def stay(self) -> str:
        """The end of a transaction that took long: the server lives, though it has not been seen since the beginning."""
        return self._text("UPDATE {servers} SET seen = {clock} WHERE name = '{server}'")

    def leave(self) -> str:
        """The server has ended in order."""
        return self._text("UPDATE {servers} SET is_over = 1 WHERE name = '{server}'")

    # ------------------------------------------------------------------------------------------------------- other servers

    def neighbours(self) -> str:
        """All servers, with what the class Neighbour says of each."""
        return self._text("SELECT name, epoch, {clock} - seen, take_over, is_over, coalesce(adopted_by, ''), "
                          "coalesce({clock} - adopted_at, 0) FROM {servers} ORDER BY name")

    def silent(self, other: str, epoch: int, after: float) -> str:
        """A row if another server may be deposed, whose row nobody else changes then before the end of the transaction."""
        return self._text("SELECT epoch FROM {servers} WHERE name = '{other}' AND epoch = {epoch} AND adopted_by IS NULL AND "
                          "take_over > 0 AND seen < {clock} - greatest(take_over, {after}) FOR UPDATE SKIP LOCKED",
                          other=other, epoch=epoch, after=after)

    def schedules(self, other: str) -> str:
        """The handles of another server's recurring jobs, with their schedules."""
        return self._text("SELECT handle, schedule FROM {jobs} WHERE server = '{other}' AND schedule IS NOT NULL", other=other)

    def adopt(self, other: str, spoilt: "Sequence[bytes]" = ()) -> "List[str]":
        """End the epoch of another server, and have its jobs, and how jobs ended, but for rows that make no sense, and the jobs
        `spoilt`."""
        but = " AND handle NOT IN (%s)" % self._list(spoilt) if spoilt else ""
        return [self._text(text, other=other) for text in (
            "UPDATE {servers} SET epoch = epoch + 1, adopted_by = '{server}', adopted_at = {clock} WHERE name = '{other}'",
            "UPDATE {jobs} SET server = '{server}' WHERE server = '{other}'" + but + " AND " + _SENSIBLE[JOBS_TABLE],
            "UPDATE {results} SET server = '{server}' WHERE server = '{other}' AND " + _SENSIBLE[RESULTS_TABLE])]

    def left(self, other: str) -> str:
        """The handles of rows that another server still has."""
        return self._text("SELECT handle FROM {jobs} WHERE server = '{other}' UNION ALL "
                          "SELECT handle FROM {results} WHERE server = '{other}'", other=other)

    def pauses(self, other: str) -> str:
        """The pauses that stand at another server, of functions of which it has jobs, and not here: with the columns of an
        OrderRecord."""
        return self._text("SELECT name, function_name, value FROM {orders} AS theirs WHERE server = '{other}' AND "
                          "name = '{pause}' AND EXISTS (SELECT 1 FROM {jobs} AS jobs WHERE jobs.server = '{other}' AND "
                          "jobs.function_name = theirs.function_name) AND NOT EXISTS (SELECT 1 FROM {orders} AS ours WHERE "
                          "ours.server = '{server}' AND ours.name = '{pause}' AND ours.function_name = theirs.function_name)",
                          other=other, pause=PAUSE)

    # ------------------------------------------------------------------------------------------------------------- reading

    def job_keys(self, other: str = "") -> str:
        """The handles of this server's jobs, or of those of another one that make sense, in the order in which they are
        restored, each with the bytes of its workload."""
        return self._text("SELECT handle, octet_length(workload) FROM {jobs} WHERE server = '{owner}'{which} ORDER BY "
                          "CASE state WHEN '{delayed}' THEN 1 WHEN '{held}' THEN 2 ELSE 0 END, "
                          "CASE state WHEN '{delayed}' THEN due ELSE 0 END, position, handle", delayed=DELAYED, held=HELD,
                          owner=other or self._server, which=" AND " + _SENSIBLE[JOBS_TABLE] if other else "")

    def result_keys(self, other: str = "") -> str:
        """The same for how jobs have ended."""
        return self._text("SELECT handle, coalesce(octet_length(data), 0) + coalesce(octet_length(result), 0) FROM {results} "
                          "WHERE server = '{owner}'{which} ORDER BY ended, handle", owner=other or self._server,
                          which=" AND " + _SENSIBLE[RESULTS_TABLE] if other else "")

    def jobs_of(self, handles: "Iterable[bytes]") -> str:
        """These jobs, in any order, with the columns of an AddRecord."""
        return "SELECT %s FROM %s WHERE handle IN (%s)" % (_JOB, JOBS_TABLE, self._list(handles))

    def results_of(self, handles: "Iterable[bytes]") -> str:
        """How these jobs ended, in any order, with the columns of a KeepRecord."""
        return "SELECT %s FROM %s WHERE handle IN (%s)" % (_RESULT, RESULTS_TABLE, self._list(handles))

    def _list(self, handles: "Iterable[bytes]") -> str:
        return ",".join([self._value % handle.hex() for handle in handles])

    # ---------------------------------------------------------------------------------------------------- gearmand's table

    def columns_of(self, table: str) -> str:
        """The columns of a table of somebody else's, none if there is no such table."""
        return self._text("SELECT column_name FROM information_schema.columns WHERE table_schema = {schema} AND "
                          "table_name = '{table}'", table=table)

    def gearmand_jobs(self, table: str, times: bool) -> str:
        """What a gearmand left, in its order: unique, function, priority, data and, with `times`, unix time."""
        return "SELECT %s, %s, priority, data, %s FROM %s %s" % (
            self._dialect.text_value % "unique_key", self._dialect.text_value % "function_name",
            "when_to_run" if times else "0", self._dialect.name_value % table, self._dialect.insertion_order)

    def rename(self, table: str, name: str) -> str:
        """Give a table another name."""
        return "ALTER TABLE %s RENAME TO %s" % (self._dialect.name_value % table, self._dialect.name_value % name)

    # ------------------------------------------------------------------------------------------------------------- writing

    def limit(self, size: int) -> None:
        """Note how many bytes a statement may have, where the database says so itself."""
        size = size or self._dialect.statement_size
        self._size = min(STATEMENT_SIZE, size // 4)
        self.most_bytes = (size - self._size) // 2

    def fill(self, size: int) -> "Iterator[str]":
        """Write so many bytes, to see whether there is room for them, in rows that fit into a page of their table.

        InnoDB adds such a row only if there is room left to take it back.  A large one it stores in other pages, up to the last
        that there is; then it cannot take the row back, and ends itself.
        """
        server = crc32(self._server.encode("utf-8"))  # where two servers wrote the same row, one would wait
        return self._add(JOBS_TABLE, (
            self._row_of_job(AddRecord(ADD, b"room:%d:%d" % (server, place), b"", b"", os.urandom(min(size - place, ROOM_ROW)),
                                       None, 0, 0, 0, WAITING, b"", None, 0, 1)) for place in range(0, size, ROOM_ROW)))

    def clear(self) -> "List[str]":
        """Forget all jobs of this server, and how others have ended."""
        return [self._text("DELETE FROM %s WHERE server = '{server}'" % table) for table in ("{jobs}", "{results}", "{orders}")]

    def orders(self) -> str:
        """The orders of this server that stand, with the columns of an OrderRecord."""
        return self._text("SELECT name, function_name, value FROM {orders} WHERE server = '{server}'")

    def order(self, name: str, function: bytes, value: "Optional[bytes]") -> "Iterator[str]":
        """An order stands with this value, or no longer."""
        written = self._value % function.hex()
        yield self._text("DELETE FROM {orders} WHERE server = '{server}' AND name = '{name}' AND function_name = {function}",
                         name=name, function=written)
        if value is not None:
            yield self._text("INSERT INTO {orders} VALUES ('{server}', '{name}', {function}, {value})",
                             name=name, function=written, value=self._value % value.hex())

    def write(self, records: "Iterable[Record]") -> "Iterator[str]":
        """Carry out these records, which are merged first: of each job, each table gets what comes of all of them."""
        merged = Merged(records)
        if merged.removed:
            yield from self._remove(JOBS_TABLE, merged.removed)
        if merged.forgotten:
            yield from self._remove(RESULTS_TABLE, merged.forgotten)
        yield from self._add(JOBS_TABLE, map(self._row_of_job, merged.added.values()))
        for (name, function), value in merged.orders.items():
            yield from self.order(name, function, value)
        yield from self._add(RESULTS_TABLE, map(self._row_of_result, merged.kept.values()))
        yield from self._update(merged.updated.values())
        for handle, changes in merged.changed.items():
            yield "UPDATE %s SET %s WHERE handle = %s" % (
                JOBS_TABLE, ", ".join("%s = %s" % (column, self._changed(value)) for column, value in changes.items()),
                self._value % handle.hex())

    def _remove(self, table: str, handles: "Set[bytes]") -> "Iterator[str]":
        for some in self._joined(map(bytes.hex, handles), self._value_comma):
            yield "DELETE FROM %s WHERE handle IN (%s)" % (table, self._value % some)

    def _add(self, table: str, rows: "Iterator[str]") -> "Iterator[str]":
        for some in self._joined(rows, ","):
            yield self._dialect.add[table] % some

    def _update(self, records: "Iterable[Any]") -> "Iterator[str]":
        rows = (self._dialect.update_row % (record.handle.hex(), record.state, record.attempts, record.due,
                                            record.error[:MOST_ERROR].hex(),
                                            record.position or place_of(handle_number(record.handle))) for record in records)
        for some in self._joined(rows, self._dialect.update_comma):
            yield self._dialect.update % some

    def _joined(self, rows: "Iterator[str]", comma: str) -> "Iterator[str]":
        """All rows, in texts of moderate size."""
        some = []  # type: List[str]
        size = 0
        for row in rows:
            if some and (size + len(row) > self._size or len(some) >= MOST_ROWS):
                yield comma.join(some)
                some, size = [], 0
            some.append(row)
            size += len(row)
        if some:
            yield comma.join(some)

    def _row_of_job(self, record: "AddRecord") -> str:
        (_, handle, function, unique, workload, reducer, priority, due, attempts, state, error, schedule, created,
         position) = record
        return self._job_row % (
            handle.hex(), function.hex(), unique.hex(), "NULL" if reducer is None else self._value % reducer.hex(), priority,
            due, attempts, state, error[:MOST_ERROR].hex(), "NULL" if schedule is None else self._value % schedule.hex(),
            created, position or place_of(handle_number(handle)), workload.hex())

    def _row_of_result(self, record: "KeepRecord") -> str:
        _, handle, function, unique, outcome, ended, waited, ran, attempts, text, data, result = record
        if len(data or b"") + len(result or b"") > self.most_bytes:
            data = result = None
        return self._result_row % (handle.hex(), function.hex(), unique.hex(), outcome, ended, waited, ran, attempts,
                                   text[:MOST_ERROR].hex(), self._changed(data), self._changed(result))

    def _changed(self, value: "Any") -> str:
        return "NULL" if value is None else "%d" % value if isinstance(value, int) else self._value % value.hex()


class Merged:
    """What records come to, by handle: jobs `added`, in place of what is there, others `updated` and `changed`, or `removed`;
    how jobs ended `kept`, or `forgotten`; and `orders` that stand, or not, by name and function.

    Owner: who made it.
    """

    __slots__ = ("added", "updated", "changed", "removed", "kept", "forgotten", "orders")

    def __init__(self, records: "Iterable[Record]") -> None:
        self.added = {}         # type: Dict[bytes, AddRecord]
        self.updated = {}       # type: Dict[bytes, Any]
        self.changed = {}       # type: Dict[bytes, Dict[str, Any]]
        self.removed = set()    # type: Set[bytes]
        self.kept = {}          # type: Dict[bytes, KeepRecord]
        self.forgotten = set()  # type: Set[bytes]
        self.orders = {}        # type: Dict[Tuple[str, bytes], Optional[bytes]]
        for record in records:
            handle, kind = record.handle, record.kind
            if kind == ADD:
                self.added[handle] = record
                self._forget_changes(handle)
                self.removed.discard(handle)
            elif kind == REMOVE:
                self.added.pop(handle, None)
                self._forget_changes(handle)
                self.removed.add(handle)
            elif kind == KEEP:
                self.kept[handle] = record
                self.forgotten.discard(handle)
            elif kind == UPDATE or kind == CHANGE:
                if handle not in self.removed:
                    self._alter(record)
            elif kind == ORDER:
                self.orders[record.name, record.function] = record.value
            else:
                self.kept.pop(handle, None)
                self.forgotten.add(handle)

    def __repr__(self) -> str:
        return "<Merged: %s>" % ", ".join("%d %s" % (len(getattr(self, name)), name) for name in self.__slots__)

    def _forget_changes(self, handle: bytes) -> None:
        self.updated.pop(handle, None)
        self.changed.pop(handle, None)

    def _alter(self, record: "Any") -> None:
        handle, added = record.handle, self.added.get(record.handle)
        if record.kind == CHANGE:
            if added is not None:
                self.added[handle] = added._replace(**{record.column: record.value})
            else:
                self.changed.setdefault(handle, {})[record.column] = record.value
        elif added is not None:
            self.added[handle] = added._replace(state=record.state, attempts=record.attempts, due=record.due,
                                                error=record.error, position=record.position)
        else:
            self.updated[handle] = record

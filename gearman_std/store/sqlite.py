"""Background jobs on disk, in an SQLite file.

It is in WAL mode, with FILE-wal and FILE-shm beside it while it is open, FILE-lock, which keeps a
second server out, and FILE-new while it is written anew.  The module schema says what its tables are.
"""
import os
from heapq import heappop, heappush
from itertools import groupby
from operator import attrgetter

from ..arguments import check_kind, check_path
from ..core.handles import handle_number
from ..core.jobs import (DELAYED, HANDLE_BLOCK, HELD, POSITIONS, PRIORITY_CLASSES, SET_ASIDE, STORED_STATES, WAITING,
                         place_of)
from ..core.ledger import (ADD, CHANGE, KEEP, ORDER, REMOVE, UPDATE, AddRecord, KeepRecord, OrderRecord, UsualJobs,
                           records_of_usual)
from ..core.statistics import END_CANCELLED, END_COMPLETED, END_FAILED
from ..errors import StoreError
from ..net.logs import own_logger
from .files import APPLICATION_ID, StoreFile, connect_sqlite, real_path
from .gearmand_queue import GEARMAND_TABLE, import_gearmand, records_of_gearmand
from .records import LOAD_SIZE, LOAD_STEP, PIECE, ROW_SIZE
from .schema import (END_KINDS, JOB_KINDS, MIGRATIONS, check_no_import, check_whole, migrate, read_last_number, read_pragma,
                     schema_version)
from .store import EVERY, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, List, Optional, Sequence, Tuple, Union
    from ..core.ledger import Piece, Record, UpdateRecord
    from .gearmand_queue import GearmandJob

_logger_store = own_logger("gearman_std.store")

WAL_SIZE = 4 << 20     # bytes, about, that are written to the WAL before they are copied to the file
MANY_ROWS = 50         # rows that one statement adds; with more, it might have more values than the 999 that every SQLite takes
ATTEMPTS = 3           # to open it: a disk may fail for a moment, so what it failed to write is written again
MOST_ROOM = 64 << 20   # bytes for which room is looked for after a disk was full, at most

_INSERT = "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_MANY = _INSERT + ", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)" * (MANY_ROWS - 1)
_UPDATE = "UPDATE jobs SET state = ?, attempts = ?, due = ?, error = ?, position = ? WHERE number = ?"
_CHANGES = {column: "UPDATE jobs SET %s = ? WHERE number = ?" % column for column in ("workload", "schedule", "priority")}
_STATES_READ = {state.encode(): state for state in STORED_STATES}
_REMOVE = "DELETE FROM jobs WHERE number = ?"
_KEEP = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FORGET = "DELETE FROM results WHERE number = ?"
_SET_ORDER = "INSERT OR REPLACE INTO orders VALUES (?, ?, ?)"
_TAKE_BACK = "DELETE FROM orders WHERE name = ? AND function = ?"
_ORDERS = "SELECT name, function, value FROM orders"
_KEPT = ("SELECT handle, function, unique_key, outcome, ended, waited, ran, attempts, text, data, result, number FROM results "
         "ORDER BY ended, number")
_INSERTS = {ADD: _INSERT, KEEP: _KEEP, ORDER: _SET_ORDER}
_OUTCOMES_READ = {outcome.encode(): outcome for outcome in (END_COMPLETED, END_FAILED, END_CANCELLED)}
_SELECT = ("SELECT handle, function, unique_key, workload, priority, created, position, number, reducer, due, attempts, state, "
           "error, schedule")
_SOME = " FROM jobs WHERE number > ? ORDER BY number LIMIT ?"
_SOME_IN_FULL = _SELECT + _SOME
_BY_NUMBER = _SELECT + " FROM jobs WHERE number = ?"
# `place_of(number)`.
_SQL_PLACE = ("(CASE WHEN number >> 32 THEN ((number >> 32) + %d << 17) + (number & %d) ELSE number END * %d)"
              % (1 << 15, HANDLE_BLOCK - 1, POSITIONS))
_IS_EARLY = "position < %s AND state IN ('%s', '%s')" % (_SQL_PLACE, WAITING, SET_ASIDE)
_SELECT_EARLY = "SELECT position, number FROM jobs WHERE " + _IS_EARLY
_LOOK_OVER = "SELECT count(*), max(number), sum(%s) FROM jobs" % _IS_EARLY
# Of jobs that wait for the first time and have nothing unusual, which most have not, all that there is to know; of others,
# no workload.  The handle begins with a text that is given.
_SOME_USUAL = (
    "SELECT handle, function, unique_key, CASE WHEN state = '%s' AND position = %s AND handle = CAST(? || number AS BLOB) AND "
    "length(workload) <= %d AND due = 0 AND attempts = 0 AND error = x'' AND reducer IS NULL AND schedule IS NULL AND "
    "priority IN %s THEN workload END, priority, created"
    % (WAITING, _SQL_PLACE, LOAD_SIZE // LOAD_STEP, PRIORITY_CLASSES) + _SOME)
_USUAL_KINDS = [{bytes}, {bytes}, {bytes}, {bytes}, {int}, {float}]
_MOST_IN_FULL = 15     # pieces


class JobStore(Store):
    """The file that holds the background jobs.

    With `durability` BATCH, what is not flushed is in the WAL.  The end of a job is flushed within a second with EVERY, too:
    after a power failure it may run again.

    `gearmand_queue` is (file, table) of a gearmand whose jobs `open` takes over.  With `check`, `open` reads the whole file to
    see whether it is damaged; without, what is damaged is found when it is read or written.

    It stops being `usable` when what is on the disk cannot be told from what is in the system's memory only, or the file is not
    what it was.

    Owner: the server's dispatcher thread; until it is open, the thread that opens it.
    """

    def __init__(self, path: "Union[str, os.PathLike[str]]", durability: str = EVERY,
                 gearmand_queue: "Optional[Tuple[str, str]]" = None, *, check: bool = False,
                 _connect: "Callable[[str], Any]" = connect_sqlite, _check_link: "Callable[[str], Any]" = bool,
                 _migrations: "Sequence[Sequence[str]]" = MIGRATIONS) -> None:
        check_path("path", path)
        self._file = StoreFile(path, _check_link)
        super().__init__(self.path, durability)
        if gearmand_queue is not None:
            check_kind("gearmand_queue", gearmand_queue, (tuple, list), "a pair of file and table")
            if len(gearmand_queue) != 2:
                raise ValueError("gearmand_queue is %.80r, not a pair of file and table" % (gearmand_queue,))
        self._gearmand_queue = gearmand_queue and (real_path(gearmand_queue[0]), gearmand_queue[1])
        self._connect = _connect
        self._migrations = _migrations
        self._check = check
        self._connection = None   # type: Any
        self._reader = None       # type: Any # keeps SQLite from touching the file when the connection is closed after an error
        self._errors = ()         # type: Tuple[Any, ...] # what sqlite3 raises
        self._early = []          # type: List[Tuple[int, int]] # (position, number) of jobs before some of lower numbers
        self._interrupted = False
        self._unmoved = 0         # bytes, about, in the WAL that are not in the file yet
        self._new = None          # type: Any # the connection to FILE-new, while that is written
        self._synchronous = ""
        self._patience = 0.0      # seconds to wait for another program that has the file locked; 0: as a connection does

    def __repr__(self) -> str:
        return "<JobStore %s, %s>" % (self.path, "open" if self._connection is not None else "closed")

    @property
    def path(self) -> str:
        """Where the file is."""
        return self._file.path

    def take(self) -> None:
        """Keep other servers from the file, as `open` does, and change nothing in it; raises StoreInUse if one has it."""
        self._find_sqlite()
        try:
            self._file.follow()
            self._file.take()
        except self._errors as error:
            raise self.error(error) from None

    def _find_sqlite(self) -> None:
        try:
            from sqlite3 import Error
        except ImportError as error:
            raise StoreError("%s cannot be opened, as this Python has no SQLite: %s" % (self.path, error)) from None
        self._errors = (Error, OSError, OverflowError)

    def open(self, handle_prefix: bytes, wall: float, numbers: "Optional[Callable[[int], int]]" = None) -> None:
        """Open the file, made if it is missing, and take over the jobs of a gearmand; `wall` is the unix time.

        `numbers` gives new handles their numbers, as in the Core.
        """
        self._find_sqlite()
        try:
            for attempt in range(ATTEMPTS):
                try:
                    self._file.follow()
                    self._file.take()
                    self._open_first()
                    break
                except self._errors:
                    self._disconnect()
                    if attempt == ATTEMPTS - 1 or self._interrupted:
                        raise
            if self._gearmand_queue is not None:
                self._import(handle_prefix, wall, numbers or int, *self._gearmand_queue)
                self._file.note()
                self._look_over()
        except self._errors as error:
            self.abandon()
            raise self.error(error) from None
        except StoreError:
            self.abandon()
            raise

    def interrupt(self) -> None:
        """Make `open`, which another thread is in, end soon, with an error unless it was just about to end."""
        self._interrupted = True
        interrupt = getattr(self._connection, "interrupt", None)  # PyPy's connections have none
        if interrupt is not None:
            try:
                interrupt()
            except self._errors as error:  # it has just been closed
                _logger_store.debug("%s: %s", self.path, error)

    def load(self) -> "Iterator[Tuple[Any, ...]]":
        """All jobs, in the order in which to restore them, each a row: handle, function, unique and so on, as in AddRecord."""
        for records in self.load_records():
            for record in records:
                if record.kind == ADD:
                    yield tuple(record[1:])

    def load_records(self) -> "Iterator[List[Record]]":
        """As any Store."""
        for piece in self.load_pieces():
            yield records_of_usual(piece) if isinstance(piece, UsualJobs) else piece

    def load_pieces(self) -> "Iterator[Piece]":
        """As any Store."""
        yield from self._load_orders()
        yield from self._load_ends()
        yield from self._load_jobs()

    def _load_jobs(self) -> "Iterator[Piece]":
        """All jobs, in the order in which to restore them, some at a time, or none when more have to be read first."""
        # Heaps; in `moved` stands None for what is read by its number when it has its turn.
        moved = [(position, number, None) for position, number in self._early]  # type: List[Tuple[int, int, Any]]
        early = {number for _, number in self._early}
        delayed = []  # type: List[Any]
        held = []     # type: List[Any]
        some = []     # type: List[AddRecord]
        number = float("-inf")  # type: Any # the last one that was read
        prefix = b""  # of handles
        in_full = patience = 0  # pieces that are read in full before the next one is asked for usual jobs alone
        execute = self._connection.execute
        try:
            while True:
                if not in_full:
                    columns = list(zip(*execute(_SOME_USUAL, (prefix, number, LOAD_STEP)).fetchall()))
                    if not columns:
                        break
                    if [set(map(type, column)) for column in columns] == _USUAL_KINDS:
                        last = handle_number(columns[0][-1])
                        if not moved or moved[0][0] > place_of(last):
                            number, patience = last, 0
                            self.jobs_read += len(columns[0])
                            yield UsualJobs(*columns)
                            continue
                    in_full = patience = min(2 * patience + 1, _MOST_IN_FULL)
                in_full -= 1
                count = size = 0
                rows = execute(_SOME_IN_FULL, (number, LOAD_STEP))
                for row in rows:
                    record, number = self._record(row), row[7]
                    # A job whose time came while no server ran enters its queue behind those that were in it before; one that
                    # is held back has to find the job that holds it.
                    if record.state is DELAYED:
                        heappush(delayed, (record.due, record.position, number, record))
                    elif record.state is HELD:
                        heappush(held, (record.position, number, record))
                    elif number not in early:
                        if record.position > place_of(number):
                            heappush(moved, (record.position, number, record))
                        else:
                            while moved and moved[0][0] < record.position:
                                some.append(self._moved(heappop(moved)))
                            some.append(record)
                    count += 1
                    size += len(record.workload)
                    if size > LOAD_SIZE:
                        break
                rows.close()
                if not count:
                    break
                prefix = record.handle[:record.handle.rindex(b":") + 1]
                self.jobs_read += count
                yield some
                some = []
            while moved:
                some.append(self._moved(heappop(moved)))
                if len(some) >= LOAD_STEP:
                    yield some
                    some = []
        except self._errors as error:
            raise self.error(error) from None
        yield some
        for heap in (delayed, held):
            while heap:
                yield [heappop(heap)[-1] for _ in range(min(len(heap), LOAD_STEP))]

    def _load_orders(self) -> "Iterator[List[OrderRecord]]":
        """The orders that stand, some at a time."""
        some = []  # type: List[OrderRecord]
        try:
            for name, function, value in self._connection.execute(_ORDERS):
                if not (isinstance(name, bytes) and isinstance(function, bytes) and isinstance(value, bytes)):
                    raise self.error("a row of the table orders makes no sense")
                some.append(OrderRecord(ORDER, b"", name.decode("latin-1"), function, value))
                if len(some) >= LOAD_STEP:
                    yield some
                    some = []
        except self._errors as error:
            raise self.error(error) from None
        if some:
            yield some

    def _load_ends(self) -> "Iterator[List[KeepRecord]]":
        """The ends of jobs that are kept, in the order in which the jobs ended, some at a time."""
        some = []  # type: List[KeepRecord]
        size = 0
        try:
            for row in self._connection.execute(_KEPT):
                outcome = _OUTCOMES_READ.get(row[3])
                if outcome is None or tuple(map(type, row)) not in END_KINDS or not row[0].endswith(b":%d" % row[11]):
                    raise self.error("the row %d of the table results makes no sense" % row[11])
                some.append(KeepRecord(KEEP, *(row[:3] + (outcome,) + row[4:11])))
                size += ROW_SIZE + len(row[9] or b"") + len(row[10] or b"")
                if len(some) >= LOAD_STEP or size > LOAD_SIZE:
                    yield some
                    some, size = [], 0
        except self._errors as error:
            raise self.error(error) from None
        yield some

    def _moved(self, entry: "Tuple[int, int, Any]") -> AddRecord:
        _, number, record = entry
        return record or self._record(self._connection.execute(_BY_NUMBER, (number,)).fetchone())

    def _record(self, row: "Tuple[Any, ...]") -> AddRecord:
        """What a row says.  Raises StoreError for what others may have written there."""
        (handle, function, unique, workload, priority, created, position, number, reducer, due, attempts, word, error,
         schedule) = row
        state = _STATES_READ.get(word)
        # What a record is about is known by the number at the end of its handle.
        if (state is None or tuple(map(type, row)) not in JOB_KINDS or priority not in PRIORITY_CLASSES
                or not handle.endswith(b":%d" % number)):
            raise self.error("the row %d of the table jobs makes no sense" % number)
        return AddRecord(ADD, handle, function, unique, workload, reducer, priority, due, attempts, state, error, schedule,
                         created, position)

    @property
    def usable(self) -> bool:
        """Whether it is open, and no error has made it necessary to write it anew."""
        return self._connection is not None

    def be_patient(self, seconds: float) -> None:
        """From now on, wait that many seconds for another program that has the file locked: nobody else waits meanwhile."""
        self._patience = seconds
        self._set_patience()

    def _set_patience(self) -> None:
        if self._patience and self._connection is not None:
            self._pragma("busy_timeout = %d" % (self._patience * 1000))

    def write(self, records: "Iterable[Record]", number: int, flush: bool = True) -> None:
        """Commit records of the core, in their order; `number` is that of the last handle.  On return they are on disk.

        Without `flush` they are safe from a crash of the server, but not from one of the system.
        """
        self._commit(records, number, flush, False)

    def replace(self, records: "Iterable[Union[AddRecord, KeepRecord]]", number: int) -> None:
        """Replace all that is in the file by what these records add."""
        self._commit(records, number, True, True)

    def begin_anew(self, number: int, is_empty: bool) -> None:
        """Begin a new file; the old one is not touched unless the new one is to be empty."""
        self._disconnect()
        self._anew(self._begin_new, number, is_empty)

    def add_anew(self, records: "Iterable[Union[AddRecord, KeepRecord]]") -> None:
        """Add to the new file what the records add."""
        self._anew(self._add_to_new, records)

    def end_anew(self) -> None:
        """Put the new file, which now has everything, in the place of the old one."""
        if not self.is_whole:
            self._anew(self._make_whole)
        self._anew(self._put_in_place)

    def _anew(self, step: "Callable[..., None]", *arguments: "Any") -> None:
        try:
            if step == self._begin_new:
                self._file.follow()
            self._file.take()
            step(*arguments)
        except self._errors as error:
            self.is_whole = self.is_whole and os.path.exists(self._file.new)
            self._drop_new()
            raise self.error(error) from None
        except StoreError:
            self.is_whole = self.is_whole and not self._file.is_elsewhere
            self._drop_new()
            raise

    def _drop_new(self) -> None:
        self._disconnect()
        if self._new is not None:
            self._new.close()
            self._new = None

    def _begin_new(self, number: int, is_empty: bool) -> None:
        self._file.remove_new()
        if is_empty:
            self._file.empty()
        connection = self._new = self._connect(self._file.new)
        for pragma in ("journal_mode = OFF", "synchronous = FULL"):
            connection.execute("PRAGMA " + pragma).fetchall()
        connection.execute("BEGIN IMMEDIATE")
        for version in range(len(self._migrations)):
            migrate(connection, self._migrations, version)
        connection.execute("UPDATE settings SET value = ? WHERE name = 'handles'", (number + HANDLE_BLOCK,))
        connection.execute("COMMIT")
        self.reserved = number + HANDLE_BLOCK

    def _add_to_new(self, records: "Iterable[Union[AddRecord, KeepRecord]]") -> None:
        self._new.execute("BEGIN IMMEDIATE")
        for kind, group in groupby(records, attrgetter("kind")):
            self._new.executemany(_INSERTS[kind], self._rows_of(kind, group))
        self._new.execute("COMMIT")

    def _make_whole(self) -> None:
        """Nothing is missing in the new file once its application_id is set."""
        self._new.execute("BEGIN IMMEDIATE")
        self._new.execute("PRAGMA application_id = %d" % APPLICATION_ID)
        self._new.execute("COMMIT")
        self._new.close()
        self._new = None
        self._file.sync_folder()
        self.is_whole = True

    def _put_in_place(self) -> None:
        for _ in self._file.put_in_place():
            continue
        self.is_whole = False
        self._open(first=False)

    def could_shrink(self, size: int) -> bool:
        """Whether a new file for jobs of so many bytes would take up less than the old one, and there is room for it."""
        room = self._file.room()
        return size < self._file.size() // 2 and (not size or room is None or room > size + size // 4 + PIECE)

    def prove_room(self, size: int) -> None:
        """Write that many bytes and delete them again, which fails as long as the disk is full."""
        try:
            for statement in ("INSERT OR REPLACE INTO settings VALUES ('room', zeroblob(%d))" % min(size, MOST_ROOM),
                              "DELETE FROM settings WHERE name = 'room'"):
                self._file.check()
                self._connection.execute(statement)
                self._checkpoint("PASSIVE")
        except self._errors as error:
            self._fail(error)
            raise self.error(error) from None
        except StoreError:
            self._disconnect()
            raise

    def close(self, number: int) -> None:
        """Close the file; handles go on after `number` at the next start."""
        try:
            if self._connection is not None:
                self._file.check()
                self._checkpoint("PASSIVE")  # so that everything is on disk that was not flushed before
                self._set_synchronous("FULL")
                if number != self.reserved:
                    self._connection.execute("UPDATE settings SET value = ? WHERE name = 'handles'", (number,))
                self._checkpoint("TRUNCATE")
                self._close_reader()  # so that SQLite removes the WAL
        except self._errors as error:
            self._fail(error)
            if self._connection is None:
                raise self.error(error) from None
            _logger_store.info("%s is not closed in order, but all is in it: %s", self.path, error)
        except StoreError as error:
            self._disconnect()
            raise self.error(error.reason) from None
        self.abandon()

    def drop_connection(self) -> None:
        """Close the connection and leave the files as they are, whatever happened; give up a new file that was begun."""
        self._drop_new()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._drop_new()
        self._file.release()

    # ------------------------------------------------------------------------------------------------------------ opening

    def _open_first(self) -> None:
        if self._file.new_is_whole():
            for _ in self._file.put_in_place():
                continue
        self._file.remove_new()
        self._open(first=True)

    def _open(self, first: bool) -> None:
        connection = self._connection = self._connect(self.path)
        connection.text_factory = bytes
        self._set_patience()
        gearmand_table = self._gearmand_queue[1] if self._gearmand_queue is not None else GEARMAND_TABLE
        version = schema_version(connection, self.path, len(self._migrations), gearmand_table)
        if first:
            if self._interrupted:
                raise self.error("interrupted")
            if self._pragma("journal_mode") == b"wal":
                self._open_reader()
            if self._check:
                check_whole(connection, self.path)
            if self._gearmand_queue is None:
                check_no_import(connection, self.path)
        if self._pragma("journal_mode = WAL") != b"wal":
            raise StoreError("%s: this file system cannot hold a database in WAL mode" % self.path)
        self._open_reader()
        if first:
            self._file.prove()
        self._pragma("journal_size_limit = %d" % (64 << 20))
        self._pragma("wal_autocheckpoint = 0")  # SQLite would not tell that one failed
        self._synchronous = ""
        self._set_synchronous("FULL")
        for number in range(version, len(self._migrations)):
            connection.execute("BEGIN IMMEDIATE")
            migrate(connection, self._migrations, number)
            self._pragma("application_id = %d" % APPLICATION_ID)
            connection.execute("COMMIT")
        if first:
            self.number = read_last_number(connection, self.path)
            self.reserved = self.number + HANDLE_BLOCK
            self._look_over()
        # Now, so that trouble later does not make handles repeat; and it fails if the file is read-only or locked.
        connection.execute("UPDATE settings SET value = ? WHERE name = 'handles'", (self.reserved,))
        self._file.sync_folder()  # for the name of the WAL
        self._checkpoint("PASSIVE")

    def _look_over(self) -> None:
        """See how many jobs there are, up to which number, and which of them come before others of lower numbers."""
        execute = self._connection.execute
        self.jobs_stored, highest, early = execute(_LOOK_OVER).fetchone()
        self.number = max(self.number, highest or 0)
        self._early = sorted(execute(_SELECT_EARLY)) if early else []

    def _open_reader(self) -> None:
        """Open the file once more, for reading only.

        SQLite, when it closes the last connection, copies the WAL to the file.  After a flush that failed, that would be from a
        WAL of which a part may not be on the disk, so that a power failure in between leaves a mixture.  This connection is
        the last one, and cannot write.
        """
        if self._reader is None:
            from pathlib import Path
            from sqlite3 import connect
            self._reader = connect(Path(self.path).as_uri() + "?mode=ro", uri=True, timeout=0, check_same_thread=False)
            self._reader.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _pragma(self, text: str) -> "Any":
        return read_pragma(self._connection, text)

    def _import(self, handle_prefix: bytes, wall: float, numbers: "Callable[[int], int]", path: str, table: str) -> None:
        """Take over the jobs of a gearmand."""
        def add(jobs: "Sequence[GearmandJob]") -> None:
            highest, = self._connection.execute("SELECT max(number) FROM jobs").fetchone()
            records, self.number = records_of_gearmand(jobs, handle_prefix, wall, max(self.number, highest or 0), numbers)
            self._connection.executemany(_INSERT, self._rows(records))
        try:
            import_gearmand(self._connection, self.path, path, table, add)
        except self._errors as error:
            raise self.error("cannot import %s: %s" % (path, error)) from None

    # ------------------------------------------------------------------------------------------------------------ writing

    def _commit(self, records: "Iterable[Record]", number: int, flush: bool, anew: bool) -> None:
        connection = self._connection
        reserved = self.reserved
        if self.wants(number):
            # Handles must not repeat, not even after a crash of the system.
            reserved = number + HANDLE_BLOCK
            flush = True
        try:
            self._file.check()
            if self._unmoved >= WAL_SIZE:
                self._checkpoint("PASSIVE")
            self._set_synchronous("FULL" if flush else "NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            if anew:
                for table in ("jobs", "results", "orders"):
                    connection.execute("DELETE FROM " + table)
            for kind, group in groupby(records, attrgetter("kind")):
                self._write_group(kind, group)
            # Something has to be written for the commit to flush what earlier ones left to be flushed.
            if reserved != self.reserved or anew or not records:
                connection.execute("UPDATE settings SET value = ? WHERE name = 'handles'", (reserved,))
            connection.execute("COMMIT")
            self._file.note_commit()
        except self._errors as error:
            self._fail(error)
            raise self.error(error) from None
        except StoreError as error:
            self._disconnect()
            raise self.error(error.reason) from None
        self.reserved = reserved
        self._unmoved += 3 * 4096

    def _fail(self, error: BaseException) -> None:
        """After an error of SQLite, close the file, except after the two errors that are known to leave it as it was.

        If another program had locked it, nothing was written; if the disk had no room, the system said so at once, and still
        has what was written before.  After any other error, what counts as written may never get to the disk.
        """
        text = str(error)
        if "locked" in text or "disk is full" in text:
            try:
                self._connection.execute("ROLLBACK")
            except self._errors as other:
                if "no transaction" not in str(other):
                    self._disconnect()
                    return
            self._file.note()  # of what was begun, something may be in the WAL
            return
        self._disconnect()

    def _checkpoint(self, mode: str) -> None:
        """Copy to the file what is in the WAL."""
        self._connection.execute("PRAGMA wal_checkpoint(%s)" % mode).fetchall()
        self._file.note()
        self._unmoved = 0

    def _write_group(self, kind: str, group: "Iterator[Any]") -> None:
        """Write neighbouring records of one kind."""
        execute = self._connection.executemany
        if kind == ADD:
            self._insert(self._rows(group))
        elif kind == UPDATE:
            execute(_UPDATE, self._updates(group))
        elif kind == CHANGE:
            for record in group:
                self._connection.execute(_CHANGES[record.column], (record.value, handle_number(record.handle)))
        elif kind == KEEP:
            execute(_KEEP, self._rows_of(kind, group))
        elif kind == ORDER:
            for record in group:
                self._unmoved += ROW_SIZE
                if record.value is None:
                    self._connection.execute(_TAKE_BACK, (record.name, record.function))
                else:
                    self._connection.execute(_SET_ORDER, record[2:])
        else:
            execute(_REMOVE if kind == REMOVE else _FORGET, [(handle_number(record.handle),) for record in group])

    def _insert(self, rows: "Iterator[Tuple[Any, ...]]") -> None:
        """Insert many rows with each statement: after each, the other thread may take its turn, and this one waits for that."""
        some = list(rows)
        whole = len(some) - len(some) % MANY_ROWS
        for start in range(0, whole, MANY_ROWS):
            self._connection.execute(_INSERT_MANY, [value for row in some[start:start + MANY_ROWS] for value in row])
        if some[whole:]:
            self._connection.executemany(_INSERT, some[whole:])

    def _rows_of(self, kind: str, records: "Iterable[Any]") -> "Iterator[Tuple[Any, ...]]":
        """The values of the columns, of records that add something."""
        if kind == ADD:
            return self._rows(records)
        return self._kept_rows(records) if kind == KEEP else (record[2:] for record in records)

    def _rows(self, records: "Iterable[AddRecord]") -> "Iterator[Tuple[Any, ...]]":
        size = block = place = 0
        for record in records:
            handle, workload, position = record.handle, record.workload, record.position
            number = int(handle[handle.rindex(b":") + 1:])
            size += ROW_SIZE + len(workload)
            if not position:
                # What `place_of` does, once for the numbers of a block (benchmark: durable background submit).
                offset = number - block
                if not 0 <= offset < HANDLE_BLOCK:
                    offset = number % HANDLE_BLOCK
                    block = number - offset
                    place = place_of(block)
                position = place + offset * POSITIONS
            yield (number, handle, record.function, record.unique, record.reducer, record.priority, record.due,
                   record.attempts, record.state, record.error, record.schedule, record.created, position, workload)
        self._unmoved += size

    def _updates(self, records: "Iterable[UpdateRecord]") -> "Iterator[Tuple[Any, ...]]":
        for record in records:
            number = handle_number(record.handle)
            self._unmoved += ROW_SIZE
            yield record.state, record.attempts, record.due, record.error, record.position or place_of(number), number

    def _kept_rows(self, records: "Iterable[KeepRecord]") -> "Iterator[Tuple[Any, ...]]":
        for record in records:
            self._unmoved += ROW_SIZE + len(record.data or b"") + len(record.result or b"")
            yield (handle_number(record.handle),) + record[1:]

    def _set_synchronous(self, mode: str) -> None:
        if mode != self._synchronous:
            self._connection.execute("PRAGMA synchronous = " + mode)
            self._synchronous = mode

    def _disconnect(self) -> None:
        """Close the connection, whatever state it is in, and leave the files alone; an open transaction is rolled back."""
        if self._connection is not None:
            try:
                self._connection.close()
            except self._errors as error:
                _logger_store.debug("closing %s: %s", self.path, error)
            self._connection = None
        self._close_reader()

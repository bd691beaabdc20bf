"""Background jobs on disk: add, finish, replay.

The file is an SQLite database in WAL mode, with FILE-wal and FILE-shm beside it while it is open, FILE-lock, which keeps a
second server out, and FILE-new while it is written anew.  ``PRAGMA application_id`` is 0x47534a51, ``PRAGMA user_version`` the
version of the schema, at present 3:

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
        data        BLOB     what its worker sent before its result; NULL, as that is, if they were too large
        result      BLOB
    settings  one row for each name
        'handles'   up to this number handles may have been given out, so the next start begins after it
        'id'        random, made with the file, for releases before 1.1

A release with a newer schema brings the file up to date when it opens it; an older one refuses it.
"""
import logging
import os
from heapq import heappop, heappush
from itertools import groupby
from operator import attrgetter

from ..arguments import check_kind, check_path
from ..core.jobs import (DELAYED, HANDLE_BLOCK, HELD, POSITIONS, PRIORITY_CLASSES, PRIORITY_NORMAL, SET_ASIDE, STORED_STATES,
                         WAITING, place_of)
from ..core.ledger import ADD, CHANGE, FORGET, KEEP, REMOVE, UPDATE, AddRecord, KeepRecord
from ..core.statistics import END_CANCELLED, END_COMPLETED, END_FAILED
from ..errors import StoreError
from .files import APPLICATION_ID, PIECE, StoreFile, connect_sqlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union
    from ..core.ledger import Record, UpdateRecord

_logger_store = logging.getLogger("gearman_std.store")

# When a background job is safe: before its JOB_CREATED is sent; within a second; when the server stops.
EVERY, BATCH, EXIT = DURABILITIES = ("every", "batch", "exit")

WAL_SIZE = 4 << 20     # bytes, about, that are written to the WAL before they are copied to the file
MANY_ROWS = 50         # rows that one statement adds, whose values are no more than the 999 that any SQLite takes
ATTEMPTS = 3           # to open it: a disk may fail for a moment, and what it failed to write is written again
ROW_SIZE = 200         # bytes of a row besides its workload, about
MOST_ROOM = 64 << 20   # bytes for which room is looked for after a disk was full, at most
LOAD_STEP, LOAD_SIZE = 64, 1 << 20  # jobs, and bytes, about, that are loaded at once
GEARMAND_TABLE = "gearman_queue"

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
)  # type: Sequence[Sequence[str]]

_INSERT = "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_MANY = _INSERT + ", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)" * (MANY_ROWS - 1)
_UPDATE = "UPDATE jobs SET state = ?, attempts = ?, due = ?, error = ?, position = ? WHERE number = ?"
_CHANGES = {column: "UPDATE jobs SET %s = ? WHERE number = ?" % column for column in ("workload", "schedule", "priority")}
_STATES_READ = {state.encode(): state for state in STORED_STATES}
_REMOVE = "DELETE FROM jobs WHERE number = ?"
_KEEP = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FORGET = "DELETE FROM results WHERE number = ?"
_KEPT = ("SELECT handle, function, unique_key, outcome, ended, waited, ran, attempts, text, data, result FROM results "
         "ORDER BY ended, number")
_OUTCOMES_READ = {outcome.encode(): outcome for outcome in (END_COMPLETED, END_FAILED, END_CANCELLED)}
_SELECT = ("SELECT handle, function, unique_key, workload, reducer, priority, due, attempts, state, error, schedule, created, "
           "position, number FROM jobs")
_IN_ORDER, _BY_NUMBER = _SELECT + " ORDER BY number", _SELECT + " WHERE number = ?"
# `place_of(number)`.
_SQL_PLACE = ("(CASE WHEN number >> 32 THEN ((number >> 32) + %d << 17) + (number & %d) ELSE number END * %d)"
              % (1 << 15, HANDLE_BLOCK - 1, POSITIONS))
_SELECT_EARLY = ("SELECT position, number FROM jobs WHERE position < %s AND state IN ('%s', '%s')"
                 % (_SQL_PLACE, WAITING, SET_ASIDE))
# Of the columns of each table, those of bytes, those of bytes that may be missing, those of whole numbers, and of others.
_KINDS = {"jobs": ("handle function unique_key state error workload", "reducer schedule", "priority attempts position",
                   "due created"),
          "results": ("handle function unique_key outcome text", "data result", "attempts", "ended waited ran")}
_TYPES = "'blob', 'text'", "'blob', 'text', 'null'", "'integer'", "'real'"


class JobStore:
    """The file that holds the background jobs.

    `durability` says when a job is on disk: EVERY before it is acknowledged; BATCH written before, but flushed to the disk
    within a second only, so that a crash of the server loses nothing and a power failure the last second; EXIT when the server
    stops.  The end of a job is flushed within a second with EVERY, too: after a power failure it may run again.

    `gearmand_queue` is (file, table) of a gearmand whose jobs `open` takes over.  `connect` opens an SQLite connection to a
    path.

    Every method raises StoreError if the file cannot be read or written.  After an error in `write` or `replace` nothing of
    what they were given counts as stored.  If the store is no longer `usable` then, what is on the disk cannot be told from
    what is in the system's memory only, or the file is not what it was: `renew` has to succeed before they are called again.

    Owner: the server's dispatcher thread; until it is open, the thread that opens it.
    """

    def __init__(self, path: "Union[str, os.PathLike[str]]", durability: str = EVERY,
                 gearmand_queue: "Optional[Tuple[str, str]]" = None, connect: "Optional[Callable[[str], Any]]" = None,
                 migrations: "Sequence[Sequence[str]]" = MIGRATIONS) -> None:
        if durability not in DURABILITIES:
            raise ValueError("durability is one of %s, not %r" % (", ".join(DURABILITIES), durability))
        check_path("path", path)
        self.path = os.path.realpath(os.fsdecode(path))
        self.durability = durability
        self.jobs_stored = 0      # in the file, as of `open`
        self.jobs_read = 0        # by `load`, as far as it has come
        self.number = 0           # of the last handle that may have been given out, as of `open`
        if gearmand_queue is not None:
            check_kind("gearmand_queue", gearmand_queue, (tuple, list), "a pair of file and table")
            if len(gearmand_queue) != 2:
                raise ValueError("gearmand_queue is %.80r, not a pair of file and table" % (gearmand_queue,))
        self._gearmand_queue = gearmand_queue and (os.path.realpath(gearmand_queue[0]), gearmand_queue[1])
        self._connect = connect or connect_sqlite
        self._migrations = migrations
        self._file = StoreFile(self.path)
        self._connection = None   # type: Any
        self._reader = None       # type: Any # keeps SQLite from touching the file when the connection is closed after an error
        self._errors = ()         # type: Tuple[Any, ...] # what sqlite3 raises
        self._early = []          # type: List[Tuple[int, int]] # (position, number) of jobs before some of lower numbers
        self._interrupted = False
        self._unmoved = 0         # bytes, about, in the WAL that are not in the file yet
        self._new = None          # type: Any # the connection to FILE-new, while that is written
        self._whole = False       # FILE-new is whole and on disk
        self._reserved = 0        # up to this number handles may be given out
        self._synchronous = ""
        self._patience = 0.0      # seconds to wait for another program that has the file locked, 0 for those of a connection

    def __repr__(self) -> str:
        return "<JobStore %s, %s>" % (self.path, "open" if self._connection is not None else "closed")

    def take(self) -> None:
        """Keep other servers from the file, as `open` does, and change nothing in it; raises StoreInUse if one has it."""
        self._find_sqlite()
        try:
            self._file.take()
        except self._errors as error:
            raise self._error(error) from None

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
                    self._file.take()
                    self._open_first()
                    break
                except self._errors:
                    self._disconnect()
                    if attempt == ATTEMPTS - 1 or self._interrupted:
                        raise
            if self._gearmand_queue is not None:
                self._take_over(handle_prefix, wall, numbers or int, *self._gearmand_queue)
                self._file.note()
                self._look_over()
        except self._errors as error:
            self.abandon()
            raise self._error(error) from None
        except StoreError:
            self.abandon()
            raise

    def interrupt(self) -> None:
        """Have `open`, which another thread has called, end soon, with an error if it comes to that before its end."""
        self._interrupted = True
        interrupt = getattr(self._connection, "interrupt", None)  # PyPy's connections have none
        if interrupt is not None:
            try:
                interrupt()
            except self._errors as error:  # it has just been closed
                _logger_store.debug("%s: %s", self.path, error)

    def load(self) -> "Iterator[Tuple[Any, ...]]":
        """All jobs, in the order in which to restore them, each a row: handle, function, unique and so on, as in AddRecord."""
        for records in self.load_in_pieces():
            for record in records:
                yield tuple(record[1:])

    def load_in_pieces(self) -> "Iterator[List[AddRecord]]":
        """All jobs, in the order in which to restore them, some at a time, or none when more have to be read first."""
        # Heaps; in `moved` stands None for what is read by its number when it has its turn.
        moved = [(position, number, None) for position, number in self._early]  # type: List[Tuple[int, int, Any]]
        early = {number for _, number in self._early}
        delayed = []  # type: List[Any]
        held = []     # type: List[Any]
        some = []     # type: List[AddRecord]
        size = 0
        try:
            for row in self._connection.execute(_IN_ORDER):
                self.jobs_read += 1
                size += ROW_SIZE + len(row[3])
                record, position, number = self._record(row), row[12], row[13]
                # A job whose time came while no server ran enters its queue behind those that were in it before; one that is
                # held back has to find the job that holds it.
                if record.state is DELAYED:
                    heappush(delayed, (record.due, position, number, record))
                elif record.state is HELD:
                    heappush(held, (position, number, record))
                elif number not in early:
                    if position > place_of(number):
                        heappush(moved, (position, number, record))
                    else:
                        while moved and moved[0][0] < position:
                            some.append(self._moved(heappop(moved)))
                        some.append(record)
                if not self.jobs_read % LOAD_STEP or size > LOAD_SIZE:
                    yield some
                    some, size = [], 0
            while moved:
                some.append(self._moved(heappop(moved)))
                if len(some) >= LOAD_STEP:
                    yield some
                    some = []
        except self._errors as error:
            raise self._error(error) from None
        yield some
        for heap in (delayed, held):
            while heap:
                yield [heappop(heap)[-1] for _ in range(min(len(heap), LOAD_STEP))]

    def load_kept(self) -> "Iterator[List[KeepRecord]]":
        """How the jobs ended of which that is kept, the first that ended first, some at a time."""
        some = []  # type: List[KeepRecord]
        size = 0
        try:
            for row in self._connection.execute(_KEPT):
                outcome = _OUTCOMES_READ.get(row[3])
                if outcome is None:
                    raise self._error("the row of the ended job %s makes no sense" % row[0].decode("latin-1"))
                some.append(KeepRecord(KEEP, *(row[:3] + (outcome,) + row[4:])))
                size += ROW_SIZE + len(row[9] or b"") + len(row[10] or b"")
                if len(some) >= LOAD_STEP or size > LOAD_SIZE:
                    yield some
                    some, size = [], 0
        except self._errors as error:
            raise self._error(error) from None
        yield some

    def _moved(self, entry: "Tuple[int, int, Any]") -> AddRecord:
        _, number, record = entry
        return record or self._record(self._connection.execute(_BY_NUMBER, (number,)).fetchone())

    def _record(self, row: "Tuple[Any, ...]") -> AddRecord:
        (handle, function, unique, workload, reducer, priority, due, attempts, stored, error, schedule, created, position,
         _) = row
        state = _STATES_READ.get(stored)
        if state is None or priority not in PRIORITY_CLASSES:
            raise self._error("the row of job %s makes no sense" % handle.decode("latin-1"))
        return AddRecord(ADD, handle, function, unique, workload, reducer, priority, due, attempts, state, error, schedule,
                         created, position)

    @property
    def usable(self) -> bool:
        """Whether it is open, and no error has made it necessary to write it anew."""
        return self._connection is not None

    def be_patient(self, seconds: float) -> None:
        """Wait so long for another program that has the file locked, as nobody else waits meanwhile."""
        self._patience = seconds
        self._set_patience()

    def _set_patience(self) -> None:
        if self._patience and self._connection is not None:
            self._pragma("busy_timeout = %d" % (self._patience * 1000))

    def wants(self, number: int) -> bool:
        """Whether `write` is due, records or not, now that the last handle given out has this number."""
        return number > self._reserved - HANDLE_BLOCK // 2

    def write(self, records: "Iterable[Record]", number: int, flush: bool = True) -> None:
        """Commit records of the core, in their order; `number` is that of the last handle.  On return they are on disk.

        Without `flush` they are safe from a crash of the server, but not from one of the system.
        """
        self._commit(records, number, flush, False)

    def replace(self, records: "Iterable[Union[AddRecord, KeepRecord]]", number: int) -> None:
        """Have what these records add in the file, and nothing else."""
        self._commit(records, number, True, True)

    def renew(self, records: "Iterable[Union[AddRecord, KeepRecord]]", number: int) -> "Iterator[None]":
        """Write the file anew with what these records add, or with nothing; a piece at a time, yielding after each.

        Until the new one is whole and on disk, the old one is not touched, unless nothing of it is to be kept.  Once it
        `is_whole`, the records were used, and after an error the next call goes on from there.
        """
        if not self._whole:
            records = iter(records)
            first = next(records, None)
            self.begin_anew(number, first is None)
            some = [] if first is None else [first]
            size = 0
            for record in records:
                some.append(record)
                size += time_to_write(record)
                if size >= PIECE:
                    self.add_anew(some)
                    some, size = [], 0
                    yield
            self.add_anew(some)
            yield
            self._anew(self._make_whole)
        self.put_in_place()

    def begin_anew(self, number: int, is_empty: bool) -> None:
        """Begin a new file; the old one is not touched unless the new one is to be empty.

        `add_anew` adds the jobs of records to it, and `end_anew` puts it in the place of the old one; that is what `renew`
        does, with others served in between.
        """
        self._disconnect()
        self._anew(self._begin_new, number, is_empty)

    def add_anew(self, records: "Iterable[Union[AddRecord, KeepRecord]]") -> None:
        """Add to the new file what the records add."""
        self._anew(self._add_to_new, records)

    def end_anew(self) -> None:
        """Put the new file, to which nothing is missing, in the place of the old one."""
        self._anew(self._make_whole)
        self.put_in_place()

    def put_in_place(self) -> None:
        """Put the new file, which is whole, in the place of the old one."""
        self._anew(self._put_in_place)

    def _anew(self, step: "Callable[..., None]", *arguments: "Any") -> None:
        try:
            self._file.take()
            step(*arguments)
        except self._errors as error:
            self._whole = self._whole and os.path.exists(self._file.new)
            self._drop_new()
            raise self._error(error) from None
        except StoreError:
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
            self._migrate(connection, version)
        connection.execute("UPDATE settings SET value = ? WHERE name = 'handles'", (number + HANDLE_BLOCK,))
        connection.execute("COMMIT")
        self._reserved = number + HANDLE_BLOCK

    def _add_to_new(self, records: "Iterable[Union[AddRecord, KeepRecord]]") -> None:
        self._new.execute("BEGIN IMMEDIATE")
        for kind, group in groupby(records, attrgetter("kind")):
            self._new.executemany(_INSERT if kind == ADD else _KEEP, self._rows_of(kind, group))
        self._new.execute("COMMIT")

    def _make_whole(self) -> None:
        """Nothing is missing in the new file once its application_id is set."""
        self._new.execute("BEGIN IMMEDIATE")
        self._new.execute("PRAGMA application_id = %d" % APPLICATION_ID)
        self._new.execute("COMMIT")
        self._new.close()
        self._new = None
        self._file.sync_folder()
        self._whole = True

    def _put_in_place(self) -> None:
        for _ in self._file.put_in_place():
            continue
        self._whole = False
        self._open(first=False)

    @property
    def is_whole(self) -> bool:
        """Whether `renew` has come so far that it only has to put the new file in its place."""
        return self._whole

    def could_shrink(self, size: int) -> bool:
        """Whether a new file for jobs of so many bytes would take up less than the old one, and there is room for it."""
        room = self._file.room()
        return size < self._file.size() // 2 and (not size or room is None or room > size + size // 4 + PIECE)

    def prove_room(self, size: int) -> None:
        """Have so many bytes written, and forget them: a disk that was full has room again."""
        try:
            for statement in ("INSERT OR REPLACE INTO settings VALUES ('room', zeroblob(%d))" % min(size, MOST_ROOM),
                              "DELETE FROM settings WHERE name = 'room'"):
                self._file.check()
                self._connection.execute(statement)
                self._checkpoint("PASSIVE")
        except self._errors as error:
            self._fail(error)
            raise self._error(error) from None
        except StoreError:
            self._disconnect()
            raise

    def close(self, number: int) -> None:
        """Close the file; handles go on after `number` at the next start."""
        try:
            if self._connection is not None:
                self._file.check()
                self._checkpoint("PASSIVE")  # and have all on disk that waited for it
                self._set_synchronous("FULL")
                if number != self._reserved:
                    self._connection.execute("UPDATE settings SET value = ? WHERE name = 'handles'", (number,))
                self._checkpoint("TRUNCATE")
                self._close_reader()  # so that SQLite removes the WAL
        except self._errors as error:
            self._fail(error)
            if self._connection is None:
                raise self._error(error) from None
            _logger_store.info("%s is not closed in order, but all is in it: %s", self.path, error)
        except StoreError as error:
            self._disconnect()
            raise self._error(error.reason) from None
        self.abandon()

    def drop_connection(self) -> None:
        """Have the file written anew before anything else, as nobody knows what happened to it."""
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
        version = self._version()
        if first:
            if self._interrupted:
                raise self._error("interrupted")
            if self._pragma("journal_mode") == b"wal":
                self._open_reader()
            self._check_content()
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
            self._migrate(connection, number)
            self._pragma("application_id = %d" % APPLICATION_ID)
            connection.execute("COMMIT")
        if first:
            self._check_rows()
            self.number, = connection.execute("SELECT value FROM settings WHERE name = 'handles'").fetchone()
            self._reserved = self.number + HANDLE_BLOCK
            self._look_over()
        # Now, so that trouble later does not make handles repeat; and it fails if the file is read-only or locked.
        connection.execute("UPDATE settings SET value = ? WHERE name = 'handles'", (self._reserved,))
        self._file.sync_folder()  # for the name of the WAL
        self._checkpoint("PASSIVE")

    def _look_over(self) -> None:
        """See how many jobs there are, up to which number, and which of them come before others of lower numbers."""
        execute = self._connection.execute
        self.jobs_stored, highest = execute("SELECT count(*), max(number) FROM jobs").fetchone()
        self.number = max(self.number, highest or 0)
        self._early = sorted(execute(_SELECT_EARLY))

    def _migrate(self, connection: "Any", number: int) -> None:
        for statement in self._migrations[number]:
            connection.execute(statement)
        connection.execute("PRAGMA user_version = %d" % (number + 1))

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

    def _version(self) -> int:
        """The version of the file's schema, 0 for a new one.  Raises StoreError for other programs' files."""
        version = int(self._pragma("user_version"))
        if self._pragma("application_id") == APPLICATION_ID:
            if version > len(self._migrations):
                raise StoreError("%s was written by a newer release: its schema has version %d, this release knows %d"
                                 % (self.path, version, len(self._migrations)))
            return version
        strangers = [table for table in self._tables(self._connection)
                     if not table.startswith((self._gearmand_table(), "sqlite_"))]
        if version or strangers:
            raise StoreError("%s is the database of another program" % self.path)
        return 0

    def _gearmand_table(self) -> str:
        return self._gearmand_queue[1] if self._gearmand_queue is not None else GEARMAND_TABLE

    def _check_content(self) -> None:
        """Raise StoreError for a damaged file, and for jobs of a gearmand that nobody told us to take over."""
        verdict = self._pragma("quick_check(1)")
        if verdict != b"ok":
            raise StoreError("%s is damaged: %s" % (self.path, verdict.decode("latin-1").replace("\n", " ")))
        if self._gearmand_queue is None and GEARMAND_TABLE in self._tables(self._connection):
            count = self._connection.execute('SELECT count(*) FROM "%s"' % GEARMAND_TABLE).fetchone()[0]
            if count:
                raise StoreError("%s holds %d jobs of a gearmand, which have to be imported (--import-gearmand)" % (
                    self.path, count))

    def _check_rows(self) -> None:
        """Raise StoreError if anybody has written to the tables what is none of ours."""
        execute = self._connection.execute
        for table in sorted(_KINDS.keys() & self._tables(self._connection)):
            kinds = _KINDS[table]
            wrong = ["typeof(%s) NOT IN (%s)" % (column, types)
                     for columns, types in zip(kinds, _TYPES) for column in columns.split()]
            # What a record is about is known by the number at the end of its handle.
            wrong.append("substr(CAST(handle AS BLOB), -length(number) - 1) <> CAST(':' || number AS BLOB)")
            row = execute("SELECT number FROM %s WHERE %s LIMIT 1" % (table, " OR ".join(wrong))).fetchone()
            if row is not None:
                raise self._error("the row %d of the table %s makes no sense" % (row[0], table))
        if execute("SELECT count(*) FROM settings WHERE name = 'handles' AND typeof(value) = 'integer'").fetchone() != (1,):
            raise self._error("the row 'handles' of the table settings makes no sense")

    def _pragma(self, text: str) -> "Any":
        row = self._connection.execute("PRAGMA " + text).fetchone()
        return row[0] if row else None

    @staticmethod
    def _tables(connection: "Any") -> "List[str]":
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return [name.decode() for name, in rows]

    # ------------------------------------------------------------------------------------------------------------ writing

    def _commit(self, records: "Iterable[Record]", number: int, flush: bool, anew: bool) -> None:
        connection = self._connection
        reserved = self._reserved
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
                connection.execute("DELETE FROM jobs")
                connection.execute("DELETE FROM results")
            for kind, group in groupby(records, attrgetter("kind")):
                self._write_group(kind, group)
            # Something has to be written for the commit to flush what earlier ones left to be flushed.
            if reserved != self._reserved or anew or not records:
                connection.execute("UPDATE settings SET value = ? WHERE name = 'handles'", (reserved,))
            connection.execute("COMMIT")
            self._file.note_commit()
        except self._errors as error:
            self._fail(error)
            raise self._error(error) from None
        except StoreError as error:
            self._disconnect()
            raise self._error(error.reason) from None
        self._reserved = reserved
        self._unmoved += 3 * 4096

    def _fail(self, error: BaseException) -> None:
        """After an error of SQLite, close the file unless it is as it was before, which can only be said of two of them.

        Where another program had locked it, nothing was written; where the disk had no room, the system said so at once and
        has what was written before.  After all others, what counts as written may not be on the disk, nor ever get there.
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
                self._connection.execute(_CHANGES[record.column], (record.value, _handle_number(record.handle)))
        elif kind == KEEP:
            execute(_KEEP, self._rows_of(kind, group))
        else:
            execute(_REMOVE if kind == REMOVE else _FORGET, [(_handle_number(record.handle),) for record in group])

    def _insert(self, rows: "Iterator[Tuple[Any, ...]]") -> None:
        """Many rows with one statement, as each gives the other thread a turn that this one then waits for."""
        some = list(rows)
        whole = len(some) - len(some) % MANY_ROWS
        for start in range(0, whole, MANY_ROWS):
            self._connection.execute(_INSERT_MANY, [value for row in some[start:start + MANY_ROWS] for value in row])
        if some[whole:]:
            self._connection.executemany(_INSERT, some[whole:])

    def _rows_of(self, kind: str, records: "Iterable[Any]") -> "Iterator[Tuple[Any, ...]]":
        return self._rows(records) if kind == ADD else self._kept_rows(records)

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
            number = _handle_number(record.handle)
            self._unmoved += ROW_SIZE
            yield record.state, record.attempts, record.due, record.error, record.position or place_of(number), number

    def _kept_rows(self, records: "Iterable[KeepRecord]") -> "Iterator[Tuple[Any, ...]]":
        for record in records:
            self._unmoved += ROW_SIZE + len(record.data or b"") + len(record.result or b"")
            yield (_handle_number(record.handle),) + record[1:]

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

    def _error(self, reason: object) -> StoreError:
        text = str(getattr(reason, "strerror", None) or reason)
        return StoreError("%s: %s" % (self.path, text), text)

    # ---------------------------------------------------------------------------------------------------- gearmand's table

    def _take_over(self, handle_prefix: bytes, wall: float, numbers: "Callable[[int], int]", path: str, table: str) -> None:
        """Copy the jobs of a gearmand's table, and rename the table so that they are taken over once only."""
        source = self._connection
        try:
            if path != self.path:
                if not os.path.exists(path):
                    raise StoreError("%s: there is no such file to import" % path)
                source = connect_sqlite(path)
                source.text_factory = bytes
            source.execute("BEGIN IMMEDIATE")
            tables = self._tables(source)
            old = table + "_imported"
            if table not in tables:
                if old not in tables:
                    raise StoreError("%s has no table %s to import" % (path, table))
                source.execute("ROLLBACK")
                _logger_store.info("%s: the table %s was imported before", path, table)
                return
            rows = read_gearmand_table(source, table)
            while old in tables:
                old += "_too"
            source.execute("ALTER TABLE %s RENAME TO %s" % (_quoted(table), _quoted(old)))
            if source is not self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
            self._add_rows(rows, handle_prefix, wall, numbers)
            # Ours first: after a crash between the two, jobs are there twice rather than not at all.
            self._connection.execute("COMMIT")
            if source is not self._connection:
                source.execute("COMMIT")
        except self._errors as error:
            raise self._error("cannot import %s: %s" % (path, error)) from None
        finally:
            if source is not self._connection:
                source.close()
        _logger_store.warning("%s: %d jobs imported from the table %s, which is now called %s", path, len(rows), table, old)

    def _add_rows(self, rows: "Sequence[Tuple[Any, ...]]", handle_prefix: bytes, wall: float,
                  numbers: "Callable[[int], int]") -> None:
        highest, = self._connection.execute("SELECT max(number) FROM jobs").fetchone()
        self.number = max(self.number, highest or 0)
        records = []
        for count, (unique, function, priority, data, when) in enumerate(rows):
            if count % (HANDLE_BLOCK - 1) == 0:
                self.number = numbers(self.number)
            self.number += 1
            records.append(AddRecord(ADD, b"%s:%d" % (handle_prefix, self.number), function, unique, data, None, priority,
                                     when, 0, DELAYED if when else WAITING, b"", None, wall, 0))
        self._connection.executemany(_INSERT, self._rows(records))


def read_gearmand_table(connection: "Any", table: str) -> "List[Tuple[bytes, bytes, int, bytes, float]]":
    """The jobs of a table that gearmand's libsqlite3 queue made, in their order: (unique, function, priority, data, unix time).

    Payloads may be NULL, which is how it stores empty ones; tables of old releases have no column `when_to_run`.  Raises
    StoreError if it is no such table.
    """
    columns = [row[1].decode() for row in connection.execute("PRAGMA table_info(%s)" % _quoted(table))]
    missing = sorted({"unique_key", "function_name", "priority", "data"} - set(columns))
    if missing:
        raise StoreError("the table %s is not gearmand's: it has no column %s" % (table, ", ".join(missing)))
    when = "when_to_run" if "when_to_run" in columns else "0"
    jobs = []
    for unique, function, priority, data, due in connection.execute(
            "SELECT unique_key, function_name, priority, CAST(data AS BLOB), CAST(%s AS REAL) FROM %s ORDER BY rowid"
            % (when, _quoted(table))):
        # A unique of 64 bytes was stored with a NUL in place of its last.
        jobs.append(((unique or b"").partition(b"\0")[0], (function or b"").partition(b"\0")[0],
                     priority if priority in PRIORITY_CLASSES else PRIORITY_NORMAL, data or b"", max(0.0, due or 0.0)))
    return jobs


def time_to_write(record: "Record") -> int:
    """How long a record takes to be written, in what a byte takes: most of the time of a small one is not that of its bytes."""
    return 8 * ROW_SIZE + len((record.workload if record.kind == ADD else record.result) or b"")


def compact(records: "List[Record]") -> "List[Record]":
    """Records of the same effect: of a job that is removed only that, of others, and of how jobs ended, what came last."""
    latest = {}  # type: Dict[Any, Record]
    removed = {record.handle for record in records if record.kind == REMOVE}
    for record in records:
        kind = KEEP if record.kind == FORGET else record.kind
        if kind in (REMOVE, KEEP) or record.handle not in removed:
            key = (kind, record.handle, record.column if kind == CHANGE else "")
            latest.pop(key, None)  # so that it moves to the end
            latest[key] = record
    return list(latest.values())


def _handle_number(handle: bytes) -> int:
    return int(handle[handle.rindex(b":") + 1:])


def _quoted(name: str) -> str:
    return '"%s"' % name.replace('"', '""')

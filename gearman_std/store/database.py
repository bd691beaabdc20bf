"""Background jobs in a database that several servers may share, each with a name, by a driver that the user has installed.

A server has a row in the table servers.  Its epoch is a number that changes whenever the server starts and whenever another one
takes its jobs; each transaction begins by proving that it is still the same, and by counting itself in the same row.  So a
server that others gave up for dead can write nothing any more; and one whose connection broke, and that does not know whether
its last transaction was committed, finds that out by the count once it is connected again.
"""
import time
from binascii import crc32

from ..core.handles import handle_number
from ..core.jobs import HANDLE_BLOCK
from ..errors import Deposed, StoreError, StoreInUse
from ..net.logs import own_logger
from .adoption import Adoption
from .dialects import META_TABLE, SCHEMA_VERSION, SERVERS_TABLE, TABLES, column_names
from .drivers import code_of
from .gearmand_queue import check_gearmand_columns, gearmand_job, records_of_gearmand
from .neighbours import LOOKS_IN_TIME, look_interval
from .rows import LOAD_ROWS, job_record, kept_record, keys_of, order_record, pieces_of, plain_row
from .statements import Statements
from .store import EVERY, Neighbour, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple
    from ..core.ledger import Record
    from .dialects import Dialect
    from .drivers import Database, DriverConnection

_logger_database = own_logger("gearman_std.store")

RECONNECT_TIME = 4.0        # seconds for which a write tries to get a connection that broke back
SHORTEST_PAUSE, LAST_PAUSE = 0.02, 0.5  # seconds between two attempts
SILENCE = 60.0              # seconds without a write after which a server of the same name is dead, though it seems connected
LOOKS_MISSED = 2            # so many signs of life have to be missing before a standby takes the name of a server
LEAVING_TIME = 1.0          # seconds that the database may take to see that the connection of a killed server has ended
FORGET_AFTER = 7 * 86400.0  # seconds of silence after which a server that nothing is stored for is forgotten
LARGEST_PROOF = 16 << 20    # bytes for which room is looked for after a disk was full, at most
MAKING_ATTEMPTS = 3         # to make the tables, which another server may be making
_LOCK_CLASS = 0x47534a51    # what distinguishes our locks from those of other programs


class DatabaseStore(Store):
    """The jobs of the server `server` in a database.

    With `take_over`, they may be taken over by others of which that is said too, as theirs by this one, see the class Store.
    `gearmand_table` is a table of the same database with jobs of a gearmand, which `open` takes over.  `clock` returns
    monotonic seconds, `sleep` takes seconds.

    Owner: as that of any Store.
    """

    is_shared = True

    def __init__(self, database: "Database", dialect: "Dialect", server: str, durability: str = EVERY, take_over: float = 0.0,
                 gearmand_table: "Optional[str]" = None,
                 clock: "Callable[[], float]" = time.monotonic, sleep: "Callable[[float], Any]" = time.sleep) -> None:
        if not _is_name(server):
            raise ValueError("%.80r is no name for a server: up to 255 letters without quotes and backslashes, "
                             "and no blank at the end" % server)
        if gearmand_table is not None and not gearmand_table.replace("_", "a").isalnum():
            raise ValueError("%.80r is no name of a table" % gearmand_table)
        super().__init__(database.name, durability)
        self.take_over = take_over
        self.server = server
        self.epoch = 0                  # ours, once it is open
        self._database = database
        self._dialect = dialect
        self._statements = Statements(dialect, server)
        self._lock_numbers = _LOCK_CLASS, crc32(server.encode("utf-8")) - (1 << 31)
        self._gearmand_table = gearmand_table
        self._clock = clock
        self._sleep = sleep
        self._connection = None         # type: Optional[DriverConnection]
        self._backend = ""              # what the database calls that connection, or the last one
        self._batch = 0                 # the count of the last transaction that we know of
        self._uncertain = False         # nobody knows yet whether one more was committed
        self._usable = False
        self._interrupted = False
        self._job_keys = []             # type: List[Tuple[bytes, int]] # what is to be read: handles with sizes
        self._result_keys = []          # type: List[Tuple[bytes, int]]
        self._adoption = Adoption(database.name, self._statements)
        self._begun_at = self._wrote_at = 0.0  # monotonic seconds: a transaction, and the end of the last one
        self._name_awaited = False      # another server had the name at an earlier look

    def __repr__(self) -> str:
        return "<DatabaseStore %s of %s, %s>" % (self.server, self.name, "epoch %d" % self.epoch if self.usable else "closed")

    # ------------------------------------------------------------------------------------------------------------ opening

    def open(self, handle_prefix: bytes, wall: float, numbers: "Optional[Callable[[int], int]]" = None) -> None:
        """As any Store."""
        self.jobs_read = 0
        try:
            try:
                connection = self._begin_to_open()
                self._make_tables(connection)
                self._claim(connection)
                if connection.rows(self._statements.useless(FORGET_AFTER)):
                    self._forget_servers()
                    assert self._connection is not None
                    connection = self._connection  # which may have been made again
                self._backend = str(connection.rows(self._dialect.backend)[0][0])
                if self._gearmand_table is not None:
                    self._import_gearmand(connection, self._gearmand_table, handle_prefix, wall, numbers or int)
                self._job_keys = keys_of(connection.rows(self._statements.job_keys()))
                self._result_keys = keys_of(connection.rows(self._statements.result_keys()))
                self.jobs_stored = len(self._job_keys)
                self._go_on_after_jobs()
                self._check_interrupt()
            except self._database.errors as error:
                raise self._failure(error) from None
        except BaseException:
            self.abandon()
            raise
        self._usable = True

    def _begin_to_open(self) -> "DriverConnection":
        """A connection to a database that is fit for jobs: that of `take`, unless it has broken meanwhile."""
        if self._connection is not None:
            try:
                self._look_around(self._connection)
                return self._connection
            except self._database.errors as error:
                _logger_database.debug("%s: %s", self.name, error)
                self._disconnect()
        self._connection = self._connect()
        self._look_around(self._connection)
        return self._connection

    def take(self) -> None:
        """As any Store.  A server of the same name has it; with `take_over`, if there was none, any other one that lives."""
        try:
            connection = self._connection = self._connection or self._connect()
            known = SERVERS_TABLE in [table for table, _ in connection.rows(self._statements.columns())]
            servers = [Neighbour(*row) for row in connection.rows(self._statements.neighbours())] if known else []
            alive = [server for server in servers if not (server.ended or server.adopted_by)]
            # One whose connection broke has no lock until it has connected again, which it does when it looks at the others.
            if any(server.name == self.server and server.silent <= LOOKS_MISSED * look_interval(server.take_over)
                   for server in alive) or not self._lock_name(connection):
                self._name_awaited = True
                raise StoreInUse("%s: another server has the name %s" % (self.name, self.server))
            if self.take_over and not self._name_awaited:
                for other in alive:
                    if other.name != self.server and other.silent <= max(self.take_over, other.take_over):
                        raise StoreInUse("%s: the server %s lives" % (self.name, other.name))
        except self._database.errors as error:
            self._disconnect()
            raise self._failure(error) from None

    def interrupt(self) -> None:
        """As any Store."""
        self._interrupted = True
        connection = self._connection
        if connection is not None:
            try:
                connection.cancel()
            except self._database.errors as error:  # it has just been closed
                _logger_database.debug("%s: %s", self.name, error)

    def _check_interrupt(self) -> None:
        if self._interrupted:
            raise self.error("interrupted")

    def _connect(self) -> "DriverConnection":
        """A new connection, that is ready for use.  Raises StoreError, and what the driver raises."""
        connection = self._database.connect()
        try:
            for statement in self._dialect.session:
                connection.run(statement)
            if self.take_over and self._dialect.idle:
                # Of a server that stands still in a transaction, the database would not let others take the jobs.
                connection.run(self._dialect.idle % (1000 * self.take_over / 2))
            self._check_interrupt()
        except BaseException:
            self._close(connection)
            raise
        return connection

    def _look_around(self, connection: "DriverConnection") -> None:
        """Raise StoreError for a database that is not fit for jobs; nothing is changed before."""
        (read_only, encoding, size, unsafe), = connection.rows(self._dialect.facts)
        if str(read_only).lower() not in ("off", "0"):
            raise self.error("the database can only be read, as a replica's; name the one that can be written")
        if encoding.lower() not in self._dialect.encodings:
            raise self.error("the encoding of the database is %s; make one whose encoding is %s" % (
                encoding, self._dialect.encodings[0]))
        self._statements.limit(size)
        self.most_bytes = self._statements.most_bytes
        if unsafe:
            _logger_database.warning("%s: a crash of the system may cost acknowledged jobs, because of its setting %s",
                                     self.name, unsafe)

    def _make_tables(self, connection: "DriverConnection") -> None:
        """Have all our tables.  Raises StoreError if some are somebody else's, or of another release."""
        for attempt in range(MAKING_ATTEMPTS):
            known = self._known_tables(connection)
            if len(known) == len(TABLES):
                return
            try:
                connection.run("BEGIN")
                for statement in self._statements.create(META_TABLE not in known):
                    connection.run(statement)
                connection.run("COMMIT")
                return
            except self._database.errors:
                connection.run("ROLLBACK")
                if attempt == MAKING_ATTEMPTS - 1:
                    raise
                self._sleep(SHORTEST_PAUSE)  # as another server may be making them

    def _known_tables(self, connection: "DriverConnection") -> "Dict[str, List[str]]":
        """The columns of our tables that are there."""
        known = {}  # type: Dict[str, List[str]]
        for table, column in connection.rows(self._statements.columns()):
            known.setdefault(table, []).append(column)
        for table, columns in known.items():
            missing = set(column_names(table)).difference(columns)
            if missing:
                raise self.error("the table %s is not ours, as it has no column %s: use another database" % (
                    table, ", ".join(sorted(missing))))
        marks = dict(connection.rows(self._statements.marks())) if META_TABLE in known else {}
        if known and marks.get("application") != "gearman_std":
            raise self.error("the tables %s are not ours, as %s does not say so: use another database" % (
                ", ".join(sorted(known)), META_TABLE))
        version = marks.get("version", SCHEMA_VERSION)
        if str(version) != str(SCHEMA_VERSION):
            raise self.error("the tables have version %s of the schema, this release knows %d: use the release that made them, "
                             "or another database" % (version, SCHEMA_VERSION))
        return known

    def _claim(self, connection: "DriverConnection") -> None:
        """Begin a new epoch of this name.  Raises StoreInUse if another server has it."""
        statements = self._statements
        locked = self._lock_name(connection)
        end = self._clock() + LEAVING_TIME
        while not locked and self._clock() < end:
            self._sleep(SHORTEST_PAUSE)
            locked = self._lock_name(connection)
        connection.run("BEGIN")
        for statement in statements.rehearse():
            connection.run(statement)
        if self.take_over:
            self._rehearse_take_over(connection)
        if not connection.rows(statements.look()):
            connection.run(statements.enter(*_numbers(connection.rows(statements.forgotten()))))
        (epoch, batch, handles, silent, is_over), = connection.rows(statements.look())
        if not (locked or is_over) and silent < SILENCE:
            connection.run("ROLLBACK")
            raise self._in_use("is using the database, or was %d s ago: give this one another name (--server-name), or wait "
                               "for %d s" % (silent, SILENCE - silent))
        self.number = handles
        self.reserved = handles + HANDLE_BLOCK
        connection.run(statements.claim(epoch + 1, self.reserved, self.take_over))
        connection.run("COMMIT")
        self.epoch, self._batch = epoch + 1, batch + 1
        self._wrote_at = self._clock()

    def _forget_servers(self) -> None:
        """Remove the rows of servers that will hardly come again, as of containers with names of their own.

        What they have is theirs as long as there is any; one that does come again goes on with new numbers all the same.
        """
        statements = self._statements

        def work(connection: "DriverConnection") -> "List[str]":
            forgotten = connection.rows(statements.forgotten(True))
            found = [row for row in connection.rows(statements.useless(FORGET_AFTER, True)) if _is_name(row[0])]
            if found:
                numbers = [max(column) for column in zip(_numbers(forgotten), *(row[1:] for row in found))]
                for statement in statements.forget([row[0] for row in found], "%d %d" % tuple(numbers), not forgotten):
                    connection.run(statement)
            return [row[0] for row in found]
        try:
            names = self._transact(work, self.reserved, True)
        except StoreError as error:  # such as another server that does the same; the next start does it
            if isinstance(error, Deposed) or self._connection is None:
                raise
            _logger_database.debug("%s: %s", self.name, error)
        else:
            if names:
                _logger_database.info("%s: servers that are no longer known: %s", self.name, ", ".join(names))

    def _rehearse_take_over(self, connection: "DriverConnection") -> None:
        """Take over nobody.  Raises StoreError if the database cannot have that: otherwise the first death would tell."""
        try:
            connection.rows(self._statements.silent("", 0, self.take_over))
        except self._database.errors as error:
            if code_of(error) in self._dialect.unknown:
                raise self.error("the database is too old for --take-over, which needs PostgreSQL 9.5, MySQL 8.0 or MariaDB "
                                 "10.6 at least: start without that option") from None
            raise

    def _in_use(self, what: str) -> StoreInUse:
        reason = "a server with the name %s %s" % (self.server, what)
        return StoreInUse("%s: %s" % (self.name, reason), reason)

    def _lock_name(self, connection: "DriverConnection") -> bool:
        """Whether no other connection has the lock of our name, which is ours from now on.

        It tells at once that the server before us has ended, where the time since its last sign of life would have to be
        waited for; nothing else is built on it.
        """
        found = connection.rows(self._dialect.lock.format(*self._lock_numbers))
        return found[0][0] == 1  # type: ignore[no-any-return]

    def _go_on_after_jobs(self) -> None:
        """Reserve handles after those of all jobs that are there, wherever they come from."""
        self.number = max([self.number] + [handle_number(handle) for handle, _ in self._job_keys])
        if self.number >= self.reserved:
            self.reserved = self.number + HANDLE_BLOCK
            self.transact([], self.reserved)

    def _import_gearmand(self, connection: "DriverConnection", table: str, handle_prefix: bytes, wall: float,
                         numbers: "Callable[[int], int]") -> None:
        """Take over the jobs of a gearmand's table, and rename the table so that they are taken over once only."""
        def has_table(name: str) -> bool:
            return bool(connection.rows(self._statements.columns_of(name)))
        columns = [name for name, in connection.rows(self._statements.columns_of(table))]
        old = table + "_imported"
        if not columns:
            if not has_table(old):
                raise self.error("there is no table %s to import" % table)
            _logger_database.info("%s: the table %s was imported before", self.name, table)
            return
        jobs = [gearmand_job(*plain_row(row)) for row in connection.rows(
            self._statements.gearmand_jobs(table, check_gearmand_columns(table, columns)))]
        records, self.number = records_of_gearmand(jobs, handle_prefix, wall, self.number, numbers)
        while has_table(old):
            old += "_too"
        # The table is renamed at last, since that ends the transaction in MySQL: after a crash before it, jobs are there twice
        # rather than not at all.
        self.reserved = self.number + HANDLE_BLOCK
        self.transact(list(self._statements.write(records)) + [self._statements.rename(table, old)], self.reserved)
        _logger_database.warning("%s: %d jobs imported from the table %s, which is now called %s", self.name, len(jobs), table,
                                 old)

    # ------------------------------------------------------------------------------------------------------------ reading

    def load_records(self) -> "Iterator[List[Record]]":
        """As any Store."""
        orders = list(map(order_record, self._rows(self._statements.orders())))
        for start in range(0, len(orders), LOAD_ROWS):
            yield orders[start:start + LOAD_ROWS]
        results, self._result_keys = self._result_keys, []
        for some in pieces_of(results):
            self._stay_alive()
            yield self._read(self._statements.results_of(some), some, kept_record)
        jobs, self._job_keys = self._job_keys, []
        for some in pieces_of(jobs):
            self.jobs_read += len(some)
            self._stay_alive()
            yield self._read(self._statements.jobs_of(some), some, job_record)

    def _stay_alive(self) -> None:
        """Show that the server lives, if it is time for that."""
        if self._is_late(self._wrote_at):
            self.transact([], self.reserved, False)

    def _is_late(self, shown_at: float) -> bool:
        """Whether that was so long ago that it is time to show once more that the server lives."""
        return bool(self.take_over) and self._clock() >= shown_at + self.take_over / LOOKS_IN_TIME

    def _read(self, query: str, handles: "List[bytes]", record_of: "Callable[[Sequence[Any]], Any]") -> "List[Any]":
        try:
            found = {record[1]: record for record in map(record_of, map(plain_row, self._rows(query)))}
        except ValueError as mistake:
            raise self.error(mistake) from None
        try:
            return [found[handle] for handle in handles]
        except KeyError as error:
            raise self.error("the job %s has gone while the jobs were read" % error) from None

    def _rows(self, query: str) -> "List[Any]":
        def attempt(connection: "DriverConnection") -> "List[Tuple[Any, ...]]":
            return connection.rows(query)
        return self._keep_trying(attempt)  # type: ignore[no-any-return]

    # ------------------------------------------------------------------------------------------------------------ writing

    @property
    def usable(self) -> bool:
        """As any Store."""
        return self._usable

    @property
    def uncertain(self) -> bool:
        """As any Store."""
        return self._uncertain or not self._usable

    def write(self, records: "Iterable[Record]", number: int, flush: bool = True) -> None:
        """As any Store."""
        self._write(list(self._statements.write(records)), number, flush or self.wants(number))

    def replace(self, records: "Iterable[Record]", number: int) -> None:
        """As any Store."""
        self._write(self._statements.clear() + list(self._statements.write(records)), number, True)

    def _write(self, statements: "List[str]", number: int, flush: bool) -> None:
        handles = number + HANDLE_BLOCK if self.wants(number) else self.reserved
        self.transact(statements, handles, flush)
        self.reserved = handles

    def transact(self, statements: "Sequence[str]", handles: int, flush: bool = True) -> None:
        """Carry out these statements, all or none, if the epoch is still ours.  Raises StoreError."""
        def work(connection: "DriverConnection") -> None:
            for statement in statements:
                connection.run(statement)
        self._transact(work, handles, flush)

    def _transact(self, work: "Callable[[DriverConnection], Any]", handles: int, flush: bool) -> "Any":
        """What this returns, which is done in a transaction, if the epoch is still ours.  Raises StoreError."""
        begun = 0  # the count of this transaction, once it was begun
        result = None  # type: Any

        def attempt(connection: "DriverConnection") -> None:
            nonlocal begun, result
            if begun and begun == self._batch:
                return  # it was committed, and only the answer got lost
            begun = self._batch + 1
            self._begin(connection, begun, handles, flush)
            result = work(connection)
            self._commit(connection, begun)
        self._keep_trying(attempt)
        return result

    def _keep_trying(self, attempt: "Callable[[DriverConnection], Any]") -> "Any":
        """What this returns; a connection that breaks is made again, which is tried for some seconds.  Raises StoreError."""
        end = self._clock() + RECONNECT_TIME
        pause = SHORTEST_PAUSE
        while True:
            try:
                return attempt(self._connection or self._connect_again())
            except self._database.errors as error:
                failure = self._failure(error)
                if self._roll_back(error) and code_of(error) not in self._dialect.busy or self._clock() >= end:
                    raise failure from None
            self._sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    def _begin(self, connection: "DriverConnection", batch: int, handles: int, flush: bool) -> None:
        """Begin a transaction, and prove that the epoch is still ours."""
        self._begun_at = self._clock()
        connection.run("BEGIN")
        if not flush and self._dialect.unflushed:
            connection.run(self._dialect.unflushed)
        if connection.run(self._statements.prove(self.epoch, batch, handles)) != 1:
            self._depose()

    def _commit(self, connection: "DriverConnection", batch: int) -> None:
        if self._is_late(self._begun_at):
            connection.run(self._statements.stay())
        self._uncertain = True
        connection.run("COMMIT")
        self._uncertain = False
        self._batch = batch
        self._wrote_at = self._clock()

    def _depose(self) -> None:
        self._disconnect()
        self._uncertain = False
        raise Deposed("%s: another server has taken the jobs of %s" % (self.name, self.server))

    def _roll_back(self, error: BaseException) -> bool:
        """After an error: whether nothing was written for sure; else the connection is given up."""
        if self._connection is not None and not self._uncertain and code_of(error) not in self._dialect.lost:
            try:
                self._connection.run("ROLLBACK")
                return True
            except self._database.errors as other:
                _logger_database.debug("%s: %s", self.name, other)
        self._disconnect()
        return False

    def _connect_again(self) -> "DriverConnection":
        """A new connection in place of the one that broke, whose last transaction is over then, one way or the other."""
        connection = self._connect()
        try:
            if self._backend:
                # Where the database has not noticed, it would keep the lock of our row until it does.
                dialect, words = self._dialect, (self._backend,) + self._lock_numbers
                if connection.rows(dialect.has_backend.format(*words)):
                    connection.run(dialect.end_backend.format(*words))
            self._lock_name(connection)
            self._backend = str(connection.rows(self._dialect.backend)[0][0])
            connection.run("BEGIN")
            found = connection.rows(self._statements.look())
            connection.run("COMMIT")
        except BaseException:
            self._close(connection)
            raise
        self._connection = connection
        if not found or found[0][0] != self.epoch:
            self._depose()
        self._batch = found[0][1]
        self._uncertain = False
        self._adoption.drop(self._batch)
        _logger_database.info("%s: connected again", self.name)
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._close(connection)

    def _close(self, connection: "DriverConnection") -> None:
        try:
            connection.close()
        except self._database.errors as error:
            _logger_database.debug("%s: %s", self.name, error)

    def _failure(self, error: BaseException) -> StoreError:
        return self.error(self._database.text_of(error))

    # ------------------------------------------------------------------------------------------------------ other servers

    def look_around(self) -> "List[Neighbour]":
        """As any Store."""
        rows = self._transact(lambda connection: connection.rows(self._statements.neighbours()), self.reserved, False)
        return [Neighbour(name, epoch, float(silent), float(take_over), bool(is_over), adopted_by, float(adopted_ago))
                for name, epoch, silent, take_over, is_over, adopted_by, adopted_ago in rows if _is_name(name)]

    def adopt(self, name: str, epoch: int) -> bool:
        """As any Store."""
        adoption = self._adoption

        def work(connection: "DriverConnection") -> None:
            adoption.take_over(connection, self._batch + 1, name, epoch, self.take_over)
        try:
            self._transact(work, self.reserved, True)
        except BaseException:
            if not self._uncertain:
                adoption.drop()
            raise
        return adoption.settle() == (name, epoch)

    def read_adopted(self) -> "List[Record]":
        """As any Store."""
        return self._adoption.read(self._rows)

    # ------------------------------------------------------------------------------------------------------- written anew

    def drop_connection(self) -> None:
        """As any Store."""
        self._disconnect()
        self._usable = False

    def begin_anew(self, number: int, is_empty: bool) -> None:
        """As any Store: all of it is one transaction, which goes on until `end_anew`."""
        self._disconnect()  # what has begun there is over
        self._usable = False
        self._step(self._begin_anew, number + HANDLE_BLOCK)

    def _begin_anew(self, handles: int) -> None:
        connection = self._connection or self._connect_again()
        self._begin(connection, self._batch + 1, handles, True)
        for statement in self._statements.clear():
            connection.run(statement)
        self.reserved = handles

    def add_anew(self, records: "Iterable[Record]") -> None:
        """As any Store."""
        self._step(self._add_anew, records)

    def _add_anew(self, records: "Iterable[Record]") -> None:
        assert self._connection is not None
        for statement in self._statements.write(records):
            self._connection.run(statement)

    def end_anew(self) -> None:
        """As any Store."""
        self._step(self._end_anew)
        self._usable = True

    def _end_anew(self) -> None:
        assert self._connection is not None
        self._commit(self._connection, self._batch + 1)

    def _step(self, step: "Callable[..., None]", *arguments: "Any") -> None:
        try:
            step(*arguments)
        except self._database.errors as error:
            self._disconnect()
            raise self._failure(error) from None

    def prove_room(self, size: int) -> None:
        """As any Store: so many bytes are written, and then taken back."""
        def work(connection: "DriverConnection") -> None:
            connection.run("SAVEPOINT room")
            for statement in self._statements.fill(min(size, LARGEST_PROOF)):
                connection.run(statement)
            connection.run("ROLLBACK TO SAVEPOINT room")
        # Our row is locked meanwhile, so that nobody takes us for dead if it takes long.
        self._transact(work, self.reserved, True)

    # ------------------------------------------------------------------------------------------------------------ the end

    def close(self, number: int) -> None:
        """As any Store."""
        self.transact([self._statements.leave()], number)
        self.abandon()

    def abandon(self) -> None:
        """As any Store."""
        self._disconnect()
        self._usable = self._interrupted = False
        self._job_keys, self._result_keys = [], []
        self._adoption.clear()


def _is_name(text: str) -> bool:
    """Whether a server can be called so; for MySQL, blanks at the end of a name make no other name."""
    return 0 < len(text) <= 255 and text.isprintable() and not text.endswith(" ") and not set(text) & set("'\"\\")


def _numbers(rows: "Sequence[Sequence[Any]]") -> "Tuple[int, int]":
    """The largest epoch and the last handle that the table meta has of servers that have no row any longer."""
    epoch, handles = map(int, rows[0][0].split()) if rows else (0, 0)
    return epoch, handles

"""The jobs of other servers of the same database, which are taken over in one transaction and read a piece at a time."""
from collections import deque, namedtuple

from ..net.logs import own_logger
from ..schedule import Schedule
from .rows import job_record, kept_record, keys_of, order_record, pieces_of, plain_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, List, Optional, Sequence, Tuple
    from ..core.ledger import Record
    from .drivers import DriverConnection
    from .statements import Statements

_logger_adoption = own_logger("gearman_std.store")

# What the transaction with the number `batch` has taken over, if it was committed: the jobs of the server `name` and `epoch`.
# `pauses` came with them, `pieces` tell how to read them, and `left` are the handles of rows that stay where they are.
_Taken = namedtuple("_Taken", "batch name epoch pauses pieces left")


class Adoption:
    """What the store of this name has taken over from other servers, as far as it is still to be read.

    When a connection breaks, nobody may know whether a transaction was committed.  What the transaction has taken over waits
    until its number tells that: then `settle` lets it be read, or `drop` forgets it.

    Owner: the DatabaseStore.
    """

    def __init__(self, store: str, statements: "Statements") -> None:
        self._store = store
        self._statements = statements
        self._last = None       # type: Optional[_Taken] # the one that was begun last, until its end is known
        self._unread = deque()  # type: Deque[Tuple[Any, Any, List[Any]]]

    def __repr__(self) -> str:
        return "<Adoption of %s: %d pieces to read>" % (self._store, len(self._unread))

    def take_over(self, connection: "DriverConnection", batch: int, name: str, epoch: int, after: float) -> None:
        """Take over a server's jobs, and the ends of its jobs, in the transaction with the number `batch`.

        Does nothing if that server was heard of in the last `after` seconds, or if the transaction of an earlier call was
        committed and only its answer got lost.

        Rows that would keep the next start of this server from reading its jobs are left where they are.
        """
        if self._last is not None and self._last.batch < batch:
            return
        self._last = None
        statements = self._statements
        if not connection.rows(statements.silent(name, epoch, after)):
            return
        pauses = list(map(order_record, connection.rows(statements.pauses(name))))
        spoilt = {bytes(handle) for handle, schedule in connection.rows(statements.schedules(name))
                  if not _is_schedule(bytes(schedule))}
        pieces = []  # type: List[Any]
        for keys, query, record_of in ((statements.result_keys(name), statements.results_of, kept_record),
                                       (statements.job_keys(name), statements.jobs_of, job_record)):
            sound = [key for key in keys_of(connection.rows(keys)) if key[0] not in spoilt]
            pieces += [(query, record_of, some) for some in pieces_of(sound)]
        for statement in statements.adopt(name, sorted(spoilt)):
            connection.run(statement)
        for pause in pauses:
            for statement in statements.order(pause.name, pause.function, pause.value):
                connection.run(statement)
        left = [bytes(handle) for handle, in connection.rows(statements.left(name))]
        self._last = _Taken(batch, name, epoch, pauses, pieces, left)

    def drop(self, committed: int = 0) -> None:
        """No transaction after the one with this number was committed: forget what one has taken over."""
        if self._last is not None and self._last.batch > committed:
            self._last = None

    def settle(self) -> "Optional[Tuple[str, int]]":
        """The transaction was committed: let what it has taken over be read.

        Returns the server and its epoch, or None if nothing was taken over.
        """
        taken, self._last = self._last, None
        if taken is None:
            return None
        if taken.left:
            _logger_adoption.error("%s: %d rows of the server %s make no sense, and are left with it, such as that of job %s",
                                   self._store, len(taken.left), taken.name, taken.left[0].decode("latin-1"))
        if taken.pauses:
            self._unread.append((None, None, taken.pauses))
        self._unread.extend(taken.pieces)
        return taken.name, taken.epoch

    def read(self, rows_of: "Callable[[str], List[Sequence[Any]]]") -> "List[Record]":
        """The next records, none if that was all; `rows_of` answers a query.  If it raises an error, nothing has changed.

        Rows that somebody has deleted or spoilt meanwhile are passed over, as they harm no others.
        """
        while self._unread:
            query, record_of, some = self._unread[0]
            records = some
            if query is not None:
                found = {}
                for row in map(plain_row, rows_of(query(some))):
                    try:
                        found[row[0]] = record_of(row)
                    except ValueError as mistake:
                        _logger_adoption.error("%s: %s, and is left in the store", self._store, mistake)
                records = [found[handle] for handle in some if handle in found]
            self._unread.popleft()
            if records:
                return records
        return []

    def clear(self) -> None:
        """Forget everything, because the store is closed."""
        self._last = None
        self._unread.clear()


def _is_schedule(text: bytes) -> bool:
    try:
        Schedule(text)
    except ValueError:
        return False
    return True

"""The rows of a database's tables as records, and how many of them are read at once."""
from ..core.jobs import PRIORITY_CLASSES, STORED_STATES
from ..core.ledger import ADD, KEEP, ORDER, AddRecord, KeepRecord, OrderRecord
from .records import LOAD_SIZE
from .statements import OUTCOMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator, List, Sequence, Tuple

LOAD_ROWS = 256  # rows that are read at once

_STATES = frozenset(STORED_STATES)


def plain_row(row: "Iterable[Any]") -> "List[Any]":
    """A row with bytes where some drivers have views of bytes."""
    return [bytes(value) if isinstance(value, (memoryview, bytearray)) else value for value in row]


def job_record(row: "Sequence[Any]") -> AddRecord:
    """A row of the table jobs.  Raises ValueError."""
    if row[8] not in _STATES or row[5] not in PRIORITY_CLASSES:
        raise ValueError("the row of job %s makes no sense" % row[0].decode("latin-1"))
    return AddRecord(ADD, *row)


def kept_record(row: "Sequence[Any]") -> KeepRecord:
    """A row of the table results.  Raises ValueError."""
    if row[3] not in OUTCOMES:
        raise ValueError("the row of the ended job %s makes no sense" % row[0].decode("latin-1"))
    return KeepRecord(KEEP, *row)


def order_record(row: "Sequence[Any]") -> OrderRecord:
    """A row of the table orders."""
    return OrderRecord(ORDER, b"", *plain_row(row))


def keys_of(rows: "Iterable[Sequence[Any]]") -> "List[Tuple[bytes, int]]":
    """Handles, each with the bytes that are to be read of it."""
    return [(bytes(handle), size) for handle, size in rows]


def pieces_of(keys: "Iterable[Tuple[bytes, int]]") -> "Iterator[List[bytes]]":
    """The handles, so many at a time as are read at once."""
    some = []  # type: List[bytes]
    total = 0
    for handle, size in keys:
        if len(some) >= LOAD_ROWS or some and total + size > LOAD_SIZE:
            yield some
            some, total = [], 0
        some.append(handle)
        total += size
    if some:
        yield some

"""What any store has to know of the records that it is given: how large they are, and which of them cancel each other."""
from ..core.ledger import ADD, CHANGE, FORGET, KEEP, ORDER, REMOVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List
    from ..core.ledger import Record

PIECE = 4 << 20        # bytes that are written in one go while others wait
ROW_SIZE = 200         # bytes of a row besides its workload, about
LOAD_STEP, LOAD_SIZE = 256, 1 << 20  # jobs, and bytes, about, that are loaded at once


def time_to_write(record: "Record") -> int:
    """What it costs to write a record, counted in bytes: its own, and those that could be written in the time of a row."""
    kind = record.kind
    return 8 * ROW_SIZE + len((record.workload if kind == ADD else record.result if kind == KEEP else record.value) or b"")


def compact(records: "List[Record]") -> "List[Record]":
    """Fewer records with the same effect: the last of each kind for each thing; of a removed job, only removal and end."""
    latest = {}  # type: Dict[Any, Record]
    removed = {record.handle for record in records if record.kind == REMOVE}
    for record in records:
        kind = KEEP if record.kind == FORGET else record.kind
        if kind in (REMOVE, KEEP) or record.handle not in removed:
            key = (kind, record.handle, record.column if kind == CHANGE else record[2:4] if kind == ORDER else "")
            latest.pop(key, None)  # so that it moves to the end
            latest[key] = record
    return list(latest.values())

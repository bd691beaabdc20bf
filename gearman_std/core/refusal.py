"""After the store has refused records: promises become errors, new jobs are refused, other records are kept; all in steps."""
from itertools import islice

from ..wire.protocol import ERROR, pack_response
from .ledger import ADD, KEEP, REMOVE, RemoveRecord
from .kept import kept_size
from .tables import grown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, List, MutableMapping, Set
    from .jobs import Job
    from .ledger import Ledger
    from .peers import Peer


class Refusal:
    """The two batches that the store does not have: the one that it refused, and the one that gathered meanwhile, which may
    depend on the first.  `break_promises`, `jobs` and `keep_the_rest` are called in this order, and each works in steps.

    Owner: the Core.
    """

    __slots__ = ("batches", "_ledger", "_handles", "_kept")

    def __init__(self, ledger: "Ledger") -> None:
        self.batches = [ledger.take_back(), ledger.take_back()]
        self._ledger = ledger
        self._handles = {}     # type: MutableMapping[bytes, None] # of the new jobs
        self._kept = []        # type: List[Any] # records to write later: removals of these jobs, and all other records

    def __repr__(self) -> str:
        return "<Refusal: %d promises, %d new jobs>" % (
            sum([len(batch.promises) for batch in self.batches]), sum([len(batch.storing) for batch in self.batches]))

    def has(self, job: "Job") -> bool:
        """Whether a new job is still to be refused."""
        return any(job in batch.storing for batch in self.batches)

    def exchange(self, old: "Job", new: "Job") -> None:
        """One Job object takes the place of another with the same handle."""
        for batch in self.batches:
            if old in batch.storing:
                batch.storing[new] = batch.storing.pop(old)

    def break_promises(self, reason: bytes, most: int) -> "Iterator[int]":
        """Turn all promises into errors; then let the peers that wait for the store go on.

        If another server may have taken the jobs over, peers that were promised nothing, or wait for a proof, wait for the next
        batch instead.
        """
        ledger, refusal = self._ledger, pack_response(ERROR, b"QUEUE_ERROR", reason)
        told = []  # type: List[Set[Peer]]
        for batch in self.batches:
            told.append(set())
            for some in _taken_out(batch.promises, most):
                for peer, place in some:
                    peer.break_promise(place, refusal)
                    told[-1].add(peer)
                yield len(some)
        for batch, peers in zip(self.batches, told):
            proving = set(batch.proving)
            ledger.proving += batch.proving
            for some in _taken_out(batch.holding, most):
                for peer in some:
                    if ledger.shared and (peer in proving or peer not in peers):
                        ledger.holding.append(peer)
                    else:
                        ledger.release(peer, batch.number)
                yield len(some)

    def jobs(self, written: bool, most: int) -> "Iterator[List[Job]]":
        """The new jobs, in their order, no longer background jobs; with `written`, the store may have rows of some of them."""
        for batch in self.batches:
            while batch.storing:
                some = list(islice(batch.storing, most))
                for job in some:
                    del batch.storing[job]
                    job.background = False
                self._handles.update([(job.handle, None) for job in some])
                self._handles = grown(self._handles)
                if written and batch is self.batches[0]:
                    self._kept += [RemoveRecord(REMOVE, job.handle) for job in some]
                yield some

    def keep_the_rest(self, most: int) -> "Iterator[int]":
        """Give the records of other jobs back to the ledger, in front of those that have come since."""
        ledger, handles, kept = self._ledger, self._handles, self._kept
        parts = [batch.records for batch in self.batches]
        while parts or len(ledger.records) > most:
            if not parts:
                parts.append(ledger.records)
                ledger.records = []
            for some in _taken_out(parts.pop(0), most):
                kept += [record for record in some if record.handle not in handles]
                ledger.refused_size += sum([len(record.workload) if record.kind == ADD else kept_size(record)
                                            for record in some if record.kind in (ADD, KEEP)])
                yield len(some)
        kept += [record for record in ledger.records if record.handle not in handles]
        ledger.records = kept
        while len(handles) > most:  # in steps, because to free very many takes long
            for _ in range(most):
                handles.popitem()
            yield most


def _taken_out(things: "List[Any]", most: int) -> "Iterator[List[Any]]":
    """Take all things out of a list, in their order, some at a time: to free very many at once takes long."""
    things.reverse()
    while things:
        some = things[:-most - 1:-1]
        del things[-most:]
        yield some

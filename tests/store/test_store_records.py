"""Records that cancel each other."""
import random

from gearman_std.core.jobs import DELAYED, SET_ASIDE, WAITING
from gearman_std.core.ledger import FORGET, ForgetRecord
from gearman_std.store.records import compact
from store_tools import add, changed, kept, load, opened, removed, update


def test_compact_keeps_the_effect():
    second, third = update(2), update(3)
    records = [update(1), update(2, DELAYED), changed(3, "priority", 1), second, removed(1),
               changed(3, "priority", 0), changed(3, "workload", b"a"), third, removed(9),
               removed(9)]
    assert compact(records) == [second, removed(1), changed(3, "priority", 0),
                                changed(3, "workload", b"a"), third, removed(9)]


def test_compact_is_the_same_to_the_store(store, tmp_path):
    chance = random.Random(4)
    records = []
    for _ in range(300):
        n = chance.randrange(1, 20)
        records.append(chance.choice([update(n, chance.choice([WAITING, SET_ASIDE]), chance.randrange(9)),
                                      changed(n, "priority", chance.randrange(3)),
                                      changed(n, "workload", b"%d" % chance.randrange(9))]
                                     + [removed(n)] * (chance.random() < 0.1)))
    other = opened(str(tmp_path / "other.db"))
    for one, script in ((store, records), (other, compact(records))):
        one.write([add(n) for n in range(1, 20)], 20)
        one.write(script, 20)
    assert len(compact(records)) < 60
    assert load(store) == load(other) != []
    other.abandon()


def test_of_how_a_job_ended_the_last_record_counts():
    assert compact([kept(1, result=b"a"), removed(1), kept(1, result=b"b"), kept(2), ForgetRecord(FORGET, b"H:x:2")]) == [
        removed(1), kept(1, result=b"b"), ForgetRecord(FORGET, b"H:x:2")]

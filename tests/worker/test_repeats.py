"""Failures that come again and again: which are told, which are counted, and that none is forgotten in silence."""
import threading

from gearman_std.worker.repeats import MOST_KINDS, FailureKind, Repeats, kind_of

KIND = FailureKind("resize", "ValueError", "photos.py, line 3")


def other(number):
    return FailureKind("function %d" % number, "ValueError", "photos.py, line 3")


def test_the_first_two_then_the_tenth_the_hundredth_and_so_on_are_told():
    repeats = Repeats()
    told = [number for number, tell, _ in (repeats.note(KIND) for _ in range(10100)) if tell]
    assert told == [1, 2, 10, 100, 1000, 10000]
    assert repeats.untold() == [(KIND, 100)]


def test_what_was_not_told_is_told_once_and_what_comes_later_is_counted_on():
    repeats = Repeats()
    for _ in range(7):
        repeats.note(KIND)
    repeats.note(other(1))
    assert repeats.untold() == [(KIND, 5)] and repeats.untold() == []
    assert [repeats.note(KIND)[:2] for _ in range(4)] == [(8, False), (9, False), (10, True), (11, False)]
    assert repeats.untold() == [(KIND, 1)]


def test_of_too_many_kinds_the_one_that_came_last_long_ago_is_told_and_forgotten():
    repeats = Repeats()
    for _ in range(5):
        repeats.note(KIND)
    for number in range(MOST_KINDS - 1):
        assert repeats.note(other(number)) == (1, True, [])
    repeats.note(KIND)  # so that others have not come for longer
    assert repeats.note(other(MOST_KINDS)) == (1, True, []), "all of the one that is forgotten were told"
    for number in range(MOST_KINDS + 1, 2 * MOST_KINDS - 1):
        assert repeats.note(other(number)) == (1, True, [])
    assert repeats.note(other(0)) == (1, True, [(KIND, 4)]), "it is forgotten, but not in silence"
    assert repr(repeats) == "<Repeats: %d kinds>" % MOST_KINDS


def test_no_count_is_lost_between_threads():
    repeats, told = Repeats(), []

    def fail():
        for _ in range(2500):
            told.append(repeats.note(KIND)[1])
    threads = [threading.Thread(target=fail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.count(True) == 6 and repeats.note(KIND)[0] == 10001
    assert repeats.untold() == [(KIND, 1)]


def raised(error):
    try:
        raise error
    except Exception as caught:
        return caught


def test_a_kind_is_what_failed_with_which_exception_and_where():
    one, two = raised(ValueError("one")), raised(ValueError("two"))
    assert kind_of("resize", one) == kind_of("resize", two) != kind_of("reverse", two)
    assert kind_of("resize", raised(KeyError("one"))) != kind_of("resize", one)
    try:
        int("x")
    except ValueError as elsewhere:
        assert kind_of("resize", elsewhere) != kind_of("resize", one)
    assert kind_of("resize", one).place.startswith(__file__.replace(".pyc", ".py") + ", line ")
    assert kind_of("resize", None) == ("resize", "NoneType", "")

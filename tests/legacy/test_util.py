"""Small things that scripts borrow."""
import pytest

from gearman_std.legacy.util import Stopwatch, disambiguate_server_parameter, unlist


def test_a_stopwatch_runs_down(monkeypatch):
    now = [10.0]
    monkeypatch.setattr(Stopwatch, "_clock", staticmethod(lambda: now[0]))
    watch = Stopwatch(2.0)
    assert (watch.get_time_remaining(), watch.has_time_remaining(), watch.has_time_remaining(12.5)) == (2.0, True, False)
    now[0] = 13.0
    assert (watch.get_time_remaining(), watch.has_time_remaining()) == (0.0, False)
    assert Stopwatch(None).get_time_remaining() is None and Stopwatch(None).has_time_remaining()
    assert "0.0 s" in repr(watch)


def test_addresses():
    assert disambiguate_server_parameter("host:12") == disambiguate_server_parameter(("host", "12")) == ("host", 12)
    with pytest.raises(ValueError):
        disambiguate_server_parameter("host:port")


def test_unlist():
    assert unlist([]) is None and unlist([1]) == 1
    with pytest.raises(ValueError, match="2 items, where there may be one"):
        unlist([1, 2])

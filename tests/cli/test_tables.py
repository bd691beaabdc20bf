"""Tables, bars and durations as text: their width, and what a terminal could take for an order."""
import io
import os
import pty

import pytest

from gearman_std.cli.tables import fit, make_bar, make_table, printable, show_duration, terminal_width


def test_columns_are_as_wide_as_what_is_in_them_and_figures_stand_at_the_right():
    assert make_table(("NAME", "N", "EMPTY", "TEXT"), [("a", "1", "", "x"), ("longer", "100", "", "")]) == [
        "NAME      N  TEXT", "a         1  x", "longer  100"]
    assert make_table(("NAME", "N"), []) == ["NAME  N"]


@pytest.mark.parametrize("width", [20, 40, 60, 200])
def test_the_widest_columns_are_cut_until_all_fit(width):
    lines = make_table(("NAME", "TEXT"), [("n" * 30, "t" * 90), ("\u4e2d" * 20, "x")], width)
    assert max(len(line.encode("utf-16-le")) // 2 + line.count("\u4e2d") for line in lines) <= width
    assert lines[1].startswith("nnn") and ("~" in lines[1]) == (width < 122)


@pytest.mark.parametrize("text, width, shown", [
    ("abc", 5, "abc  "), ("abcdef", 4, "abc~"), ("abc", 3, "abc"), ("\u4e2d\u4e2d", 3, "\u4e2d~"), ("\u4e2d\u4e2d", 2, "~ "),
    ("e\u0301x", 2, "e\u0301x"), ("\x1b[2J", 6, "?[2J  "), ("a\u202eb", 3, "a?b"), ("x", 0, ""), ("abc", 1, "~")])
def test_a_text_has_its_width(text, width, shown):
    assert fit(text, width) == shown


def test_nothing_is_an_order_to_the_terminal():
    assert printable("a\x07b\x9bc\n") == "a?b?c?"
    assert make_table(("N",), [("\x1b]0;x\x07",)]) == ["N", "?]0;x?"]


@pytest.mark.parametrize("done, bar", [(0, "[--------]"), (0.5, "[####----]"), (1, "[########]"), (7, "[########]"),
                                       (-1, "[--------]")])
def test_a_bar_is_filled_as_far_as_it_is(done, bar):
    assert make_bar(done, 10) == bar


@pytest.mark.parametrize("seconds, text", [(0, "0.0s"), (99.94, "99.9s"), (100, "1m"), (5999, "99m"), (6000, "1h"),
                                           (360000, "4d")])
def test_a_duration_is_short(seconds, text):
    assert show_duration(seconds) == text


def test_only_a_terminal_has_a_width(monkeypatch):
    assert terminal_width(io.BytesIO()) is None and terminal_width(None) is None
    master, slave = pty.openpty()
    monkeypatch.delenv("COLUMNS", raising=False)
    try:
        with os.fdopen(slave, "wb") as there:
            assert terminal_width(there) == 80
            monkeypatch.setenv("COLUMNS", "50")
            assert terminal_width(there) == 50
    finally:
        os.close(master)

"""How options are read from a command line, what the help shows of them, and how their values are read."""
import socket

import pytest

from gearman_std.cli.options import (CommandLine, HelpWanted, OneOf, Option, UsageError, _note_lines, did_you_mean, read_port,
                                     read_seconds, read_size, some_text, whole_number)
from gearman_std.version import VERSION


def make_line(once=False):
    return CommandLine("test", ["test [OPTIONS]"], "A command for tests.", [
        ("Some options", [
            Option("-b --background", "", "a flag"), Option("-v --verbose", "", "a flag that counts", repeat=True),
            Option("-f --function", "NAME", "may be repeated", repeat=True),
            Option("-c --count", "N", "a number", whole_number(1)),
            Option("--shutdown", "HOW", "a value that may be left out", default_word="now"), Option("--hidden", "", ""),
        ])], once=once)


@pytest.mark.parametrize("words, given, rest", [
    ([], [], []),
    (["-b", "-f", "wc", "data"], [("background", True), ("function", "wc")], ["data"]),
    (["-bfwc"], [("background", True), ("function", "wc")], []),
    (["-bvf", "wc"], [("background", True), ("verbose", 1), ("function", "wc")], []),
    (["-vv"], [("verbose", 1), ("verbose", 2)], []),
    (["--function=wc", "--function", "rev"], [("function", "wc"), ("function", "rev")], []),
    (["--function="], [("function", "")], []),
    (["data", "-b", "more"], [("background", True)], ["data", "more"]),
    (["-b", "--", "-b", "--", "x"], [("background", True)], ["-b", "--", "x"]),
    (["-f", "--", "x"], [("function", "--")], ["x"]),
    (["-"], [], ["-"]),
    (["-c", "3", "-c4"], [("count", 3), ("count", 4)], []),
    (["--shutdown", "now"], [("shutdown", "now")], ["now"]),
    (["--shutdown=graceful"], [("shutdown", "graceful")], []),
])
def test_options_are_read_as_getopt_reads_them(words, given, rest):
    parsed = make_line().parse(words)
    assert (parsed.given, parsed.words) == (given, rest)


def test_what_is_not_given_has_its_default():
    parsed = make_line().parse([])
    assert (parsed.background, parsed.verbose, parsed.function, parsed.count, parsed.shutdown) == (False, 0, [], None, None)
    assert make_line().parse(["-f", "a"]).function == ["a"]
    assert parsed.function == []  # and no two share it


@pytest.mark.parametrize("words, complaint", [
    (["-x"], "there is no option -x"),
    (["--backgrounds"], "there is no option --backgrounds (did you mean --background?)"),
    (["--back"], "there is no option --back (did you mean --background?)"),
    (["-f"], "-f needs a value"), (["--function"], "--function needs a value"),
    (["--background=1"], "--background takes no value"), (["-c", "x"], "-c: 'x' is not a whole number from 1"),
    (["-bx"], "there is no option -x"),
])
def test_what_makes_no_sense_is_told(words, complaint):
    with pytest.raises(UsageError) as caught:
        make_line().parse(words)
    assert str(caught.value) == complaint


def test_some_commands_refuse_an_option_given_twice():
    assert make_line(once=True).parse(["-f", "a", "-f", "b", "-b"]).function == ["a", "b"]
    with pytest.raises(UsageError):
        make_line(once=True).parse(["-b", "-b"])


@pytest.mark.parametrize("words", [["--help"], ["-H"], ["-b", "x", "-H"], ["-bH"]])
def test_help_is_wanted(words):
    with pytest.raises(HelpWanted) as wanted:
        make_line().parse(words)
    text = str(wanted.value)
    for part in ("usage: gearman-std test [OPTIONS]", "A command for tests.", "Some options:", "-f, --function NAME",
                 "-H, --help", "--shutdown[=HOW]"):
        assert part in text
    assert "--hidden" not in text


def test_after_the_options_end_nothing_is_an_option():
    assert make_line().parse(["--", "--help"]).words == ["--help"]


@pytest.mark.parametrize("width", [20, 60, 100])
def test_help_fits_the_terminal(width):
    assert max(map(len, make_line().help(width).splitlines())) <= max(width, 60)


def test_help_of_a_wide_terminal_has_no_more_than_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    line = CommandLine("test", ["test"], "words " * 50, [("Options", [Option("--option", "", "words " * 50)])])
    assert 70 < max(map(len, line.help().splitlines())) <= 80


@pytest.mark.parametrize("text, lines", [
    ("0  well\n1   not so well, for one of the many reasons\n    that there are", [
        "  0  well", "  1  not so well, for one of the many", "     reasons that there are"]),
    ("a sentence that goes on and on, until it does not fit", ["  a sentence that goes on and on, until", "  it does not fit"]),
    ("gearman-std client -f wc --host one,two some-data  what it does", [
        "  gearman-std client -f wc --host \\", "      one,two some-data", "      what it does"]),
    ("ONE_NAME, ANOTHER_NAME, A_THIRD\n      what they are for, one and all", [
        "  ONE_NAME, ANOTHER_NAME, A_THIRD", "      what they are for, one and all"]),
])
def test_notes_are_wrapped(text, lines):
    assert _note_lines(text, 40) == lines


def test_the_version_is_an_answer():
    with pytest.raises(HelpWanted) as caught:
        make_line().parse(["--version"])
    assert str(caught.value) == "gearman_std %s\n" % VERSION


@pytest.mark.parametrize("word, guess", [("--cuont", " (did you mean --count?)"), ("--hiddden", ""),
                                         ("--completely-other", ""), ("-z", "")])
def test_a_typo_gets_a_suggestion(word, guess):
    with pytest.raises(UsageError) as caught:
        make_line().parse([word])
    assert str(caught.value) == "there is no option %s%s" % (word, guess)


def test_dashes_alone_are_no_likeness():
    words = ["--web", "--max-packet", "--worker-wakeup", "--pid-file", "--daemon", "-w"]
    assert [did_you_mean(word, words) for word in ["--debug", "--accept", "--wakeup", "--pidfile", "--daemonize"]] == [
        "", "", " (did you mean --worker-wakeup?)", " (did you mean --pid-file?)", " (did you mean --daemon?)"]


# --- Values.


@pytest.mark.parametrize("read, text, value", [
    (whole_number(), "0", 0), (whole_number(-1), "-1", -1), (whole_number(0, 9), "9", 9), (whole_number(None), "-7", -7),
    (read_seconds, "10", 10.0), (read_seconds, "0.5", 0.5), (read_seconds, "250ms", 0.25), (read_seconds, "5m", 300.0),
    (read_seconds, "2h", 7200.0), (read_seconds, "1d", 86400.0), (read_seconds, "3s", 3.0),
    (read_size, "65536", 65536), (read_size, "64K", 65536), (read_size, "1m", 1 << 20), (read_size, "2G", 2 << 30),
    (read_port, "4730", 4730), (read_port, "0", 0), (OneOf("a", "b"), "b", "b"),
])
def test_values_are_read(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize("read, text", [
    (whole_number(), "-1"), (whole_number(0, 9), "10"), (whole_number(), "1.5"), (whole_number(), ""),
    (some_text, ""), (read_seconds, ""), (read_seconds, "-1"), (read_seconds, "x"), (read_seconds, "1y"), (read_seconds, "nan"),
    (read_seconds, "inf"), (read_seconds, "1sm"), (read_size, ""), (read_size, "K"), (read_size, "1T"), (read_size, "-1"),
    (read_size, "1KM"),
    (read_port, "65536"), (read_port, "-1"), (read_port, "no-such-service"), (read_port, ""), (OneOf("a"), "c"),
])
def test_values_that_make_no_sense(read, text):
    with pytest.raises(ValueError):
        read(text)


def test_a_port_may_be_a_services_name():
    try:
        port = socket.getservbyname("http", "tcp")
    except OSError:
        pytest.skip("this machine knows no services")
    assert read_port("http") == port

"""What the commands share: options, values, addresses, output, exit statuses, and how a program starts itself again."""
import errno
import io
import os
import socket
import subprocess
import sys

import pytest

from gearman_std.cli.common import (FAILED, INTERRUPTED, PIPE_CLOSED, TOO_LATE, UNREACHABLE, USAGE, CommandLine, Console,
                                    HelpWanted, Option, Quit, UsageError, _note_lines, address_options, find_servers,
                                    find_tls, one_of, own_command, read_port, read_seconds, read_size, run_command,
                                    some_text, whole_number)
from gearman_std.errors import JobTimeout, NoServer, ServerError, ServerLost
from gearman_std.version import VERSION


def make_line(once=False):
    return CommandLine("test", ["test [OPTIONS]"], "A command for tests.", [
        ("Some options", [
            Option("-b --background", "", "a flag"), Option("-v --verbose", "", "a flag that counts", repeat=True),
            Option("-f --function", "NAME", "may be repeated", repeat=True),
            Option("-c --count", "N", "a number", whole_number(1)),
            Option("--shutdown", "HOW", "a value that may be left out", default_word="now"), Option("--hidden", "", ""),
        ])], once=once)


def console(stdin=b""):
    return Console("test", io.BytesIO(stdin), io.BytesIO(), io.BytesIO())


# --- Options.


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


# --- Values.


@pytest.mark.parametrize("read, text, value", [
    (whole_number(), "0", 0), (whole_number(-1), "-1", -1), (whole_number(0, 9), "9", 9),
    (read_seconds, "10", 10.0), (read_seconds, "0.5", 0.5), (read_seconds, "250ms", 0.25), (read_seconds, "5m", 300.0),
    (read_seconds, "2h", 7200.0), (read_seconds, "1d", 86400.0), (read_seconds, "3s", 3.0),
    (read_size, "65536", 65536), (read_size, "64K", 65536), (read_size, "1m", 1 << 20), (read_size, "2G", 2 << 30),
    (read_port, "4730", 4730), (read_port, "0", 0), (one_of("a", "b"), "b", "b"),
])
def test_values_are_read(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize("read, text", [
    (whole_number(), "-1"), (whole_number(0, 9), "10"), (whole_number(), "1.5"), (whole_number(), ""),
    (some_text, ""), (read_seconds, ""), (read_seconds, "-1"), (read_seconds, "x"), (read_seconds, "1y"), (read_seconds, "nan"),
    (read_seconds, "inf"), (read_seconds, "1sm"), (read_size, ""), (read_size, "K"), (read_size, "1T"), (read_size, "-1"),
    (read_size, "1KM"),
    (read_port, "65536"), (read_port, "-1"), (read_port, "no-such-service"), (read_port, ""), (one_of("a"), "c"),
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


# --- Where the server is.


@pytest.mark.parametrize("words, environment, addresses", [
    ([], {}, [("localhost", 4730)]),
    (["-h", "one"], {}, [("one", 4730)]),
    (["-h", "one", "-p", "1"], {}, [("one", 1)]),
    (["-p", "1"], {}, [("localhost", 1)]),
    (["-h", "one:2", "-p", "1"], {}, [("one", 2)]),
    (["-h", "one, two:2", "-p", "1"], {}, [("one", 1), ("two", 2)]),
    (["-h", "::1", "-p", "1"], {}, [("::1", 1)]),
    (["-h", "/run/socket"], {}, [("/run/socket", 0)]),
    ([], {"GEARMAN_SERVERS": "one:1,two"}, [("one", 1), ("two", 4730)]),
    ([], {"GEARMAN_SERVERS": "one", "GEARMAN_SERVER": "two"}, [("two", 4730)]),
    (["-h", "three"], {"GEARMAN_SERVERS": "one", "GEARMAN_SERVER": "two"}, [("three", 4730)]),
    (["-p", "1"], {"GEARMAN_SERVERS": "one"}, [("localhost", 1)]),
])
def test_where_the_server_is(words, environment, addresses):
    line = CommandLine("test", [], "", [address_options()])
    assert find_servers(line.parse(words), environment) == addresses


@pytest.mark.parametrize("host", ["one:x", "one:99999", ",", "a b"])
def test_an_address_that_is_none(host):
    line = CommandLine("test", [], "", [address_options()])
    with pytest.raises(UsageError):
        find_servers(line.parse(["-h", host]), {})


def test_tls_is_set_up_by_options_and_by_libgearmans_environment():
    line = CommandLine("test", [], "", [address_options()])
    assert find_tls(line.parse([]), {"GEARMAND_CA_CERTIFICATE": "ca"}) is None
    for words in (["--tls-ca", "ca"], ["--tls-hostname", "h"], ["--tls-no-verify"]):
        with pytest.raises(UsageError, match="^%s needs --tls$" % words[0]):
            find_tls(line.parse(words), {})
    assert find_tls(line.parse(["-S"]), {}) == {"verify": True}
    folder = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tls")
    ca, other, own = [os.path.join(folder, name) for name in ("ca.pem", "server.pem", "client.pem")]
    environment = {"GEARMAND_CA_CERTIFICATE": ca, "GEARMAN_CLIENT_PEM": own, "GEARMAN_CLIENT_KEY": own}
    assert find_tls(line.parse(["-S"]), environment) == {"ca": ca, "certificate": own, "key": own, "verify": True}
    words = ["--ssl", "--tls-ca", other, "--tls-hostname", "h", "--tls-no-verify"]
    assert find_tls(line.parse(words), environment) == {"ca": other, "certificate": own, "key": own, "hostname": "h",
                                                        "verify": False}


# --- Output.


class Awkward:
    """A stream that takes a few bytes at a time, or says in which way it cannot."""

    def __init__(self, *moods):
        self.moods = list(moods)
        self.taken = b""
        self.reader, self.writer = os.pipe()  # ready to be written to

    def fileno(self):
        return self.writer

    def write(self, data):
        mood = self.moods.pop(0) if self.moods else None
        if isinstance(mood, OSError):
            raise mood
        if mood == "busy":
            return None
        self.taken += bytes(data[:3])
        return len(data[:3])

    def flush(self):
        mood = self.moods.pop(0) if self.moods else None
        if isinstance(mood, OSError):
            raise mood

    def close(self):
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def awkward():
    streams = []

    def make(*moods):
        streams.append(Awkward(*moods))
        return streams[-1]
    yield make
    for stream in streams:
        stream.close()


def test_everything_is_written_to_a_stream_that_takes_little_at_a_time(awkward):
    """As an unbuffered standard output does."""
    stream = awkward()
    Console("test", stdout=stream).write(b"0123456789")
    assert stream.taken == b"0123456789"


@pytest.mark.skipif(os.name != "posix", reason="only sockets can be waited for")
def test_everything_is_written_to_a_stream_that_is_busy(awkward):
    """As one that another program has made non-blocking is."""
    partly = BlockingIOError(errno.EAGAIN, "busy", 0)
    stream = awkward("busy", None, partly, None, None, None, partly)
    Console("test", stdout=stream).write(b"0123456789")
    assert stream.taken == b"0123456789"


def test_a_reader_that_went_away_ends_the_program(awkward):
    with pytest.raises(Quit) as caught:
        Console("test", stdout=awkward(BrokenPipeError(errno.EPIPE, "Broken pipe"))).write(b"x")
    assert caught.value.status == PIPE_CLOSED


def test_a_full_disk_is_an_error(awkward):
    with pytest.raises(OSError) as caught:
        Console("test", stdout=awkward(OSError(errno.ENOSPC, "No space left on device"))).write(b"x")
    assert caught.value.strerror == "cannot write to standard output: No space left on device"


@pytest.mark.parametrize("read, wanted", [
    (lambda there: [there.read()], [b"one\ntwo\n" + b"x" * 100000]),
    (lambda there: [there.read_line() for _ in range(4)], [b"one\n", b"two\n", b"x" * 100000, b""]),
])
def test_input_that_does_not_block_is_read_to_its_end(monkeypatch, read, wanted):
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    pieces = [b"", b"one\ntw", b"o\n", b"x" * 50000, b"x" * 50000]

    def write_a_piece(*_):  # instead of waiting
        if pieces:
            os.write(writer, pieces.pop(0))
        if not pieces:
            os.close(writer)
    monkeypatch.setattr("gearman_std.cli.common.select.select", write_a_piece)
    with open(reader, "rb") as stdin:
        assert read(Console("test", stdin=stdin)) == wanted


def test_a_full_disk_for_the_help_is_told_in_one_line(awkward):
    there = Console("test", stdout=awkward(OSError(errno.ENOSPC, "No space left on device")), stderr=io.BytesIO())

    def command(*_):
        raise HelpWanted("help")
    assert run_command(there, command, []) == FAILED
    assert there.stderr.getvalue() == b"gearman-std test: cannot write to standard output: No space left on device\n"


def test_a_closed_standard_error_is_nobodys_trouble(awkward):
    there = Console("test", stderr=awkward(OSError(errno.EBADF, "closed")))
    there.warn("x")
    there.complain("y")


def test_complaints_take_one_line():
    there = console()
    there.complain("two\nlines")
    assert there.stderr.getvalue() == b"gearman-std test: two lines\n"


def test_a_closed_standard_output_is_an_error():
    there = console()
    there.stdout = there.stdin = None
    for use in (lambda: there.write(b""), there.read, there.read_line):
        with pytest.raises(OSError):
            use()


# --- How it ends.


@pytest.mark.parametrize("error, status, message", [
    (UsageError("no"), USAGE, b"gearman-std test: no; see gearman-std test --help\n"),
    (ValueError("no"), USAGE, b"gearman-std test: no\n"),
    (ServerError("CODE", "text"), FAILED, b"gearman-std test: CODE: text\n"),
    (NoServer("gone"), UNREACHABLE, b"gearman-std test: gone\n"),
    (ServerLost("gone"), UNREACHABLE, b"gearman-std test: gone\n"),
    (JobTimeout("late"), TOO_LATE, b"gearman-std test: late\n"),
    (OSError(errno.ENOENT, "No such file", "name"), FAILED, b"gearman-std test: name: No such file\n"),
    (OSError("whatever"), FAILED, b"gearman-std test: whatever\n"),
    (MemoryError(), FAILED, b"gearman-std test: MemoryError\n"),
    (KeyboardInterrupt(), INTERRUPTED, b""),
    (Quit(7), 7, b""),
])
def test_what_goes_wrong_is_a_status_and_a_line(error, status, message):
    there = console()

    def fail(_, __):
        raise error
    assert run_command(there, fail, []) == status
    assert there.stderr.getvalue() == message
    assert there.stdout.getvalue() == b""


def test_help_goes_to_standard_output_with_status_0():
    there = console()
    assert run_command(there, lambda _, words: make_line().parse(words), ["--help"]) == 0
    assert there.stdout.getvalue().startswith(b"usage: ")


def test_a_program_can_start_itself_again_from_anywhere(tmp_path):
    """Whatever the folder and the environment are."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    printed = subprocess.check_output(own_command() + ["--version"], cwd=str(tmp_path), env=environment, timeout=50)
    assert printed.startswith(b"gearman_std ")
    assert own_command()[0] == sys.executable

"""Standard input and output as bytes, whatever they are, and what is told on standard error."""
import errno
import io
import os
import subprocess
import sys

import pytest

from gearman_std.cli.common import run_command
from gearman_std.cli.console import FAILED, PIPE_CLOSED, Console, Quit
from gearman_std.cli.options import HelpWanted


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
    monkeypatch.setattr("gearman_std.cli.console.select.select", write_a_piece)
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
    there = Console("test", stderr=io.BytesIO())
    there.complain("two\nlines")
    assert there.stderr.getvalue() == b"gearman-std test: two lines\n"


@pytest.mark.parametrize("text, shown", [("\udcff\udcfe", b"\\xff\\xfe"), ("\udcc3\udca4", "\xe4".encode()),
                                         ("\xe4", "\xe4".encode()), ("\ud800 \udcff", b"\\ud800 \\udcff"),
                                         ("no module %r" % "n\udcc3\udca4", "no module 'n\xe4'".encode()),
                                         (repr("\udcff"), b"'\\xff'"), (repr("\\udcc3"), repr("\\udcc3").encode())])
def test_bytes_of_the_command_line_that_are_no_text_are_shown_as_bytes(text, shown):
    """Where Python takes the locale C for ASCII, all other letters are such bytes, too."""
    there = Console("test", stderr=io.BytesIO())
    there.complain(text)
    assert there.stderr.getvalue() == b"gearman-std test: " + shown + b"\n"


def test_a_closed_standard_stream_is_an_error_that_names_it():
    there = Console("test")
    there.stdout = there.stdin = None
    for use, name in ((lambda: there.write(b""), "output"), (there.read, "input"), (there.read_line, "input")):
        with pytest.raises(OSError) as raised:
            use()
        assert raised.value.strerror == "standard %s is closed" % name


@pytest.mark.skipif(os.name != "posix", reason="about descriptors as POSIX has them")
@pytest.mark.parametrize("nowhere", [os.devnull, "/no/such/device"])
def test_a_closed_standard_descriptor_is_nobody_elses(nowhere):
    code = ("import os, sys; from gearman_std.cli.console import fill_standard_descriptors as fill; os.close(0); fill(%r); "
            "r, w = os.pipe(); os.write(1, b'%%d' %% r); os.fstat(0)" % nowhere)
    assert int(subprocess.check_output([sys.executable, "-c", code], timeout=50)) > 2

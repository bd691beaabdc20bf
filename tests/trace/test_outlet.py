"""Lines for a reader who is fast, or slow, or does not read at all."""
import contextlib
import os
import tracemalloc

import pytest

from gearman_std.trace import outlet
from gearman_std.trace.outlet import Outlet, TraceFile


def test_lines_are_written_when_they_are_flushed():
    written = []
    lines = Outlet(written.append)
    lines.put("one\n")
    lines.put("two\n")
    assert written == []
    assert lines.flush() is None and lines.flush() is None
    assert written == [b"one\ntwo\n"]


def test_a_file_is_never_waited_for(tmp_path):
    with open(str(tmp_path / "file"), "wb", buffering=0) as file:
        lines = Outlet(file.write, file.fileno())
        lines.put("x" * 100000)
        assert lines.flush() is None
    assert (tmp_path / "file").stat().st_size == 100000


def test_nothing_is_left_out_of_a_file_however_much_comes_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(outlet, "_MOST_WAITING", 1000)
    with open(str(tmp_path / "file"), "wb", buffering=0) as file:
        lines = Outlet(file.write, file.fileno())
        for number in range(3):
            lines.put("%d" % number * 2000)
        lines.close()
    assert (tmp_path / "file").stat().st_size == 6000 and not lines.left_out


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_a_pipe_that_nobody_reads_is_not_waited_for(pipe, monkeypatch):
    monkeypatch.setattr(outlet, "_MOST_WAITING", 50000)
    reading, writing = pipe
    lines = Outlet(lambda data: os.write(writing, data), writing)
    for number in range(30000):
        lines.put("line %d\n" % number)
        if not number % 100:
            lines.flush()
    assert lines.flush() > 0
    assert lines.left_out > 1000
    text = b""
    while lines.flush() is not None:
        text += os.read(reading, 65536)
    lines.put("the last\n")
    lines.close()
    text += os.read(reading, 1 << 20)
    assert text.startswith(b"line 0\nline 1\n")
    assert text.decode().endswith("\n… %d records are left out, because nobody read them in time\nthe last\n" % lines.left_out)


def test_what_nobody_reads_costs_nothing_more(pipe):
    """A megabyte that waits is not copied at each try to write a piece of it."""
    _, writing = pipe
    lines = Outlet(lambda data: os.write(writing, data), writing)
    lines.put("x" * (1 << 20))
    lines.flush()
    lines.put("y" * (1 << 20))
    tracemalloc.start()
    try:
        assert lines.flush() > 0
        assert tracemalloc.get_traced_memory()[1] < 1 << 18
    finally:
        tracemalloc.stop()


def test_what_was_left_out_last_is_told_at_the_end(pipe, monkeypatch):
    monkeypatch.setattr(outlet, "_MOST_WAITING", 10)
    _, writing = pipe
    with contextlib.suppress(BlockingIOError):
        os.set_blocking(writing, False)
        while True:
            os.write(writing, b"x" * 4096)
    written = []
    lines = Outlet(written.append, writing)
    for number in range(5):
        lines.put("line %d, which is long\n" % number)
    lines.close()
    assert b"".join(written).decode() == "line 0, which is long\n… 4 records are left out, because nobody read them in time\n"


def test_nobody_reads_any_more(pipe):
    reading, writing = pipe
    lines = Outlet(lambda data: os.write(writing, data), writing)
    saved = os.dup(reading)
    os.close(reading)
    os.close(saved)
    lines.put("x\n")
    with pytest.raises(BrokenPipeError):
        lines.flush()
    assert lines.flush() is None
    os.dup2(os.open(os.devnull, os.O_RDONLY), reading)


def test_a_file_that_cannot_be_written_is_complained_about_once_and_left_alone():
    complaints, tried = [], []

    def write(data):
        tried.append(data)
        if data == b"two":
            raise OSError(28, "whatever")
    file = TraceFile("talk", write, complaints.append, lambda: write(b"two"))
    for data in (b"one", b"two", b"three"):
        file.write(data)
    assert file.failed and tried == [b"one", b"two"]
    file.close()
    assert tried == [b"one", b"two", b"two"]
    assert complaints == ["cannot write to talk, and goes on without it: No space left on device"]

"""How far `client` is with many jobs, and the inputs that failed, of which nothing is lost."""
import io
import os
import pty

import pytest

from gearman_std.cli.cli import main
from gearman_std.cli.console import Console
from gearman_std.cli.progress import Inputs, Progress
from gearman_std.server.server import Server
from gearman_std.testing import JobServer


def picky(job):
    if b"bad" in job.workload:
        raise ValueError("too bad")
    return job.workload


@pytest.fixture
def address():
    with JobServer() as server:
        server.start_worker({"picky": picky})
        yield server.address


def client(address, path, *words):
    """Run `client -f picky` with a file as its input."""
    with open(path, "rb") as stdin:
        there = Console("", stdin, io.BytesIO(), io.BytesIO())
        status = main(["client", "-h", "%s:%d" % tuple(address), "-f", "picky"] + list(words), there)
    return status, there.stdout.getvalue(), there.stderr.getvalue().decode()


def write(path, data):
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("option", ["-n", "-N"])
@pytest.mark.parametrize("parallel", ["1", "3"])
def test_what_failed_is_named_and_can_be_run_again(address, tmp_path, option, parallel):
    data, failed = write(tmp_path / "data", b"one\nbad \x1b\xff\ntwo\nbad"), tmp_path / "failed"
    status, output, errors = client(address, data, option, "-j", parallel, "--progress", "--failed", str(failed))
    assert status == 1 and output.split() == [b"one", b"two"] or output == b"onetwo"
    assert "input 2 failed: bad \\x1b\\\\xff\n" in errors and "input 4 failed: bad\n" in errors and "\x1b" not in errors
    assert errors.splitlines()[-1].startswith("gearman-std client: 2 done, 2 failed, 0 left, ")
    assert failed.read_bytes().rstrip() == b"bad \x1b\xff\nbad"
    again = client(address, str(failed), option, "--failed", str(tmp_path / "again"))
    assert again[0] == 1 and (tmp_path / "again").read_bytes() == failed.read_bytes()


def test_nothing_is_lost_when_the_server_is(tmp_path):
    with Server(port=0) as server:
        address = server.address
    data, failed = write(tmp_path / "data", b"one\ntwo\nthree\n"), tmp_path / "failed"
    for words in ((), ("--progress",)):
        assert client(address, data, "-n", "--failed", str(failed), *words)[0] == 3
        assert failed.read_bytes() == b"one\ntwo\nthree\n"


def test_nothing_is_lost_when_interrupted(address, tmp_path, monkeypatch):
    def interrupt(inputs, number):
        raise KeyboardInterrupt
    monkeypatch.setattr(Inputs, "done", interrupt)
    data, failed = write(tmp_path / "data", b"one\ntwo\nthree\n"), tmp_path / "failed"
    assert client(address, data, "-n", "--failed", str(failed))[0] == 130
    assert failed.read_bytes() == b"one\ntwo\nthree\n"


def test_an_input_of_several_functions_fails_once(address, tmp_path):
    data, failed = write(tmp_path / "data", b"bad\none\n"), tmp_path / "failed"
    status, output, errors = client(address, data, "-f", "picky", "-n", "--failed", str(failed), "-j", "4")
    assert (status, errors.count("input 1 failed"), failed.read_bytes()) == (1, 1, b"bad\n")


@pytest.mark.parametrize("words, complaint", [
    (["--failed", "x"], "--failed is for the lines"), (["-n", "--failed", "x", "word"], "--failed is for the lines")])
def test_what_makes_no_sense(address, tmp_path, words, complaint):
    status, _, errors = client(address, write(tmp_path / "data", b""), *words)
    assert status == 2 and complaint in errors and not os.path.exists("x")


def test_the_input_is_not_written_over(address, tmp_path):
    data = write(tmp_path / "data", b"bad\n")
    status, _, errors = client(address, data, "-n", "--failed", data)
    assert status == 2 and "the same file" in errors and (tmp_path / "data").read_bytes() == b"bad\n"


def test_where_there_is_no_terminal_a_line_comes_now_and_then():
    there, now = Console("client", None, None, io.BytesIO()), [0.0]
    progress = Progress(there, 10, lambda: now[0])
    for now[0] in (1.0, 2.0, 10.0, 11.0, 20.0):
        progress.note(now[0] == 2.0)
    assert there.stderr.getvalue().decode().splitlines() == [
        "gearman-std client: 2 done, 1 failed, 7 left, 0.3 a second, 23.3s to go",
        "gearman-std client: 4 done, 1 failed, 5 left, 0.2 a second, 20.0s to go"]
    assert Progress(there, None, lambda: 0.0).text() == "0 done, 0 failed, 0.0 a second"


def test_on_a_terminal_there_is_a_bar():
    master, slave = pty.openpty()
    try:
        with os.fdopen(slave, "wb", 0) as terminal:
            now = [0.0]
            progress = Progress(Console("client", None, None, terminal), 4, lambda: now[0])
            for now[0] in (1.0, 1.1, 2.0):
                progress.note(False)
            progress.hide()
            progress.hide()
            progress.end()
            shown = b""
            while not shown.endswith(b"\n"):
                shown += os.read(master, 4096)
    finally:
        os.close(master)
    bars = shown.decode().split("\r")
    assert bars[1] == "[#####---------------] 1 done, 0 failed, 3 left, 1.0 a second, 3.0s to go\x1b[K"
    assert bars[2].startswith("[###############-----] 3 done") and bars[3] == "\x1b[K" and bars[4].startswith("[#####")

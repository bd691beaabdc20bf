"""The demo: real processes over real sockets, a table, and nothing left behind."""
import os
import signal
import subprocess
import sys

import pytest

from gearman_std.client.admin import AdminClient
from gearman_std.client.client import Client
from gearman_std.cli.demo import FileCount, count_files, count_words, format_table, own_sources
from gearman_std.errors import NoServer
from gearman_std.server.server import Server

from patience import until


def demo(*words, **options):
    """Run the demo; return status, output and errors."""
    done = subprocess.run([sys.executable, "-m", "gearman_std", "demo"] + list(words), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=50, **options)
    return done.returncode, done.stdout, done.stderr


def server_of(line):
    """The address in the demo's first line."""
    return line.split()[2].rstrip(",")


def is_gone(address):
    """Whether nobody serves there any more."""
    try:
        with AdminClient(address, 1) as admin:
            admin.version()
        return False
    except NoServer:
        return True


def test_counts_files(tmp_path):
    (tmp_path / "one").write_text("one two three two\n" * 100)
    (tmp_path / "two").write_bytes(b"\xff\0 x")
    (tmp_path / "empty").write_text("")
    status, output, errors = demo("one", "two", "empty", "one", "--workers", "3", cwd=str(tmp_path))
    assert (status, errors) == (0, "")
    lines = map(str.split, output.splitlines())
    rows = {tuple(words[:3]): words[4] for words in lines if len(words) == 5 and words[0].isdigit()}
    assert rows == {("100", "400", "1800"): "one", ("0", "2", "4"): "two", ("0", "0", "0"): "empty"}
    assert "       200        802         3604           total\n" in output
    assert "3 workers" in output and "4 of 4 files\n" in output and "\n4 jobs in " in output and "jobs per second" in output
    until(lambda: is_gone(server_of(output)))


def test_counts_its_own_sources_without_a_file():
    status, output, errors = demo()
    assert (status, errors) == (0, "")
    for path in own_sources():
        assert path in output
    until(lambda: is_gone(server_of(output)))


def test_files_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "one").write_text("one\n")
    status, output, errors = demo("missing", "one", ".", cwd=str(tmp_path))
    assert (status, errors) == (1, "")
    assert "missing: No such file or directory" in output and "1 jobs in" in output and "total" in output


def test_what_makes_no_sense():
    status, output, errors = demo("--workers", "0")
    assert (status, output) == (2, "")
    assert errors.startswith("gearman-std demo: --workers: ")


@pytest.mark.skipif(os.name != "posix", reason="about signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_ends_nothing_is_left_behind(processes, tmp_path, number):
    os.mkfifo(str(tmp_path / "fifo"))
    process = processes.start([sys.executable, "-m", "gearman_std", "demo", str(tmp_path / "fifo")], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, universal_newlines=True)
    address = server_of(process.stdout.readline())
    # Opening waits until the demo reads it, and so is not inside of an import, where Python tells of an interrupt that it
    # ignores; the file's end ends a read that the signal just missed.
    with open(str(tmp_path / "fifo"), "wb"):
        process.send_signal(number)
    assert process.wait(20) == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}[number]
    errors = process.stderr.read()  # of the last worker, too, which may tell that the server is gone if that was killed
    assert errors == "" or number == signal.SIGKILL
    until(lambda: is_gone(address))


# --- Its parts.


def test_the_function_that_counts():
    class Job:
        workload = b"a b\nc"
    assert count_words(Job) == '{"lines": 1, "words": 3, "bytes": 5, "worker": %d}' % os.getpid()


def test_failed_jobs_are_told(tmp_path):
    """Here, by a server that accepts no job."""
    (tmp_path / "one").write_text("one")
    with Server(port=0) as server, Client([server.address]) as client, AdminClient(server.address) as admin:
        admin.drain()
        counts = list(count_files(client, [str(tmp_path / "one"), str(tmp_path / "two")], 10))
    assert sorted(index for index, _ in counts) == [0, 1]
    assert all(count.error for _, count in counts)


def test_the_table():
    table = format_table([FileCount("one", 1, 2, 3, 17, ""), FileCount("two", 10, 20, 30, 18, ""),
                          FileCount("no", 0, 0, 0, 0, "gone")], 0.5)
    lines = table.splitlines()
    assert [line.split() for line in lines[:5]] == [
        ["lines", "words", "bytes", "worker", "file"], ["1", "2", "3", "17", "one"], ["10", "20", "30", "18", "two"],
        ["no:", "gone"], ["11", "22", "33", "total"]]
    assert lines[-1] == "2 jobs in 0.500 s, 4 jobs per second, 1 by worker 17, 1 by worker 18"


def test_packets_are_explained_in_their_order(tmp_path):
    (tmp_path / "one").write_text("one two three two\n" * 100)
    status, output, errors = demo("--explain", "--pause", "0", "--workers", "1", "one", cwd=str(tmp_path))
    assert (status, errors) == (0, "")
    place = 0
    for words in (" > CAN_DO function=", "says: I can do this function.", " > SUBMIT_JOB function=",
                  "says: Have this job done, and tell me how it goes.", " > WORK_COMPLETE handle=", " < WORK_COMPLETE handle=",
                  "The server says: The job is done, and this is its result.", "\n1 jobs in "):
        place = output.find(words, place)
        assert place >= 0, (words, output)
    assert " > PRE_SLEEP\n" in output and "The server says: Wake up, there may be a job for you." in output
    assert "The server says: Your job is in the queue, and this is its handle." in output
    until(lambda: is_gone(server_of(output)))


def test_without_files_two_are_explained():
    status, output, errors = demo("--explain", "--pause", "0")
    assert (status, errors) == (0, "")
    count = min(2, len(own_sources()))  # the single file is one
    assert output.count(" > SUBMIT_JOB function=") == count and "\n%d jobs in " % count in output

"""The command `trace`: where lines go, how a command is started with the proxy as its server, and how it ends."""
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from gearman_std.cli.cli import main
from gearman_std.client.client import Client
from gearman_std.server.server import Server

COMMAND = [sys.executable, "-m", "gearman_std"]
TRACE = COMMAND + ["trace"]
LONG = 30


@pytest.fixture(scope="module")
def address():
    with Server(port=0, listen=["127.0.0.1"]) as server:
        yield "%s:%d" % server.address


@pytest.fixture
def proxy(processes, address):
    """start(options) starts a proxy; returns its process and its address."""
    def start(*options, **pipes):
        process = processes.start(TRACE + ["-L", "0", address] + list(options), stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, **pipes)
        words = process.stderr.readline().decode().split()
        assert words[-3:-1] == ["leads", "to"] and words[-1] == address, words
        return process, words[-4]
    return start


def run(*arguments, **options):
    """(status, standard output, standard error) of a trace of a command."""
    done = subprocess.run(TRACE + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LONG,
                          universal_newlines=True, **options)
    return done.returncode, done.stdout, done.stderr


def submit(address):
    with Client([address]) as client:
        return client.submit("f", b"data", background=True).handle


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number, proxy):
    process, address = proxy()
    submit(address)
    process.send_signal(number)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 0 and err == b""
    assert b"client 1   > SUBMIT_JOB_BG function=f " in out


def test_lines_come_at_once(proxy):
    process, address = proxy()
    handle = submit(address)
    while handle not in process.stdout.readline():
        pass


def test_nobody_reads_any_more(proxy):
    process, address = proxy()
    process.stdout.close()
    host, port = address.split(":")
    socket.create_connection((host, int(port)), LONG).close()
    assert process.wait(LONG) == 141
    assert process.stderr.read() == b""


def test_a_command_finds_the_proxy_and_its_status_is_ours(address):
    client = " ".join(COMMAND) + " client -b -f wc "
    status, out, err = run(address, "--", "sh", "-c", client + "one; echo $GEARMAN_SERVER $GEARMAN_SERVERS; exit 7")
    assert status == 7
    one, other = out.split()
    assert one == other and one.startswith("127.0.0.1:") and one != address
    assert "client 1   > SUBMIT_JOB_BG function=wc " in err


def test_two_servers_are_two_proxies(address):
    with Server(port=0, listen=["127.0.0.1"]) as server:
        both = "%s,%s:%d" % (address, server.address[0], server.address[1])
        status, out, _ = run(both, "--", "sh", "-c", "echo $GEARMAN_SERVERS")
    assert status == 0 and out.count(",") == 1 and len(set(out.strip().split(",") + both.split(","))) == 4


def test_a_command_that_is_killed(address):
    assert run(address, "--", "sh", "-c", "kill -9 $$")[0] == 128 + 9


def test_a_command_that_is_not_there(address):
    status, out, err = run(address, "--", "/no/such/program")
    assert (status, out) == (127, "")
    assert err == "gearman-std trace: cannot run /no/such/program: No such file or directory\n"
    assert run(address, "--", "/")[0] == 126


def test_sigterm_is_passed_on_to_the_command(processes, address):
    program = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    process = processes.start(TRACE + [address, "--", "sh", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait(LONG) == 5


def test_the_last_bytes_of_a_command_are_seen(address):
    """It sends, and is gone before its connection was accepted."""
    program = ("import os, socket; host, port = os.environ['GEARMAN_SERVER'].split(':'); "
               "socket.create_connection((host, int(port))).sendall(b'version\\n'); os._exit(0)")
    status, _, err = run(address, "--", sys.executable, "-c", program)
    assert status == 0 and "> version line=version" in err


def test_json_in_a_file(tmp_path, address):
    path = str(tmp_path / "talk")
    status, _, err = run("--json", "-o", path, "--packet", "SUBMIT_JOB_BG", address, "--", *(COMMAND + [
        "client", "-b", "-f", "wc", "hello"]))
    assert (status, err) == (0, "")
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    assert [record["name"] for record in records] == ["SUBMIT_JOB_BG"]
    assert records[0]["arguments"]["workload"] == "hello"


def test_a_recording_is_played_again(tmp_path, address, capfd):
    path = str(tmp_path / "talk")
    assert run("--json", "-o", path, address, "--", *(COMMAND + ["client", "-b", "-f", "again", "hello"]))[0] == 0
    with Server(port=0, listen=["127.0.0.1"]) as server:
        assert main(["trace", "--replay", path, "%s:%d" % server.address]) == 0
        assert capfd.readouterr().out == "0 differences\n"
    with open(path, "a", encoding="utf-8") as file:
        file.write("[]\n")
    assert main(["trace", "--replay", path, address]) == 1
    assert "not a record of a trace" in capfd.readouterr().err
    assert main(["trace", "--replay", path, address, "--", "true"]) == 2


def test_a_capture_and_a_picture(tmp_path, address):
    pcap, svg = tmp_path / "capture.pcap", tmp_path / "talk.svg"
    status, _, _ = run("--pcap", str(pcap), "--svg", str(svg), address, "--", *(COMMAND + ["client", "-b", "-f", "wc", "x"]))
    assert status == 0
    assert b"\0wc\0" not in pcap.read_bytes()[:24] and b"wc\0" in pcap.read_bytes()
    assert "SUBMIT_JOB_BG wc" in svg.read_text(encoding="utf-8")


@pytest.mark.parametrize("option", ["--pcap", "--svg", "-o"])
def test_a_file_that_cannot_be_written(option, address, tmp_path, capfd):
    assert main(["trace", "-L", "0", option, str(tmp_path / "no" / "file"), address]) == 1
    assert "No such file or directory" in capfd.readouterr().err


NO_ROOM = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")


@NO_ROOM
@pytest.mark.parametrize("option", ["--pcap", "--svg", "-o"])
def test_a_full_disk_does_not_stop_a_command(option, address):
    """It gets its answer all the same, and its status is ours."""
    others = [] if option == "-o" else ["-o", os.devnull]
    status, _, err = run(*([option, "/dev/full"] + others + [address, "--"] + COMMAND + ["client", "-b", "-f", "wc", "x"]))
    assert status == 0
    assert err == "gearman-std trace: cannot write to /dev/full, and goes on without it: No space left on device\n"


@NO_ROOM
def test_a_full_disk_does_not_stop_the_proxy(processes, address):
    with open("/dev/full", "wb") as full:
        process = processes.start(TRACE + ["-L", "0", address], stdout=full, stderr=subprocess.PIPE)
    place = process.stderr.readline().decode().split()[-4]
    for _ in range(3):
        assert submit(place)
    process.terminate()
    assert process.communicate(timeout=LONG)[1] == (
        b"gearman-std trace: cannot write to standard output, and goes on without it: No space left on device\n")
    assert process.returncode == 1


def test_a_command_has_the_open_files_that_it_was_given(address):
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as got:
        program = "import os; os.write(%d, b'hello')" % writing
        status, _, _ = run(address, "--", sys.executable, "-c", program, pass_fds=[writing])
        os.close(writing)
        assert (status, got.read()) == (0, b"hello")


@pytest.mark.interop
def test_the_c_programs_through_the_proxy(require, gearmand, processes):
    """gearman's client, started by the trace, and its worker, at gearmand."""
    server = "%s:%d" % gearmand
    gearman = require("gearman")
    processes.start([gearman, "-h", gearmand[0], "-p", str(gearmand[1]), "-w", "-f", "traced", "--", "wc", "-c"])
    status, out, err = run(server, "--", gearman, "-f", "traced", "hello")
    assert (status, out.strip()) == (0, "5")
    assert "SUBMIT_JOB function=traced" in err and "WORK_COMPLETE" in err and "job 1, took" in err and "!!" not in err


def test_a_server_that_is_not_there():
    status, _, err = run("127.0.0.1:1", "--", *(COMMAND + ["client", "-b", "-f", "wc", "hello"]))
    assert status == 3
    assert err.count("gearman-std trace: cannot connect to 127.0.0.1:1: Connection refused\n") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("words, text", [
    (["a", "b"], "one HOST:PORT is enough"), (["a", "--"], "no command follows --"), (["-L", "1", "a,b"], "are 2 servers"),
    (["-L", "x:y", "a"], "--listen: the port of"), (["a:b"], "the port of"), (["--width", "0"], "--width"),
    (["--tls-ca", "x"], "--tls-ca needs --tls")])
def test_command_lines_that_make_no_sense(words, text, capfd):
    assert main(["trace"] + words) == 2
    assert text in capfd.readouterr().err


def test_a_host_that_nobody_knows(capfd):
    assert main(["trace", "no.such.host.invalid"]) == 3
    assert "cannot find no.such.host.invalid" in capfd.readouterr().err


def test_a_port_that_is_taken(address, capfd):
    assert main(["trace", "-L", address, address]) == 1
    assert "cannot listen on" in capfd.readouterr().err


def test_the_help_fits_a_terminal(capsysbinary, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["trace", "-h"]) == 0
    text = capsysbinary.readouterr().out.decode()
    assert all(len(line) <= 80 for line in text.splitlines())
    for default in ("0.1", "60", "1M", "127.0.0.1:4731"):
        assert "default: %s" % default in " ".join(text.split())

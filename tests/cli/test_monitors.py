"""What monitors of the field ask, as one-liners, finds with ours what it finds with gearmand in the same state."""
import re
import socket
import subprocess

import pytest

from gearman_std.client.client import Client
from gearman_std.server.server import Server

from patience import until
from programs import free_port

pytestmark = pytest.mark.interop

LINES = """
gearadmin --host=127.0.0.1 --port=PORT --status
gearadmin -h127.0.0.1 -pPORT --status
gearadmin --host=127.0.0.1 --port=PORT --status | awk '{print $1}' | head -n-1
timeout 5 gearadmin --host=127.0.0.1 --port=PORT --status > /dev/null && echo alive || echo restart
gearadmin --host=127.0.0.1 --port=PORT --status | awk '$1 == "." && NF == 1 {exit} {print $1, $2, $3, $4}'
gearadmin --host=127.0.0.1 --port=PORT --priority-status
"""


def say(port, text, end):
    """What comes back to text that is sent in one write, up to some end."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(text)
        data = b""
        while not data.endswith(end):
            piece = connection.recv(65536)
            assert piece, data
            data += piece
        return data


@pytest.fixture(scope="module")
def ports(require):
    port = free_port()
    process = subprocess.Popen([require("gearmand"), "-p", str(port), "-L", "127.0.0.1", "-l", "stderr"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with Server(0, ["127.0.0.1"]) as server:
            def is_there():
                try:
                    return say(port, b"version\n", b"\n")
                except OSError:
                    return False
            until(is_there)
            both = port, server.address[1]
            for one in both:
                with Client([("127.0.0.1", one)]) as client:
                    for function, count in (("resize", 3), ("reverse", 1)):
                        for number in range(count):
                            client.submit(function, b"x", unique="%s-%d" % (function, number), background=True).handle
            yield both
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("line", LINES.strip().split("\n"))
def test_a_one_liner_finds_the_same(ports, require, line):
    require("gearadmin")
    require("awk")
    found = []
    for port in ports:
        done = subprocess.run(["sh", "-c", line.replace("PORT", str(port))], stdout=subprocess.PIPE, timeout=30)
        found.append((done.returncode, sorted(done.stdout.splitlines())))  # the order of functions is not promised
    assert found[0] == found[1] and found[0][1]


def test_version_and_status_in_one_write_are_both_answered(ports):
    theirs, ours = [say(port, b"version\nstatus\n", b"\n.\n").split(b"\n") for port in ports]
    assert theirs[0].startswith(b"OK ") and ours[0].startswith(b"OK ")
    assert sorted(theirs[1:]) == sorted(ours[1:]) and len(ours) == 5 and theirs[-2:] == ours[-2:] == [b".", b""]


@pytest.mark.parametrize("line", ["echo status | nc -N 127.0.0.1 PORT", "echo status | nc -q 1 127.0.0.1 PORT",
                                  "printf 'version\\nstatus\\n' | nc -N 127.0.0.1 PORT | tail -n +2"])
def test_a_peer_that_has_closed_its_half_gets_the_answer(ports, require, line):
    """gearmand, asked with -N, answers at times only; what it says is what it says to a peer that waits."""
    require("nc")
    done = subprocess.run(["sh", "-c", line.replace("PORT", str(ports[1]))], stdout=subprocess.PIPE, timeout=30)
    assert sorted(done.stdout.splitlines()) == sorted(say(ports[0], b"status\n", b"\n.\n").splitlines())


def test_workers_are_lines_that_a_plugin_of_munin_takes_apart(ports):
    for port in ports:
        *workers, end, _ = say(port, b"workers\n", b".\n").split(b"\n")
        assert end == b"." and workers and all(re.match(br"\d+ [\d.]+ \S+ :\s?", line) for line in workers), workers

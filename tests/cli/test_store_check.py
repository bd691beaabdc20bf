"""The command `check-store`: its line, its statuses, and a server that goes on meanwhile."""
import io
import os

import pytest

from gearman_std.cli.cli import main
from gearman_std.cli.console import Console
from gearman_std.client.client import Client
from gearman_std.server.server import Server


def run(*words):
    there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    status = main(("check-store",) + words, there)
    return status, there.stdout.getvalue().decode(), there.stderr.getvalue().decode()


def test_a_file_is_checked_while_a_server_uses_it_and_when_it_has_ended(tmp_path):
    path = str(tmp_path / "jobs.db")
    with Server(port=0, store=path) as server, Client("%s:%d" % server.address) as client:
        client.submit("f", b"x", background=True)
        assert run(path) == (0, "%s is whole: 1 jobs\n" % path, "")
        client.submit("f", b"y", background=True)
        assert run(path) == (0, "%s is whole: 2 jobs\n" % path, "")
    assert run(path) == (0, "%s is whole: 2 jobs\n" % path, "")
    assert sorted(os.listdir(str(tmp_path))) == ["jobs.db", "jobs.db-lock"]


def test_what_is_wrong_is_one_line(tmp_path):
    path = tmp_path / "jobs.db"
    assert run(str(path)) == (1, "", "gearman-std check-store: %s: No such file or directory\n" % path)
    path.write_bytes(b"")
    assert run(str(path)) == (1, "", "gearman-std check-store: %s is no store of a job server\n" % path)


@pytest.mark.parametrize("words", [(), ("a", "b")])
def test_one_file_is_wanted(words):
    assert run(*words) == (2, "", "gearman-std check-store: one file is wanted; see gearman-std check-store --help\n")

"""The command `admin`: output as gearadmin's to the byte, JSON, order, and exit status."""
import io
import json
import os
import subprocess

import pytest

from gearman_std.client.admin import AdminClient
from gearman_std.cli.cli import main
from gearman_std.cli.admin import make_admin_line
from gearman_std.cli.console import Console
from gearman_std.client.client import Client
from gearman_std.core.text import _TEXT_COMMANDS
from gearman_std.server.server import Server


def admin(address, *words):
    """Run `admin`; return status, output and errors."""
    there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    status = main(["admin", "-h", "%s:%d" % tuple(address)] + list(words), there)
    return status, there.stdout.getvalue().decode(), there.stderr.getvalue().decode()


@pytest.fixture
def own():
    """The address of a server that has a few jobs."""
    with Server(port=0) as server, Client([server.address]) as client:
        client.submit("wc", b"one", unique="u1", background=True)
        client.submit("wc", b"three", unique="u2", background=True, priority="high")
        yield server.address


def test_questions_are_answered_in_the_order_of_the_command_line(own):
    status, output, errors = admin(own, "--priority-status", "--status", "--show-unique-jobs", "--server-verbose")
    assert (status, errors) == (0, "")
    assert output == "wc\t1\t1\t0\t0\n.\n" "wc\t2\t0\t0\n.\n" "u1\nu2\n.\n" "ERROR\n"


def test_answers_as_json(own):
    status, output, _ = admin(own, "--json", "--status", "--workers", "--show-jobs", "--getpid", "--show-totals", "--ping",
                              "--server-version", "--create-function", "new", "--cancel-unique", "u1")
    assert status == 0
    functions, workers, jobs, pid, totals, ping, version, created, cancelled = map(json.loads, output.splitlines())
    assert functions == [{"function": "wc", "total": 2, "running": 0, "workers": 0}]
    assert [worker["address"] for worker in workers] == ["127.0.0.1", "127.0.0.1"]
    assert [(job["unique"], job["size"], job["priority"]) for job in jobs] == [("u1", 3, "normal"), ("u2", 5, "high")]
    assert isinstance(pid, int) and totals["jobs"] == 2 and ping >= 0 and isinstance(version, str)
    assert (created, cancelled) == ("OK", 1)


def test_orders(own):
    status, output, errors = admin(own, "--create-function", "new", "--max-queue", "wc=2", "--max-queue", "new=3,2,1",
                                   "--pause", "wc", "--resume", "wc", "--drain", "--drain=off", "--cancel-job", "nix",
                                   "--drop-function", "wc",
                                   "--drop-function", "wc", "--force", "--cancel-function", "new", "--send", "version")
    assert status == 1  # since one was refused, but all were sent
    assert "Error: UNKNOWN_JOB\n" in errors
    assert output.splitlines()[:7] == ["OK"] * 7 and output.splitlines()[-1].startswith("OK ")


def test_names_are_the_bytes_of_the_command_line(own):
    """Those that are no text in the locale too, which in a cron job is often C."""
    with AdminClient(own) as there:
        name = os.fsdecode(b"gr\xf6\xdfe")

        def jobs():
            return [line.total for line in there.status() if line.function == os.fsencode(name)]

        assert admin(own, "--create-function", name, "--max-queue", name + "=2", "--pause", name, "--resume", name) == (
            0, "OK\n" * 4, "")
        assert jobs() == [0]
        with Client([own]) as client:
            client.submit(os.fsencode(name), unique=b"\xfc", background=True)
            client.submit(os.fsencode(name), background=True)
        assert jobs() == [2]
        assert admin(own, "--cancel-unique", os.fsdecode(b"\xfc"), "--cancel-function", name,
                     "--send", "drop function " + name) == (0, "1\n1\nOK\r\n", "")
        assert jobs() == []
        assert admin(own, "--create-function", name, "--drop-function", name) == (0, "OK\n" * 2, "")


def test_force_drops_a_function_with_jobs(own):
    assert admin(own, "--drop-function", "wc")[0] == 1
    assert admin(own, "--drop-function", "wc", "--force") == (0, "OK\n", "")
    status, output, _ = admin(own, "--show-aside")
    assert len(output.splitlines()) == 3
    assert admin(own, "--requeue", output.split("\t")[0], "--purge", "all") == (0, "1\n1\n", "")


def test_a_paused_function_is_seen(own):
    status, output, _ = admin(own, "--pause", "wc", "--show-functions", "--json")
    assert status == 0
    assert [function["paused"] for function in json.loads(output.partition("\n")[2]) if function["function"] == "wc"] == [True]
    assert '"paused": true' in admin(own, "--show-functions")[1]


@pytest.mark.parametrize("word", ["--shutdown", "--shutdown=graceful"])
def test_shutdown(word):
    server = Server(port=0)
    server.start()
    assert admin(server.address, word) == (0, "OK\n", "")
    server.join(20)
    assert admin(server.address, "--getpid")[0] == 3


@pytest.mark.parametrize("words, complaint", [
    ([], "no action was given"), (["status"], "an action begins with --"), (["--nonsense"], "there is no option"),
    (["--max-queue", "wc"], "is not FUNCTION=LIMIT"), (["--max-queue", "wc=1,2"], "is not FUNCTION=LIMIT"),
    (["--drain=maybe"], "is not one of"), (["--cancel-job", "a b"], "cannot carry"),
])
def test_what_makes_no_sense(own, words, complaint):
    status, output, errors = admin(own, *words)
    assert (status, output) == (2, "")
    assert errors.startswith("gearman-std admin: ") and complaint in errors and errors.count("\n") == 1


def test_nobody_there():
    with Server(port=0) as server:
        address = server.address
    status, output, errors = admin(address, "--status")
    assert (status, output) == (3, "")
    assert errors.startswith("gearman-std admin: cannot connect to 127.0.0.1:")


GEARADMIN = ["--status", "--priority-status", "--workers", "--show-jobs", "--show-unique-jobs", "--server-version",
             "--server-verbose", "--create-function=some"]


@pytest.mark.interop
def test_output_is_gearadmins_to_the_byte(gearmand, require):
    program = require("gearadmin")
    with Client([gearmand]) as client:
        client.submit("wc", b"", unique="u1", background=True)
        client.submit("a b", b"", unique="", background=True)
        for action in GEARADMIN:
            for _ in range(10):  # gearmand lists a connection for a moment after it was closed
                theirs = subprocess.check_output([program, "-h", gearmand[0], "-p", str(gearmand[1]), action], timeout=20)
                ours = admin(gearmand, action)
                if ours == (0, theirs.decode(), ""):
                    break
            assert ours == (0, theirs.decode(), ""), action


@pytest.mark.interop
def test_what_gearmand_does_not_know_is_an_error_and_a_status(gearmand):
    assert admin(gearmand, "--shutdown") == (1, "", "Error: UNKNOWN_COMMAND: Unknown server commandshutdown\n")
    status, output, _ = admin(gearmand, "--json", "--show-jobs")
    assert status == 0 and isinstance(json.loads(output), list)


@pytest.mark.parametrize("word, same", [("--stat", "--status"), ("--prio", "--priority-status"), ("--show-j", "--show-jobs"),
                                        ("--show-u", "--show-unique-jobs"), ("--getp", "--getpid"), ("--w", "--workers"),
                                        ("--show-t", "--show-totals")])
def test_an_option_may_be_cut_short_as_gearadmins(own, word, same):
    assert admin(own, word)[0] == 0
    assert make_admin_line().parse([word]).given == make_admin_line().parse([same]).given


@pytest.mark.parametrize("word, complaint", [("--server-v", "--server-version or --server-verbose"),
                                             ("--c", "--create-function or --cancel-job"),
                                             ("--re", "--requeue or --resume"),
                                             ("--nix", "there is no option --nix")])
def test_an_option_cut_too_short(own, word, complaint):
    status, output, errors = admin(own, word, "x")
    assert (status, output) == (2, "") and complaint in errors


def test_of_several_servers_each_is_asked(own, monkeypatch):
    with Server(port=0) as other:
        names = "%s:%d" % tuple(own), "%s:%d" % tuple(other.address)

        def ask(*words):
            there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
            status = main(["admin"] + list(words), there)
            return status, there.stdout.getvalue().decode(), there.stderr.getvalue().decode()
        assert ask("-h", ",".join(names), "--create-function", "new", "--status") == (
            0, "%s:\nOK\nwc\t2\t0\t0\nnew\t0\t0\t0\n.\n%s:\nOK\nnew\t0\t0\t0\n.\n" % names, "")
        monkeypatch.setenv("GEARMAN_SERVERS", ",".join(names))
        assert ask("--drop-function", "wc", "--cancel-job", "nix")[0] == 1
        status, output, _ = ask("--json", "--show-unique-jobs")
        assert (status, [json.loads(line) for line in output.splitlines()]) == (
            0, [{"server": names[0]}, ["u1", "u2"], {"server": names[1]}, []])
    status, output, errors = ask("--status")
    assert (status, output.count("\n")) == (3, 5) and errors.count("\n") == 1


VALUES = {"FUNCTION": "wc", "FUNCTION=N": "wc=5", "HANDLE": "H:1", "UNIQUE": "u", "HANDLE|all": "all", "N": "9"}


def test_every_text_command_has_an_option(own, monkeypatch):
    """And every option that is an action sends one that the server knows."""
    sent = []
    send = AdminClient.send

    def note(client, line, listing=False):
        sent.append(line.split()[0] if isinstance(line, bytes) else line.split()[0].encode())
        return send(client, line, listing)
    monkeypatch.setattr(AdminClient, "send", note)
    titles = [title for title, _ in make_admin_line().groups[1:3]]
    assert titles == ["Questions", "Orders"]
    options = [option for _, group in make_admin_line().groups[1:3] for option in group]
    options.sort(key=lambda option: option.names == ["--shutdown"])  # last
    for option in options:
        if option.names != ["--force"] and option.names != ["--send"]:
            admin(own, option.names[0] + ("=" + VALUES[option.metavar] if option.takes_word else ""))
    known = set(_TEXT_COMMANDS)
    assert set(sent) == known, "not at both places: %s" % (set(sent) ^ known)

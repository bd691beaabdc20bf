"""The command `help`, and its pages for man, which the programs that show them take without a warning."""
import io
import subprocess

import pytest

from gearman_std.cli.cli import _COMMANDS, _load, main
from gearman_std.cli.console import Console
from gearman_std.cli.man import make_man_page
from gearman_std.cli.options import CommandLine, Option

COMMANDS = list(_COMMANDS)


def run(*words):
    there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    status = main(list(words), there)
    return status, there.stdout.getvalue().decode(), there.stderr.getvalue().decode()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_what_the_command_itself_says(command):
    assert run("help", command) == run(command, "--help") == (0, _load(command)[1]().help(), "")


def test_without_a_command_it_is_the_help_of_all():
    status, output, errors = run("help")
    assert (status, errors) == (0, "") and output == run("--help")[1]
    assert [name for name in COMMANDS if "\n  %s " % name not in output] == []


@pytest.mark.parametrize("words, complaint", [
    (["clinet"], "there is no command clinet (did you mean client?)"), (["client", "worker"], "one command is enough"),
    (["client", "--mna"], "there is no option --mna (did you mean --man?)")])
def test_what_makes_no_sense(words, complaint):
    status, output, errors = run("help", *words)
    assert (status, output) == (2, "") and errors.startswith("gearman-std help: " + complaint)


LINE = CommandLine("test", ["test [OPTIONS]"], "'It' is \\ here\nand goes on.", [
    ("A group", [Option("-a --all", "N", ".TH is text"), Option("--how", "WAY", "one way", default_word="x"),
                 Option("--hidden", "", "")]),
    ("Another", [])], [("Exit status", "0  well\n1  - not"), ("Examples", "gearman-std test -a 1\n\u2026 and more")])


def test_a_page_is_escaped_roff():
    page = make_man_page(LINE, "tries things", ["client"])
    lines = page.splitlines()
    assert lines[0].startswith('.TH "GEARMAN\\-STD\\-TEST" 1 ')
    assert "\\(aqIt\\(aq is \\e here and goes on." in lines and "\\&.TH is text" in lines
    assert "\\fB\\-a\\fR, \\fB\\-\\-all\\fR\\fI N\\fR" in lines and "\\fB\\-\\-how\\fR\\fI[=WAY]\\fR" in lines
    assert "hidden" not in page and "\\[u2026] and more" in lines and '.SS "Another"' in lines
    assert lines[-1] == "\\fBgearman\\-std\\-client\\fR(1)"
    assert [line for line in lines if line.startswith((".", "'")) and line.split()[0] not in (
        ".TH", ".SH", ".SS", ".TP", ".PP", ".nf", ".fi")] == []


@pytest.mark.parametrize("command", [""] + COMMANDS)
def test_man_shows_every_page_without_a_warning(command, require, monkeypatch):
    program = require("man")
    monkeypatch.setenv("MANWIDTH", "80")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    status, page, _ = run(*["help"] + [command] * bool(command) + ["--man"])
    assert status == 0
    done = subprocess.run([program, "--warnings", "-P", "cat", "-l", "-"], input=page.encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = " ".join(done.stdout.decode().split())
    line = _load(command)[1]() if command else None
    for part in ["NAME gearman-std", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"] + [
            option.names[-1] for option in (line.options if line else []) if option.help]:
        assert part in shown


def test_groff_takes_what_it_could_take_for_orders(require):
    done = subprocess.run([require("groff"), "-ww", "-man", "-Tutf8"], input=make_man_page(LINE, "tries things").encode(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.stderr == b"" and b".TH is text" in done.stdout and b"\\ here" in done.stdout

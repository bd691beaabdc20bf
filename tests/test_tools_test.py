"""tools/test.py: which tests run together, and what fails runs once more."""
import glob
import importlib.util
import os
import subprocess
import sys

import pytest

FILE = """
import os

def once(name):
    there = os.path.exists(name)
    open(name, "w").close()
    return there

def test_good():
    assert not once("good")

def test_flaky():
    assert once("flaky")

def test_bad():
    assert not %r
"""


@pytest.fixture
def runner(root, monkeypatch):
    """tools/test.py as a module."""
    monkeypatch.syspath_prepend(os.path.join(root, "tools"))
    spec = importlib.util.spec_from_file_location("tools_test", os.path.join(root, "tools", "test.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def share(runner, tmp_path):
    """share(whether a test is bad for good) has run."""
    def share(bad):
        (tmp_path / "test_it.py").write_text(FILE % bad)
        options = {"cwd": str(tmp_path), "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        share = runner.Share([sys.executable, "-m", "pytest", "-q"], ["test_it.py"], str(tmp_path / "cache"), options)
        runner.run_shares([share], 1)
        return share
    return share


def test_a_test_that_passes_when_run_again_is_told_and_does_not_fail_the_run(runner, share, capfd):
    share = share(False)
    assert share.status == runner.FAILED and share.failures() == ["test_it.py::test_flaky"]
    assert "in all: 1 failed, 2 passed in " in capfd.readouterr().out
    runner.run_again([share])
    assert share.status == 0 and share.failures() == []
    assert "\npassed only when run again: test_it.py::test_flaky\n" in capfd.readouterr().out


def test_a_test_that_fails_again_fails_the_run(runner, share, capfd):
    share = share(True)
    runner.run_again([share])
    assert share.status == runner.FAILED and share.failures() == ["test_it.py::test_bad"]
    assert "\npassed only when run again: test_it.py::test_flaky\n" in capfd.readouterr().out


def test_a_failure_that_cannot_be_run_again_stays_one(runner, share, tmp_path):
    share = share(False)
    (tmp_path / "test_it.py").write_text("def test_other():\n    pass\n")
    runner.run_again([share])
    assert share.status == runner.FAILED


def test_what_ended_without_its_tests_having_run_is_not_run_again(runner, share, tmp_path, capfd):
    share = share(False)
    share.status = -9
    capfd.readouterr()
    runner.run_again([share])
    assert share.status == -9 and capfd.readouterr().out == ""


def test_every_file_is_in_one_share_and_the_slowest_are_not_in_the_same(runner, root):
    shares = runner.shares(root, 3)
    assert len(shares) == 9
    files = sorted(file for share in shares for file in share)
    assert files == sorted(glob.glob(os.path.join(root, "tests", "**", "test_*.py"), recursive=True))
    places = {os.path.relpath(file, root).replace(os.sep, "/") for file in files}
    named = set(runner.SECONDS) | set(runner.LONG_SECONDS)
    assert named <= places
    grouped = {place for group in runner.TOGETHER for place in group}
    alone = {place: runner.seconds_of(place, 0, True) for place in named - grouped}
    first = {os.path.relpath(share[0], root).replace(os.sep, "/") for share in shares}
    assert {group[0] for group in runner.TOGETHER} | set(sorted(alone, key=alone.get)[-6:]) == first


def test_what_is_marked_long_runs_only_if_it_is_asked_for(runner):
    assert not runner.is_choice(["-q", "--maxfail=1", "-x", "--ignore=tests/web"], [])
    for arguments, places in [(["tests/core"], ["tests/core"]), (["-k", "kill"], []), (["-mlong"], [])]:
        assert runner.is_choice(arguments, places)
    assert [runner.seconds_of("tests/test_deaths.py", 50000, everything) > 0 for everything in (False, True)] == [False, True]
    assert runner.seconds_of("tests/test_new.py", 50000, False) == 2


def test_files_that_share_what_takes_long_to_make_are_in_one_share(runner, root):
    for group in runner.TOGETHER:
        files = {os.path.join(root, *place.split("/")) for place in group}
        assert [len(files & set(share)) for share in runner.shares(root, 3) if files & set(share)] == [len(group)]


def test_the_files_of_named_folders_are_dealt_out(runner, root):
    shares = runner.shares(root, 3, ["tests/wire", "tests/core/"])
    assert len(shares) == 9
    assert sorted(file for share in shares for file in share) == sorted(
        file for folder in ("wire", "core") for file in glob.glob(os.path.join(root, "tests", folder, "test_*.py")))


def test_the_help_is_about_this_program(runner, capsys):
    with pytest.raises(SystemExit) as ended:
        runner.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ["tools/test.py", "--again", "--lanes", "--single-file", "--coverage"])

"""tools/covered.py: the gate of tools/test.py --coverage, and that what is left out of it says why."""
import importlib.util
import os
import re

import pytest


@pytest.fixture
def covered(root):
    """tools/covered.py as a module."""
    spec = importlib.util.spec_from_file_location("tools_covered", os.path.join(root, "tools", "covered.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def file(statements, branches, lines_run, branches_run):
    return {"summary": {"num_statements": statements, "num_branches": branches, "covered_lines": lines_run,
                        "covered_branches": branches_run}}


REPORT = {"files": {os.path.join("gearman_std", "wire", "a.py"): file(10, 4, 10, 4),
                    os.path.join("gearman_std", "wire", "b.py"): file(10, 0, 10, 0),
                    os.path.join("gearman_std", "core", "c.py"): file(50, 50, 50, 49),
                    os.path.join("gearman_std", "net", "__init__.py"): file(0, 0, 0, 0),
                    os.path.join("gearman_std", "version.py"): file(2, 0, 1, 0)}}


def test_lines_and_branches_are_counted_by_folder(covered):
    assert covered.figures(REPORT) == {"wire": (24, 24), "core": (100, 99), "net": (0, 0), "": (2, 1)}


def test_a_folder_that_has_less_than_it_must_is_named(covered, monkeypatch):
    monkeypatch.setattr(covered, "LEAST", {"wire": 100, "core": 99.5, "net": 90, "": 50})
    lines, failed = covered.judge(covered.figures(REPORT))
    assert failed == ["core"]
    assert [line for line in lines if "must be" in line] == [
        " 99.00 %  core        99 of   100 lines and branches, must be 99.5 %"]


def test_only_the_folders_that_were_asked_about_are_judged(covered, monkeypatch):
    monkeypatch.setattr(covered, "LEAST", {"wire": 100, "core": 99.5, "net": 90, "": 60})
    counts = covered.figures(REPORT)
    monkeypatch.setattr(covered, "ALONE", {"wire": 100, "core": 99, "net": 90})
    failed = [covered.judge(counts, folders)[1] for folders in (None, {"core"}, {"wire"}, set())]
    assert failed == [["", "core"], [], [], []]
    monkeypatch.setattr(covered, "ALONE", {"wire": 100, "core": 99.5})
    assert covered.judge(counts, {"core"})[1] == ["core"]
    assert not any("must be" in line for line in covered.judge(counts, {"wire"})[0])


@pytest.mark.parametrize("places, arguments, folders", [
    ([], ["-q", "-m", "not interop"], None),
    (["tests"], [], None),
    (["tests/wire", os.path.join("tests", "core", "")], ["-m", "not long"], {"wire", "core"}),
    (["tests/core", "tests/core/test_core.py"], [], {"core"}),
    (["tests/core/test_core.py"], [], set()),
    (["tests/core/test_core.py::test_x"], [], set()),
    (["tests/tour", "tests/cli"], [], set()),
    (["tests/core"], ["-k", "turns"], set()),
    ([], ["-kturns"], set()),
])
def test_what_is_judged_is_what_the_tests_that_run_are_about(covered, places, arguments, folders):
    assert covered.judged(places, places + arguments) == folders


def test_a_new_folder_has_to_be_covered_whole_until_the_table_says_otherwise(covered, monkeypatch):
    monkeypatch.setattr(covered, "LEAST", {"wire": 100, "net": 100, "": 50})
    assert covered.judge(covered.figures(REPORT))[1] == ["core"]


def test_the_table_has_the_folders_that_there_are(covered, sources):
    folders = {name for name in os.listdir(sources) if os.path.exists(os.path.join(sources, name, "__init__.py"))}
    assert set(covered.LEAST) == folders | {""}
    assert covered.LEAST["wire"] == covered.LEAST["core"] == covered.ALONE["wire"] == covered.ALONE["core"] == 100
    assert all(least <= covered.LEAST[folder] for folder, least in covered.ALONE.items())


def test_what_is_left_out_says_why_in_place(sources):
    for folder, _, names in os.walk(sources):
        for name in names:
            if name.endswith(".py"):
                with open(os.path.join(folder, name), encoding="utf-8") as source:
                    for line in source:
                        assert "no cover" not in line or re.search(r"# pragma: no (cover|branch) - \w.{9,}", line), (name, line)

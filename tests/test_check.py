"""tools/check.py: what it takes from the type checkers; and the users' programs that it has them read are good ones."""
import importlib.util
import os
import sys

import pytest

MYPY = """wrong.py:4: error: Unexpected keyword argument "conect_timeout" for "Client"  [call-arg]
wrong.py:4: note: "Client" defined in "gearman_std.client.client"
gearman_std.py:17: error: Name "x" is not defined  [name-defined]
"""
PYRIGHT = """/tmp/a folder/wrong.py
  /tmp/a folder/wrong.py:4:32 - error: No parameter named "conect_timeout" (reportCallIssue)
  /tmp/a folder/wrong.py:5:1 - warning: this is no error
    Type "Literal[5]" is not assignable to type "Text | None"
/tmp/a folder/gearman_std.py
  /tmp/a folder/gearman_std.py:17:3 - error: "x" is not defined (reportUndefinedVariable)
2 errors, 1 warning, 0 informations
"""


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def check(root, monkeypatch):
    """tools/check.py as a module."""
    monkeypatch.syspath_prepend(os.path.join(root, "tools"))
    return load(os.path.join(root, "tools", "check.py"), "tools_check")


@pytest.mark.parametrize("said", [MYPY, PYRIGHT])
def test_what_a_type_checker_says_is_understood(check, tmp_path, said):
    command = [sys.executable, "-c", "print(%r)" % said]
    assert check.found(command, str(tmp_path))[0] == {("wrong.py", 4), ("gearman_std.py", 17)}


def test_the_lines_that_are_wrong_are_those_that_are_marked(check, tmp_path):
    (tmp_path / "wrong.py").write_text("right\nfirst  # wrong\nright  # not wrong: right\nlast  # wrong\n")
    (tmp_path / "other.py").write_text("not a user's program  # wrong\n")
    assert check.wanted(str(tmp_path)) == {("wrong.py", 2), ("wrong.py", 4)}


def test_a_check_that_fails_is_told(check, monkeypatch, capsys):
    monkeypatch.setattr(check, "CHECKS", {"lint": lambda: True, "types": lambda: False})
    assert (check.main([]), check.main(["lint"]), check.main(["types"])) == (1, 0, 1)
    assert capsys.readouterr().out == "failed: types\nall is well: lint\nfailed: types\n"
    with pytest.raises(SystemExit):
        check.main(["no such check"])


def test_the_users_programs_work(root, sources, tmp_path):
    users = os.path.join(root, "tests", "users")
    load(os.path.join(users, "right.py"), "right").serve(str(tmp_path / "jobs"))
    load(os.path.join(users, "right_tests.py"), "right_tests").test_add()

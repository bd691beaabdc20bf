"""Python callables that a command line names."""
import os
import sys

import pytest

from gearman_std.cli.callables import load_callable, logical_folder
from gearman_std.cli.options import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with modules in it that no other test has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PWD", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "callables_one.py").write_text("class Shelf:\n    def take(self): return 5\nnumber = 3\nlater = Shelf().take\n")
    (tmp_path / "callables_two.py").write_text("x = 1\nraise ValueError('not today')\n")
    yield tmp_path
    for name in ("callables_one", "callables_two"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", ["callables_one:Shelf.take", "callables_one.py:Shelf.take", "./callables_one.py:Shelf.take"])
def test_it_is_found_in_the_current_folder(folder, path):
    assert load_callable(path, path, "A:B").__name__ == "take"


def test_a_file_of_another_folder(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    os.rename(str(folder / "callables_one.py"), str(other / "callables_one.py"))
    assert load_callable("%s:later" % (other / "callables_one.py"), "", "")() == 5


@pytest.mark.parametrize("path, complaint", [
    ("nothing", "'nothing' is not A:B, nor is there such a file"), (":x", "':x' is not A:B"), ("x:", "'x:' is not A:B"),
    ("x.py:y", "cannot import x.py: ModuleNotFoundError: No module named 'x'"), (".x:y", "'.x:y' is not A:B"),
    ("nosuch:y", "cannot import nosuch: ModuleNotFoundError"), ("callables_one:nosuch", "there is no nosuch in callables_one"),
    ("callables_one:Shelf.give", "there is no Shelf.give in callables_one"),
    ("callables_one:number", "callables_one:number cannot be called")])
def test_what_cannot_be_found_or_called_is_told_in_one_line(folder, path, complaint):
    with pytest.raises(UsageError) as caught:
        load_callable(path, path, "A:B")
    assert str(caught.value).startswith(complaint) and "\n" not in str(caught.value)


def test_where_a_module_fails_is_told(folder):
    with pytest.raises(UsageError, match="cannot import callables_two: ValueError: not today .*callables_two.py, line 2"):
        load_callable("callables_two:x", "", "")


@pytest.mark.skipif(os.name != "posix", reason="a folder that is in use can be deleted")
def test_a_module_that_is_elsewhere_is_found_when_the_current_folder_was_deleted(folder, tmp_path_factory, monkeypatch):
    other, gone = tmp_path_factory.mktemp("other"), str(folder / "gone")
    os.rename(str(folder / "callables_one.py"), str(other / "callables_one.py"))
    monkeypatch.syspath_prepend(str(other))
    os.mkdir(gone)
    monkeypatch.chdir(gone)
    os.rmdir(gone)
    monkeypatch.setenv("PWD", gone)
    assert logical_folder() == ""
    assert load_callable("callables_one:later", "", "")() == 5 and "" not in sys.path[:1]
    with pytest.raises(UsageError, match="cannot import callables_two: ModuleNotFoundError"):
        load_callable("callables_two:x", "", "")


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_the_folder_is_the_one_that_the_shell_names(folder, monkeypatch):
    link = str(folder / "link")
    os.symlink(str(folder), link)
    monkeypatch.setenv("PWD", link)
    assert logical_folder() == link
    monkeypatch.setenv("PWD", os.sep)
    assert logical_folder() == os.getcwd()

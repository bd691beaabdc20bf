"""The package's names are loaded when a program asks for them, and look as if they had been there from the beginning."""
import json
import subprocess
import sys

import pytest

import gearman_std
from gearman_std.late import HOMES, PARTS, LatePackage, offer_late


def ask(program):
    """Run a program in a Python of its own; return what it printed as JSON."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", "import json, sys\n" + program], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def loaded_by(program):
    """The folders and modules of the package that a program loads."""
    names = ask(program + "\nprint(json.dumps([name for name in sys.modules if name.startswith('gearman_std.')]))")
    return {name.split(".")[1] for name in names}


def test_the_table_is_what_type_checkers_are_told(sources):
    """They read the imports in `__init__`, which never run."""
    import ast
    import os
    with open(os.path.join(sources, "__init__.py"), encoding="utf-8") as file:
        tree = ast.parse(file.read())
    told = {name.name: node.module for block in tree.body if isinstance(block, ast.If) for node in block.body
            for name in node.names}
    assert told == HOMES
    assert sorted(list(told) + ["__version__"]) == gearman_std.__all__


@pytest.mark.parametrize("program, wanted", [
    ("import gearman_std", set()),
    ("from gearman_std import GearmanError", {"errors"}),
    ("from gearman_std import Client, AdminClient", {"errors", "arguments", "client", "net", "schedule", "timers", "wire"}),
    ("from gearman_std import Worker", {"errors", "arguments", "worker", "net", "timers", "wire"})])
def test_a_program_loads_what_it_asks_for_and_nothing_else(program, wanted, sources):
    assert loaded_by(program) == wanted | {"late", "moved", "version"}


def test_a_name_is_looked_for_once(sources):
    assert ask("""if True:
        import gearman_std
        before = "Client" in vars(gearman_std)
        client = gearman_std.Client
        print(json.dumps([before, vars(gearman_std)["Client"] is client]))""") == [False, True]


def test_all_names_at_once():
    names = ask("from gearman_std import *\nprint(json.dumps(sorted(name for name in globals() if name[0] != '_')))")
    assert names == sorted(set(HOMES) | {"json", "sys"})


def test_what_looks_at_the_package_finds_all_names_before_one_is_used():
    """dir, inspect, help and pickle."""
    names, classes, text, error = ask("""if True:
        import inspect, pickle, pydoc
        import gearman_std
        names = dir(gearman_std)
        error = pickle.loads(pickle.dumps(gearman_std.JobFailed))
        classes = [name for name, _ in inspect.getmembers(gearman_std, inspect.isclass)]
        text = pydoc.plain(pydoc.render_doc(gearman_std))
        print(json.dumps([names, classes, text, error is gearman_std.JobFailed]))""")
    assert set(gearman_std.__all__) <= set(names) and names == sorted(names)
    assert {"Client", "Server", "Worker", "GearmanError"} <= set(classes)
    assert "class Client(" in text and "class Server(" in text
    assert error is True


def test_a_test_can_put_something_else_in_place_of_a_name_that_was_not_used_yet():
    assert ask("""if True:
        from unittest import mock
        import gearman_std
        with mock.patch("gearman_std.Client") as put:
            during = gearman_std.Client is put
        print(json.dumps([during, gearman_std.Client.__name__]))""") == [True, "Client"]


def test_modules_are_there_as_in_release_1_0_0(sources):
    assert ask("""if True:
        import gearman_std
        print(json.dumps([gearman_std.errors.JobFailed is gearman_std.JobFailed,
                          gearman_std.client.Client is gearman_std.Client,
                          gearman_std.protocol.SUBMIT_JOB]))""") == [True, True, 7]
    for name in PARTS:
        assert getattr(gearman_std, name), name


@pytest.mark.parametrize("name", ["ServerOfNobody", "tests", "__main__", "__wrapped__", "cli_nothing"])
def test_a_name_that_is_none_is_an_attribute_error(name):
    with pytest.raises(AttributeError) as raised:
        getattr(gearman_std, name)
    assert str(raised.value) == "module 'gearman_std' has no attribute %r" % name
    assert not hasattr(gearman_std, name)


def test_the_package_shows_as_any_other(sources):
    assert repr(gearman_std).startswith("<module 'gearman_std' from ") and type(gearman_std) is LatePackage


def test_nothing_is_changed_where_all_names_are_there():
    """As in the single file."""
    holder = dict.fromkeys(HOMES, 1)
    offer_late(dict(holder, __name__="json"))
    assert type(json) is type(sys)

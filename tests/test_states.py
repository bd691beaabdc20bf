"""tools/states.py: it knows all tables of states, and who makes each event happen; ARCHITECTURE has what it prints."""
import ast
import glob
import importlib.util
import os
import re

import pytest


@pytest.fixture(scope="module")
def tool(root, sources):
    """tools/states.py as a module."""
    spec = importlib.util.spec_from_file_location("tools_states", os.path.join(root, "tools", "states.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trees(sources):
    """The modules of the package, parsed, by the names of their files in it."""
    trees = {}
    for path in glob.glob(os.path.join(sources, "**", "*.py"), recursive=True):
        with open(path, encoding="utf-8") as file:
            trees[os.path.relpath(path, sources).replace(os.sep, "/")] = ast.parse(file.read())
    return trees


def functions(tree):
    """Each method of a module, with its class's name in front."""
    for owner in tree.body:
        for inner in owner.body if isinstance(owner, ast.ClassDef) else ():
            if isinstance(inner, ast.FunctionDef):
                yield "%s.%s" % (owner.name, inner.name), inner


def test_it_knows_every_table_of_arrows(tool, trees):
    tables = {(name, target.id) for name, tree in trees.items() for node in tree.body if isinstance(node, ast.Assign)
              for target in node.targets if getattr(target, "id", "").endswith("ARROWS")}
    assert {(tool.file_of(machine), machine.table) for machine in tool.MACHINES} == tables


def test_every_arrow_is_printed_with_methods_that_exist(tool, trees, capsys):
    methods = {name for tree in trees.values() for name, _ in functions(tree)}
    for machine in tool.MACHINES:
        assert tool.main([machine.name]) == 0
        printed = {}
        for line in capsys.readouterr().out.splitlines()[1:]:
            start, event, end, by = re.match(r"    (\S.*?) +─(.+)─> +(\S.*?)  +(\S.*)", line).groups()
            printed[None if start == "(new)" else start, event] = end
            assert set(by.split(", ")) <= methods, line
        assert printed == tool.arrows_of(machine)


def test_nobody_else_names_an_event(tool, trees):
    """Where events are constants: whoever hands one on is printed, with what has the states or with another of its module."""
    printed = {(machine.module, event, method) for machine in tool.MACHINES
               for event, methods in tool.methods_of(machine).items() for method in methods}
    handed = {(machine.module, event, method) for machine in tool.MACHINES for name, tree in trees.items()
              for method, _, event in tool.calls_with(tree, name, machine)}
    assert len(handed) > 20 and handed <= printed


def test_the_architecture_has_its_table(tool, sources, capsys):
    assert tool.main(["--table"]) == 0
    with open(os.path.join(sources, "docs", "ARCHITECTURE.md"), encoding="utf-8") as file:
        assert "\n\n" + capsys.readouterr().out + "\n" in file.read()


def test_a_name_that_is_none_is_told(tool, capsys):
    with pytest.raises(SystemExit) as caught:
        tool.main(["job", "jobs"])
    assert caught.value.code == 2 and "nothing is called jobs" in capsys.readouterr().err

"""The package as a whole: what may import what, what importing it does, and that it can be vendored."""
import configparser
import glob
import importlib.util
import json
import logging
import os
import re
import subprocess
import sys

import pytest

import gearman_std

# What each folder, and each module beside them, may import from the package, type checkers' imports included; * is everything.
IMPORTS = {
    "errors": "",
    "arguments": "",
    "version": "",
    "timers": "",
    "schedule": "",
    "moved": "",
    "late": "moved",
    "wire": "errors",
    "core": "arguments wire schedule timers errors",
    "net": "arguments wire errors",
    "store": "arguments core net errors schedule",
    "web": "core wire errors",
    "server": "arguments core store web net wire timers version errors",
    "trace": "net wire errors",
    "client": "arguments net wire schedule timers errors",
    "worker": "arguments net wire timers errors",
    "legacy": "arguments client worker server core net wire timers errors",
    "stage": "client worker core net wire timers errors",
    "testing": "arguments stage server client worker net errors",
    "cli": "*",
    "__init__": "*",
    "__main__": "cli",
}

# Those that decide: no I/O, no clock, no randomness, and of the standard library only these.
PURE = ["errors", "arguments", "timers", "schedule", "wire", "core", "web"]
PURE_LIBRARY = {"array", "binascii", "bisect", "struct", "collections", "heapq", "itertools", "operator", "html", "json",
                "string", "urllib"}

# Imports that a script living for 100 ms would feel.
HEAVY = ["typing", "dataclasses", "asyncio", "argparse", "sqlite3", "ssl", "subprocess"]


def tool(root, name):
    """A program of tools/, as a module."""
    spec = importlib.util.spec_from_file_location("tools_" + name, os.path.join(root, "tools", name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def python(*arguments, **options):
    """Run this Python; return what it printed."""
    done = subprocess.run([sys.executable] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=50, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def modules(root, sources):
    """The package's modules as tools/single_file.py sees them, so that its rules hold too: a name has one owner, no cycle."""
    builder = tool(root, "single_file")
    return {module.name: module for module in builder.load(sources) + builder.load_apart(sources)}


def test_imports_follow_the_table(modules):
    for name, module in modules.items():
        part = name.split(".")[0]
        allowed = IMPORTS[part].split()
        if allowed != ["*"]:
            strangers = {source.split(".")[0] for source, _, _ in module.wants} - set(allowed) - {part}
            assert not strangers, "%s imports %s" % (module.file_name, ", ".join(sorted(strangers)))


def test_the_table_allows_no_more_than_is_imported(modules):
    assert set(IMPORTS) - {"__main__"} == {name.split(".")[0] for name in modules}
    for part, allowed in IMPORTS.items():
        wanted = {source.split(".")[0] for name, module in modules.items() if name.split(".")[0] == part
                  for source, _, _ in module.wants}
        assert part == "__main__" or allowed == "*" or set(allowed.split()) <= wanted, (part, wanted)


def test_each_folder_and_the_architecture_say_what_the_table_says(sources):
    with open(os.path.join(sources, "docs", "ARCHITECTURE.md"), encoding="utf-8") as file:
        table = file.read().split("may import |\n")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`.*?) \| [^|]* \| (.*) \|$", table, re.MULTILINE)
    told = {name: text for names, text in rows for name in re.findall(r"`(\w+)`", names)}
    for name, allowed in IMPORTS.items():
        if os.path.isdir(os.path.join(sources, name)):
            with open(os.path.join(sources, name, "__init__.py"), encoding="utf-8") as file:
                front = re.match(r'"""[^\n]+\.\n\nImports (.*?)\.\n', file.read(), re.DOTALL).group(1)
            for text in (front, told.pop(name)):
                words = set(re.findall(r"\w+", text.split(", never")[0])) & (set(IMPORTS) | {"everything"})
                assert words == ({"everything"} if allowed == "*" else set(allowed.split())), (name, text)
    assert not told


def test_there_are_no_circles_of_imports_among_the_folders():
    """Each part of the table comes after all that it may import."""
    after = {name: set(IMPORTS) - {name, "__init__", "__main__"} if names == "*" else set(names.split())
             for name, names in IMPORTS.items()}
    while after:
        ready = [name for name in after if not after[name] & set(after)]
        assert ready, after
        for name in ready:
            del after[name]


def test_no_circles_of_imports(modules):
    """No module imports another one that imports it in turn, type checkers' imports included."""
    after = {name: {source for source, _, _ in module.wants} for name, module in modules.items()}
    while after:
        ready = [name for name in after if not after[name] & set(after)]
        assert ready, {name: after[name] & set(after) for name in after}
        for name in ready:
            del after[name]


def test_old_deep_imports_lead_to_the_modules_of_today(sources):
    """Those of release 1.0.0, when all modules stood in one folder; one module, not two."""
    from gearman_std.moved import MOVED
    lines = ["import gearman_std.%s, gearman_std.%s; assert gearman_std.%s is sys.modules['gearman_std.%s'] and "
             "gearman_std.%s.__spec__.name == 'gearman_std.%s'" % (old, new, old, new, old, new) for old, new in MOVED.items()]
    python("-c", "\n".join(["import sys"] + lines + [
        "from gearman_std.client import Client", "from gearman_std.errors import JobFailed",
        "from gearman_std.store import JobStore", "from gearman_std.server import Server",
        "from gearman_std.worker import Worker", "from gearman_std.core import Core",
        "from gearman_std.cli import main", "from gearman_std.testing import JobServer",
        "from gearman_std.session import Assignment, ClientSession, WorkerSession"]))


def test_pure_modules_import_nothing_that_could_act(modules):
    for name in [name for name in modules if name.split(".")[0] in PURE]:
        library = {origin.split(".")[0] for origin, _ in modules[name].imported.values()} - {"typing"}  # for type checkers
        assert library <= PURE_LIBRARY, "%s.py imports %s" % (name, ", ".join(sorted(library - PURE_LIBRARY)))


def test_modules_open_with_one_sentence_of_responsibility(modules):
    for name, module in modules.items():
        first = module.docstring.partition("\n")[0]
        assert first.endswith("."), "%s.py opens with %r" % (name, first)


def test_stateful_classes_show_their_state_and_name_their_owner(modules):
    """A class that has `Owner:` in its docstring ends the docstring with it and has a __repr__."""
    import ast
    for name, module in modules.items():
        for node in module.tree.body:
            doc = isinstance(node, ast.ClassDef) and ast.get_docstring(node)
            if doc and re.search(r"^Owner: ", doc, re.M):
                methods = [inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)]
                assert "__repr__" in methods, "%s.%s has an owner and no __repr__" % (name, node.name)
                assert doc.strip().splitlines()[-1].startswith("Owner: "), "%s.%s" % (name, node.name)


def test_every_module_has_its_tests(modules, root):
    """Under the module's name, or with its folder's in front, as names of test files are unique."""
    for name in set(modules) - {"__init__", "moved"}:
        folder, _, module = name.rpartition(".")
        files = [os.path.join(root, "tests", folder, "test_%s.py" % stem) for stem in (module, "%s_%s" % (folder, module))]
        assert any(map(os.path.exists, files)), "%s has no test file" % modules[name].file_name


def test_the_architecture_names_every_module_and_no_other(modules, sources, root):
    with open(os.path.join(sources, "docs", "ARCHITECTURE.md"), encoding="utf-8") as file:
        named = set(re.findall(r"`([\w/]+\.py)`", file.read()))
    exist = {name.replace(".", "/") + ".py" for name in modules} - {"__init__.py", "__main__.py"}
    assert exist - named == set()
    assert [name for name in named - exist if not os.path.exists(os.path.join(root, name))] == []


def test_what_the_architecture_says_to_be_somewhere_is_there(sources):
    """In its table "Where is …?": functions, and methods with their class, of the module that is named after them."""
    with open(os.path.join(sources, "docs", "ARCHITECTURE.md"), encoding="utf-8") as file:
        table = file.read().split("## Where is")[1].split("\n\n")[1]
    named = 0
    for place in re.findall(r"((?:`[\w.]+`(?:, | and | after [^`]*)?)+) in `([\w/]+\.py)`", table):
        with open(os.path.join(sources, place[1]), encoding="utf-8") as file:
            source = file.read()
        for name in re.findall(r"`([\w.]+)`", place[0]):
            pattern = r"^(?:class|def) %s\b" if "." not in name else r"^class %s\b(?:(?!^class)[\s\S])*?^    def %s\b"
            assert re.search(pattern % tuple(name.split(".")), source, re.MULTILINE), "%s is not in %s" % (name, place[1])
            named += 1
    assert named > 25


def test_no_file_is_longer_than_a_reader_can_bear_and_no_line_either(modules):
    for module in modules.values():
        for number, line in enumerate(module.lines, 1):
            assert len(line) <= 128, "%s:%d has %d columns" % (module.file_name, number, len(line))


def test_exported_names_exist_and_are_the_public_ones():
    assert len(gearman_std.__all__) == len(set(gearman_std.__all__))
    for name in gearman_std.__all__:
        assert hasattr(gearman_std, name), name
    assert {"Server", "Client", "Worker", "AdminClient", "GearmanError", "HIGH", "NORMAL", "LOW"} <= set(gearman_std.__all__)


def test_versions_agree(root):
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(os.path.join(root, "setup.cfg"), encoding="utf-8")
    assert gearman_std.__version__ == setup["metadata"]["version"]
    assert gearman_std.__version__ in python("-m", "gearman_std", "--version")


def test_importing_imports_nothing_heavy():
    """Of the heavy modules, those that a bare interpreter has not loaded anyway."""
    before = json.loads(python("-c", "import json, sys; print(json.dumps(sorted(sys.modules)))"))
    after = json.loads(python("-c", "import gearman_std, json, sys; print(json.dumps(sorted(sys.modules)))"))
    assert not set(HEAVY) & set(after) - set(before)


SIDE_EFFECTS = """
import builtins, os, signal, socket, sys, threading
import logging
before = (threading.active_count(), signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), os.getcwd(),
          dict(os.environ), sys.excepthook, len(logging.root.handlers), logging.root.level, sorted(vars(builtins)))
def refuse(*arguments, **options):
    raise AssertionError("a socket while importing")
real, socket.socket.__init__ = socket.socket.__init__, refuse
import gearman_std
socket.socket.__init__ = real
after = (threading.active_count(), signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), os.getcwd(),
          dict(os.environ), sys.excepthook, len(logging.root.handlers), logging.root.level, sorted(vars(builtins)))
assert before == after, (before, after)
"""


def test_importing_has_no_side_effects():
    assert python("-W", "error", "-c", SIDE_EFFECTS) == ""


def test_logging_is_quiet_until_the_program_sets_it_up():
    """logging prints warnings of loggers without a handler to stderr; the package's logger has a NullHandler."""
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("gearman_std").handlers)
    program = "import gearman_std, logging; gearman_std.Client; logging.getLogger('gearman_std.client').warning('x')"
    done = subprocess.run([sys.executable, "-c", program],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_logger_is_below_the_packages(modules):
    for module in modules.values():
        if module.file_name.endswith(os.path.join("net", "logs.py")):
            continue  # which makes them
        for number, line in enumerate(module.lines, 1):
            for name in re.findall(r"(?:getLogger|own_logger)\((.*?)\)", line):
                assert re.match(r'"gearman_std(\.\w+)?"$', name), "%s:%d" % (module.file_name, number)


VENDORED = """
import sys
from myapp._vendor import gearman_std
from myapp._vendor.gearman_std import Client, Server, Worker, AdminClient, JobFailed
import myapp._vendor.gearman_std.client
from myapp._vendor.gearman_std.client import Client as same
assert same is Client
assert "gearman_std" not in sys.modules, "a vendored copy imported another one"
worker = Worker()
print(gearman_std.__version__)
"""


def test_works_vendored(tmp_path, root):
    """A copy under another package's name works beside none, or beside another version."""
    import shutil
    vendor = tmp_path / "myapp" / "_vendor"
    vendor.mkdir(parents=True)
    (tmp_path / "myapp" / "__init__.py").write_text("")
    (vendor / "__init__.py").write_text("")
    source = os.path.join(root, "gearman_std")
    if os.path.isdir(source):
        shutil.copytree(source, str(vendor / "gearman_std"), ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source + ".py", str(vendor))
    printed = python("-c", VENDORED, cwd=str(tmp_path), env=dict(os.environ, PYTHONPATH=str(tmp_path)))
    assert printed.strip() == gearman_std.__version__


def test_the_folder_is_a_program(sources, tmp_path):
    """`python3 gearman_std` from anywhere."""
    assert gearman_std.__version__ in python(sources, "--version", cwd=str(tmp_path), env={})


@pytest.mark.long
def test_an_archive_of_the_folder_is_a_program(sources, tmp_path):
    """What `zipapp` makes of it."""
    import shutil
    import zipapp
    shutil.copytree(sources, str(tmp_path / "source" / "gearman_std"), ignore=shutil.ignore_patterns("__pycache__"))
    archive = str(tmp_path / "gearman.pyz")
    zipapp.create_archive(str(tmp_path / "source"), archive, main="gearman_std.cli:run_and_exit")
    printed = python(archive, "demo", cwd=str(tmp_path), env={})
    assert "gearman.pyz" in printed and "1 jobs in" in printed
    assert subprocess.call([sys.executable, archive, "--nothing"], stderr=subprocess.DEVNULL, cwd=str(tmp_path)) == 2


def test_no_syntax_newer_than_3_6(sources):
    """Where this Python can check it: by parsing the sources as 3.6 would."""
    import ast
    if sys.version_info < (3, 8):
        pytest.skip("every source was compiled by %s already" % sys.version.split()[0])
    for name in glob.glob(os.path.join(sources, "**", "*.py"), recursive=True):
        with open(name, encoding="utf-8") as file:
            ast.parse(file.read(), name, feature_version=(3, 6))


def test_no_test_imports_from_a_conftest(root):
    """There are two; in one run of all tests, either may be the one that is found."""
    for path in glob.glob(os.path.join(root, "tests", "**", "*.py"), recursive=True):
        with open(path, encoding="utf-8") as file:
            assert not re.search(r"^\s*(from|import) conftest\b", file.read(), re.MULTILINE), path

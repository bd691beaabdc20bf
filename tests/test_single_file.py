"""The single-file build: one importable and runnable file, the same bytes everywhere, clear errors for what it cannot take."""
import glob
import os
import shutil
import subprocess
import sys

import pytest

import gearman_std

from builders import load_builder

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def tool(root, sources):
    return os.path.join(root, "tools", "single_file.py")


@pytest.fixture(scope="module")
def builder(root, sources):
    return load_builder(root)


@pytest.fixture(scope="module")
def built(builder, tmp_path_factory):
    """A folder that has the single file and nothing else."""
    folder = tmp_path_factory.mktemp("built")
    assert builder.main(["--quiet", "-o", str(folder / "gearman_std.py")]) == 0
    return folder


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=50,
                          **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_folder(folder, *command):
    return run(sys.executable, *command, cwd=str(folder), env=dict(os.environ, PYTHONPATH=str(folder)))


def test_licence_version_origin_and_contents_are_on_top(built, sources):
    text = (built / "gearman_std.py").read_text(encoding="utf-8")
    head = text[:text.index('"""\n\n')]
    assert head.startswith("#!/usr/bin/env python3\n# SPDX-License-Identifier: MIT\n")
    assert "gearman_std " + gearman_std.__version__ in head
    assert "tools/single_file.py" in head
    with open(os.path.join(sources, "LICENSE"), encoding="utf-8") as licence:
        assert licence.read().strip() in head
    lines = text.splitlines()
    for path in glob.glob(os.path.join(sources, "**", "*.py"), recursive=True):
        name = os.path.relpath(path, sources)
        if os.path.basename(name) not in ("__main__.py", "__init__.py") and not name.startswith("legacy" + os.sep):
            number = int(next(line for line in head.splitlines() if " %s " % name in line).split()[0])
            assert lines[number - 1] == "# " + name


def test_modules_come_in_import_order(built):
    text = (built / "gearman_std.py").read_text(encoding="utf-8")
    places = [text.index("\n# %s.py\n" % name) for name in ("errors", "wire/protocol", "core/core", "server/server")]
    assert places == sorted(places)


def test_the_interpreter_that_differs_most_builds_the_same_bytes(built, tool):
    """The oldest that the machine has in its PATH or as pyenv's, or the newest if this is it; `.ci/run` asks all."""
    found = [path for path in (shutil.which("python3.%d" % minor) for minor in range(6, 16)) if path and "shims" not in path]
    found += glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python3"))
    versions = {run(python, "-c", "import sys; print('%03d.%03d' % sys.version_info[:2])").strip(): python for python in found}
    versions.setdefault("%03d.%03d" % sys.version_info[:2], sys.executable)
    oldest, newest = min(versions), max(versions)
    python = versions[newest if oldest == "%03d.%03d" % sys.version_info[:2] else oldest]
    run(python, tool, "--check", str(built / "gearman_std.py"))


def test_a_copy_under_the_name_of_one_of_gearmands_programs_is_that_program(built, tmp_path):
    shutil.copy(str(built / "gearman_std.py"), str(tmp_path / "gearmand"))
    assert run(sys.executable, str(tmp_path / "gearmand"), "--version") == "gearmand %s (gearman_std)\n" % (
        gearman_std.__version__)
    assert "-> %s\n" % os.path.realpath(str(built / "gearman_std.py")) in run(
        sys.executable, str(built / "gearman_std.py"), "install-names", "--force", str(tmp_path))
    assert run(str(tmp_path / "gearadmin"), "--help").startswith("usage: gearadmin ")


def test_check_tells_when_the_file_is_another(built, builder, tmp_path, capsys):
    assert builder.main(["--check", str(built / "gearman_std.py")]) == 0
    assert capsys.readouterr() == ("", "")
    other = tmp_path / "other.py"
    other.write_bytes((built / "gearman_std.py").read_bytes() + b"\n")
    for path in (str(other), str(tmp_path / "missing.py")):
        assert builder.main(["--check", path]) == 1
        assert path in capsys.readouterr().err


def test_imports_without_a_warning(built):
    in_folder(built, "-W", "error", "-c", "import gearman_std")


def test_the_modules_names_lead_to_the_one_module(built):
    in_folder(built, "-c", """if True:
        import gearman_std.client.client, gearman_std.limits, gearman_std
        from gearman_std.client import Client
        from gearman_std.client import client
        from gearman_std.wire import protocol
        import gearman_std.worker.worker as worker
        assert Client is gearman_std.Client is gearman_std.client.Client
        assert client is protocol is worker is gearman_std
        assert protocol.SUBMIT_JOB == 7""")


def test_exports_what_the_package_does(built):
    names = in_folder(built, "-c", "import gearman_std; print(*sorted(gearman_std.__all__)); print(gearman_std.__version__)")
    assert names.split() == sorted(gearman_std.__all__) + [gearman_std.__version__]


def test_works_vendored(built, tmp_path):
    vendor = tmp_path / "myapp" / "_vendor"
    vendor.mkdir(parents=True)
    shutil.copy(str(built / "gearman_std.py"), str(vendor))
    in_folder(tmp_path, "-c", """if True:
        import sys
        import myapp._vendor.gearman_std.client
        from myapp._vendor.gearman_std import Client
        from myapp._vendor.gearman_std.client import Client as same
        assert same is Client
        assert "gearman_std" not in sys.modules""")


def test_loads_without_being_registered_as_a_module(built):
    """As some loaders of plug-ins do."""
    in_folder(built, "-c", """if True:
        import importlib.util, sys
        spec = importlib.util.spec_from_file_location("plugin", "gearman_std.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.Client and "plugin.client" not in sys.modules""")


def test_runs_as_a_program(built, tmp_path):
    """From any folder, by its path; a module that it loads and that imports gearman_std gets the running one."""
    program = str(built / "gearman_std.py")
    assert "server" in run(sys.executable, program, "--help", cwd=str(tmp_path))
    done = subprocess.run([sys.executable, program, "no-such-command"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=50)
    assert done.returncode != 0 and b"Traceback" not in done.stderr


def test_demo_runs_from_anywhere(built, tmp_path):
    """The demo starts worker processes of its own; nothing but the one file is there to start them from."""
    (tmp_path / "words.txt").write_text("one two three two\n" * 100)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    printed = run(sys.executable, str(built / "gearman_std.py"), "demo", str(tmp_path / "words.txt"), cwd=str(tmp_path),
                  env=env)
    assert "400" in printed


BROKEN_RULES = {
    "a name of two modules": ("core/core.py", "def encode():\n    pass\n", "encode is defined in"),
    "a private name of two modules": ("core/core.py", "_head = 1\n", "_head is defined in"),
    "a module's name": ("core/core.py", "server = 1\n", "server is a module's name"),
    "an import of another thing by the same name": ("core/core.py", "from binascii import b2a_hex as heappush\n",
                                                    "heappush is "),
    "__name__": ("core/core.py", "WHO = __name__\n", "__name__ is another thing"),
    "__file__ in a function": ("core/core.py", "def where():\n    return __file__\n", "__file__ is another thing"),
    "an import in a class": ("core/core.py", "class Any:\n    from ..errors import GearmanError\n", "neither at top level"),
    "an import in an if": ("core/core.py", "if Core:\n    from ..errors import GearmanError\n", "neither at top level"),
    "a function that is nothing but an import": ("core/core.py", "def wait_for():\n    from ..errors import GearmanError\n",
                                                 "nothing but imports"),
    "a block in a function that is nothing but an import": (
        "core/core.py", "def wait_for(when):\n    if when:\n        from ..errors import GearmanError\n    return when\n",
        "nothing but imports"),
    "an import in a function from where the name is not defined": (
        "core/core.py", "def wait_for():\n    from ..wire.protocol import GearmanError\n    return GearmanError\n",
        "is not defined in wire/protocol.py"),
    "an import of a module": ("core/core.py", "from .. import errors\n", "not of the form"),
    "an import under another name": ("core/core.py", "from ..errors import GearmanError as Oops\n", "not of the form"),
    "an import of everything": ("core/core.py", "from ..errors import *\n", "not of the form"),
    "an import by the package's name": ("core/core.py", "from gearman_std.errors import GearmanError\n", "vendored"),
    "an import from where the name is not defined": ("core/core.py",
                                                     "from ..wire.protocol import GearmanError\n",
                                                     "is not defined in wire/protocol.py"),
    "an import cycle": ("errors.py", "from .wire.protocol import encode\n", "an import cycle"),
    "an import of a module that is not there": ("core/core.py", "from .nowhere import Name\n",
                                                "there is no module core.nowhere"),
    "a __future__ import": ("errors.py", "from __future__ import division\n", "__future__"),
    "an alias that is another elsewhere": ("core/core.py", "if TYPE_CHECKING:\n    Packet = int\n", "Packet is another thing"),
}


@pytest.fixture(scope="module")
def copied(root, sources, builder, tmp_path_factory):
    """A copy of the sources, which keeps all rules."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(sources, str(folder / "gearman_std"), ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(os.path.join(root, "setup.cfg"), str(folder))
    builder.build(str(folder))
    return folder


@pytest.fixture
def append(copied):
    """append(file name, code) adds to a source of the copy until the test ends."""
    before = {}

    def append(file_name, code):
        path = copied / "gearman_std" / file_name
        before[path] = path.read_bytes()
        path.write_bytes(before[path] + code.encode())
    yield append
    for path, data in before.items():
        path.write_bytes(data)


@pytest.mark.parametrize("rule", sorted(BROKEN_RULES))
def test_says_which_rule_a_source_breaks(rule, builder, copied, append):
    file_name, code, message = BROKEN_RULES[rule]
    append(file_name, "\n\n" + code)
    with pytest.raises(builder.RuleBroken) as raised:
        builder.build(str(copied))
    assert message in str(raised.value)


def test_an_import_in_a_function_is_left_out(builder, copied, append, tmp_path):
    """The name that it imports is a global one in the single file, and may be defined below."""
    append("errors.py", "\n\ndef is_high_late(priority):\n    if priority:\n        from .client.plan import (HIGH,\n"
                        "                                 LOW)\n        return priority == HIGH != LOW\n    return False\n")
    text = builder.build(str(copied))
    assert "def is_high_late(priority):\n    if priority:\n        return priority == HIGH != LOW\n" in text
    (tmp_path / "built.py").write_text(text, encoding="utf-8")
    in_folder(tmp_path, "-c", "import built; assert built.is_high_late(built.HIGH)")


def test_sources_that_break_a_rule_make_no_file(copied, append, tool):
    (copied / "tools").mkdir()
    shutil.copy(tool, str(copied / "tools"))
    append("arguments.py", "\n\nWHO = __name__\n")
    done = subprocess.run([sys.executable, str(copied / "tools" / "single_file.py")], stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=50)
    assert done.returncode == 1
    assert "__name__ is another thing" in done.stderr and "Traceback" not in done.stderr
    assert not (copied / "build").exists()

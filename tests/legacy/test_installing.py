"""`import gearman` and its like, after `install`."""
import subprocess
import sys

import pytest

from gearman_std.legacy import install


def python(program):
    """Run a program in a Python of its own; return what it printed."""
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["gearman", "python3_gearman", "py3gearman"])
def test_import_finds_what_was_installed(name):
    assert python("import gearman_std.legacy; gearman_std.legacy.install()\n"
                  "import %(name)s, %(name)s.errors\n"
                  "from %(name)s.constants import PRIORITY_HIGH\n"
                  "print(PRIORITY_HIGH, %(name)s.errors.ServerUnavailable.__name__)" % {"name": name}
                  ) == "HIGH ServerUnavailable\n"


def test_gear_is_installed_too():
    assert python("import gearman_std.legacy; gearman_std.legacy.install('gear')\n"
                  "import gear, gear.constants\nfrom gear import constants\n"
                  "print(gear.constants is constants, constants.REQ, constants.types[constants.NOOP], gear.PRECEDENCE_HIGH)"
                  ) == "True b'\\x00REQ' NOOP 2\n"


@pytest.mark.parametrize("name, words, text, background", [
    ("gearman", "", "False", "False"), ("gearman", "'gearman', text=True", "True", "False"),
    ("python3_gearman", "", "True", "False"), ("py3gearman", "", "True", "True"),
    ("py3gearman", "'py3gearman', text=False", "False", "True")])
def test_each_name_has_its_own_defaults(name, words, text, background):
    assert python("import gearman_std.legacy; gearman_std.legacy.install(%s)\n"
                  "import %s as old\n"
                  "from %s.client import GearmanClient\n"
                  "from %s.connection_manager import GearmanConnectionManager\n"
                  "assert GearmanClient is old.GearmanClient and issubclass(GearmanClient, gearman_std.legacy.GearmanClient)\n"
                  "assert issubclass(old.GearmanWorker, GearmanConnectionManager)\n"
                  "for kind in (old.GearmanWorker, old.GearmanAdminClient, old.client.GearmanClient):\n"
                  "    assert str(kind.text) == %r, kind\n"
                  "assert gearman_std.legacy.GearmanClient.text is gearman_std.legacy.GearmanWorker.text is False\n"
                  "print(old.GearmanClient(['x']).submits_to_background, old.__version__)" % (words, name, name, name, text)
                  ) == "%s 2.0.2\n" % background


def test_every_submodule_can_be_imported():
    for name in ("gearman", "py3gearman"):
        python("import gearman_std.legacy; gearman_std.legacy.install()\n" + "\n".join(
            "import %s.%s; from %s import %s" % (name, part, name, part) for part in (
                "client", "worker", "admin_client", "job", "constants", "errors", "util", "connection", "connection_manager",
                "protocol", "task")))


def test_only_what_is_named_is_installed_and_again_is_no_harm():
    assert python("import sys, gearman_std.legacy as legacy; legacy.install('gearman'); import gearman\n"
                  "legacy.install('gearman')\n"
                  "print('py3gearman' in sys.modules, sys.modules['gearman'] is gearman)") == "False True\n"


def test_what_was_imported_before_is_not_replaced():
    assert python("import sys, types, gearman_std.legacy as legacy\n"
                  "sys.modules['py3gearman'] = types.ModuleType('py3gearman')\n"
                  "try:\n    legacy.install()\nexcept ImportError as error:\n    print(error)\n"
                  "print('gearman' in sys.modules)"
                  ) == "py3gearman was imported already, from somewhere: call install() before that import\nFalse\n"


def test_a_name_that_nothing_stands_for_is_told():
    with pytest.raises(ValueError, match="nothing can be installed as 'gearmen', only as gear, gearman, "):
        install("gearmen")

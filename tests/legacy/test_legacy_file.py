"""gearman.py, the single file that is this package and python-gearman, dropped beside a script."""
import os
import shutil
import subprocess
import sys

import pytest

import gearman_std

from builders import load_builder

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def builder(root, sources):
    return load_builder(root)


@pytest.fixture(scope="module")
def folder(builder, tmp_path_factory):
    """A folder that has gearman.py and nothing else."""
    folder = tmp_path_factory.mktemp("beside")
    assert builder.main(["--quiet", "--legacy", "-o", str(folder / "gearman.py")]) == 0
    return folder


def run(folder, *arguments):
    """Run this Python in a folder from where nothing else of this package is found; return what it printed."""
    done = subprocess.run((sys.executable,) + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=50,
                          universal_newlines=True, cwd=str(folder), env={"PYTHONPATH": str(folder)})
    assert done.returncode == 0, done.stderr
    return done.stdout


BOTH = """
import threading
import gearman, gearman.errors
from gearman import Client, GearmanWorker, Server
from gearman.client import GearmanClient
from gearman.constants import PRIORITY_HIGH
with Server(port=0) as server:
    worker = GearmanWorker([server.address])
    worker.register_task("reverse", lambda worker, job: job.data[::-1])
    thread = threading.Thread(target=worker.work)
    thread.start()
    print(GearmanClient([server.address]).submit_job("reverse", "abc", priority=PRIORITY_HIGH).result)
    with Client([server.address]) as client:
        print(client.run("reverse", "xyz"))
    worker.shutdown()
    thread.join()
try:
    GearmanClient(["127.0.0.1:1"]).submit_job("f", "x")
except gearman.errors.ServerUnavailable as error:
    print(isinstance(error, gearman.GearmanError), gearman.__version__)
"""


def test_it_is_both(folder):
    assert run(folder, "-c", BOTH) == "b'cba'\nb'zyx'\nTrue 2.0.2\n"


FIRST = """
import os, sys
for part in sys.argv[1:]:
    if os.fork() == 0:
        exec("from gearman import %s as first; import gearman.%s; same = gearman.%s is first" % ((part,) * 3))
        os._exit(10 + same)
    print(part, os.wait()[1] >> 8)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_every_submodule_is_there_whatever_comes_first(folder):
    parts = ["client", "worker", "admin_client", "job", "constants", "errors", "util", "connection", "connection_manager",
             "protocol", "task"]
    assert run(folder, "-c", FIRST, *parts) == "".join("%s 11\n" % part for part in parts)


def test_it_is_the_program_too(folder):
    assert gearman_std.__version__ in run(folder, "-m", "gearman", "--version")
    assert "1 jobs in" in run(folder, "gearman.py", "demo")


def test_the_forks_and_gear_can_be_installed_from_it(folder):
    assert run(folder, "-c", "import gearman; gearman.install()\nimport py3gearman.client, gear\n"
                             "print(py3gearman.GearmanClient.text, gearman.GearmanClient.text, gear.Worker.__name__)"
               ) == "True False Worker\n"


def test_errors_pickle_and_tracebacks_show_lines(folder):
    assert run(folder, "-c", "import gearman, pickle\n"
                             "for error in gearman.NoServer('x'), gearman.errors.ServerUnavailable('y'):\n"
                             "    print(type(pickle.loads(pickle.dumps(error))) is type(error))") == "True\nTrue\n"
    assert "raise GearmanError(" in run(folder, "-c", "import gearman, traceback\n"
                                                      "try:\n    gearman.GearmanClient('text')\n"
                                                      "except gearman.errors.GearmanError:\n"
                                                      "    print(traceback.format_exc())")


def test_it_may_have_another_name_and_stand_in_a_package(folder, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("")
    shutil.copy(str(folder / "gearman.py"), str(tmp_path / "app" / "queue_lib.py"))
    assert run(tmp_path, "-c", "import app.queue_lib.client, sys\nfrom app.queue_lib import Client, GearmanClient\n"
                               "print(app.queue_lib.client.GearmanClient is GearmanClient, 'gearman_std' in sys.modules)"
               ) == "True False\n"


def test_check_tells_whether_it_is_up_to_date(folder, builder, capsys):
    assert builder.main(["--legacy", "--check", str(folder / "gearman.py")]) == 0
    assert builder.main(["--check", str(folder / "gearman.py")]) == 1
    assert "build it again" in capsys.readouterr().err

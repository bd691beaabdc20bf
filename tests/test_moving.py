"""What MOVING.md says of moving from gearmand and back: its command line under the old names, both for a while, the drain."""
import os
import signal
import subprocess
import sys
import threading

import pytest

from gearman_std.client.admin import AdminClient
from gearman_std.client.client import Client
from gearman_std.errors import QueueFull, ServerError
from gearman_std.server.server import Server
from gearman_std.worker.worker import Worker

from patience import until
from programs import free_port

LONG = 30.0


@pytest.fixture
def names(tmp_path):
    """A folder with programs named as gearmand's, which are this one."""
    program = tmp_path / "gearman-std"
    program.write_text("#!%s\nimport sys\nfrom gearman_std.cli import main\nsys.exit(main())\n" % sys.executable)
    program.chmod(0o755)
    folder = tmp_path / "bin"
    folder.mkdir()
    subprocess.check_call([str(program), "install-names", str(folder)], stdout=subprocess.DEVNULL)
    return str(folder)


def test_the_command_line_of_a_distributions_unit_works_under_the_old_name(names, tmp_path):
    pid_file, port = str(tmp_path / "gearmand.pid"), free_port()
    done = subprocess.run([os.path.join(names, "gearmand"), "--pid-file=" + pid_file, "--listen=localhost", "--daemon",
                           "--log-file=%s" % (tmp_path / "gearmand.log"), "--port=%d" % port], timeout=LONG)
    assert done.returncode == 0
    with open(pid_file) as file:
        pid = int(file.read())
    try:
        where = ["-h", "localhost", "-p", str(port)]
        assert subprocess.call([os.path.join(names, "gearman")] + where + ["-b", "-f", "f", "x"], timeout=LONG) == 0
        listing = subprocess.check_output([os.path.join(names, "gearadmin")] + where + ["--status"], timeout=LONG)
        assert listing == b"f\t1\t0\t0\n.\n"
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not os.path.exists(pid_file))


@pytest.mark.interop
def test_workers_serve_gearmand_and_this_server_at_the_same_time(gearmand):
    with Server(port=0) as server:
        worker = Worker(["%s:%d" % gearmand, "%s:%d" % server.address])
        worker.register("both", lambda job: job.workload)
        thread = threading.Thread(target=worker.work, kwargs={"signals": False})
        thread.start()
        for address in (gearmand, server.address):
            with Client([address]) as client:
                assert client.run("both", "x", timeout=LONG) == b"x"
        worker.stop()
        thread.join(LONG)


def test_a_drained_server_gives_away_what_it_has_and_takes_nothing_more():
    with Server(port=0) as server, AdminClient([server.address]) as admin, Client([server.address]) as client:
        client.submit("f", "last", background=True)
        admin.drain()
        with pytest.raises((QueueFull, ServerError)):
            client.submit("f", "more", background=True)
        worker = Worker([server.address], max_jobs=1)
        worker.register("f", lambda job: b"")
        worker.work(signals=False)
        assert [function.total for function in admin.status()] == [0]

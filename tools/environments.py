"""The project's own virtual environments, in its folder .venv-test; each is made when it is first needed."""
import hashlib
import os
import shutil
import subprocess
import sys

try:
    import fcntl
except ImportError:  # not POSIX
    fcntl = None

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def environment(requirements, purpose=""):
    """The path of the Python in an environment with these packages.  The environment is made if it is not there yet, by one of
    those that need it at the same time."""
    stamp = hashlib.sha256(" ".join([sys.executable, sys.version] + requirements).encode()).hexdigest()
    name = "%s%s-%d.%d-%s" % ((purpose and purpose + "-", sys.implementation.name) + sys.version_info[:2] + (stamp[:8],))
    folder = os.path.join(ROOT, ".venv-test", name)
    ready = os.path.join(folder, "ready")
    python = os.path.join(folder, "Scripts", "python.exe") if os.name == "nt" else os.path.join(folder, "bin", "python")
    if os.path.exists(ready):
        return python
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with open(folder + ".lock", "w") as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(ready):
            _make(folder, python, requirements)
            open(ready, "w").close()
    return python


def _make(folder, python, requirements):
    shutil.rmtree(folder, ignore_errors=True)
    print("making the environment %s" % os.path.relpath(folder, ROOT), file=sys.stderr)
    # Debian's Python comes with pip but without ensurepip, so the environment borrows this interpreter's pip.
    subprocess.check_call([sys.executable, "-m", "venv", "--without-pip", folder])
    packages = subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"])
    subprocess.check_call([sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check",
                           "--target", packages.decode().strip()] + requirements, env=dict(os.environ, PIP_USER="0"))

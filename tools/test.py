#!/usr/bin/env python3
"""Run the tests:  python3 tools/test.py [--single-file] [pytest arguments]

Needs Python 3.6 or later and pip, nothing else: pytest and pytest-timeout go into an environment of this interpreter's own, in
the folder .venv-test of the project, made at the first run.  With --single-file the tests run against the single-file build of
the package, in a folder that has only that file, tests/ and tools/.
"""
import hashlib
import os
import shutil
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The last releases that run on old interpreters: pip 18, and any pip where an index does not tell what Python a release needs,
# would take newer ones.
REQUIREMENTS = {
    (3, 6): ["pytest<=7.0.1", "pytest-timeout<=2.1.0", "attrs<=22.2.0", "importlib-metadata<=4.8.3", "iniconfig<=1.1.1",
             "packaging<=21.3", "pluggy<=1.0.0", "py<=1.11.0", "pyparsing<=3.0.9", "tomli<=1.2.3", "typing-extensions<=4.1.1",
             "zipp<=3.6.0"],
    (3, 7): ["pytest<=7.4.4", "pytest-timeout<=2.3.1", "exceptiongroup<=1.2.2", "importlib-metadata<=6.7.0", "iniconfig<=2.0.0",
             "packaging<=24.0", "pluggy<=1.2.0", "tomli<=2.0.1", "typing-extensions<=4.7.1", "zipp<=3.15.0"],
    (3, 8): ["pytest<=8.3.5", "pytest-timeout<=2.4.0", "exceptiongroup<=1.3.0", "iniconfig<=2.1.0", "packaging<=25.0",
             "pluggy<=1.5.0", "tomli<=2.2.1", "typing-extensions<=4.13.2"],
    (3, 9): ["pytest<=8.4.2", "pytest-timeout<=2.4.0", "exceptiongroup<=1.3.0", "iniconfig<=2.1.0", "packaging<=25.0",
             "pluggy<=1.6.0", "pygments<=2.19.2", "tomli<=2.2.1", "typing-extensions<=4.15.0"],
}
NEWER = ["pytest>=8.3", "pytest-timeout>=2.4"]


def environment():
    """The interpreter of this interpreter's test environment, made if it is not there yet."""
    requirements = REQUIREMENTS.get(sys.version_info[:2], NEWER)
    stamp = hashlib.sha256(" ".join([sys.executable, sys.version] + requirements).encode()).hexdigest()
    name = "%s-%d.%d-%s" % ((sys.implementation.name,) + sys.version_info[:2] + (stamp[:8],))
    folder = os.path.join(ROOT, ".venv-test", name)
    ready = os.path.join(folder, "ready")
    python = os.path.join(folder, "Scripts", "python.exe") if os.name == "nt" else os.path.join(folder, "bin", "python")
    if os.path.exists(ready):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print("making the test environment %s" % os.path.relpath(folder, ROOT), file=sys.stderr)
    # Debian's Python comes with pip but without ensurepip, so the environment borrows this interpreter's pip.
    subprocess.check_call([sys.executable, "-m", "venv", "--without-pip", folder])
    packages = subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"])
    subprocess.check_call([sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check",
                           "--target", packages.decode().strip()] + requirements, env=dict(os.environ, PIP_USER="0"))
    open(ready, "w").close()
    return python


def gear():
    """An interpreter that has the library gear, with which the tests try to work together when CI is set; None without CI."""
    folder = os.path.join(ROOT, ".venv-test", "gear")
    python = os.path.join(folder, "bin", "python")
    if not os.path.exists(os.path.join(folder, "ready")):
        if not os.environ.get("CI"):
            return None
        shutil.rmtree(folder, ignore_errors=True)
        # Not with this interpreter, which may be too old for it.
        subprocess.check_call(["python3", "-m", "venv", folder])
        subprocess.check_call([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "gear"])
        open(os.path.join(folder, "ready"), "w").close()
    return python


def single_file_folder():
    """A folder with the single-file build in the package's place."""
    folder = os.path.join(ROOT, "build", "single-file-%d.%d" % sys.version_info[:2])
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    subprocess.check_call([sys.executable, os.path.join(ROOT, "tools", "single_file.py"), "--quiet",
                           "-o", os.path.join(folder, "gearman_std.py")])
    for name in ("tests", "tools"):
        shutil.copytree(os.path.join(ROOT, name), os.path.join(folder, name), ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(os.path.join(ROOT, "setup.cfg"), folder)
    return folder


def main(arguments):
    if sys.version_info < (3, 6):
        sys.exit("tools/test.py needs Python 3.6 or later, this is %s" % sys.version.split()[0])
    folder = ROOT
    if "--single-file" in arguments:
        arguments.remove("--single-file")
        folder = single_file_folder()
    # What runs in the background of a shell has Ctrl-C ignored, and so would the tests, some of which are about it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    variables = dict(os.environ)
    if gear():
        variables.setdefault("GEARMAN_STD_GEAR", gear())
    return subprocess.call([environment(), "-m", "pytest"] + arguments, cwd=folder, env=variables)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

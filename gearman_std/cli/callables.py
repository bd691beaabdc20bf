"""Callables that a command line names: a worker's functions, and what makes a store."""
import os
import sys

from .options import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def load_callable(path: str, word: str, form: str) -> "Any":
    """The callable that `path`, a MODULE:CALLABLE, names; MODULE may be a file.  Errors quote `word`, which is to be a `form`.

    Raises UsageError if it cannot be imported or called.
    """
    module_name, _, attributes = path.rpartition(":")
    folder = logical_folder()
    if module_name.endswith(".py") and os.path.isfile(module_name):
        parent, module_name = os.path.split(module_name[:-3])
        folder = os.path.join(folder, "" if parent == os.curdir else parent).rstrip(os.sep) or os.sep
    if not module_name or not attributes or module_name.startswith(".") or os.sep in module_name:
        raise UsageError("%r is not %s, nor is there such a file" % (word, form))
    if folder and folder not in sys.path and ("" not in sys.path or folder != _system_folder()):
        sys.path.insert(0, folder)
    from importlib import import_module
    try:
        found = import_module(module_name)  # type: Any
    except (Exception, SystemExit) as error:  # whatever the module's code may raise
        raise UsageError("cannot import %s: %s: %s%s" % (module_name, type(error).__name__, error, _place(error))) from None
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise UsageError("there is no %s in %s" % (attributes, module_name)) from None
    if not callable(found):
        raise UsageError("%s cannot be called" % path)
    return found


def _place(error: BaseException) -> str:
    """File and line of the code that raised an error while a module was imported; empty if it was not a module's code."""
    from traceback import extract_tb
    if isinstance(error, SyntaxError):
        return " (%s)" % error.filename if error.filename else ""  # its text has the line
    for frame in reversed(extract_tb(error.__traceback__)[2:]):  # the first two are ours and importlib's
        if not frame[0].startswith("<frozen"):
            return " (%s, line %s)" % (frame[0], frame[1])
    return ""


def logical_folder() -> str:
    """The current folder as the shell knows it: its path may have links, which can later point elsewhere.  Empty if it was
    deleted."""
    named = os.environ.get("PWD", "")
    try:
        return named if os.path.isabs(named) and os.path.samefile(named, os.curdir) else os.getcwd()
    except OSError:
        return _system_folder()


def _system_folder() -> str:
    """The current folder as the system knows it; empty if it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""

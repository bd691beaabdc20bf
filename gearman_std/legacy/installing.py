"""Letting `import gearman`, and the names of its forks, find what stands here."""
import importlib
import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

_SUBMODULES = ("constants", "errors")


def _make_gearman(name: str) -> "Dict[str, ModuleType]":
    """The modules that `import gearman` and its like bring, by their names."""
    made = {name: ModuleType(name)}
    vars(made[name]).update({key: value for key, value in vars(_load("")).items() if not key.startswith("__")})
    made[name].__path__ = []  # a package, whose modules are all there
    for part in _SUBMODULES:
        made[name + "." + part] = _load("." + part)
        setattr(made[name], part, made[name + "." + part])
    return made


def _make_gear(name: str) -> "Dict[str, ModuleType]":
    """The modules that `import gear` brings, by their names."""
    return {name: _load(".gear"), name + ".constants": _load(".gear_constants")}


# What makes the modules of each name that can be installed.
_MAKERS = {"gear": _make_gear, "gearman": _make_gearman, "python3_gearman": _make_gearman,
           "py3gearman": _make_gearman}  # type: Dict[str, Any]
_installed = {}  # type: Dict[str, ModuleType]


def install(*names: str) -> None:
    """Let `import` find gearman, python3_gearman, py3gearman and gear here, or only those that are named.

    Raises ValueError for a name that nothing here stands for, ImportError if something else of that name was imported before.
    """
    for name in names or sorted(_MAKERS):
        if name not in _MAKERS:
            raise ValueError("nothing can be installed as %r, but %s" % (name, ", ".join(sorted(_MAKERS))))
        present = sys.modules.get(name)
        if present is not None and present is not _installed.get(name):
            raise ImportError("%s was imported already, from %s: call install() before that" % (
                name, getattr(present, "__file__", "somewhere")))
    for name in names or sorted(_MAKERS):
        if name not in sys.modules:
            made = _MAKERS[name](name)
            sys.modules.update(made)
            _installed[name] = made[name]


def _load(name: str) -> ModuleType:
    """A module of this package, by its name after that."""
    return importlib.import_module(__package__ + name)

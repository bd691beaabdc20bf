"""Lets `import gearman`, `import gear`, and the names of python-gearman's forks find the modules of this folder."""
import importlib
import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

_SUBMODULES = ("admin_client", "client", "connection", "connection_manager", "constants", "errors", "job", "protocol", "task",
               "util", "worker")
_installed = {}  # type: Dict[str, ModuleType]


def install(*names: str, text: "Optional[bool]" = None) -> None:
    """Let `import` find gearman, python3_gearman, py3gearman and gear here, or only the names that are given.

    With `text`, what comes from a server is str, else bytes; without it, gearman has bytes, python3_gearman and py3gearman
    have str.  Raises ValueError for a name that cannot be installed, and ImportError if another module of that name was
    imported before.
    """
    for name in names or sorted(_MAKERS):
        if name not in _MAKERS:
            raise ValueError("nothing can be installed as %r, only as %s" % (name, ", ".join(sorted(_MAKERS))))
        present = sys.modules.get(name)
        if present is not None and present is not _installed.get(name):
            raise ImportError("%s was imported already, from %s: call install() before that import" % (
                name, getattr(present, "__file__", None) or "somewhere"))
    for name in names or sorted(_MAKERS):
        if name not in sys.modules or text is not None:
            made = _MAKERS[name](name, text)
            sys.modules.update(made)
            _installed[name] = made[name]


def _make_gearman(name: str, text: "Optional[bool]") -> "Dict[str, ModuleType]":
    """The modules of python-gearman, by their names, with bytes unless `text` is true."""
    return make_modules(name, bool(text), False)


def _make_text(name: str, text: "Optional[bool]") -> "Dict[str, ModuleType]":
    return make_modules(name, text is not False, False)


def _make_py3(name: str, text: "Optional[bool]") -> "Dict[str, ModuleType]":
    return make_modules(name, text is not False, True)


def _make_gear(name: str, text: "Optional[bool]") -> "Dict[str, ModuleType]":
    """The modules of OpenStack's gear, by their names.  `text` changes nothing there."""
    return {name: _load(".gear"), name + ".constants": _load(".gear_constants")}


def make_modules(name: str, text: bool, to_background: bool) -> "Dict[str, ModuleType]":
    """The modules that `import` is to find for a name and its submodules.

    With `to_background`, jobs are in the background unless a call says otherwise.  With this or `text`, the modules have
    classes of their own.
    """
    differs = text or to_background
    front = _copy("", name)
    front.__path__ = []  # it is a package; all its modules are made here, so none has to be searched
    made = {name: front}
    for part in _SUBMODULES:
        made["%s.%s" % (name, part)] = _copy("." + part, "%s.%s" % (name, part)) if differs else _load("." + part)
        setattr(front, part, made["%s.%s" % (name, part)])
    if differs:
        manager = made[name + ".connection_manager"]
        settings = {"text": text, "__module__": manager.__name__}  # type: Dict[str, Any]
        manager.GearmanConnectionManager = type(  # type: ignore[attr-defined]
            "GearmanConnectionManager", (_load(".connection_manager").GearmanConnectionManager,), settings)
        for part, kind in (("client", "GearmanClient"), ("worker", "GearmanWorker"), ("admin_client", "GearmanAdminClient")):
            module = made["%s.%s" % (name, part)]
            settings = {"__module__": module.__name__}
            if part == "client" and to_background:
                settings["submits_to_background"] = True
            made_kind = type(kind, (manager.GearmanConnectionManager, getattr(_load("." + part), kind)), settings)
            for place in (front, module):
                setattr(place, kind, made_kind)
    return made


def install_beside(this: ModuleType, name: str) -> None:
    """Let `import` of a name find what python-gearman has, and whatever else the module `this` has."""
    made = make_modules(name, False, False)
    front = made[name]
    for key, value in vars(this).items():
        if key in ("__file__", "__loader__", "__spec__") or not key.startswith("_") and key not in vars(front):
            vars(front)[key] = value
    sys.modules.update(made)
    _installed[name] = front


def _copy(part: str, name: str) -> ModuleType:
    """A copy of a module of this package, under another name."""
    source = _load(part)
    module = ModuleType(name, source.__doc__)
    vars(module).update({key: value for key, value in vars(source).items() if not key.startswith("__") or key == "__all__"})
    if "__version__" in vars(source):
        module.__version__ = source.__version__  # type: ignore[attr-defined]
    return module


def _load(name: str) -> "Any":
    """A module of this package, by its name after the package's name."""
    return importlib.import_module(__package__ + name)


# For each name that can be installed, what makes its modules from the name and from the argument `text` of `install`.
_MAKERS = {"gear": _make_gear, "gearman": _make_gearman, "python3_gearman": _make_text,
           "py3gearman": _make_py3}  # type: Dict[str, Callable[[str, Optional[bool]], Dict[str, ModuleType]]]

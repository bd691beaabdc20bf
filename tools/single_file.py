#!/usr/bin/env python3
"""Build the package as one file:  python3 tools/single_file.py [--legacy] [-o FILE | --check FILE]

The file, build/gearman_std.py unless -o names another, can be imported and run.  Every Python builds the same bytes, because
the texts of the sources are put together as they are.  With --check nothing is written; the exit status is 0 if FILE has those
bytes.

The sources must keep these rules; otherwise there is an error with file and line, and no output:
- Package-internal imports are `from .module import Name` or `from ..folder.module import Name`, at top level or in a function,
  without `as`, from where the name is defined; no cycles among those at top level.
- A folder's __init__.py has nothing but such imports and __all__; the single file leaves it out.
- A top-level name is defined in one module only, is not a module's name, and an imported one means the same everywhere.
- Nothing uses __name__, __file__, __doc__ and their like.

The folder legacy is left out, because its classes have the names of other packages' classes.  With --legacy the file is
build/gearman.py: the modules of that folder stand at its end as texts, and `import` finds them as gearman, gearman.client and
so on.
"""
import argparse
import ast
import collections
import configparser
import os
import re
import sys
import textwrap
import tokenize

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = "gearman_std"
MODULE_DEPENDENT = ("__name__", "__file__", "__package__", "__path__", "__spec__", "__loader__", "__doc__", "__builtins__")
VENDORED = "the package's name is not known when it is vendored: from .module import Name"
EARLY = "cli.early"
APART = "legacy"  # the folder that is not put together with the others
LEGACY_NAME = "gearman"
BANNER = "# " + "=" * 126

HEADER = '''\
#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# These lines are for the type checkers of a program that has a copy of this file; its sources are checked.
# mypy: ignore-errors
# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# pyright: reportIncompatibleMethodOverride=false, reportInvalidTypeForm=false, reportPossiblyUnboundVariable=false
# pyright: reportUnboundVariable=false
"""{name} {version}: {description}.

The whole package in one file, to be copied into a project or onto a machine; it needs Python 3.6 or later and nothing else.
Import it, ``from {file} import Client``, or run it, ``python3 {file}.py --help``.
{more}
{origin}; make changes there.

Contents, with the line where each begins:

{contents}

{licence}
"""
'''

EARLY_END = '''

if __name__ == "__main__":  # the rest takes a moment to load
    hold_signals()'''

FOOTER = '''
def _alias_modules() -> None:
    """Let `import` find this module by the names of the package's modules, too, whatever its own name is."""
    import sys
    this = sys.modules.get(__name__)
    if this is None or vars(this) is not globals():
        return
    package = __name__
    if package == "__main__":
        package = "{package}"
        sys.modules.setdefault(package, this)
    for module in ({modules}):
        sys.modules[package + "." + module] = this
        setattr(this, module.rpartition(".")[2], this)
    for module in MOVED:
        sys.modules[package + "." + module] = this


_alias_modules()

if __name__ == "__main__":
    raise SystemExit(main())
'''


LEGACY_MORE = """
Beside a script that says ``import gearman``, it takes the place of python-gearman 2.0: gearman.GearmanClient, gearman.errors
and so on come from the modules of the folder legacy, whose texts stand at the end.
"""

LEGACY_START = '''
_LEGACY = {}  # type: Dict[str, Tuple[str, str]] # the file of each module of the folder legacy, and its text
'''

LEGACY_FOOTER = '''
class _LegacyModules:
    """Finds the modules of the folder legacy, whose texts are above, in a package with a name that nothing else has.

    Owner: nobody, it does not change.
    """

    def __init__(self, package: str) -> None:
        self._package = package

    def __repr__(self) -> str:
        return "<_LegacyModules of %s>" % self._package

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """Called by `import`: how to load the module of that name; None if it is none of these."""
        package, _, part = (name + ".").partition(".legacy.")
        if package != self._package or part[:-1] not in _LEGACY:
            return None
        from importlib.machinery import ModuleSpec
        return ModuleSpec(name, self, is_package=not part)

    def create_module(self, spec: "Any") -> None:
        """Do nothing, so that `import` makes an ordinary module."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's text."""
        file_name, text = _LEGACY[module.__name__.partition(".legacy")[2][1:]]
        exec(compile(text, "%s:%s" % (__file__, file_name), "exec"), vars(module))

    def get_source(self, name: str) -> str:
        """The module's text, for tracebacks."""
        return _LEGACY[name.partition(".legacy")[2][1:]][1]


def _alias_modules() -> None:
    """Let `import` find this module as {name}, or by its own name, with python-gearman's classes and submodules.

    The package's other modules get names that only the folder legacy uses.
    """
    import sys
    from importlib import import_module
    this = sys.modules.get(__name__)
    if this is None or vars(this) is not globals():
        return
    name = "{name}" if __name__ == "__main__" else __name__
    package = "_gearman_std_in_" + name.replace(".", "_")
    sys.modules[package] = holder = type(sys)(package)
    holder.__path__ = []
    for module in ({modules}):
        sys.modules[package + "." + module] = this
    sys.meta_path.append(_LegacyModules(package))
    import_module(package + ".legacy.installing").install_beside(this, name)


_alias_modules()

if __name__ == "__main__":
    raise SystemExit(main())
'''


class RuleBroken(Exception):
    """The sources break a rule that the single file needs."""


class Module:
    """One source file: its lines, and what it imports and defines at top level."""

    def __init__(self, folder, file_name, apart=False):
        self.apart = apart
        self.name = file_name[:-3].replace("/", ".")
        self.folder = self.name.split(".")[:-1]
        self.file_name = file_name
        with open(os.path.join(folder, file_name), encoding="utf-8", newline="") as file:
            text = file.read()
        if "\r" in text or "\t" in text:
            raise RuleBroken("%s: a carriage return or a tab" % file_name)
        self.lines = text.splitlines()
        self.tree = ast.parse(text, file_name)
        self.docstring = ast.get_docstring(self.tree) or ""
        self.needs = {}      # module: line, of the package-internal imports at top level
        self.wants = []      # (module, name, line), of all package-internal imports, also those for type checkers
        self.defined = {}    # name: line
        self.imported = {}   # name: (origin, line)
        self.typed = {}      # name: line, defined only for type checkers
        self.dropped = set()  # numbers of the lines that the single file leaves out
        self._check_everywhere()
        for node in self.tree.body:
            self._top_level(node, typing=False)

    def wrong(self, line, what):
        return RuleBroken("%s/%s:%d: %s" % (PACKAGE, self.file_name, line, what))

    def drop(self, line):
        self.dropped.update(range(line, self.end(line) + 1))

    def end(self, line):
        """The last line of the logical line that begins at a line."""
        for token in tokenize.generate_tokens((text + "\n" for text in self.lines[line - 1:]).__next__):
            if token.type == tokenize.NEWLINE:
                return line - 1 + token.start[0]
        raise AssertionError("no logical line begins at line %d" % line)

    def _check_everywhere(self):
        top_level = set()
        for node in self.tree.body:
            top_level.add(node)
            if is_type_checking(node):
                top_level.update(node.body)
        in_functions = set()
        everywhere = []  # what is outside comes before what is inside
        todo = collections.deque([(self.tree, False)])
        while todo:
            node, in_function = todo.popleft()
            everywhere.append(node)
            in_function = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            if in_function:
                in_functions.add(node)
            todo.extend([(child, in_function) for child in ast.iter_child_nodes(node)])
        for node in everywhere:
            if isinstance(node, ast.Name) and node.id in MODULE_DEPENDENT and not self.apart:
                raise self.wrong(node.lineno, "%s is another thing in the single file" % node.id)
            if isinstance(node, ast.Import):
                for name in node.names:
                    if name.name.split(".")[0] == PACKAGE:
                        raise self.wrong(node.lineno, VENDORED)
            if isinstance(node, ast.ImportFrom):
                if not node.level:
                    if (node.module or "").split(".")[0] == PACKAGE:
                        raise self.wrong(node.lineno, VENDORED)
                    if node.module == "__future__":
                        raise self.wrong(node.lineno, "a __future__ import would hold for all modules")
                    continue
                if node.level > len(self.folder) + 1 or not node.module and not self.apart:
                    raise self.wrong(node.lineno, "an import that is not of the form: from .module import Name")
                if node not in top_level and node not in in_functions:
                    raise self.wrong(node.lineno, "a package-internal import that is neither at top level nor in a function")
                for name in node.names:
                    if name.name == "*" or name.asname not in (None, name.name) and not self.apart:
                        raise self.wrong(node.lineno, "an import that is not of the form: from .module import Name")
                if node in in_functions:
                    self._take_from(node)
        for node in in_functions:
            for part in ("body", "orelse", "finalbody"):
                block = getattr(node, part, ())
                if isinstance(block, list) and block and all(
                        isinstance(inner, ast.ImportFrom) and inner.level for inner in block):
                    raise self.wrong(block[0].lineno, "a block that has nothing but imports that the single file leaves out")

    def _take_from(self, node):
        """Note what a package-internal import imports, drop its lines, and return the name of its module."""
        source = ".".join(self.folder[:len(self.folder) + 1 - node.level] + ([node.module] if node.module else []))
        for name in node.names:
            self.wants.append((source, name.name, node.lineno))
        self.drop(node.lineno)
        return source

    def _top_level(self, node, typing):
        """Note what a top-level statement defines and imports."""
        defined = self.typed if typing else self.defined
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self._define(defined, node.name, node.lineno)
        elif isinstance(node, ast.Import):
            for name in node.names:
                bound = name.asname or name.name.split(".")[0]
                self._import(bound, name.name if name.asname else bound, node.lineno)
        elif isinstance(node, ast.ImportFrom) and node.level:
            source = self._take_from(node)
            if not typing:
                self.needs.setdefault(source, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                self._import(name.asname or name.name, "%s.%s" % (node.module, name.name), node.lineno)
        elif is_type_checking(node):
            if node.orelse:
                raise self.wrong(node.lineno, "if TYPE_CHECKING with an else")
            for inner in node.body:
                self._top_level(inner, typing=True)
        elif isinstance(node, ast.Delete):
            raise self.wrong(node.lineno, "del at top level")
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for name in names_in(target):
                    if name != "TYPE_CHECKING":
                        self._define(defined, name, node.lineno)
        elif isinstance(node, (ast.If, ast.Try, ast.For, ast.While, ast.With)):
            if isinstance(node, ast.For):
                for name in names_in(node.target):
                    self._define(defined, name, node.lineno)
            if isinstance(node, ast.With):
                for item in node.items:
                    for name in names_in(item.optional_vars) if item.optional_vars else ():
                        self._define(defined, name, node.lineno)
            for part in ("body", "handlers", "orelse", "finalbody"):
                for inner in getattr(node, part, ()):
                    for statement in inner.body if isinstance(inner, ast.ExceptHandler) else (inner,):
                        self._top_level(statement, typing)

    def _define(self, defined, name, line):
        defined.setdefault(name, line)

    def _import(self, name, origin, line):
        other, _ = self.imported.setdefault(name, (origin, line))
        if other != origin:
            raise self.wrong(line, "%s is both %s and %s" % (name, other, origin))

    def typing_names(self):
        """The names that it imports from typing."""
        return {name.name for node in self.tree.body if is_type_checking(node) for inner in node.body
                if is_typing_import(inner) for name in inner.names}

    def leave_out(self, typed_before, first, typing_names):
        """Drop from the text what the single file has already: TYPE_CHECKING, and names for type checkers.

        The first module imports all names from typing: with a hundred conditional imports, pyright would not know the names.
        """
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and names_in(node.targets[0]) == ["TYPE_CHECKING"]:
                if not first:
                    self.drop(node.lineno)
            elif is_type_checking(node):
                for inner in node.body:
                    text = "\n".join(self.lines[inner.lineno - 1:self.end(inner.lineno)])
                    if is_typing_import(inner):
                        if first:
                            self.lines[inner.lineno - 1] = "\n        ".join(textwrap.wrap(
                                "    from typing import (%s)" % ", ".join(sorted(typing_names)), 110))
                        else:
                            self.drop(inner.lineno)
                    for name in names_in(inner.targets[0]) if isinstance(inner, ast.Assign) else ():
                        other, module = typed_before.setdefault(name, (text, self))
                        if other != text:
                            raise self.wrong(inner.lineno,
                                             "%s is another thing for type checkers in %s" % (name, module.file_name))
                        if module is not self:
                            self.drop(inner.lineno)
                if all(inner.lineno in self.dropped for inner in node.body):
                    self.drop(node.lineno)

    def text(self):
        """The module's lines for the single file, without blank lines at the begin and the end."""
        kept = [line.rstrip() for number, line in enumerate(self.lines, 1) if number not in self.dropped]
        return re.sub(r"\n{4,}", "\n\n\n", "\n".join(kept)).strip("\n")


def is_typing_import(node):
    return isinstance(node, ast.ImportFrom) and node.module == "typing"


def is_type_checking(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def names_in(target):
    """The names that an assignment to the target binds."""
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def in_import_order(modules):
    """The modules, sorted by name, but EARLY first and each after those that it imports; the package's __init__ comes last."""
    names = {module.name for module in modules}
    for module in modules:
        for needed, line in module.needs.items():
            if needed not in names:
                raise module.wrong(line, "there is no module %s" % needed)
    waiting, ordered, done = sorted(modules, key=lambda module: (
        module.name == "__init__", module.name != EARLY, module.name)), [], set()
    while waiting:
        for module in waiting:
            if done.issuperset(module.needs):
                break
        else:
            raise RuleBroken("an import cycle among: %s" % ", ".join(sorted(module.file_name for module in waiting)))
        waiting.remove(module)
        ordered.append(module)
        done.add(module.name)
    return ordered


def check_names(modules):
    """Raise RuleBroken unless the modules can share one namespace."""
    by_name = {module.name: module for module in modules}
    words = {word for module in modules for word in module.name.split(".")}
    owners, origins = {}, {}
    for module in modules:
        for name, line in module.defined.items():
            if name in owners:
                raise module.wrong(line, "%s is defined in %s too" % (name, owners[name].file_name))
            if name in words:
                raise module.wrong(line, "%s is a module's name" % name)
            owners[name] = module
    for module in modules:
        for name, (origin, line) in module.imported.items():
            if name in owners:
                raise module.wrong(line, "%s, imported, is defined in %s" % (name, owners[name].file_name))
            if name in words:
                raise module.wrong(line, "%s, imported, is a module's name" % name)
            other, where = origins.setdefault(name, (origin, module))
            if other != origin:
                raise module.wrong(line, "%s is %s here and %s in %s" % (name, origin, other, where.file_name))
        for name, line in module.typed.items():
            if name in owners:
                raise module.wrong(line, "%s, for type checkers, is defined in %s" % (name, owners[name].file_name))
        for source, name, line in module.wants:
            if source not in by_name:
                raise module.wrong(line, "there is no module %s" % source)
            if name not in by_name[source].defined and name not in by_name[source].typed:
                raise module.wrong(line, "%s is not defined in %s" % (name, by_name[source].file_name))


def load(folder):
    """The package's modules in import order, checked.  Raises RuleBroken."""
    files = sorted(name for name in source_files(folder) if name != "__main__.py" and not name.startswith(APART + "/"))
    modules = [Module(folder, name) for name in files if not name.endswith("/__init__.py")]
    fronts = [Module(folder, name) for name in files if name.endswith("/__init__.py")]
    for front in fronts:
        front.defined.pop("__all__", None)
        if front.defined or front.imported:
            raise front.wrong(1, "more than imports of the package and __all__")
    check_names(modules + fronts)
    return in_import_order(modules)


def load_apart(folder):
    """The modules of the folder legacy.  Raises RuleBroken."""
    return [Module(folder, name, apart=True) for name in sorted(source_files(folder))
            if name.startswith(APART + "/") and not name.endswith("/__init__.py")]


def source_files(folder):
    """The paths of the package's sources, relative to its folder, with slashes."""
    return [os.path.relpath(os.path.join(path, name), folder).replace(os.sep, "/")
            for path, _, names in os.walk(folder) for name in names if name.endswith(".py")]


def legacy_sections(folder):
    """The modules of the folder legacy, each with its section of the file.  Raises RuleBroken."""
    sections = []
    for file_name in sorted(name for name in source_files(folder) if name.startswith(APART + "/")):
        module = Module(folder, file_name, apart=True)
        text = "\n".join(module.lines)
        if "'''" in text or text.endswith(("\\", "'")):
            raise module.wrong(1, "a text that cannot stand between three apostrophes")
        part = module.name[len(APART) + 1:].replace("__init__", "")
        sections.append((module, "\n".join(["", "", BANNER, "# " + file_name, BANNER, '_LEGACY["%s"] = "%s", r\'\'\'%s' % (
            part, file_name, text), "'''"])))
    return sections


def build(root=ROOT, legacy=False):
    """The text of the single file.  Raises RuleBroken."""
    folder = os.path.join(root, PACKAGE)
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(os.path.join(root, "setup.cfg"), encoding="utf-8")
    metadata = metadata["metadata"]
    with open(os.path.join(folder, "LICENSE"), encoding="utf-8") as file:
        licence = file.read().strip()
    modules = load(folder)
    sections, typed = [], {}
    first = True
    typing_names = set().union(*[module.typing_names() for module in modules])
    for module in modules:
        module.leave_out(typed, first, typing_names)
        first = first and "TYPE_CHECKING = False" not in module.text()
        if module.text():
            sections.append((module, "\n".join(["", "", BANNER, "# " + module.file_name, BANNER, module.text()] + (
                [EARLY_END] if module.name == EARLY else []))))

    if legacy:
        sections[-1] = (sections[-1][0], sections[-1][1] + "\n\n" + LEGACY_START.strip("\n"))
        sections += legacy_sections(folder)

    def assembled(starts):
        contents = "\n".join("    %6s  %-20s %s" % (starts.get(module.name, ""), module.file_name,
                                                    module.docstring.partition("\n")[0])
                             for module, _ in sections).rstrip()
        return HEADER.format(name=PACKAGE, version=metadata["version"], description=metadata["description"], contents=contents,
                             file=LEGACY_NAME if legacy else PACKAGE, more=LEGACY_MORE if legacy else "",
                             origin=("Built from %s's sources by tools/single_file.py" % metadata.get("url", "the package")),
                             licence=licence)

    line, starts = assembled({}).count("\n") + 1, {}
    for module, section in sections:
        starts[module.name] = line + 3
        line += section.count("\n") + 1
    named = {module.name for module in modules if module.name != "__init__"}
    names = ", ".join('"%s"' % name for name in sorted(named.union(name.split(".")[0] for name in named)))
    if legacy:
        footer = LEGACY_FOOTER.replace("{name}", LEGACY_NAME).replace("{modules}", wrapped(names))
    else:
        footer = FOOTER.format(package=PACKAGE, modules=wrapped(names))
    banner = "\n".join(["", "", BANNER, "# the single file", BANNER])
    return assembled(starts) + "\n".join([section for _, section in sections] + [banner]) + "\n" + footer.lstrip("\n")


def wrapped(names):
    """The names broken into lines, for the tuple in the footer."""
    lines = [""]
    for name in names.split(" "):
        if len(lines[-1]) + len(name) > 100:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + name
    return ("\n" + " " * 19).join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Build the package as one file.")
    target = parser.add_mutually_exclusive_group()
    parser.add_argument("--legacy", action="store_true", help="let it be python-gearman, too, for scripts that import that")
    target.add_argument("-o", "--output", metavar="FILE",
                        help="where to write it (default: build/%s.py, with --legacy build/%s.py)" % (PACKAGE, LEGACY_NAME))
    target.add_argument("--check", metavar="FILE", help="write nothing; compare with FILE")
    parser.add_argument("--quiet", action="store_true", help="say nothing when all is well")
    options = parser.parse_args(arguments)
    try:
        data = build(legacy=options.legacy).encode("utf-8")
    except RuleBroken as error:
        print("single_file: %s" % error, file=sys.stderr)
        return 1
    if options.check:
        try:
            with open(options.check, "rb") as file:
                same = file.read() == data
        except OSError as error:
            print("single_file: %s" % error, file=sys.stderr)
            return 1
        if not same:
            print("single_file: %s differs from what the sources make: build it again" % options.check, file=sys.stderr)
            return 1
        return 0
    output = options.output or os.path.join(ROOT, "build", (LEGACY_NAME if options.legacy else PACKAGE) + ".py")
    os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
    with open(output, "wb") as file:
        file.write(data)
    os.chmod(output, 0o755)
    if not options.quiet:
        print("%s: %d lines" % (output, data.count(b"\n")))
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Print the states of everything that is in exactly one state at a time:  python3 tools/states.py [--table] [NAME …]

Each arrow is a line: a state, what happens, the next state, and the methods that make it happen.  The arrows are read from the
package's own tables, and the methods are found in its sources.  NAME is in the first column of the table that --table prints,
which is that of docs/ARCHITECTURE.md.
"""
import argparse
import ast
import collections
import glob
import importlib
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NEW = "(new)"

# What has states.  `where`: the module and its table of arrows, {(state, event): state}.  `owner`: the class that changes the
# state.  `calls`: how an event comes to the owner if there is no method named after it: by which calls, in which folder.
Machine = collections.namedtuple("Machine", "name about module table owner calls")

MACHINES = [
    Machine("job", "a job in the server", "core.jobs", "JOB_ARROWS", "Function", ()),
    Machine("connection", "a connection of the server", "server.channel", "ARROWS", "Channel",
            ("channel.move", "self._close", "self._leave")),
    Machine("client", "a job as its client sees it", "client.submission", "SUBMISSION_ARROWS", "Submission", ()),
    Machine("link", "a client's connection to a server", "client.link", "CONNECTION_ARROWS", "Link", ()),
    Machine("worker", "a worker's session with a server", "wire.worker_session", "SESSION_ARROWS", "WorkerSession",
            ("self._move",)),
    Machine("servers", "a server as a worker sees it", "worker.link", "SERVER_ARROWS", "WorkerServer",
            ("self._move", "self._fail")),
    Machine("worker-link", "a worker's connection to a server", "worker.link", "LINK_ARROWS", "WorkerLink", ("link.move",)),
    Machine("departure", "a worker that leaves", "worker.departure", "DEPARTURE_ARROWS", "Departure", ("self._move",)),
]


def file_of(machine):
    return machine.module.replace(".", "/") + ".py"


def module_of(machine):
    sys.path.insert(0, ROOT)
    try:
        return importlib.import_module("gearman_std." + machine.module)
    finally:
        sys.path.remove(ROOT)


def arrows_of(machine):
    """The arrows: {(state, event): state}, as the programs have them; the state None is that of what is new."""
    return getattr(module_of(machine), machine.table)


def states_of(machine):
    """The states in the order in which the table has them; the one of what is new is not counted."""
    arrows = arrows_of(machine)
    return [state for state in collections.OrderedDict.fromkeys(
        state for (start, _), end in arrows.items() for state in (start, end)) if state is not None]


def methods_of(machine):
    """By event: the names of the methods that make it happen, each with its class."""
    events = collections.OrderedDict.fromkeys(event for _, event in arrows_of(machine))
    owner = getattr(module_of(machine), machine.owner)
    if not machine.calls:
        named = {event: event.replace(" ", "_") for event in events}
        return {event: ["%s.%s" % (machine.owner, getattr(owner, name).__name__)] for event, name in named.items()}
    found = {event: [] for event in events}
    folder = os.path.dirname(file_of(machine))
    for path in sorted(glob.glob(os.path.join(ROOT, "gearman_std", folder, "*.py"))):
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
        for method, called, event in calls_with(tree, "%s/%s" % (folder, os.path.basename(path)), machine):
            if called in machine.calls and method not in found[event]:
                found[event].append(method)
    return found


def constants_of(machine):
    """The events, by the names that the module has for them."""
    events = {event for _, event in arrows_of(machine)}
    return {name: value for name, value in vars(module_of(machine)).items() if isinstance(value, str) and value in events}


def calls_with(tree, name_of_file, machine):
    """Each call in a method of a module that hands on an event's constant: the method, what it calls, the event.

    The constants are those that the module has of its own, or imports.
    """
    known = constants_of(machine)
    if name_of_file != file_of(machine):
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module
                   and node.module.split(".")[-1] == machine.module.split(".")[-1]]
        known = {one.name: known[one.name] for node in imports for one in node.names if one.name in known}
    for owner in tree.body if known else ():
        for method in owner.body if isinstance(owner, ast.ClassDef) else ():
            for call in (node for node in ast.walk(method) if isinstance(node, ast.Call)):
                for name in (node for argument in call.args for node in ast.walk(argument) if isinstance(node, ast.Name)):
                    if name.id in known:
                        yield "%s.%s" % (owner.name, method.name), _dotted(call.func), known[name.id]


def _dotted(node):
    """The text of names with dots between them."""
    return "%s.%s" % (_dotted(node.value), node.attr) if isinstance(node, ast.Attribute) else getattr(node, "id", "?")


def text_of(machine):
    """All that is printed of one."""
    arrows, methods = arrows_of(machine), methods_of(machine)
    rows = [(start or NEW, "─%s─>" % event, end, ", ".join(methods[event])) for (start, event), end in arrows.items()]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["    " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(["%s: %s, in %s" % (machine.name, machine.about, file_of(machine))] + lines)


def table_of(machines):
    """The table of docs/ARCHITECTURE.md."""
    lines = ["| name | of what | states | arrows | which are in |", "|---|---|---|---|---|"]
    for machine in machines:
        lines.append("| %s | %s | %s | %d | `%s` in `%s` |" % (
            machine.name, machine.about, ", ".join(states_of(machine)), len(arrows_of(machine)), machine.table,
            file_of(machine)))
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Print states, arrows, and the methods that make these happen.")
    parser.add_argument("--table", action="store_true", help="print only the table of docs/ARCHITECTURE.md")
    parser.add_argument("names", metavar="NAME", nargs="*", help="of what: one of %s (default: all)" % ", ".join(
        machine.name for machine in MACHINES))
    options = parser.parse_args(arguments)
    strangers = set(options.names) - {machine.name for machine in MACHINES}
    if strangers:
        parser.error("nothing is called %s" % ", ".join(sorted(strangers)))
    machines = [machine for machine in MACHINES if not options.names or machine.name in options.names]
    print(table_of(machines) if options.table else "\n\n".join(map(text_of, machines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

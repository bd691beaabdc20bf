"""The command `help`: shows what a command is for and all its options, as its --help does, or as a page for `man`."""
from ..version import VERSION
from .console import DONE, PROGRAM, Console
from .options import CommandLine, Option, UsageError, did_you_mean, note_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Sequence, Tuple
    Described = Dict[str, Tuple[CommandLine, str]]  # by name, "" for the program itself: its options, and what it is for

_HELP_ABOUT = """
Show how a command is used.
"""
_HELP_EXAMPLES = """
gearman-std help client
gearman-std help client --man | man -l -
gearman-std help check --man > /usr/local/share/man/man1/gearman-std-check.1
"""
_HELP_STATUSES = """
0  the help was shown
2  there is no such command
"""

# Letters that roff would take for a request, or print as another letter, such as a hyphen or a curly quotation mark.
_ESCAPES = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti", "`": "\\(ga"}


def make_help_line() -> CommandLine:
    """The options of `help`."""
    return CommandLine("help", ["help [COMMAND] [--man]"], _HELP_ABOUT, [
        ("Options", [Option("--man", "", "print a page for man, in the language of roff")]),
    ], [("Exit status", _HELP_STATUSES), ("Examples", _HELP_EXAMPLES)], help_names="-h -H --help")


def run_help(console: Console, arguments: "Sequence[str]", described: "Described") -> int:
    """Run `help`; return the exit status."""
    options = make_help_line().parse(arguments)
    name = options.words[0] if options.words else ""
    if len(options.words) > 1:
        raise UsageError("one command is enough, %s is one more" % options.words[1])
    if name not in described:
        raise UsageError("there is no command %s%s" % (name, did_you_mean(name, described)))
    line, purpose = described[name]
    others = sorted(other for other in described if other not in (name, ""))
    console.write(make_man_page(line, purpose, others) if options.man else line.help())
    return DONE


def make_man_page(line: CommandLine, purpose: str, others: "Sequence[str]" = ()) -> str:
    """The page of a command; at its end it names the other pages."""
    title = _page_name(line.name)
    lines = [".TH %s 1 \"\" \"gearman_std %s\" \"Gearman\"" % (_roff_word(title.upper()), VERSION), ".SH NAME",
             "%s \\- %s" % (_roff(title), _roff(purpose)), ".SH SYNOPSIS", ".nf"]
    lines += ["\\fB%s\\fR %s" % (_roff(PROGRAM), _roff(usage)) for usage in line.usage]
    lines += [".fi", ".SH DESCRIPTION", _roff(" ".join(line.about.split())), ".SH OPTIONS"]
    for group, options in line.groups:
        shown = [option for option in options if option.help]
        if shown and len(line.groups) > 1:
            lines.append(".SS " + _roff_word(group))
        for option in shown:
            lines += [".TP", _roff_label(option), _roff(option.help)]
    for heading, text in line.notes:
        lines.append(".SH " + _roff_word(heading.upper()))
        for label, meaning in note_rows(text):
            command = label.startswith(PROGRAM)
            shown_label = "\\fB%s\\fR" % _roff(label) if command or meaning else _roff(label)
            lines += [".TP", shown_label, _roff(meaning)] if meaning else [".PP", shown_label]
    lines.append(".SH SEE ALSO")
    lines.append(", ".join("\\fB%s\\fR(1)" % _roff(_page_name(other)) for other in others))
    return "\n".join(lines) + "\n"


def _page_name(command: str) -> str:
    return "-".join(filter(None, (PROGRAM, command)))


def _roff_label(option: Option) -> str:
    """The names of an option, bold, and its value."""
    names = ", ".join("\\fB%s\\fR" % _roff(name) for name in option.names)
    return names + "\\fI%s\\fR" % _roff(option.label()[len(", ".join(option.names)):])


def _roff(text: str) -> str:
    """A text, written so that roff prints it as it is."""
    shown = "".join(_ESCAPES.get(letter, letter if letter < "\x7f" else "\\[u%04X]" % ord(letter)) for letter in text)
    return "\\&" + shown if shown.startswith(".") else shown


def _roff_word(text: str) -> str:
    """A text, written so that it is one argument of a roff request."""
    return '"%s"' % _roff(text).replace('"', "\\(dq")

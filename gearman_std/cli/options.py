"""The options of a command: how they are declared, read from a command line, and shown by its help.

They are read as gearmand's programs read them, with getopt_long: short ones may be joined, as in ``-bnf resize``, options and
other words may be mixed, ``--`` ends the options.  argparse cannot do all that on every Python.
"""
from ..version import VERSION
from .console import PROGRAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple


class UsageError(Exception):
    """The command line makes no sense; the text says why."""


class HelpWanted(Exception):
    """The user asked for help; the text is the help."""


class Option:
    """One option: its names, the name of its value, how the value is read, and what the option does.

    `convert` turns the text into the value; it raises ValueError with what the text should be.  An option without `metavar` is
    a flag; with `default_word`, its value may be left out.  Its key is its first long name with underscores, or its short name.

    Owner: nobody, it does not change.
    """

    __slots__ = ("names", "metavar", "help", "convert", "repeat", "default", "default_word", "key")

    def __init__(self, names: str, metavar: str, help_text: str, convert: "Callable[[str], Any]" = str, repeat: bool = False,
                 default: "Any" = None, default_word: "Optional[str]" = None) -> None:
        self.names = names.split()
        self.metavar = metavar
        self.help = help_text
        self.convert = convert
        self.repeat = repeat
        if default is None:
            default = ([] if repeat else None) if metavar else 0 if repeat else False
        self.default = default
        self.default_word = default_word
        long_names = [name for name in self.names if name.startswith("--")]
        self.key = (long_names[0][2:] if long_names else self.names[0][1:]).replace("-", "_")

    def __repr__(self) -> str:
        return "<Option %s>" % " ".join(self.names)

    @property
    def takes_word(self) -> bool:
        """Whether the next word is its value, unless the value follows in the same word."""
        return bool(self.metavar) and self.default_word is None

    def label(self) -> str:
        """How the help shows it."""
        value = "" if not self.metavar else "[=%s]" % self.metavar if self.default_word is not None else " " + self.metavar
        return ", ".join(self.names) + value


class Parsed:
    """A command line that was read: options as attributes, other words in `words`, and options in their order in `given`.

    Owner: whoever parsed it.
    """

    def __init__(self, options: "Sequence[Option]") -> None:
        self.given = []  # type: List[Tuple[str, Any]]
        self.words = []  # type: List[str]
        self.ended = False  # a `--` was there
        for option in options:
            setattr(self, option.key, list(option.default) if isinstance(option.default, list) else option.default)

    def __repr__(self) -> str:
        return "<Parsed %s %s>" % (self.given, self.words)

    def __getattr__(self, name: str) -> "Any":
        raise AttributeError(name)

    def has(self, key: str) -> bool:
        """Whether an option was given."""
        return any(name == key for name, _ in self.given)


class CommandLine:
    """The options of one command, in groups, and its help.

    With `once`, an option that is given twice is an error unless it may be repeated.  If there are `abbreviated` names, an
    option may be cut short.  The full name is looked for among these names first, then among all; only one may fit.

    Owner: nobody, it does not change.
    """

    def __init__(self, name: str, usage: "Sequence[str]", about: str, groups: "Sequence[Tuple[str, Sequence[Option]]]",
                 notes: "Sequence[Tuple[str, str]]" = (), help_names: str = "-H --help", once: bool = False,
                 abbreviated: "Sequence[str]" = (), version_names: str = "--version") -> None:
        self.name = name
        self.usage = usage
        self.about = about
        self.groups = [(title, list(options)) for title, options in groups]
        self.notes = notes
        self.once = once
        self.abbreviated = abbreviated
        self._help_names = help_names.split()
        self._version_names = version_names.split()
        self.groups[-1][1].append(Option(help_names, "", "show this help"))
        self.groups[-1][1].append(Option(version_names, "", "print the version"))
        self.options = [option for _, options in self.groups for option in options]
        self._by_name = {name: option for option in self.options for name in option.names}

    def __repr__(self) -> str:
        return "<CommandLine %s>" % self.name

    def parse(self, arguments: "Sequence[str]") -> Parsed:
        """Read a command line.  Raises UsageError and HelpWanted."""
        parsed = Parsed(self.options)
        rest = list(arguments)
        rest.reverse()
        while rest:
            word = rest.pop()
            if word == "--":
                parsed.ended = True
                parsed.words += reversed(rest)
                break
            if word.startswith("--"):
                name, equals, value = word.partition("=")
                option = self._find(name)
                if option.takes_word and not equals:
                    value = self._next(name, rest)
                elif equals and not option.metavar:
                    raise UsageError("%s takes no value" % name)
                self._take(parsed, option, name, value if option.takes_word or equals else None)
            elif word.startswith("-") and word != "-":
                letters = word[1:]
                while letters:
                    name, letters = "-" + letters[0], letters[1:]
                    option = self._find(name)
                    if option.takes_word:
                        self._take(parsed, option, name, letters or self._next(name, rest))
                        break
                    self._take(parsed, option, name, None)
            else:
                parsed.words.append(word)
        return parsed

    def wants_value(self, word: str) -> bool:
        """Whether a word is an option whose value is the next word."""
        return word in self._by_name and self._by_name[word].takes_word

    def _find(self, name: str) -> Option:
        if name not in self._by_name and name.startswith("--") and self.abbreviated:
            name = self._complete(name)
        if name in self._help_names:
            raise HelpWanted(self.help())
        if name in self._version_names:
            raise HelpWanted("gearman_std %s\n" % VERSION)
        if name not in self._by_name:
            raise UsageError("there is no option %s%s" % (name, did_you_mean(
                name, [one for option in self.options if option.help for one in option.names])))
        return self._by_name[name]

    def _complete(self, name: str) -> str:
        """The full name of an option that was cut short; the same name if it was not."""
        for names in (self.abbreviated, sorted(self._by_name)):
            fitting = [one for one in names if one.startswith(name)]
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                raise UsageError("%s may be %s" % (name, " or ".join(fitting)))
        return name

    @staticmethod
    def _next(name: str, rest: "List[str]") -> str:
        if not rest:
            raise UsageError("%s needs a value" % name)
        return rest.pop()

    def _take(self, parsed: Parsed, option: Option, name: str, word: "Optional[str]") -> None:
        if self.once and not option.repeat and parsed.has(option.key):
            raise UsageError("%s is given twice" % name)
        if not option.metavar:
            value = getattr(parsed, option.key) + 1 if option.repeat else True  # type: Any
        else:
            try:
                value = option.convert(word if word is not None else option.default_word or "")
            except ValueError as error:
                raise UsageError("%s: %s" % (name, error)) from None
        parsed.given.append((option.key, value))
        setattr(parsed, option.key, getattr(parsed, option.key) + [value] if option.repeat and option.metavar else value)

    def help(self, width: "Optional[int]" = None) -> str:
        """What `--help` prints, at most 80 columns wide."""
        from textwrap import fill
        if width is None:
            from shutil import get_terminal_size
            width = min(get_terminal_size().columns, 80)
        width = max(width, 60)
        lines = []  # type: List[str]
        for index, usage in enumerate(self.usage):
            lines.append("%s %s %s" % ("usage:" if not index else "      ", PROGRAM, usage))
        lines += ["", fill(" ".join(self.about.split("\n")).strip(), width)]
        for title, options in self.groups:
            shown = [option for option in options if option.help]
            if shown:
                lines += ["", title + ":"]
            for option in shown:
                lines += _help_lines(option.label(), option.help, width)
        for title, text in self.notes:
            lines += ["", title + ":"] + _note_lines(text, width)
        return "\n".join(lines) + "\n"


def note_rows(text: str) -> "List[List[str]]":
    """The rows of a note, as [label, meaning].

    Two blanks separate a label, such as a command, from its meaning, which may be empty.  An indented line continues the
    meaning of the row above.
    """
    rows = []  # type: List[List[str]]
    for line in text.strip("\n").split("\n"):
        label, _, meaning = line.partition("  ")
        if label:
            rows.append([label, meaning.strip()])
        else:
            rows[-1][1] = (rows[-1][1] + " " + line.strip()).strip()
    return rows


def _note_lines(text: str, width: int) -> "List[str]":
    """A note as the help shows it."""
    from textwrap import wrap
    rows = note_rows(text)
    column = max([len(label) for label, meaning in rows if meaning and len(label) <= 24] or [4]) + 2
    lines = []  # type: List[str]
    for label, meaning in rows:
        if meaning and len(label) <= 24:
            lines += wrap(meaning, width, initial_indent="  " + label.ljust(column), subsequent_indent=" " * (column + 2))
            continue
        command = label.startswith(PROGRAM)
        parts = wrap(label, width - 2 if command else width, initial_indent="  ",
                     subsequent_indent="      " if command else "  ", break_on_hyphens=False, break_long_words=False)
        lines += [part + " \\" for part in parts[:-1]] + parts[-1:] if command else parts
        if meaning:
            lines += wrap(meaning, width, initial_indent="      ", subsequent_indent="      ")
    return lines


def did_you_mean(word: str, words: "Iterable[str]") -> str:
    """What to add to an error about an unknown word: a known one that is similar, or nothing."""
    from difflib import get_close_matches
    by_name = {one.lstrip("-"): one for one in words if len(one) > 2}  # common dashes do not make words similar
    guesses = get_close_matches(word.lstrip("-"), by_name, 1, 0.55) if len(word) > 2 else []
    return " (did you mean %s?)" % by_name[guesses[0]] if guesses else ""


def _help_lines(label: str, text: str, width: int) -> "List[str]":
    from textwrap import wrap
    lines = wrap(text, width - 28)
    if len(label) > 24:
        return ["  " + label] + [" " * 28 + line for line in lines]
    return ["  " + label.ljust(26) + lines[0]] + [" " * 28 + line for line in lines[1:]]


# --- How values are read.


def whole_number(least: "Optional[int]" = 0, most: "Optional[int]" = None) -> "Callable[[str], int]":
    """A reader of whole numbers within bounds."""
    bounds = [word % bound for word, bound in ((" from %d", least), (" to %d", most)) if bound is not None]
    wanted = "a whole number" + "".join(bounds)

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError("%r is not %s" % (text, wanted)) from None
        if least is not None and number < least or most is not None and number > most:
            raise ValueError("%s is not %s" % (number, wanted))
        return number
    return read


def some_text(text: str) -> str:
    """A text that is not empty; a shell makes an empty one of a variable that is not set."""
    if not text:
        raise ValueError("a value is wanted, not nothing")
    return text


def read_seconds(text: str) -> float:
    """A time in seconds, or with one of the units ms, s, m, h, d."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    digits = text.rstrip("smhd")
    try:
        seconds = float(digits) * (units[text[len(digits):]] if len(digits) < len(text) else 1.0)
    except (ValueError, KeyError):
        raise ValueError("%r is not a time such as 10, 0.5 or 5m" % text) from None
    if not 0 <= seconds < float("inf"):
        raise ValueError("%r is not a time from 0" % text)
    return seconds


def read_size(text: str) -> int:
    """A number of bytes, or with K, M or G."""
    digits = text.rstrip("kKmMgG")
    factor = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}.get(text[len(digits):].lower())
    if factor is None or not digits.isdigit():
        raise ValueError("%r is not a size such as 65536, 64K or 1M" % text)
    return int(digits) * factor


def read_port(text: str) -> int:
    """The number of a port, or the name of a service that has one."""
    if text.isdigit() and int(text) <= 65535:
        return int(text)
    import socket
    try:
        return socket.getservbyname(text, "tcp")
    except OSError:
        raise ValueError("%r is no port" % text) from None


class OneOf:
    """A reader of one of several words, its `choices`.

    Owner: nobody, it does not change.
    """

    __slots__ = ("choices",)

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def __repr__(self) -> str:
        return "<OneOf %s>" % ", ".join(self.choices)

    def __call__(self, text: str) -> str:
        if text not in self.choices:
            raise ValueError("%r is not one of %s" % (text, ", ".join(self.choices)))
        return text

"""The command `completion`: prints a script with which a shell completes commands, options and functions.

The scripts are made from the same data as the help.

The scripts hold all commands and options; for names of functions they call this program, which asks the job server that the
command line names.
"""
import os
import re

from ..client.admin import AdminClient
from ..errors import GearmanError
from .common import address_options, find_servers, find_tls
from .console import DONE, PROGRAM, Console
from .options import CommandLine, HelpWanted, OneOf, Option, Parsed, UsageError, did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Sequence, Set, Tuple
    Commands = Dict[str, Tuple[CommandLine, str]]  # by name: its options, and what it is for

_COMPLETION_ABOUT = """
Print what has a shell complete commands, options and their values on the key Tab.  Functions are asked of the job server that
the command line names, within a second.
"""
_COMPLETION_EXAMPLES = """
source <(gearman-std completion bash)       in ~/.bashrc
gearman-std completion bash > /etc/bash_completion.d/gearman-std
source <(gearman-std completion zsh)        in ~/.zshrc, behind compinit
gearman-std completion fish > ~/.config/fish/completions/gearman-std.fish
"""
_COMPLETION_STATUSES = """
0  it was printed
2  there is no such shell
"""
_SHELLS = ("bash", "zsh", "fish")
_ASK = "functions"     # the word that a script gives in place of a shell's name; the command line so far follows
_ASK_TIMEOUT = 1.0     # seconds for a server to answer
_MOST_NAMES = 1000
# Names that need no quotes in any shell; others are not completed.
_PLAIN_NAME = re.compile(rb"[\w.:@%+,/-]+\Z")


def make_completion_line() -> CommandLine:
    """The options of `completion`."""
    return CommandLine("completion", ["completion bash|zsh|fish"], _COMPLETION_ABOUT, [("Options", [])], [
        ("Exit status", _COMPLETION_STATUSES), ("Examples", _COMPLETION_EXAMPLES)], help_names="-h -H --help")


def run_completion(console: Console, arguments: "Sequence[str]", commands: "Commands") -> int:
    """Run `completion`; return the exit status."""
    if arguments and arguments[0] == _ASK:
        console.write(b"".join(name + b"\n" for name in _ask_for_functions(arguments[1:])))
        return DONE
    options = make_completion_line().parse(arguments)
    shell = options.words[0] if len(options.words) == 1 else ""
    if shell not in _SHELLS:
        raise UsageError("which shell? bash, zsh or fish%s" % did_you_mean(shell, _SHELLS))
    console.write({"bash": make_bash, "zsh": make_zsh, "fish": make_fish}[shell](commands))
    return DONE


def _ask_for_functions(words: "Sequence[str]") -> "List[bytes]":
    """The functions that are known at the servers of an incomplete command line; none if no server answers."""
    try:
        options = _read_address(words)
        names = set()  # type: Set[bytes]
        for server in find_servers(options, os.environ):
            with AdminClient([server], _ASK_TIMEOUT, tls=find_tls(options, os.environ)) as admin:
                names.update(one.function for one in admin.status())
        return sorted(name for name in names if _PLAIN_NAME.match(name))[:_MOST_NAMES]
    except (GearmanError, UsageError, OSError, ValueError):
        return []  # there is nothing to complete, and nobody would read an error


def _read_address(words: "Sequence[str]") -> Parsed:
    """The options that say where the server is; all others are skipped.  To bash, an equals sign is a word of its own."""
    line = CommandLine("", [], "", [address_options()])
    parsed = line.parse([])
    rest = [word for word in words if word != "="]
    for index, word in enumerate(rest):
        if word.partition("=")[0] in {name for option in line.options for name in option.names}:
            try:
                one = line.parse(rest[index:index + (2 if line.wants_value(word) else 1)])
            except (HelpWanted, UsageError):
                continue
            for key, value in one.given:
                setattr(parsed, key, value)
    return parsed


def _value_kind(option: Option) -> str:
    """What the value of an option is: function, file, folder, host, or something else."""
    if "FUNCTION" in option.metavar:
        return "function"
    return {"FILE": "file", "DIR": "folder", "HOST": "host"}.get(option.metavar, "other")


def _choices_of(option: Option) -> "Tuple[str, ...]":
    return option.convert.choices if isinstance(option.convert, OneOf) else ()


def _shown_options(line: CommandLine) -> "List[Option]":
    return [option for option in line.options if option.help]


def _clause(option: Option) -> str:
    """What an option does, in a few words."""
    return re.split(r"; | \(default|: ", option.help)[0].rstrip(" *")


# --- bash.

_BASH = """\
# Completion for bash, printed by %(program)s completion bash
_gearman_std() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} options="" index behind=0
    COMPREPLY=()
    if [[ $cur == "=" ]]; then  # to bash, an equals sign is a word of its own
        cur="" behind=1
    elif [[ $prev == "=" ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]} behind=1
    fi
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W "%(names)s --help --version" -- "$cur"))
        return
    fi
    for ((index = 2; index < COMP_CWORD; index++)); do
        [[ ${COMP_WORDS[index]} != "--" ]] || return
    done
    case ${COMP_WORDS[1]} in
%(cases)s
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
    fi
}
_gearman_std_functions() {
    COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" completion functions "${COMP_WORDS[@]:2:COMP_CWORD-2}" 2>/dev/null)" -- "$1"))
}
complete -o default -F _gearman_std %(program)s
"""
_BASH_VALUES = {"function": '_gearman_std_functions "$cur"; return', "file": "return",
                "folder": 'COMPREPLY=($(compgen -d -- "$cur")); return',
                "host": 'COMPREPLY=($(compgen -A hostname -- "$cur")); return',
                "other": "compopt +o default 2>/dev/null; return"}


def make_bash(commands: "Commands") -> str:
    """The script for bash."""
    cases = []  # type: List[str]
    for name, (line, _) in commands.items():
        cases += ["        %s)" % name, "            case $prev in"]
        by_action = {}  # type: Dict[str, List[str]]
        for option in _shown_options(line):
            if option.metavar:
                # A value that may be left out can only follow an equals sign.
                names = option.names if option.takes_word else [word for word in option.names if word.startswith("--")]
                by_action.setdefault(_bash_action(option), []).extend(names)
        cases += ["                %s) %s ;;" % ("|".join(names), action) for action, names in by_action.items()]
        cases += ["                *) ;;", "            esac"]
        cases.append('            options="%s"' % " ".join(word for option in _shown_options(line) for word in option.names))
        words = _words_of(name, commands)
        if words:
            cases.append('            COMPREPLY=($(compgen -W "%s" -- "$cur"))' % " ".join(words))
        cases.append("            ;;")
    return _BASH % {"program": PROGRAM, "names": " ".join(commands), "cases": "\n".join(cases)}


def _bash_action(option: Option) -> str:
    """What completes the value of an option."""
    action = _BASH_VALUES[_value_kind(option)]
    if _choices_of(option):
        action = 'COMPREPLY=($(compgen -W "%s" -- "$cur")); return' % " ".join(_choices_of(option))
    return action if option.takes_word else "if ((behind)); then %s; fi" % action


# --- zsh.

_ZSH = """\
#compdef %(program)s
# Completion for zsh, printed by %(program)s completion zsh
_gearman_std() {
    local program=$words[1]
    if ((CURRENT == 2)); then
        local -a commands
        commands=(
%(names)s
        )
        _describe command commands
        compadd -- --help --version
        return
    fi
    local command=$words[2]
    shift words
    ((CURRENT--))
    case $command in
%(cases)s
    esac
}
_gearman_std_functions() {
    local -a names
    names=(${(f)"$($program completion functions "${(@)words[2,CURRENT-1]}" 2>/dev/null)"})
    compadd -a names
}
if [[ $funcstack[1] == _gearman-std ]]; then
    _gearman_std "$@"
else
    compdef _gearman_std %(program)s
fi
"""
_ZSH_VALUES = {"function": "_gearman_std_functions", "file": "_files", "folder": "_files -/", "host": "_hosts", "other": " "}


def make_zsh(commands: "Commands") -> str:
    """The script for zsh."""
    names, cases = [], []  # type: Tuple[List[str], List[str]]
    for name, (line, purpose) in commands.items():
        names.append("            " + _zsh_quoted("%s:%s" % (name, purpose.replace(":", "\\:"))))
        cases += ["        %s)" % name, "            _arguments -s -S \\"]
        cases += ["                %s \\" % _zsh_quoted(spec) for option in _shown_options(line) for spec in _zsh_specs(option)]
        words = _words_of(name, commands)
        cases += ["                %s" % _zsh_quoted("*:word:(%s)" % " ".join(words) if words else "*:word:_files"),
                  "            ;;"]
    return _ZSH % {"program": PROGRAM, "names": "\n".join(names), "cases": "\n".join(cases)}


def _zsh_specs(option: Option) -> "List[str]":
    """What zsh's _arguments needs for an option: a spec for each of its names."""
    help_text = "[%s]" % _clause(option).translate({ord(letter): "\\" + letter for letter in "[]:\\"})
    value = ""
    if option.metavar:
        action = "(%s)" % " ".join(_choices_of(option)) if _choices_of(option) else _ZSH_VALUES[_value_kind(option)]
        value = "%s%s:%s" % (":" if option.takes_word else "::", option.metavar.replace(":", "\\:"), action)
    before = "*" if option.repeat else "(%s)" % " ".join(option.names)
    specs = []  # type: List[str]
    for name in option.names:
        if option.takes_word:
            name += "=" if name.startswith("--") else "+"
        elif value:
            name += "=-"
        specs.append(before + name + help_text + value)
    return specs


def _zsh_quoted(text: str) -> str:
    return "'%s'" % text.replace("'", "'\\''")


# --- fish.

_FISH = """\
# Completion for fish, printed by %(program)s completion fish
function __gearman_std_is
    set -l words (commandline -opc)
    test (count $words) -gt 1; and test "$words[2]" = $argv[1]
end
function __gearman_std_functions
    set -l words (commandline -opc)
    $words[1] completion functions $words[3..-1] 2>/dev/null
end
function __gearman_std_begins
    test (count (commandline -opc)) -eq 1
end
complete -c %(program)s -e
%(lines)s
"""


def make_fish(commands: "Commands") -> str:
    """The script for fish."""
    lines = ["complete -c %s -n __gearman_std_begins -f -l help" % PROGRAM,
             "complete -c %s -n __gearman_std_begins -f -l version" % PROGRAM]
    for name, (line, purpose) in commands.items():
        lines.append("complete -c %s -n __gearman_std_begins -f -a %s -d %s" % (PROGRAM, name, _fish_quoted(purpose)))
        for option in _shown_options(line):
            lines.append("complete -c %s -n '__gearman_std_is %s' %s -d %s" % (
                PROGRAM, name, _fish_option(option), _fish_quoted(_clause(option))))
        words = _words_of(name, commands)
        if words:
            lines.append("complete -c %s -n '__gearman_std_is %s' -f -a '%s'" % (PROGRAM, name, " ".join(words)))
    return _FISH % {"program": PROGRAM, "lines": "\n".join(lines)}


def _fish_option(option: Option) -> str:
    parts = [("-l " + name[2:] if name.startswith("--") else "-s " + name[1:]) for name in option.names]
    kind, choices = _value_kind(option), _choices_of(option)
    if choices:
        parts.append("%s -a '%s'" % ("-x" if option.takes_word else "-f", " ".join(choices)))
    elif option.takes_word:
        parts.append({"function": "-x -a '(__gearman_std_functions)'", "file": "-r -F",
                      "folder": "-x -a '(__fish_complete_directories)'",
                      "host": "-x -a '(__fish_print_hostnames)'", "other": "-x"}[kind])
    return " ".join(parts)


def _fish_quoted(text: str) -> str:
    return "'%s'" % text.replace("\\", "\\\\").replace("'", "\\'")


# --- What they share.


def _words_of(name: str, commands: "Commands") -> "Sequence[str]":
    """The words that can be given after a command."""
    return {"help": tuple(commands), "completion": _SHELLS}.get(name, ())

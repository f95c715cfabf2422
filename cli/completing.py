"""Shell completion: variants, targets, recipes, pages of the docs; and the script for bash."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

# Characters besides spaces at which bash ends a word. It replaces only the text after the last one.
_BREAKS = ":="


def variants(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the values of ``--to``."""
    from ..core.variant import SCHEMES

    return [
        CompletionItem(f"{format_}:{scheme.name}", help=scheme.summary)
        for format_, schemes in SCHEMES.items()
        if format_ != "savedmodel"
        for scheme in schemes.values()
        if f"{format_}:{scheme.name}".startswith(incomplete)
    ]


def targets(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the values of ``--on``: the runtimes, and the installed further versions."""
    from ..workflows.devices import target_names

    return _begin(target_names(), incomplete)


def recipes(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the TOML files and folders that complete a path."""
    return _paths(incomplete, (".toml",))


def models(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the model files and folders that complete a path."""
    return _paths(incomplete, (".tflite", ".onnx"))


def packed_recipes(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the recipes that ``edgeproof init --from`` knows."""
    from ..workflows.shipped import recipe_names

    return _begin(recipe_names(), incomplete)


def pages(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the pages that ``edgeproof docs`` shows."""
    from ..workflows.shipped import page_names

    return _begin(page_names(), incomplete)


def _begin(values: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(value) for value in values if value.startswith(incomplete)]


def _paths(incomplete: str, suffixes: tuple[str, ...]) -> list[CompletionItem]:
    """Return folders, with a slash after them, and files with one of `suffixes`; hidden ones only after a dot."""
    head, slash, tail = incomplete.rpartition("/")
    paths = []
    try:
        for path in sorted(Path(head + slash or ".").expanduser().iterdir()):
            if path.name.startswith(tail) and (tail or not path.name.startswith(".")):
                if path.is_dir():
                    paths.append(f"{head}{slash}{path.name}/")
                elif path.suffix in suffixes:
                    paths.append(f"{head}{slash}{path.name}")
    except OSError:  # no such folder, or not readable: nothing to offer
        return []
    return [CompletionItem(one) for one in paths]


class Bash(BashComplete):
    """Completion for bash that supports words with a colon or an equals sign, such as ``tflite:int8``.

    Bash ends a word at these. So the script passes the whole line, and gets only the text after the last of them.
    """

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' kind value line="${COMP_LINE:0:COMP_POINT}"
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            *) COMPREPLY+=("$value"); [[ $value == *[/:=] ]] && compopt -o nospace ;;
        esac
    done < <(COMP_LINE="$line" COMP_BREAKS="$COMP_WORDBREAKS" %(complete_var)s=bash_complete "$1")
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the incomplete one, and the incomplete one."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        unfinished = "" if line[-1:].isspace() or not words else words.pop()
        return words[1:], unfinished

    def complete(self) -> str:
        """Return a line for each value: its kind, a comma, and the text that replaces bash's word."""
        arguments, incomplete = self.get_completion_args()
        breaks = [mark for mark in _BREAKS if mark in os.environ.get("COMP_BREAKS", _BREAKS)]
        skipped = max((incomplete.rfind(mark) + 1 for mark in breaks), default=0)
        lines = []
        for item in self.get_completions(arguments, incomplete):
            value = item.value[skipped:] if item.type == "plain" else item.value
            lines.append(f"{item.type},{value}")
        return "\n".join(lines)


def register() -> None:
    """Register `Bash` as click's completion for bash."""
    add_completion_class(Bash)


def script(shell: str) -> str:
    """Return the completion script for a shell."""
    from .main import edgeproof

    register()
    kind: type[ShellComplete] | None = get_completion_class(shell)
    if kind is None:
        raise ValueError(f"no completion for {shell}")
    return kind(edgeproof, {}, "edgeproof", "_EDGEPROOF_COMPLETE").source()

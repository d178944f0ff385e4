"""What click's completion does not do by itself for a shell.

In bash `:` and `=` end words: names of images have the one, `--option=value` has the other. click reads bash's words;
here the line is read instead, and bash is given back what it takes for the last word. In fish summaries have commas.
"""

from __future__ import annotations

import os
from typing import ClassVar

from click.shell_completion import BashComplete, CompletionItem, FishComplete, split_arg_string

_SOURCE = """\
%(complete_func)s() {
    local IFS=$'\\n' line=${COMP_LINE:0:$COMP_POINT} answer
    answer=$(env COMP_WORDS="$line" COMP_LINE="$line" COMP_BREAKS="$COMP_WORDBREAKS" COMP_CWORD=0 \\
        %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    for line in $answer; do
        case $line in
            dir,*) compopt -o dirnames ;;
            file,*) compopt -o default ;;
            plain,*) COMPREPLY+=("${line#plain,}") ;;
        esac
    done
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_BREAKS = ":="


class Bash(BashComplete):
    """Completion of the line up to the cursor."""

    source_template: ClassVar[str] = _SOURCE

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE")
        if line is None:
            return super().get_completion_args()
        words = split_arg_string(line)
        incomplete = "" if line[-1:].isspace() or len(words) < 2 else words.pop()
        self._said = _before_last_break(incomplete)
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        said = getattr(self, "_said", "")
        value = item.value
        # Of --option=value the value alone comes, without what is before it.
        return f"{item.type},{value[len(said):] if said and value.startswith(said) else value}"


class Fish(FishComplete):
    """Completion with whole summaries."""

    source_template: ClassVar[str] = FishComplete.source_template.replace(
        'string split ","', 'string split --max 1 ","')


def _before_last_break(word: str) -> str:
    at = max([word.rfind(char) for char in _BREAKS if char in os.environ.get("COMP_BREAKS", _BREAKS)], default=-1)
    return word[:at + 1]

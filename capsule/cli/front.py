"""The full reader of the grammar, on click: help, wrong usage, shell completion, man pages.

Not on the hot path: it runs in an ordinary Python. What it reads completely it performs like the scanner would.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import click
from click.shell_completion import add_completion_class, get_completion_class

from capsule.cli import completing, grammar, helptext, nouns, output
from capsule.cli.main import perform
from capsule.cli.scanner import Invocation
from capsule.cli.shells import Bash, Fish
from capsule.cli.spelling import elsewhere, nearest, to_click
from capsule.errors import CapsuleError

COMPLETION_VARIABLE = "_CAPSULE_COMPLETE"
add_completion_class(Bash)
add_completion_class(Fish)
_WRITE_FAILED = 1
_WRONG_USAGE = 1
_UNKNOWN_COMMAND = 3  # runc's
_KEYWORDS = {"help_option_names": ["--help", "-h"]}


class Number(click.ParamType):
    """A number as the scanner reads it."""

    name = "number"

    def convert(self, value, param, ctx):
        if isinstance(value, int):
            return value
        number = grammar.read_number(value)
        if number is None:
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class UnknownCommand(click.UsageError):
    """A word where a command stands that is none; `known` are those that could have been meant."""

    def __init__(self, name: str, ctx: click.Context, known: Iterable[str]) -> None:
        found = elsewhere(name) or nearest(name, known)
        super().__init__(f"No help topic for '{name}'" + (f" (did you mean {found}?)" if found else ""), ctx)


class Verb(click.Command):
    """A command of the grammar: what click parses becomes an Invocation."""

    def __init__(self, command: tuple, *, hidden: bool = False) -> None:
        self.grammar = command
        params: list[click.Parameter] = [_option(option) for option in command[6]]
        params.append(click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED, shell_complete=self._complete))
        super().__init__(
            command[0].rpartition(" ")[2], params=params, callback=_build_invocation, help=command[5], hidden=hidden,
            context_settings={"allow_interspersed_args": command[3], **_KEYWORDS},
        )

    def parse_args(self, ctx, args):
        try:
            words = to_click(ctx, list(args), self.grammar[6], mixed=self.grammar[3])
        except click.UsageError:
            if not ctx.resilient_parsing:
                raise
            words = list(args)  # a line that somebody is still writing
        return super().parse_args(ctx, words)

    def _complete(self, ctx, _param, incomplete):
        return completing.arguments(self.grammar, ctx.find_root().params, ctx.params.get("arguments") or (), incomplete)

    def get_help(self, ctx):
        return helptext.command_help(ctx.find_root().info_name or "capsule", self.grammar).rstrip("\n")


class WrongCount(click.UsageError):
    """Too few or too many arguments."""

    def __init__(self, ctx: click.Context, name: str, given: int, least: int, most: int) -> None:
        if given >= least and most < 0:
            super().__init__(f'capsule: "{name}" requires no names beside --all', ctx)
            return
        if least == most:
            demand = f"exactly {least}"
        elif given < least:
            demand = f"a minimum of {least}"
        else:
            demand = f"a maximum of {most}"
        super().__init__(f'capsule: "{name}" requires {demand} argument(s)', ctx)


class Noun(click.Group):
    """A noun with commands of its own."""

    def __init__(self, name: str) -> None:
        self.table = nouns.table(name)
        super().__init__(name, callback=_show_help, invoke_without_command=True, help=self.table.SUMMARY,
                         context_settings=_KEYWORDS)
        for command in self.table.COMMANDS:
            self.add_command(Verb(command))

    def get_command(self, ctx, cmd_name):
        return super().get_command(ctx, self.table.ALIASES.get(cmd_name, cmd_name))

    def list_commands(self, ctx):
        return sorted([*self.commands, *self.table.ALIASES])

    def resolve_command(self, ctx, args):
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            raise UnknownCommand(f"{self.name} {args[0]}", ctx,
                                 [f"{self.name} {name}" for name in nouns.names(self.name or "")])
        return super().resolve_command(ctx, args)

    def get_help(self, ctx):
        return helptext.noun_help(ctx.find_root().info_name or "capsule", self.name or "", self.table).rstrip("\n")


class Program(click.Group):
    """The program: global options, then a command."""

    def __init__(self) -> None:
        super().__init__(
            "capsule", params=[_option(option) for option in grammar.GLOBAL_OPTIONS], callback=_show_help,
            invoke_without_command=True, context_settings={"allow_interspersed_args": False, **_KEYWORDS},
        )
        for command in grammar.COMMANDS:
            self.add_command(Verb(command, hidden=False))
        for command in grammar.HIDDEN_COMMANDS:
            self.add_command(Verb(command, hidden=True))
        for part in nouns.ENGINE:
            table = nouns.table(part)
            for command in table.COMMANDS:
                self.add_command(Verb(command))
            for command in getattr(table, "HIDDEN", ()):
                self.add_command(Verb(command, hidden=True))
        for name in nouns.NOUNS:
            self.add_command(Noun(name))
        for extra in (show_help, completion, man):
            self.add_command(extra)

    def parse_args(self, ctx, args):
        try:
            words = to_click(ctx, list(args), grammar.GLOBAL_OPTIONS, mixed=False)
        except click.UsageError:
            if not ctx.resilient_parsing:
                raise
            words = list(args)
        return super().parse_args(ctx, words)

    def get_command(self, ctx, cmd_name):
        found = super().get_command(ctx, "help" if cmd_name == "h" else cmd_name)
        command = nouns.find(cmd_name) if found is None else None
        return found if command is None else super().get_command(ctx, command[0])

    def list_commands(self, ctx):
        return sorted([*self.commands, *[alias for part in nouns.ENGINE for alias in nouns.table(part).ALIASES]])

    def resolve_command(self, ctx, args):
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            raise UnknownCommand(args[0], ctx, self.commands)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx):
        if ctx.params["version"]:
            return Invocation("version", _values(ctx.params), {}, [])
        return super().invoke(ctx)

    def get_help(self, ctx):
        extra = [(command.name or "", command.help or "") for command in (show_help, completion, man)]
        return helptext.program_help(ctx.info_name or "capsule", extra).rstrip("\n")


@click.command("help", help="show help of a command", add_help_option=False)
@click.argument("words", nargs=-1, shell_complete=completing.pages)
@click.pass_context
def show_help(ctx: click.Context, words: tuple[str, ...]) -> int:
    """Print the help of the program, of a noun or of a command."""
    at = ctx.find_root()
    for word in words:
        group = at.command
        found = group.get_command(at, word) if isinstance(group, click.Group) else None
        if found is None:
            raise UnknownCommand(" ".join(words), at, [*group.commands] if isinstance(group, click.Group) else [])
        at = click.Context(found, info_name=word, parent=at)
    click.echo(at.get_help())
    return 0


@click.command(help="print the shell's completion script", context_settings=_KEYWORDS)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print a script for the shell to source."""
    root = ctx.find_root()
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}", ctx)
    click.echo(found(root.command, {}, root.info_name or "capsule", COMPLETION_VARIABLE).source())
    return 0


@click.command(help="print a man page as roff", context_settings=_KEYWORDS)
@click.argument("words", nargs=-1, shell_complete=completing.pages)
@click.pass_context
def man(ctx: click.Context, words: tuple[str, ...]) -> int:
    """Print the man page of the program, of a noun or of a command."""
    root = ctx.find_root()
    program = root.info_name or "capsule"
    name = " ".join(words)
    if name in nouns.NOUNS:
        page = helptext.noun_man_page(program, name, nouns.table(name))
    else:
        command = grammar.find_command(name) if name else None
        if name and command is None:
            raise UnknownCommand(name, root, [*nouns.NOUNS, *[each[0] for each in helptext.every_command()]])
        page = helptext.man_page(program, command)
    click.echo(page, nl=False)
    return 0


def parse(program: str, words: list[str]) -> Invocation | int:
    """Read a command line; an exit status where it only asked for text, which is printed.

    Raises click.UsageError.
    """
    return Program().main(list(words), prog_name=program, complete_var=COMPLETION_VARIABLE, standalone_mode=False)


def main(argv: list[str]) -> int:
    """Run a command line, program name included; return the exit status."""
    program = os.path.basename(argv[0])
    if program in ("", "-c"):
        # The launcher's own words for "no program name": it starts us through `python -c`.
        program = "capsule"
    try:
        invocation = parse(program, argv[1:])
    except click.UsageError as err:
        return _refuse(err)
    except OSError as err:
        _forget_output()
        output.open_log("", "", False)
        output.report(CapsuleError("write", "standard output", errno=err.errno or 0))
        return _WRITE_FAILED
    if isinstance(invocation, int):
        return invocation
    return perform(invocation)


def _forget_output() -> None:
    """Drop what standard output did not take, or Python would try again at its end and complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, output.STDOUT)
    os.close(null)


def _refuse(err: click.UsageError) -> int:
    """Explain a usage error: help on standard output, the reason as an error record."""
    message = err.format_message()
    unknown = isinstance(err, UnknownCommand)
    if not unknown:
        _explain(err, "." if isinstance(err, WrongCount) else f": {message}")
    values = {} if err.ctx is None else err.ctx.find_root().params
    try:
        output.open_log(values.get("log") or "", values.get("log_format") or "", values.get("debug") or False)
    except CapsuleError as log_err:
        output.report(log_err)
    output.report(CapsuleError(message))
    return _UNKNOWN_COMMAND if unknown else _WRONG_USAGE


def _explain(err: click.UsageError, reason: str) -> None:
    """Print the help; that nobody reads it must not hide the reason."""
    try:
        click.echo(f"Incorrect Usage{reason}\n")
        if err.ctx is not None:
            click.echo(err.ctx.get_help())
    except OSError:
        _forget_output()


@click.pass_context
def _build_invocation(ctx: click.Context, arguments: tuple, **options) -> Invocation:
    """Check the number of arguments and build the Invocation."""
    assert isinstance(ctx.command, Verb)
    name, _module, (least, most), _mixed, _arguments, _summary, _options = ctx.command.grammar
    if not grammar.is_enough(len(arguments), least, options) or 0 <= most < len(arguments):
        raise WrongCount(ctx, name, len(arguments), least, most)
    return Invocation(name, _values(ctx.find_root().params), _values(options), list(arguments))


@click.pass_context
def _show_help(ctx: click.Context, **_options) -> None:
    """Show the help of the program or of a noun where no command is named."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(0)


def _option(option: tuple) -> click.Option:
    """Return the click option of an option tuple."""
    key, names, kind, metavar, text = option
    declarations = [("--" if len(name) > 1 else "-") + name for name in names] + [key]
    if kind == grammar.FLAG:
        return click.Option(declarations, is_flag=True, default=False, help=text)
    several = kind in (grammar.TEXTS, grammar.NUMBERS)
    numeric = kind in (grammar.NUMBER, grammar.NUMBERS)
    default = None if several else (0 if numeric else "")
    return click.Option(
        declarations, type=Number() if numeric else click.UNPROCESSED, multiple=several, default=default,
        metavar=metavar, help=text,
    )


def _values(params: dict) -> dict:
    """Return click's values in the scanner's types."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in params.items()}

"""The command line's reference, made from its parsers where a page says ``<!-- commands -->`` in a line of its own."""

import argparse
import re
from collections.abc import Iterator
from typing import Any

from records import table

ASKED_FOR = re.compile(r"^<!-- commands -->$", re.MULTILINE)

OPTION = re.compile(r"(?<!\S)--[a-z-]+(?: \d+)?")
"""An option in a help text; Sphinx would turn its hyphens into a dash."""


def page(parser: argparse.ArgumentParser, words: str = "", level: int = 1) -> str:
    """Return a command and the commands below it as Markdown: a section each, with its usage and its options.

    Parameters
    ----------
    parser : ArgumentParser
        Parser of the command.
    words : str
        Help that the command above it gives for it.
    level : int
        Level of its heading. A command of level 1 is the page itself and has none.

    Examples
    --------
    >>> parser = argparse.ArgumentParser("draw", add_help=False)
    >>> _ = parser.add_argument("--size", type=int, metavar="PX", help="width in pixels")
    >>> print(page(parser, "draw a matrix", level=2))
    ## `draw`
    <BLANKLINE>
    Draw a matrix.
    <BLANKLINE>
    ```text
    draw [--size PX]
    ```
    <BLANKLINE>
    |  | meaning |
    | --- | --- |
    | `--size PX` | width in pixels |
    """
    parts = [f"{'#' * level} `{parser.prog}`"] if level > 1 else []
    parts += [f"{words[:1].upper()}{words[1:]}."] if words else []
    parts += [OPTION.sub(r"`\g<0>`", parser.description)] if parser.description else []
    parts += [f"```text\n{usage(parser)}\n```"]
    rows = [{"": f"`{name}`", "meaning": OPTION.sub(r"`\g<0>`", meaning)} for name, meaning in options(parser)]
    parts += [table(rows)] if rows else []
    parts += [page(command, meaning, level + 1) for command, meaning in commands(parser)]
    return "\n\n".join(parts)


def usage(parser: argparse.ArgumentParser) -> str:
    """Return how a command is called, in lines of at most 88 characters."""
    formatter = parser.formatter_class(prog=parser.prog, width=88)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    return formatter.format_help().strip()


def options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Yield the arguments and options of a command as they are spelled, with their help; without ``--help``."""
    formatter = parser._get_formatter()
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        yield spelled(formatter, action), formatter._expand_help(action)


def spelled(formatter: argparse.HelpFormatter, action: argparse.Action) -> str:
    """Return an argument or option as it is written, with a space between choices, so that lines can break there."""
    if not action.option_strings:
        value = formatter._format_args(action, formatter._get_default_metavar_for_positional(action))
    elif action.nargs == 0:
        value = ""
    else:
        value = formatter._format_args(action, formatter._get_default_metavar_for_optional(action))
    if action.choices:
        value = value.replace(",", ", ")
    return " ".join([*action.option_strings, value]).strip()


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """Yield the parsers of the commands below a command, each with its help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield action.choices[choice.dest], choice.help or ""


def fill_in(_app: Any, _docname: str, source: list[str]) -> None:
    """Put the reference where a page asks for it."""
    if ASKED_FOR.search(source[0]):
        from gpu.cli.main import build_parser

        source[0] = ASKED_FOR.sub(lambda _: page(build_parser()), source[0])


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True}

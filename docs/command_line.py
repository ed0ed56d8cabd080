"""Writes the page of the command line from the command itself.

``python docs/command_line.py > docs/reference/command-line.md``; a test compares the two.
"""

from __future__ import annotations

import inspect
import pathlib
import sys
import textwrap
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin

from a2e_async.cli.app import app
from a2e_async.cli.overview import ENVIRONMENT, EXIT_CODES, OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import cyclopts
    from cyclopts import Argument, Group

__all__ = ["page"]

INTRODUCTION = """\
# Command line

% Written by docs/command_line.py: change the docstrings of the commands instead.

The command `a2e` needs the extra `cli`, and the extra `demo` for rendering videos: `pip install ".[demo]"`. Without
them it says what is missing. `python -m a2e_async` is the same command.

What was asked for is on the standard output; errors, in one line with a hint, and all else are on the standard error
stream. On a terminal, records of tasks are columns. Into a pipe or a file they are lines with tabs between the columns,
which stay as they are: `id`, `status`, `coins`, creation (UTC), `name`; `get` and `find` add the link to the result and
the reason of a failure, `wait` adds the path of the video. With `--json` they are JSON objects, one a line, with all
fields of `ImageToVideoRecord` ([models](models.md)); `wait` adds `error` and `path`.

```console
$ id=$(a2e image-to-video start ada.png --prompt "she smiles at the camera")
$ a2e image-to-video wait "$id" --download-to videos
$ a2e image-to-video list | awk -F'\\t' '$2 == "failed" {print $1}'
$ a2e image-to-video list --json | jq -r 'select(.coins > 30) | .name'
```

After `a2e completion --install`, the shell completes commands and options.
"""

SHARED = "Shared options"


def page() -> str:
    """Return the page."""
    commands = list(_commands(app, "a2e"))
    shared = next(arguments for _, command in commands if (arguments := _shared(command)))
    parts = [
        INTRODUCTION,
        "## Exit codes\n",
        _table(("code", "meaning"), EXIT_CODES.items()),
        "## Environment\n",
        _table(("variable", "meaning"), ENVIRONMENT.items()),
        f"## {SHARED}\n",
        "Every command has these:\n",
        _table(("option", "meaning"), OPTIONS.items()),
        "Every command that talks to A2E has these as well:\n",
        _table(("option", "default", "meaning"), map(_row, shared)),
        *(_section(words, command) for words, command in commands),
    ]
    return "\n".join(parts)


def _commands(parent: cyclopts.App, words: str) -> Iterator[tuple[str, cyclopts.App]]:
    """Go through the tree, in the order in which the commands were added."""
    for name in parent:
        if not name.startswith("-"):
            command = parent[name]
            if command.default_command is None:
                yield from _commands(command, f"{words} {name}")
            else:
                yield f"{words} {name}", command


def _section(words: str, command: cyclopts.App) -> str:
    text = inspect.getdoc(command.default_command) or ""
    own = [argument for argument in _arguments(command) if SHARED not in _groups(argument)]
    parts = [f"## `{words}`\n", f"```\n{_usage(words, own)}\n```\n", _markdown(text.partition("\nArgs:")[0])]
    if own:
        parts.append(_table(("argument", "default", "meaning"), map(_row, own)))
    if _shared(command):
        parts.append("And the [shared options](#shared-options).\n")
    return "\n".join(parts)


def _markdown(text: str) -> str:
    """Turn an indented block into one of a console, and the quotes of Sphinx into those of Markdown."""
    blocks = []
    for block in text.replace("``", "`").strip().split("\n\n"):
        if block.startswith("    "):
            lines = (f"$ {line}" for line in textwrap.dedent(block).splitlines())
            blocks.append("\n".join(["```console", *lines, "```"]))
        elif block != "Try:":
            blocks.append(block)
    return "\n\n".join(blocks) + "\n"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *([_code(name), *map(_cell, cells)] for name, *cells in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").split()).replace("|", r"\|")


def _code(names: str) -> str:
    return ", ".join(f"`{_cell(name)}`" for name in names.split(", "))


def _arguments(command: cyclopts.App) -> list[Argument]:
    """Return what a command takes, without the parameters that only hold others."""
    usual = app.default_parameter
    found = command.assemble_argument_collection(default_parameter=usual, parse_docstring=True)
    return [argument for argument in found if argument.show]


def _groups(argument: Argument) -> list[str]:
    return [group.name for group in cast("Iterable[Group]", argument.parameter.group)]


def _shared(command: cyclopts.App) -> list[Argument]:
    return [argument for argument in _arguments(command) if SHARED in _groups(argument)]


def _usage(words: str, arguments: Sequence[Argument]) -> str:
    needed = [
        f"{argument.names[0]} {_value(argument)}"
        for argument in arguments
        if _is_option(argument) and argument.required
    ]
    return " ".join(
        [words, *needed, "[OPTIONS]", *(_label(argument) for argument in arguments if not _is_option(argument))]
    )


def _row(argument: Argument) -> tuple[str, str, str]:
    names = _names(argument) if _is_option(argument) else _label(argument)
    return names, _default(argument), argument.parameter.help or ""


def _is_option(argument: Argument) -> bool:
    return argument.index is None and argument.field_info.kind is not inspect.Parameter.VAR_POSITIONAL


def _label(argument: Argument) -> str:
    """Return how an argument without a name is shown."""
    dots = "..." if argument.field_info.kind is inspect.Parameter.VAR_POSITIONAL else ""
    label = argument.names[0].lstrip("-").upper() + dots
    return label if argument.required else f"[{label}]"


def _names(argument: Argument) -> str:
    """Return all names of an option, what follows it, and how to switch it off."""
    names = [name for name in argument.names if name not in argument.negatives]
    names[-1] = f"{names[-1]} {_value(argument)}".rstrip()
    return ", ".join([*names, *argument.negatives])


def _value(argument: Argument) -> str:
    """Return what follows an option: its choices, or a word for what it is; empty if nothing does."""
    kinds = list(_kinds(argument.hint))
    if bool in kinds or argument.parameter.count:
        return ""
    words = {str: "TEXT", pathlib.Path: "PATH", int: "NUMBER", float: "NUMBER"}
    return "|".join(dict.fromkeys(words.get(kind) or str(kind) for kind in kinds))


def _kinds(hint: Any) -> Iterator[Any]:  # noqa: ANN401  whatever an annotation can be
    """Go through the types of an annotation, and the values of its literals."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    elif get_args(hint):
        for part in get_args(hint):
            yield from _kinds(part)
    elif hint not in {type(None), Ellipsis}:
        yield hint


def _default(argument: Argument) -> str:
    default = argument.field_info.default
    if argument.required:
        return "required"
    if default in {argument.field_info.empty, None} or isinstance(default, bool | tuple):
        return ""
    if argument.parameter.show_default is False:
        return ""
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


if __name__ == "__main__":
    sys.stdout.write(page())

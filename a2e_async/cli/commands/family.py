"""``a2e family``: all families of tasks, the fields of one, and the commands for its tasks."""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import attrs
import cyclopts
from cyclopts import Parameter

from a2e_async import A2EClient, TaskHandle
from a2e_async.cli import tasks
from a2e_async.cli.families import FamilyTasks, all_families, chosen_family, type_text
from a2e_async.cli.messages import EPILOGUE
from a2e_async.cli.options import (
    DEFAULT_COMMON,
    DEFAULT_CONNECTION,
    FLAG,
    CommonArguments,
    Connection,
    Duration,
    Ids,
    Out,
)
from a2e_async.cli.output import print_json, print_rows
from a2e_async.cli.tasks import NewTask, input_name

_KEY = "The family: A2E's name or the title, such as userText2Image or text-to-image."
Key = Annotated[str, Parameter(name="KEY", help=_KEY)]
Fields = Annotated[str, Parameter(name="FIELD=VALUE")]


def family_task(
    family: FamilyTasks, words: Sequence[str], fields: Mapping[str, Any], options: Mapping[str, Any]
) -> NewTask:
    """Return the start that fields of a family describe."""
    body = family.parse(words, fields)
    links = (value for name, value in body.items() if family.schema.fields[name].type in {"link", "links"})
    source = next((value[0] if isinstance(value, list) else value for value in links if value), family.slug)

    async def start(a2e: A2EClient) -> Sequence[TaskHandle[Any]]:
        return await family.start(a2e, body, **options)

    return NewTask(name=input_name(source), start=start, count=family.count(body))


async def list_command(
    key: Annotated[str | None, Parameter(name="KEY", help=f"{_KEY} Default: list the families.")] = None,
    /,
    *,
    limit: Annotated[int | None, Parameter(name=["--limit", "-n"])] = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """List all families, or the tasks of one that have not expired, the newest first. Free.

    Try:

        a2e family list
        a2e family list userText2Image --limit 20

    The list of families needs no token. A new task can be missing from its list for a while.

    Args:
        key: See above.
        limit: Number of tasks to list at most. Default: all.
        connection: The shared options.
    """
    if key is not None:
        return await tasks.list_tasks(chosen_family(key), limit, connection)
    rows = [
        {"key": family.key, "title": family.family.title, "required fields": " ".join(family.required)}
        for family in all_families()
    ]
    print_rows(rows, as_json=connection.json)
    return 0


def fields(key: Key, /, *, json: Annotated[bool, FLAG] = False) -> None:
    """Show the fields of a family's starts: what they take, and which are required. Free, without a token.

    Try:

        a2e family fields text-to-image
        a2e family fields klingVideo --json

    Args:
        key: See above.
        json: Print one JSON object per line, for programs.
    """
    family = chosen_family(key)
    required = family.required
    defaults = {name: field.default for name, field in family.schema.fields.items() if field.default is not None}
    defaults |= family.defaults
    if json:
        for name, field in family.schema.fields.items():
            details = attrs.asdict(field, filter=lambda _, value: value not in ((), None, "", {}))
            print_json({"field": name} | details | {"required": name in required, "default": defaults.get(name)})
        return
    rows = [
        {
            "field": name,
            "": "required" if name in required else "",
            "value": type_text(field),
            "default": _default_text(defaults.get(name)),
        }
        for name, field in family.schema.fields.items()
    ]
    if not defaults and sys.stdout.isatty():
        rows = [{name: text for name, text in row.items() if name != "default"} for row in rows]
    print_rows(rows, as_json=False)


def _default_text(default: object) -> str:
    return "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def start(
    key: Key,
    /,
    *fields: Fields,
    wait: Annotated[bool, FLAG] = False,
    timeout: Duration = 1800.0,
    options: CommonArguments = DEFAULT_COMMON,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Start a task of any family and print its id at once. This costs coins.

    Try:

        a2e family start text-to-image prompt="a cat in the snow"
        a2e family start userUpscale source_url=@ada.png --idempotency-key order-17

    `a2e run` takes the same words, and waits for the task and downloads its result.

    Args:
        key: See above.
        fields: A field of the family, with @FILE for a local file. See `a2e family fields KEY`.
        wait: Wait until the task has ended, and print it as `wait` does.
        timeout: With --wait, time to wait at most: seconds, or such as 30m or 1h30m.
        options: The options of every start.
        connection: The shared options.
    """
    family = chosen_family(key)
    common = {name: value for name, value in attrs.asdict(options).items() if value is not None}
    task = family_task(family, fields, {}, common)
    return tasks.start(family, task, connection, timeout=timeout if wait else None)


def wait(
    key: Key,
    /,
    *ids: Ids,
    timeout: Duration = 1800.0,
    download_to: pathlib.Path | None = None,
    out: Annotated[pathlib.Path | None, Out] = None,
    overwrite: Annotated[bool, FLAG] = False,
    open: Annotated[bool, FLAG] = False,  # noqa: A002  the name of the option
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Wait until tasks of any family have ended. Free.

    Try:

        a2e family wait userText2Image 67d29023dd27a536fdf6e809 --out cat.png

    The exit code is 1 if a task failed or did not finish in time. An unfinished task continues at A2E.

    Args:
        key: See above.
        ids: The id of a task.
        timeout: Time to wait at most: seconds, or such as 30m or 1h30m.
        download_to: A folder for the results, which are named after the ids.
        out: The file for the result, if there is one task.
        overwrite: Replace existing files.
        open: Open the results with the system's viewer.
        connection: The shared options.
    """
    return tasks.wait(
        chosen_family(key), ids, connection,
        timeout=timeout, download_to=download_to, out=out, overwrite=overwrite, open=open,
    )  # fmt: skip


async def get(key: Key, /, *ids: Ids, connection: Connection = DEFAULT_CONNECTION) -> int:
    """Show tasks of any family, with the links to their results. Free.

    Try:

        a2e family get userDubbing 67d29023dd27a536fdf6e809

    Keep the links confidential: they need no token. The exit code is 1 if A2E does not show one of the tasks.

    Args:
        key: See above.
        ids: The id of a task.
        connection: The shared options.
    """
    return await tasks.get(chosen_family(key), ids, connection)


async def find(
    key: Key,
    marker: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Find a task of any family by its marker or its idempotency key. Free.

    Try:

        a2e family find userDubbing 7f3k2m9q4d

    Use this after a start with an unknown outcome. The exit code is 1 if A2E does not show such a task (yet).

    Args:
        key: See above.
        marker: A marker such as 7f3k2m9q4d, a name that ends with one, or an idempotency key.
        connection: The shared options.
    """
    return await tasks.find(chosen_family(key), marker, connection)


async def download(
    key: Key,
    id: Ids,
    /,
    *,
    out: Annotated[pathlib.Path | None, Out] = None,
    overwrite: Annotated[bool, FLAG] = False,
    open: Annotated[bool, FLAG] = False,  # noqa: A002  the name of the option
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Download the result of a finished task of any family, and print its path. Free.

    Try:

        a2e family download userDubbing 67d29023dd27a536fdf6e809 --out talk.mp4

    A2E keeps results for about 3 days.

    Args:
        key: See above.
        id: The id of the task.
        out: The file to write; - is standard output. Default: the id with the ending of the result.
        overwrite: Replace an existing file.
        open: Open the result with the system's viewer.
        connection: The shared options.
    """
    await tasks.download(chosen_family(key), id, connection, out=out, overwrite=overwrite, open=open)


async def delete(
    key: Key, /, *ids: Ids, yes: Annotated[bool, FLAG] = False, connection: Connection = DEFAULT_CONNECTION
) -> int:
    """Delete tasks of any family and their results at A2E, and print their ids.

    Try:

        a2e family delete userDubbing 67d29023dd27a536fdf6e809

    Args:
        key: See above.
        ids: The id of a task.
        yes: Skip the confirmation. Required without a terminal.
        connection: The shared options.
    """
    return await tasks.delete(chosen_family(key), ids, connection, yes=yes)


app = cyclopts.App(
    name="family",
    help="Use any of A2E's 40 kinds of tasks: images, talking photos, other video models.",
    help_epilogue=EPILOGUE,
    group_parameters="Options",
)
# Where cyclopts makes a wrong line: it calls what has a name of its own "ARGS".
app.command(list_command, name="list", usage="Usage: a2e family list [OPTIONS] [KEY]")
app.command(fields)
app.command(start, usage="Usage: a2e family start [OPTIONS] KEY [FIELD=VALUE...]")
for command in (wait, get, find, download, delete):
    app.command(command)

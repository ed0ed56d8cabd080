"""``a2e batch``: very many videos from a table, from JSON Lines or from a folder, with a journal."""

from __future__ import annotations

import asyncio
import contextlib
import json as json_lines
import pathlib
import sys
from collections.abc import Iterator
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter

from a2e_async.cli.batch import report
from a2e_async.cli.batch.run import RunOptions, run_batch
from a2e_async.cli.batch.text import several
from a2e_async.cli.options import DEFAULT, Connection
from a2e_async.errors import ConfigurationError, InvalidRequestError, JournalError

__all__ = ["app"]

app = cyclopts.App(name="batch", help="Very many videos, with a journal: a crash or Ctrl-C costs nothing.")

_DEFAULTS = RunOptions()


@contextlib.contextmanager
def _usable() -> Iterator[None]:
    """A journal that cannot be used is wrong use, as a wrong option is."""
    try:
        yield
    except JournalError as error:
        raise ConfigurationError(error.message) from error


@app.command
def run(
    source: Annotated[str, Parameter(name="INPUT", allow_leading_hyphen=True)],
    /,
    *,
    options: RunOptions = _DEFAULTS,
    connection: Connection = DEFAULT,
) -> int:
    """Make a video of each row of a table, or of each image of a folder. Each costs coins.

    Start the same command again to go on after Ctrl-C, a crash or a shortage: nothing is started twice.
    All rows are checked before the first start; with --json, every outcome is printed as a JSON object.

    Try ``a2e batch run jobs.csv --journal jobs.sqlite --out videos``, or
    ``a2e batch run images --prompt "she smiles"``.

    Args:
        source: A table (.csv), JSON Lines (.jsonl), a folder of images, or - for JSON Lines on standard input. The
            columns are key, image, image_url, prompt, negative_prompt, name, model_type, model_version, end_image,
            end_image_url, video_time, extend_prompt, skip_face_enhance, lora. Relative paths are relative to the file.
        options: What the batch is like.
        connection: Where A2E is, and who reads the output.
    """
    with _usable():
        return run_batch(source, options, connection)


@app.command
def status(journal: pathlib.Path, /, *, json: bool = False) -> None:
    """Show how far a batch is, what it has cost, what went wrong, and what to do next. Also while it runs.

    Try ``a2e batch status jobs.sqlite``.

    Args:
        journal: The journal of the batch.
        json: Print one JSON object, for programs.
    """
    with _usable():
        asyncio.run(report.show_status(journal, as_json=json))


@app.command
def export(
    journal: pathlib.Path,
    /,
    *,
    format: report.Format | None = None,  # noqa: A002  what it is called everywhere
    out: Annotated[pathlib.Path | None, Parameter(name=["--out", "-o"])] = None,
) -> None:
    """Write all that a journal knows of its jobs as CSV or JSON Lines. Also while the batch runs.

    It holds prompts, and links that need no token: keep it to yourself.

    Try ``a2e batch export jobs.sqlite --out report.csv``, or ``a2e batch export jobs.sqlite --format jsonl | head``.

    Args:
        journal: The journal of the batch.
        format: By default the suffix of FILE tells it (.csv, .jsonl), and it is csv for standard output.
        out: The file to write; an existing one is replaced. By default the standard output.
    """
    with _usable():
        asyncio.run(report.export(journal, out, format))


@app.command
def prune(
    journal: pathlib.Path,
    /,
    *,
    state: list[Literal["succeeded", "failed"]] | None = None,
    older_than: str | None = None,
    yes: bool = False,
    json: bool = False,
) -> int:
    """Remove the rows of finished jobs from a journal. Videos are not touched.

    A job whose row is gone is a new job: the same input would start it again.

    Try ``a2e batch prune jobs.sqlite --older-than 30d``.

    Args:
        journal: The journal of the batch.
        state: Which rows; can be given twice. Default: succeeded.
        older_than: Only those that were finished so long ago: 45s, 90m, 12h, 30d, 2w.
        yes: Do not ask.
        json: Print one JSON object, for programs.
    """
    age = None if older_than is None else report.seconds_of(older_than)

    def agrees(rows: int) -> bool:
        return yes or _ask(
            f"Remove {several(rows, 'row')} from {journal}? The same input would buy these videos again."
        )

    with _usable():
        removed = asyncio.run(report.prune(journal, state or ["succeeded"], age, agrees))
    if json:
        print(json_lines.dumps({"removed": removed or 0}))
    else:
        print("Nothing was removed." if removed is None else f"{several(removed, 'row')} removed.")
    return int(removed is None)


def _ask(question: str) -> bool:
    if not sys.stdin.isatty():
        msg = "there is no terminal to ask at: say --yes"
        raise InvalidRequestError(msg)
    print(question, "[y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}

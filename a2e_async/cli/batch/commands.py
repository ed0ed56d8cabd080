"""``a2e batch``: many videos from a table, from JSON Lines or from a folder, with a journal."""

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
from a2e_async.cli.batch.text import plural
from a2e_async.cli.options import DEFAULT_CONNECTION, Connection
from a2e_async.errors import ConfigurationError, InvalidRequestError, JournalError

app = cyclopts.App(name="batch", help="Make many videos, with a journal: a crash or Ctrl-C costs nothing extra.")

_DEFAULTS = RunOptions()


@contextlib.contextmanager
def _journal_errors() -> Iterator[None]:
    """Turn an error of the journal into one of wrong usage: its path is an argument of the command."""
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
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Make a video of each row of a table, or of each image of a folder. Each costs coins.

    To resume after Ctrl-C, a crash or a shortage, run the same command again: nothing is started twice.
    All rows are validated before the first start. With --json, each result is printed as a JSON object.

    Try ``a2e batch run jobs.csv --journal jobs.sqlite --out videos``, or
    ``a2e batch run images --prompt "she smiles"``.

    Args:
        source: A table (.csv), JSON Lines (.jsonl), a folder of images, or - for JSON Lines on standard input. The
            columns are key, image, image_url, prompt, negative_prompt, name, model_type, model_version, end_image,
            end_image_url, video_time, extend_prompt, skip_face_enhance, lora. Relative paths are relative to the file.
        options: The options of the batch.
        connection: The shared options.
    """
    with _journal_errors():
        return run_batch(source, options, connection)


@app.command
def status(journal: pathlib.Path, /, *, json: bool = False) -> None:
    """Show the progress, the cost and the problems of a batch, and how to resume it. Also while it runs.

    Try ``a2e batch status jobs.sqlite``.

    Args:
        journal: The journal of the batch.
        json: Print one JSON object, for programs.
    """
    with _journal_errors():
        asyncio.run(report.print_status(journal, as_json=json))


@app.command
def export(
    journal: pathlib.Path,
    /,
    *,
    format: report.Format | None = None,  # noqa: A002  the usual name of this option
    out: Annotated[pathlib.Path | None, Parameter(name=["--out", "-o"])] = None,
) -> None:
    """Write all entries of a journal as CSV or JSON Lines. Also while the batch runs.

    The output has prompts, and links that need no token: keep it confidential.

    Try ``a2e batch export jobs.sqlite --out report.csv``, or ``a2e batch export jobs.sqlite --format jsonl | head``.

    Args:
        journal: The journal of the batch.
        format: The format. Default: by the suffix of FILE (.csv, .jsonl); csv for standard output.
        out: The file to write; an existing file is replaced. Default: standard output.
    """
    with _journal_errors():
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
    """Remove the entries of finished jobs from a journal. Video files are kept.

    A job without an entry is a new job: the same input would start it again.

    Try ``a2e batch prune jobs.sqlite --older-than 30d``.

    Args:
        journal: The journal of the batch.
        state: The state of the jobs; can be given twice. Default: succeeded.
        older_than: Only jobs that finished at least this long ago: 45s, 90m, 12h, 30d, 2w.
        yes: Skip the confirmation. Required without a terminal.
        json: Print one JSON object, for programs.
    """
    age = None if older_than is None else report.parse_duration(older_than)

    def confirm(number: int) -> bool:
        jobs = plural(number, "job")
        return yes or _confirm(f"Remove {jobs} from {journal}? The same input would start these jobs again.")

    with _journal_errors():
        removed = asyncio.run(report.prune(journal, state or ["succeeded"], age, confirm))
    if json:
        print(json_lines.dumps({"removed": removed or 0}))
    else:
        print("Nothing was removed." if removed is None else f"{plural(removed, 'job')} removed.")
    return int(removed is None)


def _confirm(question: str) -> bool:
    if not sys.stdin.isatty():
        msg = "no terminal to confirm at: add --yes"
        raise InvalidRequestError(msg)
    print(question, "[y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}

"""``a2e batch report``: read a journal, and write the gallery and the contact sheet."""

import asyncio
import contextlib
import pathlib
import re
import tempfile
from collections.abc import Iterable, Mapping
from typing import Annotated

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from a2e_async.batch import JournalEntry, JournalInfo, JournalReader
from a2e_async.cli.batch.gallery.frames import (
    EXTRA,
    MOST_IN_SHEET,
    ResultFile,
    check_sheet,
    has_packages,
    make_frames,
    write_sheet,
)
from a2e_async.cli.batch.gallery.page import Gallery, check_folder
from a2e_async.cli.display import make_console
from a2e_async.cli.messages import plural
from a2e_async.cli.options import FLAG
from a2e_async.cli.tasks import open_in_viewer
from a2e_async.errors import InvalidRequestError

_FRAME_NAME = re.compile(r"[0-9a-f]{20}\.webp")


def report(
    journal: pathlib.Path,
    /,
    *,
    html: pathlib.Path | None = None,
    contact_sheet: pathlib.Path | None = None,
    overwrite: Annotated[bool, FLAG] = False,
    open: Annotated[bool, FLAG] = False,  # noqa: A002  as in the other commands
) -> None:
    """Write a gallery of a batch: first frames, prompts, prices, states and errors. Also while the batch runs.

    Try:

        a2e batch report jobs.sqlite --html report --open
        a2e batch report jobs.sqlite --contact-sheet sheet.jpg

    The page plays the results from where they are. It needs no server and no network. It has the prompts, so keep it as
    confidential as these; it has no link of A2E. Run the command again to update it.

    Args:
        journal: The journal of the batch.
        html: The folder for the page, index.html. It is made if it does not exist.
        contact_sheet: The image for the first frames of all results: .jpg, .png or .webp.
        overwrite: Replace an existing image, or an index.html that is not a gallery.
        open: Open the page, or else the image, with the system's viewer.
    """
    if html is None and contact_sheet is None:
        msg = "nothing to write: give a folder with --html, or an image with --contact-sheet"
        raise InvalidRequestError(msg)
    if contact_sheet is not None:
        check_sheet(contact_sheet, overwrite=overwrite)
    info, coins, entries = asyncio.run(_read(journal))
    if html is not None:
        check_folder(html, overwrite=overwrite)
    found = {entry.key: ResultFile.find(entry.path, info.path.parent) for entry in entries if entry.path is not None}
    results = {key: result for key, result in found.items() if result is not None}
    if contact_sheet is not None and len(results) > MOST_IN_SHEET:
        msg = f"{len(results)} results are too many for one image: --contact-sheet takes up to {MOST_IN_SHEET}"
        raise InvalidRequestError(msg)
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) if html is None else html / "frames"
        try:
            frames = _frames(results, folder)
            if html is not None:
                page = Gallery(info, coins, entries, results, frames).write(html)
                _remove_others(folder, frames.values())
                print(f"{page}: {plural(len(entries), 'job')}")
            if contact_sheet is not None:
                if not frames:
                    msg = f"{journal} has no results yet: no contact sheet was written"
                    raise InvalidRequestError(msg)
                write_sheet(contact_sheet, [(key, frames[key]) for key in results if key in frames])
                print(f"{contact_sheet}: {plural(len(frames), 'result')}")
        except OSError as error:
            msg = f"cannot write {error.filename or html or contact_sheet}: {error.strerror or error}"
            raise InvalidRequestError(msg) from error
    if open:
        opened = contact_sheet if html is None else page
        assert opened is not None, "one of both is given"  # noqa: S101  for mypy
        open_in_viewer(opened)


async def _read(journal: pathlib.Path) -> tuple[JournalInfo, float, list[JournalEntry]]:
    async with JournalReader.open(journal) as reader:
        return reader.info, await reader.coins(), [entry async for entry in reader.entries()]


def _frames(results: Mapping[str, ResultFile], folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Return the files of the frames by the keys of their jobs. On a terminal, show the progress."""
    console = make_console(stderr=True)
    if not has_packages():
        if results:
            console.print(f"The page takes first frames from the videos, which is slower. To extract them: {EXTRA}")
        return {}
    columns = (TextColumn("first frames"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        made = progress.track(make_frames(results, folder), total=len(results))
        return {key: path for key, path in made if path is not None}


def _remove_others(folder: pathlib.Path, used: Iterable[pathlib.Path]) -> None:
    """Remove the frames of results that are gone or have changed."""
    kept = {path.name for path in used}
    for path in folder.glob("*.webp"):
        if _FRAME_NAME.fullmatch(path.name) and path.name not in kept:
            path.unlink(missing_ok=True)

"""Download of a job's video: the last step, whose failure is not a failure of the job."""

# How it works:
#
# * The file has its name before the download begins, and the journal has it as well. So a run that is killed leaves no
#   file that the next one does not know.
# * The partial files of a killed run are removed by the next run with its journal.
# * A job that is done needs no download, unless its file is gone while A2E still has the result.

import asyncio
import os
import pathlib
import time
from typing import TypeVar

from a2e_async.batch import rules
from a2e_async.batch.context import BatchContext, JobContext
from a2e_async.batch.results import JobState, error_to_json
from a2e_async.errors import A2EError, InvalidRequestError, JournalError, TransferError
from a2e_async.files.local_files import has_content_of
from a2e_async.files.partial_file import PROBE, find_partial_files, remove
from a2e_async.models.common import TaskRecord

R = TypeVar("R", bound=TaskRecord)

_CHUNK = 1000  # names of an earlier run reserved in one pass of the event loop, so that very many do not block it


async def prepare_folder(batch: BatchContext[R], folder: pathlib.Path) -> None:
    """Reserve the names of the files of earlier runs, and remove the partial files that a killed run has left.

    Raises:
        JournalError: The journal cannot be read.
    """
    partial = {} if batch.journal.is_new else await asyncio.to_thread(find_partial_files, folder)
    left = partial.get(PROBE, [])
    for number, (key, target) in enumerate(await batch.journal.load_targets(), 1):
        name = pathlib.PurePath(target).name
        batch.names.reserve(name, key, batch.api.extension)
        left.extend(partial.get(name, ()))
        if number % _CHUNK == 0:
            await asyncio.sleep(0)
    for path in left:  # no other run has this journal, so that none is writing them
        await asyncio.to_thread(remove, path)


async def download(context: JobContext[R], folder: pathlib.Path) -> tuple[JobState, A2EError | None]:
    """Download the video to the folder; return the state of the job and what went wrong.

    Raises:
        JournalError: The journal cannot be used any more.
    """
    batch, entry, failure = context.batch, context.entry, None
    try:
        async with batch.download_slots:
            context.enter("downloading")
            before, target = entry.target, set_target(context, folder)
            # if this run is killed during the download, the next one knows that the file is ours
            if entry.target != before:
                await batch.journal.save(entry)
            path = await batch.storage.store(lambda: _store(context, target))
        entry.path, entry.error = str(path), None
    except JournalError:
        raise
    except A2EError as error:
        # the file of a job that was done is gone, and its link has expired as well: the job stays done
        if entry.path is not None and isinstance(error, TransferError) and error.status in {403, 404, 410}:
            return "skipped", None
        failure, entry.error, entry.path = error, error_to_json(error), None
        # the target exists and was not written by a batch: later runs need not compare it again
        if isinstance(error, InvalidRequestError):
            entry.target = None
    context.keep_record()  # a download may have read a fresh link
    await batch.journal.save(entry)
    return "succeeded", failure


def set_target(context: JobContext[R], folder: pathlib.Path) -> pathlib.Path:
    """Return the file to write, and put it into the journal entry."""
    # A name of an earlier run stays, also if another key would get it today.
    earlier = pathlib.Path(context.earlier_target or "").name
    is_name = earlier.endswith(context.batch.api.extension)
    target = folder / (earlier if is_name else context.batch.names.choose(context.job.key, context.batch.api.extension))
    context.entry.target = str(target)
    return target


async def _store(context: JobContext[R], target: pathlib.Path) -> pathlib.Path:
    """Download the result to its file, and return the path.

    Only `BatchOptions.overwrite` replaces an existing file. But an earlier run can have stored the result, and have
    been killed before it could record that: its file is known by its content.
    """
    fetch, overwrite = context.task().download, context.batch.options.overwrite
    try:
        return await fetch(target, if_exists="overwrite" if overwrite else "error")
    except InvalidRequestError:
        if context.earlier_target != str(target) or not await has_content_of(target, fetch):
            raise
        return target


async def has_lost_file(context: JobContext[R]) -> bool:
    """Return whether the file of a job that is done is gone, and A2E may still have the result."""
    path, finished_at = context.entry.path, context.entry.finished_at or 0
    if path is None or time.time() - finished_at > rules.RESULT_LIFETIME:
        return False
    return not await asyncio.to_thread(os.path.lexists, path)

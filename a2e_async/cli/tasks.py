"""The core of all commands about tasks, of any family: start, show, wait, find, download and delete.

`a2e image-to-video`, `a2e family`, `a2e run` and the commands of single families have their own options and texts, and
call these functions.
"""

# How the making works (`Maker`):
#
# - Everything that can be wrong is checked before the first start: options, inputs, and the files to write.
# - Each result is printed as soon as it is there. On a terminal, the live display shows the progress meanwhile, and a
#   table the results at the end.
# - Case 1: the wait ends early, by an error or by --timeout. The error has the command that waits for the task.
# - Case 2: Ctrl-C. That command is printed for each task that was paid.
# - Case 3: the output cannot be written. The commands are printed on stderr.

import asyncio
import functools
import os
import pathlib
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import attrs
from cyclopts import Parameter

from a2e_async import A2EClient, TaskHandle
from a2e_async._protocol.schema import name_from
from a2e_async.cli.conversion import Conversion, run_all, unused_path
from a2e_async.cli.display import TaskDisplay, make_console
from a2e_async.cli.families import FamilyTasks
from a2e_async.cli.messages import (
    INTERRUPTED,
    advice,
    coins_text,
    confirm,
    error_text,
    exit_code_of,
    one_line,
    plural,
    print_error,
    print_interrupted,
)
from a2e_async.cli.options import FLAG, Connection, Duration, Out
from a2e_async.cli.output import DETAILS, Printer, is_stdout, print_cells, print_json, print_videos, video_file
from a2e_async.cli.streams import OutputError
from a2e_async.errors import A2EError, InvalidRequestError, NotFoundError, TaskNotFinishedError, UnexpectedResponseError
from a2e_async.files import media_types
from a2e_async.files.local_files import check_target
from a2e_async.models.common import TaskRecord, TaskStatus


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class MakeOptions:
    """Options of a command that makes files.

    Attributes:
        out: The file to write; - is standard output. A name without an ending is a folder, also for several results.
            Default: the name of the input with the ending of the result, in the current folder.
        timeout: Time to wait at most: seconds, or such as 30m or 1h30m.
        overwrite: Replace existing files.
        open: Open the result with the system's viewer.
    """

    out: Annotated[pathlib.Path | None, Out] = None
    timeout: Duration = 1800.0
    overwrite: Annotated[bool, FLAG] = False
    open: Annotated[bool, FLAG] = False


DEFAULT_MAKE = MakeOptions()
"""Default of the parameter: no option is given."""


@attrs.frozen(kw_only=True)
class NewTask:
    """A start that costs coins.

    Attributes:
        name: The input, such as the name of a file. The result is named after it, and the display shows it.
        start: Starts it, and returns the handles of all tasks that it makes.
        count: Number of these tasks.
        check: Checks it, and sends nothing; None if `start` does so before it sends anything, and this is the only one.
    """

    name: str
    start: Callable[[A2EClient], Awaitable[Sequence[TaskHandle[Any]]]]
    count: int = 1
    check: Callable[[A2EClient], Awaitable[None]] | None = None


def input_name(source: object) -> str:
    """Return the name of an input: the file name of a path, or what a link shows."""
    text = str(source)
    return (name_from(text) if "://" in text else pathlib.PurePath(text).name)[:80]


def make(family: FamilyTasks, tasks: Sequence[NewTask], options: MakeOptions, connection: Connection) -> int:
    """Start tasks, wait for them and download their results. Costs coins. Return the exit code."""
    return Maker(family, tasks, options, connection).run()


@attrs.define(eq=False)
class Maker:
    """One command that makes files."""

    family: FamilyTasks
    tasks: Sequence[NewTask]
    options: MakeOptions
    connection: Connection
    conversions: list[Conversion] = attrs.field(init=False)
    display: TaskDisplay = attrs.field(init=False)
    _is_explained: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Prepare a conversion for each task."""
        self.conversions = [Conversion(task.name or self.family.noun) for task in self.tasks for _ in range(task.count)]
        self.display = TaskDisplay(make_console(stderr=True), self.conversions)

    def run(self) -> int:
        """Make the files; return the exit code."""
        out = self.options.out
        try:
            if out is not None and is_stdout(out) and self.family.has_files:
                if len(self.conversions) > 1:
                    msg = f"--out {out} is standard output, for one {self.family.noun}: choose a folder"
                    raise InvalidRequestError(msg)
                with video_file(out, as_json=self.connection.json, extension=self.family.extension) as target:
                    asyncio.run(self._make(target))
                    return self._report()
            asyncio.run(self._make(None))
            return self._report()
        except KeyboardInterrupt:  # case 2
            if not self.explain_interrupt():
                raise
            return INTERRUPTED
        except OutputError:  # case 3
            self.explain_lost_output()
            raise

    async def _make(self, only_target: pathlib.Path | None) -> None:
        conversions = iter(self.conversions)
        async with self.connection.client() as a2e:
            if only_target is not None:
                self.conversions[0].target = only_target
            elif self.family.has_files:
                self._choose_targets()
            for conversion in self.conversions:
                if conversion.target is not None:
                    await check_target(conversion.target, overwrite=self.options.overwrite)
            for task in self.tasks:
                if task.check is not None:
                    await task.check(a2e)
            work = []
            for task in self.tasks:
                started = _Started(task, a2e)
                work += [self._convert(a2e, next(conversions), started.get(number)) for number in range(task.count)]
            try:
                async with self.display:
                    await run_all(work)
            except asyncio.CancelledError:
                self.explain_interrupt()  # at once: the process can be killed while it closes its connections
                raise

    async def _convert(self, a2e: A2EClient, conversion: Conversion, start: Awaitable[TaskHandle[Any]]) -> None:
        timeout, overwrite = self.options.timeout, self.options.overwrite
        await conversion.run(start, wait_timeout=timeout, overwrite=overwrite, downloader=a2e)
        if conversion.error is None and not self._shows_table:
            self._print_result(conversion)

    @property
    def _shows_table(self) -> bool:
        return sys.stdout.isatty() and not self.connection.json and self.family.has_files

    def _choose_targets(self) -> None:
        """Choose the files, as far as their endings are known."""
        out, extension = self.options.out, self.family.extension
        is_folder = out is None or out.is_dir() or len(self.tasks) > 1 or not (out.suffix or os.path.lexists(out))
        if out is not None and len(self.tasks) > 1 and out.suffix and not out.is_dir():
            msg = f"--out {out} is a file, and there are {len(self.tasks)} inputs: give a folder"
            raise InvalidRequestError(msg)
        if out is not None and is_folder and out.exists() and not out.is_dir():
            msg = f"{str(out)!r} is not a folder: choose another folder with --out"
            raise InvalidRequestError(msg)
        taken = set[pathlib.Path]()
        for conversion in self.conversions:
            if out is None or is_folder:
                stem = _file_stem(conversion.key)
                folder = out or pathlib.Path()
                if not extension:
                    conversion.choose_target = functools.partial(self._choose_by_result, folder, stem, taken)
                    continue
                conversion.target = self._new_file(folder / f"{stem}{extension}", taken)
            else:
                conversion.target = self._new_file(out, taken) if taken else out
                taken.add(conversion.target)

    def _choose_by_result(
        self, folder: pathlib.Path, stem: str, taken: set[pathlib.Path], record: TaskRecord
    ) -> pathlib.Path:
        return self._new_file(folder / f"{stem}{extension_of(record)}", taken)

    def _new_file(self, path: pathlib.Path, taken: set[pathlib.Path]) -> pathlib.Path:
        # an input is never replaced: a result with the same ending, such as that of an upscaled image, gets a number
        is_input = any(path.name == task.name for task in self.tasks)
        chosen = unused_path(path, taken, overwrite=self.options.overwrite and not is_input)
        taken.add(chosen)
        return chosen

    def _print_result(self, conversion: Conversion) -> None:
        assert conversion.handle is not None, "the task has ended"  # noqa: S101  for mypy
        record, target, out = conversion.handle.record, conversion.target, self.options.out
        to_stdout = out is not None and is_stdout(out)
        paths = [] if target is None else [target, *conversion.more_paths]
        if self.connection.json:
            more = {"paths": [str(path) for path in paths]} if len(paths) > 1 else {}
            print_json(record.to_dict(links=True) | {"path": str(paths[0]) if paths else None} | more)
        elif not self.family.has_files:
            print_cells(record.id)
        elif not to_stdout:
            for path in paths:
                print(path, flush=True)

    def _report(self) -> int:
        """Print what is left to print at the end; return the exit code."""
        done = [each for each in self.conversions if each.error is None]
        if done and self._shows_table and not (self.options.out is not None and is_stdout(self.options.out)):
            print_videos(done, titles=(self.family.input_noun, self.family.noun))
        code, explained = 0, set[str]()
        for conversion in self.conversions:
            if conversion.error is not None:
                text = self._explain_error(conversion, conversion.error)
                if text not in explained:  # one start can make several tasks
                    print_error(text)
                explained.add(text)
                code = max(code, exit_code_of(conversion.error))
        if self.options.open and not (self.options.out is not None and is_stdout(self.options.out)):
            for conversion in done:
                if conversion.target is not None:
                    open_in_viewer(conversion.target)
        return code

    def _explain_error(self, conversion: Conversion, error: A2EError) -> str:
        """Return an error, with the command that makes the file if the wait has ended early, or the download failed."""
        handle = conversion.handle
        command = "" if handle is None else self._wait_command(conversion, handle.id)
        wait = f"Wait for it with {command}".replace("{", "{{").replace("}", "}}")  # the texts are templates
        text = one_line(error.describe({**advice(), "wait": wait}))
        if handle is not None and handle.record.status is TaskStatus.SUCCEEDED:
            download = self.family.command("download", handle.id, *self.connection.words())
            text = f"{text.rstrip('.')}. The task is finished and paid. Get its {self.family.noun} with {download}"
        return f"{one_line(conversion.key)}: {text}" if len(self.tasks) > 1 else text

    def explain_interrupt(self) -> bool:
        """Print once the paid tasks, and the commands that make their files; return whether there is a task."""
        self.display.close()
        paid = [(each, each.handle) for each in self.conversions if each.handle is not None and each.stage != "done"]
        if paid and not self._is_explained:
            self._is_explained = True
            try:
                if self.connection.json:
                    for _, handle in paid:
                        print_json(handle.record.to_dict(links=True) | {"path": None})
                elif self._shows_table and (done := [each for each in self.conversions if each.stage == "done"]):
                    print_videos(done, titles=(self.family.input_noun, self.family.noun))
            finally:  # also if the reader of the output has ended, by the same signal
                noun = self.family.noun
                text = f"the task continues at A2E and is paid. To wait for its {noun}:"
                if len(paid) > 1:
                    text = f"{len(paid)} tasks continue at A2E and are paid. To wait for their {noun}s:"
                print_interrupted(text, "\n  ".join(self._wait_command(each, handle.id) for each, handle in paid))
        return bool(paid)

    def explain_lost_output(self) -> None:
        """Print the commands that make the files once more, if what was paid cannot be written to standard output."""
        paid = [(each, each.handle) for each in self.conversions if each.handle is not None]
        if paid and not self._is_explained:
            tasks = "the task is paid" if len(paid) == 1 else f"{len(paid)} tasks are paid"
            print_error(f"{tasks}. To get {'its' if len(paid) == 1 else 'their'} {self.family.noun}:")
            for each, handle in paid:
                print(f"  {self._wait_command(each, handle.id)}", file=sys.stderr)

    def _wait_command(self, conversion: Conversion, task_id: str) -> str:
        out, folder = self.options.out, None
        if not self.family.has_files:
            out = None
        elif out is None or not is_stdout(out):
            folder = None if conversion.target is not None else out or pathlib.Path()
            out = conversion.target
        return wait_command(
            self.family, [task_id], self.connection, out=out, download_to=folder, overwrite=self.options.overwrite
        )


@attrs.define(eq=False)
class _Started:
    """The start of one or several tasks, which all of their conversions share."""

    task: NewTask
    a2e: A2EClient
    _handles: asyncio.Future[Sequence[TaskHandle[Any]]] | None = attrs.field(default=None, init=False)

    async def get(self, number: int) -> TaskHandle[Any]:
        """Start the tasks, if no other conversion has done so, and return the handle of one."""
        if self.task.count == 1:
            return (await self.task.start(self.a2e))[0]
        if self._handles is None:
            self._handles = asyncio.ensure_future(self.task.start(self.a2e))
        handles = await self._handles
        if number >= len(handles):
            msg = f"A2E made {plural(len(handles), 'task')} instead of {self.task.count}"
            raise UnexpectedResponseError(msg)
        return handles[number]


def _file_stem(key: str) -> str:
    """Return the name of a result's file without its ending."""
    stem = pathlib.PurePath(key).stem if pathlib.PurePath(key).suffix.lower() in media_types.EXTENSIONS else key
    return "".join(char if char.isalnum() or char in " .-_()" else "_" for char in stem).strip(" .") or "result"


def extension_of(record: TaskRecord) -> str:
    """Return the extension of a result, with the dot; empty if its link shows none."""
    return extension_of_link(record.result_url)


def extension_of_link(link: str) -> str:
    """Return the extension of what a link leads to, with the dot; empty if it shows none."""
    try:
        extension = pathlib.PurePosixPath(urlsplit(link).path).suffix.lower()
    except ValueError:  # "http://[" is no link, which the download reports
        return ""
    return extension if extension in media_types.EXTENSIONS else ""


def wait_command(
    family: FamilyTasks,
    ids: Sequence[str],
    connection: Connection,
    *,
    out: pathlib.Path | None,
    download_to: pathlib.Path | None = None,
    overwrite: bool,
) -> str:
    """Return the command that waits for tasks and writes their results."""
    end = connection.words()
    if out is not None and is_stdout(out):
        wait, download = family.command("wait", *ids, *end), family.command("download", *ids, "--out", str(out), *end)
        return f"{wait} && {download}"
    files = ["--out", str(out)] if out is not None else []
    files += ["--download-to", str(download_to)] if download_to is not None else []
    flags = [*(["--overwrite"] if overwrite else []), *end, *(["--json"] if connection.json else [])]
    return family.command("wait", *ids, *files, *flags)


def start(family: FamilyTasks, task: NewTask, connection: Connection, *, timeout: float | None) -> int:
    """Start a task and print its id at once; wait for it if there is a timeout. Return the exit code."""
    ids = asyncio.run(_start(family, task, connection, is_followed=timeout is not None))
    return 0 if timeout is None else wait(family, ids, connection, timeout=timeout)


async def _start(family: FamilyTasks, task: NewTask, connection: Connection, *, is_followed: bool) -> list[str]:
    async with connection.client() as a2e:
        handles = await task.start(a2e)
    ids = [handle.id for handle in handles]
    record = handles[0].record
    price = f" for {coins_text(record.coins)} coins" if record.coins else ""
    what = "adopted an existing task; nothing was started" if handles[0].adopted else f"started{price}"
    note = f"{what}; wait for it with: {family.command('wait', *ids)}"
    try:
        for handle in handles:
            if connection.json and not is_followed:
                print_json(handle.record.to_dict(links=True))
            elif not is_followed:
                print_cells(handle.id)
    except OutputError:
        print_error(note)  # the task is paid: its id must be somewhere
        raise
    if not connection.json:
        print_error(note)
    return ids


def wait(  # noqa: C901  a case for each combination of options
    family: FamilyTasks,
    ids: Sequence[str],
    connection: Connection,
    *,
    timeout: float = 1800.0,
    download_to: pathlib.Path | None = None,
    out: pathlib.Path | None = None,
    overwrite: bool = False,
    open: bool = False,  # noqa: A002  the name of the option
) -> int:
    """Wait until tasks have ended, and download their results if a file or a folder is given; return the exit code."""
    if out is not None and is_stdout(out):
        command = family.command("download")
        return print_error(f"wait prints the tasks on standard output: use {command} for the {family.noun}", 2)
    if out is not None and (len(set(ids)) > 1 or download_to is not None):
        return print_error(f"--out is a file for the {family.noun} of one task: use --download-to for a folder", 2)
    printer, code = Printer(connection.json), 0
    tasks: list[Conversion] = []
    display = TaskDisplay(make_console(stderr=True), tasks)

    async def wait_for(task: Conversion, a2e: A2EClient) -> None:
        nonlocal code
        await task.run(wait_timeout=timeout, overwrite=overwrite, downloader=a2e)
        assert task.handle is not None, "`wait_for_all` sets it"  # noqa: S101  for mypy
        path = None if task.target is None or task.error is not None else str(task.target)
        # Only JSON has the field `error`: on stdout, a column of messages would break the scripts that read columns.
        fields = {"error": None if task.error is None else error_text(task.error)} if connection.json else {}
        printer.show(task.handle.record, **fields, path=path)
        if task.error is not None:
            code = max(code, print_error(task.error))

    async def wait_for_all() -> None:
        async with connection.client() as a2e:
            resource = family.resource(a2e)
            for task_id in dict.fromkeys(ids):
                task = Conversion(task_id, out, resource.task(task_id), "running")
                tasks.append(task)
                if download_to is not None and family.extension:
                    task.target = download_to / result_name(task_id, family.extension)
                elif download_to is not None:
                    task.choose_target = functools.partial(_path_in, download_to)
                if task.target is not None:
                    await check_target(task.target, overwrite=overwrite)
            async with display:
                await run_all(wait_for(task, a2e) for task in tasks)

    try:
        asyncio.run(wait_for_all())
    except KeyboardInterrupt:
        display.close()
        left = [task.key for task in tasks if task.stage in {"running", "downloading"}] or [*ids]
        command = wait_command(family, left, connection, out=out, download_to=download_to, overwrite=overwrite)
        return print_interrupted("the tasks continue at A2E. To resume the wait:", command)
    if open:
        for task in tasks:
            if task.target is not None and task.error is None:
                open_in_viewer(task.target)
    return code


async def get(family: FamilyTasks, ids: Sequence[str], connection: Connection) -> int:
    """Print tasks, with the links to their results; return the exit code."""
    records: dict[str, Any]
    async with connection.client() as a2e:
        resource = family.resource(a2e)
        if len(ids) > 1:
            records = await resource.get_many(ids)
        else:
            try:
                records = {ids[0]: await resource.get(ids[0])}
            except NotFoundError:
                records = {ids[0]: None}
    printer, code = Printer(connection.json, DETAILS), 0
    for task_id, record in records.items():
        if record is None:
            reasons = "it is too new, was deleted, has expired, or is not yours"
            code = print_error(f"A2E does not show task {task_id}: {reasons}")
        else:
            printer.show(record)
    return code


async def list_tasks(family: FamilyTasks, limit: int | None, connection: Connection) -> int:
    """Print the tasks that have not expired; return the exit code."""
    if limit is not None and limit < 1:
        return print_error(f"--limit must be at least 1, not {limit}", 2)
    printer, left = Printer(connection.json), limit
    async with connection.client() as a2e:
        async for record in family.resource(a2e).list(page_size=min(limit or 100, 100)):
            printer.show(record)
            if left is not None and (left := left - 1) == 0:
                break
    return 0


async def find(family: FamilyTasks, marker: str, connection: Connection) -> int:
    """Print the tasks with a marker or an idempotency key; return the exit code."""
    async with connection.client() as a2e:
        found = await family.resource(a2e).find_all(marker)
    printer = Printer(connection.json, DETAILS)
    for task in found:
        printer.show(task.record)
    if not found:
        return print_error(f"A2E does not show a task with {marker!r}; a new task can be missing for a while")
    return 0


async def download(
    family: FamilyTasks,
    task_id: str,
    connection: Connection,
    *,
    out: pathlib.Path | None,
    overwrite: bool,
    open: bool = False,  # noqa: A002  the name of the option
) -> None:
    """Download the result of a finished task, and print its path."""
    async with connection.client() as a2e:
        task = family.resource(a2e).task(task_id)
        record = await task.refresh()
        if not record.status.is_final:
            msg = f"Task {task_id} is not finished"
            raise TaskNotFinishedError(msg, task_id=task_id)
        path = out or pathlib.Path(result_name(task.id, family.extension or extension_of(record)))
        with video_file(path, as_json=connection.json, extension=family.extension) as target:
            await task.download(target, if_exists="overwrite" if overwrite else "error")
    if connection.json:
        print_json(task.record.to_dict(links=True) | {"path": str(path)})
    elif target == path:  # not to standard output
        print(path)
    if open and target == path:
        open_in_viewer(path)


def _path_in(folder: pathlib.Path, record: TaskRecord) -> pathlib.Path:
    return folder / result_name(record.id, extension_of(record))


def result_name(task_id: str, extension: str) -> str:
    """Return the file name of a task's result."""
    # The id comes from the user or from A2E: a path separator in it must not lead out of the folder.
    return f"{''.join(char if char.isalnum() else '_' for char in task_id)}{extension}"


async def delete(family: FamilyTasks, ids: Sequence[str], connection: Connection, *, yes: bool) -> int:
    """Delete tasks and print their ids; return the exit code."""
    tasks = f"task {ids[0]}" if len(ids) == 1 else f"{len(ids)} tasks"
    if not yes and not confirm(f"Delete {tasks} at A2E, with results that are not downloaded?"):
        return print_error("nothing was deleted")
    code = 0
    async with connection.client() as a2e:
        resource = family.resource(a2e)
        for task_id in dict.fromkeys(ids):
            try:
                await resource.delete(task_id)
            except A2EError as error:
                code = max(code, print_error(error))
                continue
            if connection.json:
                print_json({"id": task_id, "deleted": True})
            else:
                print(task_id, flush=True)
    return code


def open_in_viewer(path: pathlib.Path) -> None:
    """Open a file with the system's viewer, and do not wait for it. A missing viewer is reported, and no error."""
    try:
        for command in _viewers():
            devnull = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in (0, 1, 2)]
            os.posix_spawnp(command, [command, str(path.resolve())], os.environ, file_actions=devnull, setpgroup=0)
            return
        os.startfile(path.resolve())  # type: ignore[attr-defined, unused-ignore]  # noqa: S606  on Windows only
    except OSError as error:
        print_error(f"cannot open {path} with the system's viewer: {error.strerror or error}")


def _viewers() -> Iterator[str]:
    """Yield the command of this system; Windows has a function instead."""
    if sys.platform == "darwin":
        yield "open"
    elif sys.platform != "win32":
        yield "xdg-open"

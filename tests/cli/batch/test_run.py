"""`a2e batch run` as a user types it: videos, output, validation and exit codes."""

from __future__ import annotations

import csv
import errno
import io
import json
import logging
import pathlib
import re
import sys
from typing import IO, Any

import batch_command
import pytest
import quick
from aiohttp import web
from batch_command import PRICE, BatchCommand, write
from paid_starts import LIST_PATH, count_starts

from a2e_async.cli.batch.run import RunOptions, resume_command
from a2e_async.cli.options import DEFAULT_JOB, Connection
from a2e_async.files import partial_file
from a2e_async.sandbox import Fault, FaultPlan

a2e_batch = batch_command.a2e_batch

TABLE = "image,prompt\nada.png,she smiles\nbob.png,he waves\neva.png,she turns\n"
RUN = ("run", "jobs.csv", "--journal", "jobs.sqlite")


class NoCoins:
    """Handler that rejects starts after some of them, because there are no coins."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, _: web.Request) -> web.Response | None:
        """Answer a start."""
        self.left -= 1
        return None if self.left >= 0 else web.json_response({"code": 400, "msg": "insufficient credits"}, status=400)


def lines(*rows: dict[str, Any]) -> str:
    """Write JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_table(a2e_batch: BatchCommand) -> None:
    """A table becomes videos that are named after their images, with a line for each result."""
    write("jobs.csv", TABLE)
    result = a2e_batch(*RUN)
    assert (result.code, result.err) == (0, "")
    assert sorted(path.name for path in pathlib.Path("videos").iterdir()) == [
        "ada.png.mp4",
        "bob.png.mp4",
        "eva.png.mp4",
    ]
    assert pathlib.Path("videos/ada.png.mp4").read_bytes()[4:8] == b"ftyp"
    assert {task.prompt for task in a2e_batch.sandbox.tasks.values()} == {"she smiles", "he waves", "she turns"}
    first, *results = result.out.splitlines()
    assert first == "3 jobs in jobs.csv; journal: jobs.sqlite"
    for number, line in enumerate(results[:3], 1):
        assert re.fullmatch(rf"\d\d:\d\d:\d\d {number}/3 (\w+\.png): succeeded videos/\1\.mp4 30 coins", line)
    assert results[3:] == [
        "✓ succeeded           3  in videos",
        "  coins              90  3 starts in this run",
    ]


def test_json_lines_and_all_fields(a2e_batch: BatchCommand) -> None:
    """Every field of a row reaches A2E."""
    fields = {
        "key": "order-17", "image": "ada.png", "end_image": "bob.png", "prompt": "a", "negative_prompt": "b", "name": "Ada",
        "model_type": "FLF2V", "model_version": "a2e-v2", "video_time": 10, "extend_prompt": False, "skip_face_enhance": True,
    }  # fmt: skip
    write("jobs.jsonl", lines(fields))
    assert a2e_batch("run", "jobs.jsonl").code == 0
    (task,) = a2e_batch.sandbox.tasks.values()
    assert (task.prompt, task.name[:5], task.coins) == ("a", "Ada [", 2 * 2 * PRICE)
    assert pathlib.Path("videos/order-17.mp4").exists()
    exported = json.loads(a2e_batch("export", "jobs.jsonl.a2e.sqlite", "--format", "jsonl").out)
    for name in set(fields) - {"image", "end_image", "key"}:
        assert exported[f"request.{name}"] == fields[name]


def test_folder(a2e_batch: BatchCommand) -> None:
    """A folder of images needs a prompt. The journal is named after the folder."""
    for name in ("b.png", "a.PNG"):
        write(f"images/{name}", pathlib.Path("ada.png").read_bytes() + name.encode())
    result = a2e_batch("run", "images", "--prompt", "she smiles", "--video-time", "10", "-o", "made")
    assert result.code == 0
    assert sorted(path.name for path in pathlib.Path("made").iterdir()) == ["a.PNG.mp4", "b.png.mp4"]
    assert {(task.prompt, task.coins) for task in a2e_batch.sandbox.tasks.values()} == {("she smiles", 2 * PRICE)}
    assert pathlib.Path("images.a2e.sqlite").exists()


def test_folder_without_a_prompt(a2e_batch: BatchCommand) -> None:
    """Without a prompt the folder is rejected in one line, and nothing is sent."""
    result = a2e_batch("run", ".")
    assert result.code == 2
    assert result.err.count("--prompt") == 1
    assert "ada.png" not in result.err
    assert not a2e_batch.sandbox.requests


def test_standard_input(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` reads JSON Lines from standard input, although the rows are read twice."""
    content = lines({"image": "ada.png", "prompt": "x"}, {"image": "bob.png", "prompt": "y"})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    result = a2e_batch("run", "-", "--json")
    assert result.code == 0
    assert sorted(result.by_key()) == ["ada.png", "bob.png"]
    assert pathlib.Path("stdin.a2e.sqlite").exists()


def test_paths_are_relative_to_the_table(a2e_batch: BatchCommand) -> None:
    """Relative paths are relative to the folder of the table."""
    write("orders/jobs.csv", "image,prompt\nimages/zoe.png,x\n")
    write("orders/images/zoe.png", pathlib.Path("ada.png").read_bytes())
    assert a2e_batch("run", "orders/jobs.csv").code == 0
    (video,) = pathlib.Path("videos").iterdir()
    assert re.fullmatch(r"images_zoe_png~[0-9a-f]{16}\.mp4", video.name)


def test_json_output(a2e_batch: BatchCommand) -> None:
    """With --json, stdout has an object for each result and nothing else. Stderr has the summary."""
    write("jobs.csv", "key,image,prompt\na,ada.png,x\nb,bob.png,#fail\nc,eva.png,#refuse\n")
    result = a2e_batch(*RUN, "--json")
    assert result.code == 1
    found = result.by_key()
    assert {key: (each["state"], each["ok"]) for key, each in found.items()} == {
        "a": ("succeeded", True),
        "b": ("failed", False),
        "c": ("failed", False),
    }
    good = found["a"]
    (task,) = (task for task in a2e_batch.sandbox.tasks.values() if task.prompt == "x")
    assert (good["task_id"], good["path"], good["coins"], good["starts"]) == (task.id, "videos/a.mp4", PRICE, 1)
    assert task.name.endswith(f" [a2e:{good['marker']}]")
    assert good["result_url"] == task.result_url
    assert good["error"] is None
    times = [good[f"{what}_at"] for what in ("read", "sent", "accepted", "finished")]
    assert times == sorted(times)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", times[0])
    assert found["b"]["error"]["type"] == "TaskFailedError"
    assert found["c"]["error"]["type"] == "ContentRejectedError"
    assert (found["c"]["task_id"], found["c"]["coins"], found["c"]["result_url"]) == (None, 0, None)
    assert "✗ failed" in result.err


def test_failures_in_the_summary(a2e_batch: BatchCommand) -> None:
    """The summary has the failed jobs with their reasons, without ids, and the option that starts them again."""
    write("jobs.csv", "key,image,prompt\na,ada.png,#fail\nb,bob.png,x\n")
    result = a2e_batch(*RUN)
    assert result.code == 1
    assert "✗ a: failed: The video could not be generated. Please try another image." in result.out.splitlines()
    assert "✗ failed              1" in result.out
    assert "add --retry-failed 1" in result.out


def test_retries(a2e_batch: BatchCommand) -> None:
    """New starts for failed jobs are in the result and in the summary."""
    write("jobs.csv", "key,image,prompt\na,ada.png,#fail\n")
    result = a2e_batch(*RUN, "--retry-failed", "2")
    assert result.code == 1
    assert "a: failed (3 starts)" in result.out
    assert result.out.splitlines()[-2:] == [
        "  coins              90  3 starts in this run, 2 of them for failed tasks",
        "To start the failed tasks again, add --retry-failed 3. Each start costs coins.",
    ]
    # the advice says what is needed, and what the next run does
    assert "add --retry-failed 3." in a2e_batch("status", "jobs.sqlite").out
    assert a2e_batch(*RUN, "--retry-failed", "2").code == 1
    assert a2e_batch.charges == 3
    a2e_batch(*RUN, "--retry-failed", "3")
    assert a2e_batch.charges == 4


def test_local_failures_are_not_retried(a2e_batch: BatchCommand) -> None:
    """A job that failed on this machine, and whose task has not failed, is no reason for --retry-failed."""
    write("jobs.csv", "key,image,prompt\na,ada.png,#fast\n")
    assert a2e_batch(*RUN).code == 0
    write("jobs.csv", "key,image,prompt\na,ada.png,another prompt\n")
    result = a2e_batch(*RUN)
    assert "(different: prompt)" in result.out
    assert (result.code, "--retry-failed" in result.out) == (1, False)


def test_rejected_jobs(a2e_batch: BatchCommand) -> None:
    """A rejected job is sent again if it was changed, as the summary says, and not otherwise."""
    advice = "The next run sends a rejected job again if you change it, or with --retry-failed 1."
    write("jobs.csv", "key,image,prompt\na,ada.png,#refuse\n")
    for _ in range(2):
        result = a2e_batch(*RUN)
        assert (result.code, result.out.splitlines()[-1]) == (1, advice)
        assert "HTTP 0" not in result.out
        assert count_starts(a2e_batch.sandbox) == 1
    assert a2e_batch("status", "jobs.sqlite").out.splitlines()[-1] == advice
    write("jobs.csv", "key,image,prompt\na,ada.png,#fast\n")
    assert a2e_batch(*RUN).code == 0
    assert (count_starts(a2e_batch.sandbox), a2e_batch.charges) == (2, 1)


def test_at_most_ten_failures_are_listed(a2e_batch: BatchCommand) -> None:
    """The summary lists at most ten failures, and counts the others."""
    write("jobs.csv", "key,image,prompt\n" + "".join(f"k{number},ada.png,#refuse\n" for number in range(13)))
    result = a2e_batch(*RUN)
    assert sum(line.startswith("✗ k") for line in result.out.splitlines()) == 10
    assert "  and 3 more\n" in result.out
    assert "✗ failed             13" in result.out


def test_second_run_starts_nothing(a2e_batch: BatchCommand) -> None:
    """The same command again skips finished jobs, also if their images are deleted."""
    write("jobs.csv", TABLE)
    assert a2e_batch(*RUN).code == 0
    pathlib.Path("ada.png").unlink()
    result = a2e_batch(*RUN)
    assert (result.code, result.err) == (0, "")
    assert "ada.png: done by an earlier run" in result.out
    assert "- skipped             3  done by an earlier run" in result.out
    assert a2e_batch.charges == 3


def test_missing_image_of_a_failed_job(a2e_batch: BatchCommand) -> None:
    """The image of a failed job is required for a retry, although the journal has the job."""
    write("jobs.csv", "image,prompt\nada.png,#fail\n")
    assert a2e_batch(*RUN).code == 1
    pathlib.Path("ada.png").unlink()
    assert a2e_batch(*RUN).code == 1
    result = a2e_batch(*RUN, "--retry-failed", "1")
    assert result.code == 2
    assert "jobs.csv:2: image 'ada.png' cannot be read: No such file or directory" in result.err


def test_invalid_option_of_a_finished_job(a2e_batch: BatchCommand) -> None:
    """The image of a finished job may be missing, but its row must be valid."""
    write("jobs.csv", "key,image,prompt,video_time\na,ada.png,x,5\n")
    assert a2e_batch(*RUN).code == 0
    pathlib.Path("ada.png").unlink()
    write("jobs.csv", "key,image,prompt,video_time\na,ada.png,x,7\n")
    result = a2e_batch(*RUN)
    assert result.code == 2
    assert "jobs.csv:2: video_time must be one of" in result.err


INVALID = """key,image,prompt,video_time
a,ada.png,x,5
b,nowhere.png,x,5
c,bob.png,x,7
a,eva.png,x,5
d,eva.png,she smiles, gently,5
e,eva.png,,5
"""


def test_invalid_rows(a2e_batch: BatchCommand) -> None:
    """All invalid rows are listed with their line and their error, and nothing is sent."""
    write("jobs.csv", INVALID)
    result = a2e_batch(*RUN)
    assert result.code == 2
    assert result.out == ""
    assert result.err.splitlines() == [
        "jobs.csv:3: image 'nowhere.png' cannot be read: No such file or directory",
        "jobs.csv:4: video_time must be one of 5, 10, 15, 20, not 7",
        "jobs.csv:5: key 'a' is already used by row 2",
        "jobs.csv:6: 5 cells for 4 columns: put a text with a comma in double quotes",
        "jobs.csv:7: prompt is needed unless lora is given: A2E rejects a start without it",
        "a2e: 5 of 6 rows are invalid, and nothing was started: fix them, or skip them with --skip-invalid",
    ]
    assert not a2e_batch.sandbox.requests
    assert not pathlib.Path("jobs.sqlite").exists()


def test_skip_invalid(a2e_batch: BatchCommand) -> None:
    """With --skip-invalid, invalid rows are listed, and the others run."""
    write("jobs.csv", INVALID)
    result = a2e_batch(*RUN, "--skip-invalid")
    assert result.code == 0
    assert len(result.err.splitlines()) == 5
    assert a2e_batch.task_names == ["ada"]
    assert "1/1 a: succeeded" in result.out


def test_at_most_fifty_invalid_rows_are_listed(a2e_batch: BatchCommand) -> None:
    """At most fifty invalid rows are listed, and the others are counted."""
    write("jobs.csv", "image,prompt\n" + "".join(f"nowhere.png{number},x\n" for number in range(60)))
    result = a2e_batch(*RUN)
    assert sum("nowhere.png" in line for line in result.err.splitlines()) == 50
    assert "and 10 more invalid rows" in result.err
    assert "60 of 60 rows are invalid" in result.err


def test_one_mistake_in_all_rows_is_one_line(a2e_batch: BatchCommand) -> None:
    """A prompt that is missing in 300 rows is listed once, beside other errors too."""
    rows = [{"image": "ada.png", "key": str(number)} for number in range(300)]
    write("jobs.jsonl", lines(*rows))
    problem = "prompt is needed unless lora is given: A2E rejects a start without it"
    end = "300 of 300 rows are invalid, and nothing was started: fix them, or skip them with --skip-invalid"
    expected = [f"jobs.jsonl:1: {problem}", "and 299 more rows with the same error", f"a2e: {end}"]
    assert a2e_batch("run", "jobs.jsonl").err.splitlines() == expected
    write("jobs.jsonl", lines({"image": "nowhere.png", "prompt": "x"}, *rows))
    assert a2e_batch("run", "jobs.jsonl").err.splitlines()[1:3] == [
        f"jobs.jsonl:2: {problem}",
        f"and 299 more rows with this error: {problem}",
    ]


@pytest.mark.parametrize(
    ("content", "options"), [("image,prompt\n", ()), ("image,prompt\nx.png,x\n", ("--skip-invalid",))]
)
def test_no_jobs(a2e_batch: BatchCommand, content: str, options: tuple[str, ...]) -> None:
    """An input without a valid job is wrong usage."""
    write("jobs.csv", content)
    result = a2e_batch(*RUN, *options)
    assert result.code == 2
    assert "a2e: no jobs in jobs.csv" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nowhere.csv"), "neither a file nor a folder"),
        (("run", "jobs.csv", "--journal", "ada.png"), "ada.png"),
        (("run", "--bad"), "--bad"),
        (("run", "jobs.csv", "--video-time", "7"), "--video-time"),
        (("run", "jobs.csv", "--max-running", "0"), "max_running"),
        (("run", "jobs.csv", "--out", "ada.png"), "'ada.png' is not a folder"),
        (("run", "broken.csv"), "broken.csv:1: unknown column 'promt'. Did you mean 'prompt'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage(a2e_batch: BatchCommand, arguments: tuple[str, ...], message: str) -> None:
    """For wrong usage, one line names the cause, the exit code is 2, and nothing is sent."""
    write("jobs.csv", TABLE)
    write("broken.csv", "image,promt\n")
    result = a2e_batch(*arguments)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert message in result.err
    assert not a2e_batch.sandbox.requests


def test_existing_video(a2e_batch: BatchCommand) -> None:
    """A row whose video already exists is invalid, unless --overwrite is given."""
    write("jobs.csv", TABLE)
    write("videos/ada.png.mp4", "mine")
    result = a2e_batch(*RUN)
    assert result.code == 2
    assert "jobs.csv:2: videos/ada.png.mp4 already exists: --overwrite replaces it" in result.err
    assert a2e_batch(*RUN, "--overwrite").code == 0
    assert pathlib.Path("videos/ada.png.mp4").read_bytes()[4:8] == b"ftyp"


def test_dry_run(a2e_batch: BatchCommand) -> None:
    """A dry run prints the jobs, reads each different price once, and starts and uploads nothing."""
    write("jobs.csv", "key,image,prompt,video_time\na,ada.png,she smiles,5\nb,bob.png,x,10\nc,eva.png,y,10\n")
    result = a2e_batch(*RUN, "--dry-run")
    assert result.code == 0
    assert re.search(r"^a +ada\.png +a2e +5 +she smiles *$", result.out, re.MULTILINE)
    assert re.search(r"^ +1 +a2e +5 +no +30 +30$", result.out, re.MULTILINE)
    assert re.search(r"^ +2 +a2e +10 +no +60 +120$", result.out, re.MULTILINE)
    assert "3 videos would be started: about 150 coins by A2E's estimate, uploads not counted." in result.out
    assert {request.path for request in a2e_batch.sandbox.requests} == {"/api/v1/generation/quote"}
    assert len(a2e_batch.sandbox.requests) == 2
    assert not pathlib.Path("jobs.sqlite").exists()


def test_dry_run_with_a_journal(a2e_batch: BatchCommand) -> None:
    """A dry run does not count the jobs that need no start."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    assert a2e_batch(*RUN).code == 0
    write("jobs.csv", TABLE.replace("she smiles", "x"))
    result = a2e_batch(*RUN, "--dry-run")
    assert "1 more in the journal: no start needed." in result.out
    assert "2 videos would be started: about 60 coins" in result.out


def test_dry_run_as_json(a2e_batch: BatchCommand) -> None:
    """With --json, a dry run prints every job with its price."""
    write("jobs.csv", "image,prompt\n" + "ada.png,x\n" * 25)
    plain = a2e_batch(*RUN, "--dry-run")
    assert "… and 5 more (--json lists all)" in plain.out
    result = a2e_batch(*RUN, "--dry-run", "--json")
    assert len(result.objects) == 25
    assert result.objects[0] == {
        "key": "ada.png", "image": "ada.png", "prompt": "x", "negative_prompt": "blurry, distorted, low quality",
        "model_version": "a2e", "video_time": 5, "coins": PRICE,
    }  # fmt: skip


def test_dry_run_without_a_price(a2e_batch: BatchCommand) -> None:
    """If A2E gives no price, the plan is printed without it."""
    write("jobs.csv", TABLE)
    a2e_batch.sandbox.faults = FaultPlan(chances={"*": {Fault("status", status=500): 1.0}})
    result = a2e_batch(*RUN, "--dry-run")
    assert result.code == 0
    assert "3 videos would be started: A2E gave no price, uploads not counted." in result.out


def test_budget(a2e_batch: BatchCommand) -> None:
    """Jobs beyond --max-coins are not started, and the printed command resumes the batch."""
    write("jobs.csv", TABLE)
    result = a2e_batch(*RUN, "--max-coins", "65")
    assert result.code == 1
    assert a2e_batch.charges == 2
    assert "not started: 60 of max_coins=65 are spent, and it would cost 30" in result.out
    assert "- not started         1  no cost" in result.out
    assert "To resume the batch, with a higher --max-coins:\n  a2e batch run jobs.csv" in result.out
    arguments = result.out.splitlines()[-1].split()[2:]
    assert arguments == [*RUN, "--out", "videos", "--max-coins", "65"]
    arguments[-1] = "90"
    assert a2e_batch(*arguments).code == 0
    assert a2e_batch.charges == 3


def test_shortage_stops(a2e_batch: BatchCommand) -> None:
    """With --on-shortage stop, a lack of coins stops the batch, and the summary has the reason."""
    write("jobs.csv", TABLE)
    with a2e_batch.sandbox.override("POST", quick.START_PATH, NoCoins(after=1)):
        result = a2e_batch(*RUN, "--on-shortage", "stop", "--max-running", "1")
    assert result.code == 1
    assert a2e_batch.charges == 1
    assert re.search(r"\d\d stopped, nothing more is started: insufficient credits\. Add coins", result.out)
    assert "- not started         2  no cost" in result.out
    assert "Some jobs were not started: insufficient credits" in result.out
    assert "To resume the batch:\n  a2e batch run jobs.csv" in result.out


def test_shortage_pauses(a2e_batch: BatchCommand) -> None:
    """By default, a shortage pauses the batch. One line reports the pause, and one the end of the pause."""
    write("jobs.csv", TABLE)
    a2e_batch.sandbox.faults = FaultPlan(script={"start": [None, *[Fault("busy")] * 6]})
    filters = [*logging.getLogger("a2e_async").filters]
    result = a2e_batch(*RUN, "--max-running", "1")
    assert result.code == 0
    assert len(re.findall(r"^\S+ paused, resumes by itself: \S+.*$", result.out, re.MULTILINE)) == 1
    assert len(re.findall(r"^\S+ resumed$", result.out, re.MULTILINE)) == 1
    assert result.err == ""
    assert logging.getLogger("a2e_async").filters == filters


def test_full_disk_pauses(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk pauses the batch as well. One line reports the pause, and one its end, and no log line repeats them."""
    write("jobs.csv", TABLE)
    errors, really = [OSError(errno.ENOSPC, "disk full")] * 2, partial_file.append

    def append(file: IO[bytes], chunks: list[bytes]) -> None:
        with partial_file.map_disk_errors(pathlib.Path(file.name)):
            if errors:
                raise errors.pop()
        really(file, chunks)

    monkeypatch.setattr(partial_file, "append", append)
    result = a2e_batch(*RUN, "--max-running", "1")
    assert (result.code, result.err) == (0, "")
    paused = r"^\S+ paused, resumes by itself: nothing can be stored in 'videos': disk full$"
    assert len(re.findall(paused, result.out, re.MULTILINE)) == 1
    assert len(re.findall(r"^\S+ resumed$", result.out, re.MULTILINE)) == 1


def test_unknown_outcome(a2e_batch: BatchCommand) -> None:
    """A start with an unknown outcome is settled by the run itself; the job is uncertain if A2E's list cannot be read."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    sandbox = a2e_batch.sandbox
    sandbox.faults = FaultPlan(script={"start": [Fault("drop"), None, Fault("drop", after=True)]})
    assert a2e_batch(*RUN).code == 0
    assert a2e_batch.charges == 1

    def fail(_: web.Request) -> web.Response | None:
        return web.Response(status=500) if count_starts(sandbox) == 3 else None

    again = ("run", "jobs.csv", "--journal", "other.sqlite", "--out", "other")
    with sandbox.override("GET", LIST_PATH, fail):
        result = a2e_batch(*again)
    assert result.code == 1
    assert "? uncertain           1  may have cost coins" in result.out
    assert a2e_batch(*again).code == 0
    assert a2e_batch.charges == 2


def test_timeout(a2e_batch: BatchCommand) -> None:
    """After a timeout, the task continues, and the printed command resumes the wait without a new start."""
    write("jobs.csv", "image,prompt\nada.png,#stuck\n")
    result = a2e_batch(*RUN, "--timeout", "0.2")
    assert result.code == 1
    assert "? uncertain           1  may have cost coins" in result.out
    assert result.out.splitlines()[-1] == "  a2e batch run jobs.csv --journal jobs.sqlite --out videos --timeout 0.2"
    assert a2e_batch(*RUN, "--timeout", "0.2").code == 1
    assert a2e_batch.charges == 1


def test_failed_download(a2e_batch: BatchCommand) -> None:
    """A video without a file is reported, and the next run only downloads the file."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    with a2e_batch.sandbox.override("GET", "/cdn", lambda _: web.Response(status=404)):
        result = a2e_batch(*RUN)
    assert result.code == 1
    assert "ada.png: succeeded 30 coins, but without a file: " in result.out
    assert "- without a file      1  made, but not downloaded" in result.out
    assert a2e_batch(*RUN).code == 0
    assert pathlib.Path("videos/ada.png.mp4").exists()
    assert a2e_batch.charges == 1


def test_prompts_and_the_token_are_not_printed(a2e_batch: BatchCommand) -> None:
    """Results, failures and the summary have neither the token nor a prompt of a row."""
    write(
        "jobs.csv", "image,prompt\nada.png,a private prompt\nbob.png,a private prompt #fail\nx.png,a private prompt\n"
    )
    for arguments in ((*RUN, "--skip-invalid"), (*RUN, "--skip-invalid", "--json"), RUN):
        result = a2e_batch(*arguments)
        assert "private" not in result.out + result.err
        assert a2e_batch.sandbox.token not in result.out + result.err


def test_resume_command(a2e_batch: BatchCommand) -> None:
    """The command that resumes the batch has all options, quoted for a shell, but not the token."""
    write("my jobs.csv", "image\nada.png\n")
    options = [
        "--prompt",
        "#stuck it's",
        "--timeout",
        "0.1",
        "--retry-failed",
        "2",
        "--max-running",
        "3",
        "--on-unknown",
        "resend",
    ]
    result = a2e_batch(
        "run",
        "my jobs.csv",
        *options,
        "--token",
        a2e_batch.sandbox.token,
        "--base-url",
        a2e_batch.sandbox.url,
        "--json",
    )
    command = result.err.splitlines()[-1].strip()
    assert command.startswith("a2e batch run 'my jobs.csv' --journal 'my jobs.csv.a2e.sqlite' --out videos ")
    assert """--prompt '#stuck it'"'"'s'""" in command
    for option in ("--timeout 0.1", "--retry-failed 2", "--max-running 3", "--on-unknown resend", "--json"):
        assert option in command
    assert command.endswith(f"--base-url {a2e_batch.sandbox.url} --json")
    assert a2e_batch.sandbox.token not in command


def test_resume_command_of_standard_input() -> None:
    """For an input from standard input, the command shows that it must be given again."""
    command = resume_command("-", pathlib.Path("stdin.a2e.sqlite"), RunOptions(), DEFAULT_JOB, Connection())
    assert command == "a2e batch run - --journal stdin.a2e.sqlite --out videos < INPUT"


def test_large_table_that_stops(a2e_batch: BatchCommand) -> None:
    """Each of 3000 jobs that are not started has a result, and few requests are sent."""
    write("jobs.csv", "image,prompt\n" + "ada.png,x\n" * 3000)
    with a2e_batch.sandbox.override("POST", quick.START_PATH, NoCoins(after=0)):
        result = a2e_batch(*RUN, "--on-shortage", "stop", "--json")
    assert result.code == 1
    assert len(result.objects) == 3000
    assert len(a2e_batch.sandbox.requests) < 100


def test_export_agrees_with_the_results(a2e_batch: BatchCommand) -> None:
    """The exported table agrees with the printed results."""
    write("jobs.csv", TABLE)
    results = a2e_batch(*RUN, "--json").by_key()
    exported = csv.DictReader(io.StringIO(a2e_batch("export", "jobs.sqlite").out))
    for row in exported:
        assert (row["task_id"], row["path"]) == (results[row["key"]]["task_id"], results[row["key"]]["path"])

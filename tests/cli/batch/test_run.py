"""`a2e batch run` as it is typed: what is made, what is printed, what is checked first, exit codes."""

from __future__ import annotations

import csv
import io
import json
import logging
import pathlib
import re
import sys
from typing import Any

import batch_command
import pytest
import quick
from aiohttp import web
from batch_command import PRICE, BatchCommand, write

from a2e_async.cli.batch.run import RunOptions
from a2e_async.cli.options import Connection
from a2e_async.sandbox import Fault, Weather

a2e_batch = batch_command.a2e_batch

TABLE = "image,prompt\nada.png,she smiles\nbob.png,he waves\neva.png,she turns\n"
RUN = ("run", "jobs.csv", "--journal", "jobs.sqlite")


class Poor:
    """Lets some starts through, then says that there are no coins."""

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
    """A table becomes videos that are named after their images, and a line for each says so."""
    write("jobs.csv", TABLE)
    result = a2e_batch(*RUN)
    assert (result.code, result.err) == (0, "")
    assert sorted(path.name for path in pathlib.Path("videos").iterdir()) == ["ada.mp4", "bob.mp4", "eva.mp4"]
    assert pathlib.Path("videos/ada.mp4").read_bytes()[4:8] == b"ftyp"
    assert {task.prompt for task in a2e_batch.sandbox.tasks.values()} == {"she smiles", "he waves", "she turns"}
    first, *told = result.out.splitlines()
    assert first == "3 jobs of jobs.csv; the journal is jobs.sqlite"
    for number, line in enumerate(told[:3], 1):
        assert re.fullmatch(rf"\d\d:\d\d:\d\d {number}/3 (\w+): succeeded videos/\1\.mp4 30 coins", line)
    assert told[3:] == [
        "✓ succeeded           3  in videos",
        "  coins              90  3 purchases in this run",
    ]


def test_json_lines_and_all_words(a2e_batch: BatchCommand) -> None:
    """Every word of a row reaches A2E."""
    words = {
        "key": "order-17", "image": "ada.png", "end_image": "bob.png", "prompt": "a", "negative_prompt": "b", "name": "Ada",
        "model_type": "FLF2V", "model_version": "a2e-v2", "video_time": 10, "extend_prompt": False, "skip_face_enhance": True,
    }  # fmt: skip
    write("jobs.jsonl", lines(words))
    assert a2e_batch("run", "jobs.jsonl").code == 0
    (task,) = a2e_batch.sandbox.tasks.values()
    assert (task.prompt, task.name[:5], task.coins) == ("a", "Ada [", 2 * 2 * PRICE)
    assert pathlib.Path("videos/order-17.mp4").exists()
    with_it = json.loads(a2e_batch("export", "jobs.jsonl.a2e.sqlite", "--format", "jsonl").out)
    for word in set(words) - {"image", "end_image", "key"}:
        assert with_it[f"request.{word}"] == words[word]


def test_folder(a2e_batch: BatchCommand) -> None:
    """A folder of images needs a prompt; its paths are its own, and the journal is named after it."""
    for name in ("b.png", "a.PNG"):
        write(f"pictures/{name}", pathlib.Path("ada.png").read_bytes() + name.encode())
    result = a2e_batch("run", "pictures", "--prompt", "she smiles", "--video-time", "10", "-o", "clips")
    assert result.code == 0
    assert sorted(path.name for path in pathlib.Path("clips").iterdir()) == ["a.mp4", "b.mp4"]
    assert {(task.prompt, task.coins) for task in a2e_batch.sandbox.tasks.values()} == {("she smiles", 2 * PRICE)}
    assert pathlib.Path("pictures.a2e.sqlite").exists()


def test_folder_without_a_prompt(a2e_batch: BatchCommand) -> None:
    """Without a prompt, all images are wrong, and nothing is started."""
    result = a2e_batch("run", ".")
    assert result.code == 2
    assert "ada.png: prompt is needed" in result.err
    assert not a2e_batch.sandbox.requests


def test_standard_input(a2e_batch: BatchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` reads JSON Lines from the standard input, though they are gone through twice."""
    content = lines({"image": "ada.png", "prompt": "x"}, {"image": "bob.png", "prompt": "y"})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    result = a2e_batch("run", "-", "--json")
    assert result.code == 0
    assert sorted(result.by_key()) == ["ada", "bob"]
    assert pathlib.Path("stdin.a2e.sqlite").exists()


def test_paths_begin_at_the_table(a2e_batch: BatchCommand) -> None:
    """Relative paths are relative to the file, wherever the command is typed."""
    write("orders/jobs.csv", "image,prompt\npictures/zoe.png,x\n")
    write("orders/pictures/zoe.png", pathlib.Path("ada.png").read_bytes())
    assert a2e_batch("run", "orders/jobs.csv").code == 0
    assert pathlib.Path("videos/zoe.mp4").exists()


def test_json_is_all_that_a_program_sees(a2e_batch: BatchCommand) -> None:
    """With --json, stdout holds an object for each outcome and nothing else; people read on stderr."""
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
    assert (good["task_id"], good["path"], good["coins"], good["purchases"]) == (task.id, "videos/a.mp4", PRICE, 1)
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


def test_failures_are_told_at_the_end(a2e_batch: BatchCommand) -> None:
    """The end names what failed and why, without ids that nobody wants to read, and how to start it again."""
    write("jobs.csv", "key,image,prompt\na,ada.png,#fail\nb,bob.png,x\n")
    result = a2e_batch(*RUN)
    assert result.code == 1
    assert "✗ a: failed: The video could not be generated. Please try another image." in result.out.splitlines()
    assert "✗ failed              1" in result.out
    assert "bought again with --retry-failed 1" in result.out


def test_retries_are_counted_and_shown(a2e_batch: BatchCommand) -> None:
    """Each new start for a failed job is counted with it and in the end."""
    write("jobs.csv", "key,image,prompt\na,ada.png,#fail\n")
    result = a2e_batch(*RUN, "--retry-failed", "2")
    assert result.code == 1
    assert "a: failed (3 purchases)" in result.out
    assert result.out.splitlines()[-1] == "  coins              90  3 purchases in this run, 2 of them again"
    assert a2e_batch.charges == 3


def test_only_ten_failures_are_named(a2e_batch: BatchCommand) -> None:
    """A batch in which much goes wrong does not end with pages of it."""
    write("jobs.csv", "key,image,prompt\n" + "".join(f"k{number},ada.png,#refuse\n" for number in range(13)))
    result = a2e_batch(*RUN)
    assert sum(line.startswith("✗ k") for line in result.out.splitlines()) == 10
    assert "  and 3 more\n" in result.out
    assert "✗ failed             13" in result.out


def test_second_run_buys_nothing(a2e_batch: BatchCommand) -> None:
    """The same command again skips what is done, even if the images are gone by now."""
    write("jobs.csv", TABLE)
    assert a2e_batch(*RUN).code == 0
    pathlib.Path("ada.png").unlink()
    result = a2e_batch(*RUN)
    assert (result.code, result.err) == (0, "")
    assert "ada: done before" in result.out
    assert "- skipped             3  done by an earlier run" in result.out
    assert a2e_batch.charges == 3


def test_picture_of_a_failed_job_is_missed(a2e_batch: BatchCommand) -> None:
    """An image that is still needed is missed, though the journal knows the job."""
    write("jobs.csv", "image,prompt\nada.png,#fail\n")
    assert a2e_batch(*RUN).code == 1
    pathlib.Path("ada.png").unlink()
    assert a2e_batch(*RUN).code == 1
    result = a2e_batch(*RUN, "--retry-failed", "1")
    assert result.code == 2
    assert "jobs.csv:2: image 'ada.png' cannot be read: No such file or directory" in result.err


def test_wrong_options_are_found_in_rows_that_are_done(a2e_batch: BatchCommand) -> None:
    """What the journal excuses is a missing file, and not a row that could never work."""
    write("jobs.csv", "key,image,prompt,video_time\na,ada.png,x,5\n")
    assert a2e_batch(*RUN).code == 0
    pathlib.Path("ada.png").unlink()
    write("jobs.csv", "key,image,prompt,video_time\na,ada.png,x,7\n")
    result = a2e_batch(*RUN)
    assert result.code == 2
    assert "jobs.csv:2: video_time must be one of" in result.err


WRONG = """key,image,prompt,video_time
a,ada.png,x,5
b,nowhere.png,x,5
c,bob.png,x,7
a,eva.png,x,5
d,eva.png,she smiles, gently,5
e,eva.png,,5
"""


def test_wrong_rows_are_listed_before_anything_is_sent(a2e_batch: BatchCommand) -> None:
    """All wrong rows are told with their line and their reason, and nothing was asked of A2E."""
    write("jobs.csv", WRONG)
    result = a2e_batch(*RUN)
    assert result.code == 2
    assert result.out == ""
    assert result.err.splitlines() == [
        "jobs.csv:3: image 'nowhere.png' cannot be read: No such file or directory",
        "jobs.csv:4: video_time must be one of 5, 10, 15, 20, not 7",
        "jobs.csv:5: key 'a' is that of row 2 already",
        "jobs.csv:6: 5 cells for 4 columns: is a text with a comma not in double quotes?",
        "jobs.csv:7: prompt is needed unless lora is given: A2E answers 400 without it",
        "a2e: 5 of 6 rows are wrong, and nothing was started: mend them, or leave them out with --skip-invalid",
    ]
    assert not a2e_batch.sandbox.requests
    assert not pathlib.Path("jobs.sqlite").exists()


def test_skip_invalid(a2e_batch: BatchCommand) -> None:
    """Wrong rows can be left out; they are listed all the same."""
    write("jobs.csv", WRONG)
    result = a2e_batch(*RUN, "--skip-invalid")
    assert result.code == 0
    assert len(result.err.splitlines()) == 5
    assert a2e_batch.task_names == ["ada"]
    assert "1/1 a: succeeded" in result.out


def test_fifty_wrong_rows_are_enough(a2e_batch: BatchCommand) -> None:
    """Of very many wrong rows, fifty are listed and the others counted."""
    write("jobs.csv", "image,prompt\n" + "nowhere.png,x\n" * 60)
    result = a2e_batch(*RUN)
    assert sum("nowhere.png" in line for line in result.err.splitlines()) == 50
    assert "and 10 more wrong rows" in result.err
    assert "60 of 60 rows are wrong" in result.err


@pytest.mark.parametrize(
    ("content", "options"), [("image,prompt\n", ()), ("image,prompt\nx.png,x\n", ("--skip-invalid",))]
)
def test_nothing_to_do(a2e_batch: BatchCommand, content: str, options: tuple[str, ...]) -> None:
    """An input without a job is wrong use."""
    write("jobs.csv", content)
    result = a2e_batch(*RUN, *options)
    assert result.code == 2
    assert "a2e: there is no job in jobs.csv" in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "nowhere.csv"), "neither a file nor a folder"),
        (("run", "jobs.csv", "--journal", "ada.png"), "ada.png"),
        (("run", "--bad"), "--bad"),
        (("run", "jobs.csv", "--video-time", "7"), "--video-time"),
        (("run", "jobs.csv", "--max-running", "0"), "max_running"),
        (("run", "jobs.csv", "--out", "ada.png"), "'ada.png' is no folder"),
        (("run", "broken.csv"), "broken.csv:1: there is no column 'promt', did you mean 'prompt'?"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_wrong_use(a2e_batch: BatchCommand, words: tuple[str, ...], message: str) -> None:
    """Wrong use is exit code 2, one line that names what is wrong, and nothing sent."""
    write("jobs.csv", TABLE)
    write("broken.csv", "image,promt\n")
    result = a2e_batch(*words)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert message in result.err
    assert not a2e_batch.sandbox.requests


def test_existing_video(a2e_batch: BatchCommand) -> None:
    """A video that is in the way is a wrong row, before anything is paid, unless --overwrite is said."""
    write("jobs.csv", TABLE)
    write("videos/ada.mp4", "mine")
    result = a2e_batch(*RUN)
    assert result.code == 2
    assert "jobs.csv:2: videos/ada.mp4 exists already: --overwrite replaces it" in result.err
    assert a2e_batch(*RUN, "--overwrite").code == 0
    assert pathlib.Path("videos/ada.mp4").read_bytes()[4:8] == b"ftyp"


def test_dry_run(a2e_batch: BatchCommand) -> None:
    """A dry run shows the jobs, asks A2E for the price of each kind once, and starts and uploads nothing."""
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


def test_dry_run_knows_the_journal(a2e_batch: BatchCommand) -> None:
    """A dry run does not count what the journal has done."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    assert a2e_batch(*RUN).code == 0
    write("jobs.csv", TABLE.replace("she smiles", "x"))
    result = a2e_batch(*RUN, "--dry-run")
    assert "1 more are in the journal: nothing would be bought for them." in result.out
    assert "2 videos would be started: about 60 coins" in result.out


def test_dry_run_for_programs(a2e_batch: BatchCommand) -> None:
    """With --json, a dry run prints every job and its price."""
    write("jobs.csv", "image,prompt\n" + "ada.png,x\n" * 25)
    plain = a2e_batch(*RUN, "--dry-run")
    assert "… and 5 more (--json lists all)" in plain.out
    result = a2e_batch(*RUN, "--dry-run", "--json")
    assert len(result.objects) == 25
    assert result.objects[1] == {
        "key": "ada-2", "image": "ada.png", "prompt": "x", "negative_prompt": "blurry, distorted, low quality",
        "model_version": "a2e", "video_time": 5, "coins": PRICE,
    }  # fmt: skip


def test_dry_run_without_a_price(a2e_batch: BatchCommand) -> None:
    """If A2E tells no price, the plan is shown all the same."""
    write("jobs.csv", TABLE)
    a2e_batch.sandbox.weather = Weather(chances={"*": {Fault("status", status=500): 1.0}})
    result = a2e_batch(*RUN, "--dry-run")
    assert result.code == 0
    assert "3 videos would be started: A2E told no price, uploads not counted." in result.out


def test_budget(a2e_batch: BatchCommand) -> None:
    """What does not fit into --max-coins is not started; the end says how to go on, and that works."""
    write("jobs.csv", TABLE)
    result = a2e_batch(*RUN, "--max-coins", "65")
    assert result.code == 1
    assert a2e_batch.charges == 2
    assert "not started: 60 of max_coins=65 are spent, and it would cost 30" in result.out
    assert "- not started         1  not paid" in result.out
    assert "To go on with the rest, with a higher --max-coins:\n  a2e batch run jobs.csv" in result.out
    again = result.out.splitlines()[-1].split()[2:]
    assert again == [*RUN, "--out", "videos", "--max-coins", "65"]
    again[-1] = "90"
    assert a2e_batch(*again).code == 0
    assert a2e_batch.charges == 3


def test_shortage_stops(a2e_batch: BatchCommand) -> None:
    """With --on-shortage stop, too few coins end the batch: the rest is not started, and the reason is said."""
    write("jobs.csv", TABLE)
    with a2e_batch.sandbox.override("POST", quick.START_PATH, Poor(after=1)):
        result = a2e_batch(*RUN, "--on-shortage", "stop", "--max-running", "1")
    assert result.code == 1
    assert a2e_batch.charges == 1
    assert re.search(r"\d\d stopped, nothing more is started: insufficient credits\. Buy coins", result.out)
    assert "- not started         2  not paid" in result.out
    assert "Not all were started: insufficient credits" in result.out
    assert "To go on with the rest:\n  a2e batch run jobs.csv" in result.out


def test_shortage_pauses(a2e_batch: BatchCommand) -> None:
    """By default a shortage pauses the whole batch with one line, and another one says that it goes on."""
    write("jobs.csv", TABLE)
    a2e_batch.sandbox.weather = Weather(script={"start": [None, *[Fault("busy")] * 6]})
    result = a2e_batch(*RUN, "--max-running", "1")
    assert result.code == 0
    assert len(re.findall(r"^\S+ paused, goes on by itself: \S+.*$", result.out, re.MULTILINE)) == 1
    assert len(re.findall(r"^\S+ goes on$", result.out, re.MULTILINE)) == 1
    assert result.err == ""
    assert not logging.getLogger("a2e_async").filters


def test_start_that_nobody_knows_of(a2e_batch: BatchCommand) -> None:
    """A start whose answer got lost is uncertain by default, and sent again if that is wanted."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    a2e_batch.sandbox.weather = Weather(script={"start": [Fault("drop")] * 2})
    result = a2e_batch(*RUN)
    assert result.code == 1
    assert "? uncertain           1  may be paid" in result.out
    assert a2e_batch("run", "jobs.csv", "--journal", "other.sqlite", "--on-unknown", "resend").code == 0
    assert a2e_batch.charges == 1


def test_wait_that_ends_early(a2e_batch: BatchCommand) -> None:
    """A wait that is too short leaves the task alive; the end says how to go on, and that starts nothing."""
    write("jobs.csv", "image,prompt\nada.png,#stuck\n")
    result = a2e_batch(*RUN, "--timeout", "0.2")
    assert result.code == 1
    assert "? uncertain           1  may be paid" in result.out
    assert result.out.splitlines()[-1] == "  a2e batch run jobs.csv --journal jobs.sqlite --out videos --timeout 0.2"
    assert a2e_batch(*RUN, "--timeout", "0.2").code == 1
    assert a2e_batch.charges == 1


def test_download_that_fails(a2e_batch: BatchCommand) -> None:
    """A video without its file is told as such; the next run fetches only the file."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    with a2e_batch.sandbox.override("GET", "/cdn", lambda _: web.Response(status=404)):
        result = a2e_batch(*RUN)
    assert result.code == 1
    assert "ada: succeeded 30 coins, but has no file: " in result.out
    assert "- without a file      1  made, but not downloaded" in result.out
    assert a2e_batch(*RUN).code == 0
    assert pathlib.Path("videos/ada.mp4").exists()
    assert a2e_batch.charges == 1


def test_prompts_and_the_token_are_not_printed(a2e_batch: BatchCommand) -> None:
    """Neither outcomes nor failures nor the end show the token or a prompt of a row."""
    write(
        "jobs.csv", "image,prompt\nada.png,a private prompt\nbob.png,a private prompt #fail\nx.png,a private prompt\n"
    )
    for words in ((*RUN, "--skip-invalid"), (*RUN, "--skip-invalid", "--json"), RUN):
        result = a2e_batch(*words)
        assert "private" not in result.out + result.err
        assert a2e_batch.sandbox.token not in result.out + result.err


def test_command_that_goes_on(a2e_batch: BatchCommand) -> None:
    """The command that goes on has all that was typed, quoted for a shell, but not the token."""
    write("my jobs.csv", "image\nada.png\n")
    words = [
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
        "run", "my jobs.csv", *words, "--token", a2e_batch.sandbox.token, "--base-url", a2e_batch.sandbox.url, "--json"
    )
    command = result.err.splitlines()[-1].strip()
    assert command.startswith("a2e batch run 'my jobs.csv' --journal 'my jobs.csv.a2e.sqlite' --out videos ")
    assert """--prompt '#stuck it'"'"'s'""" in command
    for option in ("--timeout 0.1", "--retry-failed 2", "--max-running 3", "--on-unknown resend", "--json"):
        assert option in command
    assert command.endswith(f"--base-url {a2e_batch.sandbox.url} --json")
    assert a2e_batch.sandbox.token not in command


def test_command_that_goes_on_with_the_standard_input() -> None:
    """What came from the standard input has to come from there again."""
    command = RunOptions().command("-", pathlib.Path("stdin.a2e.sqlite"), Connection())
    assert command == "a2e batch run - --journal stdin.a2e.sqlite --out videos < INPUT"


def test_large_table_that_stops(a2e_batch: BatchCommand) -> None:
    """Each of very many jobs that are not started gets its outcome, and A2E is not asked for each."""
    write("jobs.csv", "image,prompt\n" + "ada.png,x\n" * 3000)
    with a2e_batch.sandbox.override("POST", quick.START_PATH, Poor(after=0)):
        result = a2e_batch(*RUN, "--on-shortage", "stop", "--json")
    assert result.code == 1
    assert len(result.objects) == 3000
    assert len(a2e_batch.sandbox.requests) < 100


def test_exported_table_can_be_read(a2e_batch: BatchCommand) -> None:
    """What is printed for programs is what the journal holds afterwards."""
    write("jobs.csv", TABLE)
    told = a2e_batch(*RUN, "--json").by_key()
    exported = csv.DictReader(io.StringIO(a2e_batch("export", "jobs.sqlite").out))
    for row in exported:
        assert (row["task_id"], row["path"]) == (told[row["key"]]["task_id"], told[row["key"]]["path"])

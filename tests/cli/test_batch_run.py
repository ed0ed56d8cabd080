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

import batch_shell
import pytest
import quick
from aiohttp import web
from batch_shell import PRICE, Shell, write

from a2e_async.cli.batch_options import RunOptions
from a2e_async.cli.options import Connection
from a2e_async.sandbox import Fault, Weather

shell = batch_shell.shell

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


def test_table(shell: Shell) -> None:
    """A table becomes videos that are named after their pictures, and a line for each says so."""
    write("jobs.csv", TABLE)
    said = shell(*RUN)
    assert (said.code, said.err) == (0, "")
    assert sorted(path.name for path in pathlib.Path("videos").iterdir()) == ["ada.mp4", "bob.mp4", "eva.mp4"]
    assert pathlib.Path("videos/ada.mp4").read_bytes()[4:8] == b"ftyp"
    assert {task.prompt for task in shell.sandbox.tasks.values()} == {"she smiles", "he waves", "she turns"}
    first, *told = said.out.splitlines()
    assert first == "3 jobs of jobs.csv; the journal is jobs.sqlite"
    for number, line in enumerate(told[:3], 1):
        assert re.fullmatch(rf"\d\d:\d\d:\d\d {number}/3 (\w+): succeeded videos/\1\.mp4 30 coins", line)
    assert told[3:] == [
        "✓ succeeded           3  in videos",
        "  coins              90  3 purchases in this run",
    ]


def test_json_lines_and_all_words(shell: Shell) -> None:
    """Every word of a row reaches A2E."""
    words = {
        "key": "order-17", "image": "ada.png", "end_image": "bob.png", "prompt": "a", "negative_prompt": "b", "name": "Ada",
        "model_type": "FLF2V", "model_version": "a2e-v2", "video_time": 10, "extend_prompt": False, "skip_face_enhance": True,
    }  # fmt: skip
    write("jobs.jsonl", lines(words))
    assert shell("run", "jobs.jsonl").code == 0
    (task,) = shell.sandbox.tasks.values()
    assert (task.prompt, task.name[:5], task.coins) == ("a", "Ada [", 2 * 2 * PRICE)
    assert pathlib.Path("videos/order-17.mp4").exists()
    with_it = json.loads(shell("export", "jobs.jsonl.a2e.sqlite", "--format", "jsonl").out)
    for word in set(words) - {"image", "end_image", "key"}:
        assert with_it[f"request.{word}"] == words[word]


def test_folder(shell: Shell) -> None:
    """A folder of pictures needs a prompt; its paths are its own, and the journal is named after it."""
    for name in ("b.png", "a.PNG"):
        write(f"pictures/{name}", pathlib.Path("ada.png").read_bytes() + name.encode())
    said = shell("run", "pictures", "--prompt", "she smiles", "--video-time", "10", "-o", "clips")
    assert said.code == 0
    assert sorted(path.name for path in pathlib.Path("clips").iterdir()) == ["a.mp4", "b.mp4"]
    assert {(task.prompt, task.coins) for task in shell.sandbox.tasks.values()} == {("she smiles", 2 * PRICE)}
    assert pathlib.Path("pictures.a2e.sqlite").exists()


def test_folder_without_a_prompt(shell: Shell) -> None:
    """Without a prompt, all pictures are wrong, and nothing is started."""
    said = shell("run", ".")
    assert said.code == 2
    assert "ada.png: prompt is needed" in said.err
    assert not shell.sandbox.requests


def test_standard_input(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` reads JSON Lines from the standard input, though they are gone through twice."""
    content = lines({"image": "ada.png", "prompt": "x"}, {"image": "bob.png", "prompt": "y"})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    said = shell("run", "-", "--json")
    assert said.code == 0
    assert sorted(said.by_key()) == ["ada", "bob"]
    assert pathlib.Path("stdin.a2e.sqlite").exists()


def test_paths_begin_at_the_table(shell: Shell) -> None:
    """Relative paths are relative to the file, wherever the command is typed."""
    write("orders/jobs.csv", "image,prompt\npictures/zoe.png,x\n")
    write("orders/pictures/zoe.png", pathlib.Path("ada.png").read_bytes())
    assert shell("run", "orders/jobs.csv").code == 0
    assert pathlib.Path("videos/zoe.mp4").exists()


def test_json_is_all_that_a_program_sees(shell: Shell) -> None:
    """With --json, stdout holds an object for each outcome and nothing else; people read on stderr."""
    write("jobs.csv", "key,image,prompt\na,ada.png,x\nb,bob.png,#fail\nc,eva.png,#refuse\n")
    said = shell(*RUN, "--json")
    assert said.code == 1
    found = said.by_key()
    assert {key: (each["state"], each["ok"]) for key, each in found.items()} == {
        "a": ("succeeded", True),
        "b": ("failed", False),
        "c": ("failed", False),
    }
    good = found["a"]
    (task,) = (task for task in shell.sandbox.tasks.values() if task.prompt == "x")
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
    assert "✗ failed" in said.err


def test_failures_are_told_at_the_end(shell: Shell) -> None:
    """The end names what failed and why, without ids that nobody wants to read, and how to buy it again."""
    write("jobs.csv", "key,image,prompt\na,ada.png,#fail\nb,bob.png,x\n")
    said = shell(*RUN)
    assert said.code == 1
    assert "✗ a: failed: The video could not be generated. Please try another picture." in said.out.splitlines()
    assert "✗ failed              1" in said.out
    assert "bought again with --retry-failed 1" in said.out


def test_retries_are_counted_and_shown(shell: Shell) -> None:
    """Each new purchase for a failed job is counted with it and in the end."""
    write("jobs.csv", "key,image,prompt\na,ada.png,#fail\n")
    said = shell(*RUN, "--retry-failed", "2")
    assert said.code == 1
    assert "a: failed (3 purchases)" in said.out
    assert said.out.splitlines()[-1] == "  coins              90  3 purchases in this run, 2 of them again"
    assert shell.purchases == 3


def test_only_ten_failures_are_named(shell: Shell) -> None:
    """A batch in which much goes wrong does not end with pages of it."""
    write("jobs.csv", "key,image,prompt\n" + "".join(f"k{number},ada.png,#refuse\n" for number in range(13)))
    said = shell(*RUN)
    assert sum(line.startswith("✗ k") for line in said.out.splitlines()) == 10
    assert "  and 3 more\n" in said.out
    assert "✗ failed             13" in said.out


def test_second_run_buys_nothing(shell: Shell) -> None:
    """The same command again skips what is done, even if the pictures are gone by now."""
    write("jobs.csv", TABLE)
    assert shell(*RUN).code == 0
    pathlib.Path("ada.png").unlink()
    said = shell(*RUN)
    assert (said.code, said.err) == (0, "")
    assert "ada: done before" in said.out
    assert "- skipped             3  done by an earlier run" in said.out
    assert shell.purchases == 3


def test_picture_of_a_failed_job_is_missed(shell: Shell) -> None:
    """A picture that is still needed is missed, though the journal knows the job."""
    write("jobs.csv", "image,prompt\nada.png,#fail\n")
    assert shell(*RUN).code == 1
    pathlib.Path("ada.png").unlink()
    assert shell(*RUN).code == 1
    said = shell(*RUN, "--retry-failed", "1")
    assert said.code == 2
    assert "jobs.csv:2: image 'ada.png' cannot be read: No such file or directory" in said.err


def test_wrong_options_are_found_in_rows_that_are_done(shell: Shell) -> None:
    """What the journal excuses is a missing file, and not a row that could never work."""
    write("jobs.csv", "key,image,prompt,video_time\na,ada.png,x,5\n")
    assert shell(*RUN).code == 0
    pathlib.Path("ada.png").unlink()
    write("jobs.csv", "key,image,prompt,video_time\na,ada.png,x,7\n")
    said = shell(*RUN)
    assert said.code == 2
    assert "jobs.csv:2: video_time must be one of" in said.err


WRONG = """key,image,prompt,video_time
a,ada.png,x,5
b,nowhere.png,x,5
c,bob.png,x,7
a,eva.png,x,5
d,eva.png,she smiles, gently,5
e,eva.png,,5
"""


def test_wrong_rows_are_listed_before_anything_is_sent(shell: Shell) -> None:
    """All wrong rows are told with their line and their reason, and nothing was asked of A2E."""
    write("jobs.csv", WRONG)
    said = shell(*RUN)
    assert said.code == 2
    assert said.out == ""
    assert said.err.splitlines() == [
        "jobs.csv:3: image 'nowhere.png' cannot be read: No such file or directory",
        "jobs.csv:4: video_time must be one of 5, 10, 15, 20, not 7",
        "jobs.csv:5: key 'a' is that of row 2 already",
        "jobs.csv:6: 5 cells for 4 columns: is a text with a comma not in double quotes?",
        "jobs.csv:7: prompt is needed unless lora is given: A2E answers 400 without it",
        "a2e: 5 of 6 rows are wrong, and nothing was started: mend them, or leave them out with --skip-invalid",
    ]
    assert not shell.sandbox.requests
    assert not pathlib.Path("jobs.sqlite").exists()


def test_skip_invalid(shell: Shell) -> None:
    """Wrong rows can be left out; they are listed all the same."""
    write("jobs.csv", WRONG)
    said = shell(*RUN, "--skip-invalid")
    assert said.code == 0
    assert len(said.err.splitlines()) == 5
    assert shell.names == ["ada"]
    assert "1/1 a: succeeded" in said.out


def test_fifty_wrong_rows_are_enough(shell: Shell) -> None:
    """Of very many wrong rows, fifty are listed and the others counted."""
    write("jobs.csv", "image,prompt\n" + "nowhere.png,x\n" * 60)
    said = shell(*RUN)
    assert sum("nowhere.png" in line for line in said.err.splitlines()) == 50
    assert "and 10 more wrong rows" in said.err
    assert "60 of 60 rows are wrong" in said.err


@pytest.mark.parametrize(
    ("content", "options"), [("image,prompt\n", ()), ("image,prompt\nx.png,x\n", ("--skip-invalid",))]
)
def test_nothing_to_do(shell: Shell, content: str, options: tuple[str, ...]) -> None:
    """An input without a job is wrong use."""
    write("jobs.csv", content)
    said = shell(*RUN, *options)
    assert said.code == 2
    assert "a2e: there is no job in jobs.csv" in said.err


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
def test_wrong_use(shell: Shell, words: tuple[str, ...], message: str) -> None:
    """Wrong use is exit code 2, one line that names what is wrong, and nothing sent."""
    write("jobs.csv", TABLE)
    write("broken.csv", "image,promt\n")
    said = shell(*words)
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert message in said.err
    assert not shell.sandbox.requests


def test_existing_video(shell: Shell) -> None:
    """A video that is in the way is a wrong row, before anything is paid, unless --overwrite is said."""
    write("jobs.csv", TABLE)
    write("videos/ada.mp4", "mine")
    said = shell(*RUN)
    assert said.code == 2
    assert "jobs.csv:2: videos/ada.mp4 exists already: --overwrite replaces it" in said.err
    assert shell(*RUN, "--overwrite").code == 0
    assert pathlib.Path("videos/ada.mp4").read_bytes()[4:8] == b"ftyp"


def test_dry_run(shell: Shell) -> None:
    """A dry run shows the jobs, asks A2E for the price of each kind once, and starts and uploads nothing."""
    write("jobs.csv", "key,image,prompt,video_time\na,ada.png,she smiles,5\nb,bob.png,x,10\nc,eva.png,y,10\n")
    said = shell(*RUN, "--dry-run")
    assert said.code == 0
    assert re.search(r"^a +ada\.png +a2e +5 +she smiles *$", said.out, re.MULTILINE)
    assert re.search(r"^ +1 +a2e +5 +no +30 +30$", said.out, re.MULTILINE)
    assert re.search(r"^ +2 +a2e +10 +no +60 +120$", said.out, re.MULTILINE)
    assert "3 videos would be started: about 150 coins by A2E's estimate, uploads not counted." in said.out
    assert {request.path for request in shell.sandbox.requests} == {"/api/v1/generation/quote"}
    assert len(shell.sandbox.requests) == 2
    assert not pathlib.Path("jobs.sqlite").exists()


def test_dry_run_knows_the_journal(shell: Shell) -> None:
    """A dry run does not count what the journal has done."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    assert shell(*RUN).code == 0
    write("jobs.csv", TABLE.replace("she smiles", "x"))
    said = shell(*RUN, "--dry-run")
    assert "1 more are in the journal: nothing would be bought for them." in said.out
    assert "2 videos would be started: about 60 coins" in said.out


def test_dry_run_for_programs(shell: Shell) -> None:
    """With --json, a dry run prints every job and its price."""
    write("jobs.csv", "image,prompt\n" + "ada.png,x\n" * 25)
    plain = shell(*RUN, "--dry-run")
    assert "… and 5 more (--json lists all)" in plain.out
    said = shell(*RUN, "--dry-run", "--json")
    assert len(said.objects) == 25
    assert said.objects[1] == {
        "key": "ada-2", "image": "ada.png", "prompt": "x", "negative_prompt": "blurry, distorted, low quality",
        "model_version": "a2e", "video_time": 5, "coins": PRICE,
    }  # fmt: skip


def test_dry_run_without_a_price(shell: Shell) -> None:
    """If A2E tells no price, the plan is shown all the same."""
    write("jobs.csv", TABLE)
    shell.sandbox.weather = Weather(chances={"*": {Fault("status", status=500): 1.0}})
    said = shell(*RUN, "--dry-run")
    assert said.code == 0
    assert "3 videos would be started: A2E told no price, uploads not counted." in said.out


def test_budget(shell: Shell) -> None:
    """What does not fit into --max-coins is not started; the end says how to go on, and that works."""
    write("jobs.csv", TABLE)
    said = shell(*RUN, "--max-coins", "65")
    assert said.code == 1
    assert shell.purchases == 2
    assert "not started: 60 of max_coins=65 are spent, and it would cost 30" in said.out
    assert "- not started         1  not paid" in said.out
    assert "To go on with the rest, with a higher --max-coins:\n  a2e batch run jobs.csv" in said.out
    again = said.out.splitlines()[-1].split()[2:]
    assert again == [*RUN, "--out", "videos", "--max-coins", "65"]
    again[-1] = "90"
    assert shell(*again).code == 0
    assert shell.purchases == 3


def test_shortage_stops(shell: Shell) -> None:
    """With --on-shortage stop, too few coins end the batch: the rest is not started, and the reason is said."""
    write("jobs.csv", TABLE)
    with shell.sandbox.override("POST", quick.START, Poor(after=1)):
        said = shell(*RUN, "--on-shortage", "stop", "--max-running", "1")
    assert said.code == 1
    assert shell.purchases == 1
    assert re.search(r"\d\d stopped, nothing more is started: insufficient credits\. Buy coins", said.out)
    assert "- not started         2  not paid" in said.out
    assert "Not all were started: insufficient credits" in said.out
    assert "To go on with the rest:\n  a2e batch run jobs.csv" in said.out


def test_shortage_pauses(shell: Shell) -> None:
    """By default a shortage pauses the whole batch with one line, and another one says that it goes on."""
    write("jobs.csv", TABLE)
    shell.sandbox.weather = Weather(script={"start": [None, *[Fault("busy")] * 6]})
    said = shell(*RUN, "--max-running", "1")
    assert said.code == 0
    assert len(re.findall(r"^\S+ paused, goes on by itself: \S+.*$", said.out, re.MULTILINE)) == 1
    assert len(re.findall(r"^\S+ goes on$", said.out, re.MULTILINE)) == 1
    assert said.err == ""
    assert not logging.getLogger("a2e_async").filters


def test_start_that_nobody_knows_of(shell: Shell) -> None:
    """A start whose answer got lost is uncertain by default, and sent again if that is wanted."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    shell.sandbox.weather = Weather(script={"start": [Fault("drop")] * 2})
    said = shell(*RUN)
    assert said.code == 1
    assert "? uncertain           1  may be paid" in said.out
    assert shell("run", "jobs.csv", "--journal", "other.sqlite", "--on-unknown", "resend").code == 0
    assert shell.purchases == 1


def test_wait_that_ends_early(shell: Shell) -> None:
    """A wait that is too short leaves the task alive; the end says how to go on, and that buys nothing."""
    write("jobs.csv", "image,prompt\nada.png,#stuck\n")
    said = shell(*RUN, "--timeout", "0.2")
    assert said.code == 1
    assert "? uncertain           1  may be paid" in said.out
    assert said.out.splitlines()[-1] == "  a2e batch run jobs.csv --journal jobs.sqlite --out videos --timeout 0.2"
    assert shell(*RUN, "--timeout", "0.2").code == 1
    assert shell.purchases == 1


def test_download_that_fails(shell: Shell) -> None:
    """A video without its file is told as such; the next run fetches only the file."""
    write("jobs.csv", "image,prompt\nada.png,x\n")
    with shell.sandbox.override("GET", "/cdn", lambda _: web.Response(status=404)):
        said = shell(*RUN)
    assert said.code == 1
    assert "ada: succeeded 30 coins, but has no file: " in said.out
    assert "- without a file      1  made, but not downloaded" in said.out
    assert shell(*RUN).code == 0
    assert pathlib.Path("videos/ada.mp4").exists()
    assert shell.purchases == 1


def test_prompts_and_the_token_are_not_printed(shell: Shell) -> None:
    """Neither outcomes nor failures nor the end show the token or a prompt of a row."""
    write(
        "jobs.csv", "image,prompt\nada.png,a private prompt\nbob.png,a private prompt #fail\nx.png,a private prompt\n"
    )
    for words in ((*RUN, "--skip-invalid"), (*RUN, "--skip-invalid", "--json"), RUN):
        said = shell(*words)
        assert "private" not in said.out + said.err
        assert shell.sandbox.token not in said.out + said.err


def test_command_that_goes_on(shell: Shell) -> None:
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
    said = shell(
        "run", "my jobs.csv", *words, "--token", shell.sandbox.token, "--base-url", shell.sandbox.url, "--json"
    )
    command = said.err.splitlines()[-1].strip()
    assert command.startswith("a2e batch run 'my jobs.csv' --journal 'my jobs.csv.a2e.sqlite' --out videos ")
    assert """--prompt '#stuck it'"'"'s'""" in command
    for option in ("--timeout 0.1", "--retry-failed 2", "--max-running 3", "--on-unknown resend", "--json"):
        assert option in command
    assert command.endswith(f"--base-url {shell.sandbox.url} --json")
    assert shell.sandbox.token not in command


def test_command_that_goes_on_with_the_standard_input() -> None:
    """What came from the standard input has to come from there again."""
    command = RunOptions().command("-", pathlib.Path("stdin.a2e.sqlite"), Connection())
    assert command == "a2e batch run - --journal stdin.a2e.sqlite --out videos < INPUT"


def test_large_table_that_stops(shell: Shell) -> None:
    """Each of very many jobs that are not started gets its outcome, and A2E is not asked for each."""
    write("jobs.csv", "image,prompt\n" + "ada.png,x\n" * 3000)
    with shell.sandbox.override("POST", quick.START, Poor(after=0)):
        said = shell(*RUN, "--on-shortage", "stop", "--json")
    assert said.code == 1
    assert len(said.objects) == 3000
    assert len(shell.sandbox.requests) < 100


def test_exported_table_can_be_read(shell: Shell) -> None:
    """What is printed for programs is what the journal holds afterwards."""
    write("jobs.csv", TABLE)
    told = shell(*RUN, "--json").by_key()
    exported = csv.DictReader(io.StringIO(shell("export", "jobs.sqlite").out))
    for row in exported:
        assert (row["task_id"], row["path"]) == (told[row["key"]]["task_id"], told[row["key"]]["path"])

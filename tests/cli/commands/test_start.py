"""`a2e image-to-video start` and `run`: requests, output and exit codes."""

from __future__ import annotations

import json
import pathlib
import re
from typing import TYPE_CHECKING

import pytest
from streams import ctrl_c_when

from a2e_async.cli import main
from a2e_async.cli.app import app
from a2e_async.cli.options import DEFAULT_START, NEGATIVE_PROMPT, StartArguments
from a2e_async.resources.image_to_video import StartOptions
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

LINK = "https://example.com/ada.png"


def test_start_prints_the_id_alone(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout has the id only; the price and the next command are on stderr."""
    assert main(["image-to-video", "start", image, "--prompt", "she smiles"]) == 0
    (task,) = service.tasks.values()
    out, err = capsys.readouterr()
    assert out == f"{task.id}\n"
    assert err == f"a2e: started for 30 coins; wait for it with: a2e image-to-video wait {task.id}\n"


def test_start_does_not_wait(service: Sandbox, image: str) -> None:
    """A start ends at once, also if its task never ends, and does not poll."""
    assert main(["image-to-video", "start", image, "--prompt", "#stuck"]) == 0
    assert not [seen for seen in service.requests if seen.method == "GET" and "userImage2Video" in seen.path]


def test_start_as_json(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, stdout is one object with the record, and stderr is empty."""
    assert main(["image-to-video", "start", image, "--prompt", "x", "--json"]) == 0
    out, err = capsys.readouterr()
    (task,) = service.tasks.values()
    record = json.loads(out)
    assert {"id": task.id, "coins": 30, "failed_code": "", "result_url": "", "progress": None}.items() <= record.items()
    assert record["created_at"].endswith("+00:00")
    assert out.count("\n") == 1
    assert not err


def test_start_of_a_link(service: Sandbox) -> None:
    """A link is sent unchanged, and nothing is uploaded."""
    assert main(["image-to-video", "start", LINK, "--prompt", "x", "--end-image", f"{LINK}?2"]) == 0
    (task,) = service.tasks.values()
    assert (task.start.image_url, task.start.end_image_url) == (LINK, f"{LINK}?2")
    assert not [seen for seen in service.requests if seen.path.endswith("/r2")]


def test_every_option_is_sent(service: Sandbox) -> None:
    """Every option reaches A2E."""
    options = {
        "--prompt": "she waves",
        "--negative-prompt": "rain",
        "--name": "Ada",
        "--video-time": "10",
        "--model-version": "a2e-v2-flash",
        "--model-type": "GENERAL",
        "--webhook-url": "https://example.com/hook",
        "--webhook-token": "secret",
    }
    arguments = [word for option in options.items() for word in option]
    assert main(["image-to-video", "start", LINK, *arguments]) == 0
    (task,) = service.tasks.values()
    sent = task.start
    assert (sent.prompt, sent.negative_prompt, sent.video_time) == ("she waves", "rain", 10)
    assert (sent.model_version, sent.model_type) == ("a2e-v2-flash", "GENERAL")
    assert (sent.webhook_url, sent.webhook_token) == ("https://example.com/hook", "secret")
    assert task.name.startswith("Ada [a2e:")


def test_defaults(service: Sandbox) -> None:
    """Without options, the defaults are sent: a negative prompt, 5 seconds, and the cheapest model."""
    assert main(["image-to-video", "start", LINK, "--prompt", "x"]) == 0
    (task,) = service.tasks.values()
    sent = task.start
    assert (sent.negative_prompt, sent.video_time, sent.model_version) == (NEGATIVE_PROMPT, 5, "a2e")
    assert (sent.webhook_url, sent.webhook_token, sent.end_image_url) == ("", "", "")


@pytest.mark.parametrize(
    ("words", "switches"),
    [
        ([], (None, None)),
        (["--extend-prompt", "--skip-face-enhance"], (True, True)),
        (["--no-extend-prompt", "--no-skip-face-enhance"], (False, False)),
    ],
    ids=["neither", "on", "off"],
)
def test_switches_have_three_states(words: list[str], switches: tuple[bool | None, bool | None]) -> None:
    """A switch that is not given is not sent, which differs from no."""
    _, bound, _ = app.parse_args(["image-to-video", "start", LINK, *words], exit_on_error=False, print_error=False)
    options = bound.arguments.get("options", DEFAULT_START)
    assert (options.extend_prompt, options.skip_face_enhance) == switches


def test_a_lora_needs_no_prompt() -> None:
    """The default negative prompt does not replace that of a LoRA's preset; a given one is sent."""
    assert StartArguments(lora="5").to_options(LINK)["negative_prompt"] is None
    assert StartArguments(lora="5", negative_prompt="rain").to_options(LINK)["negative_prompt"] == "rain"
    assert StartArguments(prompt="x").to_options(LINK)["negative_prompt"] == NEGATIVE_PROMPT


def test_all_options_exist() -> None:
    """The command has each option of `ImageToVideo.start` that makes sense on a command line."""
    assert StartOptions.__annotations__.keys() - StartArguments(prompt="x").to_options(LINK).keys() == {
        "image_url",
        "end_image_url",
        "webhook",
    }


def test_the_same_key_starts_once(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A second start with the same key adopts the task, prints its id, and reports that nothing was started."""
    arguments = ["image-to-video", "start", image, "--prompt", "#fast", "--idempotency-key", "order-17"]
    assert [main(arguments), main(arguments)] == [0, 0]
    (task_id,) = service.tasks
    out, err = capsys.readouterr()
    assert out == f"{task_id}\n{task_id}\n"
    assert "nothing was started" in err.splitlines()[-1]


def test_a_lost_response_is_reported(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A warning of the package is a line on stderr, and the id is printed as usual."""
    service.faults = FaultPlan(script={"start": [Fault("drop", after=True)]})
    assert main(["image-to-video", "start", image, "--prompt", "#fast"]) == 0
    (task_id,) = service.tasks
    out, err = capsys.readouterr()
    assert out == f"{task_id}\n"
    assert re.search(rf"^a2e: .* lost.* {task_id} ", err, re.MULTILINE)


@pytest.mark.parametrize("command", [["start"], ["run", "--out", "a.mp4"]], ids=["start", "run"])
def test_unknown_outcome(service: Sandbox, image: str, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """After a start with an unknown outcome, the last line has the command that finds the task."""
    service.faults = FaultPlan(script={"start": [Fault("drop")]})
    assert main(["image-to-video", *command, image, "--prompt", "#fast"]) == 1
    out, err = capsys.readouterr()
    assert not out
    last = err.splitlines()[-1]
    assert re.search(r"marker (\w{10})\. Search for the task with a2e image-to-video find \1 later", last)


def test_on_unknown_resend(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With --on-unknown resend, a lost start is sent once more."""
    service.faults = FaultPlan(script={"start": [Fault("drop")]})
    assert main(["image-to-video", "start", image, "--prompt", "#fast", "--on-unknown", "resend"]) == 0
    assert capsys.readouterr().out.split() == [*service.tasks]


def test_run_prints_the_path_only(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Into a pipe, `run` prints the path of the video; the progress is on stderr."""
    assert main(["image-to-video", "run", image, "--prompt", "x", "--out", "made/ada.mp4"]) == 0
    out, err = capsys.readouterr()
    assert out == "made/ada.mp4\n"
    assert re.search(r"^ +\d+\.\d s  ada\.png: \w+$", err, re.MULTILINE)


def test_run_as_json(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, `run` prints the record and the path as one object."""
    assert main(["image-to-video", "run", image, "--prompt", "#fast", "-o", "ada.mp4", "--json"]) == 0
    out, _ = capsys.readouterr()
    (task_id,) = service.tasks
    assert {"id": task_id, "status": "succeeded", "path": "ada.mp4"}.items() <= json.loads(out).items()
    assert pathlib.Path("ada.mp4").read_bytes()[4:8] == b"ftyp"


def test_run_takes_the_options_of_start(service: Sandbox, image: str) -> None:
    """`run` has the same options as `start`."""
    options = ["--prompt", "#fast", "--video-time", "10", "--idempotency-key", "order-17", "--name", "Ada"]
    assert main(["image-to-video", "run", image, "-o", "ada.mp4", *options]) == 0
    (task,) = service.tasks.values()
    assert task.start.video_time == 10
    assert task.name.startswith("Ada [")
    assert main(["image-to-video", "run", image, "-o", "again.mp4", *options]) == 0
    assert len(service.tasks) == 1


def test_run_with_a_timeout(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """After a timeout, the command that resumes the wait is printed."""
    arguments = ["image-to-video", "run", image, "--prompt", "#stuck", "--out", "a.mp4", "--timeout", "0.3"]
    assert main(arguments) == 1
    (task_id,) = service.tasks
    assert capsys.readouterr().err.endswith(f"a2e image-to-video wait {task_id} --out a.mp4\n")


def test_interrupted_run(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C during a wait prints the task and the command that makes the file, and ends with 130."""
    arguments = ["image-to-video", "run", image, "--prompt", "#stuck", "--out", "a.mp4"]
    with ctrl_c_when(lambda: any(seen.method == "GET" and "userImage2Video" in seen.path for seen in service.requests)):
        assert main(arguments) == 130
    (task_id,) = service.tasks
    err = capsys.readouterr().err
    assert err.splitlines()[-2:] == [
        "a2e: interrupted; the task continues at A2E and is paid. To wait for its video:",
        f"  a2e image-to-video wait {task_id} --out a.mp4",
    ]
    assert "Traceback" not in err

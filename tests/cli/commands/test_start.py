"""`a2e image-to-video start` and `run`: what they send, what they print, and how they end."""

from __future__ import annotations

import json
import pathlib
import re
from typing import TYPE_CHECKING

import pytest
from streams import ctrl_c_when

from a2e_async.cli import main
from a2e_async.cli.app import app
from a2e_async.cli.flow import NEGATIVE_PROMPT
from a2e_async.cli.options import AS_USUAL, Start
from a2e_async.resources.image_to_video import StartOptions
from a2e_async.sandbox import Fault, Weather

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

LINK = "https://example.com/ada.png"


def test_start_prints_the_id_alone(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The id is all that a script reads; the price and what to do next are for the person."""
    assert main(["image-to-video", "start", picture, "--prompt", "she smiles"]) == 0
    (task,) = service.tasks.values()
    out, err = capsys.readouterr()
    assert out == f"{task.id}\n"
    assert err == f"a2e: started for 30 coins; wait for it with: a2e image-to-video wait {task.id}\n"


def test_start_does_not_wait(service: Sandbox, picture: str) -> None:
    """A start ends at once, also if its task never does, and asks nothing about it."""
    assert main(["image-to-video", "start", picture, "--prompt", "#stuck"]) == 0
    assert not [seen for seen in service.requests if seen.method == "GET" and "userImage2Video" in seen.path]


def test_start_as_json(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, stdout is one object with the record, and nothing else is said."""
    assert main(["image-to-video", "start", picture, "--prompt", "x", "--json"]) == 0
    out, err = capsys.readouterr()
    (task,) = service.tasks.values()
    record = json.loads(out)
    assert {"id": task.id, "coins": 30, "failed_code": "", "result_url": "", "progress": None}.items() <= record.items()
    assert record["created_at"].endswith("+00:00")
    assert out.count("\n") == 1
    assert not err


def test_start_of_a_link(service: Sandbox) -> None:
    """A link is sent as it is, and nothing is uploaded."""
    assert main(["image-to-video", "start", LINK, "--prompt", "x", "--end-image", f"{LINK}?2"]) == 0
    (task,) = service.tasks.values()
    assert (task.order.image_url, task.order.end_image_url) == (LINK, f"{LINK}?2")
    assert not [seen for seen in service.requests if seen.path.endswith("/r2")]


def test_every_option_is_sent(service: Sandbox) -> None:
    """What is typed is what A2E is told."""
    words = {
        "--prompt": "she waves",
        "--negative-prompt": "rain",
        "--name": "Ada",
        "--video-time": "10",
        "--model-version": "a2e-v2-flash",
        "--model-type": "GENERAL",
        "--webhook-url": "https://example.com/hook",
        "--webhook-token": "secret",
    }
    options = [word for pair in words.items() for word in pair]
    assert main(["image-to-video", "start", LINK, *options]) == 0
    (task,) = service.tasks.values()
    order = task.order
    assert (order.prompt, order.negative_prompt, order.video_time) == ("she waves", "rain", 10)
    assert (order.model_version, order.model_type) == ("a2e-v2-flash", "GENERAL")
    assert (order.webhook_url, order.webhook_token) == ("https://example.com/hook", "secret")
    assert task.name.startswith("Ada [a2e:")


def test_nothing_said_is_nothing_sent(service: Sandbox) -> None:
    """Without options, only what has a default is sent: a negative prompt, 5 seconds, and the cheap model."""
    assert main(["image-to-video", "start", LINK, "--prompt", "x"]) == 0
    (task,) = service.tasks.values()
    order = task.order
    assert (order.negative_prompt, order.video_time, order.model_version) == (NEGATIVE_PROMPT, 5, "a2e")
    assert (order.webhook_url, order.webhook_token, order.end_image_url) == ("", "", "")


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
    """What is not said is left to A2E, which is not the same as no."""
    _, bound, _ = app.parse_args(["image-to-video", "start", LINK, *words], exit_on_error=False, print_error=False)
    options = bound.arguments.get("options", AS_USUAL)
    assert (options.extend_prompt, options.skip_face_enhance) == switches


def test_a_lora_needs_no_prompt() -> None:
    """The default of the negative prompt does not meddle with the preset of a LoRA; one that is typed is sent."""
    assert Start(lora="5").of(LINK)["negative_prompt"] is None
    assert Start(lora="5", negative_prompt="rain").of(LINK)["negative_prompt"] == "rain"
    assert Start(prompt="x").of(LINK)["negative_prompt"] == NEGATIVE_PROMPT


def test_no_option_is_forgotten() -> None:
    """Each option of `ImageToVideo.start` can be typed, but for those that a command line has no use for."""
    assert StartOptions.__annotations__.keys() - Start(prompt="x").of(LINK).keys() == {
        "image_url",
        "end_image_url",
        "webhook",
    }


def test_the_same_key_buys_once(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A second start with a key finds the task of the first one, prints its id, and says that nothing was started."""
    arguments = ["image-to-video", "start", picture, "--prompt", "#fast", "--idempotency-key", "order-17"]
    assert [main(arguments), main(arguments)] == [0, 0]
    (task_id,) = service.tasks
    out, err = capsys.readouterr()
    assert out == f"{task_id}\n{task_id}\n"
    assert "nothing was bought" in err.splitlines()[-1]


def test_a_lost_answer_is_told(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the package warns of is a line on stderr, and the id is printed as ever."""
    service.weather = Weather(script={"start": [Fault("drop", after=True)]})
    assert main(["image-to-video", "start", picture, "--prompt", "#fast"]) == 0
    (task_id,) = service.tasks
    out, err = capsys.readouterr()
    assert out == f"{task_id}\n"
    assert re.search(r"^a2e: The answer to a start got lost; .+ nothing is paid twice$", err, re.MULTILINE)


@pytest.mark.parametrize("command", [["start"], ["run", "--out", "a.mp4"]], ids=["start", "run"])
def test_a_start_that_nobody_knows_of(
    service: Sandbox, picture: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A start that may be paid ends the command with the line that settles it, in words that can be typed."""
    service.weather = Weather(script={"start": [Fault("drop")]})
    assert main(["image-to-video", *command, picture, "--prompt", "#fast"]) == 1
    out, err = capsys.readouterr()
    assert not out
    last = err.splitlines()[-1]
    assert re.search(r"marker (\w{10}): type a2e image-to-video find \1 later", last)


def test_on_unknown_resend(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With --on-unknown resend, a start that was lost is sent once more."""
    service.weather = Weather(script={"start": [Fault("drop")]})
    assert main(["image-to-video", "start", picture, "--prompt", "#fast", "--on-unknown", "resend"]) == 0
    assert capsys.readouterr().out.split() == [*service.tasks]


def test_run_prints_the_path_alone(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Into a pipe, `run` prints the path of the video; how it went is on stderr."""
    assert main(["image-to-video", "run", picture, "--prompt", "x", "--out", "clips/ada.mp4"]) == 0
    out, err = capsys.readouterr()
    assert out == "clips/ada.mp4\n"
    assert re.search(r"^ +\d+\.\d s  ada\.png: \w+$", err, re.MULTILINE)


def test_run_as_json(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, `run` prints the record and the path as one object."""
    assert main(["image-to-video", "run", picture, "--prompt", "#fast", "-o", "ada.mp4", "--json"]) == 0
    out, _ = capsys.readouterr()
    (task_id,) = service.tasks
    assert {"id": task_id, "status": "succeeded", "path": "ada.mp4"}.items() <= json.loads(out).items()
    assert pathlib.Path("ada.mp4").read_bytes()[4:8] == b"ftyp"


def test_run_takes_the_options_of_start(service: Sandbox, picture: str) -> None:
    """`run` sends what it is told, as `start` does."""
    words = ["--prompt", "#fast", "--video-time", "10", "--idempotency-key", "order-17", "--name", "Ada"]
    assert main(["image-to-video", "run", picture, "-o", "ada.mp4", *words]) == 0
    (task,) = service.tasks.values()
    assert task.order.video_time == 10
    assert task.name.startswith("Ada [")
    assert main(["image-to-video", "run", picture, "-o", "again.mp4", *words]) == 0
    assert len(service.tasks) == 1


def test_run_that_takes_too_long(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wait that ends too early prints the command with which to go on."""
    arguments = ["image-to-video", "run", picture, "--prompt", "#stuck", "--out", "a.mp4", "--timeout", "0.3"]
    assert main(arguments) == 1
    (task_id,) = service.tasks
    assert capsys.readouterr().err.endswith(f"wait on with a2e image-to-video wait {task_id}\n")


def test_interrupted_run_tells_how_to_go_on(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C during a wait prints one line with the id of the paid task, and ends with 130."""
    arguments = ["image-to-video", "run", picture, "--prompt", "#stuck", "--out", "a.mp4"]
    with ctrl_c_when(lambda: any(seen.method == "GET" and "userImage2Video" in seen.path for seen in service.requests)):
        assert main(arguments) == 130
    (task_id,) = service.tasks
    err = capsys.readouterr().err
    last = err.splitlines()[-1]
    assert last.startswith("a2e: interrupted; the task goes on at A2E and is paid")
    assert last.endswith(f"a2e image-to-video wait {task_id}")
    assert "Traceback" not in err

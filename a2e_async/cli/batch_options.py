"""The options of `a2e batch run`, and the command that goes on with the same ones."""

from __future__ import annotations

import pathlib
import shlex
from typing import TYPE_CHECKING, Annotated, Any, Literal

import attrs
from cyclopts import Parameter

from a2e_async import ModelVersion  # noqa: TC001  cyclopts reads it
from a2e_async.cli.flow import NEGATIVE_PROMPT, VideoTime
from a2e_async.config import OnUnknown  # noqa: TC001  as above

if TYPE_CHECKING:
    from a2e_async.cli.options import Connection

__all__ = ["RunOptions"]

_ONCE = frozenset({"dry_run", "journal", "out"})
"""Options that are always in the command that goes on, or never."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class RunOptions:
    """What a batch is like.

    Attributes:
        journal: The file that remembers everything. By default it is in the current folder, and named after INPUT.
        out: The folder for the videos, which are named after the keys.
        prompt: What should happen, for jobs that do not say it.
        negative_prompt: What to avoid, for jobs that do not say it.
        video_time: Seconds of video, for jobs that do not say it: 5, 10, 15 or 20. The price grows with it.
        model_version: The model, for jobs that do not say it. The price depends on it.
        max_running: Tasks at A2E at the same time.
        max_coins: Coins that may be spent on starts, those of earlier runs with the journal included.
        retry_failed: New purchases for a job whose task fails, at most. Each costs coins again.
        on_shortage: What to do if there are not enough coins or A2E is busy: pause the batch, or start nothing more.
        on_unknown: What to do if nobody knows whether A2E accepted a start: report it as uncertain, or send it again.
        timeout: Seconds to wait for each task. It goes on afterwards, and the next run takes it up.
        overwrite: Replace existing videos.
        skip_invalid: Go on without the rows that are wrong.
        dry_run: Show what would be sent and what it would cost, and start nothing.
    """

    journal: pathlib.Path | None = None
    out: Annotated[pathlib.Path, Parameter(name=["--out", "-o"])] = pathlib.Path("videos")
    prompt: str | None = attrs.field(default=None, repr=False)
    negative_prompt: str = attrs.field(default=NEGATIVE_PROMPT, repr=False)
    video_time: VideoTime = 5
    model_version: ModelVersion = "a2e"
    max_running: int = 10
    max_coins: float | None = None
    retry_failed: int = 0
    on_shortage: Literal["wait", "stop"] = "wait"
    on_unknown: OnUnknown | None = None
    timeout: float = 1800.0
    overwrite: bool = False
    skip_invalid: bool = False
    dry_run: bool = False

    @property
    def defaults(self) -> dict[str, Any]:
        """What a job means that does not say it."""
        words = ("prompt", "negative_prompt", "video_time", "model_version")
        return {word: getattr(self, word) for word in words}

    def command(self, source: str, journal: pathlib.Path, connection: Connection) -> str:
        """Return the command that goes on: what the user has typed without the token, with the names of all files."""
        words = ["a2e", "batch", "run", source, "--journal", str(journal), "--out", str(self.out)]
        for field in attrs.fields(RunOptions):
            value = getattr(self, field.name)
            if field.name not in _ONCE and value != field.default:
                option = f"--{field.name.replace('_', '-')}"
                text = repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
                if isinstance(value, bool):
                    words.append(option)
                elif text.startswith("-"):  # which would be taken for an option
                    words.append(f"{option}={text}")
                else:
                    words += [option, text]
        if connection.base_url is not None:
            words += ["--base-url", connection.base_url]
        command = shlex.join([*words, "--json"] if connection.json else words)
        return f"{command} < INPUT" if source == "-" else command

"""The options that every command shares which talks to A2E, those of a start, and what they mean.

A command takes them as its last parameter, and makes its client with them::

    def get(*ids: str, connection: Connection = DEFAULT) -> int:
        async with connection.client() as a2e: ...

`Connection.json` then tells whether stdout belongs to a program: one JSON object a line, and nothing else.
"""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING, Annotated, TypeAlias

import attrs
from cyclopts import Group, Parameter

from a2e_async import A2EClient, ModelType, ModelVersion, StartOptions
from a2e_async._protocol.settings import Secret
from a2e_async.cli.flow import NEGATIVE_PROMPT, VideoTime
from a2e_async.cli.messages import set_verbosity
from a2e_async.config import OnUnknown
from a2e_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from a2e_async import Config

__all__ = ["AS_USUAL", "DEFAULT", "FLAG", "Connection", "LocalFile", "Start"]

FLAG = Parameter(negative="", show_default=False)
"""An option that is there or not: ``overwrite: Annotated[bool, FLAG] = False``."""


def _hide(token: str | None) -> str | None:
    return None if token is None else Secret(token)


@Parameter(name="*", group=Group("Shared options"))
@attrs.frozen(kw_only=True)
class Connection:
    """Where A2E is, and how to talk to the person or the program at this end.

    Attributes:
        token: The API token. Other users of this machine can see the arguments of a command: prefer A2E_API_TOKEN.
        base_url: Where A2E is. Default: A2E_BASE_URL, else https://video.a2e.ai.
        json: Print one JSON object a line, for programs.
        verbose: Show on stderr what the package logs; -vv shows more.
    """

    token: str | None = attrs.field(default=None, converter=_hide, repr=False)
    base_url: str | None = None
    json: Annotated[bool, FLAG] = False
    verbose: Annotated[int, Parameter(name=["--verbose", "-v"], count=True, show_default=False)] = 0

    def client(self, config: Config | None = None) -> A2EClient:
        """Make a client, and say on stderr what is worth saying about the options.

        Raises:
            ConfigurationError: The token or the base URL cannot work.
        """
        set_verbosity(self.verbose)
        if self.token is not None:
            print("a2e: other users of this machine can see --token: set A2E_API_TOKEN instead", file=sys.stderr)
        return A2EClient(self.token, base_url=self.base_url, config=config)


DEFAULT = Connection()
"""The default of the parameter: none of the options is given."""

LocalFile: TypeAlias = str | pathlib.Path
"""A path or a link. What is typed stays a `str`, since that comes first; the path has shells complete it."""


@Parameter(name="*", group=Group("What to make", sort_key=1))
@attrs.frozen(kw_only=True)
class Start:
    """What is to be made.

    Attributes:
        prompt: What should happen. Needed unless --lora is given.
        negative_prompt: What to avoid.
        name: A name for the task, not unique. Default: the image's.
        video_time: Seconds of video: 5, 10, 15 or 20. The price grows with it.
        model_version: The model. The price depends on it: a2e-v2 is dearer than the other two.
        model_type: FLF2V (first and last frame) is implied by --end-image.
        end_image: The last image, a path or a link.
        extend_prompt: Whether A2E rewrites the prompt. Default: it does.
        skip_face_enhance: Whether to leave out the enhancement of face similarity. Default: it is done.
        lora: The id of a LoRA, whose preset replaces the prompt.
        idempotency_key: A name of yours for this job, such as order-17. If A2E has a task of this key already, that one
            is taken, and nothing is started.
        on_unknown: What to do if nobody knows whether A2E accepted the start: tell you (raise), or send it once more.
        webhook_url: An https address that A2E calls once when the task ends.
        webhook_token: What A2E sends along in X-A2e-Webhook-Token. Other users of this machine can see it.
    """

    prompt: str | None = attrs.field(default=None, repr=False)
    negative_prompt: str = attrs.field(default=NEGATIVE_PROMPT, repr=False)
    name: str | None = None
    video_time: VideoTime = 5
    model_version: ModelVersion = "a2e"
    model_type: ModelType | None = None
    end_image: LocalFile | None = None
    extend_prompt: Annotated[bool | None, Parameter(negative="--no-extend-prompt")] = None
    skip_face_enhance: Annotated[bool | None, Parameter(negative="--no-skip-face-enhance")] = None
    lora: str | None = None
    idempotency_key: str | None = None
    on_unknown: OnUnknown | None = None
    webhook_url: str | None = attrs.field(default=None, repr=False)
    webhook_token: str | None = attrs.field(default=None, repr=False)

    def of(self, image: LocalFile) -> StartOptions:
        """Return the options of a start from an image.

        Raises:
            InvalidRequestError: There is no prompt.
        """
        if self.prompt is None and self.lora is None:
            msg = "--prompt is needed unless --lora is given"
            raise InvalidRequestError(msg)
        options = {"image": image, **attrs.asdict(self)}
        if self.lora is not None and self.negative_prompt == NEGATIVE_PROMPT:
            options["negative_prompt"] = None  # nobody has asked for it, and the preset has one of its own
        return StartOptions(**options)  # type: ignore[typeddict-item, no-any-return]  # mypy sees no names


AS_USUAL = Start()
"""The default of the parameter: nothing is said."""

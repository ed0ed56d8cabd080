"""Options that commands share: those of the connection, and those of a start.

A command takes `Connection` as its last parameter, and makes its client with it::

    def get(*ids: str, connection: Connection = DEFAULT_CONNECTION) -> int:
        async with connection.client() as a2e: ...

With `Connection.json`, the command writes one JSON object per line to stdout, and nothing else.
"""

import pathlib
import sys
from typing import Annotated, TypeAlias

import attrs
from cyclopts import Group, Parameter

from a2e_async import A2EClient, Config, ModelType, ModelVersion, StartOptions
from a2e_async._protocol.settings import Secret
from a2e_async.cli.conversion import NEGATIVE_PROMPT, VideoTime
from a2e_async.cli.messages import set_verbosity
from a2e_async.config import OnUnknown
from a2e_async.errors import InvalidRequestError

FLAG = Parameter(negative="", show_default=False)
"""Parameter of an option without a value: ``overwrite: Annotated[bool, FLAG] = False``."""


def _hide(token: str | None) -> str | None:
    # A `Secret` shows no value in a `repr`. A traceback with local variables would else print the token.
    return None if token is None else Secret(token)


@Parameter(name="*", group=Group("Shared options"))
@attrs.frozen(kw_only=True)
class Connection:
    """Options of the connection to A2E and of the output.

    Attributes:
        token: The API token. Other users of this machine can see the arguments of a command: prefer A2E_API_TOKEN.
        base_url: The URL of A2E. Default: A2E_BASE_URL, else https://video.a2e.ai.
        json: Print one JSON object per line, for programs.
        verbose: Print the log of the package on stderr; -vv prints more.
    """

    token: str | None = attrs.field(default=None, converter=_hide, repr=False)
    base_url: str | None = None
    json: Annotated[bool, FLAG] = False
    verbose: Annotated[int, Parameter(name=["--verbose", "-v"], count=True, show_default=False)] = 0

    def client(self, config: Config | None = None) -> A2EClient:
        """Make a client. Print a warning on stderr if the token is an argument.

        Raises:
            ConfigurationError: The token or the base URL is missing or not valid.
        """
        set_verbosity(self.verbose)
        if self.token is not None:
            print("a2e: other users of this machine can see --token: set A2E_API_TOKEN instead", file=sys.stderr)
        return A2EClient(self.token, base_url=self.base_url, config=config)


DEFAULT_CONNECTION = Connection()
"""Default of the parameter `connection`: no option is given."""

PathOrLink: TypeAlias = str | pathlib.Path
"""A path or a link. The argument stays a `str`, which comes first; `pathlib.Path` makes shells complete file names."""


@Parameter(name="*", group=Group("Video options", sort_key=1))
@attrs.frozen(kw_only=True)
class StartArguments:
    """Options of the video.

    Attributes:
        prompt: The text that describes the motion. Required unless --lora is given.
        negative_prompt: The text that describes what to avoid.
        name: A name for the task; it need not be unique. Default: the name of the image.
        video_time: Seconds of video: 5, 10, 15 or 20. A longer video costs more.
        model_version: The model. a2e-v2 costs more than the other two.
        model_type: FLF2V (first and last frame) is implied by --end-image.
        end_image: The last image, a path or a link.
        extend_prompt: Let A2E rewrite the prompt, or not. Default: A2E rewrites it.
        skip_face_enhance: Skip the enhancement of face similarity, or not. Default: it is done.
        lora: The id of a LoRA; its preset replaces the prompt.
        idempotency_key: Your own name for this job, such as order-17. If A2E already has a task with this key, that
            task is adopted and nothing is started.
        on_unknown: For a start with an unknown outcome: raise reports it, resend sends the start once more.
        webhook_url: An https URL that A2E calls once when the task ends.
        webhook_token: The value that A2E sends in X-A2e-Webhook-Token. Other users of this machine can see it.
    """

    prompt: str | None = attrs.field(default=None, repr=False)
    negative_prompt: str = attrs.field(default=NEGATIVE_PROMPT, repr=False)
    name: str | None = None
    video_time: VideoTime = 5
    model_version: ModelVersion = "a2e"
    model_type: ModelType | None = None
    end_image: PathOrLink | None = None
    extend_prompt: Annotated[bool | None, Parameter(negative="--no-extend-prompt")] = None
    skip_face_enhance: Annotated[bool | None, Parameter(negative="--no-skip-face-enhance")] = None
    lora: str | None = None
    idempotency_key: str | None = None
    on_unknown: OnUnknown | None = None
    webhook_url: str | None = attrs.field(default=None, repr=False)
    webhook_token: str | None = attrs.field(default=None, repr=False)

    def to_options(self, image: PathOrLink) -> StartOptions:
        """Return the options of the start of an image.

        Raises:
            InvalidRequestError: There is no prompt.
        """
        if self.prompt is None and self.lora is None:
            msg = "--prompt is needed unless --lora is given"
            raise InvalidRequestError(msg)
        options = {"image": image, **attrs.asdict(self)}
        if self.lora is not None and self.negative_prompt == NEGATIVE_PROMPT:
            options["negative_prompt"] = None  # it is only the default; the preset has a negative prompt of its own
        return StartOptions(**options)  # type: ignore[typeddict-item, no-any-return]  # mypy sees no names


DEFAULT_START = StartArguments()
"""Default of the parameter `options`: no option is given."""

"""Options that commands share: those of the connection, and those of a start.

A command takes `Connection` as its last parameter, and makes its client with it::

    def get(*ids: str, connection: Connection = DEFAULT_CONNECTION) -> int:
        async with connection.client() as a2e: ...

With `Connection.json`, the command writes one JSON object per line to stdout, and nothing else.

The options of a start are those of `ImageToVideo.start`, with the texts of its docstring.
"""

import inspect
import pathlib
import re
import sys
from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias, get_args

import attrs
from cyclopts import Group, Parameter

from a2e_async import A2EClient, Config, StartOptions
from a2e_async._protocol.settings import Secret
from a2e_async.cli.messages import set_verbosity
from a2e_async.errors import InvalidRequestError
from a2e_async.resources.image_to_video import JOB_OPTIONS, START_DEFAULTS, START_OPTIONS, ImageToVideo

FLAG = Parameter(negative="", show_default=False)
"""Parameter of an option without a value: ``overwrite: Annotated[bool, FLAG] = False``."""

Ids = Annotated[str, Parameter(name="ID", required=True)]
Out = Parameter(name=["--out", "-o"])

PathOrLink: TypeAlias = str | pathlib.Path
"""A path or a link. The argument stays a `str`, which comes first; `pathlib.Path` makes shells complete file names."""

NEGATIVE_PROMPT = START_DEFAULTS["negative_prompt"]


@Parameter(name="*", group=Group("Shared options"))
@attrs.frozen(kw_only=True)
class Connection:
    """Options of the connection to A2E and of the output.

    Attributes:
        token: The API token. Other users of this machine can see the arguments of a command: prefer A2E_API_TOKEN.
        base_url: The URL of A2E. Default: A2E_BASE_URL, else https://video.a2e.ai.
        proxy: The proxy for all requests, such as http://proxy.example:3128; "" for none. Default: HTTPS_PROXY.
        json: Print one JSON object per line, for programs.
        verbose: Print the log of the package on stderr; -vv prints more.
    """

    # A `Secret` shows no value in a `repr`. A traceback with local variables would else print the token.
    token: str | None = attrs.field(default=None, converter=attrs.converters.optional(Secret), repr=False)
    base_url: str | None = None
    proxy: str | None = attrs.field(default=None, converter=attrs.converters.optional(Secret), repr=False)
    json: Annotated[bool, FLAG] = False
    verbose: Annotated[int, Parameter(name=["--verbose", "-v"], count=True, show_default=False)] = 0

    def client(self, config: Config | None = None) -> A2EClient:
        """Make a client. Print a warning on stderr if the token is an argument."""
        set_verbosity(self.verbose)
        if self.token is not None:
            print("a2e: other users of this machine can see --token: set A2E_API_TOKEN instead", file=sys.stderr)
        if self.proxy is not None:
            config = attrs.evolve(config or Config(), proxy=self.proxy)
        return A2EClient(self.token, base_url=self.base_url, config=config)


DEFAULT_CONNECTION = Connection()
"""Default of the parameter `connection`: no option is given."""


_DEFAULTS = {**START_DEFAULTS, "video_time": 5}

# Where the docstring of `ImageToVideo.start` does not fit a command.
_TEXTS = {
    "prompt": "Description of the video. Required unless --lora is given.",
    "name": "A display name, not unique. Default: the name of the image.",
    "negative_prompt": "What to avoid.",
    "model_type": "FLF2V (first and last frame) is implied by --end-image.",
    "model_version": "The model, which decides the price: a2e-v2 costs more than the other two.",
    "end_image": "The last image, a path or a link.",
    "on_unknown": "For a start with an unknown outcome: raise reports it, resend sends the start once more.",
    "webhook_url": "An https URL that A2E calls once when the task ends.",
    "webhook_token": "Sent back in X-A2e-Webhook-Token. Other users of this machine can see it.",
}


def _texts_of_start() -> dict[str, str]:
    """Return the texts of the options: the section "Args" of the docstring."""
    section = (inspect.getdoc(ImageToVideo.start) or "").partition("\nArgs:")[2].partition("\n\n")[0]
    entries = (entry.partition(": ") for entry in re.split(r"\n    (?=\w+: )", section)[1:])
    return {name: " ".join(text.split()).replace("`", "") for name, _, text in entries} | _TEXTS


def _options_class(names: Iterable[str]) -> Any:  # noqa: ANN401  a class that a type checker cannot know
    """Make a class with some of the options of a start as fields, which cyclopts turns into options."""
    texts, fields = _texts_of_start(), dict[str, Any]()
    for name in names:
        hint: Any = START_OPTIONS[name]
        if bytes in get_args(hint):  # an image
            hint = PathOrLink | None
        negative = f"--no-{name.replace('_', '-')}" if bool in get_args(hint) else ()
        parameter = Parameter(help=texts[name], negative=negative)
        annotation: Any = Annotated[hint, parameter]
        fields[name] = attrs.field(default=_DEFAULTS.get(name), type=annotation, repr=False)
    return attrs.make_class("Options", fields, frozen=True, kw_only=True)


# `image` is the argument of the command; the others make no sense, since a path can be a link.
_START_NAMES = [name for name in START_OPTIONS if name not in {"image", "image_url", "end_image_url", "webhook"}]
_DEFAULT_NAMES = [name for name in JOB_OPTIONS if name in _START_NAMES and name not in {"name", "end_image"}]


_Start, _Job = _options_class(_START_NAMES), _options_class(_DEFAULT_NAMES)


@Parameter(name="*", group=Group("Video options", sort_key=1))
class StartArguments(_Start):  # type: ignore[misc, valid-type]  # made at run time
    """Options of the video."""

    def to_options(self, image: PathOrLink) -> StartOptions:
        """Return the options of the start of an image."""
        if self.prompt is None and self.lora is None:
            msg = "--prompt is needed unless --lora is given"
            raise InvalidRequestError(msg)
        options = {"image": image, **attrs.asdict(self)}
        if self.lora is not None and self.negative_prompt == NEGATIVE_PROMPT:
            options["negative_prompt"] = None  # it is only the default; the preset has a negative prompt of its own
        return StartOptions(**options)  # type: ignore[typeddict-item, no-any-return]  # mypy sees no names


@Parameter(name="*", group=Group("Options of jobs without their own", sort_key=2))
class JobDefaults(_Job):  # type: ignore[misc, valid-type]  # made at run time
    """Options of all jobs of a batch that do not have their own."""


DEFAULT_START, DEFAULT_JOB = StartArguments(), JobDefaults()
"""Defaults of the parameters of commands: no option is given."""

"""Options that commands share: those of the connection, and those of a start.

A command takes `Connection` as its last parameter, and makes its client with it::

    def get(*ids: str, connection: Connection = DEFAULT_CONNECTION) -> int:
        async with connection.client() as a2e: ...

With `Connection.json`, the command writes one JSON object per line to stdout, and nothing else.

The options of a start are those of `ImageToVideo.start`, with the texts of its docstring.
"""

import logging
import re
import sys
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_type_hints

import attrs
from cyclopts import Group, Parameter, Token

from a2e_async import A2EClient, Config, KeyStore, StartOptions
from a2e_async._protocol.settings import Secret
from a2e_async.batch.jobs import JobOptions
from a2e_async.cli.messages import set_verbosity
from a2e_async.cli.method_options import COMMON_NAMES, PathOrLink, options_class, texts_of
from a2e_async.cli.profiles import Access, find_access
from a2e_async.errors import InvalidRequestError
from a2e_async.resources.image_to_video import START_DEFAULTS, ImageToVideo

_LOGGER = logging.getLogger("a2e_async")

FLAG = Parameter(negative="", show_default=False)
"""Parameter of an option without a value: ``overwrite: Annotated[bool, FLAG] = False``."""


def check_id(_: Any, value: str | Sequence[str]) -> None:  # noqa: ANN401  the type, which is not needed
    """Check that words can be ids of tasks, so that a path or a sentence is not sent to A2E.

    A2E's ids are opaque (reference 1.5): most have 24 characters of 0-9 and a-f, and some are short numbers.

    Raises:
        ValueError: A word is no id.
    """
    for word in [value] if isinstance(value, str) else value:
        if not re.fullmatch(r"[\w-]{1,64}", word, re.ASCII):
            msg = f"{word[:80]!r} is not the id of a task, which has letters and digits only, such as {EXAMPLE_ID}"
            raise ValueError(msg)


EXAMPLE_ID = "68e0f8aa11bb22cc33dd44ee"
Ids = Annotated[str, Parameter(name="ID", required=True, validator=check_id)]
Out = Parameter(name=["--out", "-o"])

_UNITS = {"w": 604_800.0, "d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_NUMBER = r"\d+(?:\.\d*)?|\.\d+"


def read_duration(text: str) -> float:
    """Return the seconds of a duration: ``90``, ``90s``, ``30m``, ``1h30m``.

    Raises:
        ValueError: The text is no duration.
    """
    text = text.strip().lower()
    if re.fullmatch(_NUMBER, text):
        return float(text)
    if not text or not re.fullmatch("".join(rf"(?:(?:{_NUMBER}){unit})?" for unit in _UNITS), text):
        msg = f"{text!r} is not a duration: give seconds, such as 90, or 30m, or 1h30m."
        raise ValueError(msg)
    return sum(float(amount) * _UNITS[unit] for amount, unit in re.findall(rf"({_NUMBER})([a-z])", text))


def _convert_duration(_: Any, tokens: Sequence[Token]) -> float:  # noqa: ANN401  the type, which is `Time`
    return read_duration(tokens[0].value)


def duration_words(seconds: float) -> str:
    """Return a duration as it is typed: ``30m``."""
    unit = next((name for name, length in _UNITS.items() if seconds and not seconds % length), "")
    return f"{seconds / _UNITS[unit]:g}{unit}" if unit else f"{seconds:g}"


if TYPE_CHECKING:
    Time: TypeAlias = float
else:

    class Time(float):
        """Seconds. Its name stands in the help of a command."""


Duration: TypeAlias = Annotated[Time, Parameter(converter=_convert_duration, show_default=duration_words)]
"""Seconds, which are typed as ``90``, ``30m`` or ``1h30m``."""

NEGATIVE_PROMPT = START_DEFAULTS["negative_prompt"]


@Parameter(name="*", group=Group("Shared options"))
@attrs.frozen(kw_only=True)
class Connection:
    """Options of the connection to A2E and of the output.

    Attributes:
        token: The API token. Other users of this machine can see the arguments of a command: prefer a2e login.
        base_url: The URL of A2E. Default: A2E_BASE_URL, else that of the profile, else https://video.a2e.ai.
        profile: A profile of a2e login, with its token and URL. Default: A2E_PROFILE, else default, if no token is set.
        proxy: The proxy for all requests, such as http://proxy.example:3128; "" for none. Default: HTTPS_PROXY.
        json: Print one JSON object per line, for programs.
        verbose: Print the log of the package on stderr; -vv prints more.
    """

    # A `Secret` shows no value in a `repr`. A traceback with local variables would else print the token.
    token: str | None = attrs.field(default=None, converter=attrs.converters.optional(Secret), repr=False)
    base_url: str | None = None
    profile: str | None = None
    proxy: str | None = attrs.field(default=None, converter=attrs.converters.optional(Secret), repr=False)
    json: Annotated[bool, FLAG] = False
    verbose: Annotated[int, Parameter(name=["--verbose", "-v"], count=True, show_default=False)] = 0

    def words(self) -> list[str]:
        """Return the options that a printed command has to repeat; never the token."""
        given = {"--base-url": self.base_url, "--profile": self.profile}
        return [word for name, value in given.items() if value is not None for word in (name, value)]

    def client(self, config: Config | None = None, *, key_store: KeyStore | None = None) -> A2EClient:
        """Make a client. Print a warning on stderr if the token is an argument, and the host if it is not A2E's own."""
        if self.token is not None:
            print("a2e: other users of this machine can see --token: use a2e login instead", file=sys.stderr)
        access = self.access()
        client = self.client_of(access, config, key_store=key_store)
        if not access.is_own_host:
            if sys.stderr.isatty():
                print(f"a2e: the host is {access.host}, by {access.url_source}", file=sys.stderr)
            else:
                _LOGGER.info("The host is %s, by %s", access.host, access.url_source)
        return client

    def access(self) -> Access:
        """Return the token and the host, with their sources."""
        return find_access(self.token, self.base_url, self.profile)

    def client_of(
        self, access: Access, config: Config | None = None, *, key_store: KeyStore | None = None
    ) -> A2EClient:
        """Make a client with this token and host."""
        set_verbosity(self.verbose)
        if self.proxy is not None:
            config = attrs.evolve(config or Config(), proxy=self.proxy)
        return A2EClient(access.token, base_url=access.base_url, config=config, key_store=key_store)


DEFAULT_CONNECTION = Connection()
"""Default of the parameter `connection`: no option is given."""


_DEFAULTS = {**START_DEFAULTS, "video_time": 5}
_HINTS = get_type_hints(StartOptions)

# Where the docstring of `ImageToVideo.start` does not fit a command.
COMMON_TEXTS = {
    "on_unknown": "For a start with an unknown outcome: raise reports it, resend sends the start once more.",
    "webhook_url": "An https URL that A2E calls once when the task ends.",
    "webhook_token": "Sent back in X-A2e-Webhook-Token. Other users of this machine can see it.",
}
_TEXTS = COMMON_TEXTS | {
    "prompt": "Description of the video. Required unless --lora is given.",
    "name": "A display name, not unique. Default: the name of the image.",
    "negative_prompt": "What to avoid.",
    "model_type": "FLF2V (first and last frame) is implied by --end-image.",
    "model_version": "The model, which decides the price: a2e-v2 costs more than the other two.",
    "end_image": "The last image, a path or a link.",
}


# `image` is the argument of the command; the others make no sense, since a path can be a link.
_START_NAMES = [name for name in _HINTS if name not in {"image", "image_url", "end_image_url", "webhook"}]
_DEFAULT_NAMES = [
    name for name in JobOptions.__annotations__ if name in _START_NAMES and name not in {"name", "end_image"}
]


_ALL_TEXTS = texts_of(ImageToVideo.start) | _TEXTS
_Start = options_class(_START_NAMES, _HINTS, _ALL_TEXTS, _DEFAULTS)
_Job = options_class(_DEFAULT_NAMES, _HINTS, _ALL_TEXTS, _DEFAULTS)
_Common = options_class(COMMON_NAMES, _HINTS, _ALL_TEXTS, {})


@Parameter(name="*", group=Group("Video options", sort_key=1))
class StartArguments(_Start):  # type: ignore[misc, valid-type]  # made at run time
    """Options of the video."""

    def to_options(self, image: PathOrLink) -> StartOptions:
        """Return the options of the start of an image."""
        if self.prompt is None and self.lora is None:
            msg = 'the prompt is missing: add one, such as --prompt "she smiles at the camera", or a LoRA with --lora'
            raise InvalidRequestError(msg)
        options = {"image": image, **attrs.asdict(self)}
        if self.lora is not None and self.negative_prompt == NEGATIVE_PROMPT:
            options["negative_prompt"] = None  # it is only the default; the preset has a negative prompt of its own
        return StartOptions(**options)  # type: ignore[typeddict-item, no-any-return]  # mypy sees no names


def to_fields(
    options: attrs.AttrsInstance, names: Container[str], family: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options that are given, for a start of any family: as fields of it, and those of every start.

    Args:
        options: The options of a video.
        names: The fields of the family.
        family: Its name, for the message about an option that is none of its fields.
    """
    fields, common = dict[str, Any](), dict[str, Any]()
    for field in attrs.fields(type(options)):
        value = getattr(options, field.name)
        if value == field.default:
            continue
        if field.name in COMMON_NAMES:
            common[field.name] = value
        elif name := next((name for name in (field.name, f"{field.name}_url") if name in names), None):
            fields[name] = value
        else:
            option = f"--{field.name.replace('_', '-')}"
            msg = f"{family} has no {option}. Its fields, as FIELD=VALUE: a2e family fields {family}"
            raise InvalidRequestError(msg)
    return fields, common


@Parameter(name="*", group=Group("Start options", sort_key=1))
class CommonArguments(_Common):  # type: ignore[misc, valid-type]  # made at run time
    """Options of every start."""


@Parameter(name="*", group=Group("Options of jobs without their own", sort_key=2))
class JobDefaults(_Job):  # type: ignore[misc, valid-type]  # made at run time
    """Options of all jobs of a batch that do not have their own."""


DEFAULT_START, DEFAULT_JOB, DEFAULT_COMMON = StartArguments(), JobDefaults(), CommonArguments()
"""Defaults of the parameters of commands: no option is given."""

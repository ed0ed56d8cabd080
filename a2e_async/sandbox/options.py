"""What a sandbox can be told when it is made, checked at once."""

from typing import Literal, TypeAlias

from attrs import field, frozen, validators

RenderMode: TypeAlias = Literal["video", "tiny"]
Era: TypeAlias = Literal["now", "2025"]


class SandboxError(Exception):
    """The sandbox itself cannot do what it was asked; never an answer of A2E."""


@frozen(kw_only=True)
class Options:
    """The settings of one sandbox. Durations are in seconds, money in coins."""

    host: str = "127.0.0.1"
    port: int = field(default=0, validator=[validators.ge(0), validators.le(65535)])
    coins: int = field(default=10_000, validator=validators.ge(0))
    speed: float = field(default=1.0, validator=validators.gt(0))
    render: RenderMode = field(default="video", validator=validators.in_(("video", "tiny")))
    cdn_lag: float = field(default=0.0, validator=validators.ge(0))
    seed: int | None = None
    diamonds: int = field(default=3, validator=validators.ge(0))
    era: Era = field(default="now", validator=validators.in_(("now", "2025")))

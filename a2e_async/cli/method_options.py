"""Options of commands that are made from a method: its parameters, with the texts of its docstring."""

import inspect
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeAlias, get_args, get_type_hints

import attrs
from cyclopts import Parameter

from a2e_async.resources.inputs import CommonStartOptions

PathOrLink: TypeAlias = str | pathlib.Path
"""A path or a link. The argument stays a `str`, which comes first; `pathlib.Path` makes shells complete file names."""


def texts_of(documented: Callable[..., object]) -> dict[str, str]:
    """Return the texts of the parameters of a method, or of the keys of a TypedDict, from its docstring."""
    section = re.split(r"\n(?:Args|Attributes):", inspect.getdoc(documented) or "")[-1].partition("\n\n")[0]
    entries = (entry.partition(": ") for entry in re.split(r"\n    (?=\w+: )", section)[1:])
    return {name: " ".join(text.split()).replace("`", "") for name, _, text in entries}


def options_class(
    names: Iterable[str], hints: Mapping[str, Any], texts: Mapping[str, str], defaults: Mapping[str, Any]
) -> Any:  # noqa: ANN401  a class that a type checker cannot know
    """Make a class with some parameters of a method as fields, which cyclopts turns into options.

    Args:
        names: The parameters.
        hints: Their annotations. A parameter that takes bytes is a file: a path or a link.
        texts: Their texts.
        defaults: Their defaults; None if it has none.
    """
    fields = dict[str, Any]()
    for name in names:
        hint: Any = hints[name]
        if bytes in get_args(hint):
            hint = PathOrLink | None
        negative = f"--no-{name.replace('_', '-')}" if bool in get_args(hint) else ()
        shows_default = name in defaults and hint is not bool
        parameter = Parameter(help=texts[name], negative=negative, show_default=shows_default)
        annotation: Any = Annotated[hint, parameter]
        fields[name] = attrs.field(default=defaults.get(name), type=annotation, repr=False)
    return attrs.make_class("Options", fields, frozen=True, kw_only=True)


def method_options(method: Callable[..., object], *names: str, **texts: str) -> Any:  # noqa: ANN401  as above
    """Make a class of options from some parameters of a method. A parameter without a default is required.

    Args:
        method: The method.
        names: The parameters, or options of every start.
        texts: Texts where those of the docstring do not fit a command.
    """
    parameters = inspect.signature(method).parameters
    hints = get_type_hints(method) | get_type_hints(CommonStartOptions)
    defaults = {
        name: attrs.NOTHING if parameter.default is inspect.Parameter.empty else parameter.default
        for name, parameter in parameters.items()
        if parameter.default is not None
    }
    return options_class(names, hints, texts_of(CommonStartOptions) | texts_of(method) | texts, defaults)


COMMON_NAMES = tuple(name for name in CommonStartOptions.__annotations__ if name != "webhook")
"""The options of every start, without the one that a command cannot take."""


def given(options: attrs.AttrsInstance) -> dict[str, Any]:
    """Return the options that are not None, as arguments of the method."""
    return {name: value for name, value in attrs.asdict(options, recurse=False).items() if value is not None}

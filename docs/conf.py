"""How the pages are built: ``sphinx-build -W --keep-going -b html docs docs/_build/html``. Needs no network."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from typing import TYPE_CHECKING, Any

import attrs

import a2e_async
from a2e_async import models, resources

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "a2e_async"
author = "The a2e_async authors"
project_copyright = author
version = release = a2e_async.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"a2e_async {version}"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]

default_role = "py:obj"  # what docstrings put between single backticks
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88

autodoc_mock_imports = ["anyio", "asgiref", "django", "fastapi", "flask", "litestar", "quart", "starlette"]
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", r"[a-z_]+(\(\))?"),  # single backticks around a parameter, or `str()`
    ("py:obj", r"time\.\w+"),
    ("py:class", r"(aiohttp|builtins|collections|datetime|os|pathlib|ssl)\..+"),  # not ours; we build without a network
    ("py:class", r"Any|AsyncIterator|Iterator|Mapping|Self|TypeAlias"),
    ("py:(class|obj)", r"(a2e_async\.(tasks|resources\.task_resource|integrations\.\w+)\.)?R"),  # a record
    ("py:(class|obj)", r"(a2e_async\.integrations\.\w+\.)?T|(typing\.)?~P"),  # of a function of the user
    ("py:(class|obj)", r"(a2e_async\.(client|tasks)\.)?F"),  # a file object of the user
    ("py:class", r"(contextlib|django|flask|litestar|quart|starlette)\..+|HttpResponse"),  # not ours, as above
    ("py:class", r"(types\.|a2e_async\.resources\.inputs\.)?Annotated|AsJson|kind='\w+'"),  # for pydantic
    ("py:(class|obj)", r"dt\.datetime|EntryState|JobState|Stage"),  # said in words beside each attribute of these types
    (
        "py:class",
        r"CancelPolicy|IfExists|Media|OnUpdate|Webhook|WritableFile",
    ),  # said in words beside each parameter of these types
    ("py:class", r"a2e_async\.resources\.(base|task_resource)\..+"),  # what they have is shown with each resource
    ("py:class", r"a2e_async\.sandbox\.state\..+"),  # described on the page of the sandbox
]

_RESOURCES = tuple(f"a2e_async.resources.{module.name}" for module in pkgutil.iter_modules(resources.__path__))
_MODELS = tuple(f"a2e_async.models.{module.name}" for module in pkgutil.iter_modules(models.__path__))
_MODULES = (
    "a2e_async",
    *_RESOURCES,
    *_MODELS,
    "a2e_async.models",
    "a2e_async.batch",
    "a2e_async.sandbox",
    "a2e_async.testing",
    "a2e_async.files",
    "a2e_async.config",
)
_NOT_MADE_BY_USERS = ("TaskHandle", "TaskStatus")


def _signature(
    _app: Sphinx,
    what: str,
    name: str,
    thing: Any,  # noqa: ANN401  any documented object
    _options: object,
    signature: str | None,
    _returns: str | None,
) -> tuple[str, str | None] | None:
    """Say what a call returns beside its name, and leave out the signature of what only the package itself makes."""
    if not signature:
        return None
    if what == "exception" or (what == "class" and _is_given(name, thing)):
        return "", None
    if what == "class" and attrs.has(thing):
        made = {field.name: field.default.factory.__name__ for field in attrs.fields(thing) if _is_made(field)}
        return re.sub(r"(\w+)=NOTHING", lambda match: f"{match[1]}={made[match[1]]}()", signature), None
    if what == "method":
        returned = inspect.signature(thing).return_annotation
        returns = _short_type(returned if isinstance(returned, str) else inspect.formatannotation(returned))
        return signature, None if returns == "None" else re.sub(r"\bR\b", _record_of(name), returns)
    return None


def _is_given(name: str, thing: type) -> bool:
    """Tell whether users get such a thing from the package, and never make it."""
    home = thing.__module__
    return name.endswith(_NOT_MADE_BY_USERS) or home.startswith(("a2e_async.resources.", "a2e_async.models."))


def _record_of(name: str) -> str:
    """Return what ``R`` stands for in a method of a resource: the record of its family."""
    module, _, kind = name.rpartition(".")[0].rpartition(".")
    owner = getattr(importlib.import_module(module), kind, None) if module in _RESOURCES else None
    return owner._family.record if hasattr(owner, "_family") else "R"  # noqa: SLF001  it has no other name for it


def _is_made(field: attrs.Attribute[Any]) -> bool:
    return hasattr(field.default, "factory")


def _short_type(text: str) -> str:
    text = re.sub(r"[\w.]*_Resource\[([\w.]+)\]", r"\1", text)  # an attribute of the client gives the resource itself
    return re.sub(r"\b(a2e_async|builtins|collections|typing)\.[\w.]*\b(\w+)", r"\2", text)


def _attributes(_app: Sphinx, _what: str, _name: str, _thing: object, _options: object, lines: list[str]) -> None:
    """Put the type of an attribute beside its name, where napoleon puts it below the text."""
    name_at = 0
    for index, line in enumerate(lines):
        if line.startswith(".. attribute:: "):
            name_at = index
        elif line.startswith("   :type: "):
            lines[index] = ""
            lines[name_at] += f"\n   {_short_type(line.strip())}"
    lines[:] = "\n".join(lines).split("\n")


def _short_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """Find what a docstring names without its module, such as `NetworkError.request_sent`."""
    if node.get("refdomain") != "py" or node["reftarget"].startswith("a2e_async."):
        return None
    python = env.domains.python_domain
    for module in _MODULES:
        target = f"{module}.{node['reftarget']}"
        if found := python.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], target, node, content):
            return found
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the handlers."""
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _attributes, priority=900)  # after napoleon
    app.connect("missing-reference", _short_name)
    return {"parallel_read_safe": True}

"""How the pages are built: ``sphinx-build -W --keep-going -b html docs docs/_build/html``. Needs no network."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import pkgutil
import re
import textwrap
from typing import TYPE_CHECKING, Any

import attrs
from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging
from sphinx.writers.text import TextTranslator

import a2e_async
from a2e_async import models, resources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from docutils.nodes import Element
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "a2e_async"
author = "The a2e_async authors"
project_copyright = author
version = release = a2e_async.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
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

# A fragment is not meant to be copied: it does not run alone. What a program prints neither.
copybutton_selector = "div:not(.fragment):not(.highlight-text):not(.highlight-default) > div.highlight > pre"
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"

default_role = "py:obj"  # what docstrings put between single backticks
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88

autodoc_mock_imports = ["anyio", "asgiref", "django", "fastapi", "flask", "litestar", "mcp", "pydantic", "quart"]
autodoc_mock_imports += ["starlette"]
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", r"[a-z_]+(\(\))?"),  # single backticks around a parameter, or `str()`
    ("py:obj", r"time\.\w+"),
    ("py:class", r"(aiohttp|builtins|collections|datetime|os|pathlib|ssl)\..+"),  # not ours; we build without a network
    ("py:class", r"Any|AsyncIterator|Iterator|Mapping|Self|TypeAlias"),
    ("py:(class|obj)", r"(a2e_async\.(tasks|resources\.task_resource|integrations\.\w+)\.)?R"),  # a record
    ("py:class", r"\+R_co"),  # a task of a family that a supervisor watches
    ("py:(class|obj)", r"(a2e_async\.integrations\.\w+\.)?T|(typing\.)?~P"),  # of a function of the user
    ("py:(class|obj)", r"(a2e_async\.(client|tasks)\.)?F"),  # a file object of the user
    ("py:class", r"(contextlib|django|flask|litestar|mcp|psycopg|quart|starlette)\..+|HttpResponse"),  # not ours
    ("py:class", r"(types\.|a2e_async\.resources\.inputs\.)?Annotated|AsJson|kind='\w+'"),  # for pydantic
    ("py:(class|obj)", r"dt\.datetime|EntryState|JobState|Stage"),  # said in words beside each attribute of these types
    (
        "py:class",
        r"CancelPolicy|IfExists|Media|OnUpdate|Webhook|WritableFile",
    ),  # said in words beside each parameter of these types
    ("py:class", r"a2e_async\.resources\.(base|task_resource)\..+"),  # what they have is shown with each resource
    ("py:class", r"a2e_async\.batch\.\w+\.(R|BatchRun)|a2e_async\.files\.result_stream\._Source"),  # not made by users
    ("py:class", r"(aiosqlite|mcp|opentelemetry|pydantic)\..+|HttpRequest"),  # not ours, as above
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
    "a2e_async.cluster",
    "a2e_async.integrations",
    "a2e_async.integrations.cluster",
    "a2e_async.sandbox",
    "a2e_async.testing",
    "a2e_async.files",
    "a2e_async.config",
    "a2e_async.events",
)
_COMMANDS = ("a2e_async.cli", "a2e_async.__main__")
_INTERNAL = {
    # for other modules of the package
    "a2e_async.resources.other_families.DEDICATED",
    "a2e_async.resources.other_families.family_named",
    "a2e_async.resources.other_families.find_family",
    "a2e_async.resources.other_families.schema_of",
    "a2e_async.resources.other_families.task_count",
    "a2e_async.tasks.wait_results",
    # fixtures, which the page describes in words
    "a2e_async.testing.plugin.a2e_client",
    "a2e_async.testing.plugin.a2e_clock",
    "a2e_async.testing.plugin.a2e_sandbox",
}
_LOGGER = logging.getLogger(__name__)
_FILE = (
    r"~?\bstr \| ~?(?:os\.)?PathLike\[str\] \| ~?bytes \| ~?bytearray \| ~?memoryview"
    r" \| ~?(?:typing\.)?IO\[bytes\] \| ~?[\w.]*\bAsyncFile"
)
_SHORT_TYPES = (
    (r"~?[\w.]*\bAnnotated\[(.+?), ~?[\w.]*AsJson\([^()]*\)\]", r"\1"),  # for pydantic
    (rf"{_FILE} \| ~?[\w.]*\bPillowImage", "~a2e_async.Image"),
    (_FILE, "~a2e_async.Media"),
)
_NOT_MADE_BY_USERS = ("TaskHandle", "TaskStatus")


def _signature(
    _app: Sphinx,
    what: str,
    name: str,
    thing: Any,  # noqa: ANN401  any documented object
    _options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str, str | None] | None:
    """Say what a call returns beside its name, and leave out the signature of what only the package itself makes."""
    if not signature:
        return None
    for long, replacement in _SHORT_TYPES:
        signature = re.sub(long, replacement, signature)
    if what == "exception" or (what == "class" and _is_given(name, thing)):
        return "", None
    if what == "class" and attrs.has(thing):
        made = {field.name: field.default.factory.__name__ for field in attrs.fields(thing) if _is_made(field)}
        return re.sub(r"(\w+)=NOTHING", lambda match: f"{match[1]}={made[match[1]]}()", signature), None
    if what == "method":
        returned = inspect.signature(thing).return_annotation
        short = _short_type(returned if isinstance(returned, str) else inspect.formatannotation(returned))
        return signature, None if short == "None" else re.sub(r"\bR\b", _record_of(name), short)
    return signature, returns


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


def _undocumented(_app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each public name that no page describes."""
    described = [_object_of(name) for name in env.domains.python_domain.objects]
    for module in _public_modules():
        for name in module.__all__:
            thing, full_name = getattr(module, name), f"{module.__name__}.{name}"
            if full_name not in _INTERNAL and thing not in described:
                _LOGGER.warning("%s is public, and on no page of the reference", full_name)


def _public_modules() -> Iterator[ModuleType]:
    """Yield all modules with an ``__all__``; the command line has none for programs."""
    for found in pkgutil.walk_packages(a2e_async.__path__, "a2e_async."):
        if not any(part.startswith("_") for part in found.name.split(".")) and not found.name.startswith(_COMMANDS):
            module = importlib.import_module(found.name)
            if hasattr(module, "__all__"):
                yield module


def _object_of(name: str) -> object:
    """Return a documented object; None if it has another parent than a module."""
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return None


def _write_texts(app: Sphinx, error: Exception | None) -> None:
    """Write the pages for language models: ``llms.txt`` names them, and ``llms-full.txt`` has their texts."""
    if error is not None or app.builder.format != "html":
        return
    folder = pathlib.Path(app.outdir)
    index = _resolved(app, "index")
    titles = [f"# {_title_of(index)}\n\n> {_begin_of(index)}\n"]
    texts = [_text_of(app, index)]
    for menu in app.env.get_doctree("index").findall(addnodes.toctree):
        titles.append(f"\n## {menu['caption']}\n\n")
        for _, name in menu["entries"]:
            page = _resolved(app, name)
            titles.append(f"- [{_title_of(page)}]({app.builder.get_target_uri(name)}): {_begin_of(page)}\n")
            texts.append(_text_of(app, page))
    (folder / "llms.txt").write_text("".join(titles), encoding="utf-8")
    (folder / "llms-full.txt").write_text("\n\n".join(texts), encoding="utf-8")


def _resolved(app: Sphinx, name: str) -> nodes.document:
    page = app.env.get_doctree(name)
    app.env.resolve_references(page, name, app.builder)
    return page


def _title_of(page: nodes.document) -> str:
    return page.next_node(nodes.title).astext()


def _begin_of(page: nodes.document) -> str:
    paragraph = page.next_node(nodes.paragraph)
    return textwrap.shorten(paragraph.astext(), 240, placeholder=" ...") if paragraph is not None else ""


def _text_of(app: Sphinx, page: nodes.document) -> str:
    translator = TextTranslator(page, app.builder)
    page.walkabout(translator)
    return translator.body


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the handlers."""
    app.connect("env-check-consistency", _undocumented)
    app.connect("build-finished", _write_texts)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _attributes, priority=900)  # after napoleon
    app.connect("missing-reference", _short_name)
    return {"parallel_read_safe": True}

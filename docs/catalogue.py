"""Write what the package knows of A2E's current specification.

That are the fields of the starts of A2E's families (`a2e_async/resources/catalogue.json`), and the names of all
operations (`a2e_async/sandbox/operations.txt`).

The source is A2E's current specification, as `operations.jsonl` with one operation in each line. Run the script again
when this file has changed: ``python docs/catalogue.py operations.jsonl``. The catalogue contains the file's digest.

Without an argument the script writes `docs/reference/family-fields.md`, and prints the table of families for
`docs/reference/families.md`.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import sys
from typing import Any

from a2e_async._protocol.families import FAMILIES
from a2e_async.resources.other_families import schema_of

TARGET = pathlib.Path(__file__).parents[1] / "a2e_async" / "resources" / "catalogue.json"

PAGE = pathlib.Path(__file__).parent / "reference" / "family-fields.md"

OPERATIONS = TARGET.parents[1] / "sandbox" / "operations.txt"

# Type in A2E's specification -> type in `a2e_async._protocol.schema`.
_TYPES = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "flag",
    "array": "array",
    "object": "object",
}

# Endings of the names of fields that hold links to inputs.
_LINK_ENDINGS = ("url", "urls", "imageurls", "input_images", "image_list")

# Families with a resource of their own.
_OWN = ("userImage2Video", "userVoice", "userVideoTwin", "userCaptionRemoval")

# Rules that are in the text of the specification and not in its schemas.
_BY_PROSE: dict[str, dict[str, dict[str, Any]]] = {
    "hailuoVideo": {"prompt": {"required": True}},
    "userWan26R2V": {"reference_urls": {"max": 5}},
    "userGptImage": {"prompt": {"max_length": 3000}, "input_images": {"max": 16}},
    "userWan26Image": {
        "prompt": {"max_length": 2000},
        "negative_prompt": {"max_length": 500},
        "input_images": {"max": 4},
    },
    "userWan27Image": {"input_images": {"max": 9}},
    "userFlux2": {"input_images": {"max": 8}},
    "seedance2Video": {"duration": {"choices": [-1, *range(4, 31)]}},
    "klingOmni": {"duration": {"choices": [str(seconds) for seconds in range(3, 16)]}},
    "minimaxH3Video": {"duration": {"choices": [str(seconds) for seconds in range(4, 16)]}},
    "userHappyhorseVideo": {"seed": {"min": 0, "max": 2147483647}},
    "veoVideo": {"seeds": {"min": 10000, "max": 99999}},
}

# Parts of notes that say where a rule was found, or repeat it.
_NOT_FOR_USERS = re.compile(
    r"(?:at most \d+ characters|512 limit|0 to 4 images for editing|minItems[^;]*|items? format.*|format uri.*"
    r"|prose says 2: )(?:; |$)?"
    r"|,? ?\(?(?:per (?:prose|description)|(?:is )?stated in prose|prose limit|prose\))[^;,]*|;? ?format uri.*"
)

# Fields of which one is required because of the value of another field, by the same text. None means not set.
_REQUIREMENTS: dict[str, list[tuple[dict[str, list[str | bool | None]], list[str]]]] = {
    "grokVideo": [
        ({"model_type": ["text-to-video", None]}, ["prompt"]),
        ({"model_type": ["image-to-video"]}, ["image_url", "image_urls"]),
    ],
    "hailuoVideo": [({}, ["image_url", "image_urls"])],
    "klingOmni": [
        ({"multi_shot": [False, None]}, ["prompt"]),
        ({"multi_shot": [True]}, ["shot_type"]),
        ({"multi_shot": [True], "shot_type": ["intelligence"]}, ["prompt"]),
        ({"multi_shot": [True], "shot_type": ["customize"]}, ["multi_prompt"]),
    ],
    "klingVideo": [
        ({"mode": ["image-to-video", "motion-control"]}, ["image_url"]),
        ({"mode": ["motion-control"]}, ["video_url"]),
    ],
    "minimaxH3Video": [
        ({"mode": ["image-to-video"]}, ["first_frame_url"]),
        ({"mode": ["reference-to-video"]}, ["reference_image_urls", "reference_video_urls", "reference_audio_urls"]),
    ],
    "seedance2Video": [
        ({"mode": ["image-to-video"]}, ["image_url"]),
        ({"mode": ["first-last-frames"]}, ["first_frame_url"]),
        ({"mode": ["first-last-frames"]}, ["last_frame_url"]),
        ({"mode": ["reference"]}, ["reference_urls", "video_urls", "audio_urls"]),
    ],
    "seedanceVideo": [({"mode": ["image-to-video"]}, ["image_url"])],
    "soraVideo": [({"model_type": ["image-to-video", None]}, ["image_urls"])],
    "userHappyhorseVideo": [
        ({"mode": ["t2v", "r2v", "video-edit"]}, ["prompt"]),
        ({"mode": ["i2v"]}, ["image_url"]),
        ({"mode": ["r2v"]}, ["reference_image_urls"]),
        ({"mode": ["video-edit"]}, ["edit_video_url"]),
    ],
    "userWan25": [
        ({"task_type": ["first_frame", "first_last_frame", None]}, ["image_url"]),
        ({"task_type": ["first_last_frame"]}, ["last_frame_url"]),
        ({"task_type": ["reference_image"]}, ["reference_media", "reference_image_urls"]),
        ({"task_type": ["video_extend"]}, ["first_clip_url"]),
        ({"task_type": ["video_edit"]}, ["edit_video_url"]),
    ],
    "veoVideo": [({"generationType": ["FIRST_AND_LAST_FRAMES_2_VIDEO", "REFERENCE_2_VIDEO"]}, ["imageUrls"])],
}


def type_of(field: dict[str, Any]) -> str:
    """Return the type of a field in `a2e_async._protocol.schema`."""
    json_type, name = field["type"], field["name"].lower()
    if name.startswith("webhook"):
        return "text"  # a link, but not an input
    if name.endswith(_LINK_ENDINGS) and json_type == "string":
        return "link"
    if name.endswith(_LINK_ENDINGS) and json_type == "array" and field.get("items") == "string":
        return "links"
    return _TYPES[json_type]


def read_field(field: dict[str, Any]) -> dict[str, Any]:
    """Return the rules of a field."""
    rules = {
        "type": type_of(field),
        "required": field["required"] or None,
        "choices": field.get("enum"),
        "min": field.get("min", field.get("minItems")),
        "max": field.get("max", field.get("maxItems", field.get("maxItems_stated"))),
        "max_length": field.get("maxLength"),
        "fields": read_inner(field),
        "default": field.get("default"),
        "note": _NOT_FOR_USERS.sub("", field.get("note") or "").strip() or None,
    }
    return {name: value for name, value in rules.items() if value is not None}


def read_inner(field: dict[str, Any]) -> dict[str, Any] | None:
    """Return the fields of an object, or of every object of an array; None if the specification does not list them."""
    items = field.get("items")
    inner = items.get("fields") if isinstance(items, dict) else field.get("fields")
    return {part["name"]: read_field(part) for part in inner} if inner else None


def read(lines: list[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the rules: family -> field -> rules."""
    families = {}
    for operation in map(json.loads, lines):
        method, path = operation["op"].split()
        family = path.removeprefix("/api/v1/").removesuffix("/start")
        if method == "POST" and path.endswith("/start") and family not in _OWN:
            fields = {field["name"]: read_field(field) for field in operation["body"]}
            for name, rules in _BY_PROSE.get(family, {}).items():
                fields[name] |= rules
            families[family] = fields
    return dict(sorted(families.items()))


def to_requirement(rule: tuple[dict[str, list[str | bool | None]], list[str]]) -> dict[str, Any]:
    """Return a rule of `_REQUIREMENTS` as the catalogue writes it."""
    return {"when": rule[0], "one_of": rule[1]}


def main(source: str) -> None:
    """Write the catalogue, with one field in each line."""
    content = pathlib.Path(source).read_bytes()
    lines = content.decode().splitlines()
    families = read(lines)
    version = f"{len(lines)} operations, SHA-256 {hashlib.sha256(content).hexdigest()[:16]}"
    blocks = []
    for family, fields in families.items():
        rows = ",\n".join(f"   {json.dumps(name)}: {json.dumps(rules)}" for name, rules in fields.items())
        blocks.append(f"  {json.dumps(family)}: {{\n{rows}\n  }}")
    head = f' "source": "https://api.a2e.ai, OpenAPI specification",\n "version": {json.dumps(version)},\n'
    requirements = [
        f"  {json.dumps(family)}: {json.dumps(list(map(to_requirement, rules)))}"
        for family, rules in _REQUIREMENTS.items()
    ]
    text = (
        "{\n"
        + head
        + ' "families": {\n'
        + ",\n".join(blocks)
        + '\n },\n "requirements": {\n'
        + ",\n".join(requirements)
        + "\n }\n}\n"
    )
    TARGET.write_text(text, encoding="utf-8")
    names = [re.sub(r"\{\w+\}", "{id}", json.loads(line)["op"]) for line in lines]
    title = f"# The operations of A2E's current specification ({version}); written by docs/catalogue.py\n"
    OPERATIONS.write_text(title + "".join(f"{name}\n" for name in names), encoding="utf-8")


def table() -> str:
    """Return the families that have no resource of their own, as a table in Markdown."""
    lines = ["| key | family | required fields | result |", "|---|---|---|---|"]
    for key in json.loads(TARGET.read_text(encoding="utf-8"))["families"]:
        family = FAMILIES[key]
        required = ", ".join(f"`{name}`" for name, field in schema_of(family).fields.items() if field.required)
        results = ", ".join(f"`{name}`" for name in family.result_fields)
        lines.append(f"| `{key}` | [{family.title}](family-fields.md#{key.lower()}) | {required or '-'} | {results} |")
    return "\n".join(lines) + "\n"


INTRODUCTION = """\
# Text to Image, Kling, Sora, Veo and the others: all fields

% Written by docs/catalogue.py: change that instead.

These are the families of A2E without methods of their own, and all fields of their starts. Names, limits, defaults and
notes are those of A2E's specification. What is wrong is an error before anything is sent. A field for a link takes a
local file as well. [](../how-to/text-to-image.md) has a whole example, and [](families.md) has the methods that all
families share.

A start is `await a2e.family("userText2Image").start({"prompt": "a lighthouse at dusk"})`, with the key and the fields.

On the command line, `a2e family fields KEY` shows the same fields, and `a2e run KEY field=value image_url=@ada.png`
starts, waits and downloads. Every start costs coins, and A2E publishes few of the prices.
"""

_TYPE_WORDS = {
    "text": "text",
    "link": "link or file",
    "links": "links or files",
    "integer": "whole number",
    "number": "number",
    "flag": "true or false",
    "array": "list",
    "object": "object",
}


def page() -> str:
    """Return the page with all fields of all families that have no resource of their own."""
    catalogue = json.loads(TARGET.read_text(encoding="utf-8"))
    parts = [INTRODUCTION]
    for key in sorted(catalogue["families"], key=lambda key: FAMILIES[key].title.lower()):
        family, fields = FAMILIES[key], catalogue["families"][key]
        results = " or ".join(f"`{name}`" for name in family.result_fields)
        parts.append(f"({key.lower()})=\n## {family.title}\n\n`{key}`; the result is in {results}.\n")
        parts.append("| field | value | default | |\n|---|---|---|---|")
        parts += _rows(fields)
        rules = [_sentence(rule) for rule in catalogue["requirements"].get(key, ())]
        parts.append("".join(f"\n- {rule}" for rule in rules) + ("\n" if rules else ""))
    return "\n".join(parts).rstrip() + "\n"


def _rows(fields: dict[str, Any], path: str = "") -> list[str]:
    rows = []
    for name, field in fields.items():
        default = _word(field["default"]) if "default" in field else ""
        if field.get("required"):  # without a name, it is that of the file or of the family
            default = "**needed**" if name != "name" else "that of the file"
        note = field.get("note", "").replace("|", r"\|").replace("<", r"\<").replace("*", r"\*")
        rows.append(f"| `{path}{name}` | {_value(field, is_inside=bool(path))} | {default} | {note} |")
        rows += _rows(field.get("fields", {}), f"{path}{name}.")
    return rows


def _value(field: dict[str, Any], *, is_inside: bool) -> str:
    if choices := field.get("choices"):
        return ", ".join(map(_word, choices))
    limits = []
    low, high = field.get("min"), field.get("max")
    many = field["type"] in {"links", "array"}
    if low is not None and high is not None:
        limits.append(f"{low} to {high}")
    elif low is not None:
        limits.append(f"at least {low}")
    elif high is not None:
        limits.append(f"at most {high}")
    if "max_length" in field:
        limits.append(f"at most {field['max_length']:,} characters")
    words = _TYPE_WORDS[field["type"]]
    if is_inside:
        words = words.partition(" or file")[0]  # only the fields of the start itself take files
    return f"{words} ({', '.join(limits)})" if many and limits else ", ".join([words, *limits])


def _word(value: object) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _sentence(rule: dict[str, Any]) -> str:
    needed = " or ".join(f"`{name}`" for name in rule["one_of"])
    conditions = []
    for name, values in rule["when"].items():
        words = [_word(value) if value is not None else "not set" for value in values]
        conditions.append(f"`{name}` is {' or '.join(words)}")
    return f"If {' and '.join(conditions)}: {needed} is needed." if conditions else f"{needed} is needed."


if __name__ == "__main__":
    if sys.argv[1:]:
        main(*sys.argv[1:])
    else:
        PAGE.write_text(page(), encoding="utf-8")
        sys.stdout.write(table())

"""Keys of the jobs of a whole table, beside those that the journal has."""

# How it works: a table can have an image several times, with other prompts. All rows of it but the first get a digest
# of their options as well. Which of them is the first can change between two runs. So a row first gets the key of the
# journal's job that has the same image and the same options. That also finds the jobs of journals that were written
# when the key was the name of the image without its ending, with a number if it came again.

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from a2e_async._protocol.schema import name_from
from a2e_async.batch.keys import DIGEST, KEPT, automatic_key, image_text, shown_text
from a2e_async.batch.rules import JournalEntry


@attrs.define(eq=False)
class EarlierJobs:
    """Jobs of a journal whose keys were made of their images, by this rule or the older one."""

    # path or link of an image, or the last part of it -> options -> keys, in the order of the journal
    _keys: dict[str, dict[str, list[str]]] = attrs.field(factory=dict)

    def add(self, entry: JournalEntry) -> None:
        """Add a job of the journal."""
        path = _stored_path(entry.request.get("image"))
        if not path or not _is_automatic(entry.key, path):
            return
        options = {name: value for name, value in entry.request.items() if name not in {"image", "end_image"}}
        text = _options_text(options, _stored_path(entry.request.get("end_image")))
        for image in {path, _last_part(path)}:
            self._keys.setdefault(image, {}).setdefault(text, []).append(entry.key)

    def find(self, path: str) -> tuple[str, Mapping[str, Sequence[str]]]:
        """Return the path of an image, or its last part if the journal has it in another folder; and its keys."""
        image = path if path in self._keys else _last_part(path)
        return image, self._keys.get(image, {})


@attrs.define(eq=False)
class AutomaticKeys:
    """Keys for the jobs of one reading of an input that have none of their own.

    Attributes:
        earlier: The jobs of the journal.
        is_used: Tells whether an earlier row of this reading has a key.
    """

    earlier: EarlierJobs
    is_used: Callable[[str], bool]
    # how many keys of the journal were given, by image and options, and by image
    _given: Counter[tuple[str, str]] = attrs.field(factory=Counter, init=False)
    _given_of_image: Counter[str] = attrs.field(factory=Counter, init=False)
    # how many rows with the same image and options came so far
    _equal: Counter[tuple[str, str]] = attrs.field(factory=Counter, init=False)

    def assign_first(self, image: str, path: str) -> str | None:
        """Return the key of a job whose image neither the journal nor an earlier row has; else None: see `assign`."""
        key = automatic_key(image)
        _, keys = self.earlier.find(image_text(path))
        return None if keys or self.is_used(key) else key

    def assign(self, image: str, path: str, options: Mapping[str, Any], end_image: str) -> tuple[str, str]:
        """Return the key of a job, and what speaks against the job, or an empty text.

        Args:
            image: The path of its image as the input has it, or the link.
            path: The same path as the journal has it.
            options: Its options without the images; None counts as not given.
            end_image: The path or the link of its last image, or an empty text.
        """
        wanted = _options_text(options, end_image)
        found, keys = self.earlier.find(image_text(path))
        # Case 1: the journal has this job.
        equal = keys.get(wanted, ())
        while (number := self._given[found, wanted]) < len(equal):
            self._given[found, wanted] += 1
            self._given_of_image[found] += 1
            if not self.is_used(equal[number]):
                return equal[number], ""
        key = automatic_key(image)
        # Case 2: it has another one with this image. Probably the options were changed, which would cost coins again.
        if not self.is_used(key) and sum(map(len, keys.values())) > self._given_of_image[found]:
            free = (name for names in keys.values() for name in names if not self.is_used(name))
            other = min(free, key=lambda name: (len(name), name))  # the jobs of one run are in the journal in any order
            return "", (
                f"the journal has another job for this image, {other!r}, with other options: "
                "give this one a key of its own, or choose another journal"
            )
        # Case 3: a new job. Case 4: a new one with the image of an earlier row. Equal rows are counted.
        while self.is_used(key):
            self._equal[image, wanted] += 1
            key = automatic_key(image, f"{wanted} {self._equal[image, wanted]}")
        return key, ""


def _is_automatic(key: str, path: str) -> bool:
    """Return whether a key was not given by the caller, but made of this image, by this rule or the older one."""
    older = name_from(path) or "job"
    name, hyphen, number = key.rpartition("-")
    if key == older or (name == older and hyphen and number.isdecimal()):
        return True
    shown, key = f"/{shown_text(path)}", key[:-17] if re.fullmatch(DIGEST, key) else key
    return shown.endswith(f"/{key}") or (len(key) == KEPT and shown.endswith(key))


def _last_part(path: str) -> str:
    return path if "://" in path else path.rpartition("/")[2]


def _stored_path(image: object) -> str:
    """Return the path or the link of an image that the journal has, or an empty text."""
    stored = image if isinstance(image, dict) else {}
    text = stored.get("path") or stored.get("url") or ""
    return image_text(str(text).replace("\\", "/") if stored.get("path") else str(text)) if text else ""


def _options_text(options: Mapping[str, Any], end_image: str) -> str:
    given = {name: value for name, value in options.items() if value is not None}
    if end_image:
        given["end_image"] = _last_part(image_text(end_image))
    text = json.dumps(given, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]

"""Keys of jobs that have none of their own, and file names of videos."""

# How it works:
#
# * The key comes from the path or the link of the image alone (`automatic_key`), so that it never depends on the other
#   rows of the input. What a key cannot hold is replaced or cut, and a digest of all of it keeps such keys apart.
# * A table can have an image several times, with other prompts. All rows of it but the first get a digest of their
#   options as well. Which of them is the first can change between two runs. So a row first gets the key of the
#   journal's job that has the same image and the same options (`AutomaticKeys`). That also finds the jobs of journals
#   that were written when the key was the name of the image without its ending, with a number if it came again.
# * Names of files differ also where upper and lower case are the same (`FileNames`).

import hashlib
import json
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from a2e_async._protocol.links import without_signature
from a2e_async._protocol.schema import name_from
from a2e_async.batch.rules import JournalEntry, file_name, marked_name

_MAX_LENGTH = 200  # characters of an automatic key
_KEPT = 180  # characters of a longer one that are kept: its end, which tells more than its beginning
_DIGEST = r"(?s).*~[0-9a-f]{16}"


def automatic_key(image: str, variant: str = "") -> str:
    """Return the key of a job that has none of its own.

    Args:
        image: The path of its image, with ``/`` between its parts, or the link.
        variant: What distinguishes the job from another one with the same image, or an empty text.
    """
    full = _image_text(image)
    key = _shown(full)
    is_short = len(key) <= _MAX_LENGTH and not re.fullmatch(_DIGEST, key)
    if is_short and key == full.removeprefix("https://") and not variant:
        return key
    digest = hashlib.sha256(f"{full}\0{variant}".encode(errors="surrogatepass")).hexdigest()[:16]
    return f"{key[-_KEPT:]}~{digest}"


def _image_text(image: str) -> str:
    """Return a path or a link in its one spelling: ``./a//b.png`` is ``a/b.png``."""
    return without_signature(image) if "://" in image else posixpath.normpath(image)


def _shown(full: str) -> str:
    """Return what a key shows of a path or a link: no query, which can be secret, and no control characters."""
    text = full.partition("://")[2].partition("?")[0] if "://" in full else full
    return "".join(char if char.isprintable() else "_" for char in text)


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

    def assign(self, image: str, path: str, options: Mapping[str, Any], end_image: str) -> tuple[str, str]:
        """Return the key of a job, and what speaks against the job, or an empty text.

        Args:
            image: The path of its image as the input has it, or the link.
            path: The same path as the journal has it.
            options: Its options without the images; None counts as not given.
            end_image: The path or the link of its last image, or an empty text.
        """
        wanted = _options_text(options, end_image)
        found, keys = self.earlier.find(_image_text(path))
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
    shown, key = f"/{_shown(path)}", key[:-17] if re.fullmatch(_DIGEST, key) else key
    return shown.endswith(f"/{key}") or (len(key) == _KEPT and shown.endswith(key))


def _last_part(path: str) -> str:
    return path if "://" in path else path.rpartition("/")[2]


def _stored_path(image: object) -> str:
    """Return the path or the link of an image that the journal has, or an empty text."""
    stored = image if isinstance(image, dict) else {}
    text = stored.get("path") or stored.get("url") or ""
    return _image_text(str(text).replace("\\", "/") if stored.get("path") else str(text)) if text else ""


def _options_text(options: Mapping[str, Any], end_image: str) -> str:
    given = {name: value for name, value in options.items() if value is not None}
    if end_image:
        given["end_image"] = _last_part(_image_text(end_image))
    text = json.dumps(given, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


@attrs.define(eq=False, repr=False)
class FileNames:
    """File names of the videos of a batch: one for each key, also where upper and lower case are the same."""

    # hashes instead of the texts: an input can have millions of jobs
    _keys: dict[int, int] = attrs.field(factory=dict)

    def add(self, name: str, key: str) -> None:
        """Reserve the file name that an earlier run has chosen for a key."""
        self._keys.setdefault(hash(name.casefold()), hash(key))

    def choose(self, key: str, extension: str) -> str:
        """Return the file name for a key: the plain one, unless another key has it in this or another case."""
        name = file_name(key, extension)
        is_free = self._keys.setdefault(hash(name.casefold()), hash(key)) == hash(key)
        return name if is_free else marked_name(key, extension)

"""Keys of jobs that have none of their own."""

# How it works: the key comes from the path or the link of the image alone, so that it never depends on the other rows
# of the input. What a key cannot hold is replaced or cut, and a digest of all of it keeps such keys apart. Several jobs
# with one image are a matter of `automatic_keys.py`.

import hashlib
import posixpath
import re

from a2e_async._protocol.links import without_signature

_MAX_LENGTH = 200  # characters of an automatic key
KEPT = 180  # characters of a longer one that are kept: its end, which tells more than its beginning
DIGEST = r"(?s).*~[0-9a-f]{16}"


def automatic_key(image: str, variant: str = "") -> str:
    """Return the key of a job that has none of its own.

    Args:
        image: The path of its image, with ``/`` between its parts, or the link.
        variant: What distinguishes the job from another one with the same image, or an empty text.
    """
    full = image_text(image)
    key = shown_text(full)
    is_short = len(key) <= _MAX_LENGTH and not re.fullmatch(DIGEST, key)
    if is_short and key == full.removeprefix("https://") and not variant:
        return key
    digest = hashlib.sha256(f"{full}\0{variant}".encode(errors="surrogatepass")).hexdigest()[:16]
    return f"{key[-KEPT:]}~{digest}"


def image_text(image: str) -> str:
    """Return a path or a link in its one spelling: ``./a//b.png`` is ``a/b.png``."""
    return without_signature(image) if "://" in image else posixpath.normpath(image)


def shown_text(full: str) -> str:
    """Return what a key shows of a path or a link: no query, which can be secret, and no control characters."""
    text = full.partition("://")[2].partition("?")[0] if "://" in full else full
    return text if text.isprintable() else "".join(char if char.isprintable() else "_" for char in text)

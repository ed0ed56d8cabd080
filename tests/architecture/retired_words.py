"""Finds words and names that this project has retired, and says which word stands in their place.

Run it on the whole repository, or on some files: ``python tests/architecture/retired_words.py [FILE ...]``. A word means
one thing here, and the field's own word is used where there is one.
"""

from __future__ import annotations

import io
import pathlib
import re
import subprocess
import sys
import tokenize

__all__ = ["found_in", "main"]

ROOT = pathlib.Path(__file__).parents[2]

WORDS = {
    r"who|whom|whoever|nobody|somebody|anybody|someone|anyone": "the part that acts: the poller, the caller, A2E",
    r"whatever|anew|thereby|therein|hereby|whereby|nought|twain|lest|ere|yonder|hither": "plain English",
    r"buy|buys|buying|bought|buyer|purchase|purchases|purchased|purchasing|purse": "start, submit; a start costs coins",
    r"picture|pictures|photograph": "image",
    r"film|films|clip|clips": "video",
    r"sounds?": "audio",
    r"weather|storm|storms|sky|forecast": "faults, fault plan, schedule",
    r"fate|fates": "scenario",
    r"nudge|nudges|nudged": "poll_now, poll at once",
    r"hasten|hastens|hastened|hastening": "expedite, poll sooner",
    r"bear|bears|bearing|bore|borne": "handle, tolerate",
    r"doubt|doubts|doubted|doubtful|doubtless": "unknown outcome, suspect",
    r"hear|hears|heard|hearing": "receive, read",
    r"lookout|look-out": "reconciler",
    r"errand|errands": "worker, job",
    r"desk": "resource",
    r"stands? in line|stood in line|standing in line": "wait in the queue",
    r"turns? away|turned away|turning away|turns_away|turned_away|turn_away": "rate-limited, rejected",
    r"go ahead of|goes ahead of|went ahead of": "start before",
    r"what becomes? of|what became of": "the result of",
    r"letting go|let go|lets go": "release, close",
    r"foul|foreign_errors|outlast|outlasts|gist": "see docs/reference/glossary.md",
}
"""A pattern of retired words, and what to say instead."""

NAMES = [
    *(
        "Inquiry",
        "Questions",
        "Question",
        "Hear",
        "Halving",
        "halving",
        "Ticks",
        "Patience",
        "Changes",
        "Reporter",
        "withdraw",
    ),
    *("Lookout", "Memory", "Register", "horizon", "Need", "Part", "SeenThrough", "PacedApi", "take_place", "give_back"),
    *(
        "hold_back",
        "max_hold_back",
        "Arrival",
        "PurchaseOptions",
        "Movement",
        "Errand",
        "Case",
        "Shop",
        "Desk",
        "Buyer",
    ),
    *(
        "Gate",
        "scout",
        "Purse",
        "Links",
        "recall",
        "Doing",
        "Trouble",
        "Outcome",
        "_Inside",
        "_Runtime",
        "_Opened",
        "_lent",
    ),
    *(
        "Parts",
        "said",
        "complain",
        "make_clip",
        "Door",
        "Storm",
        "spoilt",
        "Sky",
        "Weather",
        "Fate",
        "dressing",
        "Studio",
    ),
    *(
        "Kind",
        "whole",
        "least",
        "longest",
        "is_unbegun",
        "refuse",
        "objection",
        "is_genuine",
        "fall_due",
        "Router",
    ),
    *(
        "is_passing",
        "worth_it",
        "try_patience",
        "Halving",
        "unsettled",
        "questions_of",
        "Api",
        "Fetcher",
        "carry",
        "abandon",
        "lent",
    ),
]
"""Names that were replaced by the field's own term, as they stood in the code."""

EXCEPTIONS: dict[str, tuple[str, ...]] = {
    "first_clip_url": ("tests/", "docs/"),  # a field of A2E
    "think_sound": ("",),  # a family of A2E
    **dict.fromkeys(("#refuse", "`refuse`", '"refuse"'), ("",)),  # a tag of prompts and a type of faults of the sandbox
    "add_from_picture": ("",),  # the name of a public method
    "purchases INTEGER": ("a2e_async/batch/journal_file.py",),  # a journal of schema 1 has this column
    "COLUMN purchases": ("a2e_async/batch/journal_file.py",),  # the migration from it
    'OLD_COLUMN = "purchases"': ("tests/batch/",),  # its test
}
"""A text in which a retired word is right, and the beginnings of the paths where it is so."""

_WORDS = {
    re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])", re.IGNORECASE): advice for pattern, advice in WORDS.items()
}
_ANY_WORD = re.compile(rf"(?<![a-z])(?:{'|'.join(WORDS)})(?![a-z])")  # of folded text: much quicker than IGNORECASE
_NAMES = re.compile(rf"(?<![\w-])(?:{'|'.join(NAMES)})(?![\w-])")
# Files that name the retired words, and the notes of A2E's own specification.
_ABOUT_WORDS = {f"tests/architecture/{name}.py" for name in ("retired_words", "style_table", "test_style")}
_ABOUT_WORDS |= {"docs/reference/family-fields.md"}
_OURS = ("a2e_async/", "tests/", "docs/", "README.md", "CHANGELOG.md", "noxfile.py", "conftest.py")


def found_in(path: str, text: str) -> list[str]:
    """Return a line for each retired word of a file: where it stands, and what to say instead."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not (_ANY_WORD.search(line.casefold()) or "`" in line):
            continue
        rest = line
        for right, places in EXCEPTIONS.items():
            if path.startswith(places):
                rest = rest.replace(right, "")
        for pattern, advice in _WORDS.items():
            found += [f"{path}:{number}: {match[0]!r}: {advice}" for match in pattern.finditer(rest)]
        quoted = " ".join(re.findall(r"`[^`]+`", rest))
        found += [f"{path}:{number}: the name {match[0]!r} is retired" for match in _NAMES.finditer(quoted)]
    if path.endswith(".py") and _NAMES.search(text):
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        names = (token for token in tokens if token.type == tokenize.NAME and _NAMES.fullmatch(token.string))
        found += [f"{path}:{token.start[0]}: the name {token.string!r} is retired" for token in names]
    return found


def main(arguments: list[str]) -> int:
    """Check the files named, or all files of the repository; return 1 if a retired word is found."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    paths = arguments or [path for path in files if path.startswith(_OURS) and path.endswith((".py", ".md"))]
    texts = {
        path: (ROOT / path).read_text("utf-8") for path in paths if path not in _ABOUT_WORDS and (ROOT / path).exists()
    }
    found = [line for path, text in texts.items() for line in found_in(path, text)]
    print("\n".join(found) or "no retired words")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

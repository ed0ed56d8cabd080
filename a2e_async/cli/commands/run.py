"""``a2e run``: the short way to a video of an image, or to a task of any family."""

import os
import pathlib
from typing import Annotated

from cyclopts import Parameter

from a2e_async.cli.commands.family import family_task
from a2e_async.cli.families import chosen_family
from a2e_async.cli.options import DEFAULT_CONNECTION, DEFAULT_START, Connection, StartArguments, to_fields
from a2e_async.cli.tasks import DEFAULT_MAKE, MakeOptions, make
from a2e_async.cli.videos import make_videos
from a2e_async.errors import InvalidRequestError
from a2e_async.files import media_types

WORDS = "Images: paths or links. Or the name of a family and its fields: FIELD=VALUE, with @FILE for a local file."


def run(
    *words: Annotated[str, Parameter(name="WORD", required=True, help=WORDS)],
    make_options: MakeOptions = DEFAULT_MAKE,
    options: StartArguments = DEFAULT_START,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Make a video of an image, or a result of any family, and download it. This costs coins.

    Try:

        a2e run ada.png --prompt "she smiles"
        a2e run ada.png bob.png --prompt "a smile" --out videos
        a2e run text-to-image prompt="a cat in the snow" --out cat.png
        a2e run userUpscale source_url=@ada.png --open

    Everything is checked before anything is sent. Local files are uploaded, the task is started once and waited for,
    and its result is downloaded. `a2e family list` shows all families, and `a2e family fields KEY` the fields of one.

    Args:
        words: See `WORDS`.
        make_options: The options of the files.
        options: The options of the video. Those that a family has as a field apply to it too.
        connection: The shared options.
    """
    first, *others = words
    if _is_image(first):
        return make_videos(words, options, make_options, connection)
    try:
        family = chosen_family(first)
    except InvalidRequestError as error:
        msg = f"{first!r} is neither a file nor a link nor a family of A2E. {_hint(error)}"
        raise InvalidRequestError(msg) from error
    fields, common = to_fields(options, family.schema.fields, family.key)
    return make(family, [family_task(family, others, fields, common)], make_options, connection)


def _is_image(word: str) -> bool:
    is_named_so = pathlib.PurePath(word).suffix.lower() in media_types.EXTENSIONS
    return "://" in word or os.path.lexists(word) or "/" in word or os.sep in word or is_named_so


def _hint(error: InvalidRequestError) -> str:
    _, found, similar = error.message.partition("did you mean ")
    return f"Did you mean {similar.rstrip('.?')}?" if found else "All families: a2e family list"

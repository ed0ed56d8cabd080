"""Uploads of local files and downloads of results, through a session without the token."""

from a2e_async.files.local_files import (
    AsyncFile,
    IfExists,
    Image,
    Media,
    PillowImage,
    WritableFile,
)
from a2e_async.files.result_stream import ResultStream

__all__ = [
    "AsyncFile",
    "IfExists",
    "Image",
    "Media",
    "PillowImage",
    "ResultStream",
    "WritableFile",
]

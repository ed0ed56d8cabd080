"""Uploads of local files and downloads of results, through a session without the token."""

from a2e_async.files.local_files import (
    AsyncFile,
    IfExists,
    Image,
    LocalFile,
    Media,
    WritableFile,
    check_target,
    open_file,
    open_image,
)
from a2e_async.files.result_stream import ResultStream
from a2e_async.files.storage import Files

__all__ = [
    "AsyncFile",
    "Files",
    "IfExists",
    "Image",
    "LocalFile",
    "Media",
    "ResultStream",
    "WritableFile",
    "check_target",
    "open_file",
    "open_image",
]

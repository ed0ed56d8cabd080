"""Uploads of local files and downloads of results, through a session without the token."""

from a2e_async.files.local_files import Image, LocalFile, Media, check_target, open_file, open_image
from a2e_async.files.storage import Files

__all__ = ["Files", "Image", "LocalFile", "Media", "check_target", "open_file", "open_image"]

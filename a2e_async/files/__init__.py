"""Uploads local files and downloads results, through a session that never sees the token."""

from a2e_async.files.local_files import Image, LocalFile, Media, check_target, open_file, open_picture
from a2e_async.files.storage import Files

__all__ = ["Files", "Image", "LocalFile", "Media", "check_target", "open_file", "open_picture"]

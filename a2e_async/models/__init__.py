"""Inert values, one file per group of A2E's documentation. Each is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from a2e_async.models.account import Balance, Movement, Quote
    from a2e_async.models.avatar_videos import AvatarVideoRecord, LipSyncModel
    from a2e_async.models.avatars import Avatar, CustomAvatar, TwinRecord
    from a2e_async.models.backgrounds import Background
    from a2e_async.models.caption_removal import CaptionRemovalRecord
    from a2e_async.models.common import Item, TaskRecord, TaskStatus, TaskUpdate
    from a2e_async.models.dubbing import DubbingRecord
    from a2e_async.models.face_swap import FaceImage, FaceSwapPreviewRecord, FaceSwapRecord
    from a2e_async.models.image_to_video import ImageToVideoRecord, ModelType, ModelVersion
    from a2e_async.models.other_families import FamilyRecord
    from a2e_async.models.streaming_avatar import RoomToken, StreamingAvatarInfo
    from a2e_async.models.tokens import ApiToken
    from a2e_async.models.voices import Language, PublicVoice, Region, SpeechPreview, VoiceRecord

__all__ = [
    "ApiToken",
    "Avatar",
    "AvatarVideoRecord",
    "Background",
    "Balance",
    "CaptionRemovalRecord",
    "CustomAvatar",
    "DubbingRecord",
    "FaceImage",
    "FaceSwapPreviewRecord",
    "FaceSwapRecord",
    "FamilyRecord",
    "ImageToVideoRecord",
    "Item",
    "Language",
    "LipSyncModel",
    "ModelType",
    "ModelVersion",
    "Movement",
    "PublicVoice",
    "Quote",
    "Region",
    "RoomToken",
    "SpeechPreview",
    "StreamingAvatarInfo",
    "TaskRecord",
    "TaskStatus",
    "TaskUpdate",
    "TwinRecord",
    "VoiceRecord",
]

_HOMES = {
    "ApiToken": "tokens",
    "Avatar": "avatars",
    "AvatarVideoRecord": "avatar_videos",
    "Background": "backgrounds",
    "Balance": "account",
    "CaptionRemovalRecord": "caption_removal",
    "CustomAvatar": "avatars",
    "DubbingRecord": "dubbing",
    "FaceImage": "face_swap",
    "FaceSwapPreviewRecord": "face_swap",
    "FaceSwapRecord": "face_swap",
    "FamilyRecord": "other_families",
    "ImageToVideoRecord": "image_to_video",
    "Item": "common",
    "Language": "voices",
    "LipSyncModel": "avatar_videos",
    "ModelType": "image_to_video",
    "ModelVersion": "image_to_video",
    "Movement": "account",
    "PublicVoice": "voices",
    "Quote": "account",
    "Region": "voices",
    "RoomToken": "streaming_avatar",
    "SpeechPreview": "voices",
    "StreamingAvatarInfo": "streaming_avatar",
    "TaskRecord": "common",
    "TaskStatus": "common",
    "TaskUpdate": "common",
    "TwinRecord": "avatars",
    "VoiceRecord": "voices",
}
"""Where the names come from."""


if not TYPE_CHECKING:  # a type checker would take any name

    def __getattr__(name: str) -> object:
        """Import a model: a client that does image to video does not wait for those of other groups."""
        if name not in _HOMES:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value

"""Values that A2E returns, one file per group of A2E's documentation."""

from typing import TYPE_CHECKING

from a2e_async._lazy import importer
from a2e_async.models.common import Item, TaskRecord, TaskStatus, TaskUpdate
from a2e_async.models.image_to_video import ImageToVideoRecord, ModelType, ModelVersion

if TYPE_CHECKING:
    from a2e_async.models.account import Balance, CreditTransaction, Quote
    from a2e_async.models.avatar_videos import AvatarVideoRecord, LipSyncModel
    from a2e_async.models.avatars import Avatar, CustomAvatar, TwinRecord
    from a2e_async.models.backgrounds import Background
    from a2e_async.models.caption_removal import CaptionRemovalRecord
    from a2e_async.models.dubbing import DubbingRecord
    from a2e_async.models.face_swap import FaceImage, FaceSwapPreviewRecord, FaceSwapRecord
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
    "CreditTransaction",
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

# Most programs need the records of one or two families.
_MODULES = {
    "Balance": "account",
    "CreditTransaction": "account",
    "Quote": "account",
    "AvatarVideoRecord": "avatar_videos",
    "LipSyncModel": "avatar_videos",
    "Avatar": "avatars",
    "CustomAvatar": "avatars",
    "TwinRecord": "avatars",
    "Background": "backgrounds",
    "CaptionRemovalRecord": "caption_removal",
    "DubbingRecord": "dubbing",
    "FaceImage": "face_swap",
    "FaceSwapPreviewRecord": "face_swap",
    "FaceSwapRecord": "face_swap",
    "FamilyRecord": "other_families",
    "RoomToken": "streaming_avatar",
    "StreamingAvatarInfo": "streaming_avatar",
    "ApiToken": "tokens",
    "Language": "voices",
    "PublicVoice": "voices",
    "Region": "voices",
    "SpeechPreview": "voices",
    "VoiceRecord": "voices",
}

if not TYPE_CHECKING:
    __getattr__ = importer(__name__, _MODULES)

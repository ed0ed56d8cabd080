"""Quirks of records: fields that come back under another name or as another type."""

from typing import Final

from a2e_async.sandbox.tasks.family import Record, Sent, seconds_of

_PROGRESS: Final = {"init": 0, "pending": 0, "process": 50, "copy": 90, "success": 100, "fail": 50}


def avatar_video(record: Record, sent: Sent) -> Record:
    """Rename and drop fields as A2E does for avatar videos (reference 4.4 and trap 21)."""
    renamed = {
        "anchor_type": str(sent.get("anchor_type", "")),
        "replace_bg_id": sent.get("back_id", ""),
        "custom_backs_id": sent.get("custom_back_id"),
        "process": _PROGRESS[str(record["status"])],
        "web_bg_width": int(sent.get("web_bg_width", 0)),
        "web_bg_height": int(sent.get("web_bg_height", 0)),
        "color": sent.get("color", ""),
        "result_people_url": "",
        "result_bg_url": "",
        "diff_s": 0,
        "current_date": record["updatedAt"],
    }
    dropped = {"back_id", "custom_back_id", "audioSrc", "custom_voice"}
    return {name: value for name, value in record.items() if name not in dropped} | renamed


def face_swap(record: Record, sent: Sent) -> Record:
    """Show error code and message as face swaps do: "0" and `null` without an error (reference 7.8)."""
    # The codes are numbers as strings. Which numbers exist is unpublished.
    error_code = {"": "0", "nsfw": "2"}.get(str(record["error_code"]), "1")
    message = record["faild_message"] or None
    return record | {"error_code": error_code, "faild_message": message, "duration": seconds_of(sent)}


def voice(record: Record, sent: Sent) -> Record:
    """Add the fields that only a voice has (reference 3.2)."""
    locale = str(sent.get("language") or "en-US")
    # send_tts takes the task's id, not the speaker_id (reference 3.2), so the two differ.
    speaker = f"speaker-{record['_id']}"
    extra = {"lang": locale.partition("-")[0], "language": locale, "speaker_id": speaker, "ttsRate": 1}
    return record | extra | {"train_mode": "fast", "hasRefundCoin": record["current_status"] == "failed"}

"""The last changes of some families' records: what comes back under another name, or as another type."""

from typing import Final

from a2e_async.sandbox.tasks.family import Record, Sent, seconds_of

_PROGRESS: Final = {"init": 0, "pending": 0, "process": 50, "copy": 90, "success": 100, "fail": 50}


def avatar_video(record: Record, sent: Sent) -> Record:
    """Rename what comes back under other names (reference 4.4 and trap 21), and drop what does not come back."""
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
    gone = {"back_id", "custom_back_id", "audioSrc", "custom_voice"}
    return {name: value for name, value in record.items() if name not in gone} | renamed


def face_swap(record: Record, sent: Sent) -> Record:
    """The code is the string "0" while all is well; the message is `null` then (reference 7.8)."""
    return record | {
        "error_code": _error_code(record["error_code"]),
        "faild_message": record["faild_message"] or None,
        "duration": seconds_of(sent),
    }


def _error_code(code: object) -> str:
    """Write a code as face swaps do: a number as a string (which numbers there are is unpublished)."""
    return {"": "0", "nsfw": "2"}.get(str(code), "1")


def voice(record: Record, sent: Sent) -> Record:
    """Add what a voice has besides (reference 3.2)."""
    locale = str(sent.get("language") or "en-US")
    # The speaker_id is not what send_tts wants (reference 3.2), so it is another one.
    speaker = f"speaker-{record['_id']}"
    extra = {"lang": locale.partition("-")[0], "language": locale, "speaker_id": speaker, "ttsRate": 1}
    return record | extra | {"train_mode": "fast", "hasRefundCoin": record["current_status"] == "failed"}

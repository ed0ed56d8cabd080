"""The entries of A2E's documentation, each with its methods in this package.

``python docs/entries.py`` writes docs/reference/entries.md. Tests check that each entry has a method, a route in the
sandbox and a test, and that the page is up to date.
"""

from __future__ import annotations

import pathlib

import attrs

__all__ = ["ENTRIES", "PAGE", "Entry", "page"]

PAGE = pathlib.Path(__file__).parent / "reference" / "entries.md"

# A group and the page that describes its methods; then its entries: number, A2E's title, methods, operation.
_NAVIGATION = """\
Get Tokens | tokens
2.1 | Obtain Login Token | tokens.login | POST /api/login/account | a guess
2.2 | Get API token | tokens.generate | POST token/generate
2.3 | Delete API token | tokens.delete | POST token/delete | a guess
2.4 | List api tokens | tokens.list | GET token/list | a guess
2.5 | Getting API Tokens (2025 version) | A2EClient | -
TTS and Voice Clone | voices
3.1 | List Public TTS Options | voices.public | GET anchor/voice_list
3.2 | List Voice Clone Options | voices.completed | GET userVoice/completedRecord
3.3 | Train TTS Model of The User's Voice (Voice Clone) | voices.start | POST userVoice/training
3.4 | List Ongoing Voice Clone Tasks | voices.ongoing | GET userVoice/trainingRecord
3.5 | Generate TTS Audio (Text-to-Speech) | voices.speak | POST video/send_tts
3.6 | Get Details of a Voice | voices.get | GET userVoice/{_id}
3.7 | Delete a User Voice | voices.delete | DELETE userVoice/{_id}
Generate Avatar Videos | avatar-videos
4.1 | Generate AI Avatar Videos | avatar_videos.start | POST video/generate
4.2 | List of Result Videos | avatar_videos.list | GET video/awsList
4.3 | List One or All Avatars | avatars.list | GET anchor/character_list
4.4 | Obtain the Status of One Avatar Video Task | avatar_videos.get | POST video/awsResult
4.5 | Obtain the List of Personalized Lip-Sync Models | avatar_videos.lip_sync_models | GET userVideoTwin/trainingRecords | a guess
4.6 | Delete or Cancel a Video | avatar_videos.delete | DELETE video/{_id}
4.7 | Auto Language Detect | avatar_videos.detect_language | POST video/lang_classify
4.8 | Auto Swith to Public Computing Pool | avatar_videos.set_auto_public_pool | POST video/auto-public-pool
Create Avatars and Train Lip-sync Models | avatars
5.1 | Create A Custom Avatar by a Video or an Image | avatars.twins.start | POST userVideoTwin/startTraining
5.2 | Train a Personalized Lip-sync Model (Optional) a.k.a. Continue Training | avatars.twins.continue_training | POST userVideoTwin/continueTraining
5.3 | Remove A Customized Avatar | avatars.twins.delete | POST userVideoTwin/remove
5.4 | Get Status of All Tasks | avatars.twins.list | GET userVideoTwin/records
5.5 | Get All Ongoing "Training" Tasks | avatars.twins.ongoing | GET userVideoTwin/trainingRecords
5.6 | Status of One Task | avatars.twins.get | GET userVideoTwin/{_id}
5.7 | Clone Voice from a Video | voices.clone_from_video | POST userVideoTwin/addVoiceClone | a guess
Background Matting and Replacement | backgrounds
6.1 | Obtain the List of Background Images | backgrounds.all backgrounds.list backgrounds.random | POST custom_back/allBackground
6.2 | Add Custom Background Image | backgrounds.add | POST custom_back/add
6.3 | Delete Custom Image | backgrounds.delete | POST custom_back/del
Face Swap | face-swap
7.1 | Add Face Swap Image | face_swap.images.add | POST userFaceSwapImage/add
7.2 | Get Records of Face Swap Images | face_swap.images.list | GET userFaceSwapImage/records
7.3 | Delete User Face Swap Image | face_swap.images.delete | DELETE userFaceSwapImage/{_id}
7.4 | Add User Face Swap Preview | face_swap.previews.start | POST userFaceSwapPreview/add
7.5 | Get Status of Face Swap Preview Process | face_swap.previews.get | GET userFaceSwapPreview/status
7.6 | Add User Face Swap Task | face_swap.start | POST userFaceSwapTask/add
7.7 | Get Status of Face Swap Task | face_swap.ongoing | GET userFaceSwapTask/status
7.8 | Get Face Swap Task Records | face_swap.list | GET userFaceSwapTask/records
7.9 | Get Details of Face Swap | face_swap.get face_swap.get_many | GET userFaceSwapTask/{_id}
7.10 | Delete Record | face_swap.delete | DELETE userFaceSwapTask/{_id}
AI Dubbing | dubbing
8.1 | Start dubbing | dubbing.start | POST userDubbing/startDubbing
8.2 | List Dubbing Tasks | dubbing.list | GET userDubbing/allRecords
8.3 | List All Processing Dubbing Tasks | dubbing.ongoing | GET userDubbing/allProcessing
8.4 | Get Details | dubbing.get | GET userDubbing/{_id}
8.5 | Delete Record | dubbing.delete | DELETE userDubbing/{_id}
Image to Video | image-to-video
9.1 | Start Image-to-Video | image_to_video.start | POST userImage2Video/start
9.2 | Check Status of One Task | image_to_video.get | GET userImage2Video/{_id}
9.3 | List Status of All Tasks | image_to_video.list | GET userImage2Video/allRecords
9.4 | Delete Record | image_to_video.delete | DELETE userImage2Video/{_id}
Caption Removal | caption-removal
10.1 | Start Caption Removal | caption_removal.start | POST userCaptionRemoval/start
10.2 | Get Records of All Tasks | caption_removal.list | GET userCaptionRemoval/allRecords
10.3 | Get Status of All Tasks in Processing | caption_removal.ongoing | GET userCaptionRemoval/allProcessing
10.4 | Get Details of One Task | caption_removal.get caption_removal.get_many | GET userCaptionRemoval/{_id}
10.5 | Delete a Task | caption_removal.delete | DELETE userCaptionRemoval/{_id}
Streaming Avatar | streaming-avatar
11.1 | Get All avatars | streaming_avatar.avatars | GET streaming-avatar/all_avatars
11.2 | Get a Streaming Avatar Token | streaming_avatar.session streaming_avatar.token | POST streaming-avatar/agora-token
11.3 | Set QA Context | streaming_avatar.set_qa_context | POST streaming-avatar/set-qa-context
11.4 | Get QA Context | streaming_avatar.get_qa_context | GET streaming-avatar/get-qa-context | a guess
11.5 | Ask a Question to the Avatar | streaming_avatar.ask | POST streaming-avatar/ask
11.6 | Let the Avatar Speak Directly | streaming_avatar.speak | POST streaming-avatar/speak
11.7 | Leave the Room | streaming_avatar.leave | POST streaming-avatar/leave
Miscellaneous | account
12.1 | Add a User | account.add_user | POST user/add
12.2 | Get User Remaining Credits | account.balance | GET user/remainingCoins
12.3 | Exchange Diamonds | account.exchange_diamonds | POST user/exchangeDiamonds
12.4 | List Available Languages | account.languages voices.languages | POST anchor/language_list
12.5 | Save URL to A2E's storage | storage.save | POST tos/transferToStorage
"""  # noqa: E501  a table


@attrs.frozen
class Entry:
    """One entry of A2E's documentation.

    Attributes:
        number: The section in the reference.
        title: A2E's title.
        calls: The methods for the entry, the main one first: ``"voices.speak"`` is ``client.voices.speak``.
        operation: A2E's method and path, below ``/api/v1`` unless it begins with a slash. Empty for a guide.
        published: Whether A2E has published the path. Otherwise it is a guess.
    """

    number: str
    title: str
    calls: tuple[str, ...]
    operation: str
    published: bool


def _read(line: str) -> Entry:
    number, title, calls, operation, *guess = line.split(" | ")
    return Entry(number, title, tuple(calls.split()), operation.strip("-"), not guess)


# In the order of A2E's documentation.
ENTRIES = tuple(_read(line) for line in _NAVIGATION.splitlines() if line[0].isdecimal())

_HEAD = f"""\
# A2E's navigation

% Written by docs/entries.py: change that instead.

A2E's documentation has {len(ENTRIES)} entries, and this package has a method for each. A2E mentions some operations
without a description. Their paths are guesses: the method warns once with an
{{py:class}}`~a2e_async.UnpublishedEndpointWarning`, and raises an
{{py:exc}}`~a2e_async.EndpointNotAvailableError` if A2E does not have the operation. `client` is an
{{py:class}}`~a2e_async.A2EClient`."""


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *map(_line, _NAVIGATION.splitlines())]) + "\n"


def _line(line: str) -> str:
    """Return a row of a table, or the head of the next table."""
    if line[0].isdecimal():
        return _row(_read(line))
    title, page = line.split(" | ")
    return (
        f"\n## {title}\n\nMethods: [{page}]({page}.md).\n\n|  | A2E's entry | method | operation |\n|---|---|---|---|"
    )


def _row(entry: Entry) -> str:
    calls = ", ".join(f"`client.{call}`" if call[0].islower() else f"`{call}(token)`" for call in entry.calls)
    operation = f"`{entry.operation}`" if entry.operation else "a guide: a token is made in A2E's web page"
    return f"| {entry.number} | {entry.title} | {calls} | {operation}{'' if entry.published else ' (a guess)'} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

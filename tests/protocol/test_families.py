"""The table of families: what its rows say, against what A2E's documentation says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from a2e_async._protocol import families
from a2e_async._protocol.families import FAMILIES, Family
from a2e_async._protocol.messages import Envelope
from a2e_async._protocol.pagination import P1, P2, P3, Pages, Paging, page_request
from a2e_async.models.common import TaskStatus

if TYPE_CHECKING:
    from a2e_async._protocol.endpoints import Route

# The operations of reference 13, as its table writes them. "-" is what nobody knows.
REFERENCE = """
userUpscale         | {id}        | allRecords P1 | batch | {id}        | result_url
userText2Image      | {id}        | allRecords P1 | batch | {id}        | image_urls
userNanoBanana      | detail/{id} | allRecords P1 | batch | delete/{id} | image_urls
userPhotobook       | {id}        | allRecords P1 | batch | {id}        | result_url image_urls result_urls
userGptImage        | detail/{id} | list P3       | batch | {id}        | image_urls image_url url_download url_show
userWan26Image      | detail/{id} | list P3       | batch | {id}        | image_urls
userWan27Image      | detail/{id} | list P3       | batch | {id}        | image_urls
userQwen2Image      | detail/{id} | list P0       | batch | {id}        | image_urls
userFlux2           | detail/{id} | list P3       | batch | {id}        | image_urls
userKlingImage      | detail/{id} | list P0       | batch | {id}        | image_urls
userImageEdit       | {id}        | allRecords P1 | batch | {id}        | result_url
userWan25           | {id}        | allRecords P1 | batch | {id}        | result_url
userWan30           | {id}        | -             | -     | -           | result_url
userWan26R2V        | {id}        | allRecords P1 | batch | {id}        | result_url
userHappyhorseVideo | {id}        | allRecords P1 | batch | {id}        | result_url
talkingPhoto        | {id}        | allRecords P1 | batch | {id}        | result_url
talkingVideo        | {id}        | allRecords P1 | batch | {id}        | result_url
virtualTryOn        | {id}        | allRecords P1 | batch | {id}        | result_url
thinkSound          | {id}        | allRecords P1 | batch | {id}        | result_url
motionTransfer      | {id}        | allRecords P1 | batch | {id}        | result_url
actorSwap           | {id}        | allRecords P1 | batch | {id}        | result_url
productAvatar       | {id}        | allRecords P1 | batch | {id}        | result_image_url
headSwap            | {id}        | allRecords P1 | batch | {id}        | result_url
veoVideo            | {id}        | allRecords P1 | batch | {id}        | result_url
klingVideo          | {id}        | allRecords P1 | batch | {id}        | result_url
klingOmni           | {id}        | allRecords P1 | batch | {id}        | result_url
grokVideo           | {id}        | allRecords P1 | batch | {id}        | result_url
hailuoVideo         | {id}        | allRecords P1 | -     | {id}        | result_url
minimaxH3Video      | {id}        | allRecords P1 | batch | {id}        | result_url
soraVideo           | {id}        | allRecords P1 | batch | {id}        | result_url
seedanceVideo       | {id}        | allRecords P1 | -     | -           | result_url
seedance2Video      | {id}        | allRecords P1 | batch | {id}        | result_url
"""
ROWS = [[cell.strip() for cell in line.split("|")] for line in REFERENCE.strip().splitlines()]
OWN = [family for family in FAMILIES.values() if family.key not in {row[0] for row in ROWS}]


def as_written(family: Family) -> list[str]:
    """Write a family as the reference's table does."""
    key = family.key
    paging = {P1: "P1", P2: "P2", P3: "P3", None: "P0"}[family.paging]
    listing = "-" if family.list is None else f"{family.list.path.removeprefix(f'/api/v1/{key}/')} {paging}"
    assert family.detail.method == "GET"
    assert family.list is None or family.list.method == "GET"
    assert family.batch is None or (family.batch.method, family.batch.path) == ("POST", f"/api/v1/{key}/batchDetail")
    assert family.delete is None or family.delete.method == "DELETE"
    return [
        key,
        family.detail.path.removeprefix(f"/api/v1/{key}/"),
        listing,
        "batch" if family.batch else "-",
        family.delete.path.removeprefix(f"/api/v1/{key}/") if family.delete else "-",
        " ".join(family.result),
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_row_of_another_family(row: list[str]) -> None:
    """A family without a resource of its own is as reference 13 has it."""
    family = FAMILIES[row[0]]
    assert as_written(family) == row
    assert family.start == f"/api/v1/{family.key}/start"
    assert family.status == "current_status"
    assert family.code == "failed_code"
    assert family.ongoing is None


def test_families_of_the_navigation() -> None:
    """The table holds these rows and no others."""
    assert {family.key for family in OWN} == {
        "userImage2Video", "userVoice", "video", "userVideoTwin",
        "userFaceSwapTask", "userFaceSwapPreview", "userDubbing", "userCaptionRemoval",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("family", "start", "detail", "listing", "batch", "delete"),
    [
        (families.IMAGE_TO_VIDEO, "start", "GET {id}", "GET allRecords", True, "DELETE {id}"),
        (families.VOICES, "training", "GET {id}", "GET trainingRecord", False, "DELETE {id}"),
        (families.AVATAR_VIDEOS, "generate", "POST awsResult _id", "GET awsList", False, "DELETE {id}"),
        (families.TWINS, "startTraining", "GET {id}", "GET records", True, "POST remove _id"),
        (families.FACE_SWAPS, "add", "GET {id}", "GET records", True, "DELETE {id}"),
        (families.FACE_SWAP_PREVIEWS, "add", "GET status _id", "-", False, "-"),
        (families.DUBBINGS, "startDubbing", "GET {id}", "GET allRecords", False, "DELETE {id}"),
        (families.CAPTION_REMOVALS, "start", "GET {id}", "GET allRecords", True, "DELETE {id}"),
    ],
    ids=lambda value: value.key if isinstance(value, Family) else "",
)
def test_row_of_the_navigation(  # noqa: PLR0917  columns of the table
    family: Family,
    start: str,
    detail: str,
    listing: str,
    batch: bool,  # noqa: FBT001  as above
    delete: str,
) -> None:
    """A family of the navigation is as reference 3 to 10 have it; the best-supported spellings come first."""
    prefix = f"/api/v1/{family.key}/"
    written = [
        "-" if route is None else f"{route.method} {route.path.removeprefix(prefix)} {route.field}".strip()
        for route in (family.detail, family.list, family.delete)
    ]
    assert written == [detail, listing, delete]
    assert family.start == prefix + start
    assert (family.batch is not None) == batch


@pytest.mark.parametrize(
    ("route", "older"),
    [
        (families.VOICES.ongoing, "GET userVoice/processingRecord"),
        (families.AVATAR_VIDEOS.list, "POST video/awsList"),
        (families.TWINS.list, "GET userVideoTwin/allRecords"),
        (families.TWINS.ongoing, "GET userVideoTwin/processingRecord"),
        (families.DUBBINGS.ongoing, "GET userDubbing/processingRecord"),
        (families.CAPTION_REMOVALS.ongoing, "GET userCaptionRemoval/processingRecord"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_older_spelling(route: Route | None, older: str) -> None:
    """What A2E once called it is known, and nothing older than that."""
    assert route is not None
    assert route.older is not None
    assert f"{route.older.method} {route.older.path.removeprefix('/api/v1/')}" == older
    assert route.older.older is None


def test_list_of_what_is_under_way_is_no_list_of_everything() -> None:
    """Where a start is looked for, what is finished must not be missing: it would be started again."""
    for family in FAMILIES.values():
        spelling = family.list
        while spelling is not None:
            assert "rocessing" not in spelling.path
            spelling = spelling.older


def test_lists_of_what_is_under_way() -> None:
    """Five families can be asked for it."""
    under_way = {family.key: family.ongoing.path for family in FAMILIES.values() if family.ongoing}
    assert under_way == {
        "userVoice": "/api/v1/userVoice/trainingRecord",
        "userVideoTwin": "/api/v1/userVideoTwin/trainingRecords",
        "userFaceSwapTask": "/api/v1/userFaceSwapTask/status",
        "userDubbing": "/api/v1/userDubbing/allProcessing",
        "userCaptionRemoval": "/api/v1/userCaptionRemoval/allProcessing",
    }


# what differs


def test_words() -> None:
    """`pending` means work for Image to Video and waiting elsewhere; voices have a misspelt word (reference 1.12)."""
    pending = {family.key for family in FAMILIES.values() if family.words["pending"] is TaskStatus.RUNNING}
    assert pending == {"userImage2Video"}
    assert families.VOICES.words["pendding"] is TaskStatus.QUEUED
    assert families.AVATAR_VIDEOS.words["success"] is TaskStatus.SUCCEEDED
    assert families.TWINS.words["trained"] is TaskStatus.SUCCEEDED
    for family in FAMILIES.values():
        if family is not families.AVATAR_VIDEOS:
            assert family.words["initialized"] is TaskStatus.QUEUED
            assert family.words["completed"] is TaskStatus.SUCCEEDED


def test_fields() -> None:
    """The fields that are not as in most families (reference 1.9 and 1.13)."""
    assert {family.key for family in FAMILIES.values() if family.status == "status"} == {"video"}
    assert {family.key for family in FAMILIES.values() if family.code == "error_code"} == {
        "userFaceSwapTask", "userFaceSwapPreview",
    }  # fmt: skip
    assert families.AVATAR_VIDEOS.result == ("result",)
    assert families.TWINS.result == ("preview_result_url",)
    assert families.VOICES.result == ()


def test_names() -> None:
    """The name carries the marker: avatar videos call it title, and it may have 40 characters; two have none."""
    assert {family.key: family.name for family in FAMILIES.values() if family.name != "name"} == {
        "video": "title", "userFaceSwapPreview": None, "headSwap": None,
    }  # fmt: skip
    assert {family.key: family.longest_name for family in FAMILIES.values() if family.longest_name} == {"video": 40}


def test_what_can_be_looked_for() -> None:
    """A start can be found again where there are names and a list."""
    unsearchable = {family.key for family in FAMILIES.values() if not family.is_searchable}
    assert unsearchable == {"userFaceSwapPreview", "headSwap", "userWan30"}


def test_webhooks() -> None:
    """Reference 1.11 names the starts that take none."""
    assert {family.key for family in FAMILIES.values() if not family.hooked} == {
        "userFaceSwapPreview", "userPhotobook", "userVideoTwin",
    }  # fmt: skip


def test_checks_of_content_stay_on() -> None:
    """Two families get the value that keeps A2E's check on, and no family anything that switches one off."""
    assert {family.key: dict(family.always) for family in FAMILIES.values() if family.always} == {
        "userNanoBanana": {"force_generate": False}, "userFlux2": {"force_generate": False},
    }  # fmt: skip


def test_families_are_told_apart_by_identity() -> None:
    """A family is a key of what is remembered, and two rows are two, even of the same words."""
    assert attrs.evolve(families.VOICES) != families.VOICES
    assert len({attrs.evolve(families.VOICES), families.VOICES}) == 2


# how lists are paged


@pytest.mark.parametrize(
    ("paging", "params"),
    [
        (P1, {"pageNum": "2", "pageSize": "50"}),
        (P2, {"current": "2", "pageSize": "50"}),
        (P3, {"page": "2", "page_size": "50"}),
        (None, None),
    ],
)
def test_styles_of_paging(paging: Paging | None, params: dict[str, str] | None) -> None:
    """Each style has its own words; a list that is not paged is asked for as a whole."""
    request = page_request("/api/v1/x/list", 2, 50, paging)
    assert (request.method, request.path, request.params, request.repeatable) == ("GET", "/api/v1/x/list", params, True)


@pytest.mark.parametrize(("paging", "ended"), [(None, True), (P1, False), (P2, False), (P3, False)])
def test_list_that_is_not_paged_has_one_page(paging: Paging | None, ended: bool) -> None:  # noqa: FBT001  a column
    """It is read once, however long it is and whatever total it names."""
    pages = Pages("/api/v1/x/list", 2, paging)
    pages.next()
    assert len(pages.take(Envelope(data={"rows": [{"_id": "1"}, {"_id": "2"}], "count": 50}))) == 2
    assert pages.ended is ended

"""The table of families against A2E's documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from a2e_async._protocol import families
from a2e_async._protocol.families import FAMILIES, Family
from a2e_async._protocol.messages import Envelope
from a2e_async._protocol.pagination import P1, P2, P3, PageParams, PageReader, page_request
from a2e_async.models.common import TaskStatus

if TYPE_CHECKING:
    from a2e_async._protocol.endpoints import Endpoint

# The operations of reference 13, in the notation of its table. "-" means unknown.
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
    """Return a family in the notation of the reference."""
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
        " ".join(family.result_fields),
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_row_of_another_family(row: list[str]) -> None:
    """A family without a resource of its own has the endpoints of reference 13."""
    family = FAMILIES[row[0]]
    assert as_written(family) == row
    assert family.start == f"/api/v1/{family.key}/start"
    assert family.status_field == "current_status"
    assert family.code_field == "failed_code"
    assert family.ongoing is None


def test_families_with_a_resource() -> None:
    """The table has exactly these families with a resource of their own."""
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
def test_row_with_a_resource(  # noqa: PLR0917  columns of the table
    family: Family,
    start: str,
    detail: str,
    listing: str,
    batch: bool,  # noqa: FBT001  as above
    delete: str,
) -> None:
    """A family with a resource of its own has the endpoints of reference 3 to 10, the best evidence first."""
    prefix = f"/api/v1/{family.key}/"
    written = [
        "-" if endpoint is None else f"{endpoint.method} {endpoint.path.removeprefix(prefix)} {endpoint.field}".strip()
        for endpoint in (family.detail, family.list, family.delete)
    ]
    assert written == [detail, listing, delete]
    assert family.start == prefix + start
    assert (family.batch is not None) == batch


@pytest.mark.parametrize(
    ("endpoint", "older"),
    [
        (families.VOICES.ongoing, "GET userVoice/processingRecord"),
        (families.AVATAR_VIDEOS.list, "POST video/awsList, POST video/list"),
        (families.TWINS.list, "GET userVideoTwin/allRecords"),
        (families.TWINS.ongoing, "GET userVideoTwin/processingRecord"),
        (families.DUBBINGS.ongoing, "GET userDubbing/processingRecord"),
        (families.CAPTION_REMOVALS.ongoing, "GET userCaptionRemoval/processingRecord"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fallback_endpoints(endpoint: Endpoint | None, older: str) -> None:
    """Other forms of an endpoint are its fallbacks, and there are no others."""
    spellings = []
    while endpoint is not None:
        spellings.append(f"{endpoint.method} {endpoint.path.removeprefix('/api/v1/')}")
        endpoint = endpoint.fallback
    assert ", ".join(spellings[1:]) == older


def test_renames() -> None:
    """Four families have an endpoint for a new name (reference 3.6 and 13)."""
    renames = {
        family.key: f"{family.rename.method} {family.rename.path}" for family in FAMILIES.values() if family.rename
    }
    keys = ("userVoice", "klingVideo", "klingOmni", "seedance2Video")
    assert renames == {key: f"PUT /api/v1/{key}/{{id}}" for key in keys}


def test_list_of_unfinished_tasks_is_no_list_of_all_tasks() -> None:
    """The list in which starts are searched contains finished tasks, which would otherwise be started again."""
    for family in FAMILIES.values():
        spelling = family.list
        while spelling is not None:
            assert "rocessing" not in spelling.path
            spelling = spelling.fallback


def test_lists_of_unfinished_tasks() -> None:
    """Five families have an endpoint for unfinished tasks."""
    under_way = {family.key: family.ongoing.path for family in FAMILIES.values() if family.ongoing}
    assert under_way == {
        "userVoice": "/api/v1/userVoice/trainingRecord",
        "userVideoTwin": "/api/v1/userVideoTwin/trainingRecords",
        "userFaceSwapTask": "/api/v1/userFaceSwapTask/status",
        "userDubbing": "/api/v1/userDubbing/allProcessing",
        "userCaptionRemoval": "/api/v1/userCaptionRemoval/allProcessing",
    }


# differences


def test_status_words() -> None:
    """`pending` means running for Image to Video and queued elsewhere; voices have a misspelt word (reference 1.12)."""
    pending = {family.key for family in FAMILIES.values() if family.status_words["pending"] is TaskStatus.RUNNING}
    assert pending == {"userImage2Video"}
    assert families.VOICES.status_words["pendding"] is TaskStatus.QUEUED
    assert families.AVATAR_VIDEOS.status_words["success"] is TaskStatus.SUCCEEDED
    assert families.TWINS.status_words["trained"] is TaskStatus.SUCCEEDED
    for family in FAMILIES.values():
        assert family.status_words["initialized"] is TaskStatus.QUEUED


def test_fields() -> None:
    """These are the fields that differ from most families (reference 1.9 and 1.13)."""
    assert {family.key for family in FAMILIES.values() if family.status_field == "status"} == {"video"}
    assert {family.key for family in FAMILIES.values() if family.code_field == "error_code"} == {
        "userFaceSwapTask", "userFaceSwapPreview",
    }  # fmt: skip
    assert families.AVATAR_VIDEOS.result_fields == ("result",)
    assert families.TWINS.result_fields == ("preview_result_url",)
    assert families.VOICES.result_fields == ()


def test_names() -> None:
    """Avatar videos call the name `title`, with at most 40 characters; two families have no name."""
    assert {family.key: family.name_field for family in FAMILIES.values() if family.name_field != "name"} == {
        "video": "title", "userFaceSwapPreview": None, "headSwap": None,
    }  # fmt: skip
    assert {family.key: family.max_name_length for family in FAMILIES.values() if family.max_name_length} == {
        "video": 40
    }


def test_searchable_families() -> None:
    """A start can be found in families with a name and a list."""
    unsearchable = {family.key for family in FAMILIES.values() if not family.is_searchable}
    assert unsearchable == {"userFaceSwapPreview", "headSwap", "userWan30"}


def test_webhooks() -> None:
    """Reference 1.11 lists the families without webhooks."""
    assert {family.key for family in FAMILIES.values() if not family.has_webhooks} == {
        "userFaceSwapPreview", "userPhotobook", "userVideoTwin",
    }  # fmt: skip


def test_content_checks_stay_on() -> None:
    """Families with a switch for A2E's content checks send the value that keeps them on, and no others send it."""
    assert {family.key: dict(family.fixed_fields) for family in FAMILIES.values() if family.fixed_fields} == {
        "userNanoBanana": {"force_generate": False}, "userGptImage": {"force_generate": False},
        "userWan26Image": {"force_generate": False}, "userWan27Image": {"force_generate": False},
        "userFlux2": {"force_generate": False}, "userWan30": {"force_generate": False},
    }  # fmt: skip


def test_families_are_compared_by_identity() -> None:
    """Two rows with equal values are different keys."""
    assert attrs.evolve(families.VOICES) != families.VOICES
    assert len({attrs.evolve(families.VOICES), families.VOICES}) == 2


# pages of lists


@pytest.mark.parametrize(
    ("paging", "params"),
    [
        (P1, {"pageNum": "2", "pageSize": "50"}),
        (P2, {"current": "2", "pageSize": "50"}),
        (P3, {"page": "2", "page_size": "50"}),
        (None, None),
    ],
)
def test_styles_of_paging(paging: PageParams | None, params: dict[str, str] | None) -> None:
    """Each style has its own parameters; a list without pages is requested as a whole."""
    request = page_request("/api/v1/x/list", 2, 50, paging)
    assert (request.method, request.path, request.params, request.repeatable) == ("GET", "/api/v1/x/list", params, True)


@pytest.mark.parametrize(("paging", "ended"), [(None, True), (P1, False), (P2, False), (P3, False)])
def test_list_without_pages_has_one_page(paging: PageParams | None, ended: bool) -> None:  # noqa: FBT001  a column
    """A list without pages is read once, with every length and total."""
    pages = PageReader("/api/v1/x/list", 2, paging)
    pages.next_request()
    assert len(pages.read(Envelope(data={"rows": [{"_id": "1"}, {"_id": "2"}], "count": 50}))) == 2
    assert pages.ended is ended

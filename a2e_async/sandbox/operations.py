"""Which operation a request is, for weather that speaks of operations. A test tries every row."""

from collections.abc import Iterator
from typing import Final

from aiohttp import hdrs, web

from a2e_async.sandbox.eras import RENAMED
from a2e_async.sandbox.families import AVATAR_VIDEO, FACE_SWAP_PREVIEW, FAMILIES, VIDEO_TWIN
from a2e_async.sandbox.family import Family
from a2e_async.sandbox.gate import API


def _of_family(family: Family) -> Iterator[tuple[tuple[str, str], str]]:
    """Name the operations of one family."""
    prefix = f"{API}/{family.prefix}"
    yield (hdrs.METH_POST, f"{prefix}/{family.start}"), "start"
    if family.detail:
        yield (hdrs.METH_GET, f"{prefix}/{family.detail}"), "detail"
    for one in family.lists:
        yield (hdrs.METH_GET, f"{prefix}/{one.path}"), "list"
    if family.batch:
        yield (hdrs.METH_POST, f"{prefix}/batchDetail"), "batch"
    if family.delete:
        yield (hdrs.METH_DELETE, f"{prefix}/{family.delete}"), "delete"


# By method and by the route's path; what is missing here and belongs to the API is OTHER.
_NOW: Final = {
    **{key: operation for family in FAMILIES.values() for key, operation in _of_family(family)},
    (hdrs.METH_POST, f"{API}/{AVATAR_VIDEO.prefix}/awsResult"): "detail",
    (hdrs.METH_GET, f"{API}/{FACE_SWAP_PREVIEW.prefix}/status"): "detail",
    (hdrs.METH_POST, f"{API}/{VIDEO_TWIN.prefix}/remove"): "delete",
    (hdrs.METH_POST, f"{API}/r2/upload-presigned-url"): "presign",
    (hdrs.METH_POST, f"{API}/r2/get_upload_presigned_url"): "presign",
    (hdrs.METH_PUT, "/storage/{address}"): "put",
    (hdrs.METH_GET, "/cdn/{address}"): "cdn",
    (hdrs.METH_HEAD, "/cdn/{address}"): "cdn",
}
_OPERATIONS: Final = _NOW | {older: _NOW[newer] for newer, older in RENAMED.items() if newer in _NOW}

OTHER: Final = "*"
STORAGE: Final = frozenset({"put", "cdn"})  # storage and CDN: no API, so neither "*" nor JSON is for them
NAMES: Final = (*dict.fromkeys(_OPERATIONS.values()), OTHER)


def operation_of(request: web.Request) -> str | None:
    """Name the operation of a request; `None` for what no weather touches, such as paths outside of the API."""
    resource = request.match_info.route.resource
    named = None if resource is None else _OPERATIONS.get((request.method, resource.canonical))
    return named or (OTHER if request.path.startswith(API) else None)

"""Which operation a request is, for weather that speaks of operations. One table; a test tries every row."""

from typing import Final

from aiohttp import hdrs, web

from a2e_async.sandbox.gate import API

_TASKS: Final = f"{API}/userImage2Video"

# By method and by the route's path; what is missing here and belongs to the API is OTHER.
_OPERATIONS: Final = {
    (hdrs.METH_POST, f"{_TASKS}/start"): "start",
    (hdrs.METH_GET, f"{_TASKS}/{{_id}}"): "detail",
    (hdrs.METH_GET, f"{_TASKS}/allRecords"): "list",
    (hdrs.METH_POST, f"{_TASKS}/batchDetail"): "batch",
    (hdrs.METH_DELETE, f"{_TASKS}/{{_id}}"): "delete",
    (hdrs.METH_POST, f"{API}/r2/upload-presigned-url"): "presign",
    (hdrs.METH_POST, f"{API}/r2/get_upload_presigned_url"): "presign",
    (hdrs.METH_PUT, "/storage/{address}"): "put",
    (hdrs.METH_GET, "/cdn/{address}"): "cdn",
    (hdrs.METH_HEAD, "/cdn/{address}"): "cdn",
}

OTHER: Final = "*"
STORAGE: Final = frozenset({"put", "cdn"})  # storage and CDN: no API, so neither "*" nor JSON is for them
NAMES: Final = (*dict.fromkeys(_OPERATIONS.values()), OTHER)


def operation_of(request: web.Request) -> str | None:
    """Name the operation of a request; `None` for what no weather touches, such as paths outside of the API."""
    resource = request.match_info.route.resource
    named = None if resource is None else _OPERATIONS.get((request.method, resource.canonical))
    return named or (OTHER if request.path.startswith(API) else None)

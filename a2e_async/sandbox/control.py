"""The sandbox's own page at ``/``, and its control API under ``/_sandbox/``: no part of A2E.

How it works
------------
The page shows what `GET /_sandbox/state` answers, and its switches are the other operations. All of them call the
attributes and methods of `Sandbox`, and do nothing else. Their requests need no token, meet no fault and are not
recorded. So they are protected otherwise:

1. Requests for a name that a stranger can lead to this machine get a 421, as all requests do; see `middleware`.
2. A request that a web page of another origin has caused gets a 403, by its headers Origin and Sec-Fetch-Site.
3. What changes something must be a POST of JSON, which no form and no simple request of another origin can be.
4. If others can reach the sandbox, they need its token, as a bearer token or as the password of basic authentication.
"""

import base64
import hashlib
import hmac
import json
import math
import pkgutil
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import islice
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

import attrs
from aiohttp import hdrs, web
from attrs import define, field, frozen

from a2e_async.sandbox.envelopes import ErrorResponse, Fields, iso
from a2e_async.sandbox.faults.plan import OTHER, Fault, FaultPlan
from a2e_async.sandbox.faults.plan_json import fault_json, plan_json, read_fault, read_plan
from a2e_async.sandbox.faults.responses import StoredFile
from a2e_async.sandbox.lifecycle import NOT_GENERATED
from a2e_async.sandbox.media.storage import BUCKET, Storage, StoredObject
from a2e_async.sandbox.middleware import CONTROL, is_media
from a2e_async.sandbox.network import is_loopback
from a2e_async.sandbox.routes.base import Context
from a2e_async.sandbox.state import LedgerEntry, RecordedRequest, SandboxError, SentWebhook, Task

_LIMIT: Final = 50  # entries of each list in the state, by default
_MAX_LIMIT: Final = 100_000
_PHASES: Final = ("queued", "working", "succeeded", "failed", "deleted")  # of tasks, in the same words for every family

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Switches(Protocol):
    """What the control API uses of a `Sandbox`."""

    coins: int
    speed: float
    faults: FaultPlan | None

    @property
    def url(self) -> str: ...  # noqa: D102  (of `Sandbox`, as all of these)
    @property
    def token(self) -> str: ...  # noqa: D102
    @property
    def tasks(self) -> Mapping[str, Task]: ...  # noqa: D102
    @property
    def requests(self) -> deque[RecordedRequest]: ...  # noqa: D102
    @property
    def webhooks(self) -> deque[SentWebhook]: ...  # noqa: D102
    def finish(self, task_id: str) -> None: ...  # noqa: D102
    def fail(self, task_id: str, *, code: str, message: str) -> None: ...  # noqa: D102
    def fail_next(self, count: int = 1, *, code: str, message: str) -> None: ...  # noqa: D102
    def inject(self, fault: Fault, operation: str = OTHER) -> None: ...  # noqa: D102
    def hold(self) -> AbstractContextManager[None]: ...  # noqa: D102


@frozen
class Page:
    """The files of the page, read with the import: no file may be read in an event loop."""

    html: bytes
    script: bytes
    style: bytes
    icon: bytes
    sample: bytes

    @classmethod
    def read(cls) -> "Page":
        """Read the files."""
        names = ("index.html", "page.js", "page.css", "icon.svg", "sample.jpg")
        return cls(*(pkgutil.get_data("a2e_async.sandbox", f"page/{name}") or b"" for name in names))


_PAGE: Final = Page.read()

# The address of an image for first requests, which can be fetched without the internet.
_SAMPLE: Final = f"{BUCKET}/adam2eve/prod/system/sample.jpg"


def sample_image(storage: Storage) -> str:
    """Return the link of that image; it is stored at the first call."""
    if storage.visible(_SAMPLE) is None:
        path = storage.new_file()
        path.write_bytes(_PAGE.sample)
        storage.store(_SAMPLE, StoredObject(path=path, content_type="image/jpeg"))
    return storage.cdn_url(_SAMPLE)


@define(eq=False)
class Control:
    """The operations of the control API."""

    sandbox: Switches
    context: Context
    _held: ExitStack = field(factory=ExitStack, init=False)

    async def state(self, request: web.Request) -> web.Response:
        """Return everything that the page shows; 304 if nothing has changed since the ETag of the request."""
        limit, phase = _read_limit(request), request.query.get("phase", "")
        if phase not in _PHASES and phase:
            raise ErrorResponse(400, f"phase must be one of {', '.join(_PHASES)}, not {phase!r}")
        body = json.dumps(self._state(limit, phase)).encode()
        etag = hashlib.blake2b(body, digest_size=12).hexdigest()
        if request.headers.get(hdrs.IF_NONE_MATCH) == f'"{etag}"':
            return web.Response(status=304, headers={hdrs.ETAG: f'"{etag}"'})
        return web.Response(body=body, content_type="application/json", headers={hdrs.ETAG: f'"{etag}"'})

    async def set_coins(self, fields: Fields) -> None:
        """Set the balance."""
        coins = fields.integer("coins", minimum=0)
        if coins is None:
            fields.add_error("coins", "is required")
        fields.raise_errors()
        self.sandbox.coins = coins or 0

    async def set_speed(self, fields: Fields) -> None:
        """Set the speed, for running tasks as well."""
        speed = fields.body.get("speed")
        if isinstance(speed, bool) or not isinstance(speed, int | float) or not math.isfinite(speed):
            fields.add_error("speed", "must be a number")
        else:
            self.sandbox.speed = speed
        fields.raise_errors()

    async def set_hold(self, fields: Fields) -> None:
        """Keep every task at its status, or let all tasks go on."""
        hold = fields.boolean("hold", default=True)
        fields.raise_errors()
        self._held.close()
        if hold:
            self._held.enter_context(self.sandbox.hold())

    async def set_faults(self, fields: Fields) -> None:
        """Begin a fault plan; `null` ends the faults."""
        plan = fields.body.get("faults")
        self.sandbox.faults = None if plan is None else read_plan(plan)

    async def inject(self, fields: Fields) -> None:
        """Let the next request of an operation meet a fault."""
        operation = fields.text("operation") or OTHER
        fields.raise_errors()
        self.sandbox.inject(read_fault(fields.body.get("fault")), operation)

    async def fail_next(self, fields: Fields) -> None:
        """Let the next tasks fail."""
        count = fields.integer("count", 1, maximum=1000) or 1
        code, message = _read_failure(fields)
        self.sandbox.fail_next(count, code=code, message=message)

    async def finish(self, fields: Fields, task_id: str) -> None:  # noqa: ARG002  (no fields)
        """Let a task succeed now."""
        self.sandbox.finish(task_id)

    async def fail(self, fields: Fields, task_id: str) -> None:
        """Let a task fail now."""
        code, message = _read_failure(fields)
        self.sandbox.fail(task_id, code=code, message=message)

    async def image(self, request: web.Request) -> web.StreamResponse:
        """Send the first image of a task, if it was uploaded to this sandbox."""
        task = self.sandbox.tasks.get(request.match_info["id"])
        return _file(None if task is None else self._stored(task.image_url))

    async def result(self, request: web.Request) -> web.StreamResponse:
        """Send a result of a task, without the fault that its link may have."""
        task = self.sandbox.tasks.get(request.match_info["id"])
        urls = [] if task is None else _result_urls(task)
        number = int(request.match_info["number"])
        return _file(self._stored(urls[number]) if number < len(urls) else None)

    def _stored(self, url: str) -> StoredObject | None:
        storage = self.context.storage
        address = storage.address_of(url)
        return None if address is None else storage.visible(address)

    def _state(self, limit: int, phase: str) -> dict[str, Any]:
        sandbox, context = self.sandbox, self.context
        state, plan, tasks = context.state, sandbox.faults, reversed(context.state.tasks.values())
        lists: dict[str, Iterable[Any]] = {
            "tasks": map(self._task, islice((task for task in tasks if phase in {"", _phase(task)}), limit)),
            "ledger": map(_ledger_entry, _latest(state.ledger, limit)),
            "requests": map(_recorded, _latest(sandbox.requests, limit)),
            "webhooks": map(_recorded, _latest(sandbox.webhooks, limit)),
        }
        return {
            "url": sandbox.url,
            "token": sandbox.token,
            "coins": sandbox.coins,
            "diamonds": state.diamonds,
            "speed": sandbox.speed if math.isfinite(sandbox.speed) else None,
            "hold": context.lifecycle.is_held,
            "faults": None if plan is None else plan_json(plan),
            "next_faults": [{"operation": name, "fault": fault_json(fault)} for name, fault in context.injector.single],
            "next_failures": len(state.next_failures),
            "sample_image": sample_image(context.storage),
            "counts": {
                "tasks": len(sandbox.tasks),
                "ledger": len(state.ledger),
                "requests": len(sandbox.requests),
                "webhooks": len(sandbox.webhooks),
            },
            "phases": dict.fromkeys(_PHASES, 0) | Counter(map(_phase, sandbox.tasks.values())),
            **{name: [*entries] for name, entries in lists.items()},
        }

    def _task(self, task: Task) -> dict[str, Any]:
        image, results = self._stored(task.image_url), []
        for number, url in enumerate(_result_urls(task)):
            stored = self._stored(url)
            path = f"{CONTROL}/tasks/{task.id}/results/{number}"
            results.append({"url": url, "path": path, "type": "" if stored is None else stored.content_type})
        return {
            "id": task.id,
            "family": task.family,
            "name": task.name,
            "prompt": task.prompt,
            "status": task.status,
            "phase": _phase(task),
            "coins": task.coins,
            "refunded": task.refunded,
            "failed_code": task.failed_code,
            "failed_message": task.failed_message,
            "created": iso(task.created),
            "updated": iso(task.updated),
            "image": f"{CONTROL}/tasks/{task.id}/image" if image is not None and is_media(image.content_type) else None,
            "results": results,
        }


def _phase(task: Task) -> str:
    return "deleted" if task.deleted else task.phase


def _latest(entries: deque[Any], limit: int) -> Iterable[Any]:
    return islice(reversed(entries), limit)


def _result_urls(task: Task) -> Sequence[str]:
    return [url for url in (task.result_url, *task.more_results) if url]


def _ledger_entry(entry: LedgerEntry) -> dict[str, Any]:
    return attrs.asdict(entry) | {"time": iso(entry.time)}


def _recorded(entry: RecordedRequest | SentWebhook) -> dict[str, Any]:
    return attrs.asdict(entry) | {"time": iso(entry.time)}


def _read_limit(request: web.Request) -> int:
    text = request.query.get("limit", str(_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ErrorResponse(400, f"limit must be a whole number, not {text!r}")
    return min(int(text), _MAX_LIMIT)


def _read_failure(fields: Fields) -> tuple[str, str]:
    code, message = fields.text("code"), fields.text("message")
    fields.raise_errors()
    return code or "generation_error", message or NOT_GENERATED


def _file(stored: StoredObject | None) -> web.StreamResponse:
    if stored is None or not is_media(stored.content_type):  # such as an uploaded web page
        raise ErrorResponse(404, "there is no such file")
    return StoredFile(stored)


@frozen
class _Guard:
    """Protection of the control API (cases 2 to 4), and the form of its errors."""

    sandbox: Switches
    has_password: bool  # others can reach the sandbox

    def protect(self, handler: Handler, *, is_page: bool = False) -> Handler:
        """Return a handler that rejects the requests of strangers."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                self._check(request, is_page=is_page)
                response = await handler(request)
            except ErrorResponse as error:
                response = _error(
                    error.status, "; ".join(str(each["message"]) for each in error.errors) or error.message
                )
            except SandboxError as error:
                response = _error(409, str(error))
            except ValueError as error:
                response = _error(400, str(error))
            if response.status == 401:
                response.headers[hdrs.WWW_AUTHENTICATE] = 'Basic realm="The token of the sandbox is the password"'
            response.headers.update(_HEADERS)
            return response

        return handle

    def change(self, handler: Callable[..., Awaitable[None]]) -> Handler:
        """Return a handler that reads a JSON object and answers 204."""

        async def handle(request: web.Request) -> web.StreamResponse:
            if request.content_type != "application/json":
                raise ErrorResponse(415, "the content type must be application/json")
            await handler(await Fields.read(request), *request.match_info.values())
            return web.Response(status=204)

        return self.protect(handle)

    def _check(self, request: web.Request, *, is_page: bool) -> None:
        origin = request.headers.get(hdrs.ORIGIN)
        site = request.headers.get("Sec-Fetch-Site", "none")
        # A link on another page may lead to the page, but to nothing else.
        if (origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()) or (
            site not in {"none", "same-origin"} and not is_page
        ):
            raise ErrorResponse(403, "this request comes from a web page of another origin")
        if self.has_password and not self._knows_token(request):
            raise ErrorResponse(401, "others can reach this sandbox, so its page needs the token")

    def _knows_token(self, request: web.Request) -> bool:
        scheme, _, value = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        token = value.encode(errors="surrogateescape")
        if scheme.lower() == "basic":
            try:
                token = base64.b64decode(token, validate=True).partition(b":")[2]
            except ValueError:
                return False
        return hmac.compare_digest(token, self.sandbox.token.encode())


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _static(body: bytes, content_type: str) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:  # noqa: ARG001  (no parameters)
        return web.Response(body=body, content_type=content_type, charset="utf-8")

    return handle


def routes(sandbox: Switches, context: Context) -> list[web.RouteDef]:
    """Return the routes of the page and of the control API."""
    control, guard = Control(sandbox, context), _Guard(sandbox, has_password=not is_loopback(context.options.host))
    reads = {
        "state": control.state,
        "tasks/{id}/image": control.image,
        r"tasks/{id}/results/{number:\d{1,4}}": control.result,
    }
    changes: dict[str, Callable[..., Awaitable[None]]] = {
        "coins": control.set_coins, "speed": control.set_speed, "hold": control.set_hold, "faults": control.set_faults,
        "faults/next": control.inject, "failures/next": control.fail_next,
        "tasks/{id}/finish": control.finish, "tasks/{id}/fail": control.fail,
    }  # fmt: skip
    return [
        web.get("/", guard.protect(_static(_PAGE.html, "text/html"), is_page=True)),
        web.get(f"{CONTROL}/page.js", guard.protect(_static(_PAGE.script, "text/javascript"))),
        web.get(f"{CONTROL}/page.css", guard.protect(_static(_PAGE.style, "text/css"))),
        web.get(f"{CONTROL}/icon.svg", guard.protect(_static(_PAGE.icon, "image/svg+xml"))),
        *(web.get(f"{CONTROL}/{path}", guard.protect(handler)) for path, handler in reads.items()),
        *(web.post(f"{CONTROL}/{path}", guard.change(handler)) for path, handler in changes.items()),
    ]

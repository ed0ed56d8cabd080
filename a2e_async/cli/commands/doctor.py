"""``a2e doctor``: free, read-only probes, a table of what works, and a report for a bug without any value."""

# How it works: the probes run one after the other, each with a time limit and without retries.
#
# 1. Those of the API use the client's own transport. A recorder between its throttle and its HTTP library keeps each
#    exchange, so that the report has the shapes of A2E's responses, also of its errors.
# 2. Without a connection, or with a bad token, the rest of them would only repeat that, and is left out.
# 3. An error of a class that the rest of the package is prepared for is a good outcome: "unknown id" must fail.

import asyncio
import importlib.metadata
import json
import pathlib
import platform
import re
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

import attrs
from rich.table import Table

from a2e_async import A2EClient, Config, RetryPolicy, __version__, _learning
from a2e_async._protocol.converter import to_record
from a2e_async._protocol.families import IMAGE_TO_VIDEO
from a2e_async._protocol.messages import Request, Response
from a2e_async._protocol.responses import records
from a2e_async._protocol.server_clock import parse_http_date
from a2e_async.cli.display import make_console
from a2e_async.cli.messages import coins_text, error_text, plural, print_error
from a2e_async.cli.options import DEFAULT_CONNECTION, FLAG, Connection, Duration
from a2e_async.cli.output import print_cells, print_json
from a2e_async.cli.profiles import Access, claims_of, clean_url
from a2e_async.errors import (
    A2EError,
    AuthenticationError,
    BadRequestError,
    InvalidRequestError,
    NetworkError,
    NotFoundError,
    PlanError,
    UnexpectedResponseError,
)

_PACKAGES = ("aiohttp", "aiosqlite", "attrs", "backoff", "cattrs")
_UNKNOWN_ID = "0" * 24
_MAX_SKEW = 60.0  # seconds
_REPORT = "please report this: --report FILE"
_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}

_Address: TypeAlias = tuple[str, int]  # host and port
Status = Literal["ok", "warning", "failed", "skipped"]


@attrs.frozen
class Finding:
    """Outcome of a probe.

    Attributes:
        status: Whether it is good.
        text: What it means.
        advice: What to do, empty for nothing.
        error: The class of the error and its HTTP status, empty for none. It may be in a report, `text` may not.
        name: The name of the probe.
    """

    status: Status
    text: str
    advice: str = ""
    error: str = ""
    name: str = ""


class _Transport(Protocol):
    async def send(self, request: Request) -> Response: ...


@attrs.define
class _Recorder:
    """Transport that keeps the exchanges of the one inside."""

    inner: _Transport
    exchanges: list[tuple[Request, Response]] = attrs.field(factory=list, repr=False)

    async def send(self, request: Request) -> Response:
        """Send a request, and keep it with its response."""
        response = await self.inner.send(request)
        self.exchanges.append((request, response))
        return response


def doctor(
    *,
    report: pathlib.Path | None = None,
    overwrite: Annotated[bool, FLAG] = False,
    timeout: Duration = 10.0,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Check the installation, the network, the token and A2E's answers. Free, and changes nothing.

    Try:

        a2e doctor
        a2e doctor --report a2e-report.json

    A report is for a bug report: it has the outcomes of the probes, and the keys and types of A2E's answers. It has no
    token, name, link, prompt, id or balance. If A2E_LEARN names a file, its notes are in the report.

    Args:
        report: Write a report to this file.
        overwrite: Replace an existing report.
        timeout: Seconds for each probe at most.
        connection: The shared options.
    """
    if report is not None and report.exists() and not overwrite:
        msg = f"{report} exists: add --overwrite, or choose another name"
        raise InvalidRequestError(msg)
    patient = _Doctor(connection, timeout)
    asyncio.run(patient.examine())
    _show(patient.findings, as_json=connection.json)
    if report is not None:
        _write_report(report, patient)
    return int(any(each.status == "failed" for each in patient.findings))


@attrs.define(eq=False)
class _Doctor:
    """The probes, and what they find."""

    connection: Connection
    timeout: float
    findings: list[Finding] = attrs.field(factory=list)
    recorder: _Recorder | None = None
    access: Access | None = None
    blocked: str = ""  # why the rest of the probes of the API would fail
    plan_error: str = ""

    async def examine(self) -> None:
        """Run all probes."""
        await self._probe("Python", self._python)
        await self._probe("extras", self._extras)
        await self._probe("host", self._host)
        if self.access is None:
            return
        if self.access.token is None:
            self.blocked = "left out: there is no token"
        try:
            # without a token, the network is examined still
            access = attrs.evolve(self.access, token=self.access.token or "-")
            client = self.connection.client_of(access, Config(connect_timeout=self.timeout))
        except A2EError as error:
            self.findings.append(Finding("failed", error_text(error), error=type(error).__name__, name="settings"))
            return
        async with client as a2e:
            # Nothing public shows the route and the transport of a client.
            services, route = a2e._state.services(), a2e._state._sessions.route  # type: ignore[union-attr]  # noqa: SLF001  as above
            self.recorder = _Recorder(services.api.throttled.inner)
            services.api.throttled.inner = self.recorder
            proxy = route.proxy_address(clean_url(self.access.base_url))
            await self._probe("proxy", lambda: self._proxy(proxy))
            await self._probe("DNS", lambda: self._dns(proxy))
            await self._probe("TLS", lambda: self._tls(proxy, route.tls))
            await self._probe("token", self._token)
            await self._examine_api(a2e)

    async def _examine_api(self, client: A2EClient) -> None:
        once = RetryPolicy(max_attempts=1)
        a2e = client.with_options(timeout=self.timeout, retry=once, wait_for_capacity=False)
        probes: dict[str, Callable[[A2EClient], Awaitable[Finding]]] = {
            "balance": _balance,
            "list": _list,
            "unknown id": _unknown_id,
            "batchDetail": _batch_detail,
            "quote": _quote,
            "wrong path": _wrong_path,
            "queue": _queue,
        }
        for name, probe in probes.items():
            if self.blocked:
                self.findings.append(Finding("skipped", self.blocked, name=name))
            else:
                await self._probe(name, lambda probe=probe: probe(a2e))  # type: ignore[misc]  # mypy cannot infer it
        for name, conclude in {"plan": self._plan, "clock": self._clock, "limits": self._limits}.items():
            await self._probe(name, conclude)

    async def _probe(self, name: str, probe: Callable[[], Awaitable[Finding]]) -> None:
        """Run a probe, and keep what it finds."""
        try:
            async with asyncio.timeout(self.timeout + 1.0):  # the client's own time-out is more precise
                finding = await probe()
        except TimeoutError:
            finding = Finding(
                "failed", f"no answer in {self.timeout:g} s", "try again, or with --timeout 60", "TimeoutError"
            )
        except A2EError as error:
            status = getattr(error, "status", 0)
            finding = Finding(
                "failed", error_text(error), "", f"{type(error).__name__}{f' HTTP {status}' if status else ''}"
            )
            if isinstance(error, NetworkError):
                self.blocked = "left out: there is no connection"
            elif isinstance(error, AuthenticationError):
                self.blocked = "left out: A2E does not accept the token"
            elif isinstance(error, PlanError):
                self.plan_error = error_text(error)
        self.findings.append(attrs.evolve(finding, name=name))

    # Probes of this machine

    async def _python(self) -> Finding:
        text = f"{platform.python_version()} on {platform.system()} {platform.machine()}, a2e-async {__version__}"
        return Finding("ok", text)

    async def _extras(self) -> Finding:
        found = extras()
        missing = ", ".join(name for name, is_there in found.items() if not is_there)
        there = ", ".join(name for name, is_there in found.items() if is_there)
        return Finding("ok", f"{there or 'none'}{f' (not installed: {missing})' if missing else ''}")

    async def _host(self) -> Finding:
        self.access = access = self.connection.access()
        source = f", by {access.url_source}" if access.url_source else ""
        if access.is_own_host:
            return Finding("ok", f"{access.host}{source}")
        return Finding("warning", f"{access.host}{source}: not a host of A2E", "fine for a sandbox")

    async def _proxy(self, proxy: _Address | None) -> Finding:
        return Finding("ok", "none" if proxy is None else f"{proxy[0]}:{proxy[1]}")

    async def _dns(self, proxy: _Address | None) -> Finding:
        host, port = proxy or self._address()
        if re.fullmatch(r"[0-9.]+|.*:.*", host):
            return Finding("ok", f"{host} is an address")
        began = time.monotonic()
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            advice = "check the network, a VPN, and the name of the host"
            return Finding("failed", f"{host} cannot be resolved", advice, "gaierror")
        number = len({each[4][0] for each in found})
        text = f"{host} has {number} {'address' if number == 1 else 'addresses'}"
        return Finding("ok", f"{text} ({time.monotonic() - began:.2f} s)")

    async def _tls(
        self, proxy: _Address | None, tls: Callable[[], Awaitable[ssl.SSLContext | Literal[True]]]
    ) -> Finding:
        if not clean_url(self._access.base_url).startswith("https:"):
            return Finding("ok", "not used: the host is this machine")
        if proxy is not None:
            return Finding("skipped", "inside the tunnel of the proxy: see balance")
        host, port = self._address()
        context = await tls()
        context = ssl.create_default_context() if context is True else context
        try:
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            advice = "if a company's proxy opens TLS, set SSL_CERT_FILE to its certificate; check the clock as well"
            text = f"the certificate of {host} is not trusted: {error.verify_message}"
            return Finding("failed", text, advice, "SSLCertVerificationError")
        except OSError as error:
            advice = "check the network and the firewall, or set HTTPS_PROXY"
            reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
            return Finding("failed", f"cannot connect to {host}:{port}: {reason}", advice, type(error).__name__)
        secured: Any = writer.get_extra_info("ssl_object")
        writer.close()
        issuer = dict(pair for part in secured.getpeercert().get("issuer", ()) for pair in part)
        name = issuer.get("organizationName") or issuer.get("commonName") or "an unnamed authority"
        return Finding("ok", f"{secured.version()}, certificate by {name}")

    async def _token(self) -> Finding:
        token, source = self._access.token, self._access.token_source
        if token is None:
            advice = "run a2e login, or set A2E_API_TOKEN; make one on A2E's website under Account > API Token"
            return Finding("failed", "there is none", advice)
        claims = claims_of(token)
        role = f", role {claims['role']}" if isinstance(claims.get("role"), str) else ""
        expires = claims.get("exp")
        if isinstance(expires, int | float) and expires < time.time():
            return Finding("warning", f"the token by {source} has expired", "make a new one under Account > API Token")
        if not token.startswith("sk_"):
            text = f"the token by {source} does not begin with sk_: with a login token, A2E ignores webhooks"
            return Finding("warning", text, "make an API token under Account > API Token")
        return Finding("ok", f"API token by {source}{', of the older form' if claims else ''}{role}")

    # Conclusions from the exchanges

    async def _plan(self) -> Finding:
        if self.plan_error:
            return Finding("failed", self.plan_error, "", "PlanError")
        if self.blocked or not self._exchanges:
            return Finding("skipped", self.blocked or "there was no answer")
        return Finding("ok", "the API may be used; A2E does not publish which plan it is")

    async def _clock(self) -> Finding:
        dated = ((answer, parse_http_date(answer.headers.get("date", ""))) for _, answer in self._exchanges)
        skews = [answer.received_at - date for answer, date in dated if date is not None]
        if not skews:
            return Finding("skipped", "no answer has a Date")
        skew = min(skews, key=abs)
        if abs(skew) <= _MAX_SKEW:
            return Finding("ok", "agrees with A2E's")
        side = "ahead of" if skew > 0 else "behind"
        text = f"{abs(skew):.0f} s {side} A2E's: TLS, signed links and the search for lost starts need the right time"
        return Finding("warning", text, "set this machine's clock")

    async def _limits(self) -> Finding:
        names = sorted(
            {
                name.lower()
                for _, answer in self._exchanges
                for name in filter(_learning.is_limit_header, answer.headers)
            }
        )
        if not self._exchanges:
            return Finding("skipped", "there was no answer")
        text = f"A2E sends {', '.join(names)}, which are not published" if names else "A2E states none in its headers"
        return Finding("ok", text, _REPORT if names else "")

    @property
    def _exchanges(self) -> list[tuple[Request, Response]]:
        return [] if self.recorder is None else self.recorder.exchanges

    @property
    def _access(self) -> Access:
        assert self.access is not None, "the probe of the host has found it"  # noqa: S101  for mypy
        return self.access

    def _address(self) -> _Address:
        parts = urlsplit(clean_url(self._access.base_url))
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


# Probes of the API


async def _balance(a2e: A2EClient) -> Finding:
    try:
        coins = (await a2e.account.balance()).coins
    except (NotFoundError, UnexpectedResponseError) as error:
        text = "A2E does not have it any more: max_coins and the price of a start still work"
        return Finding("warning", text, _REPORT, f"{type(error).__name__} HTTP {error.status}")
    if coins is None:
        return Finding("warning", "A2E's answer has no coins in a known field", _REPORT)
    if coins <= 0:
        return Finding("warning", "there are no coins: starts will be rejected", "add coins on A2E's website")
    return Finding("ok", f"{coins_text(coins)} coins")


async def _list(a2e: A2EClient) -> Finding:
    path = "userImage2Video/allRecords"
    data = await a2e.request("GET", path, params={"pageNum": 1, "pageSize": 5})
    tasks = [to_record(raw, IMAGE_TO_VIDEO) for raw in records(data, operation=f"GET /api/v1/{path}")]
    return Finding("ok", f"{plural(len(tasks), 'task')} of image to video on a page")


async def _unknown_id(a2e: A2EClient) -> Finding:
    try:
        await a2e.image_to_video.get(_UNKNOWN_ID)
    except NotFoundError as error:
        return Finding("ok", f"A2E says that there is no such task (HTTP {error.status})")
    except BadRequestError as error:
        text = f"A2E rejects an unknown id as a wrong request (HTTP {error.status}): a deleted task looks like one"
        return Finding("warning", text, _REPORT, f"BadRequestError HTTP {error.status}")
    return Finding("warning", "A2E shows a task that does not exist", _REPORT)


async def _batch_detail(a2e: A2EClient) -> Finding:
    try:
        await a2e.request("POST", "userImage2Video/batchDetail", json={"ids": []})
    except BadRequestError as error:
        return Finding("ok", f"A2E has it, and rejects a call without ids (HTTP {error.status})")
    except (NotFoundError, UnexpectedResponseError) as error:
        text = "A2E does not have it: each task is polled alone, which takes more requests"
        return Finding("warning", text, _REPORT, type(error).__name__)
    return Finding("ok", "A2E has it: one poll reads up to 100 tasks")


async def _quote(a2e: A2EClient) -> Finding:
    try:
        coins = await a2e.image_to_video.quote(prompt="a", negative_prompt="b", video_time=5)
    except (BadRequestError, NotFoundError, UnexpectedResponseError) as error:
        text, advice = (
            "A2E gives no price before the start",
            "set max_coins for a batch: it reads the price of each start",
        )
        return Finding("warning", text, advice, f"{type(error).__name__} HTTP {error.status}")
    if coins is None:
        return Finding("warning", "A2E's quote has no price in a known field", _REPORT)
    return Finding("ok", f"a video of 5 s costs {coins_text(coins)} coins")


async def _wrong_path(a2e: A2EClient) -> Finding:
    try:
        await a2e.request("GET", "a2eAsyncDoctor/noSuchOperation")
    except UnexpectedResponseError as error:
        if error.status == 404:
            return Finding("ok", "A2E answers with its page for unknown paths")
        found: A2EError = error
    except A2EError as error:
        if isinstance(error, NetworkError):
            raise
        found = error
    else:
        return Finding("warning", "A2E answers a wrong path with success", _REPORT)
    text = "A2E's answer to a wrong path looks like another error, so that renamed operations cannot be told"
    status = getattr(found, "status", 0)
    return Finding("warning", text, _REPORT, f"{type(found).__name__} HTTP {status}")


async def _queue(a2e: A2EClient) -> Finding:
    try:
        await a2e.image_to_video.average_processing_time()
        await a2e.image_to_video.unlimited_queue_level()
    except (BadRequestError, NotFoundError, UnexpectedResponseError) as error:
        return Finding("warning", "A2E does not tell its processing time and queue level", "", type(error).__name__)
    return Finding("ok", "A2E tells its processing time and queue level; their meaning is not published")


# Output


def extras() -> dict[str, bool]:
    """Return the extras of this package, and whether all their packages are installed."""
    found: dict[str, bool] = {}
    nested: list[tuple[str, list[str]]] = []
    for line in importlib.metadata.requires("a2e-async") or ():
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        name = re.match(r"\s*([\w.-]+)(?:\[([\w, -]+)\])?", requirement)
        if extra is None or name is None or extra[1] == "all":
            continue
        if name[1].lower().replace("_", "-") == "a2e-async":
            nested.append((extra[1], re.split(r"\s*,\s*", name[2] or "")))
            found.setdefault(extra[1], True)
        else:
            found[extra[1]] = found.get(extra[1], True) and _is_installed(name[1])
    for _ in nested:  # an extra of extras of extras
        for name_of_extra, parts in nested:
            found[name_of_extra] = found[name_of_extra] and all(found.get(part, True) for part in parts)
    return dict(sorted(found.items()))


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _show(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        for each in findings:
            print_json({"probe": each.name, "status": each.status, "text": each.text, "advice": each.advice})
    elif not sys.stdout.isatty():
        for each in findings:
            print_cells(each.status, each.name, each.text, each.advice)
    else:
        table = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(2):
            table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for each in findings:
            text = f"{each.text}. {each.advice[0].upper()}{each.advice[1:]}." if each.advice else each.text
            table.add_row(each.status, each.name, text, style=_STYLES[each.status] if each.status != "ok" else None)
        make_console().print(table)


def _write_report(path: pathlib.Path, patient: _Doctor) -> None:
    own = patient.access is not None and patient.access.is_own_host
    content = {
        "a2e_async": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "extras": [name for name, is_there in extras().items() if is_there],
        "host": patient.access.host if own and patient.access is not None else "another host",
        "probes": {each.name: {"status": each.status, "error": each.error} for each in patient.findings},
        "exchanges": [
            {
                "operation": _learning.redact_path(request.operation),
                "status": response.status,
                "content_type": response.headers.get("content-type", "").partition(";")[0],
                "headers": sorted({name.lower() for name in response.headers}),
                "body": _learning.shape_of_bytes(response.body),
            }
            for request, response in (patient.recorder.exchanges if patient.recorder is not None else ())
        ],
        "learned": _learning.read_notes(),
    }
    try:
        path.write_text(f"{json.dumps(content, indent=1)}\n", "utf-8")
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}"
        raise InvalidRequestError(msg) from error
    print_error(f"wrote {path}: it has keys and types, and no values. Read it before you send it")

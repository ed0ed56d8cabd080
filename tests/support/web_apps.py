"""The same small application in each ASGI framework: start, status, live status, websocket, webhook."""

# Without `from __future__ import annotations`: frameworks read the annotations, whose names are local here.

import importlib
from collections.abc import Callable
from typing import Any

from paid_starts import PROMPT

from a2e_async import A2EClient, ImageToVideoRecord, WebhookReceiver

__all__ = ["APPS", "WITH_WEBSOCKETS"]


def _django(a2e: A2EClient, receiver: WebhookReceiver, *others: Any) -> Any:
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            ROOT_URLCONF="web_apps_urls",
            MIDDLEWARE=["a2e_async.integrations.django.A2EErrorMiddleware"],
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="x",
            LOGGING_CONFIG=None,
        )
        django.setup()
    from django.core.asgi import get_asgi_application
    from django.http import HttpResponse, JsonResponse
    from django.urls import path

    from a2e_async.integrations.django import event_stream, result_response, with_lifespan

    async def start(request: Any) -> Any:
        task = await a2e.image_to_video.start(image=request.body, prompt=PROMPT, negative_prompt="blurry")
        return JsonResponse({"id": task.id}, status=202)

    async def show(_: Any, id: str) -> Any:
        return JsonResponse((await a2e.image_to_video.get(id)).to_dict())

    async def events(request: Any, id: str) -> Any:
        return event_stream(request, a2e.image_to_video.task(id))

    async def result(request: Any, id: str) -> Any:
        return await result_response(request, a2e.image_to_video.task(id), {"Cache-Control": "private"})

    async def hook(request: Any) -> Any:
        return HttpResponse(status=await receiver.receive(request.method, request.headers, request.body))

    urls: Any = importlib.import_module("web_apps_urls")
    urls.urlpatterns = [
        path("videos", start),
        path("videos/<str:id>", show),
        path("videos/<str:id>/events", events),
        path("videos/<str:id>/result", result),
        path("hooks/a2e", hook),
    ]
    from django.urls import clear_url_caches

    clear_url_caches()
    return with_lifespan(get_asgi_application(), a2e, *others)


def _fastapi(a2e: A2EClient, receiver: WebhookReceiver, *others: Any) -> Any:
    from fastapi import FastAPI, Request, WebSocket

    from a2e_async.integrations.fastapi import (
        A2E,
        a2e_lifespan,
        add_error_handler,
        event_stream,
        result_response,
        send_updates,
    )

    app = FastAPI(lifespan=a2e_lifespan(a2e, *others))
    add_error_handler(app)
    app.add_route("/hooks/a2e", receiver.asgi, methods=["POST"])

    async def start(request: Request, a2e: A2E) -> dict[str, str]:
        task = await a2e.image_to_video.start(image=await request.body(), prompt=PROMPT, negative_prompt="blurry")
        return {"id": task.id}

    async def show(id: str, a2e: A2E) -> ImageToVideoRecord:
        return await a2e.image_to_video.get(id)

    async def events(id: str, a2e: A2E) -> Any:
        return event_stream(a2e.image_to_video.task(id))

    async def result(id: str, a2e: A2E) -> Any:
        return result_response(a2e.image_to_video.task(id), {"Cache-Control": "private"})

    async def live(websocket: WebSocket, id: str, a2e: A2E) -> None:
        await send_updates(websocket, a2e.image_to_video.task(id))

    app.post("/videos", status_code=202)(start)
    app.get("/videos/{id}")(show)
    app.get("/videos/{id}/events")(events)
    app.api_route("/videos/{id}/result", methods=["GET", "HEAD"])(result)
    app.websocket("/videos/{id}/live")(live)
    return app


def _starlette(a2e: A2EClient, receiver: WebhookReceiver, *others: Any) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route, WebSocketRoute

    from a2e_async.integrations.starlette import (
        a2e_lifespan,
        add_error_handler,
        event_stream,
        get_a2e,
        result_response,
        send_updates,
    )

    async def start(request: Any) -> Any:
        a2e = get_a2e(request)
        task = await a2e.image_to_video.start(image=await request.body(), prompt=PROMPT, negative_prompt="blurry")
        return JSONResponse({"id": task.id}, 202)

    async def show(request: Any) -> Any:
        return JSONResponse((await get_a2e(request).image_to_video.get(request.path_params["id"])).to_dict())

    async def events(request: Any) -> Any:
        return event_stream(get_a2e(request).image_to_video.task(request.path_params["id"]))

    async def result(request: Any) -> Any:
        task = get_a2e(request).image_to_video.task(request.path_params["id"])
        return result_response(task, {"Cache-Control": "private"})

    async def live(websocket: Any) -> None:
        await send_updates(websocket, get_a2e(websocket).image_to_video.task(websocket.path_params["id"]))

    app = Starlette(
        routes=[
            Route("/videos", start, methods=["POST"]),
            Route("/videos/{id}", show),
            Route("/videos/{id}/events", events),
            Route("/videos/{id}/result", result),
            WebSocketRoute("/videos/{id}/live", live),
            Route("/hooks/a2e", receiver.asgi, methods=["POST"]),
        ],
        lifespan=a2e_lifespan(a2e, *others),
    )
    add_error_handler(app)
    return app


def _litestar(a2e: A2EClient, receiver: WebhookReceiver, *others: Any) -> Any:
    import litestar
    from litestar.params import FromPath, RawBody
    from litestar.types import ASGIApp

    from a2e_async.integrations.litestar import A2E, A2EPlugin, event_stream, result_response, send_updates

    async def start(a2e: A2E, body: RawBody) -> dict[str, str]:
        task = await a2e.image_to_video.start(image=body, prompt=PROMPT, negative_prompt="blurry")
        return {"id": task.id}

    async def show(a2e: A2E, id: FromPath[str]) -> ImageToVideoRecord:
        return await a2e.image_to_video.get(id)

    async def show_all(a2e: A2E) -> list[ImageToVideoRecord]:
        return [record async for record in a2e.image_to_video.list()]

    async def events(a2e: A2E, id: FromPath[str]) -> ASGIApp:
        return event_stream(a2e.image_to_video.task(id))

    async def result(a2e: A2E, id: FromPath[str]) -> ASGIApp:
        return result_response(a2e.image_to_video.task(id), {"Cache-Control": "private"})

    async def live(socket: litestar.WebSocket[Any, Any, Any], a2e: A2E, id: FromPath[str]) -> None:
        await send_updates(socket, a2e.image_to_video.task(id))

    return litestar.Litestar(
        [
            litestar.post("/videos", status_code=202)(start),
            litestar.get("/videos")(show_all),
            litestar.get("/videos/{id:str}")(show),
            litestar.get("/videos/{id:str}/events")(events),
            litestar.route("/videos/{id:str}/result", http_method=["GET", "HEAD"])(result),
            litestar.websocket("/videos/{id:str}/live")(live),
            litestar.asgi("/hooks/a2e", copy_scope=True)(receiver.asgi),
        ],
        plugins=[A2EPlugin(a2e, *others)],
        logging_config=None,  # it starts a thread
    )


def _quart(a2e: A2EClient, receiver: WebhookReceiver, *others: Any) -> Any:
    import quart

    from a2e_async.integrations.quart import event_stream, result_response, send_updates, setup, webhook_view

    app = quart.Quart("web_apps")
    setup(app, a2e, *others)

    async def start() -> Any:
        image = await quart.request.get_data()
        task = await a2e.image_to_video.start(image=image, prompt=PROMPT, negative_prompt="blurry")
        return {"id": task.id}, 202

    async def show(id: str) -> Any:
        return (await a2e.image_to_video.get(id)).to_dict()

    async def events(id: str) -> Any:
        return await event_stream(a2e.image_to_video.task(id))

    async def result(id: str) -> Any:
        return await result_response(a2e.image_to_video.task(id), {"Cache-Control": "private"})

    async def live(id: str) -> None:
        await send_updates(a2e.image_to_video.task(id))

    app.post("/videos")(start)
    app.get("/videos/<id>")(show)
    app.get("/videos/<id>/events")(events)
    app.get("/videos/<id>/result")(result)
    app.websocket("/videos/<id>/live")(live)
    app.post("/hooks/a2e")(webhook_view(receiver))
    return app


APPS: dict[str, Callable[..., Any]] = {
    "django": _django,
    "fastapi": _fastapi,
    "litestar": _litestar,
    "quart": _quart,
    "starlette": _starlette,
}
"""For each framework a function of the client, the receiver of webhooks, and what is opened with the client."""

WITH_WEBSOCKETS = [name for name in APPS if name != "django"]

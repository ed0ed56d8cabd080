"""The table of all routes of a sandbox."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from a2e_async.sandbox.middleware import routes_of_2025, routes_of_spec
from a2e_async.sandbox.routes import account, avatars, backgrounds, families, image_to_video, storage, streaming, voices
from a2e_async.sandbox.routes.base import Context

_HANDLERS: Final = web.AppKey("handlers", list[Any])


def add_routes(application: web.Application, routes: Sequence[web.RouteDef]) -> None:
    """Add the routes to an application."""
    # The table of paths is equal in all sandboxes, and is built once. With 250 routes it would be most of the work of
    # each start, and test suites start thousands of sandboxes.
    application[_HANDLERS] = [route.handler for route in routes]
    application.on_cleanup.append(_remove_handlers)
    for resource in _resources(tuple((route.method, route.path) for route in routes)):
        application.router.register_resource(resource)


async def _remove_handlers(application: web.Application) -> None:
    # aiohttp keeps the applications of the last 1,024 kinds of requests, whose sandboxes may have closed long ago
    application[_HANDLERS].clear()


@cache
def _resources(paths: tuple[tuple[str, str], ...]) -> Sequence[web.AbstractResource]:
    """Build the table of paths. Each path has the number of its handler, not the handler of one sandbox."""
    router = web.UrlDispatcher()
    for number, (method, path) in enumerate(paths):
        web.RouteDef(method, path, _forward_to(number), {}).register(router)
    return tuple(router.resources())


def _forward_to(number: int) -> Handler:
    async def forward(request: web.Request) -> web.StreamResponse:
        response: web.StreamResponse = await request.app[_HANDLERS][number](request)
        return response

    return forward


def a2e_routes(context: Context) -> list[web.RouteDef]:
    """Return all routes of A2E, its storage and its CDN."""
    # Fixed paths come first: "avgProcessingTime" would match as the id of a task.
    checks = {"avatar_video": avatars.check_avatar_video, "voice_training": families.check_voice}
    groups = (
        voices.routes, avatars.routes, backgrounds.routes, backgrounds.face_routes, streaming.routes,
        account.token_routes, account.misc_routes, avatars.avatar_video_routes, families.training_routes,
        families.special_routes,
    )  # fmt: skip
    all_routes = [
        *image_to_video.interaction_routes(context.state),
        *image_to_video.prompt_routes(),
        *(route for group in groups for route in group(context)),
        *families.routes(context, checks),
        *account.routes(context.state),
        *storage.upload_routes(context.state, context.storage, context.fetcher),
        *storage.cdn_routes(context.storage),
    ]
    match context.options.api_version:
        case "2025":
            return routes_of_2025(all_routes)
        case "spec":
            return routes_of_spec(all_routes)
    return all_routes

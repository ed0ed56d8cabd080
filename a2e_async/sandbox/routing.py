"""Gives an application its paths. What is the same in every sandbox, the table of paths, is built once for all of them.

With 250 routes this is most of the work of a start, and test suites start thousands of sandboxes.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

_HANDLERS: Final = web.AppKey("handlers", list[Any])


def add_routes(application: web.Application, routes: Sequence[web.RouteDef]) -> None:
    """Let the application answer at these paths, by the handlers that belong to its sandbox."""
    application[_HANDLERS] = [route.handler for route in routes]
    for resource in _resources(tuple((route.method, route.path) for route in routes)):
        application.router.register_resource(resource)


@cache
def _resources(paths: tuple[tuple[str, str], ...]) -> Sequence[web.AbstractResource]:
    """Build the table of these paths, which knows no handler but the number of each."""
    router = web.UrlDispatcher()
    for number, (method, path) in enumerate(paths):
        web.RouteDef(method, path, _forward_to(number), {}).register(router)
    return tuple(router.resources())


def _forward_to(number: int) -> Handler:
    async def forward(request: web.Request) -> web.StreamResponse:
        answer: web.StreamResponse = await request.app[_HANDLERS][number](request)
        return answer

    return forward

"""Orders with videos: an order and its job are one transaction, and the application needs no token of A2E.

Run ``python orders.py``, and on any machine ``a2e cluster worker --out videos``, with A2E_DATABASE_URL in both.
"""

import os
from collections.abc import AsyncIterator

import attrs
from aiohttp import web
from psycopg_pool import AsyncConnectionPool

from a2e_async.cluster import Cluster
from a2e_async.errors import A2EError
from a2e_async.integrations import Supervisor
from a2e_async.integrations.cluster import ClusterTask, ClusterTasks

TABLE = "CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, state text NOT NULL, video text)"


@attrs.define(eq=False)
class Orders:
    """The orders of the application, in the database that the cluster uses."""

    pool: AsyncConnectionPool
    cluster: Cluster

    async def place(self, id: str, image_url: str, prompt: str) -> None:
        """Store an order and queue its job: both, or none of them."""
        job = {"key": id, "image_url": image_url, "prompt": prompt, "negative_prompt": "blurry"}
        async with self.pool.connection() as connection:  # one transaction, committed at its end
            await connection.execute("INSERT INTO orders VALUES (%s, 'open')", (id,))
            await self.cluster.enqueue(job, connection=connection)

    async def find(self, id: str) -> dict[str, str | None] | None:
        """Return the state of an order."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute("SELECT state, video FROM orders WHERE id = %s", (id,))
            found = await cursor.fetchone()
        return None if found is None else {"state": found[0], "video": found[1]}

    # The supervisor calls these at least once for each end, also for orders of an earlier process.

    async def open_ids(self) -> list[str]:
        """Return the orders whose end was not noted yet."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute("SELECT id FROM orders WHERE state = 'open'")
            return [row[0] for row in await cursor.fetchall()]

    async def on_success(self, task: ClusterTask) -> None:
        """Note where the video is."""
        await self._close(task.id, "done", None if task.job is None else task.job.output)

    async def on_failure(self, task: ClusterTask, _error: A2EError) -> None:
        """Record a failed video."""
        await self._close(task.id, "failed", None)

    async def _close(self, id: str, state: str, video: str | None) -> None:
        async with self.pool.connection() as connection:
            await connection.execute("UPDATE orders SET state = %s, video = %s WHERE id = %s", (state, video, id))


ORDERS = web.AppKey("orders", Orders)
SUPERVISOR = web.AppKey("supervisor", Supervisor[ClusterTask])


async def place_order(request: web.Request) -> web.Response:
    """Take an order."""
    order = await request.json()
    try:
        await request.app[ORDERS].place(order["id"], order["image"], order["prompt"])
    except A2EError as error:  # such as a prompt that is too long: no order either
        return web.json_response({"error": str(error)}, status=400)
    request.app[SUPERVISOR].watch(order["id"])
    return web.json_response({"id": order["id"]}, status=202)


async def show_order(request: web.Request) -> web.Response:
    """Show an order."""
    return web.json_response(await request.app[ORDERS].find(request.match_info["id"]))


def make_app(database_url: str) -> web.Application:
    """Make the application."""

    async def life(app: web.Application) -> AsyncIterator[None]:
        await Cluster(database_url).init()
        async with AsyncConnectionPool(database_url, open=False) as pool, Cluster(database_url) as cluster:
            async with pool.connection() as connection:
                await connection.execute(TABLE)
            app[ORDERS] = orders = Orders(pool, cluster)
            app[SUPERVISOR] = supervisor = Supervisor(
                ClusterTasks(cluster),
                on_success=orders.on_success,
                on_failure=orders.on_failure,
                on_gone=orders.on_failure,
                open_ids=orders.open_ids,
            )
            async with supervisor:
                yield

    app = web.Application()
    app.cleanup_ctx.append(life)
    app.router.add_post("/orders", place_order)
    app.router.add_get("/orders/{id}", show_order)
    return app


if __name__ == "__main__":
    web.run_app(make_app(os.environ["A2E_DATABASE_URL"]))

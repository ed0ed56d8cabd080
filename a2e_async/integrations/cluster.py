"""Jobs of a cluster for a `Supervisor`: it waits for them as for tasks, and the workers of the cluster do the work."""

import attrs

from a2e_async._values import Value
from a2e_async.cluster import Cluster, ClusterJob
from a2e_async.errors import InvalidRequestError, TaskFailedError, TaskNotFoundError

__all__ = ["ClusterTask", "ClusterTasks"]


@attrs.define(eq=False, repr=False)
class ClusterTask:
    """Job of a cluster, as a supervisor watches it.

    Attributes:
        id: Its key.
        job: The job at its end, None before. `ClusterJob.output` says where its result is.
    """

    id: str
    _cluster: Cluster
    job: ClusterJob | None = attrs.field(default=None, init=False)

    def __repr__(self) -> str:
        """Return the key and the state."""
        return f"<{type(self).__name__} {self.id!r} {'open' if self.job is None else self.job.state}>"

    async def wait_until_done(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  as in `TaskHandle`
        *,
        outage_budget: float | None = None,
    ) -> ClusterJob:
        """Wait until the job has ended, and return it. Restarts of PostgreSQL and of workers do not end the wait. Free.

        Args:
            timeout: Seconds from now; None waits forever.
            outage_budget: Not used: how long A2E may be out of reach is a matter of the workers.

        Raises:
            TaskFailedError: The job has failed, its outcome is uncertain, or its result could not be stored. The cause
                is `ClusterJob.error`.
            TaskNotFoundError: The cluster has no job with this key.
            WaitTimeoutError: The timeout is over. The job goes on.
        """
        del outage_budget
        try:
            self.job = job = await self._cluster.result(self.id, timeout=timeout)
        except InvalidRequestError as error:
            raise TaskNotFoundError(str(error), task_id=self.id) from error
        if not job.ok:
            text = "no reason recorded" if job.error is None else job.error.message
            msg = f"Job {job.key!r} has ended as {job.state} without a stored result: {text}"
            raise TaskFailedError(msg, task_id=job.task_id, coins=job.coins) from job.error
        return job


@attrs.frozen(eq=False, repr=False)
class ClusterTasks(Value):
    """Jobs of a cluster in place of a family of tasks: ``Supervisor(ClusterTasks(cluster), ...)``.

    The ids of the supervisor are the keys of the jobs. The workers wait for A2E, so that a restart of the application
    loses no wait, and the application needs no token.
    """

    cluster: Cluster

    def task(self, id: str, /) -> ClusterTask:
        """Return a job by its key. Nothing is sent."""
        return ClusterTask(id, self.cluster)

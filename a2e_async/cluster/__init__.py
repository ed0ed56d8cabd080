"""The same batch on many machines: jobs in PostgreSQL, queued by Procrastinate. Needs the extra ``cluster``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from a2e_async._lazy import importer

if TYPE_CHECKING:
    from a2e_async.cluster.cluster import Cluster
    from a2e_async.cluster.key_store import PostgresKeyStore
    from a2e_async.cluster.models import ClusterJob, ClusterJobState, ClusterStatus, Enqueued, WorkerStatus
    from a2e_async.cluster.sinks import FolderSink, FsspecSink, ObstoreSink, ResultFile, ResultSink, make_sink
    from a2e_async.cluster.worker import Worker

__all__ = [
    "Cluster",
    "ClusterJob",
    "ClusterJobState",
    "ClusterStatus",
    "Enqueued",
    "FolderSink",
    "FsspecSink",
    "ObstoreSink",
    "PostgresKeyStore",
    "ResultFile",
    "ResultSink",
    "Worker",
    "WorkerStatus",
    "make_sink",
]

# Each name is imported at its first use: the sinks need no PostgreSQL, and the rest needs the extra.
_MODULES = {
    "Cluster": "cluster",
    "PostgresKeyStore": "key_store",
    "Worker": "worker",
    **dict.fromkeys(("ClusterJob", "ClusterJobState", "ClusterStatus", "Enqueued", "WorkerStatus"), "models"),
    **dict.fromkeys(("FolderSink", "FsspecSink", "ObstoreSink", "ResultFile", "ResultSink", "make_sink"), "sinks"),
}

if not TYPE_CHECKING:
    _import_name = importer(__name__, _MODULES)

    def __getattr__(name: str) -> Any:  # noqa: ANN401  any object
        if _MODULES.get(name, "sinks") not in {"models", "sinks"}:
            import_module(f"{__name__}.database")  # its error names the missing extra
        return _import_name(name)

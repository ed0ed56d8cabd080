"""Inert values, one file per group of A2E's documentation."""

from __future__ import annotations

from a2e_async.models.common import TaskRecord, TaskStatus, TaskUpdate
from a2e_async.models.image_to_video import ImageToVideoRecord, ModelType, ModelVersion

__all__ = ["ImageToVideoRecord", "ModelType", "ModelVersion", "TaskRecord", "TaskStatus", "TaskUpdate"]

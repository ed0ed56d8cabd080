"""A local A2E: answers as the real service does, for demos, tests and offline work.

It imports nothing else of this project, so that a misreading of A2E in the client cannot hide in it.
"""

from a2e_async.sandbox.faults.plan import Fault, FaultPlan
from a2e_async.sandbox.server import Sandbox
from a2e_async.sandbox.state import SandboxError

__all__ = ["Fault", "FaultPlan", "Sandbox", "SandboxError"]

"""A local A2E: answers as the real service does, for demos, tests and offline work.

It imports nothing else of this project, so that a misreading of A2E in the client cannot hide in it.
"""

from a2e_async.sandbox.options import SandboxError
from a2e_async.sandbox.server import Sandbox

__all__ = ["Sandbox", "SandboxError"]

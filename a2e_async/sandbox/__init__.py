"""A local A2E: answers as the real service does, for demos, tests and offline work.

It imports nothing else of this project, so that a misreading of A2E in the client cannot hide in it.
"""

from a2e_async.sandbox.faults import Fault
from a2e_async.sandbox.options import SandboxError
from a2e_async.sandbox.server import Sandbox
from a2e_async.sandbox.weather import Weather

__all__ = ["Fault", "Sandbox", "SandboxError", "Weather"]

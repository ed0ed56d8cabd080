"""Decides: plain code without socket, clock, file or event loop."""

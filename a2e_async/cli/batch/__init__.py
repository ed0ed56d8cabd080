"""``a2e batch``."""

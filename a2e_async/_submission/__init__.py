"""A paid start, accepted exactly once."""

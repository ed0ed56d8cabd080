"""Does: sends, waits and repeats as `_protocol` decides."""

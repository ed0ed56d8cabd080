"""``a2e batch``: many videos from one input, with a journal."""

"""One schedule for all waits of a client."""

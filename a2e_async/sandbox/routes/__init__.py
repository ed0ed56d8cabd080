"""What the sandbox answers, one file per group of operations."""

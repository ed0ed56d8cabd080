"""The families of tasks, and what a start of each takes."""

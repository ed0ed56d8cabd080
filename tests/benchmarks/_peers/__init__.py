"""Shared parts of the benchmarks with peers: their environments, servers for their dialects, and their runs.

Both benchmarks use `environments`, `processes`, `hosting` (a server in a process of its own), `tasks` and `dialects` (the
responses of each API). `faults` uses `scenarios` (its faults) and `ledger` (charges, and the next fault), which have no
socket and no clock, and `server` and `runs`. `waiting` uses `plan` (tasks and their durations), `limits` (the limits to
keep), `table`, `poll_server` (the server) and `trial` (one measured client).

`worker.py`, `waiter.py` and the `run_*.py` are not modules of this package: the Python of each SDK runs them by path.
"""

"""What the benchmarks that look at peers share: their environments, servers that speak their dialects, their runs.

Everybody: `environments`, `processes`, `hosting` (a server in a process of its own), `tasks` and `dialects` (what each
vendor's API says). `faults`: `scenarios` (what goes wrong) and `ledger` (who is charged, which fault is next) decide, without
a socket or a clock; `server` and `runs` do. `waiting`: `plan` (which tasks, how long), `wanted` (what must hold) and `table`
decide; `desk` (the server's side) and `trial` (one measured client) do.

`worker.py`, `waiter.py` and the `run_*.py` are no modules of this package: they are run by path, by the Python of the SDK that
they use.
"""

"""What the benchmarks that look at peers share: their environments, a server that speaks their dialects, their runs.

Here decide, without a socket or a clock: `scenarios` (what goes wrong), `ledger` (who is charged, which fault is next) and
`dialects` (what each vendor's API says). Here do: `server`, `environments`, `processes` and `runs`. `worker.py` and the
`run_*.py` beside it are no modules of this package: they are run by path, by the Python of the SDK that they use.
"""

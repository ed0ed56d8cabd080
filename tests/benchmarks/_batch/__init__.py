"""Parts of the benchmark of batches.

`plan` has the jobs; `ours` and `by_hand` run them; `server` is the sandbox, in a process of its own; `trial` measures one run,
in a process of its own as well.
"""

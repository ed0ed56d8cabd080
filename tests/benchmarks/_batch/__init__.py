"""Parts of the benchmark of batches.

`plan` has the jobs; `ours`, `by_hand` and `by_hand_safe` run them; `server` is the sandbox, in a process of its own; `trial` measures one run,
in a process of its own as well.
"""

"""What the benchmark of batches is made of.

`plan` says what is to be done; `ours` and `by_hand` do it; `house` is the sandbox that they do it with, in a process of its
own; `trial` measures one of them, in a process of its own as well.
"""

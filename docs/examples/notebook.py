# %% [markdown]
# # A video in a notebook
#
# A notebook in the percent format: Jupyter (with jupytext), VS Code and Spyder open it, and `python notebook.py` runs
# it. See the page "Notebooks".

# %%
"""A notebook that makes a video: ``python notebook.py``, see the page "Notebooks"."""

import pathlib

from a2e_async import A2EClient, SQLiteKeyStore
from a2e_async.integrations.blocking import BlockingClient

blocking = BlockingClient(A2EClient(key_store=SQLiteKeyStore("keys.sqlite")))
videos = blocking.a2e.image_to_video

# %% [markdown]
# Start a video. It costs 30 coins once: with the same key, "Run all" and a restart of the kernel find it again.

# %%
task = blocking.call(
    videos.start,
    image="ada.png",
    prompt="she smiles at the camera",
    negative_prompt="blurry, distorted",
    idempotency_key="ada smiles",
)
print(task.id)

# %%
for update in blocking.iterate(task.updates(initial=True)):
    print(update.new, update.progress)

# %%
video: pathlib.Path = blocking.call(task.download, pathlib.Path("ada.mp4"), if_exists="keep")
try:
    from IPython.display import Video, display
except ModuleNotFoundError:  # a script
    print(video)
else:
    display(Video(str(video), embed=True))

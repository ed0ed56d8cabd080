"""File names of the videos of a batch."""

import attrs

from a2e_async.batch.rules import file_name, marked_name


@attrs.define(eq=False, repr=False)
class FileNames:
    """File names of the videos of a batch: one for each key, also where upper and lower case are the same."""

    # hashes instead of the texts: an input can have millions of jobs
    _keys: dict[int, int] = attrs.field(factory=dict)

    def add(self, name: str, key: str) -> None:
        """Reserve the file name that an earlier run has chosen for a key."""
        self._keys.setdefault(hash(name.casefold()), hash(key))

    def choose(self, key: str, extension: str) -> str:
        """Return the file name for a key: the plain one, unless another key has it in this or another case."""
        name = file_name(key, extension)
        is_free = self._keys.setdefault(hash(name.casefold()), hash(key)) == hash(key)
        return name if is_free else marked_name(key, extension)

"""File names of the videos of a batch, and the keys that were read."""

import attrs

from a2e_async.batch.rules import file_name, marked_name


@attrs.define(eq=False, repr=False)
class FileNames:
    """File names of the videos of a batch: one for each key, also where upper and lower case are the same."""

    # Hashes instead of the texts: an input can have millions of jobs. A key is known by the hash of its plain name, so
    # that the two are one number for most keys.
    _keys: dict[int, int] = attrs.field(factory=dict)  # plain name without its case -> the key that has it
    _earlier: dict[int, int] = attrs.field(factory=dict)  # names of an earlier run, whose keys were not read so far
    _marked: set[int] = attrs.field(factory=set)  # keys whose plain name another key has

    def reserve(self, name: str, key: str, extension: str) -> None:
        """Reserve the file name that an earlier run has chosen for a key."""
        self._earlier.setdefault(hash(name.casefold()), hash(file_name(key, extension)))

    def add(self, key: str, extension: str) -> bool:
        """Choose the file name for a key that is read now; return False if the key was read before."""
        name, hashed = _hashes(file_name(key, extension))
        if hashed in self._marked or self._keys.get(name) == hashed:
            return False
        if name in self._keys or self._earlier.get(name, hashed) != hashed:
            self._marked.add(hashed)
        else:
            self._earlier.pop(name, None)
            self._keys[name] = hashed
        return True

    def choose(self, key: str, extension: str) -> str:
        """Return the file name for a key that was read: the plain one, unless another key has it in any case."""
        plain = file_name(key, extension)
        name, hashed = _hashes(plain)
        return plain if self._keys.get(name) == hashed else marked_name(key, extension)


def _hashes(plain: str) -> tuple[int, int]:
    """Return the hash of a name without its case, and the hash of its key: the same object if they are equal."""
    folded = plain.casefold()
    name = hash(folded)
    return name, name if folded == plain else hash(plain)

"""Jobs of any family in `a2e batch run --family KEY`: the columns are the fields of the family."""

# A job gets its key from the `key` column. Otherwise the key is made of its input, or of its prompt, and of a digest of
# the whole row. So it does not depend on other rows, and a changed row is another job. An image of a folder is its key.

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import attrs
from rich.table import Table
from rich.text import Text

from a2e_async import A2EClient
from a2e_async.batch.family_jobs import FamilyJob
from a2e_async.batch.keys import automatic_key
from a2e_async.cli.batch.job_file import InputRow, JobSource, RowFormat
from a2e_async.cli.display import make_console
from a2e_async.cli.families import IMAGE_TO_VIDEO_TASKS, FamilyTasks, chosen_family
from a2e_async.cli.messages import coins_text, one_line, plural
from a2e_async.cli.options import JobDefaults, to_fields
from a2e_async.cli.output import print_json
from a2e_async.errors import InvalidRequestError
from a2e_async.resources.family_batches import FamilyBatches

_JOBS_LISTED = 20
# Families whose results can be images as well as videos, or of which that is not known.
_IMAGE_OR_VIDEO = frozenset({"userUpscale", "userFaceSwapTask", "virtualTryOn", "userImageEdit", "headSwap"})
_IMAGE_FIELDS = re.compile(r"(?:source|image|face_image|first_frame|video)_url|image_urls|image_list|input_images")


@attrs.frozen
class FamilyJobs:
    """Reader of jobs of one family.

    Attributes:
        tasks: The family.
        defaults: Fields that a row does not set.
    """

    tasks: FamilyTasks
    defaults: dict[str, Any]

    @classmethod
    def of(cls, key: str | None, words: Sequence[str], options: JobDefaults) -> "FamilyJobs | None":
        """Find the family, and parse the fields of all jobs. None for image-to-video, whose jobs have more options."""
        tasks = IMAGE_TO_VIDEO_TASKS if key is None else chosen_family(key)
        if tasks == IMAGE_TO_VIDEO_TASKS:
            if words:
                msg = "--field is for jobs of another family: add --family, or use the options of the video"
                raise InvalidRequestError(msg)
            return None
        defaults, _ = to_fields(options, tasks.schema.fields, tasks.key)
        for word in words:
            name, _, text = word.partition("=")
            defaults[name] = tasks.parse_value(name, text)
        return cls(tasks, defaults)

    @property
    def format(self) -> RowFormat:
        """What the rows can have."""
        fields = self.tasks.schema.fields
        inputs = [name for name in (*self.tasks.required, *fields) if _IMAGE_FIELDS.fullmatch(name)]
        return RowFormat(names=("key", *fields), image=next(iter(inputs), None), parse=self._parse)

    def _parse(self, cells: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """Return the fields of a row; an empty cell is not set."""
        found = dict[str, Any]()
        for name, value in cells:
            if value is None or (isinstance(value, str) and not value.strip()):
                continue
            if not name:
                msg = f"a column without a name has a value, {str(value)[:40]!r}: name it, or remove it"
                raise InvalidRequestError(msg)
            if name == "key":
                found[name] = value
            elif isinstance(value, str) and self.tasks.field(name).type == "links" and not value.startswith("["):
                found[name] = [part.removeprefix("@") for part in value.split()]
            else:
                found[name] = self.tasks.parse_value(name, value) if isinstance(value, str) else value
        return found

    @property
    def extension(self) -> str:
        """The extension of the results, with the dot; empty if they have the one of the input."""
        if self.tasks.key in _IMAGE_OR_VIDEO:
            return ""
        return ".png" if "image" in "".join(self.tasks.family.result_fields) else ".mp4"

    def batches(self, a2e: A2EClient) -> FamilyBatches:
        """Return the batches of the family."""
        schema = self.tasks.schema
        unpriced = {name for name, field in schema.fields.items() if field.type == "text" and not field.choices}
        return FamilyBatches(
            self.tasks.resource(a2e), self.tasks.start_with, self.extension, unpriced | self.tasks.inputs
        )

    def read(self, source: JobSource) -> Iterator[InputRow]:
        """Read the rows of an input, with their jobs. Each reading gives the same keys."""
        seen, repeated = dict[str, int](), Counter[str]()
        for row in source.rows():
            job, error = None, row.error
            try:
                job = None if error else self._to_job(row, source, seen, repeated)
            except InvalidRequestError as problem:
                error = problem.message
            yield attrs.evolve(row, job=job, error=error)

    def _to_job(self, row: InputRow, source: JobSource, seen: dict[str, int], repeated: Counter[str]) -> FamilyJob:
        fields = {**self.defaults, **self._resolve(row.fields, source)}
        key = fields.pop("key", None)
        if key is None:
            key = self._automatic_key(row.fields, repeated, is_image=not source.has_lines)
        elif key in seen:
            msg = f"key {str(key)[:80]!r} is already used by row {seen[key]}"
            raise InvalidRequestError(msg)
        self.tasks.check(fields)
        seen[key] = row.number
        return FamilyJob(key=key, family=self.tasks.key, fields=fields, inputs=self.tasks.inputs)

    def _resolve(self, fields: dict[str, Any], source: JobSource) -> dict[str, Any]:
        """Return the fields with paths that are relative to the current folder, not to the input."""

        def path(value: Any) -> Any:  # noqa: ANN401  of a row
            return value if not isinstance(value, str) or "://" in value else str(source.folder / value)

        resolved = dict(fields)
        for name in self.tasks.inputs & fields.keys():
            value = fields[name]
            resolved[name] = [path(each) for each in value] if isinstance(value, list) else path(value)
            if self.tasks.field(name).type == "links" and isinstance(value, str):
                resolved[name] = [path(value)]
        return resolved

    def _automatic_key(self, fields: dict[str, Any], repeated: Counter[str], *, is_image: bool) -> str:
        texts = [fields[name] for name in self.tasks.schema.fields if name in self.tasks.inputs and name in fields]
        first = (texts[0][0] if isinstance(texts[0], list) and texts[0] else texts[0]) if texts else ""
        name = str(first) or re.sub(r"[^\w -]", "", str(fields.get("prompt") or self.tasks.slug))[:40].strip().replace(
            " ", "-"
        )
        if is_image:
            return automatic_key(name)
        row = json.dumps(fields, sort_keys=True, default=str)
        repeated[row] += 1
        digest = hashlib.sha256(f"{row} {repeated[row]}".encode(errors="surrogatepass")).hexdigest()[:12]
        return f"{automatic_key(name or self.tasks.slug)}-{digest}"


def without_files(job: FamilyJob) -> FamilyJob:
    """Return a job with links instead of its local files, so that its check reads no file."""
    link = "https://example.com/image.png"
    changed = {name: [link] if isinstance(job.fields[name], list) else link for name in job.inputs & job.fields.keys()}
    return FamilyJob(key=job.key, family=job.family, fields={**job.fields, **changed}, inputs=job.inputs)


async def print_family_plan(
    batches: FamilyBatches, jobs: Iterable[Any], started: Collection[str], *, as_json: bool
) -> None:
    """Print the jobs that would be started, and their cost by A2E's estimate; see `print_plan`."""
    console, no_start = make_console(stderr=as_json), 0
    prices, number, total, unknown = dict[Any, float | None](), 0, 0.0, False
    table = Table("key", "fields", "coins", box=None, pad_edge=False, header_style="bold")
    for job in jobs:
        if job.key in started:
            no_start += 1
            continue
        number += 1
        price_key = await batches.price_key(job)
        if price_key not in prices:  # one request per price, not per job
            prices[price_key] = await batches.quote(job)
        price = prices[price_key]
        total, unknown = total + (price or 0), unknown or price is None
        if as_json:
            print_json({"key": job.key, **job.fields, "coins": price})
        elif table.row_count < _JOBS_LISTED:
            fields = " ".join(f"{name}={value}" for name, value in job.fields.items())
            cells = (job.key, fields, coins_text(price) or "?")
            table.add_row(*(Text(one_line(cell), no_wrap=True, overflow="ellipsis") for cell in cells))
    if table.row_count:
        console.print(table)
    if not as_json and number > table.row_count:
        console.print(f"… and {number - table.row_count} more (--json lists all)\n")
    if no_start:
        console.print(f"{no_start} more in the journal: no start needed.")
    text = "A2E gave no price" if unknown else f"about {coins_text(total)} coins by A2E's estimate"
    console.print(f"{plural(number, 'task')} would be started: {text}, uploads not counted.")

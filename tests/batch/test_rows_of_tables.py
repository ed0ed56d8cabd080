"""Rows of tables as jobs: as `csv.DictReader` and data frames give them."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

import pytest
import quick

from a2e_async import InvalidRequestError, Job
from a2e_async.batch.jobs import to_job

if TYPE_CHECKING:
    import pathlib

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox

pytestmark = pytest.mark.pure


def jobs(table: str, **options: Any) -> list[Job]:
    """Return the jobs of a table."""
    return [to_job(row) for row in csv.DictReader(io.StringIO(table), **options)]


def test_rows_of_a_dict_reader() -> None:
    """Numbers and flags are texts in such rows, and empty cells are not set: the defaults hold."""
    table = "key,image,prompt,video_time,model_version,extend_prompt,end_image\na,a.png,hi,10,,TRUE,\nb,b.png,ho,5.0,a2e-v2,no\n"
    assert jobs(table) == [
        Job(key="a", image="a.png", prompt="hi", video_time=10, extend_prompt=True),
        Job(key="b", image="b.png", prompt="ho", video_time=5, model_version="a2e-v2", extend_prompt=False),
    ]


@pytest.mark.parametrize(
    "table",
    [
        "\ufeffkey,image,prompt\na,a.png,hi\n",
        '\ufeff"key","image","prompt"\na,a.png,hi\n',
        "\xef\xbb\xbfkey,image,prompt\na,a.png,hi\n",
        "Key , IMAGE,Prompt\na,a.png,hi\n",
        "key,image,prompt,\na,a.png,hi,\n",
        ",key,image,prompt\n0,a,a.png,hi\n",
        "Unnamed: 0,key,image,prompt\n0,a,a.png,hi\n",
        "key,image,prompt\na,a.png,hi,, \n",
        "key,image,prompt,name\na,a.png,hi\n",
    ],
    ids=[
        "BOM", "BOM quoted", "BOM in Latin-1", "capitals", "empty column", "index", "index read by pandas", "more cells",
        "fewer cells",
    ],
)  # fmt: skip
def test_tables_of_spreadsheets(table: str) -> None:
    """What spreadsheets and data frames add to a table changes nothing."""
    assert jobs(table) == [Job(key="a", image="a.png", prompt="hi")]


def test_rows_of_a_data_frame() -> None:
    """In the rows of `DataFrame.to_dict` an empty cell is NaN, and the numbers of its column are floats."""
    row = {"key": "a", "image": "a.png", "prompt": "hi", "video_time": 10.0, "end_image": math.nan, "lora": None}
    assert to_job(row) == Job(key="a", image="a.png", prompt="hi", video_time=10)
    assert type(to_job(row).video_time) is int


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("key,video_time\na,five\n", "video_time must be an integer, not 'five'"),
        ("key,extend_prompt\na,perhaps\n", "extend_prompt must be true or false, not 'perhaps'"),
        ("key,prompt\na,she smiles, gently\n", "3 cells for 2 columns: put a text with a comma in double quotes"),
        ("key,\na,she smiles\n", "column 2 has no name"),
        ("key,Key\na,b\n", "column 'key' appears twice"),
        ("key,colour\na,red\n", "a job has no field 'colour'"),
        ("key,prompt\n,hi\n", "a job needs a key"),
    ],
)
def test_wrong_table(table: str, message: str) -> None:
    """A cell that would be misread or lost is an error that says where."""
    with pytest.raises(InvalidRequestError) as caught:
        jobs(table)
    assert message in str(caught.value)


def test_other_values_stay_as_they_are() -> None:
    """Texts keep their spaces, and bytes and files are not touched."""
    file = io.BytesIO(quick.PNG)
    row = {"key": "a", "image": file, "end_image": quick.PNG, "prompt": " hi ", "extend_prompt": True}
    job = to_job(row)
    assert (job.image, job.end_image, job.prompt, job.extend_prompt) == (file, quick.PNG, " hi ", True)


async def test_batch_of_a_table(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The rows of a table with all of this become videos."""
    (tmp_path / "ada.png").write_bytes(quick.PNG)
    path = tmp_path / "jobs.csv"
    path.write_text(
        f"key,image,prompt,negative_prompt,video_time,extend_prompt,lora,\nx,{tmp_path}/ada.png,#fast,blurry,10,false,,\n",
        encoding="utf-8-sig",
    )
    with path.open(encoding="utf-8", newline="") as file:
        async for result in a2e.image_to_video.batch(csv.DictReader(file)):
            assert result.key == "x"
    (task,) = sandbox.tasks.values()
    assert task.prompt == "#fast"

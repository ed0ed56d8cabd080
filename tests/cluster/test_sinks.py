"""Tests of the targets of results: a folder, an S3 server in a thread of its own, and other filesystems of fsspec."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import os
import pathlib
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from a2e_async.cluster.sinks import FolderSink, FsspecSink, ObstoreSink, ResultFile, make_sink
from a2e_async.errors import InvalidRequestError, MissingExtraError, TransferError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b"\0\0\0\x18ftypmp42" + os.urandom(64)
KEYS = {"access_key_id": "test", "secret_access_key": "secret-of-s3", "region": "us-east-1"}


def result(content: bytes = CONTENT, name: str = "order-17.mp4") -> ResultFile:
    """Return a result whose download writes these bytes, as `TaskHandle.download` does."""

    async def download(path: pathlib.Path, *, if_exists: str = "error") -> pathlib.Path:
        await asyncio.sleep(0)
        if path.exists() and if_exists == "error":
            msg = f"{path} exists"
            raise InvalidRequestError(msg)
        path.write_bytes(content)
        return path

    return ResultFile(key="order-17", name=name, download=download)


async def test_two_workers_store_one_result(tmp_path: pathlib.Path) -> None:
    """A worker whose file was stored by another one during its download has stored it as well."""

    async def download(path: pathlib.Path, *, if_exists: str = "error") -> pathlib.Path:
        target = tmp_path / "order-17.mp4"
        if path == target and not target.exists():
            target.write_bytes(CONTENT)  # the other one was faster
            msg = f"{path} was created by another program during the download"
            raise InvalidRequestError(msg)
        path.write_bytes(CONTENT)
        return path

    stored = await FolderSink(tmp_path).store(ResultFile(key="order-17", name="order-17.mp4", download=download))
    assert pathlib.Path(stored).read_bytes() == CONTENT


async def test_a_folder(tmp_path: pathlib.Path) -> None:
    """A folder is made, and holds the file under its name; a second worker may store the same result again."""
    sink = FolderSink(tmp_path / "out" / "videos")
    await sink.check()
    assert {await sink.store(result()), await sink.store(result())} == {str(tmp_path / "out/videos/order-17.mp4")}
    assert [(path.name, path.read_bytes()) for path in sink.folder.iterdir()] == [("order-17.mp4", CONTENT)]


async def test_a_file_in_the_way(tmp_path: pathlib.Path) -> None:
    """A file with another content is kept, unless the sink may overwrite it. No temporary file stays."""
    target = tmp_path / "order-17.mp4"
    target.write_bytes(b"another file")
    with pytest.raises(InvalidRequestError, match="exists"):
        await FolderSink(tmp_path).store(result())
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"another file"]
    await FolderSink(tmp_path, overwrite=True).store(result())
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [CONTENT]


async def test_a_folder_that_cannot_be_used(tmp_path: pathlib.Path) -> None:
    """A folder without room, or that is a file, is an error before the first start."""
    with pytest.raises(TransferError, match="bytes free"):
        await FolderSink(tmp_path, min_free=10**18).check()
    (tmp_path / "file").touch()
    with pytest.raises(TransferError, match="Nothing can be stored"):
        await FolderSink(tmp_path / "file").check()


async def test_a_download_that_fails(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a download is raised as it is, also by a sink with a temporary file, which is removed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def download(path: pathlib.Path, *, if_exists: str) -> None:
        path.write_bytes(b"a part")
        msg = "the connection broke"
        raise TransferError(msg)

    failing = ResultFile(key="a", name="a.mp4", download=download)
    with pytest.raises(TransferError, match="the connection broke"):
        await FsspecSink("memory://videos").store(failing)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Run an S3 server with the bucket ``videos``, and return its URL."""
    import boto3
    from moto.server import ThreadedMotoServer
    from werkzeug.serving import WSGIRequestHandler

    # Both moto and its server would send the header "Server", which aiohttp rejects in Python's development mode.
    patch = pytest.MonkeyPatch()
    patch.setattr(WSGIRequestHandler, "send_response", WSGIRequestHandler.send_response_only)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    names = {"aws_access_key_id": "test", "aws_secret_access_key": "secret-of-s3", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=url, **names).create_bucket(Bucket="videos")
    # fsspec's own thread serves all filesystems, and never ends
    import fsspec.asyn

    fsspec.asyn.get_loop()
    yield url
    server.stop()
    patch.undo()


def obstore_sink(url: str, bucket: str = "videos", **options: Any) -> ObstoreSink:
    """Return the sink of a folder in a bucket of the server."""
    retries = {"max_retries": 2, "retry_timeout": dt.timedelta(seconds=2)}
    return ObstoreSink(
        f"s3://{bucket}/2026",
        endpoint=url,
        client_options={"allow_http": True},
        retry_config=retries,
        **KEYS,
        **options,
    )


def fsspec_sink(url: str, bucket: str = "videos") -> FsspecSink:
    """Return the sink of a folder in a bucket of the server."""
    names = {"key": "test", "secret": "secret-of-s3", "endpoint_url": url}
    return FsspecSink(f"s3://{bucket}/2026", skip_instance_cache=True, **names)


SINKS = pytest.mark.parametrize("make", [obstore_sink, fsspec_sink])


@SINKS
@pytest.mark.process("an S3 server in a thread of its own")
async def test_s3(s3: str, make: Any) -> None:
    """A result is stored whole in S3, with its media type; twice is harmless, and no probe stays."""
    import boto3

    sink, large = make(s3), CONTENT * 150_000  # more than one part
    await sink.check()
    places = [await sink.store(each) for each in (result(), result(), result(large, "large.mp4"))]
    assert places == [*["s3://videos/2026/order-17.mp4"] * 2, "s3://videos/2026/large.mp4"]
    client = boto3.client(
        "s3", endpoint_url=s3, aws_access_key_id="test", aws_secret_access_key="x", region_name="us-east-1"
    )
    objects = client.list_objects_v2(Bucket="videos")["Contents"]
    assert {found["Key"]: found["Size"] for found in objects} == {
        "2026/order-17.mp4": len(CONTENT),
        "2026/large.mp4": len(large),
    }
    found = client.get_object(Bucket="videos", Key="2026/order-17.mp4")
    assert (found["ContentType"], found["Body"].read()) == ("video/mp4", CONTENT)


@SINKS
@pytest.mark.process("an S3 server in a thread of its own")
async def test_a_bucket_that_does_not_exist(s3: str, make: Any) -> None:
    """A wrong bucket is an error before the first start, which shows no key. It is not made."""
    sink = make(s3, "missing")
    for work in (sink.check(), sink.store(result())):
        with pytest.raises(TransferError, match="s3://missing/2026") as caught:
            await work
        assert "secret" not in f"{caught.value!r} {caught.value} {sink!r}"
        assert caught.value.__cause__ is None


class Stubborn:
    """Filesystem of fsspec that fails some times before it stores a file."""

    protocol = ("stubborn", "other")

    def __init__(self, *errors: Exception, size: int | None = None) -> None:
        self.errors, self.size, self.stored = [*errors], size, dict[str, bytes]()

    def put_file(self, path: str, target: str) -> None:
        """Store a file, or fail."""
        if self.errors:
            raise self.errors.pop(0)
        self.stored[target] = pathlib.Path(path).read_bytes()

    def invalidate_cache(self, folder: str) -> None:
        """Forget nothing: there is no cache."""

    def info(self, target: str) -> dict[str, Any]:
        """Return the size."""
        return {"size": len(self.stored[target]) if self.size is None else self.size}


async def test_an_upload_is_repeated() -> None:
    """A failed upload is repeated; the result then is whole."""
    filesystem = Stubborn(OSError(errno.ECONNRESET, "reset"), TimeoutError())
    assert await FsspecSink(filesystem, "videos").store(result()) == "stubborn://videos/order-17.mp4"
    assert filesystem.stored == {"videos/order-17.mp4": CONTENT}


async def test_an_upload_that_is_not_whole() -> None:
    """A file whose size is wrong does not count as stored, however often it is repeated."""
    with pytest.raises(TransferError, match="7 bytes were stored instead of 76"):
        await FsspecSink(Stubborn(size=7), "videos").store(result())


async def test_an_error_that_repeating_cannot_cure() -> None:
    """A rejected upload is not repeated. The error shows no query of a link."""
    filesystem = Stubborn(PermissionError("PUT https://host/a?sig=secret denied"))
    with pytest.raises(TransferError, match=r"PermissionError: PUT https://host/a\?… denied"):
        await FsspecSink(filesystem, "videos").store(result())
    assert filesystem.stored == {}


def test_targets_of_the_command(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is a folder, object stores go to obstore, other URLs to fsspec; what is missing or wrong is named."""
    kinds = [type(make_sink(target)) for target in (tmp_path, "videos", "s3://bucket/a", "memory://a")]
    assert kinds == [FolderSink, FolderSink, ObstoreSink, FsspecSink]
    assert repr(make_sink("memory://user:secret@host/a?x=1")) == "<FsspecSink memory://host/a>"
    with pytest.raises(InvalidRequestError, match="nonsense"):
        make_sink("nonsense://a")
    missing = {"paramiko": "sftp://host/a", "obstore": "s3://bucket/a", "fsspec": "memory://a"}
    packages = ("fsspec paramiko", "a2e-async[s3]", "fsspec")
    for (module, target), package in zip(missing.items(), packages, strict=True):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtraError, match=re.escape(f'pip install "{package}')):
            make_sink(target)

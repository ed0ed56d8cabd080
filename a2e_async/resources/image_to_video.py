"""A2E's page "Image to Video": an image and a prompt become a short video."""

from __future__ import annotations

import logging
import os
import uuid
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

import attrs

from a2e_async._protocol.families import IMAGE_TO_VIDEO
from a2e_async._protocol.image_to_video import Options, check_extension, check_variations
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.validation import quote_id, refuse
from a2e_async.batch import Job
from a2e_async.batch.jobs import Purchase
from a2e_async.config import OnUnknown
from a2e_async.files import media_types
from a2e_async.files.local_files import Image
from a2e_async.models.image_to_video import ImageToVideoRecord, ModelType, ModelVersion
from a2e_async.resources.base import about
from a2e_async.resources.batches import Batches
from a2e_async.resources.inputs import Source, Webhook, link_source, needed_source, source_of, webhook_fields
from a2e_async.tasks import TaskHandle

__all__ = ["ImageToVideo", "StartOptions"]

_LOGGER = logging.getLogger("a2e_async")


_CHECKED = frozenset(field.name for field in attrs.fields(Options))

_Pictures: TypeAlias = "tuple[Image | None, str | None, Image | None, str | None]"
"""The start image, its link, the end image, its link."""


class StartOptions(TypedDict, total=False):
    """The options of `ImageToVideo.start`, for functions that pass them on."""

    prompt: str | None
    negative_prompt: str | None
    image: Image | None
    image_url: str | None
    name: str | None
    model_type: ModelType | None
    model_version: ModelVersion | None
    end_image: Image | None
    end_image_url: str | None
    video_time: Literal[5, 10, 15, 20] | None
    extend_prompt: bool | None
    skip_face_enhance: bool | None
    lora: str | None
    webhook: Webhook | None
    webhook_url: str | None
    webhook_token: str | None
    idempotency_key: str | None
    on_unknown: OnUnknown | None


_JOB_WORDS = StartOptions.__annotations__.keys() - {
    "webhook",
    "webhook_url",
    "webhook_token",
    "idempotency_key",
    "on_unknown",
}
"""What a job of a batch says, which is about one start and not about all of them."""


class ImageToVideo(Batches[ImageToVideoRecord]):
    """Image-to-video tasks: ``client.image_to_video``."""

    _family = IMAGE_TO_VIDEO
    _record = ImageToVideoRecord
    _extension = ".mp4"

    async def start(
        self,
        *,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        image: Image | None = None,
        image_url: str | None = None,
        name: str | None = None,
        model_type: ModelType | None = None,
        model_version: ModelVersion | None = "a2e",
        end_image: Image | None = None,
        end_image_url: str | None = None,
        video_time: Literal[5, 10, 15, 20] | None = None,
        extend_prompt: bool | None = None,
        skip_face_enhance: bool | None = None,
        lora: str | None = None,
        webhook: Webhook | None = None,
        webhook_url: str | None = None,
        webhook_token: str | None = None,
        idempotency_key: str | None = None,
        on_unknown: OnUnknown | None = None,
    ) -> TaskHandle[ImageToVideoRecord]:
        """Start one video (A2E page "Start Image-to-Video"). Costs coins as soon as A2E accepts it.

        Everything is checked before anything is sent; local images are then uploaded, which A2E charges too. The
        start is sent again only if it surely was not accepted. If nobody knows, because the answer got lost, it is
        looked for in A2E's list by the marker in its name, and adopted. The price is ``handle.record.coins``.

        Cancelled while the start is under way, it first waits for the answer, for `Config.request_timeout` at most,
        and logs the id of a task that A2E accepted.

        Args:
            prompt: What should happen. Needed unless `lora` is given.
            negative_prompt: What to avoid, such as ``"blurry, extra fingers"``. Needed unless `lora` is given.
            image: The start image: a path, bytes, a binary file, or an http(s) URL. PNG, JPEG, WebP, GIF or BMP.
            image_url: The start image as a direct http(s) link, without spaces or redirects. Give one of the two.
            name: A display name, not unique. By default it comes from the file's name. A2E gets it with a marker behind
                it, such as ``"Ada [a2e:7f3k2m9q4d]"``, unless `StartPolicy.mark_names` is False.
            model_type: ``"GENERAL"``, or ``"FLF2V"`` (first and last frame), which an end image implies.
            model_version: The model, which decides the price. None leaves it to A2E: then an Ultra account gets the
                dearer ``"a2e-v2"``.
            end_image: The last image, given as `image` is.
            end_image_url: The last image, given as `image_url` is.
            video_time: Seconds of video: 5 (A2E's default), 10, 15 or 20. The price grows with it.
            extend_prompt: Whether A2E rewrites the prompt (A2E's default: yes).
            skip_face_enhance: Whether to leave out the enhancement of face similarity (A2E's default: no).
            lora: The id of a LoRA, whose preset replaces the prompt.
            webhook: A `WebhookReceiver`, which A2E calls once when the task ends. Then the wait ends at once, and
                polling is but a slow backstop (`PollPolicy.backstop`).
            webhook_url: Instead, an https URL of yours that A2E calls once when the task ends, at most 2048 characters.
            webhook_token: Sent back in ``X-A2e-Webhook-Token``, at most 256 characters.
            idempotency_key: A name of yours for this job, such as ``"order-17"``. If A2E still has a task of this
                key, that one is returned and nothing is started, even if the other options differ now.
            on_unknown: What to do if it stays unknown whether A2E accepted the start: ``"raise"`` or ``"resend"``. By
                default as `StartPolicy.on_unknown` says.

        Raises:
            InvalidRequestError: A local check failed; nothing was sent.
            TransferError: A local image could not be uploaded; no start was sent.
            InsufficientCreditsError: Not enough coins.
            ContentRejectedError: Moderation refused the image or the prompt.
            PlanError: The account's plan does not allow API tokens or this option.
            RateLimitError: Too many requests, also when tried again. As `BusyError`.
            SubmissionUncertainError: Nobody knows whether A2E accepted the start, and its list does not show it.
            NetworkError: Nothing was sent, also when tried again.
            ServerError: Only with `idempotency_key`: A2E's list could not be read, and nothing was started. As
                `UnexpectedResponseError`.
        """
        has_end = end_image is not None or end_image_url is not None
        webhook_url, webhook_token = webhook_fields(webhook, webhook_url, webhook_token)
        options = Options(
            name=_default_name(image, image_url) if name is None else name,
            has_end=has_end,
            prompt=prompt,
            negative_prompt=negative_prompt,
            lora=lora,
            model_type=model_type,
            model_version=model_version,
            video_time=video_time,
            extend_prompt=extend_prompt,
            skip_face_enhance=skip_face_enhance,
            webhook_url=webhook_url,
            webhook_token=webhook_token,
        )
        pictures = (image, image_url, end_image, end_image_url)
        hooked = webhook is not None
        handles = await self._submit_all(options, pictures, None, idempotency_key, on_unknown, hooked=hooked)
        if len(handles) > 1:
            others = ", ".join(handle.id for handle in handles[1:])
            _LOGGER.warning("A2E made more than one task of one start; besides %s also %s", handles[0].id, others)
        return handles[0]

    async def start_variations(
        self, count: int, **options: Unpack[StartOptions]
    ) -> list[TaskHandle[ImageToVideoRecord]]:
        """Start several videos of one image with one request. Each of them costs coins.

        Args:
            count: Number of videos, 2 to 8 (A2E's ``number_of_images``).
            options: As in `start`.

        Returns:
            A handle for each task that A2E made; a warning is logged if they are not `count`.

        Raises:
            A2EError: As in `start`.
        """
        check_variations(count)
        key, on_unknown = options.get("idempotency_key"), options.get("on_unknown")
        hooked = options.get("webhook") is not None
        handles = await self._submit_all(*_split(options), count, key, on_unknown, hooked=hooked)
        if len(handles) != count:
            _LOGGER.warning("A2E was asked for %d variations and made %d tasks", count, len(handles))
        return handles

    async def _submit_all(
        self,
        options: Options,
        pictures: _Pictures,
        count: int | None,
        key: str | None,
        on_unknown: OnUnknown | None,
        *,
        hooked: bool,
    ) -> list[TaskHandle[ImageToVideoRecord]]:
        if key is not None or on_unknown is not None:
            self._check_purchase(key, on_unknown)
        first, last = await self._look_at(options, pictures)

        def make_body(image_url: str, end_image_url: str | None) -> dict[str, Any]:
            body = options.body(image_url=image_url, end_image_url=end_image_url)
            return body if count is None else {**body, "number_of_images": count}

        return await self._start(
            make_body, first, last, count=count or 1, key=key, on_unknown=on_unknown, hooked=hooked
        )

    async def _purchase(self, job: Job) -> Purchase:
        from a2e_async.batch.jobs import Purchase  # noqa: PLC0415  only who makes batches pays for the import

        words = {name: getattr(job, name) for name in _JOB_WORDS}
        options, pictures = _split(StartOptions(**words))  # type: ignore[typeddict-item]  # mypy sees no names
        return Purchase(
            make_body=lambda link, last: options.body(image_url=link, end_image_url=last),
            pictures=await self._look_at(options, pictures),
            kind=(options.model_version, options.video_time, options.has_end),
        )

    async def quote(self, **options: Unpack[StartOptions]) -> float | None:
        """Ask A2E what one start would cost, in coins (``generation/quote``). Free, and nothing is uploaded.

        It is an estimate; the price is ``handle.record.coins``. How A2E names it is not published, so None can also
        mean that the answer was not understood.

        Args:
            options: As in `start`. Without an image, one is made up.

        Raises:
            InvalidRequestError: A local check failed.
            A2EError: As for any request.
        """
        checked, (_, image_url, _, end_image_url) = _split(options)
        made_up = "https://example.com/picture.png"
        last = (end_image_url or made_up) if checked.has_end else None
        return await self._quote(checked.body(image_url=image_url or made_up, end_image_url=last))

    async def _look_at(self, options: Options, pictures: _Pictures) -> tuple[Source, Source | None]:
        """Look at both images before one is uploaded. A link needs no waiting."""
        image, image_url, end_image, end_image_url = pictures
        first = link_source("image", image, image_url) or await needed_source("image", image, None, "image")
        last = await source_of("end_image", end_image, end_image_url, "image") if options.has_end else None
        self._check_sizes(first, last)
        return first, last

    async def average_processing_time(self) -> Any:  # noqa: ANN401  unpublished
        """Return A2E's ``avgProcessingTime`` as it comes: neither its shape nor its unit is published. Free."""
        return (await self._read("GET", "avgProcessingTime")).data

    async def unlimited_queue_level(self) -> Any:  # noqa: ANN401  unpublished
        """Return A2E's ``unlimitedQueueLevel`` as it comes: its content is not published. Free."""
        return (await self._read("GET", "unlimitedQueueLevel")).data

    async def mark_shared(self, id: str) -> None:
        """Tell A2E that the video was shared (``markShared``). It only records it. Free."""
        await self._mark(id, "markShared")

    async def mark_downloaded(self, id: str) -> None:
        """Tell A2E that the video was downloaded (``markDownloaded``). It only records it. Free."""
        await self._mark(id, "markDownloaded")

    async def mark_copied(self, id: str) -> None:
        """Tell A2E that the video was copied (``markCopied``). It only records it. Free."""
        await self._mark(id, "markCopied")

    async def _mark(self, task_id: str, action: str) -> None:
        path = self._path(f"{quote_id(task_id)}/{action}")
        with about(task_id):
            await self._send(Request(method="POST", path=path))

    async def extend_prompt(
        self,
        *,
        prompt: str,
        negative_prompt: str,
        image: Image | None = None,
        image_url: str | None = None,
        reference_id: str | None = None,
        lang: str | None = None,
        max_length: int | None = None,
        template: Literal["default", "cinematic"] | None = None,
        shot_count: int | None = None,
        with_audio: bool | None = None,
    ) -> Any:  # noqa: ANN401  unpublished
        """Let A2E rewrite both prompts for model type ``GENERAL`` (``prompt_extension``).

        Whether it costs coins is not published; a local image is uploaded, which A2E charges.

        Args:
            prompt: The text to rewrite.
            negative_prompt: The text to rewrite.
            image: The start image, as in `start`.
            image_url: The start image, as in `start`.
            reference_id: Meaning unpublished; by default a fresh random id.
            lang: Language of the output (A2E's default: ``en``).
            max_length: A cap on the characters of the output.
            template: ``"cinematic"`` writes scene description, numbered shots and audio.
            shot_count: Number of shots, 1 to 4; for ``"cinematic"`` only.
            with_audio: Whether to write the audio part; for ``"cinematic"`` only.

        Returns:
            A2E's ``data`` as it comes; its shape is not published.

        Raises:
            A2EError: As in `start`.
        """
        extras = {"template": template, "shot_count": shot_count, "with_audio": with_audio}
        body = check_extension(_prompt_body(prompt, negative_prompt, reference_id, lang, max_length) | extras)
        source = await needed_source("image", image, image_url, "image")
        return (await self._extend("prompt_extension", body, image_url=await self._link(source))).data

    async def extend_first_last_prompt(
        self,
        *,
        prompt: str,
        negative_prompt: str,
        image: Image | None = None,
        image_url: str | None = None,
        end_image: Image | None = None,
        end_image_url: str | None = None,
        reference_id: str | None = None,
        lang: str | None = None,
        max_length: int | None = None,
    ) -> Any:  # noqa: ANN401  unpublished
        """Let A2E rewrite both prompts for model type ``FLF2V`` (``flf2v_prompt_extension``).

        Everything is as in `extend_prompt`, with a last image besides.
        """
        body = check_extension(_prompt_body(prompt, negative_prompt, reference_id, lang, max_length))
        source = await needed_source("image", image, image_url, "image")
        last = await source_of("end_image", end_image, end_image_url, "image")
        if last is None:
            refuse("the last image is needed: give end_image or end_image_url")
        links = {"image_url": await self._link(source), "end_image_url": await self._link(last)}
        return (await self._extend("flf2v_prompt_extension", body, **links)).data

    async def _extend(self, action: str, body: dict[str, Any], **links: str) -> Envelope:
        fields = {name: value for name, value in {**body, **links}.items() if value is not None}
        return await self._send(Request(method="POST", path=self._path(action), json=fields))


def _split(options: StartOptions) -> tuple[Options, _Pictures]:
    """Tell what is checked at once from what is looked at first."""
    unknown = options.keys() - StartOptions.__annotations__.keys()
    if unknown:
        msg = f"start_variations() got unexpected keyword arguments: {', '.join(sorted(unknown))}"
        raise TypeError(msg)
    fields: dict[str, Any] = {name: value for name, value in options.items() if name in _CHECKED}
    image, image_url = options.get("image"), options.get("image_url")
    end_image, end_image_url = options.get("end_image"), options.get("end_image_url")
    fields["has_end"] = end_image is not None or end_image_url is not None
    fields["webhook_url"], fields["webhook_token"] = webhook_fields(
        options.get("webhook"), options.get("webhook_url"), options.get("webhook_token")
    )
    if fields.get("name") is None:
        fields["name"] = _default_name(image, image_url)
    return Options(**fields), (image, image_url, end_image, end_image_url)


def _prompt_body(
    prompt: str, negative_prompt: str, reference_id: str | None, lang: str | None, max_length: int | None
) -> dict[str, Any]:
    return {
        "reference_id": uuid.uuid4().hex[:24]
        if reference_id is None
        else reference_id,  # required, and looks like an object id
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "lang": lang,
        "max_length": max_length,
        "stream": False,  # a stream would be another protocol (server-sent events), for a few hundred characters
    }


def _default_name(image: Image | None, image_url: str | None) -> str:
    """Name a task after its image, since A2E wants a name and lists show it."""
    source = image_url if image_url is not None else image
    return (
        media_types.name_from(os.fspath(source)) if isinstance(source, str | os.PathLike) else ""
    ) or "image to video"

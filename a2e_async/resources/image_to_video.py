"""A2E's page "Image to Video": an image and a prompt become a short video."""

import logging
import os
import uuid
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

import attrs

from a2e_async._protocol.families import IMAGE_TO_VIDEO
from a2e_async._protocol.image_to_video import CheckedOptions, check_extension, check_variations
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.validation import quote_id, raise_invalid
from a2e_async.batch import Job
from a2e_async.batch.jobs import PreparedStart
from a2e_async.config import OnUnknown
from a2e_async.files import media_types
from a2e_async.files.local_files import Image
from a2e_async.models.image_to_video import ImageToVideoRecord, ModelType, ModelVersion
from a2e_async.resources.base import attach_task_id
from a2e_async.resources.batches import BatchResource
from a2e_async.resources.inputs import (
    Source,
    Webhook,
    check_input_link,
    open_input,
    open_required_input,
    resolve_webhook,
)
from a2e_async.tasks import TaskHandle

__all__ = ["ImageToVideo", "StartOptions"]

_LOGGER = logging.getLogger("a2e_async")

_CHECKED_OPTIONS = frozenset(field.name for field in attrs.fields(CheckedOptions))

_ImageInputs: TypeAlias = "tuple[Image | None, str | None, Image | None, str | None]"
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


# a batch takes the others once for all of its starts
_JOB_OPTIONS = StartOptions.__annotations__.keys() - {
    "webhook",
    "webhook_url",
    "webhook_token",
    "idempotency_key",
    "on_unknown",
}


class ImageToVideo(BatchResource[ImageToVideoRecord]):
    """Operations on image-to-video tasks: ``client.image_to_video``."""

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

        All options are checked before the first request. Then local images are uploaded, which A2E charges too. The
        start is retried only if A2E certainly did not accept it. If its response is lost, the task is found in A2E's
        list by the marker in its name, and adopted. The price is ``handle.record.coins``.

        A cancellation while the start is under way takes effect when the response has arrived, after
        `Config.request_timeout` at most. The ids of accepted tasks are logged then.

        Args:
            prompt: Description of the video. Required unless `lora` is given.
            negative_prompt: What to avoid, such as ``"blurry, extra fingers"``. Required unless `lora` is given.
            image: The start image: a path, bytes, a binary file, or an http(s) URL. PNG, JPEG, WebP, GIF or BMP.
            image_url: The start image as a direct http(s) link, without spaces or redirects, instead of `image`.
            name: A display name, not unique. The default is the file's name. A2E receives it with a marker at its end,
                such as ``"Ada [a2e:7f3k2m9q4d]"``, unless `StartPolicy.mark_names` is False.
            model_type: ``"GENERAL"``, or ``"FLF2V"`` (first and last frame), the default with an end image.
            model_version: The model, which decides the price. With None A2E chooses it: for an Ultra account
                ``"a2e-v2"``, which costs more.
            end_image: The last image, as `image`.
            end_image_url: The last image, as `image_url`.
            video_time: Seconds of video: 5 (A2E's default), 10, 15 or 20. A longer video costs more.
            extend_prompt: Whether A2E rewrites the prompt (A2E's default: yes).
            skip_face_enhance: Whether to skip the enhancement of face similarity (A2E's default: no).
            lora: The id of a LoRA; its preset replaces the prompt.
            webhook: A `WebhookReceiver`, which A2E calls once when the task ends. Then a wait ends at once, and the
                task is polled at long intervals only (`PollPolicy.backstop`).
            webhook_url: Instead, an https URL of yours that A2E calls once when the task ends, at most 2048 characters.
            webhook_token: Sent back in ``X-A2e-Webhook-Token``, at most 256 characters.
            idempotency_key: Your name for this job, such as ``"order-17"``. If A2E still has a task of this key, that
                task is returned and nothing is started, even if the other options are different.
            on_unknown: What to do if the outcome of the start stays unknown: ``"raise"`` or ``"resend"``. The default
                is `StartPolicy.on_unknown`.

        Raises:
            InvalidRequestError: A local check failed. Nothing was sent.
            TransferError: A local image could not be uploaded. No start was sent.
            InsufficientCreditsError: Not enough coins.
            ContentRejectedError: Moderation rejected the image or the prompt.
            PlanError: The account's plan does not allow API tokens or this option.
            RateLimitError: Too many requests, in spite of retries. Likewise `BusyError`.
            SubmissionUncertainError: Unknown outcome: A2E may have accepted the start, and its list does not show it.
            NetworkError: The start could not be sent, in spite of retries.
            ServerError: Only with `idempotency_key`: A2E's list could not be read, and nothing was started. Likewise
                `UnexpectedResponseError`.
        """
        has_end_image = end_image is not None or end_image_url is not None
        webhook_url, webhook_token = resolve_webhook(webhook, webhook_url, webhook_token)
        options = CheckedOptions(
            name=_default_name(image, image_url) if name is None else name,
            has_end_image=has_end_image,
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
        images = (image, image_url, end_image, end_image_url)
        has_webhook = webhook is not None
        handles = await self._submit_all(options, images, None, idempotency_key, on_unknown, has_webhook=has_webhook)
        if len(handles) > 1:
            others = ", ".join(handle.id for handle in handles[1:])
            _LOGGER.warning("A2E made more than one task from one start: %s, and also %s", handles[0].id, others)
        return handles[0]

    async def start_variations(
        self, count: int, **options: Unpack[StartOptions]
    ) -> list[TaskHandle[ImageToVideoRecord]]:
        """Start several videos of one image with one request. Each video costs coins.

        Args:
            count: Number of videos, 2 to 8 (A2E's ``number_of_images``).
            options: As in `start`.

        Returns:
            A handle for each task that A2E made. If their number is not `count`, a warning is logged.

        Raises:
            A2EError: As in `start`.
        """
        check_variations(count)
        key, on_unknown = options.get("idempotency_key"), options.get("on_unknown")
        has_webhook = options.get("webhook") is not None
        handles = await self._submit_all(*_split_options(options), count, key, on_unknown, has_webhook=has_webhook)
        if len(handles) != count:
            _LOGGER.warning("A2E was asked for %d variations and made %d tasks", count, len(handles))
        return handles

    async def _submit_all(
        self,
        options: CheckedOptions,
        images: _ImageInputs,
        count: int | None,
        key: str | None,
        on_unknown: OnUnknown | None,
        *,
        has_webhook: bool,
    ) -> list[TaskHandle[ImageToVideoRecord]]:
        # all checks come before the first upload, which A2E charges
        if key is not None or on_unknown is not None:
            self._check_idempotency(key, on_unknown)
        first, last = await self._open_images(options, images)

        def make_body(image_url: str, end_image_url: str | None) -> dict[str, Any]:
            body = options.body(image_url=image_url, end_image_url=end_image_url)
            return body if count is None else {**body, "number_of_images": count}

        return await self._start(
            make_body, first, last, count=count or 1, key=key, on_unknown=on_unknown, has_webhook=has_webhook
        )

    async def _prepare_start(self, job: Job) -> PreparedStart:
        values = {name: getattr(job, name) for name in _JOB_OPTIONS}
        options, images = _split_options(StartOptions(**values))  # type: ignore[typeddict-item]  # mypy sees no names
        return PreparedStart(
            make_body=lambda link, last: options.body(image_url=link, end_image_url=last),
            images=await self._open_images(options, images),
            price_key=(options.model_version, options.video_time, options.has_end_image),
        )

    async def quote(self, **options: Unpack[StartOptions]) -> float | None:
        """Return the price of one start in coins, by A2E's estimate (``generation/quote``). Free, nothing is uploaded.

        The real price is ``handle.record.coins``. A2E has not published the field that holds the estimate: None means
        that the response holds no known one.

        Args:
            options: As in `start`. A missing image is replaced by an invented link.

        Raises:
            InvalidRequestError: A local check failed.
            A2EError: As for any request.
        """
        checked, (_, image_url, _, end_image_url) = _split_options(options)
        # the price depends on the options only, so an image is not uploaded for it
        invented = "https://example.com/image.png"
        last = (end_image_url or invented) if checked.has_end_image else None
        return await self._quote(checked.body(image_url=image_url or invented, end_image_url=last))

    async def _open_images(self, options: CheckedOptions, images: _ImageInputs) -> tuple[Source, Source | None]:
        """Check both images before the first one is uploaded, and return them."""
        image, image_url, end_image, end_image_url = images
        first = check_input_link("image", image, image_url) or await open_required_input("image", image, None, "image")
        last = await open_input("end_image", end_image, end_image_url, "image") if options.has_end_image else None
        self._check_file_sizes(first, last)
        return first, last

    async def average_processing_time(self) -> Any:  # noqa: ANN401  unpublished
        """Return A2E's ``avgProcessingTime`` unchanged: neither its shape nor its unit is published. Free."""
        return (await self._read_action("GET", "avgProcessingTime")).data

    async def unlimited_queue_level(self) -> Any:  # noqa: ANN401  unpublished
        """Return A2E's ``unlimitedQueueLevel`` unchanged: its content is not published. Free."""
        return (await self._read_action("GET", "unlimitedQueueLevel")).data

    async def mark_shared(self, id: str) -> None:
        """Mark the video as shared at A2E (``markShared``). A2E only records it. Free."""
        await self._mark(id, "markShared")

    async def mark_downloaded(self, id: str) -> None:
        """Mark the video as downloaded at A2E (``markDownloaded``). A2E only records it. Free."""
        await self._mark(id, "markDownloaded")

    async def mark_copied(self, id: str) -> None:
        """Mark the video as copied at A2E (``markCopied``). A2E only records it. Free."""
        await self._mark(id, "markCopied")

    async def _mark(self, task_id: str, action: str) -> None:
        path = self._action_path(f"{quote_id(task_id)}/{action}")
        with attach_task_id(task_id):
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
        """Rewrite both prompts for model type ``GENERAL`` (``prompt_extension``).

        A2E has not published whether it costs coins. A local image is uploaded, which A2E charges.

        Args:
            prompt: The text to rewrite.
            negative_prompt: The text to rewrite.
            image: The start image, as in `start`.
            image_url: The start image, as in `start`.
            reference_id: Meaning unpublished; by default a new random id.
            lang: Language of the output (A2E's default: ``en``).
            max_length: The maximum number of characters of the output.
            template: ``"cinematic"`` writes scene description, numbered shots and audio.
            shot_count: Number of shots, 1 to 4; for ``"cinematic"`` only.
            with_audio: Whether to write the audio part; for ``"cinematic"`` only.

        Returns:
            A2E's ``data`` unchanged; its shape is not published.

        Raises:
            A2EError: As in `start`.
        """
        extras = {"template": template, "shot_count": shot_count, "with_audio": with_audio}
        body = check_extension(_prompt_body(prompt, negative_prompt, reference_id, lang, max_length) | extras)
        source = await open_required_input("image", image, image_url, "image")
        return (await self._extend("prompt_extension", body, image_url=await self._to_link(source))).data

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
        """Rewrite both prompts for model type ``FLF2V`` (``flf2v_prompt_extension``).

        Everything is as in `extend_prompt`, with a last image in addition.
        """
        body = check_extension(_prompt_body(prompt, negative_prompt, reference_id, lang, max_length))
        source = await open_required_input("image", image, image_url, "image")
        last = await open_input("end_image", end_image, end_image_url, "image")
        if last is None:
            raise_invalid("the last image is needed: pass end_image or end_image_url")
        links = {"image_url": await self._to_link(source), "end_image_url": await self._to_link(last)}
        return (await self._extend("flf2v_prompt_extension", body, **links)).data

    async def _extend(self, action: str, body: dict[str, Any], **links: str) -> Envelope:
        fields = {name: value for name, value in {**body, **links}.items() if value is not None}
        return await self._send(Request(method="POST", path=self._action_path(action), json=fields))


def _split_options(options: StartOptions) -> tuple[CheckedOptions, _ImageInputs]:
    """Return the options that can be checked at once, and the images, which have to be opened."""
    # Python does not check the names of a TypedDict; `start` itself has named parameters
    unknown = options.keys() - StartOptions.__annotations__.keys()
    if unknown:
        msg = f"start_variations() got unexpected keyword arguments: {', '.join(sorted(unknown))}"
        raise TypeError(msg)
    fields: dict[str, Any] = {name: value for name, value in options.items() if name in _CHECKED_OPTIONS}
    image, image_url = options.get("image"), options.get("image_url")
    end_image, end_image_url = options.get("end_image"), options.get("end_image_url")
    fields["has_end_image"] = end_image is not None or end_image_url is not None
    fields["webhook_url"], fields["webhook_token"] = resolve_webhook(
        options.get("webhook"), options.get("webhook_url"), options.get("webhook_token")
    )
    if fields.get("name") is None:
        fields["name"] = _default_name(image, image_url)
    return CheckedOptions(**fields), (image, image_url, end_image, end_image_url)


def _prompt_body(
    prompt: str, negative_prompt: str, reference_id: str | None, lang: str | None, max_length: int | None
) -> dict[str, Any]:
    return {
        # required by A2E; its example has the 24 hexadecimal digits of a database id
        "reference_id": uuid.uuid4().hex[:24] if reference_id is None else reference_id,
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "lang": lang,
        "max_length": max_length,
        "stream": False,  # a stream would need another protocol (server-sent events), for a few hundred characters
    }


def _default_name(image: Image | None, image_url: str | None) -> str:
    """Return the image's file name without its extension. A2E requires a name, and its lists show it."""
    source = image_url if image_url is not None else image
    name = media_types.name_from(os.fspath(source)) if isinstance(source, str | os.PathLike) else ""
    return name or "image to video"

"""A2E's page "Image to Video": an image and a prompt become a short video."""

import uuid
from collections.abc import Mapping
from typing import Any, Literal, Unpack

import attrs

from a2e_async._protocol.endpoints import quote_id
from a2e_async._protocol.families import IMAGE_TO_VIDEO
from a2e_async._protocol.image_to_video import DEFAULTS, EXTENSION, START, VideoOptions, with_defaults
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.validation import list_options, raise_invalid, raise_unexpected
from a2e_async.batch import Job
from a2e_async.batch.jobs import JobOptions, PreparedStart
from a2e_async.files.local_files import Image
from a2e_async.models.image_to_video import ImageToVideoRecord
from a2e_async.models.schemas import options_schema
from a2e_async.resources.base import attach_task_id
from a2e_async.resources.batches import BatchResource
from a2e_async.resources.inputs import INVENTED_LINK, CommonStartOptions, open_input, open_required_input
from a2e_async.tasks import TaskHandle

__all__ = ["ImageToVideo", "StartOptions"]


class StartOptions(JobOptions, CommonStartOptions):
    """The options of `ImageToVideo.start`, for functions that pass them on.

    pydantic and FastAPI can read them from JSON, such as the body of a request. Then images are links only: a path from
    a visitor would be a file of the server.
    """


def _start_options_schema(_: Any, handler: Any) -> Any:  # noqa: ANN401  pydantic's types
    return options_schema(StartOptions, {"image", "end_image", "webhook"}, handler)


# A TypedDict has no methods, and pydantic rejects `typing.TypedDict` itself before Python 3.12.
StartOptions.__get_pydantic_core_schema__ = _start_options_schema  # type: ignore[attr-defined]


# The command line and job files take their options from `StartOptions` and `JobOptions`, in the order of the signature.
# The text of an option is in the docstring of `ImageToVideo.start`, its default here, if it is not None.
START_DEFAULTS: Mapping[str, Any] = DEFAULTS

_list_options = list_options(StartOptions, **DEFAULTS)


class ImageToVideo(BatchResource[ImageToVideoRecord]):
    """Operations on image-to-video tasks: ``client.image_to_video``."""

    _family = IMAGE_TO_VIDEO
    _extension = ".mp4"

    @_list_options
    async def start(self, **options: Unpack[StartOptions]) -> TaskHandle[ImageToVideoRecord]:
        """Start one video (A2E page "Start Image-to-Video"). Costs coins as soon as A2E accepts it.

        All options are checked before the first request. Then local images are uploaded, which A2E charges too. The
        start is retried only if A2E certainly did not accept it. If its response is lost, the task is found in A2E's
        list by the marker in its name, and adopted. The price is ``handle.record.coins``.

        A cancellation while the start is under way takes effect when the response has arrived, after
        `Config.request_timeout` at most. The ids of accepted tasks are logged then.

        Args:
            image: The start image: a path, bytes, a binary file, or an http(s) URL. PNG, JPEG, WebP, GIF or BMP.
            image_url: The start image as a direct http(s) link, without spaces or redirects, instead of `image`.
            end_image: The last image, as `image`.
            end_image_url: The last image, as `image_url`.
            prompt: Description of the video. Required unless `lora` is given.
            negative_prompt: What to avoid, such as ``"blurry, extra fingers"``. The default is
                ``"blurry, distorted, low quality"``, with `lora` that of its preset.
            name: A display name, not unique. The default is the file's name. A2E receives it with a marker at its end,
                such as ``"Ada [a2e:7f3k2m9q4d]"``, unless `StartPolicy.mark_names` is False.
            model_type: ``"GENERAL"``, or ``"FLF2V"`` (first and last frame), the default with an end image.
            model_version: The model, which decides the price. With None A2E chooses it: for an Ultra account
                ``"a2e-v2"``, which costs more.
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
        handles = await self._start(await self._prepare("start", options), options)
        return handles[0]

    @_list_options
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
        START.fields["number_of_images"].check("count", count)
        return await self._start(await self._prepare("start_variations", options, count), options, count=count)

    async def _prepare(self, method: str, options: StartOptions, count: int | None = None) -> PreparedStart:
        """Check the options of a start, and open its images."""
        if not options.keys() <= StartOptions.__annotations__.keys():
            raise_unexpected(method, options, StartOptions.__annotations__)
        image, image_url = options.get("image"), options.get("image_url")
        end_image, end_image_url = options.get("end_image"), options.get("end_image_url")
        # a link alone is checked by the schema
        if image is not None or image_url is None:
            first = await open_required_input("image", image, image_url, "image")
        else:
            first = image_url
        last = end_image_url if end_image is None else await open_input("end_image", end_image, end_image_url, "image")
        given = with_defaults(options)
        fields = {name: given.get(name) for name in VideoOptions.__annotations__} | {"number_of_images": count}
        prepared = self._check_start(START, fields, {"image_url": first, "end_image_url": last}, options)
        if last is not None:
            prepared.body["model_type"] = "FLF2V"
        return prepared

    async def _prepare_start(self, job: Job) -> PreparedStart:
        options: Any = {name: getattr(job, name) for name in JobOptions.__annotations__}
        prepared = await self._prepare("Job", options)
        has_end_image = prepared.inputs["end_image_url"] is not None
        return attrs.evolve(prepared, price_key=(job.model_version, job.video_time, has_end_image))

    @_list_options
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
        # the price depends on the other options only, so that an image is not even opened for it
        if options.pop("image", None) is not None or options.get("image_url") is None:
            options["image_url"] = INVENTED_LINK
        if options.pop("end_image", None) is not None:
            options["end_image_url"] = INVENTED_LINK
        return await self._quote((await self._prepare("quote", options)).body)

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
        body = EXTENSION.check(_prompt_body(prompt, negative_prompt, reference_id, lang, max_length) | extras)
        source = await open_required_input("image", image, image_url, "image")
        self._check_links({"image_url": source})
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
        body = EXTENSION.check(_prompt_body(prompt, negative_prompt, reference_id, lang, max_length))
        source = await open_required_input("image", image, image_url, "image")
        last = await open_input("end_image", end_image, end_image_url, "image")
        if last is None:
            raise_invalid("the last image is needed: pass end_image or end_image_url")
        self._check_links({"image_url": source, "end_image_url": last})
        links = {"image_url": await self._to_link(source), "end_image_url": await self._to_link(last)}
        return (await self._extend("flf2v_prompt_extension", body, **links)).data

    async def _extend(self, action: str, body: dict[str, Any], **links: str) -> Envelope:
        return await self._send(Request(method="POST", path=self._action_path(action), json={**body, **links}))


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

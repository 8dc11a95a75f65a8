"""From the image sources that a client names to those that a job may hold: checked, kept, and free of big data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeVar

from imagequeue.errors import ImageNotFound, InputFault, InvalidInput, JobNotFound
from imagequeue.input_images import InputImage, check_mask
from imagequeue.inputs import InputStore, is_data_url
from imagequeue.job_records import JobRecords
from imagequeue.requests import EditRequest, StartSessionRequest

_JOB_IMAGE: Final = re.compile(r"job:(job_[0-9A-HJKMNP-TV-Z]{26})/(\d{1,2})")
WithImages = TypeVar("WithImages", EditRequest, StartSessionRequest)


class Sources:
    """Resolves the sources of a request before its job is stored."""

    def __init__(self, inputs: InputStore, records: JobRecords) -> None:
        self._inputs = inputs
        self._records = records

    def resolve(self, request: WithImages, owner: str) -> WithImages:
        """The request with its images as `upload:<sha256>`, or as URLs, which the worker fetches.

        Raises:
            InvalidInput: an image cannot be used; nothing is spent.
        """
        resolved = [self._resolve(source, field, owner) for source, field in _named_sources(request)]
        found = _with_sources(request, resolved)
        first, mask_image = self._known(found.images[0]), self._known(found.mask)
        if first and mask_image:  # what is a URL yet is checked by the worker, before the call
            check_mask(mask_image, first)
        return found

    def check(self, request: WithImages) -> None:
        """Judge the sources of a request by their form alone.

        Raises:
            InvalidInput: one names no image in a way that is taken.
        """
        for source, field in _named_sources(request):
            self._check(source, field)

    def keep_data(self, request: WithImages) -> WithImages:
        """The request with its data: URLs as uploads, which are kept; other sources are judged by their form alone.

        Raises:
            InvalidInput: an image cannot be used.
        """
        named = _named_sources(request)
        kept = [self._inputs.resolve(*each) if is_data_url(each[0]) else self._check(*each) for each in named]
        return _with_sources(request, kept)

    def _check(self, source: str, field: str) -> str:
        if _JOB_IMAGE.fullmatch(source) is None:
            self._inputs.check(source, field)
        return source

    def _resolve(self, source: str, field: str, owner: str) -> str:
        match = _JOB_IMAGE.fullmatch(source)
        if match is None:
            return self._inputs.resolve(source, field)
        try:
            image = self._records.get(match[1], owner).images[int(match[2])]
        except (JobNotFound, ImageNotFound, IndexError):
            problem = f"{source} is no image: there is no such job of yours, or it has no image of this index (yet)"
            way_out = f"Look at /v1/jobs/{match[1]}, and wait until it has succeeded."
            raise InvalidInput(InputFault.MISSING, field, problem, way_out) from None
        return self._inputs.adopt(image.key, image.sha256, field)

    def _known(self, source: str | None) -> InputImage | None:
        return self._inputs.describe(source) if source and source.startswith("upload:") else None


def _named_sources(request: WithImages) -> list[tuple[str, str]]:
    """The images and then the mask, each with what errors call it."""
    images = [(source, f"images[{index}]") for index, source in enumerate(request.images)]
    return [*images, (request.mask, "mask")] if request.mask else images


def _with_sources(request: WithImages, sources: Sequence[str]) -> WithImages:
    """The request with other sources in the place of its own."""
    count = len(request.images)
    return request.model_copy(
        update={"images": tuple(sources[:count]), "mask": sources[count] if request.mask else None}
    )

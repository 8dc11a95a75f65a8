"""The kinds of errors about input images, for the table in problems."""

from __future__ import annotations

from typing import Final, NamedTuple


class InputProblem(NamedTuple):
    """One kind of error: stable code, status, title and what to do about it."""

    code: str
    status: int
    title: str
    meaning: str


INPUT_PROBLEMS: Final = (
    InputProblem(
        "input_bad_source",
        400,
        "Not an image source",
        "Name an image by upload:<sha256> (see POST /v1/uploads), an http(s) URL, a base64 data: URL, or "
        "job:<id>/<index>. Paths and other schemes are not taken: the server reads none of your files.",
    ),
    InputProblem("input_missing", 404, "No such upload", "Nothing was uploaded under this SHA-256: upload it first."),
    InputProblem(
        "input_hash_mismatch",
        400,
        "Other bytes than announced",
        "The stored file has another SHA-256 than its name says: upload it again.",
    ),
    InputProblem("input_empty", 400, "Empty file", "The file has no bytes: send the image's own."),
    InputProblem(
        "input_too_large", 413, "File too large", "An image must be smaller than 50 MB: scale it down or compress it."
    ),
    InputProblem(
        "input_not_an_image", 415, "Not an image", "The bytes are no image that is known here; a name does not help."
    ),
    InputProblem("input_wrong_type", 415, "Wrong type of file", "PNG, JPEG and WebP are taken: convert the file."),
    InputProblem(
        "input_mislabelled",
        400,
        "Mislabelled file",
        "The declared type or the name contradicts the bytes: correct the label, or send the file that was meant.",
    ),
    InputProblem("input_zero_size", 400, "Image without pixels", "Width or height is zero: save the image again."),
    InputProblem(
        "input_bomb", 400, "Too many pixels", "An image may have 89,478,485 pixels, however small its file: scale it."
    ),
    InputProblem("input_animated", 400, "Animated image", "Send one frame as an image of its own."),
    InputProblem(
        "input_truncated", 400, "Damaged image", "The file is cut off or damaged: save it again, or send another."
    ),
    InputProblem(
        "input_polyglot",
        400,
        "Data after the image",
        "Something follows the image in its file: save it again with an image editor.",
    ),
    InputProblem("mask_not_png", 400, "Mask is no PNG", "Save the mask as PNG with an alpha channel."),
    InputProblem("mask_too_large", 413, "Mask too large", "A mask must be smaller than 4 MB: fill its opaque parts."),
    InputProblem("mask_without_alpha", 400, "Mask without alpha", "A mask marks what to edit by transparency: add it."),
    InputProblem(
        "mask_size_mismatch", 400, "Mask of another size", "A mask must have the first image's width and height."
    ),
    InputProblem(
        "mask_opaque", 400, "Mask marks nothing", "No pixel of the mask is fully transparent: erase what to edit."
    ),
    InputProblem(
        "url_forbidden",
        400,
        "URL is never fetched",
        "Only http and https on ports 80, 443 and 8080 of public addresses are fetched, without a password in the URL "
        "and over at most 5 redirects. An operator can allow further origins (IMAGEQUEUE_INPUT_ORIGINS).",
    ),
    InputProblem(
        "url_unreachable", 400, "URL does not answer", "The URL's server does not answer: try later, or upload it."
    ),
    InputProblem("url_bad_status", 400, "URL refuses", "The URL must answer with status 200, without a login."),
    InputProblem("url_too_large", 400, "URL answers too much", "An image must be smaller than 50 MB."),
    InputProblem(
        "url_timeout", 400, "URL is too slow", "Fetching the image took too long: try later, or upload it instead."
    ),
)

SOURCE_PROBLEM_CODES: Final = tuple(
    row.code for row in INPUT_PROBLEMS if row.code == "url_forbidden" or not row.code.startswith("url_")
)
"""What naming images in a request can end in; URLs are fetched later, by the worker."""

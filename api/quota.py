"""What is left of a key's jobs a minute, as the fields of draft-ietf-httpapi-ratelimit-headers-10."""

from __future__ import annotations

from typing import Final

from flask import Response

from imagequeue.errors import Quota

_POLICY: Final = '"jobs"'
_WINDOW_SECONDS: Final = 60
QUOTA_HEADERS: Final = {
    "RateLimit-Policy": '`"jobs";q=N;w=60`: the API key may submit N jobs a minute. Only of a key that is so limited.',
    "RateLimit": '`"jobs";r=N;t=S`: N more may come now, and one more than that in S seconds.',
}


def show_quota(response: Response, quota: Quota) -> None:
    """Tell the client, so that it need not be refused to learn it."""
    response.headers["RateLimit-Policy"] = f"{_POLICY};q={quota.limit};w={_WINDOW_SECONDS}"
    response.headers["RateLimit"] = f"{_POLICY};r={quota.remaining};t={quota.more_in_seconds}"

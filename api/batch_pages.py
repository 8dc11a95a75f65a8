"""A batch's report as a page that needs nothing but itself: no script, no picture and no style from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Final

from flask import Response, render_template
from markupsafe import Markup

from api.context import the_owner, the_queue
from imagequeue.batch_views import BatchView
from imagequeue.batches import LineState
from imagequeue.jobs import PriceEstimate
from imagequeue.rate_limits import rate_in_words

_TEMPLATE: Final = "batch_report.html"
_STATES: Final = (
    LineState.SUCCEEDED,
    LineState.FAILED,
    LineState.REFUSED,
    LineState.CANCELLED,
    LineState.IN_FLIGHT,
    LineState.WAITING,
)
"""In the order of the bar."""


def report_page(batch_id: str, page: int) -> Response:
    """A page of the report.

    Raises:
        BatchNotFound: there is no such batch of the current caller's.
        InvalidRequest: it has fewer pages.
    """
    outputs, owner = the_queue().batches.outputs, the_owner()
    batch, sheet = outputs.sheet(batch_id, page, owner=owner)
    report = outputs.report(batch_id, owner=owner) if page == 1 else None
    text = render_template(
        _TEMPLATE,
        batch=batch,
        sheet=sheet,
        report=report,
        bar=_bar(batch),
        policy=_policy(),
        style=_style(),
        data_url=_data_url,
        duration=duration,
        rate_in_words=rate_in_words,
        money=money,
        spanned=spanned,
        moment=_moment,
        words=_words,
    )
    response = Response(text, mimetype="text/html")
    response.headers["Content-Security-Policy"] = f"{_policy()}; frame-ancestors 'none'"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def money(dollars: float | None) -> str:
    """Dollars with as many digits as they need: `$12.40`, `$0.0059`, `unknown`."""
    if dollars is None:
        return "unknown"
    return f"${dollars:,.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.4f}"


def spanned(price: PriceEstimate) -> str:
    """What was expected, and between which bounds, if those are not the same."""
    low, expected, high = (money(dollars) for dollars in (price.low_usd, price.expected_usd, price.high_usd))
    return expected if low == high else f"{expected} ({low} to {high})"


def duration(seconds: float | None) -> str:
    """Seconds as people say them: `0.8 s`, `42 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {rest} s" if minutes else f"{whole} s"


@cache
def _style() -> Markup:
    return Markup(resources.files("api").joinpath("templates/batch_report.css").read_text(encoding="utf-8"))


@cache
def _policy() -> str:
    """What the page may load: its own style and pictures, nothing else."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _bar(batch: BatchView) -> list[tuple[str, int, float, float]]:
    """State, lines, and where its part of a bar of 100 begins and how long it is."""
    parts: list[tuple[str, int, float, float]] = []
    begins = 0.0
    for state in _STATES:
        lines: int = getattr(batch.counts, state.value)
        if lines:
            share = 100 * lines / batch.lines
            parts.append((state.value, lines, round(begins, 3), round(share, 3)))
            begins += share
    return parts


def _data_url(picture: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"


def _moment(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC" if when else "–"


def _words(state: str) -> str:
    return state.replace("_", " ")

"""Lines of manifests as clients see them."""

from __future__ import annotations

from pydantic import Field

from imagequeue.manifests.lines import BadLines, ManifestLine
from imagequeue.requests import EditRequest, GenerateRequest
from imagequeue.views import View


class LineViolation(View):
    """A rule that a line of a manifest breaks."""

    line: int = Field(description="As an editor shows it, from 1; in an array, the element.")
    custom_id: str | None = Field(description="The line's name, if it could be read.")
    field: str = Field(description="`line` if the line itself cannot be read, `manifest` if what follows cannot.")
    rule: str
    given: str
    example: str


class LineView(View):
    """A line that becomes a job."""

    line: int = Field(description="As an editor shows it, from 1; in an array, the element.")
    custom_id: str
    request: GenerateRequest | EditRequest


def line_violations(bad: BadLines) -> tuple[LineViolation, ...]:
    """All that is wrong with the bad lines that are shown."""
    return tuple(
        LineViolation(
            line=line.line,
            custom_id=line.custom_id,
            field=violation.field,
            rule=violation.rule,
            given=violation.given,
            example=violation.example,
        )
        for line in bad.shown
        for violation in line.violations
    )


def line_view(line: ManifestLine) -> LineView:
    """Show a line."""
    return LineView(line=line.line, custom_id=line.custom_id, request=line.request)

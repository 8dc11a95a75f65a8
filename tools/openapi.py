"""Writes docs/openapi.json: the document that the API serves at /openapi.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, cast

from api.app import create_app
from imagequeue.settings import Settings

FILE: Final = Path(__file__).parents[1] / "docs/openapi.json"


def main() -> None:
    """Write the document of an application that nothing answers behind: it depends on no setting."""
    app = create_app(cast("Any", None), Settings())
    FILE.write_text(json.dumps(cast("Any", app).api_doc, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()

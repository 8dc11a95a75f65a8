"""Fails when a module is longer than 400 lines or a function longer than 50, and prints the largest of each."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 50
PACKAGES = ("imagequeue", "api", "worker", "mcp_bridge", "sandbox", "tools", "tests", "benchmarks")


def function_sizes(path: Path) -> list[tuple[int, str]]:
    """Lines of every function in the file: from its `def` to its last line, without docstring."""
    sizes: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            docstring = first if ast.get_docstring(node, clean=False) is not None else None
            doc_lines = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
            sizes.append(((node.end_lineno or node.lineno) - node.lineno + 1 - doc_lines, f"{path}:{node.name}"))
    return sizes


def main() -> int:
    """Return 1 when any limit is passed."""
    files = [file for package in PACKAGES for file in sorted(Path(package).rglob("*.py"))]
    modules = sorted(((len(file.read_text().splitlines()), str(file)) for file in files), reverse=True)
    functions = sorted((size for file in files for size in function_sizes(file)), reverse=True)
    too_long = [
        f"{name}: {lines} lines, at most {MAX_MODULE_LINES}" for lines, name in modules if lines > MAX_MODULE_LINES
    ]
    too_long += [
        f"{name}: {lines} lines, at most {MAX_FUNCTION_LINES}"
        for lines, name in functions
        if lines > MAX_FUNCTION_LINES
    ]
    print("\n".join(too_long))
    print(f"{len(modules)} modules, {len(functions)} functions")
    print(f"largest module: {modules[0]}; longest function: {functions[0]}")
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main())

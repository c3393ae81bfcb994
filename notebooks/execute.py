"""Runs notebooks from top to bottom in their kernel and keeps them, with their outputs, beside a page in HTML.

usage: execute.py OUTPUT_FOLDER NOTEBOOK...
"""

import pathlib
import sys
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

# The first cell compiles MLX for Rust; all others must be done within a minute.
FIRST_CELL_SECONDS = 3600
CELL_SECONDS = 300


def title(source):
    lines = [line for line in source.splitlines() if line.strip() and not line.startswith(":")]
    return lines[0][:70] if lines else ""


def said(cell):
    """What a cell wrote and complained of, as text."""
    texts = []
    for output in cell.outputs:
        texts.append(output.get("text", ""))
        texts.append(output.get("evalue", ""))
        texts.extend(output.get("traceback", []))
        texts.append(output.get("data", {}).get("text/plain", ""))
    return "\n".join(text for text in texts if text)


def execute(path, output):
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}})
    slow = []
    try:
        with client.setup_kernel():
            first = True
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type != "code":
                    continue
                client.timeout = FIRST_CELL_SECONDS if first else CELL_SECONDS
                started = time.monotonic()
                try:
                    client.execute_cell(cell, index)
                except CellExecutionError:
                    print(f"  cell {index:2} failed\n{said(cell)}", file=sys.stderr, flush=True)
                    raise
                seconds = time.monotonic() - started
                print(f"  cell {index:2} {seconds:6.1f} s  {title(cell.source)}", flush=True)
                if seconds > 60 and not first:
                    slow.append(index)
                first = False
    finally:
        kept = output / path.name
        nbformat.write(notebook, kept)
        page, _ = HTMLExporter().from_notebook_node(notebook)
        kept.with_suffix(".html").write_text(page, encoding="utf-8")
    return slow


def main():
    output = pathlib.Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    failed = []
    for path in map(pathlib.Path, sys.argv[2:]):
        print(path.stem, flush=True)
        try:
            slow = execute(path, output)
        except CellExecutionError:
            failed.append(f"{path.stem}: a cell failed")
        else:
            if slow:
                print(f"  slow: cells {slow} took more than a minute", flush=True)
    if failed:
        sys.exit("; ".join(failed))


main()

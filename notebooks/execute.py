"""Runs notebooks from top to bottom in their kernel and keeps them, with their outputs, beside a page in HTML.

usage: execute.py OUTPUT_FOLDER NOTEBOOK...
"""

import pathlib
import re
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
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(text for text in texts if text))


class NotAsWanted(Exception):
    """A cell ran, and what came of it is not what a notebook should show."""


def complained(cell):
    """Whether a cell ended in an error: evcxr writes what `?` gives to the standard error and calls that success."""
    kinds = {output.output_type for output in cell.outputs}
    return "error" in kinds or any(output.get("name") == "stderr" for output in cell.outputs)


def run(client, cell, index, must_fail):
    """Runs a cell; one that must fail again where its error came too late to be seen.

    evcxr hands on the standard error from a thread of its own, sometimes after it has said that the cell is done.
    """
    for _ in range(5):
        client.execute_cell(cell, index)
        if not must_fail:
            return
        # What comes late belongs to this cell, and not to the next.
        time.sleep(0.5)
        if complained(cell):
            return


def is_debug_text(output):
    data = output.get("data", {})
    return set(data) == {"text/plain"} and re.match(r"[A-Z]\w* \{ ", data["text/plain"]) is not None


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
                must_fail = "raises-exception" in cell.metadata.get("tags", [])
                try:
                    run(client, cell, index, must_fail)
                except CellExecutionError:
                    print(f"  cell {index:2} failed\n{said(cell)}", file=sys.stderr, flush=True)
                    raise
                seconds = time.monotonic() - started
                print(f"  cell {index:2} {seconds:6.1f} s  {title(cell.source)}", flush=True)
                if seconds > 60 and not first:
                    slow.append(index)
                if must_fail != complained(cell):
                    wanted = "an error" if must_fail else "no error"
                    raise NotAsWanted(f"cell {index}: wanted {wanted}, got\n{said(cell)}")
                if any(is_debug_text(output) for output in cell.outputs):
                    # The last expression moved a variable out, and evcxr tried again without: borrow it there.
                    raise NotAsWanted(f"cell {index} shows itself as debugging text, not as a picture")
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
        except (CellExecutionError, NotAsWanted) as error:
            if isinstance(error, NotAsWanted):
                print(f"  {error}", file=sys.stderr)
            failed.append(f"{path.stem}: a cell failed")
        else:
            if slow:
                print(f"  slow: cells {slow} took more than a minute", flush=True)
    if failed:
        sys.exit("; ".join(failed))


main()

"""Speaks the harness's protocol: a line of JSON in, a line of JSON out (see harness/protocol.rs)."""

import gc
import json
import os
import sys
import time

import numpy as np


class Unsupported(Exception):
    """This rival does not have the row."""


class Row:
    """A row that is ready: `call` does the work, `finish` waits for it, `numpy` gives the result as an array.

    `call` may return a number of milliseconds under `times=True`, when only a part of it counts.
    """

    def __init__(self, call, numpy=None, text=None, times=False, note=None):
        self.call, self.numpy, self.text, self.times, self.note = call, numpy, text, times, note

    def first(self, output):
        result = self.call()
        reply = {"loaded": True}
        if self.text is not None:
            reply["text"] = self.text()
        elif self.numpy is not None:
            np.save(output, np.ascontiguousarray(self.numpy(result), dtype=np.float32))
        if self.note is not None:
            reply["note"] = self.note
        return reply

    def run(self, n):
        ms = []
        gc.disable()
        for _ in range(n):
            if self.times:
                ms.append(self.call())
                continue
            start = time.perf_counter()
            result = self.call()
            # The result is dropped within the clock, as on our side.
            del result
            ms.append((time.perf_counter() - start) * 1e3)
        gc.enable()
        return ms


def serve(name, version, prepare, forget=None, limits=None):
    """Answers requests until the harness closes the pipe.

    `prepare(load, inputs, threads)` returns a `Row` or raises `Unsupported`; `inputs` are NumPy arrays. `forget` is
    called when a row has been dropped, and `limits` measures the device.
    """
    # Whatever a library prints must not end up between replies.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    rows, threads = {}, 1
    for line in sys.stdin:
        request = json.loads(line)
        reply = {"id": request["id"]} if "id" in request else {}
        try:
            if "hello" in request:
                threads = request["hello"]["threads"]
                reply.update(name=name, version=version)
            elif "load" in request:
                load = request["load"]
                inputs = [np.load(path) for path in load["inputs"]]
                row = prepare(load, inputs, threads)
                reply.update(row.first(load["output"]))
                rows[request["id"]] = row
            elif "run" in request:
                reply["ms"] = rows[request["id"]].run(request["run"])
            elif "drop" in request:
                rows.pop(request["id"], None)
                row = inputs = None
                gc.collect()
                if forget is not None:
                    forget()
                reply["dropped"] = True
            elif "limits" in request and limits is not None:
                reply["limits"] = limits()
            else:
                reply["failed"] = "another request than this runner knows"
        except Unsupported as why:
            reply["unsupported"] = str(why)
        except Exception as error:  # noqa: BLE001: whatever it is belongs into the table.
            import traceback

            traceback.print_exc()
            reply["failed"] = f"{type(error).__name__}: {error}"[:400]
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def package(*names):
    """Returns the versions of some packages in words; those that are not there are left out."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)

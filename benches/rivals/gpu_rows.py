"""Rows of a GPU, for every rival: several calls given to the device together and one wait, and samples of results."""

import gc
import time

import numpy as np

# The most numbers of an array that are compared.
SAMPLE = 65536
# Constants of the hash that inputs are made of: see harness/rows/gpu/made.rs.
FACTORS = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)


def places(count):
    """The distance of the numbers that are compared: odd, so that it meets every column of an even number of them."""
    return (count // SAMPLE) | 1


class Calls:
    """A row of which several calls are given to the device together.

    `call` returns a list of arrays, `wait` waits for many of them, `sample` gives a list of flat NumPy arrays.
    """

    def __init__(self, params, call, wait, sample, compared=None, steps=1, fresh=True):
        self.call, self.wait, self.sample, self.compared = call, wait, sample, compared
        self.calls, self.steps, self.fresh = params["calls"], steps, fresh

    def first(self, output):
        results = self.call() if self.compared is None else self.compared()
        self.wait(results)
        np.save(output, np.concatenate([np.asarray(part, np.float32) for part in self.sample(results)]))
        del results
        # Kernels are compiled, and graphs made.
        self.run(2)
        return {"loaded": True}

    def run(self, n):
        ms = []
        gc.disable()
        for _ in range(n):
            start = time.perf_counter()
            results = []
            for _ in range(self.calls):
                results += self.call()
            self.wait(results)
            # They are dropped within the clock, as on our side.
            del results
            ms.append((time.perf_counter() - start) * 1e3 / (self.calls * self.steps))
        gc.enable()
        return ms


class Timed:
    """A row that measures itself: `run_once` returns milliseconds, `result` what is compared, flat."""

    def __init__(self, result, run_once, warm_up=1):
        self.result, self.run_once, self.warm_up = result, run_once, warm_up

    def first(self, output):
        parts = [np.asarray(part, np.float32).reshape(-1) for part in self.result()]
        np.save(output, np.concatenate([part[:: places(part.size)] for part in parts]))
        self.run(self.warm_up)
        return {"loaded": True}

    def run(self, n):
        gc.disable()
        ms = [self.run_once() for _ in range(n)]
        gc.enable()
        return ms

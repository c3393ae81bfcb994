"""Kernels of crates/mlx-sys/native/cuda outside of MLX: compiled by NVRTC, launched on PyTorch's stream, timed in CUDA graphs.

    from harness import Kernel, time_of
    norm = Kernel("norm", "norm<float, true, 256, 4, 4>")
    norm((rows, 1, 1), 256, x, w, b, y, int64(rows), 4096, 1e-5)
"""

import ctypes
import os

import torch
from cuda.bindings import driver, nvrtc

SOURCES = os.environ.get("CUDA_SOURCES", os.path.join(os.path.dirname(__file__), "../../crates/mlx-sys/native/cuda"))


class int64(int):
    """A whole number that the kernel takes as 64 bits."""


def check(result, *more):
    status, values = result[0], result[1:]
    if status.value != 0:
        raise RuntimeError(f"{status}: {more}")
    return values[0] if len(values) == 1 else values


def read(name):
    with open(os.path.join(SOURCES, name), "rb") as file:
        return file.read()


class Kernel:
    """One instance of a template."""

    def __init__(self, file, instance, shared=0):
        major, minor = torch.cuda.get_device_capability()
        torch.empty(1, device="cuda")
        program = check(
            nvrtc.nvrtcCreateProgram(read(file + ".cu"), file.encode(), 1, [read("numbers.cuh")], [b"numbers.cuh"])
        )
        check(nvrtc.nvrtcAddNameExpression(program, instance.encode()))
        options = [f"--gpu-architecture=sm_{major}{minor}".encode(), b"--std=c++17"]
        status = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if status[0].value != 0:
            log = b" " * check(nvrtc.nvrtcGetProgramLogSize(program))
            nvrtc.nvrtcGetProgramLog(program, log)
            raise RuntimeError(log.decode())
        name = check(nvrtc.nvrtcGetLoweredName(program, instance.encode()))
        code = b" " * check(nvrtc.nvrtcGetCUBINSize(program))
        check(nvrtc.nvrtcGetCUBIN(program, code))
        self.module = check(driver.cuModuleLoadData(code))
        self.function = check(driver.cuModuleGetFunction(self.module, name))
        self.shared = shared
        if shared > 48 * 1024:
            attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            check(driver.cuFuncSetAttribute(self.function, attribute, shared))

    def __call__(self, grid, threads, *arguments):
        values = []
        for a in arguments:
            if a is None:
                values.append(ctypes.c_void_p(0))
            elif isinstance(a, torch.Tensor):
                values.append(ctypes.c_void_p(a.data_ptr()))
            elif isinstance(a, bytes):
                values.append(ctypes.create_string_buffer(a, len(a)))
            elif isinstance(a, int64):
                values.append(ctypes.c_int64(a))
            elif isinstance(a, int):
                values.append(ctypes.c_int32(a))
            else:
                values.append(ctypes.c_float(a))
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
        stream = torch.cuda.current_stream().cuda_stream
        check(
            driver.cuLaunchKernel(
                self.function, *grid, threads, 1, 1, self.shared, stream, ctypes.addressof(pointers), 0
            )
        )


def time_of(call, n=20, repeats=7):
    """Microseconds of `call(i)`, the median of replays of a CUDA graph of `n` calls."""
    call(0)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(n):
            call(i)
    graph.replay()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1000 / n)
    return sorted(times)[len(times) // 2]


def error_of(got, want):
    """The largest difference over the largest number wanted, in double."""
    got, want = got.double(), want.double()
    if not torch.isfinite(got).all():
        return float("nan")
    return ((got - want).abs().max() / want.abs().max().clamp_min(1e-30)).item()


def copy_bandwidth():
    """Bytes read and written in a second by a copy of 2 GiB."""
    x = torch.randn(1 << 29, device="cuda")
    y = torch.empty_like(x)
    moved = [time_of(copy, n=5) for copy in (lambda _: y.copy_(x), lambda _: torch.add(x, 1, out=y))]
    return 2 * x.nbytes / min(moved) * 1e6


def random_packed(n, k, bits, group, dtype):
    """Random packed weights, their scales and biases, and what they stand for in double."""
    w = torch.randint(-(2**31), 2**31, (n, k * bits // 32), device="cuda", dtype=torch.int64).to(torch.int32)
    scales = (torch.rand(n, k // group, device="cuda") * 0.1 + 0.01).to(dtype)
    biases = (torch.randn(n, k // group, device="cuda")).to(dtype)
    shifts = torch.arange(0, 32, bits, device="cuda")
    q = (w.long().unsqueeze(-1) >> shifts) & (2**bits - 1)
    q = q.reshape(n, k // group, group).double()
    return w, scales, biases, (q * scales.double().unsqueeze(-1) + biases.double().unsqueeze(-1)).reshape(n, k)



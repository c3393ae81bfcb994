"""Compiles instances of all kernels of crates/mlx-sys/native/cuda by NVRTC, and prints registers and spills. Needs no GPU.

    python3 benches/cuda/compile.py [ARCHITECTURE]

ARCHITECTURE is 80, 90 (the default), 100, ...; NVRTC is found in the PyPI package nvidia-cuda-nvrtc, which may be absent:
then nothing is compiled, and the script says so.
"""

import ctypes
import glob
import os
import sys

SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../crates/mlx-sys/native/cuda")
TYPES = ["float", "float16", "bfloat16"]


def instances():
    for t in TYPES:
        eight = 16 // (4 if t == "float" else 2)
        for centered in ("true", "false"):
            for shape in (f"256, 4, {eight}", "8, 1, 1", f"1024, {32 // eight}, {eight}"):
                yield "norm", f"norm<{t}, {centered}, {shape}>"
            for weight in ("true", "false"):
                for shape in (f"256, {16 // eight}, {eight}", "32, 4, 1", "1024, 16, 1"):
                    yield "norm", f"norm_gradient<{t}, {centered}, {weight}, {shape}>"
        yield "norm", f"add_rows<{t}>"
        for bits in (4, 8):
            for group in (32, 64, 128):
                for rest in ("1, 8, 4, true", "2, 4, 2, true", "1, 1, 1, false"):
                    yield "quantized", f"quantized_product<{t}, {bits}, {group}, {rest}>"
        for dim in (64, 80, 96, 128, 256):
            for causal, mask in (("false", 0), ("true", 0), ("false", 1), ("false", 4 if t == "float" else 2)):
                yield "attention", f"attention<{t}, {dim}, 4, {causal}, {mask}>"
            yield "attention", f"join<{t}, {dim}, false>"
        for kind in range(4):
            yield "activation", f"activation<{t}, {kind}, {eight}>"
        for traditional in ("true", "false"):
            for n, heads in ((1, 1), (1, 8), (4, 8)):
                yield "rope", f"rope<{t}, {traditional}, {n}, {heads}>"
    yield "norm", "add_norm<bfloat16, 32, 4, 8>"
    yield "rope", "norm_rope<bfloat16, false, 2>"
    for rest in ("4, 1", "3, 4", "8, 8"):
        yield "gemv", f"gemv<bfloat16, {rest}>"
    yield "copies", "copies<64>"
    for chunk in ("uint8_t", "uint16_t", "uint32_t", "Vector<uint32_t, 2>", "Vector<uint32_t, 4>"):
        for index in ("int", "uint32_t"):
            yield "rows", f"gather_rows<{chunk}, {index}>"
    for rest in ("32, 1", "32, 8", "256, 1", "256, 8"):
        yield "rows", f"sum_rows<bfloat16, {rest}>"
    for item in ("uint8_t", "uint16_t", "uint32_t", "uint64_t", "Chunk"):
        yield "update", f"update<{item}, int>"


def nvrtc():
    for place in sys.path:
        for name in glob.glob(os.path.join(place, "nvidia", "*", "lib", "libnvrtc.so.1[23]")):
            return ctypes.CDLL(name)
    return None


def compile_one(library, file, instance, architecture):
    """Returns the log, and whether it compiled."""
    read = lambda name: open(os.path.join(SOURCES, name), "rb").read()
    program = ctypes.c_void_p()
    header, name = ctypes.c_char_p(read("numbers.cuh")), ctypes.c_char_p(b"numbers.cuh")
    library.nvrtcCreateProgram(
        ctypes.byref(program), read(file + ".cu"), file.encode(), 1, ctypes.byref(header), ctypes.byref(name)
    )
    library.nvrtcAddNameExpression(program, instance.encode())
    options = [f"--gpu-architecture=sm_{architecture}".encode(), b"--std=c++17", b"--ptxas-options=-v"]
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return log.value.decode(), status == 0


def main():
    library = nvrtc()
    if library is None:
        print("skipped: the package nvidia-cuda-nvrtc is not there")
        return
    failed = 0
    for file, instance in instances():
        log, is_right = compile_one(library, file, instance, sys.argv[1] if len(sys.argv) > 1 else "90")
        if is_right:
            facts = [line.split(":", 1)[-1].strip(" .") for line in log.splitlines() if "registers" in line or "spill" in line]
            print(f"{instance}: {'; '.join(facts)}")
        else:
            failed += 1
            print(f"WRONG {instance}:\n{log}")
    print("all compile" if not failed else f"{failed} do not compile")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()

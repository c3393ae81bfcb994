"""Writes gguf_blocks.txt: blocks of each quantised type of GGUF and what the `gguf` package makes of them.

    python make_gguf_blocks.py > gguf_blocks.txt

Needs gguf 0.19.0 and numpy. A line is a type, its bytes and its values as float32, both in hexadecimal.
"""

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

# Bytes of a block, and where its half-precision floats are.
BLOCKS = {
    Type.Q4_0: (18, [0]),
    Type.Q4_1: (20, [0, 2]),
    Type.Q5_0: (22, [0]),
    Type.Q5_1: (24, [0, 2]),
    Type.Q8_0: (34, [0]),
    Type.Q2_K: (84, [80, 82]),
    Type.Q3_K: (110, [108]),
    Type.Q4_K: (144, [0, 2]),
    Type.Q5_K: (176, [0, 2]),
    Type.Q6_K: (210, [208]),
}

rng = np.random.default_rng(2026)
print("# Made by make_gguf_blocks.py: type, bytes, values.")
for kind, (size, floats) in BLOCKS.items():
    block = rng.integers(0, 256, size, dtype=np.uint8)
    for at in floats:
        block[at : at + 2] = np.array([rng.uniform(-0.1, 0.1)], dtype=np.float16).view(np.uint8)
    values = dequantize(block[None], kind).astype("<f4")
    print(kind.name, block.tobytes().hex(), values.tobytes().hex())

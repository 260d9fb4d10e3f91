#!/usr/bin/env python3
"""Records what other implementations make of quantised blocks, for tensor/quants_test.cc: testdata/quants/.

<type>.bin      random and adversarial blocks and the floats that `gguf.quants` decodes them to: all blocks, then all floats
round_trip.json squared errors of llama.cpp's ggml_quantize_chunk on values that the test makes again from the same formula

Needs the PyPI packages gguf and numpy; for round_trip.json also a C compiler and the source package llama-cpp-python, of
which two files are compiled. Usage:

    scripts/record-quants.py                          the blocks
    scripts/record-quants.py --ggml llama_cpp_python-0.3.36.tar.gz    both
"""

import argparse
import ctypes
import json
import pathlib
import subprocess
import tarfile
import tempfile

import gguf
import numpy as np
from gguf import quants

OUT = pathlib.Path(__file__).resolve().parent.parent / "testdata" / "quants"
# Type -> where the block has F16 numbers (byte offsets).
TYPES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
}
# Zeros, subnormals, smallest normal, largest, infinities, NaN.
HALVES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00]


def record_blocks(name, halves):
    kind = gguf.GGMLQuantizationType[name]
    values, size = gguf.GGML_QUANT_SIZES[kind]
    count = 4096 // values * 2
    rng = np.random.default_rng(20261122)
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for i, fill in enumerate([0x00, 0xFF, 0x80, 0x7F, 0x01]):
        blocks[i] = fill
    for i, block in enumerate(blocks):
        for at in halves:
            # One half of the blocks with everyday scales, one half with every edge of F16.
            half = rng.choice(HALVES) if i % 2 else np.float16(rng.normal() * 0.01).view(np.uint16)
            if i >= 5:
                block[at:at + 2] = np.array([half], dtype=np.uint16).view(np.uint8)
        if name == "MXFP4" and i >= 5:
            block[0] = [0, 1, 2, 126, 127, 128, 254, 255][i % 8]
    with np.errstate(all="ignore"):
        floats = quants.dequantize(blocks.reshape(-1), kind).astype(np.float32)
    assert floats.size == count * values
    (OUT / f"{name.lower()}.bin").write_bytes(blocks.tobytes() + floats.tobytes())


def splitmix(seed, count):
    """SplitMix64: `count` numbers after `seed`."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def test_values(count):
    """Bell-shaped with heavy tails, as trained weights are; made from exact operations only."""
    bell = np.zeros(count)
    for seed in (1, 2):
        bits = splitmix(seed, count)
        for shift in (0, 16, 32, 48):
            bell += ((bits >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.float64)
    bell = (bell - 4 * 65535.0) / 65536.0
    u = (splitmix(3, count) >> np.uint64(11)).astype(np.float64) / 2.0**53
    u2 = u * u
    u4 = u2 * u2
    return (bell * (1 + 3 * (u4 * u4)) * 0.03125).astype(np.float32)


def test_importance(columns):
    u = (splitmix(4, columns) >> np.uint64(11)).astype(np.float64) / 2.0**53
    return (u * u * 4 + 0.0625).astype(np.float32)


def compile_ggml(archive, folder):
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    root = next(pathlib.Path(folder).glob("*/vendor/llama.cpp/ggml"))
    (root / "src" / "ggml-version.h").write_text("// normally written by its build\n")
    # The two files call these; quantising on one thread needs none of them.
    rest = pathlib.Path(folder) / "rest.c"
    rest.write_text("void ggml_critical_section_start(void) {} void ggml_critical_section_end(void) {}\n" +
                    "".join(f"void ggml_backend_{f}(void) {{ __builtin_trap(); }}\n"
                            for f in ("buffer_get_usage", "tensor_memset", "tensor_set")))
    library = pathlib.Path(folder) / "libggml.so"
    sources = [root / "src" / "ggml.c", root / "src" / "ggml-quants.c", rest]
    subprocess.run(["cc", "-O2", "-w", "-fPIC", "-shared", '-DGGML_VERSION="0"', '-DGGML_COMMIT="0"', "-D_GNU_SOURCE",
                    f"-I{root / 'include'}", f"-I{root / 'src'}", *map(str, sources), "-o", str(library), "-lm"],
                   check=True)
    return ctypes.CDLL(str(library))


def record_round_trips(archive):
    rows, columns = 64, 1024
    values = test_values(rows * columns)
    importance = test_importance(columns)
    every = np.tile(importance, rows).astype(np.float64)
    out = {"source": pathlib.Path(archive).name.removesuffix(".tar.gz"), "rows": rows, "columns": columns,
           "squared_error": {}, "weighted_squared_error": {}}
    with tempfile.TemporaryDirectory() as folder:
        ggml = compile_ggml(archive, folder)
        chunk = ggml.ggml_quantize_chunk
        chunk.restype = ctypes.c_size_t
        chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
        for name in TYPES:
            kind = gguf.GGMLQuantizationType[name]
            block, size = gguf.GGML_QUANT_SIZES[kind]
            for key, weights in (("squared_error", None), ("weighted_squared_error", importance)):
                data = np.zeros(values.size // block * size, dtype=np.uint8)
                used = chunk(int(kind), values.ctypes.data, data.ctypes.data, 0, rows, columns,
                             None if weights is None else weights.ctypes.data)
                assert used == data.size, (name, used)
                miss = (quants.dequantize(data, kind).astype(np.float64) - values)**2
                out[key][name.lower()] = float((miss * (1 if weights is None else every)).sum())
    (OUT / "round_trip.json").write_text(json.dumps(out, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ggml", metavar="ARCHIVE", help="source package of llama-cpp-python")
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    for name, halves in TYPES.items():
        record_blocks(name, halves)
    if args.ggml:
        record_round_trips(args.ggml)


if __name__ == "__main__":
    main()

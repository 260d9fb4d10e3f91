"""Writes the fixtures of this folder with other people's writers; run once, results are committed.

    python3 -m venv v && v/bin/pip install gguf==0.19.0 numpy==2.4.6 safetensors==0.8.0 ml_dtypes==0.6.0
    v/bin/python testdata/format/make.py

Expected values are computed here, by numpy and gguf.quants, never by Junto.
"""
import json
import pathlib

import gguf
import ml_dtypes
import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(1727)


def every_type():
    """every_type.gguf: each metadata type, arrays of each, nested arrays, F32, F16 and Q8_0 tensors."""
    w = gguf.GGUFWriter(HERE / "every_type.gguf", "junto-test")
    w.add_uint8("scalar.u8", 255)
    w.add_int8("scalar.i8", -128)
    w.add_uint16("scalar.u16", 65535)
    w.add_int16("scalar.i16", -32768)
    w.add_uint32("scalar.u32", 4294967295)
    w.add_int32("scalar.i32", -2147483648)
    w.add_float32("scalar.f32", 0.1)
    w.add_bool("scalar.bool", True)
    w.add_string("scalar.string", "Junto: 1727 \u00e9")
    w.add_uint64("scalar.u64", 18446744073709551615)
    w.add_int64("scalar.i64", -9223372036854775808)
    w.add_float64("scalar.f64", 0.1)
    array = GGUFValueType.ARRAY
    for name, kind, values in [
        ("u8", GGUFValueType.UINT8, [0, 1, 255]),
        ("i8", GGUFValueType.INT8, [-128, 0, 127]),
        ("u16", GGUFValueType.UINT16, [0, 65535]),
        ("i16", GGUFValueType.INT16, [-32768, 32767]),
        ("u32", GGUFValueType.UINT32, [0, 4294967295]),
        ("i32", GGUFValueType.INT32, [-2147483648, 2147483647]),
        ("f32", GGUFValueType.FLOAT32, [0.5, -0.25, 0.1]),
        ("bool", GGUFValueType.BOOL, [True, False, True]),
        ("string", GGUFValueType.STRING, ["", "a", "\u00e9\u00e8"]),
        ("u64", GGUFValueType.UINT64, [0, 18446744073709551615]),
        ("i64", GGUFValueType.INT64, [-9223372036854775808, 9223372036854775807]),
        ("f64", GGUFValueType.FLOAT64, [0.5, 0.1]),
    ]:
        w.add_key_value("array." + name, values, array, sub_type=kind)
    w.add_key_value("array.nested", [[1, 2], [3], ["x", "y"]], array)
    plain = np.arange(6, dtype=np.float32).reshape(2, 3) / 8
    blocks = rng.standard_normal((3, 64)).astype(np.float32)
    packed = gguf.quants.quantize(blocks, GGMLQuantizationType.Q8_0)
    w.add_tensor("plain.f32", plain)
    w.add_tensor("plain.f16", plain.astype(np.float16).reshape(1, 3, 2))
    w.add_tensor("blocks.q8_0", packed, raw_dtype=GGMLQuantizationType.Q8_0)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    values = gguf.quants.dequantize(packed, GGMLQuantizationType.Q8_0).flatten()
    (HERE / "every_type.q8_0.json").write_text(json.dumps([float(v) for v in values]))


def directory(name, config, tensors, expected):
    """A Hugging Face directory with packed tensors, and the float32 values they stand for (in expected/)."""
    path = HERE / name
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config, indent=1))
    save_file(tensors, path / "model.safetensors")
    save_file(expected, HERE / (name + "-expected.safetensors"))


def fp8_blocks():
    """DeepSeek-V3's form: F8_E4M3 weights, one float32 factor for each block of weight_block_size."""
    block = (16, 32)
    tensors, expected = {}, {}
    for name, shape in [("even", (32, 64)), ("ragged", (20, 40)), ("experts", (2, 20, 40))]:
        codes = rng.integers(0, 255, shape).astype(np.uint8)
        codes[(codes & 0x7F) == 0x7F] = 0x7E  # no NaN
        stored = codes.view(ml_dtypes.float8_e4m3fn)
        grid = shape[:-2] + tuple(-(-s // b) for s, b in zip(shape[-2:], block))
        scale = rng.uniform(1e-4, 1e-2, grid).astype(np.float32)
        full = scale.repeat(block[0], -2).repeat(block[1], -1)[..., : shape[-2], : shape[-1]]
        tensors[name + ".weight"] = stored
        tensors[name + ".weight_scale_inv"] = scale
        expected[name + ".weight"] = (stored.astype(np.float32) * full).astype(ml_dtypes.bfloat16)
    tensors["norm.weight"] = np.ones(4, np.float32)
    expected["norm.weight"] = np.ones(4, np.float32)
    tensors["whole.weight"] = np.array([[1, -2], [0.5, 448]], ml_dtypes.float8_e4m3fn)
    tensors["whole.weight_scale_inv"] = np.array([0.25], np.float32)
    expected["whole.weight"] = np.array([[0.25, -0.5], [0.125, 112]], ml_dtypes.bfloat16)
    directory("fp8", {"architectures": ["DeepseekV3ForCausalLM"],
                      "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                                              "weight_block_size": list(block)}}, tensors, expected)


def mxfp4():
    """gpt-oss's form: [..., groups, 16] bytes with neighbours in one byte (low half first), [..., groups] exponents."""
    table = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
    tensors, expected = {}, {}
    for name, prefix in [("model.layers.0.mlp.experts.gate_up_proj", (3, 4, 2)), ("model.layers.0.mlp.experts.down_proj", (3, 2, 3))]:
        blocks = rng.integers(0, 256, prefix + (16,)).astype(np.uint8)
        scales = rng.integers(110, 140, prefix).astype(np.uint8)
        scales.flat[0], scales.flat[1] = 0, 252  # the ends of what float32 can hold
        values = np.empty(prefix + (32,), np.float32)
        values[..., 0::2] = table[blocks & 15]
        values[..., 1::2] = table[blocks >> 4]
        # In float64, since 2^-127 is a subnormal float; the products are exact in float32.
        values = values.astype(np.float64) * np.exp2(scales.astype(np.float64) - 127)[..., None]
        tensors[name + "_blocks"] = blocks
        tensors[name + "_scales"] = scales
        expected[name] = values.reshape(prefix[:-1] + (-1,)).astype(np.float32)
    tensors["model.norm.weight"] = np.ones(4, ml_dtypes.bfloat16)
    expected["model.norm.weight"] = np.ones(4, ml_dtypes.bfloat16)
    directory("mxfp4", {"architectures": ["GptOssForCausalLM"], "quantization_config": {"quant_method": "mxfp4"}},
              tensors, expected)


every_type()
fp8_blocks()
mxfp4()

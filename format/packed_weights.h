// Weights that a Hugging Face checkpoint stores as a pair of tensors, codes and scales, turned into ordinary tensors.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "format/lazy_tensors.h"
#include "format/named_tensors.h"

namespace junto {

/// Values of one scale: rows and columns of the last two dimensions; 0 stands for the whole dimension.
struct ScaleBlock {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
};

/// DeepSeek-V3's FP8: codes F8_E4M3 [..., R, C] and scales [..., ceil(R / rows), ceil(C / cols)], or a single scale for
/// all; value = code * scale, rounded once to BF16, as the published conversion does. `where` and `name` are for
/// errors.
Tensor decode_fp8_blocks(std::string_view where, std::string_view name, const Tensor& codes, const Tensor& scales,
                         ScaleBlock block);

/// gpt-oss's MXFP4: blocks U8 [..., G, 16] (values 2j and 2j + 1 in the low and high half of byte j) and scales U8
/// [..., G] (E8M0) -> kMXFP4 [..., 32 * G] in GGUF's layout: scale byte, then 16 bytes with values j and j + 16. No
/// value changes.
Tensor repack_mxfp4(std::string_view where, std::string_view name, const Tensor& blocks, const Tensor& scales);

/// The tensors of a checkpoint with pairs replaced, under the plain name, by what they stand for:
///   quant_method fp8:    X and X_scale_inv -> X, BF16
///   quant_method mxfp4:  X_blocks and X_scales -> X, kMXFP4. Its rows are the output features, [experts, out, in],
///                        where the unpacked form of the same model stores X as [experts, in, out].
/// `config` is config.json: quantization_config (also inside text_config) names the method; without it all tensors are
/// as stored. Throws Error for other methods, missing partners and shapes that do not fit each other.
LazyTensors unpack_weights(const NamedTensors& stored, const Json& config, const std::string& where);

}  // namespace junto

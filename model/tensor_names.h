// Canonical tensor names: llama.cpp's (blk.3.attn_q.weight), whatever the checkpoint's own. The loader and the writer
// know only these.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "format/checkpoint.h"

namespace junto {

/// Quantised blocks (gpt-oss in MXFP4) are published with the input features last, plain values with them first: the
/// forms that transpose leave quantised tensors as they are. What a published tensor needs before it is a canonical
/// one. Splits give as many tensors as the rule names.
enum class TensorForm : std::uint8_t {
  kPlain,
  kSplitQkv,                // rows [q | k | v], widths from the config (DBRX)
  kSplitRows,               // rows in two equal halves: first, second (JetMoE keys and values)
  kFirstOrLater,            // first where the last number is 0, second where it is another (modules in a row, MoE++)
  kExpertsSplitRows,        // [E, 2F, D]: gate rows then up rows -> ffn_gate.E, ffn_up.E (Granite, JetMoE)
  kExpertsSplitColumns,     // [E, D, 2F]: gate columns then up columns, transposed (Llama 4)
  kExpertsInterleaved,      // [E, D, 2F]: gate and up in alternate columns, transposed (gpt-oss)
  kExpertsInterleavedRows,  // [E, 2F, D] in blocks: gate and up in alternate rows (gpt-oss MXFP4)
  kExpertsBiasInterleaved,  // [E, 2F]: gate and up alternate
  kExpertsTranspose,        // [E, F, D] -> [E, D, F]
  kExpertsRows,             // [E * F, D] -> [E, F, D] (DBRX w1, v1)
  kExpertsRowsTranspose,    // [E * F, D] -> [E, D, F] (DBRX w2)
  kSqueeze,                 // drops dimensions of 1
  kIgnore,                  // known and not part of the model's function
};

/// A rule from a published name to canonical ones. '#' stands for a number and fills the canonical '#' in order; a
/// second canonical name follows a comma. `pairs` folds two numbers (layer, half) into block 2 * layer + half
/// (LongCat).
struct TensorRule {
  std::string_view published;
  std::string_view canonical;
  TensorForm form = TensorForm::kPlain;
  bool pairs = false;
};

/// Canonical name -> tensor.
using TensorTable = std::map<std::string, Tensor, std::less<>>;

/// Sizes that some forms need.
struct TensorSizes {
  std::int64_t blocks = 0;  // published tensors of later layers (multi-token prediction) are left out
  std::int64_t layers = 0;
  std::int64_t q_rows = 0;
  std::int64_t kv_rows = 0;
  std::int64_t experts = 0;
};

/// The names that Llama-like Hugging Face checkpoints share.
std::span<const TensorRule> common_tensor_rules();

/// Applies `rules` (they win), then the common ones, to a Hugging Face checkpoint. Throws Error on a tensor that no
/// rule knows: computing without it would be nonsense.
TensorTable canonical_tensors(const Checkpoint& checkpoint, std::span<const TensorRule> rules,
                              const TensorSizes& sizes);

/// The tensors of a GGUF file, whose names are canonical already but for those that `rules` rename and those that are
/// stored joined (attn_qkv, ffn_gate_up_exps).
TensorTable gguf_tensors(const Checkpoint& checkpoint, std::span<const TensorRule> rules, const TensorSizes& sizes);

/// The name that one of `rules` renames to `canonical`; `canonical` itself where none does.
std::string published_name(std::string_view canonical, std::span<const TensorRule> rules);

}  // namespace junto

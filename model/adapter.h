// Low-rank adapters (LoRA: Hu et al., arXiv 2106.09685) as overlays: y = W x + scale * B (A x), or the sum over experts
// that a router of the matrix's own chooses, whatever W is stored as, mapped or streamed. W stays as it is.
//
// Two forms are read (model/adapter_modules.h has their names):
//   PEFT   a directory with adapter_config.json and adapter_model.safetensors (or the path of the latter), names of the
//          published model: base_model.model.model.layers.3.mlp.up_proj.lora_A.weight [r, K]; plain or routed LoRA
//   GGUF   llama.cpp's, general.type "adapter", adapter.type "lora", names of its model files:
//   blk.3.ffn_up.weight.lora_a
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/checkpoint.h"
#include "model/architectures.h"
#include "moe/linear.h"

namespace junto {

/// An adapter to load, and what its own scale is multiplied by.
struct AdapterRequest {
  std::string path;
  float scale = 1.0f;
};

/// "FILE" or "FILE:SCALE"; a file that has the whole text as its name wins. Throws Error on a scale that is not finite.
AdapterRequest parse_adapter_request(std::string_view text);

/// What one adapter adds to one matrix [N, K].
struct AdapterUpdate {
  struct Pair {
    std::string a_name, b_name;  // as stored in `file`
    Tensor a;                    // [r, K]
    Tensor b;                    // [N, r]
    float scale = 1.0f;          // alpha / r, or alpha / sqrt(r), times the request's
  };
  struct Router {
    std::string name;
    Tensor weight;  // [E, K]
    RouterSpec spec;
  };
  std::string file;              // what errors name
  std::vector<Pair> pairs;       // of each expert; of plain LoRA one
  std::optional<Router> router;  // of routed LoRA
};

/// By the canonical name of the matrix, of experts one by one ("blk.3.ffn_up.7.weight"); adapters in the order in which
/// they were asked for.
using AdapterTable = std::map<std::string, std::vector<AdapterUpdate>, std::less<>>;

/// Reads adapters of the model that `base` and `source` describe. Rows of q and k are put into the order of the base's
/// rotation. Throws Error naming file and tensor on anything that is not a low-rank update of one of the model's
/// layers, and naming the field of adapter_config.json or the GGUF key on a kind of adapter that this is not (DoRA,
/// weights of the base that were changed with it, a router that a layer by itself cannot have).
AdapterTable read_adapters(std::span<const AdapterRequest> requests, const Checkpoint& base, const ModelSource& source);

/// Gives out the updates of a table and remembers which were taken.
class AdapterOverlays {
 public:
  explicit AdapterOverlays(const AdapterTable& table) : table_(table) {}

  /// Puts what the table has for `name` onto `linear`, whose weights are there. Throws Error naming file, tensor, found
  /// and expected shape, and where a routed update is of a matrix that is never multiplied as it is (kv_b of latent
  /// attention).
  void attach(std::string_view name, Linear& linear);
  /// Throws Error naming the first update that no layer took.
  void refuse_unused() const;
  /// Of all that was attached.
  std::size_t bytes() const { return bytes_; }

 private:
  const AdapterTable& table_;
  std::set<std::string, std::less<>> used_;
  std::size_t bytes_ = 0;
};

}  // namespace junto

// What a model is made of, as figures: what `junto inspect` prints.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "format/checkpoint.h"
#include "model/weights.h"

namespace junto {

/// Tensors of one stored type.
struct TypeShare {
  std::int64_t tensors = 0;
  std::int64_t values = 0;
  std::int64_t bytes = 0;
};

/// The experts of one router.
struct ExpertsReport {
  int count = 0;                                 // E
  int per_token = 0;                             // the most that a token can get
  std::int64_t least_width = 0, most_width = 0;  // of experts with weights
  std::map<std::string, int> kinds;              // "ffn": 8
  std::vector<std::string> types;                // stored types of their matrices, ascending
  bool shared = false;
  Json router;  // RouterSpec
  Json layer;   // what the layer is beyond one round of experts that read and join as usual: "rounds", "residual",
                // "router_back"; empty else
  bool operator==(const ExpertsReport&) const = default;
};

/// Layers first..last, which are alike.
struct LayersReport {
  int first = 0, last = 0;
  std::string mixer;                                      // "attention, 32 heads, 8 KV heads of 128"
  std::int64_t dense_width = 0;                           // 0: no dense feed-forward network
  std::vector<ExpertsReport> attention_experts, experts;  // none or one each
};

struct ModelReport {
  std::string path, architecture;
  std::int64_t context = 0, vocabulary = 0, hidden_size = 0, blocks = 0;
  std::int64_t parameters = 0, bytes = 0;
  std::int64_t always_read_bytes = 0, routed_bytes = 0;
  std::int64_t bytes_per_token = 0;  // with the model's own routing, all experts of a layer alike likely
  std::map<std::string, TypeShare> types;
  std::vector<LayersReport> layers;
};

/// Reads headers and sizes, no weights.
ModelReport report_model(const Checkpoint& checkpoint, const Model& model);

Json to_json(const ModelReport& report);

/// "llama 135M Q4_1", "olmoe 6.92B (64 experts) Q4_0": architecture, parameters, experts, the type that most values
/// have.
std::string short_name(const ModelReport& report);

/// "135M", "6.92B".
std::string format_parameters(std::int64_t count);

}  // namespace junto

// For the tests of this room: published models with random adapters beside them, and merged.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "compress/test_models.h"
#include "format/test_directory.h"
#include "model/adapter.h"

namespace junto {

inline constexpr std::int64_t kRank = 3;

inline Tensor random_values(const Shape& shape, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.1f);
  Tensor empty;
  empty.shape = shape;
  std::vector<float> values(empty.values());
  for (float& value : values) value = normal(random);
  return make_tensor(shape, std::move(values));
}

/// W + scale * B A, of a matrix or of each of a stack.
inline Tensor merged(const Tensor& w, const Tensor& a, const Tensor& b, float scale) {
  std::vector<float> values = decode(w);
  const std::vector<float> left = decode(b), right = decode(a);
  const std::int64_t k = w.cols(), n = w.rows(), per_stack = w.shape[w.shape.size() - 2];
  for (std::int64_t row = 0; row < n; ++row) {
    for (std::int64_t j = 0; j < kRank; ++j) {
      const float factor = scale * left[row * kRank + j];
      const std::int64_t a_row = row / per_stack * kRank + j;
      for (std::int64_t c = 0; c < k; ++c) values[row * k + c] += factor * right[a_row * k + c];
    }
  }
  return make_tensor(w.shape, std::move(values));
}

inline bool is_linear(const NamedTensor& named) {
  return named.tensor.shape.size() == 2 && named.name.ends_with(".weight") && named.name != "model.embed_tokens.weight";
}

/// A published model in a directory of its own, adapters beside it, and the model merged with them.
class AdapterModel {
 public:
  explicit AdapterModel(const std::string& name) : base_(kOracles + name), tensors_(open_checkpoint(base_).tensors()) {
    for (const char* folder : {"merged", "adapter", "second"}) std::filesystem::create_directory(path(folder));
    std::filesystem::copy_file(base_ + "/config.json", path("merged/config.json"));
  }

  std::string path(const std::string& name) const { return directory_.path(name); }
  const std::string& base() const { return base_; }

  /// Adds a random update to every linear layer that `wanted` takes and merges it times `scale`. `experts` above 0: so
  /// many updates and a router, all of them merged.
  template <class Wanted>
  void add(const std::string& folder, const std::string& config, float scale, const Wanted& wanted, int experts = 0) {
    directory_.put(folder + "/adapter_config.json", config);
    std::vector<TensorToWrite> adapter;
    std::uint32_t seed = static_cast<std::uint32_t>(std::hash<std::string>()(folder));
    for (NamedTensor& named : tensors_) {
      if (!is_linear(named) || !wanted(named.name)) continue;
      const std::int64_t k = named.tensor.cols(), n = named.tensor.rows();
      const std::string module = named.name.substr(0, named.name.size() - std::string(".weight").size());
      for (int e = 0; e < std::max(experts, 1); ++e) {
        const Tensor a = random_values({kRank, k}, ++seed), b = random_values({n, kRank}, ++seed);
        const std::string of = experts > 0 ? ".experts." + std::to_string(e) : "";
        adapter.push_back(to_write("base_model.model." + module + of + ".lora_A.weight", a));
        adapter.push_back(to_write("base_model.model." + module + of + ".lora_B.weight", b));
        named.tensor = merged(named.tensor, a, b, scale);
      }
      if (experts > 0) {
        const Tensor gate = random_values({experts, k}, ++seed);
        adapter.push_back(to_write("base_model.model." + module + ".moe_gate.weight", gate));
      }
    }
    ASSERT_FALSE(adapter.empty());
    write_safetensors(path(folder + "/adapter_model.safetensors"), adapter);
  }

  std::vector<float> merged_logits(const std::vector<std::int32_t>& ids) const {
    std::vector<TensorToWrite> all;
    for (const NamedTensor& named : tensors_) all.push_back(to_write(named.name, named.tensor));
    write_safetensors(path("merged/model.safetensors"), all);
    return logits_of(path("merged"), ids);
  }

  void put(const std::string& name, std::string_view text) const { directory_.put(name, text); }

 private:
  TestDirectory directory_;
  std::string base_;
  std::vector<NamedTensor> tensors_;
};

inline const auto kAll = [](const std::string&) { return true; };
inline const char* const kPlainConfig = R"({"peft_type": "LORA", "r": 3, "lora_alpha": 6})";

inline std::vector<float> adapted_logits(const std::string& model, const std::vector<AdapterRequest>& adapters,
                                         const std::vector<std::int32_t>& ids, LoadOptions options = {}) {
  options.adapters = adapters;
  return logits_of(load_model(open_checkpoint(model), options), ids);
}

}  // namespace junto

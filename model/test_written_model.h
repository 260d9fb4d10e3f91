// For tests: small Hugging Face directories of random weights, named as their authors' code names them.
#pragma once

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "format/safetensors.h"
#include "format/test_directory.h"

namespace junto {

/// A directory's configuration and its tensors by name, row-major.
struct WrittenModel {
  Json config;
  std::map<std::string, std::vector<float>> weights;

  const std::vector<float>& at(const std::string& name) const { return weights.at(name); }
};

/// Options that Llama's descendants share; hidden size 32, four heads, 384 tokens, three layers.
inline Json small_llama_config(const char* architecture) {
  return {{"architectures", Json::array({architecture})},
          {"vocab_size", 384},
          {"hidden_size", 32},
          {"intermediate_size", 24},
          {"num_hidden_layers", 3},
          {"num_attention_heads", 4},
          {"hidden_act", "silu"},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-6},
          {"tie_word_embeddings", false},
          {"bos_token_id", 1},
          {"eos_token_id", 2}};
}

/// Draws tensors, one after the other, and writes them with the configuration.
class ModelWriter {
 public:
  explicit ModelWriter(Json config) : model_{.config = std::move(config), .weights = {}} {}

  const Json& config() const { return model_.config; }

  /// Uniform within `spread` of `center`.
  void add(const std::string& name, Shape shape, float center, float spread) {
    std::size_t count = 1;
    for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
    std::vector<float>& values = model_.weights[name];
    for (std::size_t i = 0; i < count; ++i)
      values.push_back(center + spread * (static_cast<float>(random_() % 20001) / 10000.0f - 1.0f));
    tensors_.push_back(
        {.name = name, .type = DType::kF32, .shape = std::move(shape), .produce = [values](const ByteSink& sink) {
           sink({reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float)});
         }});
  }
  void matrix(const std::string& name, std::int64_t rows, std::int64_t cols, float gain = 1.2f) {
    add(name, {rows, cols}, 0.0f, gain / std::sqrt(static_cast<float>(cols)));
  }
  void norm(const std::string& name) { add(name, {hidden()}, 1.0f, 0.2f); }
  /// `<prefix>{gate,up,down}_proj.weight`
  void swiglu(const std::string& prefix) {
    const std::int64_t width = model_.config["intermediate_size"];
    matrix(prefix + "gate_proj.weight", width, hidden());
    matrix(prefix + "up_proj.weight", width, hidden());
    matrix(prefix + "down_proj.weight", hidden(), width);
  }
  /// `<prefix>{q,k,v,o}_proj.weight`; so many heads of queries read one of keys and values.
  void attention(const std::string& prefix, std::int64_t queries_per_key) {
    matrix(prefix + "q_proj.weight", hidden(), hidden());
    matrix(prefix + "k_proj.weight", hidden() / queries_per_key, hidden());
    matrix(prefix + "v_proj.weight", hidden() / queries_per_key, hidden());
    matrix(prefix + "o_proj.weight", hidden(), hidden());
  }
  void embedding_and_head() {
    const std::int64_t vocabulary = model_.config["vocab_size"];
    matrix("model.embed_tokens.weight", vocabulary, hidden(), 6.0f);
    norm("model.norm.weight");
    matrix("lm_head.weight", vocabulary, hidden());
  }

  /// config.json and model.safetensors.
  WrittenModel write(const TestDirectory& directory) && {
    directory.put("config.json", model_.config.dump());
    write_safetensors(directory.path("model.safetensors"), tensors_, {});
    return std::move(model_);
  }

 private:
  std::int64_t hidden() const { return model_.config["hidden_size"]; }

  WrittenModel model_;
  std::vector<TensorToWrite> tensors_;
  std::mt19937 random_{11};
};

}  // namespace junto

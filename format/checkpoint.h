// A model on disk: a GGUF file, or a Hugging Face directory (config.json, safetensors, tokenizer.json).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "format/lazy_tensors.h"
#include "format/metadata.h"
#include "format/named_tensors.h"
#include "tensor/tensor.h"

namespace junto {

struct Checkpoint {
  enum class Kind { kGguf, kHuggingFace };

  Kind kind = Kind::kGguf;
  std::string path;   // what errors name
  Metadata metadata;  // GGUF; empty for Hugging Face

  // Hugging Face; null or empty where the file is absent.
  Json config;             // config.json
  Json generation_config;  // generation_config.json
  Json tokenizer_config;   // tokenizer_config.json
  std::string tokenizer_json_path;
  std::string chat_template_file;  // text of chat_template.jinja

  /// All tensors in file order (shards in the order of their names). Packed ones (format/packed_weights.h) are unpacked
  /// here or in find() and then kept: to go through a large checkpoint use listing() and load().
  const std::vector<NamedTensor>& tensors() const { return lazy.all(); }
  /// nullptr where absent.
  const Tensor* find(std::string_view name) const { return lazy.find(name); }
  /// Throws Error naming file, tensor, found and expected shape; for a missing tensor the nearest name there is.
  const Tensor& require(std::string_view name, const Shape& shape) const;

  /// Names, types and shapes at no cost; the bytes of packed tensors are missing.
  const std::vector<NamedTensor>& listing() const { return lazy.listing(); }
  /// One tensor whose unpacked bytes live as long as the result; empty where absent.
  std::optional<Tensor> load(std::string_view name) const { return lazy.load(name); }

  LazyTensors lazy;
};

/// Opens a .gguf file (any part of a split one) or a directory with config.json and safetensors: model.safetensors, or
/// the shards of model.safetensors.index.json. Weights are mapped, not read. Throws Error naming file and problem for
/// anything else, saying what it seems to be (PyTorch pickles, an adapter, an empty directory).
Checkpoint open_checkpoint(const std::string& path);

}  // namespace junto

// Hugging Face directories: which files they have and what the shard index says.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "format/checkpoint.h"

namespace junto {

/// Tensor name -> name of the file that holds it, checked: files are plain names ending in .safetensors (no directory
/// parts: an index must not reach outside its directory).
using WeightMap = std::map<std::string, std::string, std::less<>>;

/// Parses model.safetensors.index.json; `file` is what errors name.
WeightMap parse_weight_map(std::string_view text, const std::string& file);

/// Opens a directory with config.json; see open_checkpoint.
Checkpoint open_huggingface(const std::string& directory);

}  // namespace junto

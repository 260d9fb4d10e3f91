#include "format/huggingface.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "format/packed_weights.h"
#include "format/safetensors.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxConfigBytes = std::size_t{8} << 20;
constexpr std::size_t kMaxTokenizerConfigBytes = std::size_t{32} << 20;
constexpr std::size_t kMaxIndexBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxTemplateBytes = std::size_t{4} << 20;

std::string join(const std::string& directory, std::string_view name) {
  return directory + (directory.ends_with('/') ? "" : "/") + std::string(name);
}

bool is_file(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error) && !fs::is_directory(path, error);
}

Json read_json(const std::string& path, std::size_t max_bytes) {
  return is_file(path) ? parse_json(read_text_file(path, max_bytes), path) : Json();
}

Json read_json_object(const std::string& path, std::size_t max_bytes) {
  Json json = read_json(path, max_bytes);
  if (!json.is_null() && !json.is_object())
    fail(path, std::string("holds ") + json.type_name() + ", expected an object");
  return json;
}

// Some file of the directory whose name ends so; empty where there is none.
std::string name_ending_in(const std::string& directory, std::initializer_list<std::string_view> endings) {
  std::set<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    const auto matches = [&](std::string_view ending) { return name.ends_with(ending); };
    if (std::any_of(endings.begin(), endings.end(), matches)) names.insert(name);
  }
  return names.empty() ? std::string() : *names.begin();
}

[[noreturn]] void refuse_directory(const std::string& directory, const std::string& missing) {
  std::error_code error;
  if (fs::is_empty(directory, error)) fail(directory, "is an empty directory, expected " + missing);
  if (is_file(join(directory, "adapter_config.json"))) {
    fail(directory, "holds an adapter (adapter_config.json), expected a full model with " + missing +
                        "; --adapter takes it beside one");
  }
  if (const std::string name = name_ending_in(directory, {".bin", ".pt", ".pth"}); !name.empty()) {
    fail(directory, "holds PyTorch weights (" + printable(name) + "), expected " + missing);
  }
  if (const std::string name = name_ending_in(directory, {".gguf"}); !name.empty()) {
    fail(directory, "is a directory with GGUF files, expected one of them: " + printable(join(directory, name), 400));
  }
  if (const std::string name = name_ending_in(directory, {".safetensors"}); !name.empty()) {
    fail(directory, "holds " + printable(name) + ", expected also " + missing);
  }
  fail(directory, "has no " + missing);
}

NamedTensors open_shards(const std::string& directory, const std::string& index_path) {
  NamedTensors tensors;
  const WeightMap weight_map = parse_weight_map(read_text_file(index_path, kMaxIndexBytes), index_path);
  std::set<std::string> shards;
  for (const auto& [name, shard] : weight_map) shards.insert(shard);
  for (const std::string& shard : shards) {
    const std::string shard_path = join(directory, shard);
    if (!is_file(shard_path)) fail(shard_path, "is missing, but model.safetensors.index.json names it");
    // The index decides: a tensor of a shard that the index does not place there is not part of the model.
    const SafetensorsFile file = open_safetensors(shard_path);
    for (const NamedTensor& tensor : file.tensors.all()) {
      const auto placed = weight_map.find(tensor.name);
      if (placed != weight_map.end() && placed->second == shard) tensors.add(tensor.name, tensor.tensor);
    }
  }
  for (const auto& [name, shard] : weight_map) {
    if (!tensors.find(name)) {
      fail(join(directory, shard), tensor_label(name) + " is missing, but model.safetensors.index.json places it here");
    }
  }
  return tensors;
}

NamedTensors open_tensors(const std::string& directory) {
  const std::string single = join(directory, "model.safetensors");
  const std::string index = join(directory, "model.safetensors.index.json");
  if (is_file(single)) return open_safetensors(single).tensors;
  if (is_file(index)) return open_shards(directory, index);
  refuse_directory(directory, "model.safetensors or model.safetensors.index.json");
}

}  // namespace

WeightMap parse_weight_map(std::string_view text, const std::string& file) {
  const Json index = parse_json(text, file, 8);
  const auto found = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || found == index.end() || !found->is_object()) {
    fail(file, "weight_map is missing, expected an object from tensor names to shard files");
  }
  WeightMap weight_map;
  for (const auto& [name, value] : found->items()) {
    if (!value.is_string()) fail(file, "weight_map of " + tensor_label(name) + " is no string, expected a shard file");
    const std::string& shard = value.get_ref<const std::string&>();
    const bool plain =
        shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos && !shard.starts_with('.');
    if (!plain || !shard.ends_with(".safetensors")) {
      fail(file, "weight_map of " + tensor_label(name) + " is \"" + printable(shard) +
                     "\", expected a .safetensors file of the same directory");
    }
    weight_map.emplace(name, shard);
  }
  return weight_map;
}

Checkpoint open_huggingface(const std::string& directory) {
  Checkpoint checkpoint;
  checkpoint.kind = Checkpoint::Kind::kHuggingFace;
  checkpoint.path = directory;
  const std::string config_path = join(directory, "config.json");
  if (!is_file(config_path)) refuse_directory(directory, "config.json");
  checkpoint.config = read_json_object(config_path, kMaxConfigBytes);
  if (checkpoint.config.is_null()) fail(config_path, "holds null, expected an object");
  checkpoint.generation_config = read_json_object(join(directory, "generation_config.json"), kMaxConfigBytes);
  checkpoint.tokenizer_config = read_json_object(join(directory, "tokenizer_config.json"), kMaxTokenizerConfigBytes);
  const std::string tokenizer = join(directory, "tokenizer.json");
  if (is_file(tokenizer)) checkpoint.tokenizer_json_path = tokenizer;
  const std::string chat_template = join(directory, "chat_template.jinja");
  if (is_file(chat_template)) checkpoint.chat_template_file = read_text_file(chat_template, kMaxTemplateBytes);
  checkpoint.lazy = unpack_weights(open_tensors(directory), checkpoint.config, directory);
  return checkpoint;
}

}  // namespace junto

// Tokenizer keys of GGUF metadata, both ways.
#include <limits>

#include "base/error.h"
#include "format/metadata.h"
#include "format/tokenizer.h"

namespace junto {
namespace {

constexpr std::string_view kPrefix = "tokenizer.ggml.";

std::string key_of(std::string_view name) {
  return std::string(kPrefix) + std::string(name);
}

// The fields that are one id or one flag, under llama.cpp's names.
struct IdKey {
  std::string_view name;
  std::optional<std::int32_t> GgufTokenizerData::*field;
};
constexpr IdKey kIds[] = {
    {"bos_token_id", &GgufTokenizerData::bos_id},     {"eos_token_id", &GgufTokenizerData::eos_id},
    {"eot_token_id", &GgufTokenizerData::eot_id},     {"eom_token_id", &GgufTokenizerData::eom_id},
    {"unknown_token_id", &GgufTokenizerData::unk_id}, {"seperator_token_id", &GgufTokenizerData::sep_id},
    {"padding_token_id", &GgufTokenizerData::pad_id}, {"mask_token_id", &GgufTokenizerData::mask_id}};
struct FlagKey {
  std::string_view name;
  std::optional<bool> GgufTokenizerData::*field;
};
constexpr FlagKey kFlags[] = {{"add_bos_token", &GgufTokenizerData::add_bos},
                              {"add_eos_token", &GgufTokenizerData::add_eos},
                              {"add_sep_token", &GgufTokenizerData::add_sep},
                              {"add_space_prefix", &GgufTokenizerData::add_space_prefix},
                              {"remove_extra_whitespaces", &GgufTokenizerData::remove_extra_whitespaces}};

template <class T>
std::vector<T> narrowed(const Metadata& metadata, std::string_view name) {
  std::vector<T> out;
  if constexpr (std::is_floating_point_v<T>) {
    for (const double value : metadata.numbers(key_of(name))) out.push_back(static_cast<T>(value));
  } else {
    for (const std::int64_t value : metadata.integers(key_of(name))) {
      if (value < std::numeric_limits<T>::min() || value > std::numeric_limits<T>::max()) {
        fail(metadata.file(), key_of(name) + " has " + std::to_string(value) + ", which is out of range");
      }
      out.push_back(static_cast<T>(value));
    }
  }
  return out;
}

}  // namespace

GgufTokenizerData gguf_tokenizer_data(const Metadata& metadata) {
  GgufTokenizerData data;
  data.model = metadata.required_string(key_of("model"));
  data.pre = metadata.string(key_of("pre")).value_or("");
  data.tokens = metadata.strings(key_of("tokens"));
  data.merges = metadata.strings(key_of("merges"));
  data.scores = narrowed<float>(metadata, "scores");
  data.types = narrowed<std::int32_t>(metadata, "token_type");
  for (const std::int64_t byte : metadata.integers(key_of("precompiled_charsmap"))) {
    data.charsmap.push_back(static_cast<std::uint8_t>(byte));  // i8 or u8
  }
  for (const auto& [name, field] : kIds) {
    if (!metadata.contains(key_of(name))) continue;
    data.*field =
        static_cast<std::int32_t>(metadata.integer(key_of(name), 0, std::numeric_limits<std::int32_t>::max()));
  }
  for (const auto& [name, field] : kFlags) data.*field = metadata.boolean(key_of(name));
  data.normalizer = metadata.string("junto.tokenizer.normalizer").value_or("");
  data.huggingface_json = metadata.string("tokenizer.huggingface.json").value_or("");
  return data;
}

void store_tokenizer(const GgufTokenizerData& data, Metadata& metadata) {
  metadata.set(key_of("model"), data.model);
  if (!data.pre.empty()) metadata.set(key_of("pre"), data.pre);
  metadata.set(key_of("tokens"), data.tokens);
  if (!data.scores.empty()) metadata.set(key_of("scores"), data.scores);
  if (!data.types.empty()) metadata.set(key_of("token_type"), data.types);
  if (!data.merges.empty()) metadata.set(key_of("merges"), data.merges);
  if (!data.charsmap.empty()) metadata.set(key_of("precompiled_charsmap"), data.charsmap);
  for (const auto& [name, field] : kIds) {
    if (data.*field) metadata.set(key_of(name), static_cast<std::uint32_t>(*(data.*field)));
  }
  for (const auto& [name, field] : kFlags) {
    if (data.*field) metadata.set(key_of(name), *(data.*field));
  }
  if (!data.normalizer.empty()) metadata.set("junto.tokenizer.normalizer", data.normalizer);
  if (!data.huggingface_json.empty()) metadata.set("tokenizer.huggingface.json", data.huggingface_json);
}

Tokenizer load_tokenizer_gguf(const Metadata& metadata) {
  return load_tokenizer_gguf(gguf_tokenizer_data(metadata), metadata.file());
}

}  // namespace junto

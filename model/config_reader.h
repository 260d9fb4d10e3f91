// One way to read a model's options from both kinds of checkpoint: config.json and GGUF metadata.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "format/checkpoint.h"
#include "model/config.h"

namespace junto {

/// An option's name in either source; nullptr where a source does not have it. GGUF names lack the architecture's
/// prefix:
/// {"num_attention_heads", "attention.head_count"}.
struct Key {
  const char* hf;
  const char* gguf;
};

/// Reads options and checks their type and range; every Error names file, option, value and what was expected.
class ConfigReader {
 public:
  /// `prefix` is the GGUF architecture ("olmoe"); unused for config.json.
  ConfigReader(const Checkpoint& checkpoint, std::string prefix);
  /// Reads `config` as if it were the checkpoint's config.json (GGUF files of architecture junto carry one).
  ConfigReader(const Checkpoint& checkpoint, Json config);
  /// Reads a config.json's options as if `options` were not among them, for code that never looks at them.
  ConfigReader without(std::span<const char* const> options) const;

  bool gguf() const { return gguf_; }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  const Json& json() const { return config_; }
  const std::string& file() const { return file_; }

  bool has(Key key) const;
  /// config.json holds the option as null, which some options distinguish from its absence.
  bool is_null(Key key) const;
  std::int64_t integer(Key key, std::int64_t low, std::int64_t high) const;
  std::int64_t integer_or(Key key, std::int64_t fallback, std::int64_t low, std::int64_t high) const;
  /// One value for each of `count` layers; a scalar stands for all.
  std::vector<std::int64_t> integers_per_layer(Key key, std::int64_t count, std::int64_t low, std::int64_t high) const;
  double number_or(Key key, double fallback) const;
  double number(Key key) const;
  bool boolean_or(Key key, bool fallback) const;
  std::string text_or(Key key, const std::string& fallback) const;
  std::vector<double> numbers(Key key) const;     // empty where absent
  std::vector<std::string> texts(Key key) const;  // empty where absent

  /// Throws Error "file: option is X, expected ...".
  [[noreturn]] void refuse(Key key, const std::string& found, const std::string& expected) const;
  std::string name(Key key) const;

 private:
  const Json* find_json(Key key) const;
  std::string full_key(Key key) const { return prefix_ + "." + key.gguf; }

  const Checkpoint& checkpoint_;
  std::string prefix_;
  Json config_;
  std::string file_;
  bool gguf_ = false;
};

}  // namespace junto

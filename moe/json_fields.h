// Reads a JSON object field by field: each value is checked, and what nobody asked for is refused by name.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace junto {

/// One object. `path` names it inside `where` ("router", "policy: layers.4-7"); errors read `where: path: key is ...`.
class JsonFields {
 public:
  /// Throws Error where `json` is no object. `json` must outlive this.
  JsonFields(const Json& json, std::string_view where, std::string_view path);

  /// The value, or nothing where the key is absent. All throw Error on another type or a value out of range.
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t min, std::int64_t max);
  std::optional<float> number(std::string_view key, float min, float max);
  std::optional<bool> boolean(std::string_view key);
  /// Index of the value, a string, in `names`; an unknown one is refused with the nearest.
  std::optional<std::size_t> choice(std::string_view key, std::span<const std::string_view> names);
  const Json* any(std::string_view key);

  /// Throws Error on the first key that was never asked for, with the nearest of those that were.
  void finish() const;

  [[noreturn]] void fail_at(std::string_view key, std::string_view found_and_expected) const;
  [[noreturn]] void fail_here(std::string_view what) const;
  std::string_view where() const { return where_; }
  const std::string& path() const { return path_; }

 private:
  const Json& json_;
  std::string_view where_;
  std::string path_;
  std::vector<std::string_view> asked_;
};

/// The value as errors quote it: JSON, cut to a line.
std::string quoted(const Json& json);

/// `, did you mean "x"?` for the nearest of `names`, or the list of them where none is near.
std::string suggestion(std::string_view word, std::span<const std::string_view> names);

/// The shortest decimal that reads back as `value`: 0.1, not 0.10000000149011612.
Json json_number(float value);

}  // namespace junto

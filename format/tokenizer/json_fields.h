// Fields of tokenizer.json, checked: errors name the field, its value's type and what was expected.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"

namespace junto::text {

/// A JSON object at `path` ("pre_tokenizer.pretokenizers[1]") of the file `where`.
struct Field {
  const Json& json;
  std::string_view where;
  std::string path;

  [[noreturn]] void refuse(const std::string& expected) const;
  /// Absent and null are the same.
  bool has(std::string_view key) const;
  Field at(std::string_view key) const;  // refused where absent
  Field item(std::size_t index) const;   // of an array

  const std::string& string() const;
  std::string string_or(std::string_view key, std::string_view otherwise) const;
  bool boolean_or(std::string_view key, bool otherwise) const;
  std::int64_t integer(std::int64_t low, std::int64_t high) const;
  double finite() const;
  const Json& array() const;
  const Json& object() const;
};

}  // namespace junto::text

#include "train/data/number_table.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>

#include "base/error.h"
#include "base/file.h"

namespace junto {
namespace {

constexpr std::int64_t kMostTableBytes = std::int64_t{1} << 30;

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  for (std::size_t begin = 0;;) {
    const std::size_t end = std::min(line.find(',', begin), line.size());
    fields.push_back(line.substr(begin, end - begin));
    if (end == line.size()) return fields;
    begin = end + 1;
  }
}

}  // namespace

at::Tensor NumberTable::column(std::string_view name) const {
  const auto found = std::find(columns.begin(), columns.end(), name);
  if (found == columns.end()) fail("table", "has no column " + printable(std::string(name)));
  return values.select(1, found - columns.begin());
}

NumberTable parse_number_table(std::string_view text, std::string_view where) {
  NumberTable table;
  std::vector<float> numbers;
  std::int64_t line_number = 0;
  const auto refuse = [&](const std::string& what) {
    fail(std::string(where), "line " + std::to_string(line_number) + ": " + what);
  };
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::vector<std::string_view> fields = fields_of(line);
    if (table.columns.empty()) {
      table.columns.assign(fields.begin(), fields.end());
      continue;
    }
    if (fields.size() != table.columns.size()) {
      refuse(std::to_string(fields.size()) + " fields, expected " + std::to_string(table.columns.size()) +
             ", as many as columns");
    }
    for (const std::string_view field : fields) {
      float value = 0.0f;
      const auto [stop, error] = std::from_chars(field.data(), field.data() + field.size(), value);
      if (error != std::errc() || stop != field.data() + field.size() || !std::isfinite(value))
        refuse(printable(std::string(field)) + ", expected a finite number");
      numbers.push_back(value);
    }
  }
  if (table.columns.empty()) fail(std::string(where), "is empty, expected a line of column names");
  table.values = at::tensor(numbers, at::kFloat).reshape({-1, std::ssize(table.columns)});
  return table;
}

NumberTable read_number_table(const std::string& path) {
  return parse_number_table(read_text_file(path, kMostTableBytes), path);
}

}  // namespace junto

#include "model/config_reader.h"

#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"

namespace junto {

ConfigReader::ConfigReader(const Checkpoint& checkpoint, std::string prefix)
    : checkpoint_(checkpoint),
      prefix_(std::move(prefix)),
      config_(checkpoint.config),
      file_(checkpoint.path),
      gguf_(checkpoint.kind == Checkpoint::Kind::kGguf) {
  if (!gguf_) file_ += "/config.json";
}

ConfigReader::ConfigReader(const Checkpoint& checkpoint, Json config)
    : checkpoint_(checkpoint), config_(std::move(config)), file_(checkpoint.path) {}

ConfigReader ConfigReader::without(std::span<const char* const> options) const {
  ConfigReader out = *this;
  for (const char* option : options) out.config_.erase(option);
  return out;
}

std::string ConfigReader::name(Key key) const {
  return gguf_ ? (key.gguf ? full_key(key) : std::string(key.hf)) : std::string(key.hf ? key.hf : key.gguf);
}

void ConfigReader::refuse(Key key, const std::string& found, const std::string& expected) const {
  fail(file_, name(key) + " is " + printable(found) + ", expected " + expected);
}

namespace {

// A dotted name walks into objects.
const Json* walk(const Json& config, std::string_view rest) {
  const Json* at = &config;
  while (!rest.empty()) {
    const std::size_t dot = rest.find('.');
    if (!at->is_object()) return nullptr;
    const auto found = at->find(std::string(rest.substr(0, dot)));
    if (found == at->end()) return nullptr;
    at = &*found;
    rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  }
  return at;
}

}  // namespace

// null counts as absent.
const Json* ConfigReader::find_json(Key key) const {
  const Json* at = key.hf ? walk(config_, key.hf) : nullptr;
  return at == nullptr || at->is_null() ? nullptr : at;
}

bool ConfigReader::is_null(Key key) const {
  const Json* at = !gguf_ && key.hf ? walk(config_, key.hf) : nullptr;
  return at != nullptr && at->is_null();
}

bool ConfigReader::has(Key key) const {
  if (gguf_) return key.gguf && checkpoint_.metadata.find(full_key(key)) != nullptr;
  return find_json(key) != nullptr;
}

std::int64_t ConfigReader::integer(Key key, std::int64_t low, std::int64_t high) const {
  if (gguf_ && key.gguf) return checkpoint_.metadata.integer(full_key(key), low, high);
  const Json* value = find_json(key);
  const std::string range = "an integer in " + std::to_string(low) + ".." + std::to_string(high);
  if (!value) fail(file_, name(key) + " is missing, expected " + range);
  if (!value->is_number_integer()) refuse(key, value->dump(), range);
  if (value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
    refuse(key, value->dump(), range);
  }
  const auto number = value->get<std::int64_t>();
  if (number < low || number > high) refuse(key, value->dump(), range);
  return number;
}

std::int64_t ConfigReader::integer_or(Key key, std::int64_t fallback, std::int64_t low, std::int64_t high) const {
  return has(key) ? integer(key, low, high) : fallback;
}

std::vector<std::int64_t> ConfigReader::integers_per_layer(Key key, std::int64_t count, std::int64_t low,
                                                           std::int64_t high) const {
  std::vector<std::int64_t> values;
  if (gguf_) {
    values = checkpoint_.metadata.integers(full_key(key));
  } else {
    const Json* value = find_json(key);
    if (!value) fail(file_, name(key) + " is missing");
    if (!value->is_array()) return std::vector<std::int64_t>(count, integer(key, low, high));
    for (const Json& item : *value) {
      if (!item.is_number_integer()) refuse(key, item.dump(), "integers");
      values.push_back(item.get<std::int64_t>());
    }
  }
  if (values.size() == 1) values.resize(count, values[0]);
  if (static_cast<std::int64_t>(values.size()) != count) {
    refuse(key, "a list of " + std::to_string(values.size()),
           "one value or one per layer (" + std::to_string(count) + ")");
  }
  for (const std::int64_t value : values) {
    if (value < low || value > high) {
      refuse(key, std::to_string(value), std::to_string(low) + ".." + std::to_string(high));
    }
  }
  return values;
}

double ConfigReader::number(Key key) const {
  double result = 0;
  if (gguf_ && key.gguf) {
    result = checkpoint_.metadata.number(full_key(key), -INFINITY, INFINITY);
  } else {
    const Json* value = find_json(key);
    if (!value) fail(file_, name(key) + " is missing, expected a number");
    if (!value->is_number()) refuse(key, value->dump(), "a number");
    result = value->get<double>();
  }
  if (!std::isfinite(result)) refuse(key, std::to_string(result), "a finite number");
  return result;
}

double ConfigReader::number_or(Key key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

bool ConfigReader::boolean_or(Key key, bool fallback) const {
  if (!has(key)) return fallback;
  if (gguf_) return *checkpoint_.metadata.boolean(full_key(key));
  const Json* value = find_json(key);
  if (value->is_boolean()) return value->get<bool>();
  if (value->is_number_integer()) return value->get<std::int64_t>() != 0;
  refuse(key, value->dump(), "true or false");
}

std::string ConfigReader::text_or(Key key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  if (gguf_) return *checkpoint_.metadata.string(full_key(key));
  const Json* value = find_json(key);
  if (!value->is_string()) refuse(key, value->dump(), "a string");
  return value->get<std::string>();
}

std::vector<double> ConfigReader::numbers(Key key) const {
  std::vector<double> out;
  if (!has(key)) return out;
  if (gguf_) return checkpoint_.metadata.numbers(full_key(key));
  const Json* value = find_json(key);
  if (!value->is_array()) refuse(key, value->dump(), "a list of numbers");
  for (const Json& item : *value) {
    if (!item.is_number()) refuse(key, item.dump(), "a number");
    out.push_back(item.get<double>());
  }
  return out;
}

std::vector<std::string> ConfigReader::texts(Key key) const {
  std::vector<std::string> out;
  if (!has(key)) return out;
  if (gguf_) return checkpoint_.metadata.strings(full_key(key));
  const Json* value = find_json(key);
  if (!value->is_array()) refuse(key, value->dump(), "a list of strings");
  for (const Json& item : *value) {
    if (!item.is_string()) refuse(key, item.dump(), "a string");
    out.push_back(item.get<std::string>());
  }
  return out;
}

}  // namespace junto

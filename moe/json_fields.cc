#include "moe/json_fields.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/error.h"

namespace junto {

JsonFields::JsonFields(const Json& json, std::string_view where, std::string_view path)
    : json_(json), where_(where), path_(path) {
  if (!json.is_object()) fail_here("is " + quoted(json) + ", expected an object");
}

const Json* JsonFields::any(std::string_view key) {
  asked_.push_back(key);
  const auto it = json_.find(key);
  return it == json_.end() ? nullptr : &*it;
}

std::optional<std::int64_t> JsonFields::integer(std::string_view key, std::int64_t min, std::int64_t max) {
  const Json* value = any(key);
  if (value == nullptr) return std::nullopt;
  const bool fits = value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(max)) &&
                    value->get<std::int64_t>() >= min && value->get<std::int64_t>() <= max;
  if (!fits) fail_at(key, quoted(*value) + ", expected " + std::to_string(min) + ".." + std::to_string(max));
  return value->get<std::int64_t>();
}

std::optional<float> JsonFields::number(std::string_view key, float min, float max) {
  const Json* value = any(key);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= static_cast<double>(min) && number <= static_cast<double>(max))) {
    fail_at(key, quoted(*value) + ", expected a number " + json_number(min).dump() + ".." + json_number(max).dump());
  }
  return static_cast<float>(number);
}

std::optional<bool> JsonFields::boolean(std::string_view key) {
  const Json* value = any(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail_at(key, quoted(*value) + ", expected true or false");
  return value->get<bool>();
}

std::optional<std::size_t> JsonFields::choice(std::string_view key, std::span<const std::string_view> names) {
  const Json* value = any(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail_at(key, quoted(*value) + ", expected a name");
  const std::string& word = value->get_ref<const std::string&>();
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == word) return i;
  }
  fail_at(key, quoted(*value) + suggestion(word, names));
}

void JsonFields::finish() const {
  for (const auto& item : json_.items()) {
    bool known = false;
    for (const std::string_view key : asked_) known = known || key == item.key();
    if (!known) fail_here("unknown key \"" + printable(item.key()) + "\"" + suggestion(item.key(), asked_));
  }
}

void JsonFields::fail_at(std::string_view key, std::string_view found_and_expected) const {
  fail_here(std::string(key) + " is " + std::string(found_and_expected));
}

void JsonFields::fail_here(std::string_view what) const {
  fail(where_, path_ + ": " + std::string(what));
}

std::string quoted(const Json& json) {
  // Containers are named, not printed: they may be large.
  if (json.is_object()) return "an object";
  if (json.is_array()) return "an array";
  return printable(json.dump(-1, ' ', true, Json::error_handler_t::replace));
}

std::string suggestion(std::string_view word, std::span<const std::string_view> names) {
  const std::string_view near = word.size() > 64 ? std::string_view() : nearest(word, names);
  if (!near.empty()) return ", did you mean \"" + std::string(near) + "\"?";
  std::string list;
  for (const std::string_view name : names) list += (list.empty() ? "" : ", ") + std::string(name);
  return ", expected one of " + list;
}

Json json_number(float value) {
  char text[32];
  const std::to_chars_result end = std::to_chars(text, text + sizeof text - 1, value);
  *end.ptr = 0;
  const double shortest = std::strtod(text, nullptr);
  return static_cast<float>(shortest) == value ? shortest : static_cast<double>(value);
}

}  // namespace junto

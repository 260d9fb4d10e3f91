#include "format/tokenizer/json_fields.h"

#include <cmath>

#include "base/error.h"

namespace junto::text {

void Field::refuse(const std::string& expected) const {
  const std::string found = json.is_structured() ? "an " + std::string(json.type_name())
                                                 : printable(json.dump(-1, ' ', true, Json::error_handler_t::replace));
  fail(where, (path.empty() ? "the file" : path) + " is " + found + ", expected " + expected);
}

bool Field::has(std::string_view key) const {
  const auto found = object().find(key);
  return found != json.end() && !found->is_null();
}

Field Field::at(std::string_view key) const {
  const auto found = object().find(key);
  const std::string name = path.empty() ? std::string(key) : path + "." + std::string(key);
  if (found == json.end()) fail(where, name + " is missing");
  return {*found, where, name};
}

Field Field::item(std::size_t index) const {
  return {json[index], where, path + "[" + std::to_string(index) + "]"};
}

const std::string& Field::string() const {
  if (!json.is_string()) refuse("a string");
  return json.get_ref<const std::string&>();
}

std::string Field::string_or(std::string_view key, std::string_view otherwise) const {
  return has(key) ? at(key).string() : std::string(otherwise);
}

bool Field::boolean_or(std::string_view key, bool otherwise) const {
  if (!has(key)) return otherwise;
  const Field field = at(key);
  if (!field.json.is_boolean()) field.refuse("true or false");
  return field.json.get<bool>();
}

std::int64_t Field::integer(std::int64_t low, std::int64_t high) const {
  const auto expected = [&] { return std::to_string(low) + ".." + std::to_string(high); };
  if (!json.is_number_integer()) refuse("an integer " + expected());
  if (json.is_number_unsigned() && json.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
    refuse(expected());
  const auto value = json.get<std::int64_t>();
  if (value < low || value > high) refuse(expected());
  return value;
}

double Field::finite() const {
  if (!json.is_number() || !std::isfinite(json.get<double>())) refuse("a finite number");
  return json.get<double>();
}

const Json& Field::array() const {
  if (!json.is_array()) refuse("an array");
  return json;
}

const Json& Field::object() const {
  if (!json.is_object()) refuse("an object");
  return json;
}

}  // namespace junto::text

#include "moe/json_fields.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/error.h"

namespace junto {

JsonFields::JsonFields(const Json& json, std::string_view where, std::string_view path)
    : json_(json), where_(where), path_(path), node_(SchemaRecording::node_of(json)) {
  if (node_ != nullptr) {
    node_->objects.push_back(std::make_unique<SchemaNode::Object>());
    object_ = node_->objects.back().get();
  } else if (!json.is_object()) {
    fail_here("is " + quoted(json) + ", expected an object");
  }
}

/// Where a schema is recorded, the field's node, made where it is new.
SchemaNode* JsonFields::noted(std::string_view key, std::string_view about) {
  if (object_ == nullptr) return nullptr;
  for (const auto& [name, node] : object_->properties) {
    if (name != key) continue;
    if (node->about.empty()) node->about = about;
    return node.get();
  }
  object_->properties.emplace_back(key, SchemaRecording::make_node(about));
  return object_->properties.back().second.get();
}

void JsonFields::note_default(std::string_view key, OrderedJson value) {
  if (SchemaNode* node = noted(key, {})) node->keywords["default"] = std::move(value);
}

const Json* JsonFields::any(std::string_view key, std::string_view about) {
  if (const SchemaNode* node = noted(key, about)) return &node->placeholder;
  asked_.push_back(key);
  const auto it = json_.find(key);
  return it == json_.end() ? nullptr : &*it;
}

const Json* JsonFields::by_hand(std::string_view key, std::string_view schema, std::string_view about) {
  if (SchemaNode* node = noted(key, about)) {
    node->keywords.update(OrderedJson::parse(schema));
    return nullptr;
  }
  return any(key);
}

std::vector<const Json*> JsonFields::list(std::string_view key, std::string_view expected, std::string_view about,
                                          std::size_t min_size, Elements elements) {
  if (SchemaNode* node = noted(key, about)) {
    if (min_size > 0) node->keywords["minItems"] = min_size;
    node->items = SchemaRecording::make_node("");
    if (elements == Elements::kObjectsAndTexts) node->items->keywords["type"] = "string";
    return {&node->items->placeholder};
  }
  std::vector<const Json*> out;
  const Json* value = any(key);
  if (value == nullptr) return out;
  if (!value->is_array()) fail_at(key, quoted(*value) + ", expected " + std::string(expected));
  if (value->size() < min_size) fail_at(key, "too short, expected " + std::string(expected));
  for (const Json& element : *value) out.push_back(&element);
  return out;
}

std::optional<std::int64_t> JsonFields::integer(std::string_view key, std::int64_t min, std::int64_t max,
                                                std::string_view about) {
  if (SchemaNode* node = noted(key, about)) {
    node->keywords.update(OrderedJson{{"type", "integer"}, {"minimum", min}, {"maximum", max}});
    return std::nullopt;
  }
  const Json* value = any(key);
  if (value == nullptr) return std::nullopt;
  const bool fits = value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(max)) &&
                    value->get<std::int64_t>() >= min && value->get<std::int64_t>() <= max;
  if (!fits) fail_at(key, quoted(*value) + ", expected " + std::to_string(min) + ".." + std::to_string(max));
  return value->get<std::int64_t>();
}

std::optional<float> JsonFields::number(std::string_view key, float min, float max, std::string_view about) {
  // As the decimals that errors and schemas show.
  const Json low = json_number(min), high = json_number(max);
  if (SchemaNode* node = noted(key, about)) {
    node->keywords.update(
        OrderedJson{{"type", "number"}, {"minimum", low.get<double>()}, {"maximum", high.get<double>()}});
    return std::nullopt;
  }
  const Json* value = any(key);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= low.get<double>() && number <= high.get<double>())) {
    fail_at(key, quoted(*value) + ", expected a number " + low.dump() + ".." + high.dump());
  }
  return static_cast<float>(number);
}

std::optional<bool> JsonFields::boolean(std::string_view key, std::string_view about) {
  if (SchemaNode* node = noted(key, about)) {
    node->keywords["type"] = "boolean";
    return std::nullopt;
  }
  const Json* value = any(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail_at(key, quoted(*value) + ", expected true or false");
  return value->get<bool>();
}

std::optional<std::string> JsonFields::text(std::string_view key, std::string_view about, std::size_t min_length) {
  if (SchemaNode* node = noted(key, about)) {
    node->keywords["type"] = "string";
    if (min_length > 0) node->keywords["minLength"] = min_length;
    return std::nullopt;
  }
  const Json* value = any(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail_at(key, quoted(*value) + ", expected a text");
  const std::string& found = value->get_ref<const std::string&>();
  if (found.size() < min_length) fail_at(key, quoted(*value) + ", expected a longer text");
  return found;
}

std::optional<std::size_t> JsonFields::choice(std::string_view key, std::span<const std::string_view> names,
                                              std::string_view about) {
  if (SchemaNode* node = noted(key, about)) {
    node->keywords["enum"] = OrderedJson::array();
    for (const std::string_view name : names) node->keywords["enum"].push_back(name);
    return std::nullopt;
  }
  const Json* value = any(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail_at(key, quoted(*value) + ", expected a name");
  const std::string& word = value->get_ref<const std::string&>();
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == word) return i;
  }
  fail_at(key, quoted(*value) + suggestion(word, names));
}

void JsonFields::read(std::string_view key, std::int64_t min, std::int64_t max, std::int64_t& value,
                      std::string_view about) {
  const auto found = integer(key, min, max, about);
  note_default(key, value);
  value = found.value_or(value);
}

void JsonFields::read(std::string_view key, std::int64_t min, std::int64_t max, int& value, std::string_view about) {
  std::int64_t wide = value;
  read(key, min, max, wide, about);
  value = static_cast<int>(wide);
}

void JsonFields::read(std::string_view key, float min, float max, float& value, std::string_view about) {
  const auto found = number(key, min, max, about);
  note_default(key, json_number(value).get<double>());
  value = found.value_or(value);
}

void JsonFields::read(std::string_view key, bool& value, std::string_view about) {
  const auto found = boolean(key, about);
  note_default(key, value);
  value = found.value_or(value);
}

void JsonFields::read(std::string_view key, std::string& value, std::string_view about) {
  if (auto found = text(key, about)) value = std::move(*found);
}

void JsonFields::required(std::string_view key, std::string_view expected) {
  if (object_ != nullptr) {
    object_->required.emplace_back(key);
  } else if (!json_.contains(key)) {
    fail_at(key, "missing" + std::string(expected));
  }
}

std::size_t JsonFields::variant(std::string_view key, std::span<const std::string_view> names,
                                const std::function<void(std::size_t)>& read_rest) {
  for (std::size_t i = 0; recording() && i < names.size(); ++i) {
    if (i > 0) {
      node_->objects.push_back(std::make_unique<SchemaNode::Object>());
      object_ = node_->objects.back().get();
    }
    noted(key, {})->keywords["const"] = names[i];
    required(key);
    read_rest(i);
  }
  if (recording()) return 0;
  const std::optional<std::size_t> index = choice(key, names);
  if (!index) fail_here("has no \"" + std::string(key) + "\"" + suggestion("", names));
  read_rest(*index);
  return *index;
}

void JsonFields::version(int number) {
  if (SchemaNode* node = noted("version", "Of this format")) {
    node->keywords["const"] = number;
    required("version");
    return;
  }
  const Json* found = any("version");
  if (found != nullptr && found->is_number_integer() && *found == number) return;
  fail_at("version",
          (found == nullptr ? "missing" : quoted(*found)) + ", this build reads version " + std::to_string(number));
}

void JsonFields::define(std::string_view name) {
  if (node_ != nullptr) node_->definition = name;
}

bool JsonFields::finish() const {
  if (recording()) return false;
  for (const auto& item : json_.items()) {
    bool known = false;
    for (const std::string_view key : asked_) known = known || key == item.key();
    if (!known) fail_here("unknown key \"" + printable(item.key()) + "\"" + suggestion(item.key(), asked_));
  }
  return true;
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

#include "format/jinja/arguments.h"

#include <algorithm>

namespace junto::jinja {

const Value* Arguments::find_keyword(std::string_view name) const {
  for (const auto& [key, value] : keyword) {
    if (key == name) return &value;
  }
  return nullptr;
}

Bound::Bound(std::string_view function, const Arguments& arguments, std::initializer_list<std::string_view> parameters,
             std::size_t required)
    : function_(function), names_(parameters), values_(parameters.size(), nullptr) {
  if (arguments.positional.size() > names_.size()) {
    raise(function_ + "() takes at most " + std::to_string(names_.size()) + " arguments, got " +
          std::to_string(arguments.positional.size()));
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.keyword) {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end()) raise(function_ + "() got an unexpected keyword argument '" + name + "'");
    const Value*& place = values_[static_cast<std::size_t>(found - names_.begin())];
    if (place) raise(function_ + "() got multiple values for argument '" + name + "'");
    place = &value;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (!values_[i]) raise(function_ + "() missing required argument: '" + std::string(names_[i]) + "'");
  }
}

void Bound::wrong_type(std::size_t i, std::string_view expected) const {
  require_defined(*values_[i]);
  raise(function_ + "(): argument '" + std::string(names_[i]) + "' is " + type_name(*values_[i]) + ", expected " +
        std::string(expected));
}

bool Bound::flag(std::size_t i, bool fallback) const {
  return values_[i] ? truthy(*values_[i]) : fallback;
}

std::int64_t Bound::integer(std::size_t i, std::int64_t fallback) const {
  std::int64_t value = fallback;
  if (values_[i] && !as_integer(*values_[i], value)) wrong_type(i, "int");
  return value;
}

std::string_view Bound::text(std::size_t i, std::string_view fallback) const {
  if (!values_[i]) return fallback;
  const Text* text = as_text(*values_[i]);
  if (!text) wrong_type(i, "str");
  return text->utf8;
}

}  // namespace junto::jinja

// Arguments of a call, and their binding to the parameters of a built-in function.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/jinja/value.h"

namespace junto::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;

  const Value* find_keyword(std::string_view name) const;
};

/// Arguments by parameter. Throws Error for unknown names, too many arguments, one given twice, or fewer than
/// `required`.
class Bound {
 public:
  Bound(std::string_view function, const Arguments& arguments, std::initializer_list<std::string_view> parameters,
        std::size_t required = 0);

  /// The argument of parameter `i`, or null where it was not given.
  const Value* operator[](std::size_t i) const { return values_[i]; }
  const Value& at(std::size_t i) const { return *values_[i]; }

  // With a default where it was not given; Error where the type does not fit.
  bool flag(std::size_t i, bool fallback) const;
  std::int64_t integer(std::size_t i, std::int64_t fallback) const;
  std::string_view text(std::size_t i, std::string_view fallback) const;
  bool given(std::size_t i) const { return values_[i] && !is_none(*values_[i]); }  // and not None

 private:
  [[noreturn]] void wrong_type(std::size_t i, std::string_view expected) const;

  std::string function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
};

}  // namespace junto::jinja

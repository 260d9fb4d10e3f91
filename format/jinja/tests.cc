// Tests: what may follow `is`.
#include <cmath>

#include "format/jinja/builtins.h"
#include "format/jinja/python_text.h"
#include "format/jinja/renderer.h"

namespace junto::jinja {
namespace {

const Value& operand(std::string_view name, const Arguments& arguments) {
  if (arguments.positional.size() != 1 || !arguments.keyword.empty()) {
    raise("test '" + std::string(name) + "' takes one argument, got " +
          std::to_string(arguments.positional.size() + arguments.keyword.size()));
  }
  return arguments.positional[0];
}

template <bool (*Holds)(const Value&)>
bool plain(Renderer&, const Value& value, const Arguments& arguments) {
  if (!arguments.positional.empty() || !arguments.keyword.empty()) raise("this test takes no argument");
  return Holds(value);
}

bool is_defined(const Value& value) {
  return !is_undefined(value);
}
bool is_string(const Value& value) {
  return as_text(value) != nullptr;
}
bool is_markup(const Value& value) {
  return as_text(value) && as_text(value)->markup;
}
bool is_boolean(const Value& value) {
  return std::holds_alternative<bool>(value);
}
bool is_true(const Value& value) {
  return is_boolean(value) && std::get<bool>(value);
}
bool is_false(const Value& value) {
  return is_boolean(value) && !std::get<bool>(value);
}
bool is_integer(const Value& value) {
  return std::holds_alternative<std::int64_t>(value);
}
bool is_float(const Value& value) {
  return std::holds_alternative<double>(value);
}
bool is_number(const Value& value) {
  return is_boolean(value) || is_integer(value) || is_float(value);
}
bool is_mapping(const Value& value) {
  return as_dict(value) != nullptr;
}
// What has a len() and takes an index: Undefined does, views do not.
bool is_sequence(const Value& value) {
  return is_undefined(value) || is_string(value) || as_sequence(value) || is_mapping(value) ||
         is_kind(value, Kind::kRange);
}
bool is_callable(const Value& value) {
  if (is_undefined(value)) return true;
  const Object* object = as_object(value);
  return object && (object->kind == Kind::kFunction || object->kind == Kind::kMethod || object->kind == Kind::kMacro ||
                    object->kind == Kind::kLoop || object->kind == Kind::kJoiner);
}

template <bool (*Is)(char32_t), bool (*IsOther)(char32_t)>
bool all_cased(Renderer& renderer, const Value& value, const Arguments&) {
  bool some = false;
  for (const char32_t c : decode_utf8(str(renderer.heap(), value))) {
    if (IsOther(c) || is_titlecase(c)) return false;
    some |= Is(c);
  }
  return some;
}

bool remainder_is(const Value& value, const Value& divisor, std::int64_t expected) {
  std::int64_t i = 0, j = 0;
  double x = 0, y = 0;
  if (as_integer(value, i) && as_integer(divisor, j)) {
    if (j == 0) raise("integer modulo by zero");
    const std::int64_t rest = j == -1 ? 0 : i % j;
    return (rest != 0 && (rest < 0) != (j < 0) ? rest + j : rest) == expected;
  }
  if (!as_real(value, x) || !as_real(divisor, y)) {
    require_defined(value);
    require_defined(divisor);
    raise("unsupported operand type(s) for %: '" + type_name(value) + "' and '" + type_name(divisor) + "'");
  }
  if (y == 0) raise("float modulo");
  const double rest = std::fmod(x, y);
  return (rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest) == static_cast<double>(expected);
}

bool test_odd(Renderer&, const Value& value, const Arguments&) {
  return remainder_is(value, std::int64_t{2}, 1);
}
bool test_even(Renderer&, const Value& value, const Arguments&) {
  return remainder_is(value, std::int64_t{2}, 0);
}
bool test_divisibleby(Renderer&, const Value& value, const Arguments& arguments) {
  return remainder_is(value, operand("divisibleby", arguments), 0);
}

bool test_eq(Renderer& renderer, const Value& value, const Arguments& arguments) {
  return equal(renderer.heap(), value, operand("eq", arguments));
}
bool test_ne(Renderer& renderer, const Value& value, const Arguments& arguments) {
  return !equal(renderer.heap(), value, operand("ne", arguments));
}
bool test_lt(Renderer& renderer, const Value& value, const Arguments& arguments) {
  return less(renderer.heap(), value, operand("lt", arguments), "<");
}
bool test_gt(Renderer& renderer, const Value& value, const Arguments& arguments) {
  return less(renderer.heap(), operand("gt", arguments), value, ">");
}
bool test_le(Renderer& renderer, const Value& value, const Arguments& arguments) {
  return less(renderer.heap(), value, operand("le", arguments), "<=") || test_eq(renderer, value, arguments);
}
bool test_ge(Renderer& renderer, const Value& value, const Arguments& arguments) {
  return less(renderer.heap(), operand("ge", arguments), value, ">=") || test_eq(renderer, value, arguments);
}
bool test_in(Renderer& renderer, const Value& value, const Arguments& arguments) {
  return contains(renderer.heap(), operand("in", arguments), value);
}

// Identity. Numbers and text have none here: they are the same where type and value are.
bool test_sameas(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Value& other = operand("sameas", arguments);
  if (value.index() != other.index()) return false;
  if (as_object(value)) return as_object(value) == as_object(other);
  return equal(renderer.heap(), value, other);
}

bool test_filter(Renderer&, const Value& value, const Arguments&) {
  return as_text(value) && find_filter(as_text(value)->utf8);
}
bool test_test(Renderer&, const Value& value, const Arguments&) {
  return as_text(value) && find_test(as_text(value)->utf8);
}

struct TestRow {
  std::string_view name;
  Test test;
};
constexpr TestRow kTests[] = {{"!=", test_ne},
                              {"<", test_lt},
                              {"<=", test_le},
                              {"==", test_eq},
                              {">", test_gt},
                              {">=", test_ge},
                              {"boolean", plain<is_boolean>},
                              {"callable", plain<is_callable>},
                              {"defined", plain<is_defined>},
                              {"divisibleby", test_divisibleby},
                              {"eq", test_eq},
                              {"equalto", test_eq},
                              {"escaped", plain<is_markup>},
                              {"even", test_even},
                              {"false", plain<is_false>},
                              {"filter", test_filter},
                              {"float", plain<is_float>},
                              {"ge", test_ge},
                              {"greaterthan", test_gt},
                              {"gt", test_gt},
                              {"in", test_in},
                              {"integer", plain<is_integer>},
                              {"iterable", plain<is_iterable>},
                              {"le", test_le},
                              {"lessthan", test_lt},
                              {"lower", all_cased<is_lower, is_upper>},
                              {"lt", test_lt},
                              {"mapping", plain<is_mapping>},
                              {"ne", test_ne},
                              {"none", plain<is_none>},
                              {"number", plain<is_number>},
                              {"odd", test_odd},
                              {"sameas", test_sameas},
                              {"sequence", plain<is_sequence>},
                              {"string", plain<is_string>},
                              {"test", test_test},
                              {"true", plain<is_true>},
                              {"undefined", plain<is_undefined>},
                              {"upper", all_cased<is_upper, is_lower>}};

}  // namespace

Test find_test(std::string_view name) {
  for (const TestRow& row : kTests) {
    if (row.name == name) return row.test;
  }
  return nullptr;
}

}  // namespace junto::jinja

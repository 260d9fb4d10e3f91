#include "cli/command.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "base/error.h"

namespace junto {
namespace {

std::string plain_number(double value) {
  char text[32];
  const bool whole = std::abs(value) < 1e15 && value == std::round(value);
  const auto end = whole ? std::to_chars(text, text + sizeof text, static_cast<std::int64_t>(value)).ptr
                         : std::to_chars(text, text + sizeof text, value).ptr;
  return std::string(text, end);
}

template <class Number>
std::string expected(const Argument& argument) {
  const char* kind = std::is_floating_point_v<Number> ? "a number" : "a whole number";
  const bool low = argument.low > -1e300 || std::is_unsigned_v<Number>, high = argument.high < 1e300;
  const std::string least = plain_number(std::is_unsigned_v<Number> ? std::max(0.0, argument.low) : argument.low);
  if (low && high) return std::string(kind) + " from " + least + " to " + plain_number(argument.high);
  if (low) return std::string(kind) + ", at least " + least;
  if (high) return std::string(kind) + ", at most " + plain_number(argument.high);
  return kind;
}

template <class Number>
Number parse_number(const Argument& argument, std::string_view name, std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const double number = static_cast<double>(value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number) || number < argument.low ||
      number > argument.high) {
    fail("", std::string(name) + " is " + printable(text) + ", expected " + expected<Number>(argument));
  }
  return value;
}

void check_choice(const Argument& argument, std::string_view name, std::string_view text) {
  const auto& choices = argument.choices;
  if (choices.empty() || std::find(choices.begin(), choices.end(), text) != choices.end()) return;
  std::string all;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    all += (i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ") + choices[i];
  }
  fail("", std::string(name) + " is " + printable(text) + ", expected " + all);
}

template <class T>
struct Inner {
  using type = T;
};
template <class T>
struct Inner<std::optional<T>> {
  using type = T;
};

}  // namespace

std::vector<std::string> names_of(const Argument& argument) {
  std::vector<std::string> names;
  std::string_view rest = argument.name;
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    names.emplace_back(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return names;
}

bool is_positional(const Argument& argument) {
  return argument.name[0] != '-';
}

void set_argument(const Argument& argument, std::string_view name, std::string_view text) {
  check_choice(argument, name, text);
  std::visit(
      [&](auto* target) {
        using Target = std::remove_pointer_t<decltype(target)>;
        using Value = typename Inner<Target>::type;
        if constexpr (std::is_same_v<Target, bool>) {
          *target = true;
        } else if constexpr (std::is_same_v<Target, std::vector<std::string>>) {
          target->emplace_back(text);
        } else if constexpr (std::is_same_v<Value, std::string>) {
          *target = std::string(text);
        } else {
          *target = parse_number<Value>(argument, name, text);
        }
      },
      argument.target);
}

}  // namespace junto

#include "format/metadata.h"

#include <charconv>
#include <limits>
#include <type_traits>

#include "base/error.h"

namespace junto {
namespace {

template <class T>
constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;
template <class T>
constexpr bool kIsNumber = kIsInteger<T> || std::is_floating_point_v<T>;

template <class T>
struct ElementOf {
  using type = void;
};
template <class T>
struct ElementOf<std::vector<T>> {
  using type = T;
};
/// T of a vector<T>; void for scalars.
template <class V>
using Element = typename ElementOf<std::decay_t<V>>::type;

template <class T>
constexpr const char* type_name() {
  if constexpr (std::is_same_v<T, std::uint8_t>) return "u8";
  if constexpr (std::is_same_v<T, std::int8_t>) return "i8";
  if constexpr (std::is_same_v<T, std::uint16_t>) return "u16";
  if constexpr (std::is_same_v<T, std::int16_t>) return "i16";
  if constexpr (std::is_same_v<T, std::uint32_t>) return "u32";
  if constexpr (std::is_same_v<T, std::int32_t>) return "i32";
  if constexpr (std::is_same_v<T, std::uint64_t>) return "u64";
  if constexpr (std::is_same_v<T, std::int64_t>) return "i64";
  if constexpr (std::is_same_v<T, float>) return "f32";
  if constexpr (std::is_same_v<T, double>) return "f64";
  if constexpr (std::is_same_v<T, bool>) return "bool";
  if constexpr (std::is_same_v<T, std::string>) return "string";
  return "array";
}

template <class T>
std::string number_text(T value) {
  char buffer[64];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return error == std::errc() ? std::string(buffer, end) : std::string("?");
}

template <class T>
bool fits_int64(T value) {
  if constexpr (std::is_same_v<T, std::uint64_t>)
    return value <= std::uint64_t{std::numeric_limits<std::int64_t>::max()};
  return true;
}

bool is_scalar(const MetadataValue& value) {
  return std::visit([](const auto& v) { return std::is_void_v<Element<decltype(v)>>; }, value);
}

// All numbers of `value` (an array, or a scalar as an array of one) as `Out`; false where it holds anything else.
template <class Out>
bool collect(const MetadataValue& value, std::vector<Out>& out) {
  constexpr bool kIntegersOnly = std::is_same_v<Out, std::int64_t>;
  return std::visit(
      [&](const auto& v) {
        using V = std::decay_t<decltype(v)>;
        using E = std::conditional_t<std::is_void_v<Element<V>>, V, Element<V>>;
        if constexpr (kIntegersOnly ? kIsInteger<E> : kIsNumber<E>) {
          const auto append = [&](E element) {
            if (kIntegersOnly && !fits_int64(element)) return false;
            out.push_back(static_cast<Out>(element));
            return true;
          };
          if constexpr (std::is_void_v<Element<V>>) {
            return append(v);
          } else {
            out.reserve(v.size());
            for (const E element : v) {
              if (!append(element)) return false;
            }
            return true;
          }
        } else {
          return false;
        }
      },
      value);
}

}  // namespace

std::string describe(const MetadataValue& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        using V = std::decay_t<decltype(v)>;
        if constexpr (!std::is_void_v<Element<V>>) {
          return std::string(type_name<Element<V>>()) + "[" + std::to_string(v.size()) + "]";
        } else if constexpr (std::is_same_v<V, std::string>) {
          return "string \"" + printable(v) + "\"";
        } else if constexpr (std::is_same_v<V, bool>) {
          return v ? "bool true" : "bool false";
        } else {
          return std::string(type_name<V>()) + " " + number_text(v);
        }
      },
      value);
}

const MetadataValue* Metadata::find(std::string_view key) const {
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &entries_[found->second].second;
}

void Metadata::refuse(std::string_view key, const MetadataValue& found, std::string_view expected) const {
  fail(file_, printable(key) + " is " + describe(found) + ", expected " + std::string(expected));
}

void Metadata::missing(std::string_view key, std::string_view expected) const {
  fail(file_, printable(key) + " is missing, expected " + std::string(expected));
}

std::optional<std::int64_t> Metadata::integer(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (!value) return std::nullopt;
  std::vector<std::int64_t> result;
  if (!is_scalar(*value) || !collect(*value, result)) {
    refuse(key, *value, "an integer");
  }
  return result[0];
}

std::int64_t Metadata::integer(std::string_view key, std::int64_t min, std::int64_t max) const {
  const auto expected = [&] { return "an integer in " + std::to_string(min) + ".." + std::to_string(max); };
  const MetadataValue* value = find(key);
  if (!value) missing(key, expected());
  const std::optional<std::int64_t> result = integer(key);
  if (*result < min || *result > max) refuse(key, *value, expected());
  return *result;
}

std::optional<double> Metadata::number(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (!value) return std::nullopt;
  std::vector<double> result;
  if (!is_scalar(*value) || !collect(*value, result)) {
    refuse(key, *value, "a number");
  }
  return result[0];
}

double Metadata::number(std::string_view key, double min, double max) const {
  const auto expected = [&] { return "a number in " + number_text(min) + ".." + number_text(max); };
  const MetadataValue* value = find(key);
  if (!value) missing(key, expected());
  const std::optional<double> result = number(key);
  if (!(*result >= min && *result <= max)) refuse(key, *value, expected());
  return *result;
}

std::optional<bool> Metadata::boolean(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (!value) return std::nullopt;
  if (!std::holds_alternative<bool>(*value)) refuse(key, *value, "a bool");
  return std::get<bool>(*value);
}

std::optional<std::string> Metadata::string(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (!value) return std::nullopt;
  if (!std::holds_alternative<std::string>(*value)) refuse(key, *value, "a string");
  return std::get<std::string>(*value);
}

std::string Metadata::required_string(std::string_view key) const {
  std::optional<std::string> result = string(key);
  if (!result) missing(key, "a string");
  return *std::move(result);
}

std::vector<std::int64_t> Metadata::integers(std::string_view key) const {
  std::vector<std::int64_t> result;
  const MetadataValue* value = find(key);
  if (value && !collect(*value, result)) refuse(key, *value, "an array of integers");
  return result;
}

std::vector<double> Metadata::numbers(std::string_view key) const {
  std::vector<double> result;
  const MetadataValue* value = find(key);
  if (value && !collect(*value, result)) refuse(key, *value, "an array of numbers");
  return result;
}

std::vector<bool> Metadata::booleans(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (!value) return {};
  if (const bool* one = std::get_if<bool>(value)) return {*one};
  if (!std::holds_alternative<std::vector<bool>>(*value)) refuse(key, *value, "an array of bools");
  return std::get<std::vector<bool>>(*value);
}

const std::vector<std::string>& Metadata::strings(std::string_view key) const {
  static const std::vector<std::string> kNone;
  const MetadataValue* value = find(key);
  if (!value) return kNone;
  const auto* array = std::get_if<std::vector<std::string>>(value);
  if (!array) refuse(key, *value, "an array of strings");
  return *array;
}

bool Metadata::add(std::string key, MetadataValue value) {
  if (!index_.try_emplace(key, entries_.size()).second) return false;
  entries_.emplace_back(std::move(key), std::move(value));
  return true;
}

void Metadata::set(std::string_view key, MetadataValue value) {
  const auto found = index_.find(key);
  if (found == index_.end()) {
    add(std::string(key), std::move(value));
  } else {
    entries_[found->second].second = std::move(value);
  }
}

bool Metadata::erase(std::string_view key) {
  const auto found = index_.find(key);
  if (found == index_.end()) return false;
  const std::size_t position = found->second;
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(position));
  index_.erase(found);
  for (auto& [name, place] : index_) {
    if (place > position) --place;
  }
  return true;
}

}  // namespace junto

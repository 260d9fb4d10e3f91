// Key-value metadata of a GGUF file: typed values in file order, and getters that check what they return.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace junto {

struct MetadataArray;

/// One value. The scalar and string types are those of GGUF; arrays are stored unboxed (150,000 token strings are one
/// vector); an array of arrays is a vector of MetadataArray.
using MetadataValue =
    std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, float, bool,
                 std::string, std::uint64_t, std::int64_t, double, std::vector<std::uint8_t>, std::vector<std::int8_t>,
                 std::vector<std::uint16_t>, std::vector<std::int16_t>, std::vector<std::uint32_t>,
                 std::vector<std::int32_t>, std::vector<float>, std::vector<bool>, std::vector<std::string>,
                 std::vector<std::uint64_t>, std::vector<std::int64_t>, std::vector<double>,
                 std::vector<MetadataArray>>;

/// An array inside an array; `value` holds one of the vectors.
struct MetadataArray {
  MetadataValue value;
  bool operator==(const MetadataArray& other) const = default;
};

/// "u32 8", "string \"llama\"", "i32[49152]": type and value (or length) for listings and errors.
std::string describe(const MetadataValue& value);

/// Ordered keys with values. Getters throw Error "file: key is X, expected ..." for a value of the wrong type or range;
/// a missing key is an empty optional or empty array where the getter has no required form.
class Metadata {
 public:
  using Entry = std::pair<std::string, MetadataValue>;

  Metadata() = default;
  /// `file` is what errors name.
  explicit Metadata(std::string file) : file_(std::move(file)) {}

  const std::string& file() const { return file_; }
  /// All entries in file order.
  const std::vector<Entry>& entries() const { return entries_; }
  bool empty() const { return entries_.empty(); }
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  /// The value, or nullptr where absent.
  const MetadataValue* find(std::string_view key) const;

  /// Any integer type (not bool, not float); Error where it does not fit int64.
  std::optional<std::int64_t> integer(std::string_view key) const;
  /// Required, and within [min, max].
  std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max) const;
  /// Any integer or floating type.
  std::optional<double> number(std::string_view key) const;
  /// Required, and within [min, max] (a NaN is not).
  double number(std::string_view key, double min, double max) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;
  std::string required_string(std::string_view key) const;
  /// An array of any integer type; a scalar counts as an array of one; empty where absent.
  std::vector<std::int64_t> integers(std::string_view key) const;
  /// An array of any integer or floating type; a scalar counts as an array of one; empty where absent.
  std::vector<double> numbers(std::string_view key) const;
  std::vector<bool> booleans(std::string_view key) const;
  /// The array in place (valid until this object changes); empty where absent.
  const std::vector<std::string>& strings(std::string_view key) const;

  /// Replaces the value in place, or appends the key.
  void set(std::string_view key, MetadataValue value);
  /// Appends; false (and no change) where the key exists already.
  bool add(std::string key, MetadataValue value);
  /// True where the key existed.
  bool erase(std::string_view key);

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  [[noreturn]] void refuse(std::string_view key, const MetadataValue& found, std::string_view expected) const;
  [[noreturn]] void missing(std::string_view key, std::string_view expected) const;

  std::string file_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::size_t, Hash, std::equal_to<>> index_;
};

}  // namespace junto

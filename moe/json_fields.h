// Reads a JSON object field by field: each value is checked, and what nobody asked for is refused by name. The same
// questions make the object's JSON Schema where one is recorded (moe/json_schema.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/json.h"
#include "moe/json_schema.h"

namespace junto {

/// One object. `path` names it inside `where` ("router", "policy: layers.4-7"); errors read `where: path: key is ...`.
/// `about` describes a field in a schema. While one is recorded there are no values: fields keep their defaults, and
/// finish() says so.
class JsonFields {
 public:
  /// Throws Error where `json` is no object. `json` must outlive this.
  JsonFields(const Json& json, std::string_view where, std::string_view path);

  /// The value, or nothing where the key is absent. All throw Error on another type or a value out of range.
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t min, std::int64_t max,
                                      std::string_view about = {});
  std::optional<float> number(std::string_view key, float min, float max, std::string_view about = {});
  std::optional<bool> boolean(std::string_view key, std::string_view about = {});
  std::optional<std::string> text(std::string_view key, std::string_view about = {}, std::size_t min_length = 0);
  /// Index of the value, a string, in `names`; an unknown one is refused with the nearest.
  std::optional<std::size_t> choice(std::string_view key, std::span<const std::string_view> names,
                                    std::string_view about = {});

  /// The same into `value`, which holds the default.
  void read(std::string_view key, std::int64_t min, std::int64_t max, std::int64_t& value, std::string_view about);
  void read(std::string_view key, std::int64_t min, std::int64_t max, int& value, std::string_view about);
  void read(std::string_view key, float min, float max, float& value, std::string_view about);
  void read(std::string_view key, bool& value, std::string_view about);
  void read(std::string_view key, std::string& value, std::string_view about);
  /// Names in the order of the enumerators.
  template <class Enum>
  requires std::is_enum_v<Enum>
  void read(std::string_view key, std::span<const std::string_view> names, Enum& value, std::string_view about) {
    const std::optional<std::size_t> index = choice(key, names, about);
    note_default(key, names[static_cast<std::size_t>(value)]);
    if (index) value = static_cast<Enum>(*index);
  }

  /// Throws Error where the key is absent: "key is missing" and `expected`.
  void required(std::string_view key, std::string_view expected = {});
  /// The name under `key`, which must be there, says which object this is: `read_rest` reads the fields of that one,
  /// each in a schema.
  std::size_t variant(std::string_view key, std::span<const std::string_view> names,
                      const std::function<void(std::size_t)>& read_rest);
  /// "version" must be there, and `number`.
  void version(int number);

  /// An object that another JsonFields reads.
  const Json* any(std::string_view key, std::string_view about = {});
  /// What the caller checks by hand; `schema` (JSON) is what it asks of the value. Nothing while a schema is recorded.
  const Json* by_hand(std::string_view key, std::string_view schema, std::string_view about);
  /// The elements of an array of objects, or of objects and texts; none where the key is absent, one while a schema is
  /// recorded. `expected` ends the error where the value is no array of `min_size` elements.
  enum class Elements : std::uint8_t { kObjects, kObjectsAndTexts };
  std::vector<const Json*> list(std::string_view key, std::string_view expected, std::string_view about,
                                std::size_t min_size = 0, Elements elements = Elements::kObjects);
  bool has(std::string_view key) const { return json_.is_object() && json_.contains(key); }

  /// In a schema the object stands once, under this name.
  void define(std::string_view name);
  bool recording() const { return node_ != nullptr; }

  /// Throws Error on the first key that was never asked for, with the nearest of those that were. False while a schema
  /// is recorded: there are no values to go on with.
  bool finish() const;

  [[noreturn]] void fail_at(std::string_view key, std::string_view found_and_expected) const;
  [[noreturn]] void fail_here(std::string_view what) const;
  std::string_view where() const { return where_; }
  const std::string& path() const { return path_; }

 private:
  SchemaNode* noted(std::string_view key, std::string_view about);
  void note_default(std::string_view key, OrderedJson value);

  const Json& json_;
  std::string_view where_;
  std::string path_;
  std::vector<std::string_view> asked_;
  SchemaNode* node_ = nullptr;            // of a schema that is recorded
  SchemaNode::Object* object_ = nullptr;  // the alternative in it that is under way
};

/// The value as errors quote it: JSON, cut to a line.
std::string quoted(const Json& json);

/// `, did you mean "x"?` for the nearest of `names`, or the list of them where none is near.
std::string suggestion(std::string_view word, std::span<const std::string_view> names);

/// The shortest decimal that reads back as `value`: 0.1, not 0.10000000149011612.
Json json_number(float value);

}  // namespace junto

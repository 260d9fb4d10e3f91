// The values of a chat template, with Python's semantics: what `str`, `==`, `<`, `in`, truth and iteration mean there
// is what they mean here. Values are cheap to copy. Text is shared and counted; every other compound value belongs to
// the Heap of the rendering that made it and dies with it, so cycles and deep nesting cost nothing to free.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"
#include "format/jinja/options.h"

namespace junto::jinja {

struct Object;

/// A string: UTF-8. `markup` is Jinja's Markup, the result of `safe` and `escape`, which escapes what is added to it.
struct Text {
  std::string utf8;
  bool markup = false;
  std::size_t* live_bytes = nullptr;  // of the Heap that made it; null for constants of a template

  Text(std::string utf8_, bool markup_, std::size_t* live)
      : utf8(std::move(utf8_)), markup(markup_), live_bytes(live) {}
  ~Text();
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;
};

/// Jinja's Undefined: prints as nothing, is false and empty; anything else done with it raises `reason`.
struct Undefined {
  std::shared_ptr<const std::string> reason;  // null: none known
};
struct None {};

using TextRef = std::shared_ptr<const Text>;
using Value = std::variant<Undefined, None, bool, std::int64_t, double, TextRef, Object*>;

enum class Kind {
  kList,
  kTuple,
  kDict,
  kRange,
  kView,       // dict.keys(), .values(), .items()
  kIterator,   // a generator: can be walked once
  kNamespace,  // the one mutable container
  kFunction,
  kMethod,
  kMacro,
  kLoop,
  kCycler,
  kJoiner,
  kScope,  // variables of a block; never seen by a template
};

struct Object {
  explicit Object(Kind kind_) : kind(kind_) {}
  virtual ~Object() = default;
  const Kind kind;
};

/// A list or a tuple; never changed once made.
struct Sequence : Object {
  Sequence(Kind kind_, std::vector<Value> items_) : Object(kind_), items(std::move(items_)) {}
  std::vector<Value> items;
  bool is_group = false;  // a pair of `groupby`, with the attributes grouper and list
};

class Heap;

/// A dict in order of insertion.
struct Dict : Object {
  Dict() : Object(Kind::kDict) {}
  std::vector<std::pair<Value, Value>> entries;

  /// The value of `key`, or null. Throws Error for a key that cannot be hashed (a list, a dict).
  const Value* find(Heap& heap, const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(Heap& heap, const Value& key, Value value);

 private:
  std::size_t index_of(Heap& heap, const Value& key, std::size_t hash) const;
  std::unordered_multimap<std::size_t, std::size_t> index_;  // hash -> entry
};

struct Range : Object {
  Range(std::int64_t start_, std::int64_t stop_, std::int64_t step_, std::int64_t length_)
      : Object(Kind::kRange), start(start_), stop(stop_), step(step_), length(length_) {}
  std::int64_t start, stop, step, length;
};

struct View : Object {
  enum class Part { kKeys, kValues, kItems };
  View(const Dict* dict_, Part part_) : Object(Kind::kView), dict(dict_), part(part_) {}
  const Dict* dict;
  Part part;
};

/// Gives the next value, or false at the end.
using Cursor = std::function<bool(Value&)>;

struct Iterator : Object {
  Iterator(std::string type_, Cursor next_) : Object(Kind::kIterator), type(std::move(type_)), next(std::move(next_)) {}
  std::string type;  // Python's name of it
  Cursor next;
};

struct Namespace : Object {
  Namespace() : Object(Kind::kNamespace) {}
  std::vector<std::pair<std::string, Value>> attributes;
};

inline constexpr int kMaxValueDepth = 200;  // of nested lists and dicts that are printed, compared or hashed

/// Owns what one rendering makes, and counts it.
class Heap {
 public:
  explicit Heap(const Limits& limits) : limits_(limits) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  const Limits& limits() const { return limits_; }

  /// Counts work; throws Error beyond the limit.
  void step(std::uint64_t steps = 1);
  void step_bytes(std::size_t bytes) { step(bytes / 64 + 1); }
  /// Counts memory that is about to be taken for good; throws Error beyond the limit.
  void take(std::size_t bytes);
  /// Throws Error if `bytes` more would pass the limit: to be asked before text of that size is put together.
  void check_room(std::size_t bytes) const;

  Value text(std::string utf8, bool markup = false);
  Value list(std::vector<Value> items) { return sequence(Kind::kList, std::move(items)); }
  Value tuple(std::vector<Value> items) { return sequence(Kind::kTuple, std::move(items)); }

  template <class T, class... Arguments>
  T* make(Arguments&&... arguments) {
    take(sizeof(T) + 64);  // the allocator's share too
    auto owned = std::make_unique<T>(std::forward<Arguments>(arguments)...);
    T* object = owned.get();
    objects_.push_back(std::move(owned));
    return object;
  }

 private:
  Value sequence(Kind kind, std::vector<Value> items);

  Limits limits_;
  std::uint64_t steps_ = 0;
  std::size_t live_bytes_ = 0;
  std::deque<std::unique_ptr<Object>> objects_;
};

/// Throws Error: the reason alone; the renderer puts name and line before it.
[[noreturn]] void raise(std::string reason);
[[noreturn]] void raise(const Undefined& value);
/// Raises where `value` is Undefined.
void require_defined(const Value& value);

Value undefined(std::string reason);
Value constant_text(std::string utf8);
Value from_json(Heap& heap, const OrderedJson& json);

// Access by type: null (or false) where the value is something else.
inline const Object* as_object(const Value& value) {
  const auto* object = std::get_if<Object*>(&value);
  return object ? *object : nullptr;
}
inline bool is_kind(const Value& value, Kind kind) {
  const Object* object = as_object(value);
  return object && object->kind == kind;
}
template <class T>
T* as(const Value& value, Kind kind) {
  return is_kind(value, kind) ? static_cast<T*>(std::get<Object*>(value)) : nullptr;
}
inline const Text* as_text(const Value& value) {
  const auto* text = std::get_if<TextRef>(&value);
  return text ? text->get() : nullptr;
}
inline const Dict* as_dict(const Value& value) {
  return as<Dict>(value, Kind::kDict);
}
/// A list or a tuple.
inline const Sequence* as_sequence(const Value& value) {
  const Object* object = as_object(value);
  return object && (object->kind == Kind::kList || object->kind == Kind::kTuple) ? static_cast<const Sequence*>(object)
                                                                                 : nullptr;
}
inline bool is_undefined(const Value& value) {
  return std::holds_alternative<Undefined>(value);
}
inline bool is_none(const Value& value) {
  return std::holds_alternative<None>(value);
}
/// bool counts as an integer, as in Python.
bool as_integer(const Value& value, std::int64_t& integer);
bool as_real(const Value& value, double& real);  // int, bool or float

/// Python's name of the type: "str", "int", "NoneType", "dict"...
std::string type_name(const Value& value);
/// The same as Jinja names it in "'dict object' has no attribute 'x'".
std::string described(const Value& value);

bool truthy(const Value& value);
std::string str(Heap& heap, const Value& value);
std::string repr(Heap& heap, const Value& value);
std::string float_repr(double value);
bool equal(Heap& heap, const Value& a, const Value& b, int depth = 0);
/// Negative, zero, positive; throws Error for types without an order. `op` is for the message. NaN is unordered: `less`
/// is what `<` says.
bool less(Heap& heap, const Value& a, const Value& b, std::string_view op = "<", int depth = 0);
std::size_t hash(Heap& heap, const Value& value, int depth = 0);
bool contains(Heap& heap, const Value& container, const Value& item);
/// len(); throws Error for what has none.
std::int64_t length(Heap& heap, const Value& value);
/// iter(); throws Error for what cannot be iterated. The cursor must not outlive the heap.
Cursor iterate(Heap& heap, const Value& value);
bool is_iterable(const Value& value);
std::vector<Value> collect(Heap& heap, const Value& value);
Value range_item(const Range& range, std::int64_t index);

}  // namespace junto::jinja

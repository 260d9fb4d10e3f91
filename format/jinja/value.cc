#include "format/jinja/value.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "format/jinja/python_text.h"

namespace junto::jinja {

Text::~Text() {
  if (live_bytes) *live_bytes -= sizeof(Text) + utf8.size();
}

void raise(std::string reason) {
  throw Error(reason);
}

void raise(const Undefined& value) {
  raise(value.reason ? *value.reason : std::string("the value is undefined"));
}

void require_defined(const Value& value) {
  if (const auto* missing = std::get_if<Undefined>(&value)) raise(*missing);
}

void Heap::step(std::uint64_t steps) {
  steps_ += steps;
  if (steps_ > limits_.steps) raise("rendering takes more than " + std::to_string(limits_.steps) + " steps");
}

void Heap::check_room(std::size_t bytes) const {
  if (bytes > limits_.memory_bytes || live_bytes_ > limits_.memory_bytes - bytes) {
    raise("rendering takes more than " + std::to_string(limits_.memory_bytes) + " bytes of memory");
  }
}

void Heap::take(std::size_t bytes) {
  check_room(bytes);
  live_bytes_ += bytes;
}

Value Heap::text(std::string utf8, bool markup) {
  step_bytes(utf8.size());
  take(sizeof(Text) + utf8.size());
  return std::make_shared<const Text>(std::move(utf8), markup, &live_bytes_);
}

Value Heap::sequence(Kind kind, std::vector<Value> items) {
  step(items.size() / 8 + 1);
  take(items.size() * sizeof(Value));
  return make<Sequence>(kind, std::move(items));
}

Value undefined(std::string reason) {
  return Undefined{std::make_shared<const std::string>(std::move(reason))};
}

Value constant_text(std::string utf8) {
  return std::make_shared<const Text>(std::move(utf8), false, nullptr);
}

Value from_json(Heap& heap, const OrderedJson& json) {
  switch (json.type()) {
    case OrderedJson::value_t::object: {
      Dict* dict = heap.make<Dict>();
      for (const auto& [key, value] : json.items()) dict->set(heap, heap.text(key), from_json(heap, value));
      return dict;
    }
    case OrderedJson::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& value : json) items.push_back(from_json(heap, value));
      return heap.list(std::move(items));
    }
    case OrderedJson::value_t::string:
      return heap.text(json.get_ref<const std::string&>());
    case OrderedJson::value_t::boolean:
      return json.get<bool>();
    case OrderedJson::value_t::number_integer:
      return json.get<std::int64_t>();
    case OrderedJson::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        raise("the input holds the integer " + std::to_string(number) + ", expected at most 2^63 - 1");
      }
      return static_cast<std::int64_t>(number);
    }
    case OrderedJson::value_t::number_float:
      return json.get<double>();
    default:
      return None{};
  }
}

// Dict: small ones are searched in order, larger ones through an index of hashes.

namespace {
constexpr std::size_t kIndexedDict = 16;
constexpr std::size_t kMissing = static_cast<std::size_t>(-1);
}  // namespace

std::size_t Dict::index_of(Heap& heap, const Value& key, std::size_t key_hash) const {
  if (index_.empty()) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (equal(heap, entries[i].first, key)) return i;
    }
    return kMissing;
  }
  const auto [begin, end] = index_.equal_range(key_hash);
  for (auto it = begin; it != end; ++it) {
    if (equal(heap, entries[it->second].first, key)) return it->second;
  }
  return kMissing;
}

const Value* Dict::find(Heap& heap, const Value& key) const {
  const std::size_t i = index_of(heap, key, hash(heap, key));
  return i == kMissing ? nullptr : &entries[i].second;
}

const Value* Dict::find(std::string_view key) const {
  if (index_.empty()) {
    for (const auto& [name, value] : entries) {
      const Text* text = as_text(name);
      if (text && text->utf8 == key) return &value;
    }
    return nullptr;
  }
  const auto [begin, end] = index_.equal_range(std::hash<std::string_view>{}(key));
  for (auto it = begin; it != end; ++it) {
    const Text* text = as_text(entries[it->second].first);
    if (text && text->utf8 == key) return &entries[it->second].second;
  }
  return nullptr;
}

void Dict::set(Heap& heap, const Value& key, Value value) {
  const std::size_t key_hash = hash(heap, key);
  const std::size_t i = index_of(heap, key, key_hash);
  if (i != kMissing) {
    entries[i].second = std::move(value);
    return;
  }
  heap.take(2 * sizeof(Value) + 48);  // the entry and its place in the index
  entries.emplace_back(key, std::move(value));
  if (!index_.empty()) {
    index_.emplace(key_hash, entries.size() - 1);
  } else if (entries.size() == kIndexedDict) {
    for (std::size_t j = 0; j < entries.size(); ++j) index_.emplace(hash(heap, entries[j].first), j);
  }
}

bool as_integer(const Value& value, std::int64_t& integer) {
  if (const auto* i = std::get_if<std::int64_t>(&value)) return integer = *i, true;
  if (const auto* b = std::get_if<bool>(&value)) return integer = *b, true;
  return false;
}

bool as_real(const Value& value, double& real) {
  if (const auto* d = std::get_if<double>(&value)) return real = *d, true;
  std::int64_t integer = 0;
  if (!as_integer(value, integer)) return false;
  real = static_cast<double>(integer);
  return true;
}

std::string type_name(const Value& value) {
  static constexpr const char* kScalar[] = {"Undefined", "NoneType", "bool", "int", "float"};
  if (const Text* text = as_text(value)) return text->markup ? "Markup" : "str";
  const Object* object = as_object(value);
  if (!object) return kScalar[value.index()];
  switch (object->kind) {
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kRange:
      return "range";
    case Kind::kView: {
      static constexpr const char* kViews[] = {"dict_keys", "dict_values", "dict_items"};
      return kViews[static_cast<int>(static_cast<const View*>(object)->part)];
    }
    case Kind::kIterator:
      return static_cast<const Iterator*>(object)->type;
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kMacro:
      return "Macro";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kCycler:
      return "Cycler";
    case Kind::kJoiner:
      return "Joiner";
    case Kind::kMethod:
      return "builtin_function_or_method";
    default:
      return "function";
  }
}

std::string described(const Value& value) {
  return is_none(value) ? "None" : type_name(value) + " object";
}

bool truthy(const Value& value) {
  if (const auto* b = std::get_if<bool>(&value)) return *b;
  if (const auto* i = std::get_if<std::int64_t>(&value)) return *i != 0;
  if (const auto* d = std::get_if<double>(&value)) return *d != 0;
  if (const Text* text = as_text(value)) return !text->utf8.empty();
  const Object* object = as_object(value);
  if (!object) return false;
  if (const Sequence* sequence = as_sequence(value)) return !sequence->items.empty();
  if (object->kind == Kind::kDict) return !static_cast<const Dict*>(object)->entries.empty();
  if (object->kind == Kind::kRange) return static_cast<const Range*>(object)->length != 0;
  if (object->kind == Kind::kView) return !static_cast<const View*>(object)->dict->entries.empty();
  return true;
}

namespace {

// How deep a comparison may go is also bounded, so that a value that holds itself through a namespace cannot hang it.
void check_depth(Heap& heap, int depth) {
  heap.step();
  if (depth > kMaxValueDepth) raise("a value is nested deeper than " + std::to_string(kMaxValueDepth) + " levels");
}

bool equal_dicts(Heap& heap, const Dict& a, const Dict& b, int depth) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = b.find(heap, key);
    if (!other || !equal(heap, value, *other, depth + 1)) return false;
  }
  return true;
}

bool equal_sequences(Heap& heap, const Sequence& a, const Sequence& b, int depth) {
  if (a.kind != b.kind || a.items.size() != b.items.size()) return false;
  for (std::size_t i = 0; i < a.items.size(); ++i) {
    if (!equal(heap, a.items[i], b.items[i], depth + 1)) return false;
  }
  return true;
}

bool equal_ranges(const Range& a, const Range& b) {
  return a.length == b.length && (a.length == 0 || (a.start == b.start && (a.length == 1 || a.step == b.step)));
}

}  // namespace

bool equal(Heap& heap, const Value& a, const Value& b, int depth) {
  check_depth(heap, depth);
  double x = 0, y = 0;
  if (as_real(a, x) && as_real(b, y)) {
    std::int64_t i = 0, j = 0;
    return as_integer(a, i) && as_integer(b, j) ? i == j : x == y;
  }
  if (const Text* text = as_text(a)) {
    const Text* other = as_text(b);
    if (!other || text->utf8.size() != other->utf8.size()) return false;
    heap.step_bytes(text->utf8.size());
    return text->utf8 == other->utf8;
  }
  if (a.index() != b.index()) return false;
  const Object* object = as_object(a);
  const Object* other = as_object(b);
  if (!object) return true;  // both None, or both Undefined
  if (object == other) return true;
  if (object->kind != other->kind) return false;
  if (const Sequence* sequence = as_sequence(a)) return equal_sequences(heap, *sequence, *as_sequence(b), depth);
  if (object->kind == Kind::kDict) return equal_dicts(heap, *as_dict(a), *as_dict(b), depth);
  if (object->kind == Kind::kRange) {
    return equal_ranges(static_cast<const Range&>(*object), static_cast<const Range&>(*other));
  }
  return false;
}

bool less(Heap& heap, const Value& a, const Value& b, std::string_view op, int depth) {
  check_depth(heap, depth);
  double x = 0, y = 0;
  if (as_real(a, x) && as_real(b, y)) {
    std::int64_t i = 0, j = 0;
    return as_integer(a, i) && as_integer(b, j) ? i < j : x < y;
  }
  require_defined(a);
  require_defined(b);
  const Text *text = as_text(a), *other = as_text(b);
  if (text && other) {
    heap.step_bytes(std::min(text->utf8.size(), other->utf8.size()));
    return text->utf8 < other->utf8;  // the order of UTF-8 bytes is that of code points
  }
  const Sequence *left = as_sequence(a), *right = as_sequence(b);
  if (left && right && left->kind == right->kind) {
    for (std::size_t i = 0; i < left->items.size() && i < right->items.size(); ++i) {
      if (!equal(heap, left->items[i], right->items[i], depth + 1)) {
        return less(heap, left->items[i], right->items[i], op, depth + 1);
      }
    }
    return left->items.size() < right->items.size();
  }
  raise("'" + std::string(op) + "' not supported between instances of '" + type_name(a) + "' and '" + type_name(b) +
        "'");
}

std::size_t hash(Heap& heap, const Value& value, int depth) {
  check_depth(heap, depth);
  if (const Text* text = as_text(value)) {
    heap.step_bytes(text->utf8.size());
    return std::hash<std::string_view>{}(text->utf8);
  }
  double real = 0;
  if (as_real(value, real)) return std::hash<double>{}(real);  // 1 == 1.0 == True
  const Object* object = as_object(value);
  if (!object) return value.index();
  if (object->kind == Kind::kTuple) {
    std::size_t mixed = 0;
    for (const Value& item : static_cast<const Sequence*>(object)->items) {
      mixed = mixed * 1'000'003 ^ hash(heap, item, depth + 1);
    }
    return mixed;
  }
  if (object->kind == Kind::kList || object->kind == Kind::kDict) {
    raise("unhashable type: '" + type_name(value) + "'");
  }
  return std::hash<const void*>{}(object);
}

bool contains(Heap& heap, const Value& container, const Value& item) {
  if (const Text* text = as_text(container)) {
    const Text* part = as_text(item);
    if (!part) raise("'in <string>' requires string as left operand, not " + type_name(item));
    heap.step_bytes(text->utf8.size());
    return find_bytes(text->utf8, part->utf8, 0) != std::string_view::npos;
  }
  if (const Dict* dict = as_dict(container)) return dict->find(heap, item) != nullptr;
  if (const View* view = as<View>(container, Kind::kView); view && view->part == View::Part::kKeys) {
    return view->dict->find(heap, item) != nullptr;
  }
  if (const Object* object = as_object(container); !is_undefined(container) && (!object || !is_iterable(container))) {
    raise("argument of type '" + type_name(container) + "' is not iterable");
  }
  const Cursor next = iterate(heap, container);
  for (Value value; next(value);) {
    if (equal(heap, value, item)) return true;
  }
  return false;
}

std::int64_t length(Heap& heap, const Value& value) {
  if (is_undefined(value)) return 0;
  if (const Text* text = as_text(value)) {
    heap.step_bytes(text->utf8.size());
    return static_cast<std::int64_t>(count_code_points(text->utf8));
  }
  if (const Sequence* sequence = as_sequence(value)) return static_cast<std::int64_t>(sequence->items.size());
  if (const Dict* dict = as_dict(value)) return static_cast<std::int64_t>(dict->entries.size());
  if (const View* view = as<View>(value, Kind::kView)) return static_cast<std::int64_t>(view->dict->entries.size());
  if (const Range* range = as<Range>(value, Kind::kRange)) return range->length;
  raise("object of type '" + type_name(value) + "' has no len()");
}

Value range_item(const Range& range, std::int64_t index) {
  return range.start + index * range.step;
}

bool is_iterable(const Value& value) {
  if (is_undefined(value) || as_text(value)) return true;
  const Object* object = as_object(value);
  if (!object) return false;
  switch (object->kind) {
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kRange:
    case Kind::kView:
    case Kind::kIterator:
      return true;
    default:
      return false;
  }
}

namespace {

Cursor iterate_text(Heap& heap, TextRef text) {
  return [&heap, text = std::move(text), at = std::size_t{0}](Value& value) mutable {
    if (at >= text->utf8.size()) return false;
    const std::size_t size = code_point_size(text->utf8, at);
    value = heap.text(text->utf8.substr(at, size));
    at += size;
    return true;
  };
}

Value view_item(Heap& heap, const View& view, std::size_t i) {
  const auto& [key, value] = view.dict->entries[i];
  if (view.part == View::Part::kKeys) return key;
  return view.part == View::Part::kValues ? value : heap.tuple({key, value});
}

}  // namespace

Cursor iterate(Heap& heap, const Value& value) {
  if (is_undefined(value)) return [](Value&) { return false; };
  if (const auto* text = std::get_if<TextRef>(&value)) return iterate_text(heap, *text);
  if (!is_iterable(value)) raise("'" + type_name(value) + "' object is not iterable");
  if (const Sequence* sequence = as_sequence(value)) {
    return [&heap, sequence, i = std::size_t{0}](Value& out) mutable {
      heap.step();
      return i < sequence->items.size() ? (out = sequence->items[i++], true) : false;
    };
  }
  if (const Range* range = as<Range>(value, Kind::kRange)) {
    return [&heap, range, i = std::int64_t{0}](Value& out) mutable {
      heap.step();
      return i < range->length ? (out = range_item(*range, i++), true) : false;
    };
  }
  if (Iterator* iterator = as<Iterator>(value, Kind::kIterator)) {
    return [&heap, iterator](Value& out) {
      heap.step();
      return iterator->next(out);
    };
  }
  const View* view = as<View>(value, Kind::kView);
  if (!view) view = heap.make<View>(as_dict(value), View::Part::kKeys);
  return [&heap, view, i = std::size_t{0}](Value& out) mutable {
    heap.step();
    return i < view->dict->entries.size() ? (out = view_item(heap, *view, i++), true) : false;
  };
}

std::vector<Value> collect(Heap& heap, const Value& value) {
  std::vector<Value> items;
  const Cursor next = iterate(heap, value);
  for (Value item; next(item);) {
    heap.check_room((items.size() + 1) * sizeof(Value));
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace junto::jinja

// Filters on sequences, mappings and numbers.
#include <algorithm>
#include <cmath>

#include "format/jinja/builtins.h"
#include "format/jinja/python_text.h"
#include "format/jinja/renderer.h"

namespace junto::jinja {
namespace {

Value iterator(Renderer& renderer, Cursor next, std::string type = "generator") {
  return renderer.heap().make<Iterator>(std::move(type), std::move(next));
}

Value fold_case(Renderer& renderer, const Value& value) {
  const Text* text = as_text(value);
  return text ? renderer.heap().text(to_lower(text->utf8)) : value;
}

/// A path such as "function.name" or "items.0", followed from a value.
class Path {
 public:
  explicit Path(const Value* attribute) {
    if (!attribute || is_none(*attribute)) return;
    const Text* text = as_text(*attribute);
    if (!text) {
      parts_.push_back(*attribute);
      return;
    }
    for (const std::string_view part : split_on(text->utf8, ".", -1)) parts_.push_back(key(part));
  }

  Value follow(Renderer& renderer, Value value, const Value* fallback = nullptr) const {
    for (const Value& part : parts_) {
      value = renderer.item(value, part);
      if (fallback && !is_none(*fallback) && is_undefined(value)) value = *fallback;
    }
    return value;
  }

 private:
  static Value key(std::string_view part) {
    const bool number = !part.empty() && part.size() < 10 &&
                        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    return number ? Value(static_cast<std::int64_t>(std::stoll(std::string(part)))) : constant_text(std::string(part));
  }

  std::vector<Value> parts_;
};

Value filter_length(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("length", arguments, {});
  return length(renderer.heap(), value);
}

Value filter_list(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("list", arguments, {});
  return renderer.heap().list(collect(renderer.heap(), value));
}

Value filter_default(Renderer&, const Value& value, const Arguments& arguments) {
  const Bound bound("default", arguments, {"default_value", "boolean"});
  const bool missing = is_undefined(value) || (bound.flag(1, false) && !truthy(value));
  if (!missing) return value;
  return bound[0] ? bound.at(0) : constant_text("");
}

Value filter_first(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("first", arguments, {});
  Value item;
  return iterate(renderer.heap(), value)(item) ? item : undefined("No first item, sequence was empty.");
}

std::vector<Value> reversed(Renderer& renderer, const Value& value) {
  if (is_kind(value, Kind::kIterator)) raise("'" + type_name(value) + "' object is not reversible");
  std::vector<Value> items = collect(renderer.heap(), value);
  std::reverse(items.begin(), items.end());
  return items;
}

Value filter_last(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("last", arguments, {});
  if (const Sequence* sequence = as_sequence(value); sequence && !sequence->items.empty())
    return sequence->items.back();
  const std::vector<Value> items = reversed(renderer, value);
  return items.empty() ? undefined("No last item, sequence was empty.") : items.front();
}

Value filter_reverse(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("reverse", arguments, {});
  Heap& heap = renderer.heap();
  if (as_text(value)) return slice(heap, value, None{}, None{}, std::int64_t{-1});
  if (is_kind(value, Kind::kIterator)) {
    std::vector<Value> items = collect(heap, value);
    std::reverse(items.begin(), items.end());
    return heap.list(std::move(items));
  }
  const Value items = heap.list(reversed(renderer, value));
  return iterator(renderer, iterate(heap, items), type_name(value) + "_reverseiterator");
}

Value filter_join(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("join", arguments, {"d", "attribute"});
  Heap& heap = renderer.heap();
  const std::string separator = bound[0] ? str(heap, bound.at(0)) : "";
  const Path path(bound[1]);
  std::string out;
  bool first = true;
  const Cursor next = iterate(heap, value);
  for (Value item; next(item); first = false) {
    const std::string piece = str(heap, path.follow(renderer, item));
    heap.check_room(out.size() + separator.size() + piece.size());
    heap.step_bytes(separator.size());
    if (!first) out += separator;
    out += piece;
  }
  return heap.text(std::move(out));
}

Value filter_items(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("items", arguments, {});
  const Dict* dict = as_dict(value);
  if (!dict && !is_undefined(value)) raise("Can only get item pairs from a mapping.");
  if (!dict) return iterator(renderer, [](Value&) { return false; });
  return iterator(renderer, iterate(renderer.heap(), renderer.heap().make<View>(dict, View::Part::kItems)));
}

void sort_by(Renderer& renderer, std::vector<std::pair<Value, Value>>& keyed, bool reverse) {
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(renderer.heap(), b.first, a.first) : less(renderer.heap(), a.first, b.first);
  });
}

std::vector<Value> values_of(std::vector<std::pair<Value, Value>> keyed) {
  std::vector<Value> items;
  for (auto& [key, value] : keyed) items.push_back(std::move(value));
  return items;
}

Value filter_dictsort(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  require_defined(value);
  const Dict* dict = as_dict(value);
  if (!dict) raise("'" + type_name(value) + "' object has no attribute 'items'");
  const std::string_view by = bound.text(1, "key");
  if (by != "key" && by != "value") raise("You can only sort by either \"key\" or \"value\"");
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [name, entry] : dict->entries) {
    const Value& key = by == "key" ? name : entry;
    keyed.emplace_back(bound.flag(0, false) ? key : fold_case(renderer, key), renderer.heap().tuple({name, entry}));
  }
  sort_by(renderer, keyed, bound.flag(2, false));
  return renderer.heap().list(values_of(std::move(keyed)));
}

// sort(attribute="a,b.c"): by several paths, the first one first.
Value filter_sort(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  std::vector<Path> paths;
  if (const Text* text = bound[2] ? as_text(bound.at(2)) : nullptr) {
    for (const std::string_view part : split_on(text->utf8, ",", -1)) {
      const Value attribute = constant_text(std::string(part));
      paths.emplace_back(&attribute);
    }
  } else {
    paths.emplace_back(bound[2]);
  }
  const bool fold = !bound.flag(1, false);
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : collect(renderer.heap(), value)) {
    std::vector<Value> keys;
    for (const Path& path : paths) {
      const Value key = path.follow(renderer, item);
      keys.push_back(fold ? fold_case(renderer, key) : key);
    }
    keyed.emplace_back(renderer.heap().list(std::move(keys)), item);
  }
  sort_by(renderer, keyed, bound.flag(0, false));
  return renderer.heap().list(values_of(std::move(keyed)));
}

Value filter_unique(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("unique", arguments, {"case_sensitive", "attribute"});
  const Path path(bound[1]);
  const bool fold = !bound.flag(0, false);
  Heap& heap = renderer.heap();
  Dict* seen = heap.make<Dict>();
  return iterator(renderer, [&renderer, &heap, seen, path, fold, next = iterate(heap, value)](Value& item) {
    while (next(item)) {
      Value key = path.follow(renderer, item);
      if (fold) key = fold_case(renderer, key);
      if (seen->find(heap, key)) continue;
      seen->set(heap, key, true);
      return true;
    }
    return false;
  });
}

template <bool kMax>
Value filter_extreme(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound(kMax ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const Path path(bound[1]);
  const bool fold = !bound.flag(0, false);
  Heap& heap = renderer.heap();
  Value best = undefined("No aggregated item, sequence was empty."), best_key;
  bool first = true;
  const Cursor next = iterate(heap, value);
  for (Value item; next(item); first = false) {
    Value key = path.follow(renderer, item);
    if (fold) key = fold_case(renderer, key);
    if (first || (kMax ? less(heap, best_key, key, ">") : less(heap, key, best_key))) {
      best = item;
      best_key = std::move(key);
    }
  }
  return best;
}

Value filter_sum(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("sum", arguments, {"attribute", "start"});
  const Path path(bound[0]);
  Value total = bound[1] ? bound.at(1) : Value(std::int64_t{0});
  if (as_text(total)) raise("sum() can't sum strings [use ''.join(seq) instead]");
  const Cursor next = iterate(renderer.heap(), value);
  for (Value item; next(item);) total = add(renderer.heap(), total, path.follow(renderer, item));
  return total;
}

// map(attribute="x", default=d) or map("filter", arguments...)
Value filter_map(Renderer& renderer, const Value& value, const Arguments& arguments) {
  if (!is_undefined(value) && !truthy(value)) return iterator(renderer, [](Value&) { return false; });
  const Value* attribute = arguments.positional.empty() ? arguments.find_keyword("attribute") : nullptr;
  if (attribute) {
    const Bound bound("map", arguments, {"attribute", "default"});
    const Value fallback = bound[1] ? bound.at(1) : Value(None{});
    return iterator(renderer,
                    [&renderer, path = Path(attribute), fallback, next = iterate(renderer.heap(), value)](Value& item) {
                      if (!next(item)) return false;
                      item = path.follow(renderer, item, &fallback);
                      return true;
                    });
  }
  if (arguments.positional.empty()) raise("map requires a filter argument");
  const Text* name = as_text(arguments.positional[0]);
  if (!name) raise("map: the filter's name is " + type_name(arguments.positional[0]) + ", expected str");
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin());
  return iterator(renderer,
                  [&renderer, filter = name->utf8, rest, next = iterate(renderer.heap(), value)](Value& item) {
                    if (!next(item)) return false;
                    item = renderer.call_filter(filter, item, rest);
                    return true;
                  });
}

// select, reject, selectattr, rejectattr: the items that pass a test (or are true).
template <bool kKeep, bool kByAttribute>
Value filter_select(Renderer& renderer, const Value& value, const Arguments& arguments) {
  if (!is_undefined(value) && !truthy(value)) return iterator(renderer, [](Value&) { return false; });
  Arguments rest = arguments;
  const auto shift = [&rest] {
    Value first = rest.positional.front();
    rest.positional.erase(rest.positional.begin());
    return first;
  };
  if (kByAttribute && rest.positional.empty()) raise("Missing parameter for attribute name");
  Value attribute = None{};
  if constexpr (kByAttribute) attribute = shift();
  std::string test;
  if (!rest.positional.empty()) {
    const Value name = shift();
    if (!as_text(name)) raise("the test's name is " + type_name(name) + ", expected str");
    test = as_text(name)->utf8;
  }
  return iterator(
      renderer, [&renderer, path = Path(&attribute), test, rest, next = iterate(renderer.heap(), value)](Value& item) {
        while (next(item)) {
          const Value tested = path.follow(renderer, item);
          const bool passes = test.empty() ? truthy(tested) : renderer.call_test(test, tested, rest);
          if (passes == kKeep) return true;
        }
        return false;
      });
}

Value filter_groupby(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const Path path(bound[0]);
  const bool fold = !bound.flag(2, false);
  Heap& heap = renderer.heap();
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : collect(heap, value)) {
    const Value key = path.follow(renderer, item, bound[1]);
    keyed.emplace_back(fold ? fold_case(renderer, key) : key, item);
  }
  sort_by(renderer, keyed, false);
  std::vector<Value> groups;
  for (std::size_t begin = 0, end = 0; begin < keyed.size(); begin = end) {
    std::vector<Value> members;
    for (; end < keyed.size() && equal(heap, keyed[end].first, keyed[begin].first); ++end) {
      members.push_back(keyed[end].second);
    }
    if (end == begin) members.push_back(keyed[end++].second);  // NaN equals nothing
    const Value key = path.follow(renderer, members[0], bound[1]);
    const Value group = heap.tuple({key, heap.list(std::move(members))});
    as<Sequence>(group, Kind::kTuple)->is_group = true;
    groups.push_back(group);
  }
  return heap.list(std::move(groups));
}

Value filter_batch(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("batch", arguments, {"linecount", "fill_with"}, 1);
  Heap& heap = renderer.heap();
  const auto size = static_cast<std::size_t>(std::max<std::int64_t>(bound.integer(0, 1), 1));
  std::vector<Value> batches, batch;
  for (Value& item : collect(heap, value)) {
    if (batch.size() == size) batches.push_back(heap.list(std::exchange(batch, {})));
    batch.push_back(std::move(item));
  }
  if (!batch.empty()) {
    if (bound.given(1)) {
      heap.check_room(size > heap.limits().memory_bytes / sizeof(Value) ? heap.limits().memory_bytes + 1
                                                                        : size * sizeof(Value));
      batch.resize(std::max(size, batch.size()), bound.at(1));
    }
    batches.push_back(heap.list(std::move(batch)));
  }
  return iterator(renderer, iterate(heap, heap.list(std::move(batches))));
}

Value filter_slice(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("slice", arguments, {"slices", "fill_with"}, 1);
  Heap& heap = renderer.heap();
  const std::int64_t slices = bound.integer(0, 1);
  if (slices == 0) raise("integer division or modulo by zero");
  if (slices > heap.limits().range_items)
    raise("slice: more than " + std::to_string(heap.limits().range_items) + " slices");
  const std::vector<Value> items = collect(heap, value);
  const auto count = static_cast<std::int64_t>(items.size());
  std::vector<Value> out;
  auto begin = items.begin();
  for (std::int64_t i = 0; i < slices; ++i) {
    const bool extra = i < count % slices;
    const auto end = begin + count / slices + (extra ? 1 : 0);
    std::vector<Value> part(begin, end);
    if (bound.given(1) && !extra) part.push_back(bound.at(1));
    out.push_back(heap.list(std::move(part)));
    begin = end;
  }
  return iterator(renderer, iterate(heap, heap.list(std::move(out))));
}

Value filter_abs(Renderer&, const Value& value, const Arguments& arguments) {
  const Bound bound("abs", arguments, {});
  double real = 0;
  if (!as_real(value, real)) {
    require_defined(value);
    raise("bad operand type for abs(): '" + type_name(value) + "'");
  }
  if (std::holds_alternative<double>(value)) return std::abs(real);
  return std::signbit(real) ? negate(value) : negate(negate(value));
}

Value filter_round(Renderer&, const Value& value, const Arguments& arguments) {
  const Bound bound("round", arguments, {"precision", "method"});
  const std::int64_t precision = bound.integer(0, 0);
  const std::string_view method = bound.text(1, "common");
  if (method != "common" && method != "ceil" && method != "floor") raise("method must be common, ceil or floor");
  double real = 0;
  if (!as_real(value, real)) {
    require_defined(value);
    raise("type " + type_name(value) + " doesn't define __round__ method");
  }
  if (method != "common") {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    // Python rounds to an int, which has no negative zero.
    return ((method == "ceil" ? std::ceil(real * scale) : std::floor(real * scale)) + 0.0) / scale;
  }
  if (std::holds_alternative<double>(value)) return round_to(real, precision);
  if (precision >= 0) return negate(negate(value));
  const double rounded = round_to(real, precision);
  return static_cast<std::int64_t>(rounded);
}

// attr(name): an attribute of the object itself, never an entry.
Value filter_attr(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Bound bound("attr", arguments, {"name"}, 1);
  require_defined(value);
  Value found;
  const std::string name(bound.text(0, ""));
  if (find_attribute(renderer, value, name, found)) return found;
  return undefined("'" + described(value) + "' has no attribute '" + name + "'");
}

constexpr FilterRow kFilters[] = {{"abs", filter_abs},
                                  {"attr", filter_attr},
                                  {"batch", filter_batch},
                                  {"count", filter_length},
                                  {"d", filter_default},
                                  {"default", filter_default},
                                  {"dictsort", filter_dictsort},
                                  {"first", filter_first},
                                  {"groupby", filter_groupby},
                                  {"items", filter_items},
                                  {"join", filter_join},
                                  {"last", filter_last},
                                  {"length", filter_length},
                                  {"list", filter_list},
                                  {"map", filter_map},
                                  {"max", filter_extreme<true>},
                                  {"min", filter_extreme<false>},
                                  {"reject", filter_select<false, false>},
                                  {"rejectattr", filter_select<false, true>},
                                  {"reverse", filter_reverse},
                                  {"round", filter_round},
                                  {"select", filter_select<true, false>},
                                  {"selectattr", filter_select<true, true>},
                                  {"slice", filter_slice},
                                  {"sort", filter_sort},
                                  {"sum", filter_sum},
                                  {"unique", filter_unique}};

}  // namespace

Filter find_sequence_filter(std::string_view name) {
  for (const FilterRow& row : kFilters) {
    if (row.name == name) return row.filter;
  }
  return nullptr;
}

Filter find_filter(std::string_view name) {
  const Filter filter = find_text_filter(name);
  return filter ? filter : find_sequence_filter(name);
}

}  // namespace junto::jinja

// Attributes and methods of what is not text, and the global functions.
#include <algorithm>
#include <chrono>

#include "format/jinja/builtins.h"
#include "format/jinja/python_text.h"
#include "format/jinja/renderer.h"

namespace junto::jinja {
namespace {

template <View::Part kPart>
Value dict_view(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("view", arguments, {});
  return renderer.heap().make<View>(as_dict(self), kPart);
}

Value dict_get(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("get", arguments, {"", ""}, 1);
  if (const Value* value = as_dict(self)->find(renderer.heap(), bound.at(0))) return *value;
  return bound[1] ? bound.at(1) : Value(None{});
}

// Lists and dicts never change, so that a copy is the thing itself.
Value copy(Renderer&, const Value& self, const Arguments& arguments) {
  const Bound bound("copy", arguments, {});
  return self;
}

Value sequence_count(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("count", arguments, {""}, 1);
  std::int64_t count = 0;
  for (const Value& item : as_sequence(self)->items) count += equal(renderer.heap(), item, bound.at(0));
  return count;
}

Value sequence_index(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Bound bound("index", arguments, {"", "", ""}, 1);
  const std::vector<Value>& items = as_sequence(self)->items;
  const auto size = static_cast<std::int64_t>(items.size());
  const auto clamp = [size](std::int64_t i) { return std::min(i < 0 ? std::max<std::int64_t>(i + size, 0) : i, size); };
  for (std::int64_t i = clamp(bound.integer(1, 0)); i < clamp(bound.integer(2, size)); ++i) {
    if (equal(renderer.heap(), items[static_cast<std::size_t>(i)], bound.at(0))) return i;
  }
  raise(repr(renderer.heap(), bound.at(0)) + " is not in " + type_name(self));
}

struct AttributeRow {
  Kind kind;
  std::string_view name;
  MethodBody body;  // null: would change the object, refused
};
constexpr AttributeRow kAttributes[] = {{Kind::kDict, "get", dict_get},
                                        {Kind::kDict, "items", dict_view<View::Part::kItems>},
                                        {Kind::kDict, "keys", dict_view<View::Part::kKeys>},
                                        {Kind::kDict, "values", dict_view<View::Part::kValues>},
                                        {Kind::kDict, "copy", copy},
                                        {Kind::kDict, "clear", nullptr},
                                        {Kind::kDict, "pop", nullptr},
                                        {Kind::kDict, "popitem", nullptr},
                                        {Kind::kDict, "setdefault", nullptr},
                                        {Kind::kDict, "update", nullptr},
                                        {Kind::kList, "count", sequence_count},
                                        {Kind::kList, "index", sequence_index},
                                        {Kind::kList, "copy", copy},
                                        {Kind::kList, "append", nullptr},
                                        {Kind::kList, "clear", nullptr},
                                        {Kind::kList, "extend", nullptr},
                                        {Kind::kList, "insert", nullptr},
                                        {Kind::kList, "pop", nullptr},
                                        {Kind::kList, "remove", nullptr},
                                        {Kind::kList, "reverse", nullptr},
                                        {Kind::kList, "sort", nullptr},
                                        {Kind::kTuple, "count", sequence_count},
                                        {Kind::kTuple, "index", sequence_index}};

Value cycler_next(Renderer&, const Value& self, const Arguments& arguments) {
  const Bound bound("next", arguments, {});
  auto& cycler = *as<CyclerState>(self, Kind::kCycler);
  const Value item = cycler.items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.size();
  return item;
}

Value cycler_reset(Renderer&, const Value& self, const Arguments& arguments) {
  const Bound bound("reset", arguments, {});
  as<CyclerState>(self, Kind::kCycler)->position = 0;
  return None{};
}

bool cycler_attribute(Renderer& renderer, const Value& self, std::string_view name, Value& found) {
  const auto& cycler = *as<CyclerState>(self, Kind::kCycler);
  if (name == "current") {
    found = cycler.items[cycler.position];
  } else if (name == "next") {
    found = renderer.heap().make<Method>(self, cycler_next);
  } else if (name == "reset") {
    found = renderer.heap().make<Method>(self, cycler_reset);
  } else {
    return false;
  }
  return true;
}

bool namespace_attribute(const Namespace& space, std::string_view name, Value& found) {
  for (const auto& [key, value] : space.attributes) {
    if (key != name) continue;
    found = value;
    return true;
  }
  return false;
}

const AttributeRow* find_row(const Value& object, std::string_view name) {
  for (const AttributeRow& row : kAttributes) {
    if (is_kind(object, row.kind) && row.name == name) return &row;
  }
  return nullptr;
}

bool macro_attribute(Renderer& renderer, const MacroBody& macro, std::string_view name, Value& found) {
  if (name == "name") {
    found = macro.name.empty() ? Value(None{}) : renderer.heap().text(macro.name);
  } else if (name == "arguments") {
    std::vector<Value> names;
    for (const auto& parameter : macro.parameters)
      names.push_back(renderer.heap().text(renderer.name_of(parameter.first)));
    found = renderer.heap().tuple(std::move(names));
  } else if (name == "caller" || name == "catch_varargs" || name == "catch_kwargs") {
    found = name == "caller" ? macro.uses_caller : name == "catch_varargs" ? macro.uses_varargs : macro.uses_kwargs;
  } else {
    return false;
  }
  return true;
}

}  // namespace

MethodBody find_method(const Value& object, std::string_view name) {
  if (as_text(object)) return find_string_method(name);
  const AttributeRow* row = find_row(object, name);
  return row ? row->body : nullptr;
}

bool find_attribute(Renderer& renderer, const Value& object, std::string_view name, Value& found) {
  if (const MethodBody body = find_method(object, name)) {
    found = renderer.heap().make<Method>(object, body);
    return true;
  }
  const Object* target = as_object(object);
  if (!target) return false;
  switch (target->kind) {
    case Kind::kNamespace:
      return namespace_attribute(static_cast<const Namespace&>(*target), name, found);
    case Kind::kLoop: {
      bool known = false;
      found = renderer.loop_attribute(*as<Loop>(object, Kind::kLoop), name, known);
      return known;
    }
    case Kind::kCycler:
      return cycler_attribute(renderer, object, name, found);
    case Kind::kMacro:
      return macro_attribute(renderer, *static_cast<const Macro&>(*target).body, name, found);
    case Kind::kTuple: {
      const auto& pair = static_cast<const Sequence&>(*target);
      if (pair.is_group && (name == "grouper" || name == "list")) {
        found = pair.items[name == "grouper" ? 0 : 1];
        return true;
      }
      break;
    }
    default:
      break;
  }
  if (!find_row(object, name)) return false;
  found = undefined("access to attribute '" + std::string(name) + "' of '" + type_name(object) + "' object is unsafe.");
  return true;
}

namespace {

// range(stop), range(start, stop), range(start, stop, step), at most Limits::range_items long.
Value make_range(Renderer& renderer, const Arguments& arguments) {
  const Bound bound("range", arguments, {"", "", ""}, 1);
  const bool one = !bound[1];
  const std::int64_t start = one ? 0 : bound.integer(0, 0), stop = bound.integer(one ? 0 : 1, 0);
  const std::int64_t step = bound.integer(2, 1);
  if (step == 0) raise("range() arg 3 must not be zero");
  // In unsigned arithmetic, which holds any difference of two 64-bit integers.
  const bool forward = step > 0;
  const auto distance = forward ? static_cast<std::uint64_t>(stop) - static_cast<std::uint64_t>(start)
                                : static_cast<std::uint64_t>(start) - static_cast<std::uint64_t>(stop);
  const std::uint64_t stride = forward ? static_cast<std::uint64_t>(step) : 0 - static_cast<std::uint64_t>(step);
  const bool empty = forward ? stop <= start : stop >= start;
  const std::uint64_t count = empty ? 0 : (distance - 1) / stride + 1;
  const auto limit = static_cast<std::uint64_t>(renderer.heap().limits().range_items);
  if (count > limit) {
    raise("Range too big. The sandbox blocks ranges larger than MAX_RANGE (" + std::to_string(limit) + ").");
  }
  return renderer.heap().make<Range>(start, stop, step, static_cast<std::int64_t>(count));
}

// dict(mapping or pairs, name=value...): what dict() and namespace() take.
Dict* make_entries(Renderer& renderer, std::string_view function, const Arguments& arguments) {
  Heap& heap = renderer.heap();
  Dict* dict = heap.make<Dict>();
  if (arguments.positional.size() > 1) {
    raise(std::string(function) + " expected at most 1 argument, got " + std::to_string(arguments.positional.size()));
  }
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (const Dict* other = as_dict(source)) {
      for (const auto& [key, value] : other->entries) dict->set(heap, key, value);
    } else {
      for (const Value& pair : collect(heap, source)) {
        const std::vector<Value> parts = collect(heap, pair);
        if (parts.size() != 2)
          raise("dictionary update sequence element has length " + std::to_string(parts.size()) + "; 2 is required");
        dict->set(heap, parts[0], parts[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.keyword) dict->set(heap, heap.text(name), value);
  return dict;
}

Value make_dict(Renderer& renderer, const Arguments& arguments) {
  return make_entries(renderer, "dict", arguments);
}

Value make_namespace(Renderer& renderer, const Arguments& arguments) {
  const Dict* entries = make_entries(renderer, "namespace", arguments);
  auto* space = renderer.heap().make<Namespace>();
  for (const auto& [key, value] : entries->entries) {
    const Text* name = as_text(key);
    if (!name) continue;  // cannot be reached as an attribute
    if (name->utf8.starts_with('_')) raise("cannot store the attribute '" + name->utf8 + "' on a namespace");
    space->attributes.emplace_back(name->utf8, value);
  }
  return space;
}

Value raise_exception(Renderer& renderer, const Arguments& arguments) {
  const Bound bound("raise_exception", arguments, {"message"}, 1);
  raise(str(renderer.heap(), bound.at(0)));
}

Value strftime_now(Renderer& renderer, const Arguments& arguments) {
  const Bound bound("strftime_now", arguments, {"format"}, 1);
  std::tm now{};
  if (renderer.options().now) {
    now = *renderer.options().now;
  } else {
    const std::time_t clock = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    localtime_r(&clock, &now);
  }
  // Python's own: %f are microseconds, %z and %Z are empty for a time without zone.
  std::string form;
  const std::string_view given = bound.text(0, "");
  if (given.size() > 1'000) raise("strftime_now: the format is longer than 1000 bytes");
  for (std::size_t i = 0; i < given.size(); ++i) {
    const char next = given[i] == '%' && i + 1 < given.size() ? given[i + 1] : '\0';
    if (next == 'f') form += "000000";
    if (next == '\0') form += given[i];
    if (next != '\0' && next != 'f' && next != 'z' && next != 'Z') form += {'%', next};
    if (next != '\0') ++i;
  }
  form += '.';  // so that an empty result can be told from a full buffer
  std::string out(64 * form.size() + 64, '\0');
  const std::size_t size = std::strftime(out.data(), out.size(), form.c_str(), &now);
  if (size == 0) raise("strftime_now: invalid format");
  out.resize(size - 1);
  return renderer.heap().text(std::move(out));
}

Value make_cycler(Renderer& renderer, const Arguments& arguments) {
  if (arguments.positional.empty()) raise("at least one item has to be provided");
  return renderer.heap().make<CyclerState>(Kind::kCycler, arguments.positional);
}

Value make_joiner(Renderer& renderer, const Arguments& arguments) {
  const Bound bound("joiner", arguments, {"sep"});
  std::vector<Value> items = {constant_text(""), bound[0] ? bound.at(0) : constant_text(", ")};
  return renderer.heap().make<CyclerState>(Kind::kJoiner, std::move(items));
}

constexpr std::pair<std::string_view, Native> kGlobals[] = {
    {"range", make_range},   {"namespace", make_namespace},        {"dict", make_dict},
    {"cycler", make_cycler}, {"raise_exception", raise_exception}, {"strftime_now", strftime_now},
    {"joiner", make_joiner}};

}  // namespace

Native find_global(std::string_view name) {
  for (const auto& [key, native] : kGlobals) {
    if (key == name) return native;
  }
  return nullptr;
}

}  // namespace junto::jinja

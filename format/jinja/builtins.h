// What templates find ready: filters, tests, global functions and the methods of strings, lists and dicts. Each family
// is a table of names in its .cc file.
#pragma once

#include <string_view>

#include "format/jinja/arguments.h"
#include "format/jinja/ast.h"

namespace junto::jinja {

/// Null where there is none of the name.
Filter find_filter(std::string_view name);
Test find_test(std::string_view name);

using Native = Value (*)(Renderer& renderer, const Arguments& arguments);
struct Function : Object {
  explicit Function(Native call_) : Object(Kind::kFunction), call(call_) {}
  Native call;
};
/// Null where no global function has the name: range, namespace, dict, raise_exception, strftime_now, cycler, joiner.
Native find_global(std::string_view name);

using MethodBody = Value (*)(Renderer& renderer, const Value& self, const Arguments& arguments);
struct Method : Object {
  Method(Value self_, MethodBody call_) : Object(Kind::kMethod), self(std::move(self_)), call(call_) {}
  Value self;
  MethodBody call;
};

/// getattr(object, name) for objects that have attributes of their own: a bound method, an attribute of a namespace or
/// of a loop. False where there is none. A method that would change the object comes as an Undefined that says so: the
/// sandbox refuses it.
bool find_attribute(Renderer& renderer, const Value& object, std::string_view name, Value& found);
MethodBody find_string_method(std::string_view name);
/// The method `name` of a string, list, tuple or dict; null where it has none that may be called.
MethodBody find_method(const Value& object, std::string_view name);

/// A table of filters; filters.cc joins them.
struct FilterRow {
  std::string_view name;
  Filter filter;
};
Filter find_text_filter(std::string_view name);
Filter find_sequence_filter(std::string_view name);

/// str.format and the `%` operator of strings.
std::string format_braces(Renderer& renderer, const Text& form, const Arguments& arguments);
std::string format_percent(Renderer& renderer, const Text& form, const Value& values);
/// One value by a format specification such as ">8.2f".
std::string format_value(Heap& heap, const Value& value, std::string_view specification);

struct JsonForm {
  std::string indent;  // of one level
  bool has_indent = false;
  std::string item_separator, key_separator;
  bool sort_keys = false, ensure_ascii = false;
};
/// json.dumps().
std::string dump_json(Heap& heap, const Value& value, const JsonForm& form);

/// Python's round(): half to even, on the exact binary value.
double round_to(double value, std::int64_t digits);

/// cycler(a, b...), and joiner(separator): "" and then the separator, for ever.
struct CyclerState : Object {
  CyclerState(Kind kind_, std::vector<Value> items_) : Object(kind_), items(std::move(items_)) {}
  std::vector<Value> items;
  std::size_t position = 0;
};

}  // namespace junto::jinja

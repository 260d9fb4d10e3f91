// str() and repr() of Python.
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "format/jinja/python_text.h"
#include "format/jinja/renderer.h"

namespace junto::jinja {
namespace {

/// Puts a printed value together within the heap's bounds.
class Printer {
 public:
  explicit Printer(Heap& heap) : heap_(heap) {}

  void add(std::string_view text) {
    heap_.step_bytes(text.size());
    heap_.check_room(out.size() + text.size());
    out += text;
  }

  void print(const Value& value, int depth);

  std::string out;

 private:
  void print_items(const std::vector<Value>& items, int depth) {
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) add(", ");
      print(items[i], depth + 1);
    }
  }
  void print_object(const Value& value, const Object& object, int depth);
  void print_dict(const Dict& dict, int depth);
  void print_view(const View& view, int depth);
  void print_namespace(const Namespace& space, int depth);

  Heap& heap_;
};

void Printer::print_dict(const Dict& dict, int depth) {
  add("{");
  for (std::size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) add(", ");
    print(dict.entries[i].first, depth + 1);
    add(": ");
    print(dict.entries[i].second, depth + 1);
  }
  add("}");
}

void Printer::print_view(const View& view, int depth) {
  static constexpr const char* kNames[] = {"dict_keys([", "dict_values([", "dict_items(["};
  add(kNames[static_cast<int>(view.part)]);
  for (std::size_t i = 0; i < view.dict->entries.size(); ++i) {
    if (i > 0) add(", ");
    const auto& [key, value] = view.dict->entries[i];
    const bool pair = view.part == View::Part::kItems;
    if (pair) add("(");
    if (view.part != View::Part::kValues) print(key, depth + 1);
    if (pair) add(", ");
    if (view.part != View::Part::kKeys) print(value, depth + 1);
    if (pair) add(")");
  }
  add("])");
}

void Printer::print_namespace(const Namespace& space, int depth) {
  add("<Namespace {");
  for (std::size_t i = 0; i < space.attributes.size(); ++i) {
    if (i > 0) add(", ");
    add(repr_text(space.attributes[i].first) + ": ");
    print(space.attributes[i].second, depth + 1);
  }
  add("}>");
}

void Printer::print_object(const Value& value, const Object& object, int depth) {
  if (const Sequence* sequence = as_sequence(value)) {
    const bool list = object.kind == Kind::kList;
    add(list ? "[" : "(");
    print_items(sequence->items, depth);
    add(list ? "]" : sequence->items.size() == 1 ? ",)" : ")");
  } else if (object.kind == Kind::kDict) {
    print_dict(static_cast<const Dict&>(object), depth);
  } else if (object.kind == Kind::kView) {
    print_view(static_cast<const View&>(object), depth);
  } else if (object.kind == Kind::kNamespace) {
    print_namespace(static_cast<const Namespace&>(object), depth);
  } else if (object.kind == Kind::kRange) {
    const auto& range = static_cast<const Range&>(object);
    add("range(" + std::to_string(range.start) + ", " + std::to_string(range.stop));
    add(range.step == 1 ? ")" : ", " + std::to_string(range.step) + ")");
  } else if (object.kind == Kind::kMacro) {
    const std::string& name = static_cast<const Macro&>(object).body->name;
    add("<Macro " + (name.empty() ? "anonymous" : repr_text(name)) + ">");
  } else if (object.kind == Kind::kLoop) {
    auto& loop = *as<Loop>(value, Kind::kLoop);
    add("<LoopContext " + std::to_string(loop.index0 + 1) + "/" + std::to_string(loop.length(heap_)) + ">");
  } else {
    add("<" + type_name(value) + " object>");  // Python prints an address here
  }
}

void Printer::print(const Value& value, int depth) {
  heap_.step();
  if (depth > kMaxValueDepth) raise("a value is nested deeper than " + std::to_string(kMaxValueDepth) + " levels");
  if (const Text* text = as_text(value)) {
    add(text->markup ? "Markup(" + repr_text(text->utf8) + ")" : repr_text(text->utf8));
  } else if (const Object* object = as_object(value)) {
    print_object(value, *object, depth);
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    add(*flag ? "True" : "False");
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    add(std::to_string(*integer));
  } else if (const auto* real = std::get_if<double>(&value)) {
    add(float_repr(*real));
  } else {
    add(is_none(value) ? "None" : "Undefined");
  }
}

}  // namespace

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  char* end = std::to_chars(buffer, buffer + sizeof buffer - 1, value, std::chars_format::scientific).ptr;
  *end = '\0';
  const std::string_view shortest(buffer, static_cast<std::size_t>(end - buffer));  // -1.2345e+06
  const std::size_t e = shortest.find('e');
  const int exponent = std::atoi(shortest.data() + e + 1);
  std::string digits;
  for (const char c : shortest.substr(0, e)) {
    if (c != '.' && c != '-') digits += c;
  }
  const std::string sign = std::signbit(value) ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    const std::string mantissa = digits.size() > 1 ? digits.substr(0, 1) + "." + digits.substr(1) : digits;
    const std::string power = std::to_string(std::abs(exponent));
    return sign + mantissa + (exponent < 0 ? "e-" : "e+") + (power.size() < 2 ? "0" : "") + power;
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string repr(Heap& heap, const Value& value) {
  Printer printer(heap);
  printer.print(value, 0);
  return std::move(printer.out);
}

std::string str(Heap& heap, const Value& value) {
  if (const Text* text = as_text(value)) {
    heap.step_bytes(text->utf8.size());
    return text->utf8;
  }
  return is_undefined(value) ? std::string() : repr(heap, value);
}

}  // namespace junto::jinja

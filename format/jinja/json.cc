// json.dumps(), which the filter tojson is.
#include <algorithm>
#include <cstdio>

#include "format/jinja/builtins.h"
#include "format/jinja/python_text.h"

namespace junto::jinja {
namespace {

class Dumper {
 public:
  Dumper(Heap& heap, const JsonForm& form) : heap_(heap), form_(form) {}

  void dump(const Value& value, int depth);
  std::string out;

 private:
  void add(std::string_view text) {
    heap_.step_bytes(text.size());
    heap_.check_room(out.size() + text.size());
    out += text;
  }
  void line(int depth) {
    if (!form_.has_indent) return;
    add("\n");
    for (int i = 0; i < depth; ++i) add(form_.indent);
  }
  void add_text(std::string_view text);
  void add_escaped(char32_t c);
  void add_number(double value);
  std::string key_text(const Value& key);
  void dump_dict(const Dict& dict, int depth);
  void dump_sequence(const Sequence& sequence, int depth);

  Heap& heap_;
  const JsonForm& form_;
};

void Dumper::add_escaped(char32_t c) {
  static constexpr std::string_view kSpecial = "\"\\\n\r\t\f\b";
  static constexpr std::string_view kLetters = "\"\\nrtfb";
  char escaped[16];
  if (c < 0x80 && kSpecial.find(static_cast<char>(c)) != std::string_view::npos) {
    out += {'\\', kLetters[kSpecial.find(static_cast<char>(c))]};
  } else if (c < 0x20 || (form_.ensure_ascii && c >= 0x80 && c < 0x10000)) {
    std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
    out += escaped;
  } else if (form_.ensure_ascii && c >= 0x10000) {  // a surrogate pair
    const auto rest = static_cast<unsigned>(c) - 0x10000;
    std::snprintf(escaped, sizeof escaped, "\\u%04x\\u%04x", 0xd800 + (rest >> 10), 0xdc00 + (rest & 0x3ff));
    out += escaped;
  } else {
    append_utf8(out, c);
  }
}

void Dumper::add_text(std::string_view text) {
  heap_.step_bytes(text.size());
  heap_.check_room(out.size() + 6 * text.size());
  out += '"';
  for (const char32_t c : decode_utf8(text)) add_escaped(c);
  out += '"';
}

void Dumper::add_number(double value) {
  std::string text = float_repr(value);
  if (text == "nan") text = "NaN";
  if (text == "inf") text = "Infinity";
  if (text == "-inf") text = "-Infinity";
  add(text);
}

std::string Dumper::key_text(const Value& key) {
  if (const Text* text = as_text(key)) return text->utf8;
  if (const auto* flag = std::get_if<bool>(&key)) return *flag ? "true" : "false";
  if (is_none(key)) return "null";
  double real = 0;
  if (!as_real(key, real)) raise("keys must be str, int, float, bool or None, not " + type_name(key));
  return repr(heap_, key);
}

void Dumper::dump_dict(const Dict& dict, int depth) {
  if (dict.entries.empty()) return add("{}");
  std::vector<std::pair<Value, Value>> entries = dict.entries;
  if (form_.sort_keys) {
    std::stable_sort(entries.begin(), entries.end(),
                     [this](const auto& a, const auto& b) { return less(heap_, a.first, b.first); });
  }
  add("{");
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (i > 0) add(form_.item_separator);
    line(depth + 1);
    add_text(key_text(entries[i].first));
    add(form_.key_separator);
    dump(entries[i].second, depth + 1);
  }
  line(depth);
  add("}");
}

void Dumper::dump_sequence(const Sequence& sequence, int depth) {
  if (sequence.items.empty()) return add("[]");
  add("[");
  for (std::size_t i = 0; i < sequence.items.size(); ++i) {
    if (i > 0) add(form_.item_separator);
    line(depth + 1);
    dump(sequence.items[i], depth + 1);
  }
  line(depth);
  add("]");
}

void Dumper::dump(const Value& value, int depth) {
  heap_.step();
  if (depth > kMaxValueDepth) raise("a value is nested deeper than " + std::to_string(kMaxValueDepth) + " levels");
  if (const Text* text = as_text(value)) {
    add_text(text->utf8);
  } else if (const Dict* dict = as_dict(value)) {
    dump_dict(*dict, depth);
  } else if (const Sequence* sequence = as_sequence(value)) {
    dump_sequence(*sequence, depth);
  } else if (is_none(value)) {
    add("null");
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    add(*flag ? "true" : "false");
  } else if (const auto* real = std::get_if<double>(&value)) {
    add_number(*real);
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    add(std::to_string(*integer));
  } else {
    raise("Object of type " + type_name(value) + " is not JSON serializable");
  }
}

}  // namespace

std::string dump_json(Heap& heap, const Value& value, const JsonForm& form) {
  Dumper dumper(heap, form);
  dumper.dump(value, 0);
  return std::move(dumper.out);
}

}  // namespace junto::jinja

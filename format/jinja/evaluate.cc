// Expressions to values.
#include <utility>

#include "format/jinja/builtins.h"
#include "format/jinja/python_text.h"
#include "format/jinja/renderer.h"

namespace junto::jinja {

Value Renderer::evaluate(const Expression& expression) {
  enter();
  const int outer_line = std::exchange(line_, expression.line);
  Value value = std::visit([this](const auto& node) { return evaluate(node); }, expression.node);
  leave(outer_line);
  return value;
}

Value Renderer::evaluate(const Name& node) {
  if (const Value* value = find_variable(node.symbol)) return *value;
  return undefined("'" + template_.symbols[static_cast<std::size_t>(node.symbol)] + "' is undefined");
}

Value Renderer::evaluate(const SequenceLiteral& node) {
  std::vector<Value> items;
  items.reserve(node.items.size());
  for (const auto& item : node.items) items.push_back(evaluate(*item));
  return node.kind == Kind::kList ? heap_.list(std::move(items)) : heap_.tuple(std::move(items));
}

Value Renderer::evaluate(const DictLiteral& node) {
  Dict* dict = heap_.make<Dict>();
  for (const auto& [key, value] : node.entries) {
    const Value evaluated = evaluate(*key);
    dict->set(heap_, evaluated, evaluate(*value));
  }
  return dict;
}

Value Renderer::evaluate(const Unary& node) {
  const Value value = evaluate(*node.operand);
  if (node.op == '!') return !truthy(value);
  if (node.op == '-') return negate(value);
  return negate(negate(value));  // raises for what has no sign, makes an int of a bool
}

Value Renderer::evaluate(const Arithmetic& node) {
  const Value left = evaluate(*node.left);
  return arithmetic(*this, node.op, left, evaluate(*node.right));
}

Value Renderer::evaluate(const Concatenation& node) {
  std::string text;
  for (const auto& part : node.parts) {
    const std::string piece = str(heap_, evaluate(*part));
    heap_.check_room(text.size() + piece.size());
    text += piece;
  }
  return heap_.text(std::move(text));
}

Value Renderer::evaluate(const Logical& node) {
  Value left = evaluate(*node.left);
  return truthy(left) == node.conjunction ? evaluate(*node.right) : left;
}

bool Renderer::compare(const std::string& op, const Value& left, const Value& right) {
  if (op == "==") return equal(heap_, left, right);
  if (op == "!=") return !equal(heap_, left, right);
  if (op == "in") return contains(heap_, right, left);
  if (op == "notin") return !contains(heap_, right, left);
  if (op == "<") return less(heap_, left, right, op);
  if (op == ">") return less(heap_, right, left, op);
  // Not `!less`: NaN is neither less nor equal.
  if (op == "<=") return less(heap_, left, right, op) || equal(heap_, left, right);
  return less(heap_, right, left, op) || equal(heap_, left, right);
}

Value Renderer::evaluate(const Comparison& node) {
  Value left = evaluate(*node.first);
  for (const auto& [op, operand] : node.rest) {
    Value right = evaluate(*operand);
    if (!compare(op, left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Renderer::evaluate(const Conditional& node) {
  if (truthy(evaluate(*node.test))) return evaluate(*node.then);
  if (node.otherwise) return evaluate(*node.otherwise);
  return undefined("the inline if-expression evaluated to false and no else section was defined");
}

Value Renderer::evaluate(const Attribute& node) {
  return attribute(evaluate(*node.object), node.name);
}

Value Renderer::evaluate(const Item& node) {
  const Value object = evaluate(*node.object);
  return item(object, evaluate(*node.key));
}

Value Renderer::evaluate(const Slice& node) {
  const Value object = evaluate(*node.object);
  Value parts[3] = {None{}, None{}, None{}};
  if (node.start) parts[0] = evaluate(*node.start);
  if (node.stop) parts[1] = evaluate(*node.stop);
  if (node.step) parts[2] = evaluate(*node.step);
  return slice(heap_, object, parts[0], parts[1], parts[2]);
}

Arguments Renderer::evaluate_arguments(const ArgumentList& list) {
  Arguments arguments;
  for (const auto& value : list.positional) arguments.positional.push_back(evaluate(*value));
  if (list.star) {
    for (Value& value : collect(heap_, evaluate(*list.star))) arguments.positional.push_back(std::move(value));
  }
  for (const auto& [name, value] : list.keyword) arguments.keyword.emplace_back(name, evaluate(*value));
  if (list.star_star) {
    const Value rest = evaluate(*list.star_star);
    const Dict* dict = as_dict(rest);
    if (!dict) raise("argument after ** must be a mapping, not " + type_name(rest));
    for (const auto& [key, value] : dict->entries) {
      const Text* name = as_text(key);
      if (!name) raise("keywords must be strings");
      if (arguments.find_keyword(name->utf8)) raise("got multiple values for keyword argument '" + name->utf8 + "'");
      arguments.keyword.emplace_back(name->utf8, value);
    }
  }
  return arguments;
}

Value Renderer::evaluate_call(const Call& node, const Value* caller) {
  // object.method(...) at once, without a bound method that would keep the object to the end of the rendering.
  if (const auto* method = std::get_if<Attribute>(&node.callee->node); method && !caller) {
    const Value object = evaluate(*method->object);
    if (const MethodBody body = find_method(object, method->name)) {
      return body(*this, object, evaluate_arguments(node.arguments));
    }
    return call(attribute(object, method->name), evaluate_arguments(node.arguments));
  }
  const Value callee = evaluate(*node.callee);
  Arguments arguments = evaluate_arguments(node.arguments);
  if (caller) arguments.keyword.emplace_back("caller", *caller);
  return call(callee, std::move(arguments));
}

Value Renderer::evaluate(const FilterCall& node) {
  const Value input = evaluate(*node.input);
  if (!node.filter) raise("No filter named '" + node.name + "' found.");
  return node.filter(*this, input, evaluate_arguments(node.arguments));
}

Value Renderer::evaluate(const TestCall& node) {
  const Value input = evaluate(*node.input);
  if (!node.test) raise("No test named '" + node.name + "' found.");
  return node.test(*this, input, evaluate_arguments(node.arguments));
}

// object.name: what the object itself offers, else an entry of a dict.
Value Renderer::attribute(const Value& object, const std::string& name) {
  require_defined(object);
  Value found;
  if (find_attribute(*this, object, name, found)) return found;
  if (const Dict* dict = as_dict(object)) {
    if (const Value* value = dict->find(name)) return *value;
  }
  return undefined("'" + described(object) + "' has no attribute '" + name + "'");
}

namespace {

bool item_at(Heap& heap, const Value& object, std::int64_t index, Value& found) {
  const auto resolve = [&index](std::int64_t size) {
    if (index < 0) index += size;
    return index >= 0 && index < size;
  };
  if (const Sequence* sequence = as_sequence(object)) {
    if (!resolve(static_cast<std::int64_t>(sequence->items.size()))) return false;
    found = sequence->items[static_cast<std::size_t>(index)];
  } else if (const Text* text = as_text(object)) {
    if (!resolve(length(heap, object))) return false;
    const std::size_t at = byte_offset(text->utf8, static_cast<std::size_t>(index));
    found = heap.text(text->utf8.substr(at, code_point_size(text->utf8, at)), text->markup);
  } else if (const Range* range = as<Range>(object, Kind::kRange)) {
    if (!resolve(range->length)) return false;
    found = range_item(*range, index);
  } else {
    return false;
  }
  return true;
}

}  // namespace

// object[key]: an entry or element, else (for a string) an attribute.
Value Renderer::item(const Value& object, const Value& key) {
  require_defined(object);
  Value found;
  std::int64_t index = 0;
  if (const Dict* dict = as_dict(object)) {
    if (!is_kind(key, Kind::kList) && !is_kind(key, Kind::kDict)) {
      if (const Value* value = dict->find(heap_, key)) return *value;
    }
  } else if (as_integer(key, index) && item_at(heap_, object, index, found)) {
    return found;
  }
  const Text* name = as_text(key);
  if (!name) return undefined(described(object) + " has no element " + repr(heap_, key));
  if (find_attribute(*this, object, name->utf8, found)) return found;
  return undefined("'" + described(object) + "' has no attribute '" + name->utf8 + "'");
}

}  // namespace junto::jinja

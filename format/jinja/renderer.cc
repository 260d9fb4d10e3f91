#include "format/jinja/renderer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "format/jinja/builtins.h"

namespace junto::jinja {

Renderer::Renderer(const Template& source, const RenderOptions& options)
    : template_(source), options_(options), heap_(options.limits) {}

void Renderer::enter() {
  heap_.step();
  if (++depth_ > options_.limits.depth) {
    raise("evaluation is nested deeper than " + std::to_string(options_.limits.depth) + " levels");
  }
}

std::string Renderer::render(const OrderedJson& variables) {
  std::string out;
  out_ = &out;
  try {
    Scope* root = heap_.make<Scope>(nullptr);
    for (Symbol symbol = 0; symbol < static_cast<Symbol>(template_.symbols.size()); ++symbol) {
      const std::string& name = template_.symbols[static_cast<std::size_t>(symbol)];
      if (const auto found = variables.find(name); found != variables.end()) {
        set_variable(root, symbol, from_json(heap_, *found));
      } else if (const Native native = find_global(name)) {
        set_variable(root, symbol, heap_.make<Function>(native));
      }
    }
    scope_ = heap_.make<Scope>(root);
    run(template_.body);
  } catch (const Error& error) {
    fail(template_.name + ":" + std::to_string(line_), error.what());
  }
  return out;
}

// Scopes: one for each body under way. They are used again unless something that outlives the body refers to them.

Scope* Renderer::open_scope(Scope* parent) {
  if (free_scopes_.empty()) return heap_.make<Scope>(parent);
  Scope* scope = free_scopes_.back();
  free_scopes_.pop_back();
  scope->parent = parent;
  return scope;
}

void Renderer::close_scope(Scope* scope) {
  if (scope->captured) return;
  scope->variables.clear();
  free_scopes_.push_back(scope);
}

void Renderer::capture(Scope* scope) {
  for (; scope && !scope->captured; scope = scope->parent) {
    scope->captured = true;
    heap_.take(256);  // its variables
  }
}

const Value* Renderer::find_variable(Symbol symbol) const {
  for (const Scope* scope = scope_; scope; scope = scope->parent) {
    for (const auto& [name, value] : scope->variables) {
      if (name == symbol) return &value;
    }
  }
  return nullptr;
}

void Renderer::set_variable(Scope* scope, Symbol symbol, Value value) {
  for (auto& [name, old] : scope->variables) {
    if (name == symbol) {
      old = std::move(value);
      return;
    }
  }
  scope->variables.emplace_back(symbol, std::move(value));
}

void Renderer::write(std::string_view text) {
  heap_.step_bytes(text.size());
  if (text.size() > options_.limits.output_bytes - output_bytes_) {
    raise("the output is longer than " + std::to_string(options_.limits.output_bytes) + " bytes");
  }
  output_bytes_ += text.size();
  *out_ += text;
}

Renderer::Flow Renderer::run(const Block& block) {
  for (const Statement& statement : block) {
    const Flow flow = run(statement);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Renderer::Flow Renderer::run(const Statement& statement) {
  enter();
  const int outer_line = std::exchange(line_, statement.line);
  const Flow flow = std::visit([this](const auto& node) { return run(node); }, statement.node);
  leave(outer_line);
  return flow;
}

Renderer::Flow Renderer::run(const Data& data) {
  write(data.text);
  return Flow::kNext;
}

Renderer::Flow Renderer::run(const Output& output) {
  const Value value = evaluate(*output.value);
  if (const Text* text = as_text(value)) {
    write(text->utf8);
  } else {
    write(str(heap_, value));
  }
  return Flow::kNext;
}

Renderer::Flow Renderer::run(const If& statement) {
  for (const auto& [test, body] : statement.branches) {
    if (truthy(evaluate(*test))) return run(body);
  }
  return run(statement.otherwise);
}

Renderer::Flow Renderer::run(const Set& statement) {
  assign(statement.target, evaluate(*statement.value));
  return Flow::kNext;
}

// Runs `block` in `scope`, which is closed after it, and returns what it wrote.
std::string Renderer::run_captured(const Block& block, Scope* scope, Flow& flow) {
  std::string text;
  std::string* outer_out = std::exchange(out_, &text);
  Scope* outer_scope = std::exchange(scope_, scope);
  flow = run(block);
  close_scope(scope);
  scope_ = outer_scope;
  out_ = outer_out;
  output_bytes_ -= text.size();
  return text;
}

Renderer::Flow Renderer::run(const SetBlock& statement) {
  Flow flow = Flow::kNext;
  Value value = heap_.text(run_captured(statement.body, open_scope(scope_), flow));
  if (flow != Flow::kNext) return flow;
  if (statement.filters) {
    block_text_ = std::move(value);
    value = evaluate(*statement.filters);
  }
  assign(statement.target, value);
  return flow;
}

Renderer::Flow Renderer::run(const FilterBlock& statement) {
  Flow flow = Flow::kNext;
  block_text_ = heap_.text(run_captured(statement.body, open_scope(scope_), flow));
  if (flow == Flow::kNext) write(str(heap_, evaluate(*statement.filters)));
  return flow;
}

Renderer::Flow Renderer::run(const MacroDefinition& statement) {
  capture(scope_);
  set_variable(scope_, statement.symbol, heap_.make<Macro>(&statement.macro, scope_));
  return Flow::kNext;
}

Renderer::Flow Renderer::run(const CallBlock& statement) {
  capture(scope_);
  const Value caller = heap_.make<Macro>(&statement.caller, scope_);
  write(str(heap_, evaluate_call(std::get<Call>(statement.call->node), &caller)));
  return Flow::kNext;
}

Renderer::Flow Renderer::run(const With& statement) {
  std::vector<Value> values;
  for (const auto& [target, value] : statement.assignments) values.push_back(evaluate(*value));
  Scope* outer = scope_;
  Scope* scope = scope_ = open_scope(outer);
  for (std::size_t i = 0; i < values.size(); ++i) assign(statement.assignments[i].first, values[i]);
  const Flow flow = run(statement.body);
  close_scope(scope);
  scope_ = outer;
  return flow;
}

Renderer::Flow Renderer::run(const Scoped& statement) {
  Scope* outer = scope_;
  Scope* scope = scope_ = open_scope(outer);
  const Flow flow = run(statement.body);
  close_scope(scope);
  scope_ = outer;
  return flow;
}

void Renderer::assign(const Target& target, const Value& value) {
  if (!target.attribute.empty()) {
    const Value* variable = find_variable(target.symbol);
    auto* space = variable ? as<Namespace>(*variable, Kind::kNamespace) : nullptr;
    if (!space) raise("cannot assign attribute on non-namespace object");
    if (target.attribute[0] == '_') raise("cannot store the attribute '" + target.attribute + "' on a namespace");
    for (auto& [name, old] : space->attributes) {
      if (name == target.attribute) {
        old = value;
        return;
      }
    }
    space->attributes.emplace_back(target.attribute, value);
    return;
  }
  if (target.tuple.empty()) return set_variable(scope_, target.symbol, value);
  const std::vector<Value> items = collect(heap_, value);
  const std::size_t expected = target.tuple.size();
  if (items.size() != expected) {
    raise(std::string(items.size() < expected ? "not enough" : "too many") + " values to unpack (expected " +
          std::to_string(expected) + ", got " + std::to_string(items.size()) + ")");
  }
  for (std::size_t i = 0; i < expected; ++i) assign(target.tuple[i], items[i]);
}

// Macros.

namespace {

// Moves the argument `name` out of `arguments`; false where it was not given.
bool take_keyword(Arguments& arguments, std::string_view name, Value& value) {
  const auto found = std::find_if(arguments.keyword.begin(), arguments.keyword.end(),
                                  [name](const auto& entry) { return entry.first == name; });
  if (found == arguments.keyword.end()) return false;
  value = std::move(found->second);
  arguments.keyword.erase(found);
  return true;
}

}  // namespace

// The value of one parameter: by position, by name, its default, or Undefined.
Value Renderer::bind_parameter(const Macro& macro, std::size_t index, Arguments& arguments) {
  if (index < arguments.positional.size()) return arguments.positional[index];
  const auto& [symbol, fallback] = macro.body->parameters[index];
  const std::string& name = template_.symbols[static_cast<std::size_t>(symbol)];
  Value value;
  if (take_keyword(arguments, name, value)) return value;
  return fallback ? evaluate(*fallback) : undefined("parameter '" + name + "' was not provided");
}

Value Renderer::call_macro(const Macro& macro, Arguments arguments) {
  const MacroBody& body = *macro.body;
  const std::string name = body.name.empty() ? "None" : "'" + body.name + "'";
  const std::size_t count = body.parameters.size();
  Scope* outer = scope_;
  Scope* scope = scope_ = open_scope(macro.scope);
  for (std::size_t i = 0; i < count; ++i) {
    set_variable(scope, body.parameters[i].first, bind_parameter(macro, i, arguments));
  }
  if (body.uses_caller) {
    Value caller;
    if (!take_keyword(arguments, "caller", caller)) caller = undefined("No caller defined");
    set_variable(scope, template_.caller, std::move(caller));
  }
  if (body.uses_kwargs) {
    Dict* rest = heap_.make<Dict>();
    for (const auto& [key, value] : arguments.keyword) rest->set(heap_, heap_.text(key), value);
    set_variable(scope, template_.kwargs, rest);
  } else if (!arguments.keyword.empty()) {
    raise("macro " + name + " takes no keyword argument '" + arguments.keyword[0].first + "'");
  }
  if (body.uses_varargs) {
    const auto first =
        arguments.positional.begin() + static_cast<std::ptrdiff_t>(std::min(count, arguments.positional.size()));
    set_variable(scope, template_.varargs, heap_.tuple({first, arguments.positional.end()}));
  } else if (arguments.positional.size() > count) {
    raise("macro " + name + " takes not more than " + std::to_string(count) + " argument(s)");
  }
  Flow flow = Flow::kNext;
  std::string text = run_captured(body.body, scope, flow);
  scope_ = outer;
  return heap_.text(std::move(text));
}

Value Renderer::call(const Value& callee, Arguments arguments) {
  require_defined(callee);
  const Object* object = as_object(callee);
  const Kind kind = object ? object->kind : Kind::kList;
  switch (kind) {
    case Kind::kMacro:
      return call_macro(static_cast<const Macro&>(*object), std::move(arguments));
    case Kind::kFunction:
      return static_cast<const Function&>(*object).call(*this, arguments);
    case Kind::kMethod:
      return static_cast<const Method&>(*object).call(*this, static_cast<const Method&>(*object).self, arguments);
    case Kind::kLoop: {
      const Bound bound("loop", arguments, {"iterable"}, 1);
      return heap_.text(render_recursive(*as<Loop>(callee, Kind::kLoop), bound.at(0)));
    }
    case Kind::kJoiner: {
      auto& joiner = *as<CyclerState>(callee, Kind::kJoiner);
      return joiner.items[std::min<std::size_t>(joiner.position++, 1)];
    }
    default:
      raise("'" + type_name(callee) + "' object is not callable");
  }
}

Value Renderer::call_filter(std::string_view name, const Value& input, const Arguments& arguments) {
  const Filter filter = find_filter(name);
  if (!filter) raise("No filter named '" + std::string(name) + "'");
  return filter(*this, input, arguments);
}

bool Renderer::call_test(std::string_view name, const Value& input, const Arguments& arguments) {
  const Test test = find_test(name);
  if (!test) raise("No test named '" + std::string(name) + "'");
  return test(*this, input, arguments);
}

}  // namespace junto::jinja

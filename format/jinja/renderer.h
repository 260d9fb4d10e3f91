// Evaluates a parsed template. One Renderer per rendering; not shared between threads.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/jinja/arguments.h"
#include "format/jinja/ast.h"
#include "format/jinja/value.h"

namespace junto::jinja {

/// Variables of one block, linked to those of the block around it.
struct Scope : Object {
  explicit Scope(Scope* parent_) : Object(Kind::kScope), parent(parent_) {}
  Scope* parent;
  std::vector<std::pair<Symbol, Value>> variables;
  bool captured = false;  // by a macro or a recursive loop, which may outlive the block
};

struct Macro : Object {
  Macro(const MacroBody* body_, Scope* scope_) : Object(Kind::kMacro), body(body_), scope(scope_) {}
  const MacroBody* body;
  Scope* scope;  // where it was defined
};

/// The variable `loop`. Items are drawn one at a time: the iterable may be a generator, and the loop's condition may
/// read what the body sets.
struct Loop : Object {
  Loop() : Object(Kind::kLoop) {}

  bool advance(Value& item);        // to the next item; false at the end
  bool has_next();                  // looks ahead
  std::int64_t length(Heap& heap);  // reads the rest

  Cursor source;
  std::int64_t known_length = -1;  // where the iterable has a len()
  std::int64_t index0 = -1;
  std::int64_t depth0 = 0;
  std::optional<Value> previous, current_item, after;
  std::vector<Value> rest;  // read ahead by length()
  std::size_t rest_at = 0;
  bool rest_read = false;
  std::optional<Value> last_changed;
  const For* recursive = nullptr;
  Scope* scope = nullptr;  // around the loop
};

class Renderer {
 public:
  Renderer(const Template& source, const RenderOptions& options);

  /// The rendered text. Throws Error "name:line: reason".
  std::string render(const OrderedJson& variables);

  Heap& heap() { return heap_; }
  const RenderOptions& options() const { return options_; }
  int line() const { return line_; }
  const std::string& name_of(Symbol symbol) const { return template_.symbols[static_cast<std::size_t>(symbol)]; }

  // Python's operations as templates see them, for filters and methods.
  Value call(const Value& callee, Arguments arguments);
  Value attribute(const Value& object, const std::string& name);  // object.name
  Value item(const Value& object, const Value& key);              // object[key]
  Value call_filter(std::string_view name, const Value& input, const Arguments& arguments);
  bool call_test(std::string_view name, const Value& input, const Arguments& arguments);
  Value loop_attribute(Loop& loop, std::string_view name, bool& found);
  std::string render_recursive(Loop& loop, const Value& iterable);

 private:
  enum class Flow { kNext, kBreak, kContinue };

  // Statements (renderer.cc).
  Flow run(const Block& block);
  Flow run(const Statement& statement);
  Flow run(const Data& data);
  Flow run(const Output& output);
  Flow run(const If& statement);
  Flow run(const For& statement);
  Flow run(const Set& statement);
  Flow run(const SetBlock& statement);
  Flow run(const MacroDefinition& statement);
  Flow run(const CallBlock& statement);
  Flow run(const FilterBlock& statement);
  Flow run(const With& statement);
  Flow run(const Scoped& statement);
  Flow run(const Break&) { return Flow::kBreak; }
  Flow run(const Continue&) { return Flow::kContinue; }
  Flow run_loop(const For& statement, const Value& iterable, Scope* around, std::int64_t depth0);
  Cursor filtered(const For& statement, const Value& iterable, Scope* around);
  Flow run_body(const Block& block, Loop& loop, const Value& item, const For& statement, Scope* around);
  std::string run_captured(const Block& block, Scope* scope, Flow& flow);
  void assign(const Target& target, const Value& value);
  void write(std::string_view text);

  // Expressions (evaluate.cc).
  Value evaluate(const Expression& expression);
  Value evaluate(const Constant& node) { return node.value; }
  Value evaluate(const Name& node);
  Value evaluate(const SequenceLiteral& node);
  Value evaluate(const DictLiteral& node);
  Value evaluate(const Unary& node);
  Value evaluate(const Arithmetic& node);
  Value evaluate(const Concatenation& node);
  Value evaluate(const Logical& node);
  Value evaluate(const Comparison& node);
  Value evaluate(const Conditional& node);
  Value evaluate(const Attribute& node);
  Value evaluate(const Item& node);
  Value evaluate(const Slice& node);
  Value evaluate(const Call& node) { return evaluate_call(node, nullptr); }
  Value evaluate(const FilterCall& node);
  Value evaluate(const TestCall& node);
  Value evaluate(const BlockText&) { return std::move(block_text_); }
  Value evaluate_call(const Call& node, const Value* caller);
  Arguments evaluate_arguments(const ArgumentList& list);
  bool compare(const std::string& op, const Value& left, const Value& right);
  Value call_macro(const Macro& macro, Arguments arguments);
  Value bind_parameter(const Macro& macro, std::size_t index, Arguments& arguments);

  // Scopes.
  Scope* open_scope(Scope* parent);
  void close_scope(Scope* scope);
  void capture(Scope* scope);
  const Value* find_variable(Symbol symbol) const;
  void set_variable(Scope* scope, Symbol symbol, Value value);

  /// Counts one more node under evaluation. Nothing counts down when an error is thrown: it ends the rendering.
  void enter();
  void leave(int line) { line_ = line, --depth_; }

  const Template& template_;
  RenderOptions options_;
  Heap heap_;
  std::string* out_ = nullptr;
  std::size_t output_bytes_ = 0;  // in all buffers
  Scope* scope_ = nullptr;
  std::vector<Scope*> free_scopes_;
  Value block_text_;
  int line_ = 0;
  int depth_ = 0;
};

// Operators (operators.cc).
Value add(Heap& heap, const Value& left, const Value& right);
Value arithmetic(Renderer& renderer, const std::string& op, const Value& left, const Value& right);
Value negate(const Value& value);
Value slice(Heap& heap, const Value& object, const Value& start, const Value& stop, const Value& step);

}  // namespace junto::jinja

// for loops, and what the variable `loop` offers.
#include "format/jinja/builtins.h"
#include "format/jinja/renderer.h"

namespace junto::jinja {

namespace {

bool draw(Loop& loop, Value& item) {
  if (!loop.rest_read) return loop.source(item);
  if (loop.rest_at == loop.rest.size()) return false;
  item = loop.rest[loop.rest_at++];
  return true;
}

}  // namespace

bool Loop::advance(Value& item) {
  if (after) {
    item = *std::exchange(after, std::nullopt);
  } else if (!draw(*this, item)) {
    return false;
  }
  ++index0;
  previous = std::exchange(current_item, item);
  return true;
}

bool Loop::has_next() {
  Value item;
  if (!after && draw(*this, item)) after = std::move(item);
  return after.has_value();
}

std::int64_t Loop::length(Heap& heap) {
  if (known_length >= 0) return known_length;
  for (Value item; source(item);) {
    heap.take(sizeof(Value));
    rest.push_back(std::move(item));
  }
  rest_read = true;
  known_length = static_cast<std::int64_t>(rest.size()) + index0 + 1 + (after ? 1 : 0);
  return known_length;
}

// The items for which the loop's condition holds, in a scope of their own.
Cursor Renderer::filtered(const For& statement, const Value& iterable, Scope* around) {
  return [this, &statement, around, next = iterate(heap_, iterable)](Value& item) {
    bool keep = false;
    while (!keep && next(item)) {
      Scope* outer = scope_;
      Scope* scope = scope_ = open_scope(around);
      assign(statement.target, item);
      keep = truthy(evaluate(*statement.test));
      close_scope(scope);
      scope_ = outer;
    }
    return keep;
  };
}

Renderer::Flow Renderer::run_body(const Block& block, Loop& loop, const Value& item, const For& statement,
                                  Scope* around) {
  Scope* outer = scope_;
  Scope* scope = scope_ = open_scope(around);
  set_variable(scope, template_.loop, &loop);
  assign(statement.target, item);
  const Flow flow = run(block);
  close_scope(scope);
  scope_ = outer;
  return flow;
}

Renderer::Flow Renderer::run_loop(const For& statement, const Value& iterable, Scope* around, std::int64_t depth0) {
  Loop* loop = heap_.make<Loop>();
  loop->depth0 = depth0;
  loop->scope = around;
  if (statement.recursive) {
    loop->recursive = &statement;
    capture(around);
  }
  if (statement.test) {
    loop->source = filtered(statement, iterable, around);
  } else {
    loop->source = iterate(heap_, iterable);
    if (!as<Iterator>(iterable, Kind::kIterator)) loop->known_length = length(heap_, iterable);
  }
  // As in Jinja, the else branch is for loops of which no turn came to its end: `continue` counts as none.
  bool completed = false;
  for (Value item; loop->advance(item);) {
    const Flow flow = run_body(statement.body, *loop, item, statement, around);
    if (flow == Flow::kBreak) break;
    completed |= flow == Flow::kNext;
  }
  if (completed || statement.otherwise.empty()) return Flow::kNext;
  Scope* outer = scope_;
  Scope* scope = scope_ = open_scope(around);
  const Flow flow = run(statement.otherwise);
  close_scope(scope);
  scope_ = outer;
  return flow;
}

Renderer::Flow Renderer::run(const For& statement) {
  return run_loop(statement, evaluate(*statement.iterable), scope_, 0);
}

// loop(children): the loop's body over other items, one level deeper.
std::string Renderer::render_recursive(Loop& loop, const Value& iterable) {
  if (!loop.recursive) raise("The loop must have the 'recursive' marker to be called recursively.");
  std::string text;
  std::string* outer_out = std::exchange(out_, &text);
  run_loop(*loop.recursive, iterable, loop.scope, loop.depth0 + 1);
  out_ = outer_out;
  output_bytes_ -= text.size();
  return text;
}

namespace {

Value loop_cycle(Renderer&, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) raise("no items for cycling given");
  const auto& loop = *as<Loop>(self, Kind::kLoop);
  return arguments.positional[static_cast<std::size_t>(loop.index0) % arguments.positional.size()];
}

Value loop_changed(Renderer& renderer, const Value& self, const Arguments& arguments) {
  auto& loop = *as<Loop>(self, Kind::kLoop);
  Value values = renderer.heap().tuple(arguments.positional);
  if (loop.last_changed && equal(renderer.heap(), *loop.last_changed, values)) return false;
  loop.last_changed = std::move(values);
  return true;
}

}  // namespace

Value Renderer::loop_attribute(Loop& loop, std::string_view name, bool& found) {
  found = true;
  if (name == "index") return loop.index0 + 1;
  if (name == "index0") return loop.index0;
  if (name == "first") return loop.index0 == 0;
  if (name == "last") return !loop.has_next();
  if (name == "length") return loop.length(heap_);
  if (name == "revindex") return loop.length(heap_) - loop.index0;
  if (name == "revindex0") return loop.length(heap_) - loop.index0 - 1;
  if (name == "depth") return loop.depth0 + 1;
  if (name == "depth0") return loop.depth0;
  if (name == "previtem") return loop.index0 == 0 ? undefined("there is no previous item") : *loop.previous;
  if (name == "nextitem") return loop.has_next() ? *loop.after : undefined("there is no next item");
  if (name == "cycle") return heap_.make<Method>(&loop, loop_cycle);
  if (name == "changed") return heap_.make<Method>(&loop, loop_changed);
  found = false;
  return Undefined{};
}

}  // namespace junto::jinja

#include "format/jinja/parser.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace junto::jinja {
namespace {

constexpr int kMaxNesting = 200;  // of blocks and brackets
constexpr std::string_view kReservedNames[] = {"true", "false", "none", "True", "False", "None"};

std::string join(std::initializer_list<std::string_view> words) {
  std::string out;
  for (const std::string_view word : words) out += (out.empty() ? "'" : " or '") + std::string(word) + "'";
  return out;
}

bool assigns(const Target& target, Symbol symbol) {
  if (target.tuple.empty()) return target.symbol == symbol && target.attribute.empty();
  return std::any_of(target.tuple.begin(), target.tuple.end(),
                     [symbol](const Target& part) { return assigns(part, symbol); });
}

}  // namespace

template <class Parse>
auto Parser::nested(Parse parse) {
  if (++nesting_ > kMaxNesting) error("nested deeper than " + std::to_string(kMaxNesting) + " levels");
  auto result = parse();
  --nesting_;
  return result;
}

void Parser::error(const std::string& reason, int line) const {
  fail(template_.name + ":" + std::to_string(line > 0 ? line : current().line), reason);
}

void Parser::expect_operator(std::string_view op) {
  if (!skip_operator(op)) error("expected token '" + std::string(op) + "', got '" + describe(current()) + "'");
}

void Parser::expect(TokenKind kind, std::string_view what) {
  if (current().kind != kind) error("expected " + std::string(what) + ", got '" + describe(current()) + "'");
  next();
}

std::string Parser::expect_name() {
  if (current().kind != TokenKind::kName) error("expected a name, got '" + describe(current()) + "'");
  return next().text;
}

Symbol Parser::intern(const std::string& name) {
  const auto [found, added] = template_.symbol_of.emplace(name, static_cast<Symbol>(template_.symbols.size()));
  if (added) template_.symbols.push_back(name);
  return found->second;
}

void Parser::parse() {
  template_.loop = intern("loop");
  template_.caller = intern("caller");
  template_.varargs = intern("varargs");
  template_.kwargs = intern("kwargs");
  template_.body = parse_block({});
  if (!unknown_.empty()) error(unknown_.front().reason, unknown_.front().line);
}

// Statements up to one of `end_tags`, whose name is then the current token; up to the end where there are none.
Block Parser::parse_block(EndTags end_tags) {
  Block block;
  for (;;) {
    const int line = current().line;
    if (current().kind == TokenKind::kData) {
      block.push_back({line, Data{next().text}});
    } else if (current().kind == TokenKind::kOutputBegin) {
      next();
      block.push_back({line, Output{parse_tuple(true)}});
      expect(TokenKind::kOutputEnd, "end of print statement");
    } else if (current().kind == TokenKind::kBlockBegin) {
      next();
      if (current().kind != TokenKind::kName) error("tag name expected");
      for (const std::string_view tag : end_tags) {
        if (current().text == tag) return block;
      }
      parse_statement(block, end_tags);
      expect(TokenKind::kBlockEnd, "end of statement block");
    } else {
      if (end_tags.size() > 0) error("unexpected end of template, looking for " + join(end_tags));
      return block;
    }
  }
}

Block Parser::parse_body(EndTags end_tags, bool soft, bool in_loop) {
  skip_operator(":");
  expect(TokenKind::kBlockEnd, "end of statement block");
  const bool outer_soft = soft_, outer_in_loop = in_loop_;
  soft_ = soft;
  in_loop_ = in_loop;
  Block block = nested([&] { return parse_block(end_tags); });
  soft_ = outer_soft;
  in_loop_ = outer_in_loop;
  return block;
}

void Parser::parse_statement(Block& block, EndTags end_tags) {
  using Parse = void (Parser::*)(Block&);
  static constexpr std::pair<std::string_view, Parse> kTags[] = {
      {"if", &Parser::parse_if},       {"for", &Parser::parse_for},
      {"set", &Parser::parse_set},     {"macro", &Parser::parse_macro},
      {"with", &Parser::parse_with},   {"call", &Parser::parse_call_block},
      {"print", &Parser::parse_print}, {"filter", &Parser::parse_filter_block}};
  const std::string tag = current().text;
  for (const auto& [name, parse] : kTags) {
    if (tag == name) return (this->*parse)(block);
  }
  const int line = next().line;
  if (tag == "generation") {
    Block body = parse_body({"endgeneration"}, false, false);
    next();
    block.push_back({line, Scoped{std::move(body)}});
  } else if (tag == "break" || tag == "continue") {
    if (!in_loop_) error("'" + tag + "' outside of a loop", line);
    if (tag == "break") {
      block.push_back({line, Break{}});
    } else {
      block.push_back({line, Continue{}});
    }
  } else {
    const std::string looking = end_tags.size() > 0 ? ", looking for " + join(end_tags) : "";
    error("unknown tag '" + printable(tag, 40) + "'" + looking, line);
  }
}

void Parser::parse_if(Block& block) {
  const int line = current().line;
  const bool outer_soft = soft_;
  If statement;
  do {
    next();
    soft_ = true;
    ExpressionRef test = parse_tuple(false);
    soft_ = outer_soft;
    statement.branches.emplace_back(std::move(test), parse_body({"elif", "else", "endif"}, true, in_loop_));
  } while (at_name("elif"));
  if (next().text == "else") {
    statement.otherwise = parse_body({"endif"}, true, in_loop_);
    next();
  }
  block.push_back({line, std::move(statement)});
}

void Parser::parse_for(Block& block) {
  const int line = next().line;
  For statement;
  statement.target = parse_target(false);
  if (assigns(statement.target, template_.loop)) error("can't assign to the special variable 'loop'", line);
  if (!skip_name("in")) error("expected 'in', got '" + describe(current()) + "'");
  statement.iterable = parse_tuple(false);
  if (skip_name("if")) {
    const bool outer_soft = std::exchange(soft_, false);
    statement.test = parse_expression();
    soft_ = outer_soft;
  }
  statement.recursive = skip_name("recursive");
  statement.body = parse_body({"endfor", "else"}, false, true);
  if (next().text == "else") {
    statement.otherwise = parse_body({"endfor"}, false, in_loop_);
    next();
  }
  block.push_back({line, std::move(statement)});
}

Symbol Parser::parse_assigned_name() {
  const int line = current().line;
  const std::string name = expect_name();
  for (const std::string_view reserved : kReservedNames) {
    if (name == reserved) error("can't assign to '" + name + "'", line);
  }
  return intern(name);
}

Target Parser::parse_simple_target(bool with_namespace) {
  Target target;
  if (skip_operator("(")) {
    target = nested([&] { return parse_target(with_namespace); });
    expect_operator(")");
    return target;
  }
  if (current().kind != TokenKind::kName) error("can't assign to '" + describe(current()) + "'");
  target.symbol = parse_assigned_name();
  if (with_namespace && skip_operator(".")) target.attribute = expect_name();
  return target;
}

// a | a, b | (a, b), c. A comma at the end is allowed in parentheses only.
Target Parser::parse_target(bool with_namespace) {
  Target first = parse_simple_target(with_namespace);
  if (!at_operator(",")) return first;
  Target target;
  target.tuple.push_back(std::move(first));
  while (skip_operator(",")) {
    if (at_operator(")")) break;
    target.tuple.push_back(parse_simple_target(with_namespace));
  }
  return target;
}

void Parser::parse_set(Block& block) {
  const int line = next().line;
  Target target = parse_target(true);
  if (in_loop_ && assigns(target, template_.loop)) error("can't assign to the special variable 'loop'", line);
  if (skip_operator("=")) {
    block.push_back({line, Set{std::move(target), parse_tuple(true)}});
    return;
  }
  const bool outer_soft = std::exchange(soft_, false);
  ExpressionRef filters = at_operator("|") ? parse_filters(make(line, 1, BlockText{}), false) : nullptr;
  soft_ = outer_soft;
  Block body = parse_body({"endset"}, false, in_loop_);
  next();
  block.push_back({line, SetBlock{std::move(target), std::move(filters), std::move(body)}});
}

void Parser::parse_signature(MacroBody& macro) {
  expect_operator("(");
  bool has_default = false;
  while (!at_operator(")")) {
    if (!macro.parameters.empty()) expect_operator(",");
    const Symbol symbol = parse_assigned_name();
    ExpressionRef value;
    if (skip_operator("=")) {
      value = parse_expression();
      has_default = true;
    } else if (has_default) {
      error("non-default argument follows default argument");
    }
    macro.parameters.emplace_back(symbol, std::move(value));
  }
  expect_operator(")");
}

// Which of the special names the body reads decides which arguments the macro takes.
void Parser::parse_macro_body(MacroBody& macro, std::string_view end_tag) {
  const bool outer_caller = std::exchange(saw_caller_, false), outer_varargs = std::exchange(saw_varargs_, false),
             outer_kwargs = std::exchange(saw_kwargs_, false);
  macro.body = parse_body({end_tag}, false, false);
  next();
  macro.uses_caller = saw_caller_;
  macro.uses_varargs = saw_varargs_;
  macro.uses_kwargs = saw_kwargs_;
  for (const auto& [symbol, value] : macro.parameters) {
    if (symbol == template_.caller && macro.uses_caller && !value) {
      error("the special argument 'caller' of a macro must be omitted or be given a default");
    }
    if (symbol == template_.caller) macro.uses_caller = false;
    if (symbol == template_.varargs) macro.uses_varargs = false;
    if (symbol == template_.kwargs) macro.uses_kwargs = false;
  }
  saw_caller_ |= outer_caller;
  saw_varargs_ |= outer_varargs;
  saw_kwargs_ |= outer_kwargs;
}

void Parser::parse_macro(Block& block) {
  const int line = next().line;
  MacroDefinition statement;
  statement.symbol = parse_assigned_name();
  statement.macro.name = template_.symbols[static_cast<std::size_t>(statement.symbol)];
  const bool outer_soft = std::exchange(soft_, false);
  parse_signature(statement.macro);
  soft_ = outer_soft;
  parse_macro_body(statement.macro, "endmacro");
  block.push_back({line, std::move(statement)});
}

void Parser::parse_call_block(Block& block) {
  const int line = next().line;
  CallBlock statement;
  if (at_operator("(")) parse_signature(statement.caller);
  statement.call = parse_expression();
  if (!std::holds_alternative<Call>(statement.call->node)) error("expected call", line);
  parse_macro_body(statement.caller, "endcall");
  block.push_back({line, std::move(statement)});
}

void Parser::parse_filter_block(Block& block) {
  const int line = next().line;
  FilterBlock statement;
  const bool outer_soft = std::exchange(soft_, false);
  statement.filters = parse_filters(make(line, 1, BlockText{}), true);
  soft_ = outer_soft;
  statement.body = parse_body({"endfilter"}, false, in_loop_);
  next();
  block.push_back({line, std::move(statement)});
}

void Parser::parse_with(Block& block) {
  const int line = next().line;
  With statement;
  while (current().kind != TokenKind::kBlockEnd) {
    if (!statement.assignments.empty()) expect_operator(",");
    Target target = parse_simple_target(false);
    expect_operator("=");
    statement.assignments.emplace_back(std::move(target), parse_expression());
  }
  statement.body = parse_body({"endwith"}, false, in_loop_);
  next();
  block.push_back({line, std::move(statement)});
}

void Parser::parse_print(Block& block) {
  const int line = next().line;
  for (bool first = true; current().kind != TokenKind::kBlockEnd; first = false) {
    if (!first) expect_operator(",");
    block.push_back({line, Output{parse_expression()}});
  }
}

Template parse_template(std::string_view source, std::string_view name) {
  Template result;
  result.name = name;
  Parser(tokenize(source, name), result).parse();
  return result;
}

}  // namespace junto::jinja

// Tokens to a Template, by the grammar of Jinja 3.1. Refused by name: extends, include, import, block and autoescape,
// which need other files or escaping and which chat templates do not use.
#pragma once

#include <string_view>

#include "format/jinja/ast.h"
#include "format/jinja/lexer.h"

namespace junto::jinja {

/// Throws Error "name:line: reason".
Template parse_template(std::string_view source, std::string_view name);

class Parser {
 public:
  Parser(std::vector<Token> tokens, Template& result) : tokens_(std::move(tokens)), template_(result) {}

  void parse();

 private:
  // Statements (parser.cc).
  using EndTags = std::initializer_list<std::string_view>;
  Block parse_block(EndTags end_tags);
  /// The block after the end of the tag that opened it. `soft`, `in_loop`: see below.
  Block parse_body(EndTags end_tags, bool soft, bool in_loop);
  void parse_statement(Block& block, EndTags end_tags);
  void parse_if(Block& block);
  void parse_for(Block& block);
  void parse_set(Block& block);
  void parse_macro(Block& block);
  void parse_call_block(Block& block);
  void parse_with(Block& block);
  void parse_filter_block(Block& block);
  void parse_print(Block& block);
  void parse_signature(MacroBody& macro);
  void parse_macro_body(MacroBody& macro, std::string_view end_tag);
  Target parse_target(bool with_namespace);
  Target parse_simple_target(bool with_namespace);
  Symbol parse_assigned_name();

  // Expressions (parse_expression.cc).
  ExpressionRef parse_tuple(bool with_conditional, bool in_parentheses = false);
  ExpressionRef parse_expression(bool with_conditional = true);
  ExpressionRef parse_conditional();
  ExpressionRef parse_or();
  ExpressionRef parse_and();
  ExpressionRef parse_not();
  ExpressionRef parse_comparison();
  ExpressionRef parse_sum();
  ExpressionRef parse_concatenation();
  ExpressionRef parse_product();
  ExpressionRef parse_power();
  ExpressionRef parse_unary(bool with_filter = true);
  ExpressionRef parse_primary();
  ExpressionRef parse_name();
  ExpressionRef parse_list();
  ExpressionRef parse_dict();
  ExpressionRef parse_postfix(ExpressionRef object);
  ExpressionRef parse_filters_and_tests(ExpressionRef object);
  ExpressionRef parse_subscript(ExpressionRef object);
  ExpressionRef parse_slice_or_index(ExpressionRef object, int line);
  ExpressionRef parse_call(ExpressionRef callee);
  ExpressionRef parse_filters(ExpressionRef input, bool first_without_pipe);
  ExpressionRef parse_test(ExpressionRef input);
  ArgumentList parse_arguments();
  std::string parse_dotted_name();

  template <class Node>
  ExpressionRef make(int line, int depth, Node node);

  // Tokens.
  const Token& current() const { return tokens_[at_]; }
  const Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  const Token& ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  bool at_operator(std::string_view op) const { return current().kind == TokenKind::kOperator && current().text == op; }
  bool at_name(std::string_view name) const { return current().kind == TokenKind::kName && current().text == name; }
  bool skip_operator(std::string_view op) { return at_operator(op) ? (next(), true) : false; }
  bool skip_name(std::string_view name) { return at_name(name) ? (next(), true) : false; }
  void expect_operator(std::string_view op);
  void expect(TokenKind kind, std::string_view what);
  std::string expect_name();
  [[noreturn]] void error(const std::string& reason, int line = 0) const;

  Symbol intern(const std::string& name);

  /// Runs `parse` one level deeper; throws where expressions or blocks are nested too deep.
  template <class Parse>
  auto nested(Parse parse);

  // An unknown filter or test is an error, except directly inside an `if` or in an inline if, where Jinja raises only
  // when it is reached: templates guard newer filters so.
  struct Unknown {
    std::string reason;
    int line;
  };
  std::vector<Unknown> unknown_;

  bool soft_ = false;     // directly inside an `if`
  bool in_loop_ = false;  // `break` and `continue` are allowed
  int nesting_ = 0;
  std::vector<Token> tokens_;
  Template& template_;
  std::size_t at_ = 0;
  bool saw_caller_ = false, saw_varargs_ = false, saw_kwargs_ = false;
};

}  // namespace junto::jinja

// The expressions of Jinja, loosest binding first: inline if, or, and, not, comparison, + -, ~, * / // %, **, unary
// sign, postfix, filters and tests.
#include <algorithm>

#include "format/jinja/builtins.h"
#include "format/jinja/parser.h"

namespace junto::jinja {
namespace {

constexpr int kMaxDepth = 400;     // of an expression's tree; long chains of + count too
constexpr int kMaxBrackets = 200;  // of brackets

int depth_of(const ExpressionRef& expression) {
  return expression ? expression->depth : 0;
}

int depth_of(const ArgumentList& arguments) {
  int depth = std::max(depth_of(arguments.star), depth_of(arguments.star_star));
  for (const auto& value : arguments.positional) depth = std::max(depth, depth_of(value));
  for (const auto& [name, value] : arguments.keyword) depth = std::max(depth, depth_of(value));
  return depth;
}

}  // namespace

template <class Node>
ExpressionRef Parser::make(int line, int depth, Node node) {
  if (depth > kMaxDepth) error("an expression is nested deeper than " + std::to_string(kMaxDepth) + " levels", line);
  return std::make_unique<Expression>(Expression{line, depth, std::move(node)});
}

template ExpressionRef Parser::make(int, int, BlockText);

// expression (, expression)* [,]: a tuple where there is a comma.
ExpressionRef Parser::parse_tuple(bool with_conditional, bool in_parentheses) {
  const int line = current().line;
  const auto at_end = [&] {
    const TokenKind kind = current().kind;
    return kind == TokenKind::kOutputEnd || kind == TokenKind::kBlockEnd || at_operator(")");
  };
  std::vector<ExpressionRef> items;
  bool is_tuple = false;
  int depth = 0;
  while (!at_end()) {
    items.push_back(parse_expression(with_conditional));
    depth = std::max(depth, items.back()->depth);
    if (!skip_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && items.size() == 1) return std::move(items[0]);
  if (items.empty() && !in_parentheses) error("Expected an expression, got '" + describe(current()) + "'");
  return make(line, depth + 1, SequenceLiteral{Kind::kTuple, std::move(items)});
}

ExpressionRef Parser::parse_expression(bool with_conditional) {
  if (++nesting_ > kMaxBrackets) error("nested deeper than " + std::to_string(kMaxBrackets) + " levels");
  ExpressionRef expression = with_conditional ? parse_conditional() : parse_or();
  --nesting_;
  return expression;
}

ExpressionRef Parser::parse_conditional() {
  const int line = current().line;
  const std::size_t unknown_before = unknown_.size();
  ExpressionRef value = parse_or();
  while (skip_name("if")) {
    ExpressionRef test = parse_or();
    ExpressionRef otherwise;
    if (skip_name("else")) {
      if (++nesting_ > kMaxBrackets) error("nested deeper than " + std::to_string(kMaxBrackets) + " levels");
      otherwise = parse_conditional();
      --nesting_;
    }
    unknown_.resize(unknown_before);  // reached at run time only
    const int depth = std::max({depth_of(value), depth_of(test), depth_of(otherwise)}) + 1;
    value = make(line, depth, Conditional{std::move(test), std::move(value), std::move(otherwise)});
  }
  return value;
}

ExpressionRef Parser::parse_or() {
  ExpressionRef left = parse_and();
  while (at_name("or")) {
    const int line = next().line;
    ExpressionRef right = parse_and();
    const int depth = std::max(left->depth, right->depth) + 1;
    left = make(line, depth, Logical{false, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionRef Parser::parse_and() {
  ExpressionRef left = parse_not();
  while (at_name("and")) {
    const int line = next().line;
    ExpressionRef right = parse_not();
    const int depth = std::max(left->depth, right->depth) + 1;
    left = make(line, depth, Logical{true, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionRef Parser::parse_not() {
  int count = 0;
  const int line = current().line;
  while (skip_name("not")) ++count;
  ExpressionRef value = parse_comparison();
  for (; count > 0; --count) {
    const int depth = value->depth + 1;
    value = make(line, depth, Unary{'!', std::move(value)});
  }
  return value;
}

ExpressionRef Parser::parse_comparison() {
  static constexpr std::string_view kOperators[] = {"==", "!=", "<", "<=", ">", ">="};
  const int line = current().line;
  ExpressionRef first = parse_sum();
  Comparison comparison;
  int depth = first->depth;
  for (;;) {
    std::string op;
    if (current().kind == TokenKind::kOperator &&
        std::find(std::begin(kOperators), std::end(kOperators), current().text) != std::end(kOperators)) {
      op = next().text;
    } else if (skip_name("in")) {
      op = "in";
    } else if (at_name("not") && ahead().kind == TokenKind::kName && ahead().text == "in") {
      next(), next();
      op = "notin";
    } else {
      break;
    }
    ExpressionRef operand = parse_sum();
    depth = std::max(depth, operand->depth);
    comparison.rest.emplace_back(std::move(op), std::move(operand));
  }
  if (comparison.rest.empty()) return first;
  comparison.first = std::move(first);
  return make(line, depth + 1, std::move(comparison));
}

ExpressionRef Parser::parse_sum() {
  ExpressionRef left = parse_concatenation();
  while (at_operator("+") || at_operator("-")) {
    const Token& token = next();
    const int line = token.line;
    ExpressionRef right = parse_concatenation();
    const int depth = std::max(left->depth, right->depth) + 1;
    left = make(line, depth, Arithmetic{token.text, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionRef Parser::parse_concatenation() {
  const int line = current().line;
  ExpressionRef first = parse_product();
  if (!at_operator("~")) return first;
  Concatenation concatenation;
  int depth = first->depth;
  concatenation.parts.push_back(std::move(first));
  while (skip_operator("~")) {
    concatenation.parts.push_back(parse_product());
    depth = std::max(depth, concatenation.parts.back()->depth);
  }
  return make(line, depth + 1, std::move(concatenation));
}

ExpressionRef Parser::parse_product() {
  ExpressionRef left = parse_power();
  while (at_operator("*") || at_operator("/") || at_operator("//") || at_operator("%")) {
    const Token& token = next();
    const int line = token.line;
    ExpressionRef right = parse_power();
    const int depth = std::max(left->depth, right->depth) + 1;
    left = make(line, depth, Arithmetic{token.text, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionRef Parser::parse_power() {
  ExpressionRef left = parse_unary();
  while (at_operator("**")) {
    const int line = next().line;
    ExpressionRef right = parse_unary();
    const int depth = std::max(left->depth, right->depth) + 1;
    left = make(line, depth, Arithmetic{"**", std::move(left), std::move(right)});
  }
  return left;
}

ExpressionRef Parser::parse_unary(bool with_filter) {
  ExpressionRef value;
  if (at_operator("-") || at_operator("+")) {
    const Token& token = next();
    const int line = token.line;
    const char op = token.text[0];
    if (++nesting_ > kMaxBrackets) error("nested deeper than " + std::to_string(kMaxBrackets) + " levels");
    ExpressionRef operand = parse_unary(false);
    --nesting_;
    const int depth = operand->depth + 1;
    value = make(line, depth, Unary{op, std::move(operand)});
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filter ? parse_filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionRef Parser::parse_name() {
  const Token& token = next();
  if (token.text == "true" || token.text == "True") return make(token.line, 1, Constant{true});
  if (token.text == "false" || token.text == "False") return make(token.line, 1, Constant{false});
  if (token.text == "none" || token.text == "None") return make(token.line, 1, Constant{None{}});
  const Symbol symbol = intern(token.text);
  saw_caller_ |= symbol == template_.caller;
  saw_varargs_ |= symbol == template_.varargs;
  saw_kwargs_ |= symbol == template_.kwargs;
  return make(token.line, 1, Name{symbol});
}

ExpressionRef Parser::parse_primary() {
  const int line = current().line;
  switch (current().kind) {
    case TokenKind::kName:
      return parse_name();
    case TokenKind::kString: {
      std::string text;
      while (current().kind == TokenKind::kString) text += next().text;
      return make(line, 1, Constant{constant_text(std::move(text))});
    }
    case TokenKind::kInteger:
      return make(line, 1, Constant{next().integer});
    case TokenKind::kFloat:
      return make(line, 1, Constant{next().real});
    default:
      break;
  }
  if (skip_operator("(")) {
    ExpressionRef value = parse_tuple(true, true);
    expect_operator(")");
    return value;
  }
  if (at_operator("[")) return parse_list();
  if (at_operator("{")) return parse_dict();
  error("unexpected '" + describe(current()) + "'");
}

ExpressionRef Parser::parse_list() {
  const int line = next().line;
  std::vector<ExpressionRef> items;
  int depth = 0;
  while (!at_operator("]")) {
    if (!items.empty()) expect_operator(",");
    if (at_operator("]")) break;
    items.push_back(parse_expression());
    depth = std::max(depth, items.back()->depth);
  }
  expect_operator("]");
  return make(line, depth + 1, SequenceLiteral{Kind::kList, std::move(items)});
}

ExpressionRef Parser::parse_dict() {
  const int line = next().line;
  DictLiteral dict;
  int depth = 0;
  while (!at_operator("}")) {
    if (!dict.entries.empty()) expect_operator(",");
    if (at_operator("}")) break;
    ExpressionRef key = parse_expression();
    expect_operator(":");
    ExpressionRef value = parse_expression();
    depth = std::max({depth, key->depth, value->depth});
    dict.entries.emplace_back(std::move(key), std::move(value));
  }
  expect_operator("}");
  return make(line, depth + 1, std::move(dict));
}

ExpressionRef Parser::parse_postfix(ExpressionRef object) {
  for (;;) {
    if (at_operator(".") || at_operator("[")) {
      object = parse_subscript(std::move(object));
    } else if (at_operator("(")) {
      object = parse_call(std::move(object));
    } else {
      return object;
    }
  }
}

ExpressionRef Parser::parse_filters_and_tests(ExpressionRef object) {
  for (;;) {
    if (at_operator("|")) {
      object = parse_filters(std::move(object), false);
    } else if (at_name("is")) {
      object = parse_test(std::move(object));
    } else if (at_operator("(")) {
      object = parse_call(std::move(object));
    } else {
      return object;
    }
  }
}

ExpressionRef Parser::parse_subscript(ExpressionRef object) {
  const int line = current().line;
  const int depth = object->depth + 1;
  if (skip_operator(".")) {
    if (current().kind == TokenKind::kName) return make(line, depth, Attribute{std::move(object), next().text});
    if (current().kind != TokenKind::kInteger) error("expected name or number, got '" + describe(current()) + "'");
    ExpressionRef key = make(line, 1, Constant{next().integer});
    return make(line, depth, Item{std::move(object), std::move(key)});
  }
  expect_operator("[");
  ExpressionRef result = parse_slice_or_index(std::move(object), line);
  expect_operator("]");
  return result;
}

// a[key], a[start:stop:step] with any part left out, a[x, y] (a tuple as key).
ExpressionRef Parser::parse_slice_or_index(ExpressionRef object, int line) {
  ExpressionRef parts[3];
  if (at_operator("]")) {  // legal, if of no use: the empty tuple as key
    const int depth = object->depth + 1;
    return make(line, depth, Item{std::move(object), make(line, 1, SequenceLiteral{Kind::kTuple, {}})});
  }
  if (!at_operator(":")) {
    parts[0] = parse_expression();
    if (at_operator(",")) {
      std::vector<ExpressionRef> items;
      int depth = parts[0]->depth;
      items.push_back(std::move(parts[0]));
      while (skip_operator(",")) {
        items.push_back(parse_expression());
        depth = std::max(depth, items.back()->depth);
      }
      parts[0] = make(line, depth + 1, SequenceLiteral{Kind::kTuple, std::move(items)});
    }
    if (!at_operator(":")) {
      const int depth = std::max(object->depth, parts[0]->depth) + 1;
      return make(line, depth, Item{std::move(object), std::move(parts[0])});
    }
  }
  for (int i = 1; i < 3 && skip_operator(":"); ++i) {
    if (!at_operator(":") && !at_operator("]")) parts[i] = parse_expression();
  }
  const int depth = std::max({object->depth, depth_of(parts[0]), depth_of(parts[1]), depth_of(parts[2])}) + 1;
  return make(line, depth, Slice{std::move(object), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])});
}

ArgumentList Parser::parse_arguments() {
  const int line = current().line;
  expect_operator("(");
  ArgumentList arguments;
  bool first = true;
  const auto ensure = [&](bool condition) {
    if (!condition) error("invalid syntax for function call expression", line);
  };
  while (!at_operator(")")) {
    if (!first) expect_operator(",");
    first = false;
    if (at_operator(")")) break;
    if (skip_operator("*")) {
      ensure(!arguments.star && !arguments.star_star);
      arguments.star = parse_expression();
    } else if (skip_operator("**")) {
      ensure(!arguments.star_star);
      arguments.star_star = parse_expression();
    } else if (current().kind == TokenKind::kName && ahead().kind == TokenKind::kOperator && ahead().text == "=") {
      ensure(!arguments.star_star);
      std::string name = next().text;
      next();
      arguments.keyword.emplace_back(std::move(name), parse_expression());
    } else {
      ensure(!arguments.star && !arguments.star_star && arguments.keyword.empty());
      arguments.positional.push_back(parse_expression());
    }
  }
  expect_operator(")");
  return arguments;
}

ExpressionRef Parser::parse_call(ExpressionRef callee) {
  const int line = current().line;
  ArgumentList arguments = parse_arguments();
  const int depth = std::max(callee->depth, depth_of(arguments)) + 1;
  return make(line, depth, Call{std::move(callee), std::move(arguments)});
}

std::string Parser::parse_dotted_name() {
  std::string name = expect_name();
  while (skip_operator(".")) name += "." + expect_name();
  return name;
}

ExpressionRef Parser::parse_filters(ExpressionRef input, bool first_without_pipe) {
  while (first_without_pipe || at_operator("|")) {
    if (!first_without_pipe) next();
    first_without_pipe = false;
    const int line = current().line;
    std::string name = parse_dotted_name();
    ArgumentList arguments;
    if (at_operator("(")) arguments = parse_arguments();
    const Filter filter = find_filter(name);
    if (!filter && !soft_) unknown_.push_back({"No filter named " + std::string("'") + name + "'", line});
    const int depth = std::max(input->depth, depth_of(arguments)) + 1;
    input = make(line, depth, FilterCall{std::move(input), std::move(name), filter, std::move(arguments)});
  }
  return input;
}

// x is name | x is not name | x is name(arguments) | x is name argument
ExpressionRef Parser::parse_test(ExpressionRef input) {
  const int line = next().line;
  const bool negated = skip_name("not");
  std::string name = parse_dotted_name();
  ArgumentList arguments;
  const TokenKind kind = current().kind;
  if (at_operator("(")) {
    arguments = parse_arguments();
  } else if ((kind == TokenKind::kName || kind == TokenKind::kString || kind == TokenKind::kInteger ||
              kind == TokenKind::kFloat || at_operator("[") || at_operator("{")) &&
             !at_name("else") && !at_name("or") && !at_name("and")) {
    if (at_name("is")) error("You cannot chain multiple tests with is");
    arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  const Test test = find_test(name);
  if (!test && !soft_) unknown_.push_back({"No test named '" + name + "'", line});
  const int depth = std::max(input->depth, depth_of(arguments)) + 1;
  input = make(line, depth, TestCall{std::move(input), std::move(name), test, std::move(arguments)});
  return negated ? make(line, depth + 1, Unary{'!', std::move(input)}) : std::move(input);
}

}  // namespace junto::jinja

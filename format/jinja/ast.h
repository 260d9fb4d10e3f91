// A parsed template. Names are interned: a symbol is an index into Template::symbols.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "format/jinja/value.h"

namespace junto::jinja {

class Renderer;
struct Arguments;

/// input | name(arguments)
using Filter = Value (*)(Renderer& renderer, const Value& input, const Arguments& arguments);
/// input is name(arguments)
using Test = bool (*)(Renderer& renderer, const Value& input, const Arguments& arguments);

using Symbol = int;

struct Expression;
using ExpressionRef = std::unique_ptr<Expression>;

struct ArgumentList {
  std::vector<ExpressionRef> positional;
  std::vector<std::pair<std::string, ExpressionRef>> keyword;
  ExpressionRef star, star_star;  // null where absent
};

struct Constant {
  Value value;
};
struct Name {
  Symbol symbol;
};
struct SequenceLiteral {
  Kind kind;
  std::vector<ExpressionRef> items;
};
struct DictLiteral {
  std::vector<std::pair<ExpressionRef, ExpressionRef>> entries;
};
struct Unary {
  char op;
  ExpressionRef operand;
};  // + - or ! (not)
struct Arithmetic {
  std::string op;
  ExpressionRef left, right;
};  // + - * / // % **
struct Concatenation {
  std::vector<ExpressionRef> parts;
};  // a ~ b
struct Logical {
  bool conjunction;
  ExpressionRef left, right;
};                   // and, or
struct Comparison {  // a < b <= c: each operand evaluated once
  ExpressionRef first;
  std::vector<std::pair<std::string, ExpressionRef>> rest;  // "in" and "notin" beside the operators
};
struct Conditional {
  ExpressionRef test, then, otherwise;
};  // otherwise may be null
struct Attribute {
  ExpressionRef object;
  std::string name;
};
struct Item {
  ExpressionRef object, key;
};
struct Slice {
  ExpressionRef object, start, stop, step;
};  // parts may be null
struct Call {
  ExpressionRef callee;
  ArgumentList arguments;
};
struct FilterCall {
  ExpressionRef input;
  std::string name;
  Filter filter;
  ArgumentList arguments;
};
struct TestCall {
  ExpressionRef input;
  std::string name;
  Test test;
  ArgumentList arguments;
};
struct BlockText {};  // what a filter block or set block holds

struct Expression {
  int line;
  int depth;  // of the tree below
  std::variant<Constant, Name, SequenceLiteral, DictLiteral, Unary, Arithmetic, Concatenation, Logical, Comparison,
               Conditional, Attribute, Item, Slice, Call, FilterCall, TestCall, BlockText>
      node;
};

struct Statement;
using Block = std::vector<Statement>;

/// What is assigned to: a name, an attribute of a namespace, or a tuple of these.
struct Target {
  Symbol symbol = -1;
  std::string attribute;      // of the namespace `symbol`, where not empty
  std::vector<Target> tuple;  // where `symbol` is -1
};

/// A macro, or the body of a call block (name empty).
struct MacroBody {
  std::string name;
  std::vector<std::pair<Symbol, ExpressionRef>> parameters;  // with default or null
  Block body;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
};

struct Data {
  std::string text;
};
struct Output {
  ExpressionRef value;
};
struct If {
  std::vector<std::pair<ExpressionRef, Block>> branches;
  Block otherwise;
};
struct For {
  Target target;
  ExpressionRef iterable, test;
  bool recursive;
  Block body, otherwise;
};
struct Set {
  Target target;
  ExpressionRef value;
};
struct SetBlock {
  Target target;
  ExpressionRef filters;
  Block body;
};  // filters: around BlockText, or null
struct MacroDefinition {
  Symbol symbol;
  MacroBody macro;
};
struct CallBlock {
  ExpressionRef call;
  MacroBody caller;
};
struct FilterBlock {
  ExpressionRef filters;
  Block body;
};
struct With {
  std::vector<std::pair<Target, ExpressionRef>> assignments;
  Block body;
};
struct Scoped {
  Block body;
};  // {% generation %}
struct Break {};
struct Continue {};

struct Statement {
  int line;
  std::variant<Data, Output, If, For, Set, SetBlock, MacroDefinition, CallBlock, FilterBlock, With, Scoped, Break,
               Continue>
      node;
};

struct Template {
  std::string name;
  Block body;
  std::vector<std::string> symbols;
  std::unordered_map<std::string, Symbol> symbol_of;
  Symbol loop = -1, caller = -1, varargs = -1, kwargs = -1;
};

}  // namespace junto::jinja

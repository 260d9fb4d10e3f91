// Arithmetic and slices, as Python computes them.
#include <cmath>
#include <limits>

#include "format/jinja/builtins.h"
#include "format/jinja/python_text.h"
#include "format/jinja/renderer.h"

namespace junto::jinja {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

[[noreturn]] void unsupported(const std::string& op, const Value& left, const Value& right) {
  require_defined(left);
  require_defined(right);
  raise("unsupported operand type(s) for " + op + ": '" + type_name(left) + "' and '" + type_name(right) + "'");
}

[[noreturn]] void overflow() {
  raise("an integer leaves the range of 64 bits");
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  if (b == 0) raise("integer division or modulo by zero");
  if (a == std::numeric_limits<std::int64_t>::min() && b == -1) overflow();
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)) ? 1 : 0);
}

std::int64_t modulo(std::int64_t a, std::int64_t b) {
  if (b == 0) raise("integer division or modulo by zero");
  if (b == -1) return 0;
  const std::int64_t rest = a % b;
  return rest != 0 && ((rest < 0) != (b < 0)) ? rest + b : rest;  // the sign of the divisor
}

double modulo(double a, double b) {
  if (b == 0) raise("float modulo");
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

std::int64_t integer_power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) overflow();
  }
  return result;
}

Value integer_arithmetic(const std::string& op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflows = false;
  if (op == "+") {
    overflows = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflows = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflows = __builtin_mul_overflow(a, b, &result);
  } else if (op == "//") {
    return floor_divide(a, b);
  } else if (op == "%") {
    return modulo(a, b);
  } else if (op == "/") {
    if (b == 0) raise("division by zero");
    return static_cast<double>(a) / static_cast<double>(b);
  } else if (b >= 0) {
    return integer_power(a, b);
  } else {
    if (a == 0) raise("0.0 cannot be raised to a negative power");
    return std::pow(static_cast<double>(a), static_cast<double>(b));
  }
  if (overflows) overflow();
  return result;
}

Value real_arithmetic(const std::string& op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "%") return modulo(a, b);
  if (op == "**") {
    if (a == 0 && b < 0) raise("0.0 cannot be raised to a negative power");
    if (a < 0 && b != std::floor(b)) raise("a negative number to a fractional power is complex");
    const double power = std::pow(a, b);
    if (std::isinf(power) && std::isfinite(a) && std::isfinite(b)) raise("Numerical result out of range");
    return power;
  }
  if (b == 0) raise(op == "/" ? "float division by zero" : "float floor division by zero");
  return op == "/" ? a / b : std::floor(a / b);
}

// Text or a sequence, `times` times.
Value repeat(Heap& heap, const Value& value, std::int64_t times) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  const Text* text = as_text(value);
  const Sequence* sequence = as_sequence(value);
  const std::size_t size = text ? text->utf8.size() : sequence->items.size() * sizeof(Value);
  if (size > 0 && count > heap.limits().memory_bytes / size) {
    raise("repeating a value makes more than " + std::to_string(heap.limits().memory_bytes) + " bytes");
  }
  heap.check_room(size * count);
  if (text) {
    std::string out;
    out.reserve(size * count);
    for (std::size_t i = 0; size > 0 && i < count; ++i) out += text->utf8;
    return heap.text(std::move(out), text->markup);
  }
  std::vector<Value> items;
  for (std::size_t i = 0; size > 0 && i < count; ++i) {
    items.insert(items.end(), sequence->items.begin(), sequence->items.end());
  }
  return sequence->kind == Kind::kList ? heap.list(std::move(items)) : heap.tuple(std::move(items));
}

Value add_texts(Heap& heap, const Text& left, const Text& right) {
  const bool markup = left.markup || right.markup;
  heap.check_room(left.utf8.size() + right.utf8.size());
  std::string out = markup && !left.markup ? escape_html(left.utf8) : left.utf8;
  out += markup && !right.markup ? escape_html(right.utf8) : right.utf8;
  return heap.text(std::move(out), markup);
}

}  // namespace

Value add(Heap& heap, const Value& left, const Value& right) {
  std::int64_t i = 0, j = 0;
  if (as_integer(left, i) && as_integer(right, j)) return integer_arithmetic("+", i, j);
  double x = 0, y = 0;
  if (as_real(left, x) && as_real(right, y)) return x + y;
  const Text *text = as_text(left), *other = as_text(right);
  if (text && other) return add_texts(heap, *text, *other);
  if (text && !is_undefined(right)) raise("can only concatenate str (not \"" + type_name(right) + "\") to str");
  const Sequence *a = as_sequence(left), *b = as_sequence(right);
  if (!a || !b || a->kind != b->kind) unsupported("+", left, right);
  heap.check_room((a->items.size() + b->items.size()) * sizeof(Value));
  std::vector<Value> items = a->items;
  items.insert(items.end(), b->items.begin(), b->items.end());
  return a->kind == Kind::kList ? heap.list(std::move(items)) : heap.tuple(std::move(items));
}

Value arithmetic(Renderer& renderer, const std::string& op, const Value& left, const Value& right) {
  Heap& heap = renderer.heap();
  if (op == "+") return add(heap, left, right);
  std::int64_t i = 0, j = 0;
  const bool left_integer = as_integer(left, i), right_integer = as_integer(right, j);
  if (left_integer && right_integer) return integer_arithmetic(op, i, j);
  double x = 0, y = 0;
  if (as_real(left, x) && as_real(right, y)) return real_arithmetic(op, x, y);
  const auto repeats = [](const Value& value) { return as_text(value) || as_sequence(value); };
  if (op == "*" && repeats(left) && right_integer) return repeat(heap, left, j);
  if (op == "*" && repeats(right) && left_integer) return repeat(heap, right, i);
  if (op == "%" && as_text(left))
    return heap.text(format_percent(renderer, *as_text(left), right), as_text(left)->markup);
  unsupported(op, left, right);
}

Value negate(const Value& value) {
  std::int64_t integer = 0;
  if (as_integer(value, integer)) {
    if (integer == std::numeric_limits<std::int64_t>::min()) overflow();
    return -integer;
  }
  if (const auto* real = std::get_if<double>(&value)) return -*real;
  require_defined(value);
  raise("bad operand type for unary -: '" + type_name(value) + "'");
}

namespace {

struct Bounds {
  std::int64_t start, step, count;
};

// Python's slice.indices: which elements of `size` are taken.
Bounds resolve(const Value& start, const Value& stop, const Value& step, std::int64_t size) {
  const auto part = [](const Value& value, std::int64_t fallback) {
    std::int64_t integer = fallback;
    if (!is_none(value) && !as_integer(value, integer)) {
      require_defined(value);
      raise("slice indices must be integers or None");
    }
    return integer;
  };
  const std::int64_t stride = part(step, 1);
  if (stride == 0) raise("slice step cannot be zero");
  const bool forward = stride > 0;
  const std::int64_t low = forward ? 0 : -1, high = forward ? size : size - 1;
  const auto clamp = [&](std::int64_t index) {
    if (index < 0) index = index < -size ? low : index + size;
    return std::min(std::max(index, low), high);
  };
  const std::int64_t first = is_none(start) ? (forward ? low : high) : clamp(part(start, 0));
  const std::int64_t last = is_none(stop) ? (forward ? high : low) : clamp(part(stop, 0));
  const std::int64_t span = forward ? last - first : first - last;
  const std::int64_t width = stride == std::numeric_limits<std::int64_t>::min() ? kMost : std::abs(stride);
  return {first, stride, span <= 0 ? 0 : (span - 1) / width + 1};
}

std::string slice_text(const std::string& text, const Bounds& bounds) {
  if (bounds.step == 1) {
    const std::size_t begin = byte_offset(text, static_cast<std::size_t>(bounds.start));
    const std::string_view rest = std::string_view(text).substr(begin);
    return std::string(rest.substr(0, byte_offset(rest, static_cast<std::size_t>(bounds.count))));
  }
  const std::u32string decoded = decode_utf8(text);
  std::u32string out;
  for (std::int64_t i = 0; i < bounds.count; ++i)
    out += decoded[static_cast<std::size_t>(bounds.start + i * bounds.step)];
  return encode_utf8(out);
}

}  // namespace

Value slice(Heap& heap, const Value& object, const Value& start, const Value& stop, const Value& step) {
  require_defined(object);
  const Text* text = as_text(object);
  const Sequence* sequence = as_sequence(object);
  const Range* range = as<Range>(object, Kind::kRange);
  if (!text && !sequence && !range) raise("'" + type_name(object) + "' object cannot be sliced");
  const Bounds bounds = resolve(start, stop, step, length(heap, object));
  if (text) return heap.text(slice_text(text->utf8, bounds), text->markup);
  if (range) {
    if (bounds.count == 0) return heap.make<Range>(range->start, range->start, 1, 0);
    const std::int64_t first = range->start + bounds.start * range->step;
    const std::int64_t stride = bounds.count > 1 ? range->step * bounds.step : 1;
    return heap.make<Range>(first, first + (bounds.count - 1) * stride + (stride > 0 ? 1 : -1), stride, bounds.count);
  }
  std::vector<Value> items;
  for (std::int64_t i = 0; i < bounds.count; ++i) {
    items.push_back(sequence->items[static_cast<std::size_t>(bounds.start + i * bounds.step)]);
  }
  return sequence->kind == Kind::kList ? heap.list(std::move(items)) : heap.tuple(std::move(items));
}

}  // namespace junto::jinja

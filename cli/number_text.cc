#include "cli/number_text.h"

#include <cstdio>

#include "base/progress.h"

namespace junto {

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string bytes_text(std::uint64_t bytes) {
  return format_quantity(static_cast<double>(bytes), "B");
}

}  // namespace junto

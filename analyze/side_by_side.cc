#include "analyze/side_by_side.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace junto {

std::vector<TracedPass> passes_of(const RouteTrace& trace, std::int64_t sequences) {
  const std::vector<std::int64_t>& begins = trace.sequence_begin;
  if (sequences < 1 || std::ssize(begins) < sequences) {
    fail(trace.source, "has " + std::to_string(begins.size()) + " sequences, expected at least " +
                           std::to_string(sequences) + " to be decoded side by side");
  }
  std::vector<TracedPass> passes;
  if (sequences == 1) {
    for (std::int64_t t = 0; t < trace.tokens(); ++t) passes.push_back({t});
    return passes;
  }
  const auto end_of = [&](std::int64_t s) {
    return s + 1 < std::ssize(begins) ? begins[static_cast<std::size_t>(s + 1)] : trace.tokens();
  };
  for (std::int64_t first = 0; first + sequences <= std::ssize(begins); first += sequences) {
    std::int64_t length = trace.tokens();
    for (std::int64_t s = first; s < first + sequences; ++s) {
      length = std::min(length, end_of(s) - begins[static_cast<std::size_t>(s)]);
    }
    for (std::int64_t position = 0; position < length; ++position) {
      TracedPass& pass = passes.emplace_back();
      for (std::int64_t s = first; s < first + sequences; ++s) {
        pass.push_back(begins[static_cast<std::size_t>(s)] + position);
      }
    }
  }
  return passes;
}

std::span<const std::int32_t> sequence_up_to(const RouteTrace& trace, std::int64_t token) {
  const auto next = std::ranges::upper_bound(trace.sequence_begin, token);
  const std::int64_t begin = next == trace.sequence_begin.begin() ? 0 : *(next - 1);
  return std::span(trace.token).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(token + 1 - begin));
}

}  // namespace junto

#include "generate/forward_rows.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"

namespace junto {
namespace {

void check_fits(const Decoder& decoder, const Sequence& sequence, std::size_t more) {
  const std::int64_t context = decoder.model().config.context_length;
  const std::int64_t tokens = sequence.length() + static_cast<std::int64_t>(more);
  if (tokens <= context) return;
  fail(decoder.model().path, "text has " + std::to_string(tokens) + " tokens, context is " + std::to_string(context));
}

}  // namespace

MatrixView<const float> forward_call(Decoder& decoder, Sequence& sequence, std::span<const std::int32_t> ids,
                                     const Hooks* hooks) {
  check_fits(decoder, sequence, ids.size());
  const std::int64_t first = sequence.length();
  std::vector<Row> rows(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    rows[i].token = ids[i];
    rows[i].logits = true;
  }
  Sequence* const sequences[] = {&sequence};
  Batch batch;
  batch.sequences = sequences;
  batch.rows = rows;
  batch.hooks = hooks;
  const MatrixView<const float> logits = decoder.forward(batch).logits;
  for (std::int64_t r = 0; r < logits.rows; ++r) {
    if (std::ranges::all_of(logits.row(r), [](float x) { return std::isfinite(x); })) continue;
    fail(decoder.model().path, "logits are not finite at position " + std::to_string(first + r));
  }
  return logits;
}

void forward_rows(Decoder& decoder, Sequence& sequence, std::span<const std::int32_t> ids, int chunk,
                  const Hooks* hooks, const LogitsSink& sink) {
  check_fits(decoder, sequence, ids.size());
  const std::size_t step = chunk > 0 ? static_cast<std::size_t>(chunk) : std::max<std::size_t>(1, ids.size());
  for (std::size_t first = 0; first < ids.size(); first += step) {
    const auto part = ids.subspan(first, std::min(step, ids.size() - first));
    sink(static_cast<std::int64_t>(first), forward_call(decoder, sequence, part, hooks));
  }
}

}  // namespace junto

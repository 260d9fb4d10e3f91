#include "compress/carve_statistics.h"

#include <algorithm>

#include "tensor/half.h"

namespace junto {
namespace {

std::int64_t sample_bytes(const ModelConfig& config, std::int64_t width, std::int64_t tokens) {
  return tokens * 2 * (config.hidden_size + width);
}

// How many of `blocks` one pass holds, at least one.
std::size_t blocks_that_fit(const ModelConfig& config, std::span<const int> blocks,
                            std::span<const std::int64_t> widths, std::int64_t tokens, std::int64_t budget_bytes) {
  std::int64_t bytes = 0;
  std::size_t count = 0;
  while (count < blocks.size()) {
    bytes += sample_bytes(config, widths[blocks[count]], tokens);
    if (count > 0 && bytes > budget_bytes) break;
    ++count;
  }
  return count;
}

void keep_rows(MatrixView<const float> rows, std::vector<std::uint16_t>& into) {
  const std::size_t first = into.size();
  into.resize(first + static_cast<std::size_t>(rows.rows * rows.cols));
  for (std::int64_t r = 0; r < rows.rows; ++r) {
    const std::span<const float> row = rows.row(r);
    std::transform(row.begin(), row.end(), into.begin() + static_cast<std::ptrdiff_t>(first) + r * rows.cols,
                   float_to_bf16);
  }
}

void take_observation(const Observation& seen, std::span<BlockSample> samples) {
  const auto sample = std::find_if(samples.begin(), samples.end(),
                                   [&](const BlockSample& candidate) { return candidate.block == seen.block; });
  if (sample == samples.end()) return;
  if (seen.point == Point::kExpertInput) keep_rows(seen.values, sample->inputs);
  if (seen.point == Point::kGatedHidden) keep_rows(seen.values, sample->hidden);
  if (seen.point != Point::kBlockOutput) return;
  for (std::int64_t r = 0; r < seen.values.rows; ++r) {
    float squares = 0;
    for (const float value : seen.values.row(r)) squares += value * value;
    sample->stream_squares.push_back(squares);
  }
}

}  // namespace

std::int64_t sample_passes(const ModelConfig& config, std::span<const std::int64_t> widths, std::int64_t tokens,
                           const SampleOptions& options) {
  std::vector<int> blocks;
  for (std::size_t b = 0; b < widths.size(); ++b) {
    if (widths[b] > 0) blocks.push_back(static_cast<int>(b));
  }
  std::int64_t passes = 0;
  for (std::span<const int> left = blocks; !left.empty(); ++passes) {
    left = left.subspan(blocks_that_fit(config, left, widths, tokens, options.budget_bytes));
  }
  return passes;
}

void sample_blocks(Decoder& decoder, std::span<const std::int32_t> text, std::span<const int> blocks,
                   std::span<const std::int64_t> widths, const SampleOptions& options,
                   const std::function<void(const BlockSample&)>& take) {
  const ModelConfig& config = decoder.model().config;
  const std::size_t own = static_cast<std::size_t>(options.window) - (options.bos ? 1 : 0);
  const auto windows = static_cast<std::int64_t>(text.size() / own);
  const std::int64_t tokens = windows * options.window;
  while (!blocks.empty()) {
    const std::size_t count = blocks_that_fit(config, blocks, widths, tokens, options.budget_bytes);
    std::vector<BlockSample> samples(count);
    for (std::size_t i = 0; i < count; ++i) {
      samples[i].block = blocks[i];
      samples[i].tokens = tokens;
      samples[i].window = options.window;
      samples[i].hidden_size = config.hidden_size;
      samples[i].width = widths[blocks[i]];
      samples[i].inputs.reserve(static_cast<std::size_t>(tokens * config.hidden_size));
      samples[i].hidden.reserve(static_cast<std::size_t>(tokens * samples[i].width));
    }
    Hooks hooks;
    hooks.observe_points = mask_of(Point::kExpertInput) | mask_of(Point::kGatedHidden) | mask_of(Point::kBlockOutput);
    hooks.observe = [&](const Observation& seen) { take_observation(seen, samples); };
    std::vector<std::int32_t> ids;
    for (std::int64_t w = 0; w < windows; ++w) {
      ids.clear();
      if (options.bos) ids.push_back(*options.bos);
      const auto part = text.subspan(static_cast<std::size_t>(w) * own, own);
      ids.insert(ids.end(), part.begin(), part.end());
      Sequence sequence;
      decoder.feed(sequence, ids, 0, &hooks);
      if (options.progress) options.progress(options.window);
    }
    for (BlockSample& sample : samples) {
      take(sample);
      sample = BlockSample();
    }
    blocks = blocks.subspan(count);
  }
}

}  // namespace junto

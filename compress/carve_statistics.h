// What a dense feed-forward does on a calibration text, block by block: its inputs and its neurons' activations, taken
// at the seams of the forward pass.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "model/decoder.h"

namespace junto {

/// One block on T tokens. Values are BF16: 8 bits of precision are plenty for sums over thousands of tokens.
struct BlockSample {
  int block = 0;
  std::int64_t tokens = 0;                 // T
  std::int64_t window = 512;               // tokens of a sequence: token 0, window, 2 * window... are first ones
  std::int64_t hidden_size = 0;            // D
  std::int64_t width = 0;                  // F
  std::vector<std::uint16_t> inputs = {};  // [T, D], what the feed-forward reads
  std::vector<std::uint16_t> hidden = {};  // [T, F], act(gate) * up
  std::vector<float> stream_squares = {};  // [T], squared norm of the residual stream behind the block
};

struct SampleOptions {
  std::int64_t window = 512;                          // tokens of a sequence: windows do not overlap
  std::optional<std::int32_t> bos;                    // begins every window
  std::int64_t budget_bytes = std::int64_t{4} << 30;  // of samples in memory at once
  std::function<void(std::int64_t tokens)> progress;  // called with the tokens done since the last call
};

/// How often sample_blocks() feeds the text, as `budget_bytes` does not hold the samples of all blocks at once.
std::int64_t sample_passes(const ModelConfig& config, std::span<const std::int64_t> widths, std::int64_t tokens,
                           const SampleOptions& options);

/// Feeds `text` (its full windows) and hands each block of `blocks` with its sample to `take`, in order. `widths[b]` is
/// F of block b. The text is fed again where memory does not hold all samples.
void sample_blocks(Decoder& decoder, std::span<const std::int32_t> text, std::span<const int> blocks,
                   std::span<const std::int64_t> widths, const SampleOptions& options,
                   const std::function<void(const BlockSample&)>& take);

}  // namespace junto

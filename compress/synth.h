// Files with random weights at the real shapes of published models, for measuring speed and memory without them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/presets.h"
#include "compress/tensor_types.h"
#include "format/named_tensors.h"

namespace junto {

struct SynthOptions {
  std::string preset = "tiny";
  DType type = DType::kQ4_0;
  std::vector<KeepRule> keep;
  std::string out;
  ShapeChanges shape;
  int router_back = 0;  // every router reads what the routed layer so many below reads: only Junto computes that
  std::uint64_t seed = 0;
  int threads = 0;
  WriteProgress progress;
};

struct SynthReport {
  std::int64_t weights = 0;
  std::uint64_t bytes = 0;  // of tensors
  std::size_t tensors = 0;
  double seconds = 0.0;
  std::vector<std::string> notes;
};

/// What synthesize() would write: sizes and notes, no time.
SynthReport plan_synthesis(const SynthOptions& options);

/// Writes a GGUF file under llama.cpp's architecture (with router_back: `junto`), with a tokenizer, that loads and
/// runs; what it says has no sense. Weights are scaled so that activations stay near 1. Routing is near uniform: real
/// models choose experts less evenly and with more repetition from token to token. Throws Error naming the option that
/// does not fit.
SynthReport synthesize(const SynthOptions& options);

}  // namespace junto

// Frequencies of rotary position embeddings, with every scaling that published checkpoints declare.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config_reader.h"

namespace junto {

/// What to read for one kind of layer.
struct RopeRequest {
  int head_dim = 0;
  /// Rotated share of head_dim where the checkpoint names none.
  double partial_rotary_factor = 1.0;
  double default_theta = 10000.0;
  RopeStyle style = RopeStyle::kHalf;
  /// Newer configs may hold parameters per layer type ("full_attention"); nullptr where one set serves all.
  const char* layer_type = nullptr;
  /// Option that holds theta for this kind of layer in the older form (Gemma 3: rope_local_base_freq).
  Key theta = {"rope_theta", "rope.freq_base"};
  /// Ignores rope_scaling (Gemma 3's local layers).
  bool scaled = true;
  /// Reads LongRoPE's short_mscale and long_mscale (Phi-3.5-MoE); others do not know them.
  bool named_magnitudes = false;
};

/// Reads rope_parameters, or rope_theta and rope_scaling, or the GGUF keys (with the rope_freqs tensor). Types:
/// default, linear, dynamic (within the trained context), yarn (arXiv 2309.00071), longrope, llama3; others are refused
/// by name.
Rope read_rope(const ConfigReader& reader, const RopeRequest& request);

/// The rows of a head_dim with `dims` rotated ones in another pairing: row i of each of `heads` heads is the stored row
/// order[i]. `first` rows of each head come before the rotated ones and stay.
std::vector<std::int64_t> rotation_order(std::int64_t heads, std::int64_t head_dim, std::int64_t first,
                                         std::int64_t dims, RopeStyle from, RopeStyle to);

/// DeepSeek: the factor on the attention scale that YaRN's mscale_all_dim asks for (1 where it does not).
float yarn_scale_correction(const ConfigReader& reader);

/// `long_text` takes LongRoPE's second set where there is one.
/// cos and sin of position * frequency, times the magnitude: [dims / 2] each. Angles are computed in float, as the
/// references do, then rounded sines of them.
void rope_angles(const Rope& rope, bool long_text, std::int64_t position, float* cosines, float* sines);

}  // namespace junto

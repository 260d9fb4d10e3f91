// Cache-aware routing: of experts that score nearly alike, the one that is in memory.
#pragma once

#include <cstdint>
#include <span>

namespace junto {

/// Takes `margin` off the scores that select, biased_scores [E], of the experts that are not `resident` [E]: one in
/// memory wins over one that would have to be read wherever it is less than the margin behind. The scores that weigh
/// stay. Returns whether any changed. Rules that go by other scores (given, threshold) choose as before.
///
/// After Skliar et al., arXiv 2412.00099 (cache prior), who raise the logits of experts in memory by a share of a
/// running mean of the logits' range. Here it is a fixed margin of scores, taken off the others, so that with all
/// experts in memory nothing is rounded differently.
bool prefer_resident(float margin, std::span<const std::uint8_t> resident, std::span<float> biased_scores);

}  // namespace junto

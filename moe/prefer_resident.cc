#include "moe/prefer_resident.h"

namespace junto {

bool prefer_resident(float margin, std::span<const std::uint8_t> resident, std::span<float> biased_scores) {
  if (!(margin > 0)) return false;
  bool any = false;
  for (std::size_t e = 0; e < resident.size(); ++e) {
    if (resident[e] != 0) continue;
    biased_scores[e] -= margin;
    any = true;
  }
  return any;
}

}  // namespace junto

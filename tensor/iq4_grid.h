// The uneven grid of IQ4_NL and IQ4_XS: 16 points, denser near zero, as weights are.
#pragma once

#include <cstdint>
#include <span>

namespace junto {

inline constexpr std::int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};

/// Index of the point of kIq4Values nearest to `scaled`.
int nearest_iq4(float scaled);

/// Scale d (either sign) that makes sum of weight * (value - d * point)^2 small. 0 where all values are.
float search_iq4_scale(std::span<const float> values, std::span<const float> weights);

}  // namespace junto

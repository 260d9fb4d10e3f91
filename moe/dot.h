// Inner product of float vectors in one fixed order, for the small products of overlays and routers.
#pragma once

#include <cstdint>

namespace junto {

/// sum over k of a[k] * b[k]: eight lanes (lane k % 8), k ascending in each, then the lanes pairwise. The same bits on
/// every instruction set.
float dot(const float* a, const float* b, std::int64_t k);

}  // namespace junto

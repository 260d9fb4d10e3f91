#include "kernels/tile_lanes_neon.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulQ4_0Neon;
constinit const MatmulKernel kMatmulQ4_0Neon = make_q8_kernel<TileNeon, UnitsQ4_0>(DType::kQ4_0);

}  // namespace junto

#include "kernels/tile_lanes_neon.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulQ4_1Neon;
constinit const MatmulKernel kMatmulQ4_1Neon = make_q8_kernel<TileNeon, UnitsQ4_1>(DType::kQ4_1);

}  // namespace junto

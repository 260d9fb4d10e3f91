#include "kernels/tile_lanes_neon.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulQ8_0Neon;
constinit const MatmulKernel kMatmulQ8_0Neon = make_q8_kernel<TileNeon, UnitsQ8_0>(DType::kQ8_0);

}  // namespace junto

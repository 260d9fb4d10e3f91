#include "kernels/tile_lanes_neon.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulQ5_0Neon;
constinit const MatmulKernel kMatmulQ5_0Neon = make_q8_kernel<TileNeon, UnitsQ5_0>(DType::kQ5_0);

}  // namespace junto

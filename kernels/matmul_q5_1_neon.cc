#include "kernels/tile_lanes_neon.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulQ5_1Neon;
constinit const MatmulKernel kMatmulQ5_1Neon = make_q8_kernel<TileNeon, UnitsQ5_1>(DType::kQ5_1);

}  // namespace junto

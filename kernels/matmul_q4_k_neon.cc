#include "kernels/tile_lanes_neon.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulQ4_KNeon;
constinit const MatmulKernel kMatmulQ4_KNeon = make_q8_kernel<TileNeon, UnitsQ4_K>(DType::kQ4_K);

}  // namespace junto

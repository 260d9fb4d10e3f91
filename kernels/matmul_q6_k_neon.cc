#include "kernels/tile_lanes_neon.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulQ6_KNeon;
constinit const MatmulKernel kMatmulQ6_KNeon = make_q8_kernel<TileNeon, UnitsQ6_K>(DType::kQ6_K);

}  // namespace junto

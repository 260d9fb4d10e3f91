#include "kernels/tile_lanes_neon.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulQ2_KNeon;
constinit const MatmulKernel kMatmulQ2_KNeon = make_q8_kernel<TileNeon, UnitsQ2_K>(DType::kQ2_K);

}  // namespace junto

#include "kernels/tile_lanes_neon.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulQ3_KNeon;
constinit const MatmulKernel kMatmulQ3_KNeon = make_q8_kernel<TileNeon, UnitsQ3_K>(DType::kQ3_K);

}  // namespace junto

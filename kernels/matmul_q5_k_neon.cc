#include "kernels/tile_lanes_neon.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulQ5_KNeon;
constinit const MatmulKernel kMatmulQ5_KNeon = make_q8_kernel<TileNeon, UnitsQ5_K>(DType::kQ5_K);

}  // namespace junto

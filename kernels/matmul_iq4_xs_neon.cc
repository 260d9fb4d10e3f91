#include "kernels/tile_lanes_neon.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulIQ4_XSNeon;
constinit const MatmulKernel kMatmulIQ4_XSNeon = make_q8_kernel<TileNeon, UnitsIQ4_XS>(DType::kIQ4_XS);

}  // namespace junto

#include "kernels/tile_lanes_neon.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulIQ4_NLNeon;
constinit const MatmulKernel kMatmulIQ4_NLNeon = make_q8_kernel<TileNeon, UnitsIQ4_NL>(DType::kIQ4_NL);

}  // namespace junto

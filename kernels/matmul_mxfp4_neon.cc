#include "kernels/tile_lanes_neon.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulMXFP4Neon;
constinit const MatmulKernel kMatmulMXFP4Neon = make_q8_kernel<TileNeon, UnitsMXFP4>(DType::kMXFP4);

}  // namespace junto

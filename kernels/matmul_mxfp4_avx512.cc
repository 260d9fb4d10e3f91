#include "kernels/tile_lanes_avx512.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulMXFP4Avx512;
constinit const MatmulKernel kMatmulMXFP4Avx512 = make_q8_kernel<TileAvx512, UnitsMXFP4>(DType::kMXFP4);

}  // namespace junto

#include "kernels/tile_lanes_avx2.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulQ8_0Avx2;
constinit const MatmulKernel kMatmulQ8_0Avx2 = make_q8_kernel<TileAvx2, UnitsQ8_0>(DType::kQ8_0);

}  // namespace junto

#include "kernels/tile_lanes_avx512.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulQ8_0Avx512;
constinit const MatmulKernel kMatmulQ8_0Avx512 = make_q8_kernel<TileAvx512, UnitsQ8_0>(DType::kQ8_0);

}  // namespace junto

#include "kernels/tile_lanes_avx512.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulQ4_1Avx512;
constinit const MatmulKernel kMatmulQ4_1Avx512 = make_q8_kernel<TileAvx512, UnitsQ4_1>(DType::kQ4_1);

}  // namespace junto

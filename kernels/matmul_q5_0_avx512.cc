#include "kernels/tile_lanes_avx512.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulQ5_0Avx512;
constinit const MatmulKernel kMatmulQ5_0Avx512 = make_q8_kernel<TileAvx512, UnitsQ5_0>(DType::kQ5_0);

}  // namespace junto

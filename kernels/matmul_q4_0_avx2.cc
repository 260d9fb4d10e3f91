#include "kernels/matmul_pairs.h"
#include "kernels/tile_lanes_avx2.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulQ4_0Avx2;
constinit const MatmulKernel kMatmulQ4_0Avx2 = make_q8_pairs_kernel<TileAvx2, UnitsQ4_0>(DType::kQ4_0);

}  // namespace junto

#include "kernels/matmul_pairs.h"
#include "kernels/tile_lanes_avx2.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulQ4_1Avx2;
constinit const MatmulKernel kMatmulQ4_1Avx2 = make_q8_pairs_kernel<TileAvx2, UnitsQ4_1>(DType::kQ4_1);

}  // namespace junto

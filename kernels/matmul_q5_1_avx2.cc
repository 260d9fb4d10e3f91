#include "kernels/matmul_pairs.h"
#include "kernels/tile_lanes_avx2.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulQ5_1Avx2;
constinit const MatmulKernel kMatmulQ5_1Avx2 = make_q8_pairs_kernel<TileAvx2, UnitsQ5_1>(DType::kQ5_1);

}  // namespace junto

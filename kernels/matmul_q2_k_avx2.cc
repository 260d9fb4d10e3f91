#include "kernels/matmul_pairs.h"
#include "kernels/tile_lanes_avx2.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulQ2_KAvx2;
constinit const MatmulKernel kMatmulQ2_KAvx2 = make_q8_pairs_kernel<TileAvx2, UnitsQ2_K>(DType::kQ2_K);

}  // namespace junto

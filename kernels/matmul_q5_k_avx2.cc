#include "kernels/matmul_pairs.h"
#include "kernels/tile_lanes_avx2.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulQ5_KAvx2;
constinit const MatmulKernel kMatmulQ5_KAvx2 = make_q8_pairs_kernel<TileAvx2, UnitsQ5_K>(DType::kQ5_K);

}  // namespace junto

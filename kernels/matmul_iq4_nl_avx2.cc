#include "kernels/matmul_pairs.h"
#include "kernels/tile_lanes_avx2.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulIQ4_NLAvx2;
constinit const MatmulKernel kMatmulIQ4_NLAvx2 = make_q8_pairs_kernel<TileAvx2, UnitsIQ4_NL>(DType::kIQ4_NL);

}  // namespace junto

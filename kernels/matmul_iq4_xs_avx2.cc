#include "kernels/matmul_pairs.h"
#include "kernels/tile_lanes_avx2.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulIQ4_XSAvx2;
constinit const MatmulKernel kMatmulIQ4_XSAvx2 = make_q8_pairs_kernel<TileAvx2, UnitsIQ4_XS>(DType::kIQ4_XS);

}  // namespace junto

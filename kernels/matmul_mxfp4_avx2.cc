#include "kernels/matmul_pairs.h"
#include "kernels/tile_lanes_avx2.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulMXFP4Avx2;
constinit const MatmulKernel kMatmulMXFP4Avx2 = make_q8_pairs_kernel<TileAvx2, UnitsMXFP4>(DType::kMXFP4);

}  // namespace junto

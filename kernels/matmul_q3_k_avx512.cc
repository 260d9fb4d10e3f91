#include "kernels/tile_lanes_avx512.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulQ3_KAvx512;
constinit const MatmulKernel kMatmulQ3_KAvx512 = make_q8_kernel<TileAvx512, UnitsQ3_K>(DType::kQ3_K);

}  // namespace junto

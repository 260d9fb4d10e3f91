#include "kernels/tile_lanes_avx512.h"
#include "kernels/units_k.h"

namespace junto {

extern const MatmulKernel kMatmulQ5_KAvx512;
constinit const MatmulKernel kMatmulQ5_KAvx512 = make_q8_kernel<TileAvx512, UnitsQ5_K>(DType::kQ5_K);

}  // namespace junto

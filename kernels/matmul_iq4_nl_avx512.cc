#include "kernels/tile_lanes_avx512.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulIQ4_NLAvx512;
constinit const MatmulKernel kMatmulIQ4_NLAvx512 = make_q8_kernel<TileAvx512, UnitsIQ4_NL>(DType::kIQ4_NL);

}  // namespace junto

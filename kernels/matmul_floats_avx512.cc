#include "kernels/tile_lanes_avx512.h"
#include "kernels/units_32.h"

namespace junto {

extern const MatmulKernel kMatmulF32Avx512;
extern const MatmulKernel kMatmulF16Avx512;
extern const MatmulKernel kMatmulBF16Avx512;
constinit const MatmulKernel kMatmulF32Avx512 = make_float_kernel<TileAvx512, LoadF32>(DType::kF32);
constinit const MatmulKernel kMatmulF16Avx512 = make_float_kernel<TileAvx512, LoadF16>(DType::kF16);
constinit const MatmulKernel kMatmulBF16Avx512 = make_float_kernel<TileAvx512, LoadBF16>(DType::kBF16);

}  // namespace junto

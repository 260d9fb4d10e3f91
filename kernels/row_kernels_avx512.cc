#include "kernels/lanes_avx512.h"
#include "kernels/row_kernels_lanes.h"

namespace junto {

extern const RowKernels kRowKernelsAvx512;
constinit const RowKernels kRowKernelsAvx512 = make_row_kernels<LanesAvx512>();

}  // namespace junto

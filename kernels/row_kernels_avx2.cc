#include "kernels/lanes_avx2.h"
#include "kernels/row_kernels_lanes.h"

namespace junto {

extern const RowKernels kRowKernelsAvx2;
constinit const RowKernels kRowKernelsAvx2 = make_row_kernels<LanesAvx2>();

}  // namespace junto

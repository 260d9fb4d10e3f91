#include "kernels/lanes_neon.h"
#include "kernels/row_kernels_lanes.h"

namespace junto {

extern const RowKernels kRowKernelsNeon;
constinit const RowKernels kRowKernelsNeon = make_row_kernels<LanesNeon>();

}  // namespace junto

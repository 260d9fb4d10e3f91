// Which instruction set the kernels use: found out once from the CPU, or forced by JUNTO_ISA.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace junto {

enum class Isa : std::uint8_t {
  kPortable,
  kAvx2,    // with FMA and F16C
  kAvx512,  // F, BW, VL, DQ and VNNI
  kNeon,    // with dot product
};

std::string_view isa_name(Isa isa);

/// What this CPU runs, best first; kPortable is always last.
std::span<const Isa> available_isas();

/// The best available one, or what the environment variable JUNTO_ISA names. Throws Error where that is unknown or more
/// than the CPU has.
Isa chosen_isa();

/// What JUNTO_ISA=`name` would choose; empty: the best. Throws Error like chosen_isa().
Isa isa_from_name(std::string_view name);

}  // namespace junto

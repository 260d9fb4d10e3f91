#include "kernels/choose.h"

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"

namespace junto {
namespace {

struct IsaRow {
  Isa isa;
  std::string_view name;
  bool (*available)();
};

// A set of another architecture.
[[maybe_unused]] bool absent() {
  return false;
}

#if defined(__x86_64__)
// F16C has no bit that every compiler's builtin knows; each CPU with AVX2 and FMA has it.
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}
constexpr auto has_neon = absent;
#elif defined(__aarch64__)
bool has_neon() {
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}
constexpr auto has_avx2 = absent, has_avx512 = absent;
#else
constexpr auto has_avx2 = absent, has_avx512 = absent, has_neon = absent;
#endif

constexpr IsaRow kIsas[] = {
    {Isa::kAvx512, "avx512", has_avx512},
    {Isa::kAvx2, "avx2", has_avx2},
    {Isa::kNeon, "neon", has_neon},
    {Isa::kPortable, "portable", [] { return true; }},
};

std::vector<Isa> find_available() {
  std::vector<Isa> isas;
  for (const IsaRow& row : kIsas) {
    if (row.available()) isas.push_back(row.isa);
  }
  return isas;
}

}  // namespace

std::string_view isa_name(Isa isa) {
  for (const IsaRow& row : kIsas) {
    if (row.isa == isa) return row.name;
  }
  return "";
}

std::span<const Isa> available_isas() {
  static const std::vector<Isa> isas = find_available();
  return isas;
}

Isa isa_from_name(std::string_view name) {
  if (name.empty()) return available_isas().front();
  for (const IsaRow& row : kIsas) {
    if (row.name != name) continue;
    if (!row.available()) fail("JUNTO_ISA", "is " + std::string(name) + ", which this CPU does not have");
    return row.isa;
  }
  fail("JUNTO_ISA", "is " + printable(name) + ", expected portable, avx2, avx512 or neon");
}

Isa chosen_isa() {
  static const Isa isa = [] {
    const char* name = std::getenv("JUNTO_ISA");
    return isa_from_name(name == nullptr ? "" : name);
  }();
  return isa;
}

}  // namespace junto

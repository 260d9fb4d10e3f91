// Numbers as people read them in lines and tables.
#pragma once

#include <cstdint>
#include <string>

namespace junto {

/// `value` with `digits` decimals.
std::string fixed(double value, int digits);

/// "1.53 GB": three significant digits, SI prefixes.
std::string bytes_text(std::uint64_t bytes);

}  // namespace junto

// Tables of numbers: CSV whose first record names the columns.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

namespace junto {

struct NumberTable {
  std::vector<std::string> columns;
  at::Tensor values;  // [rows, columns], float32

  /// [rows]. Throws Error where there is no such column.
  at::Tensor column(std::string_view name) const;
};

/// Fields are numbers without quotes; blank lines are skipped. Throws Error "where: line 3: ..." on a field that is no
/// finite number and on a record of more or fewer fields than columns.
NumberTable parse_number_table(std::string_view text, std::string_view where);
NumberTable read_number_table(const std::string& path);

}  // namespace junto

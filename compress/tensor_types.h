// Which type each tensor of a written file has: what was asked for, where it fits.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace junto {

/// `*` stands for any characters, `?` for one.
bool glob_matches(std::string_view pattern, std::string_view text);

/// Matrices whose canonical name matches get this type instead. The experts of a layer answer to the name of one
/// (blk.3.ffn_down.5.weight) and to that of all (blk.3.ffn_down_exps.weight).
struct KeepRule {
  std::string pattern;
  DType type = DType::kF16;
};

/// Parses "PATTERN=TYPE". Throws Error naming the option and the valid types.
KeepRule parse_keep_rule(std::string_view text);

/// A type that files can be written in, by name; Error naming `option` and listing them all otherwise.
DType parse_weight_type(std::string_view name, std::string_view option);

struct TypeRequest {
  std::optional<DType> type;   // nothing: as stored
  std::vector<KeepRule> keep;  // the last rule that matches wins
};

/// What is known of a tensor when its type is chosen.
struct TensorFacts {
  std::string_view name;   // canonical
  std::string_view stack;  // of an expert's matrix: the name of its layer's stack
  std::size_t dimensions = 2;
  std::int64_t cols = 0;  // values in a row
  DType stored = DType::kF32;
};

struct TypeChoice {
  DType type = DType::kF32;
  DType asked = DType::kF32;  // differs where the rows do not fit its blocks
};

/// Norms and biases stay F32, and so do routers unless a rule names them. Rows that do not fit the blocks of the type
/// are stored as Q8_0, or as F16 where those do not fit either.
TypeChoice choose_type(const TensorFacts& tensor, const TypeRequest& request);

/// llama.cpp's number (general.file_type) for a file whose matrices are mostly of `type`.
std::uint32_t gguf_file_type(DType type);

}  // namespace junto

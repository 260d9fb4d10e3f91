#include "compress/tensor_types.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "tensor/block_formats.h"

namespace junto {
namespace {

// Type and llama.cpp's file type of a file of it.
struct WeightType {
  DType type;
  std::uint32_t file_type;
};

constexpr WeightType kWeightTypes[] = {
    {DType::kF32, 0},     {DType::kF16, 1},    {DType::kBF16, 32}, {DType::kQ8_0, 7},
    {DType::kQ6_K, 18},   {DType::kQ5_K, 16},  {DType::kQ5_1, 9},  {DType::kQ5_0, 8},
    {DType::kQ4_K, 14},   {DType::kQ4_1, 3},   {DType::kQ4_0, 2},  {DType::kIQ4_NL, 25},
    {DType::kIQ4_XS, 30}, {DType::kMXFP4, 38}, {DType::kQ3_K, 11}, {DType::kQ2_K, 10},
};

// Matrices that are small and decide much: F32 unless a rule names them. llama.cpp keeps them in F32 too.
constexpr std::string_view kFloatRoles[] = {
    ".ffn_gate_inp.weight",
    ".ffn_gate_inp_shexp.weight",
    ".attn_gate_inp.weight",
    ".shortconv.conv.weight",
};

const WeightType* find_type(DType type) {
  const auto* found = std::find_if(std::begin(kWeightTypes), std::end(kWeightTypes),
                                   [&](const WeightType& row) { return row.type == type; });
  return found == std::end(kWeightTypes) ? nullptr : found;
}

bool is_matrix(const TensorFacts& tensor) {
  return tensor.dimensions >= 2 && tensor.name.ends_with(".weight") && !tensor.name.ends_with("_norm.weight");
}

bool is_float_role(std::string_view name) {
  return std::any_of(std::begin(kFloatRoles), std::end(kFloatRoles),
                     [&](std::string_view role) { return name.ends_with(role); }) ||
         // Of rounds, two-layer routers and gating residuals too.
         name.find(".ffn_gate_inp") != std::string_view::npos || name.find(".ffn_gate_res") != std::string_view::npos;
}

// Types that only safetensors files have keep their precision as BF16.
DType as_stored(DType stored) {
  return find_type(stored) ? stored : DType::kBF16;
}

}  // namespace

bool glob_matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p, ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

DType parse_weight_type(std::string_view name, std::string_view option) {
  const std::optional<DType> type = dtype_from_name(name);
  if (type && find_type(*type)) return *type;
  std::string known;
  for (const WeightType& row : kWeightTypes) known += (known.empty() ? "" : ", ") + std::string(dtype_name(row.type));
  fail(option, "type is " + printable(name) + ", expected one of " + known);
}

KeepRule parse_keep_rule(std::string_view text) {
  const std::size_t equals = text.rfind('=');
  if (equals == std::string_view::npos || equals == 0) {
    fail("--keep", printable(text) + " is not of the form PATTERN=TYPE, such as output.weight=q6_k");
  }
  return {std::string(text.substr(0, equals)), parse_weight_type(text.substr(equals + 1), "--keep")};
}

TypeChoice choose_type(const TensorFacts& tensor, const TypeRequest& request) {
  if (!is_matrix(tensor)) return {DType::kF32, DType::kF32};
  DType asked = is_float_role(tensor.name) ? DType::kF32 : request.type.value_or(as_stored(tensor.stored));
  for (const KeepRule& rule : request.keep) {
    if (glob_matches(rule.pattern, tensor.name) || glob_matches(rule.pattern, tensor.stack)) asked = rule.type;
  }
  for (const DType type : {asked, DType::kQ8_0, DType::kF16}) {
    if (tensor.cols % block_values(type) == 0) return {type, asked};
  }
  return {DType::kF16, asked};
}

std::uint32_t gguf_file_type(DType type) {
  const WeightType* row = find_type(type);
  if (!row) fail("general.file_type", std::string(dtype_name(type)) + " is no type of weights in GGUF");
  return row->file_type;
}

}  // namespace junto

// What an adapter says of each matrix, as its file has it, before it is laid on a model.
//
//   PEFT LORA    adapter_config.json {"peft_type": "LORA", "lora_alpha": 16, ...}, a matrix
//                  <module>.lora_A.weight [r, K], <module>.lora_B.weight [N, r]
//   ROUTED_LORA  {"peft_type": "ROUTED_LORA", "lora_alpha": 8, "router": {RouterSpec}, ...}, our own: E pairs and a
//                router a matrix (DynMoLE, arXiv 2504.00661, has its adapters so)
//                  <module>.moe_gate.weight [E, K], <module>.experts.<e>.lora_A.weight,
//                  <module>.experts.<e>.lora_B.weight
//   GGUF         <tensor>.lora_a [r, K], <tensor>.lora_b [N, r]; of stacked experts [E, r, K] and [E, N, r]
//
// Names of modules may begin with "base_model.model.".
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "format/named_tensors.h"
#include "moe/router_spec.h"

namespace junto {

/// scale * B A, scale alpha / r or alpha / sqrt(r). The tensors are of the file that was read.
struct LowRankPair {
  const NamedTensor* a = nullptr;
  const NamedTensor* b = nullptr;
  float scale = 1.0f;
};

/// One matrix's part.
struct AdapterModule {
  std::map<std::int64_t, LowRankPair> experts;  // by number, 0..E-1; of plain LoRA one
  const NamedTensor* gate = nullptr;            // [E, K] of routed LoRA
};

struct AdapterModules {
  std::map<std::string, AdapterModule, std::less<>> of;  // by the name of the module, of GGUF of the tensor
  std::optional<RouterSpec> router;                      // of routed LoRA: its experts are E
};

/// What of adapter_config.json changes the function.
struct PeftConfig {
  double alpha = 0;
  bool square_root = false;                              // rsLoRA (arXiv 2312.03732): alpha / sqrt(r)
  std::vector<std::pair<std::string, double>> alpha_of;  // by the end of the module's name
  std::optional<RouterSpec> router;                      // of ROUTED_LORA
};

/// Throws Error naming `file` and the field on a kind of adapter that is neither of the two, or on weights of the base
/// that were changed with it.
PeftConfig parse_peft_config(const Json& config, const std::string& file);

/// Throws Error naming `file` and the tensor on names that are none of an adapter, on parts that are missing and on
/// shapes that do not fit one another; what the base asks for is not known here.
AdapterModules parse_peft_modules(const PeftConfig& config, const NamedTensors& tensors, const std::string& file);
/// `alpha` 0: the scale is 1.
AdapterModules parse_gguf_modules(double alpha, const NamedTensors& tensors, const std::string& file);

}  // namespace junto

// A line of adapter_config.json and a safetensors file after it are an adapter whose parts fit one another, or an
// Error.
#include <cstring>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "format/safetensors.h"
#include "model/adapter_modules.h"

namespace {

void check_module(const junto::AdapterModules& modules, const junto::AdapterModule& module) {
  const auto experts = static_cast<std::int64_t>(module.experts.size());
  if (experts != (modules.router ? modules.router->experts : 1)) __builtin_trap();
  for (const auto& [expert, pair] : module.experts) {
    if (expert < 0 || expert >= experts || pair.a->tensor.rows() != pair.b->tensor.cols()) __builtin_trap();
    static_cast<void>(junto::decode(pair.b->tensor));
  }
  if (!modules.router) return;
  const junto::Tensor& gate = module.gate->tensor;
  if (gate.rows() != experts || gate.cols() != module.experts.at(0).a->tensor.cols()) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line = input.find('\n');
  if (line == std::string_view::npos) return 0;
  // The header alone: its length, and as many data bytes as a header of a small adapter asks for.
  const std::string_view header = input.substr(line + 1);
  constexpr std::size_t kDataBytes = 128;
  const std::uint64_t header_bytes = header.size();
  std::vector<std::byte> bytes(sizeof header_bytes + header.size() + kDataBytes);
  std::memcpy(bytes.data(), &header_bytes, sizeof header_bytes);
  std::memcpy(bytes.data() + sizeof header_bytes, header.data(), header.size());
  try {
    const junto::PeftConfig config = junto::parse_peft_config(junto::parse_json(input.substr(0, line), "fuzz"), "fuzz");
    const junto::SafetensorsFile file = junto::parse_safetensors(bytes, "fuzz");
    const junto::AdapterModules modules = junto::parse_peft_modules(config, file.tensors, "fuzz");
    for (const auto& [name, module] : modules.of) check_module(modules, module);
  } catch (const junto::Error&) {
  }
  return 0;
}

#include "model/adapter_modules.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "moe/linear.h"

namespace junto {
namespace {

double positive_number(const Json& value, const std::string& file, const std::string& field) {
  if (!value.is_number() || !(value.get<double>() > 0) || !std::isfinite(value.get<double>())) {
    fail(file, field + " is " + printable(value.dump()) + ", expected a number above 0");
  }
  return value.get<double>();
}

bool is_set(const Json& config, const char* field) {
  const auto found = config.find(field);
  return found != config.end() && !found->is_null() && *found != false && !(found->is_structured() && found->empty());
}

RouterSpec parse_adapter_router(const Json& config, const std::string& file) {
  if (!config.contains("router")) fail(file, "router is missing, expected how adapted layers route");
  RouterSpec router = parse_router_spec(config["router"], file);
  check_overlay_router(router, file + ": router");
  return router;
}

// PEFT takes the first pattern that the module's name is or ends in after a dot.
float scale_of(const PeftConfig& config, std::string_view module, std::int64_t rank) {
  double alpha = config.alpha;
  for (const auto& [name, value] : config.alpha_of) {
    if (module == name || module.ends_with("." + name)) {
      alpha = value;
      break;
    }
  }
  const auto r = static_cast<double>(rank);
  return static_cast<float>(config.square_root ? alpha / std::sqrt(r) : alpha / r);
}

/// A tensor's name taken apart.
struct TensorRole {
  enum class Part { kA, kB, kGate, kUnknown } part = Part::kUnknown;
  std::string_view module;
  std::int64_t expert = 0;
};

bool take_end(std::string_view& name, std::string_view end) {
  if (!name.ends_with(end)) return false;
  name.remove_suffix(end.size());
  return true;
}

/// Takes ".experts.7" off the end of `name`; a number has one spelling.
std::optional<std::int64_t> take_expert(std::string_view& name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view number = name.substr(dot + 1);
  std::int64_t expert = -1;
  const auto [stop, error] = std::from_chars(number.data(), number.data() + number.size(), expert);
  std::string_view rest = name.substr(0, dot);
  if (error != std::errc() || expert < 0 || std::to_string(expert) != number || !take_end(rest, ".experts"))
    return std::nullopt;
  name = rest;
  return expert;
}

TensorRole role_of(std::string_view name, bool routed) {
  TensorRole role{.module = name};
  const std::string_view prefix = "base_model.model.";
  if (name.starts_with(prefix)) role.module.remove_prefix(prefix.size());
  if (routed && take_end(role.module, ".moe_gate.weight")) {
    role.part = TensorRole::Part::kGate;
    return role;
  }
  for (const bool is_a : {true, false}) {
    const bool found = take_end(role.module, is_a ? ".lora_A.weight" : ".lora_B.weight") ||
                       take_end(role.module, is_a ? ".lora_A.default.weight" : ".lora_B.default.weight");
    if (!found) continue;
    role.part = is_a ? TensorRole::Part::kA : TensorRole::Part::kB;
    break;
  }
  if (!routed || role.part == TensorRole::Part::kUnknown) return role;
  const std::optional<std::int64_t> expert = take_expert(role.module);
  if (!expert) role.part = TensorRole::Part::kUnknown;
  role.expert = expert.value_or(0);
  return role;
}

void check_pair(const std::string& file, const std::string& module, const LowRankPair& pair, bool may_be_stacked) {
  const NamedTensor* there = pair.a ? pair.a : pair.b;
  if (!pair.a || !pair.b) {
    fail(file, tensor_label(there->name) + " stands alone, expected A and B of " + printable(module));
  }
  const Shape &a = pair.a->tensor.shape, &b = pair.b->tensor.shape;
  const bool dimensions = a.size() == b.size() && (a.size() == 2 || (may_be_stacked && a.size() == 3));
  if (!dimensions || a[a.size() - 2] != b.back() || b.back() < 1 || (a.size() == 3 && a[0] != b[0])) {
    fail(file, tensor_label(pair.a->name) + " has shape " + to_string(a) + " and " + tensor_label(pair.b->name) + " " +
                   to_string(b) + ", expected [r, K] and [N, r]");
  }
}

// Every expert of 0..E-1 is there and changes the same matrix.
void check_routed(const std::string& file, const std::string& name, const AdapterModule& module, int experts) {
  if (module.gate == nullptr) fail(file, printable(name) + " has no moe_gate.weight, expected one beside its experts");
  const auto found = static_cast<std::int64_t>(module.experts.size());
  if (found != experts) {
    fail(file, printable(name) + " has " + std::to_string(found) + " experts, expected " + std::to_string(experts) +
                   " (router.experts of adapter_config.json)");
  }
  const LowRankPair& first = module.experts.begin()->second;
  for (const auto& [expert, pair] : module.experts) {
    if (pair.a->tensor.cols() == first.a->tensor.cols() && pair.b->tensor.rows() == first.b->tensor.rows()) continue;
    fail(file, tensor_label(pair.b->name) + " and its A are of another matrix than " + tensor_label(first.b->name));
  }
  const Shape wanted = {experts, first.a->tensor.cols()};
  if (module.gate->tensor.shape != wanted) {
    fail(file, tensor_label(module.gate->name) + " has shape " + to_string(module.gate->tensor.shape) + ", expected " +
                   to_string(wanted));
  }
}

void check_modules(const std::string& file, const AdapterModules& modules, bool may_be_stacked) {
  if (modules.of.empty()) fail(file, "has no low-rank tensors, expected pairs of A and B");
  for (const auto& [name, module] : modules.of) {
    for (const auto& [expert, pair] : module.experts) check_pair(file, name, pair, may_be_stacked);
    if (modules.router) check_routed(file, name, module, modules.router->experts);
  }
}

}  // namespace

PeftConfig parse_peft_config(const Json& config, const std::string& file) {
  if (!config.is_object()) fail(file, "holds no object, expected one with peft_type and lora_alpha");
  const Json kind = config.value("peft_type", Json());
  if (kind != "LORA" && kind != "ROUTED_LORA")
    fail(file, "peft_type is " + printable(kind.dump()) + ", expected \"LORA\" or \"ROUTED_LORA\"");
  for (const char* field : {"use_dora", "use_qalora", "layer_replication", "lora_bias", "modules_to_save"}) {
    if (is_set(config, field)) {
      fail(file, std::string(field) + " is " + printable(config[field].dump()) + ", expected plain LoRA without it");
    }
  }
  // These begin with another base: what the adapter was made for is not the published model.
  const Json init = config.value("init_lora_weights", Json(true));
  if (init.is_string() && init != "gaussian" && init != "eva" && init != "orthogonal") {
    fail(file, "init_lora_weights is " + printable(init.dump()) +
                   ", which changes the base's weights, expected true, false, \"gaussian\", \"eva\" or \"orthogonal\"");
  }
  PeftConfig out;
  out.alpha = positive_number(config.value("lora_alpha", Json()), file, "lora_alpha");
  out.square_root = is_set(config, "use_rslora");
  if (kind == "ROUTED_LORA") out.router = parse_adapter_router(config, file);
  if (!is_set(config, "alpha_pattern")) return out;
  if (!config["alpha_pattern"].is_object()) fail(file, "alpha_pattern is no object, expected one of names and numbers");
  for (const auto& [name, value] : config["alpha_pattern"].items()) {
    const bool plain =
        std::ranges::all_of(name, [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.'; });
    if (!plain) fail(file, "alpha_pattern has \"" + printable(name) + "\", expected a module's name, no expression");
    out.alpha_of.emplace_back(name, positive_number(value, file, "alpha_pattern"));
  }
  return out;
}

AdapterModules parse_peft_modules(const PeftConfig& config, const NamedTensors& tensors, const std::string& file) {
  AdapterModules modules{.of = {}, .router = config.router};
  for (const NamedTensor& tensor : tensors.all()) {
    const TensorRole role = role_of(tensor.name, config.router.has_value());
    if (role.part == TensorRole::Part::kUnknown) {
      fail(file, tensor_label(tensor.name) + " is unknown, expected names that end in " +
                     (config.router ? ".moe_gate.weight, .experts.<e>.lora_A.weight or .experts.<e>.lora_B.weight"
                                    : ".lora_A.weight or .lora_B.weight"));
    }
    if (config.router && role.expert >= config.router->experts) {
      fail(file, tensor_label(tensor.name) + " is of expert " + std::to_string(role.expert) + ", expected 0.." +
                     std::to_string(config.router->experts - 1) + " (router.experts of adapter_config.json)");
    }
    AdapterModule& module = modules.of[std::string(role.module)];
    const bool gate = role.part == TensorRole::Part::kGate, a = role.part == TensorRole::Part::kA;
    const NamedTensor*& place = gate ? module.gate : a ? module.experts[role.expert].a : module.experts[role.expert].b;
    if (place != nullptr) fail(file, tensor_label(tensor.name) + " is also there as " + tensor_label(place->name));
    place = &tensor;
  }
  check_modules(file, modules, /*may_be_stacked=*/false);
  for (auto& [name, module] : modules.of) {
    for (auto& [expert, pair] : module.experts) pair.scale = scale_of(config, name, pair.b->tensor.cols());
  }
  return modules;
}

AdapterModules parse_gguf_modules(double alpha, const NamedTensors& tensors, const std::string& file) {
  AdapterModules modules;
  for (const NamedTensor& tensor : tensors.all()) {
    std::string_view name = tensor.name;
    const bool a = take_end(name, ".lora_a");
    if (!a && !take_end(name, ".lora_b")) {
      fail(file, tensor_label(name) + " is unknown, expected names that end in .lora_a or .lora_b");
    }
    LowRankPair& pair = modules.of[std::string(name)].experts[0];
    (a ? pair.a : pair.b) = &tensor;
  }
  check_modules(file, modules, /*may_be_stacked=*/true);
  for (auto& [name, module] : modules.of) {
    LowRankPair& pair = module.experts[0];
    if (alpha != 0) pair.scale = static_cast<float>(alpha / static_cast<double>(pair.b->tensor.cols()));
  }
  return modules;
}

}  // namespace junto

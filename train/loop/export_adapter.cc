#include "train/loop/export_adapter.h"

#include <ATen/ATen.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "format/safetensors.h"
#include "moe/json_fields.h"
#include "train/loop/model_tensors.h"

namespace junto {
namespace {

Json config_of(const AdapterShape& shape, const std::string& base) {
  Json targets = Json::array();
  for (std::size_t i = 0; i < kLinearLayers; ++i) {
    if (shape.targets[i]) targets.push_back(name_of(static_cast<LinearLayer>(i)));
  }
  Json config = {{"peft_type", shape.router ? "ROUTED_LORA" : "LORA"},
                 {"task_type", "CAUSAL_LM"},
                 {"base_model_name_or_path", base},
                 {"r", shape.rank},
                 {"lora_alpha", json_number(shape.alpha)},
                 {"target_modules", targets}};
  if (shape.router) {
    config["router"] = to_json(*shape.router);
  } else {
    config.update(Json{{"bias", "none"}, {"lora_dropout", 0.0}, {"fan_in_fan_out", false}, {"inference_mode", true}});
  }
  return config;
}

void add_adapter(const AdapterShape& shape, const LinearAdapter& adapter, const std::string& module,
                 ModelTensors& tensors) {
  if (shape.router) tensors.add(module + ".moe_gate.weight", adapter.gate);
  for (std::int64_t e = 0; e < shape.experts(); ++e) {
    const std::string expert = shape.router ? module + ".experts." + std::to_string(e) : module;
    tensors.add(expert + ".lora_A.weight", adapter.a.narrow(0, e * shape.rank, shape.rank));
    tensors.add(expert + ".lora_B.weight", adapter.b.narrow(1, e * shape.rank, shape.rank));
  }
}

}  // namespace

void export_adapter(const LanguageModel& model, const std::string& base, const std::string& folder) {
  const AdapterShape& shape = *model.shape().adapters;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail(folder, "cannot be made: " + error.message());
  ModelTensors tensors;
  for (std::int64_t layer = 0; layer < model.shape().layers; ++layer) {
    const std::string block = "base_model.model.model.layers." + std::to_string(layer);
    for (std::size_t i = 0; i < kLinearLayers; ++i) {
      const auto which = static_cast<LinearLayer>(i);
      const LinearAdapter& adapter = model.blocks()[static_cast<std::size_t>(layer)].adapters[i];
      if (!shape.has(which)) continue;
      add_adapter(shape, adapter,
                  block + (which < LinearLayer::kGate ? ".self_attn." : ".mlp.") + std::string(name_of(which)),
                  tensors);
    }
  }
  write_safetensors(folder + "/adapter_model.safetensors", tensors.out, {{"format", "pt"}});
  AtomicFile config(folder + "/adapter_config.json");
  config.write(config_of(shape, base).dump(2) + "\n");
  config.commit();
}

}  // namespace junto

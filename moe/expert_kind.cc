#include "moe/expert_kind.h"

#include <array>

#include "moe/json_fields.h"

namespace junto {
namespace {

constexpr float kLargestLimit = 1e6f;
// In the order of the enumerators.
constexpr std::array<std::string_view, 7> kKinds = {"silu",         "gelu_tanh",  "gelu_erf", "relu",
                                                    "relu_squared", "swiglu_oai", "identity"};

}  // namespace

Json to_json(const Activation& activation) {
  Json json = {{"kind", kKinds[static_cast<std::size_t>(activation.kind)]}, {"gated", activation.gated}};
  if (activation.limit != 0.0f) json["limit"] = json_number(activation.limit);
  if (activation.alpha != 0.0f) json["alpha"] = json_number(activation.alpha);
  return json;
}

Activation parse_activation(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "activation");
  Activation activation;
  fields.define("activation");
  if (!fields.recording() && !fields.has("kind")) fields.fail_here("has no \"kind\"" + suggestion("", kKinds));
  fields.required("kind");
  activation.kind = static_cast<ActivationKind>(
      fields.choice("kind", kKinds, "The function; identity without a gate makes LoRA experts").value_or(0));
  fields.read("gated", activation.gated, "Times a second projection, as in SwiGLU");
  fields.read("limit", -kLargestLimit, kLargestLimit, activation.limit, "Of swiglu_oai: where inputs are clamped");
  fields.read("alpha", -kLargestLimit, kLargestLimit, activation.alpha, "Of swiglu_oai: the slope of its sigmoid");
  if (!fields.finish()) return activation;
  if (activation.kind == ActivationKind::kSwigluOai && !activation.gated) {
    fields.fail_at("gated", "false, expected true with swiglu_oai");
  }
  return activation;
}

}  // namespace junto

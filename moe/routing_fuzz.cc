// Any text is a policy and any JSON a router spec, or an Error; what is accepted comes back from its own JSON.
#include <cstdlib>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "moe/route.h"

namespace {

void read_policy(std::string_view text) {
  if (text.find('@') != std::string_view::npos) return;  // would read files
  const junto::RoutingPolicy policy = junto::parse_routing_policy(text, "fuzz");
  if (!(junto::routing_policy_from_json(junto::to_json(policy), "fuzz") == policy)) std::abort();
  junto::check_policy(policy, {0, 8, 3}, "fuzz");
}

void read_spec(std::string_view text) {
  const junto::RouterSpec spec = junto::parse_router_spec(junto::parse_json(text, "fuzz"), "fuzz");
  if (!(junto::parse_router_spec(junto::to_json(spec), "fuzz") == spec)) std::abort();
  std::vector<float> logits(spec.experts), bias(spec.experts, 0.5f);
  for (std::size_t e = 0; e < logits.size(); ++e) logits[e] = static_cast<float>(e * 7 % 11) - 5.0f;
  junto::RouteScratch scratch;
  junto::RoutePlan plan;
  junto::route_unit(spec, {}, logits, bias, scratch, plan);
  if (plan.slots() > junto::max_experts_per_unit(spec)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto read : {read_policy, read_spec}) {
    try {
      read(text);
    } catch (const junto::Error&) {
    }
  }
  return 0;
}

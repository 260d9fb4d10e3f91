// Rounds inside one MoE layer: the layer's experts are visited again with what they gave (Chain-of-Experts, Wang et
// al., arXiv 2506.18945).
#pragma once

#include <string_view>

#include "base/json.h"

namespace junto {

/// u_0 is what the layer reads; round t routes u_{t-1} and computes y_t from it, the shared expert's share included.
///   inner residual     u_t = u_{t-1} + y_t; the layer gives the sum of all y_t
///   no inner residual  u_t = y_t; the layer gives the last
/// Nothing is normalised between rounds.
struct Rounds {
  int count = 1;
  bool inner_residual = true;
  bool own_routers = true;   // a router for each round; false: one router on every round's state
  bool shared_last = false;  // the shared expert joins the last round only

  int routers() const { return own_routers ? count : 1; }
  int router_of(int round) const { return own_routers ? round : 0; }
  bool operator==(const Rounds&) const = default;
};

Json to_json(const Rounds& rounds);
/// Throws Error naming `where` and the field.
Rounds parse_rounds(const Json& json, std::string_view where);

}  // namespace junto

#include "moe/rounds.h"

#include "moe/json_fields.h"

namespace junto {

Json to_json(const Rounds& rounds) {
  return {{"count", rounds.count},
          {"inner_residual", rounds.inner_residual},
          {"own_routers", rounds.own_routers},
          {"shared_last", rounds.shared_last}};
}

Rounds parse_rounds(const Json& json, std::string_view where) {
  constexpr int kMostRounds = 64;
  JsonFields fields(json, where, "rounds");
  Rounds rounds;
  fields.read("count", 1, kMostRounds, rounds.count, "Rounds of routing in a layer, over the same experts");
  fields.read("inner_residual", rounds.inner_residual, "A round adds to what it read");
  fields.read("own_routers", rounds.own_routers, "Each round has a router of its own");
  fields.read("shared_last", rounds.shared_last, "The shared expert is in the last round alone");
  fields.finish();
  return rounds;
}

}  // namespace junto

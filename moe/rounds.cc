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
  rounds.count = static_cast<int>(fields.integer("count", 1, kMostRounds).value_or(1));
  rounds.inner_residual = fields.boolean("inner_residual").value_or(rounds.inner_residual);
  rounds.own_routers = fields.boolean("own_routers").value_or(rounds.own_routers);
  rounds.shared_last = fields.boolean("shared_last").value_or(rounds.shared_last);
  fields.finish();
  return rounds;
}

}  // namespace junto

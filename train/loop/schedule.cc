#include "train/loop/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "moe/json_fields.h"

namespace junto {

Schedule parse_schedule(const Json& json, std::string_view where) {
  constexpr std::array<std::string_view, 3> kKinds = {"constant", "cosine", "wsd"};
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  JsonFields fields(json, where, "schedule");
  Schedule schedule;
  if (const auto kind = fields.choice("kind", kKinds)) schedule.kind = static_cast<Schedule::Kind>(*kind);
  schedule.steps = fields.integer("steps", 1, kMost).value_or(schedule.steps);
  schedule.warmup_steps = fields.integer("warmup_steps", 0, kMost).value_or(schedule.warmup_steps);
  schedule.final_share = fields.number("final_share", 0.0f, 1.0f).value_or(schedule.final_share);
  schedule.decay_share = fields.number("decay_share", 0.0f, 1.0f).value_or(schedule.decay_share);
  fields.finish();
  return schedule;
}

double learning_rate_share(const Schedule& schedule, std::int64_t step) {
  if (step < schedule.warmup_steps) return static_cast<double>(step + 1) / static_cast<double>(schedule.warmup_steps);
  const double final_share = schedule.final_share;
  const auto share_of = [](std::int64_t done, std::int64_t all) {
    return all <= 0 ? 1.0 : std::clamp(static_cast<double>(done) / static_cast<double>(all), 0.0, 1.0);
  };
  switch (schedule.kind) {
    case Schedule::Kind::kConstant:
      return 1.0;
    case Schedule::Kind::kCosine: {
      const double share = share_of(step - schedule.warmup_steps, schedule.steps - 1 - schedule.warmup_steps);
      return final_share + (1.0 - final_share) * 0.5 * (1.0 + std::cos(std::numbers::pi * share));
    }
    case Schedule::Kind::kWsd: {
      const auto decay = static_cast<std::int64_t>(
          std::llround(static_cast<double>(schedule.decay_share) * static_cast<double>(schedule.steps)));
      const std::int64_t begin = schedule.steps - decay;
      if (step < begin) return 1.0;
      return 1.0 + (final_share - 1.0) * share_of(step - begin + 1, decay);
    }
  }
  return 1.0;
}

}  // namespace junto

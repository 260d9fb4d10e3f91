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
  if (const Json* flops = fields.any("flops")) {
    if (!flops->is_number() || flops->get<double>() < 1.0 || flops->get<double>() > 1e24)
      fields.fail_at("flops", quoted(*flops) + ", expected a number 1..1e24");
    schedule.flops = flops->get<double>();
  }
  schedule.steps = fields.integer("steps", 1, kMost).value_or(schedule.flops > 0.0 ? kMost : schedule.steps);
  schedule.warmup_steps = fields.integer("warmup_steps", 0, kMost).value_or(schedule.warmup_steps);
  schedule.warmup_share = fields.number("warmup_share", 0.0f, 1.0f).value_or(schedule.warmup_share);
  schedule.final_share = fields.number("final_share", 0.0f, 1.0f).value_or(schedule.final_share);
  schedule.decay_share = fields.number("decay_share", 0.0f, 1.0f).value_or(schedule.decay_share);
  schedule.patience = fields.integer("patience", 0, kMost).value_or(schedule.patience);
  fields.finish();
  if (schedule.warmup_share > 0.0f && schedule.flops == 0.0)
    fields.fail_at("warmup_share", "set, expected warmup_steps, or a budget of flops");
  if (schedule.warmup_steps > 0 && schedule.flops > 0.0)
    fields.fail_at("warmup_steps", "set, expected warmup_share beside a budget of flops");
  return schedule;
}

double share_done(const Schedule& schedule, RunPosition position) {
  if (schedule.flops > 0.0) return std::clamp(position.flops / schedule.flops, 0.0, 1.0);
  return std::clamp(static_cast<double>(position.step) / static_cast<double>(schedule.steps), 0.0, 1.0);
}

bool is_over(const Schedule& schedule, RunPosition position) {
  return position.step >= schedule.steps || (schedule.flops > 0.0 && position.flops >= schedule.flops);
}

namespace {

double ratio(double part, double whole) {
  return whole <= 0.0 ? 1.0 : std::clamp(part / whole, 0.0, 1.0);
}

double cosine(double share, double final_share) {
  return final_share + (1.0 - final_share) * 0.5 * (1.0 + std::cos(std::numbers::pi * share));
}

/// Over a budget: every curve is a function of the share of it that is spent.
double share_by_budget(const Schedule& schedule, RunPosition position) {
  const double spent = share_done(schedule, position), warm = schedule.warmup_share;
  // The first update would have no rate at all: an update has the rate of the spending that it ends with, which is
  // taken to be that of the mean update so far.
  const double step = static_cast<double>(position.step);
  const double next = position.step == 0 ? 0.5 * warm : std::min(1.0, spent * (step + 1.0) / step);
  if (next < warm) return next / warm;
  switch (schedule.kind) {
    case Schedule::Kind::kConstant:
      return 1.0;
    case Schedule::Kind::kCosine:
      return cosine(ratio(next - warm, 1.0 - warm), schedule.final_share);
    case Schedule::Kind::kWsd: {
      const double begin = 1.0 - static_cast<double>(schedule.decay_share);
      return next < begin ? 1.0
                          : 1.0 + (static_cast<double>(schedule.final_share) - 1.0) *
                                      ratio(next - begin, static_cast<double>(schedule.decay_share));
    }
  }
  return 1.0;
}

}  // namespace

double learning_rate_share(const Schedule& schedule, RunPosition position) {
  if (schedule.flops > 0.0) return share_by_budget(schedule, position);
  const std::int64_t step = position.step;
  if (step < schedule.warmup_steps) return static_cast<double>(step + 1) / static_cast<double>(schedule.warmup_steps);
  const double final_share = schedule.final_share;
  const auto share_of = [](std::int64_t done, std::int64_t all) {
    return ratio(static_cast<double>(done), static_cast<double>(all));
  };
  switch (schedule.kind) {
    case Schedule::Kind::kConstant:
      return 1.0;
    case Schedule::Kind::kCosine:
      return cosine(share_of(step - schedule.warmup_steps, schedule.steps - 1 - schedule.warmup_steps), final_share);
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

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
  fields.read("kind", kKinds, schedule.kind, "Of the learning rate after the warm-up");
  if (const Json* flops = fields.by_hand("flops", R"({"type": "number", "minimum": 1, "maximum": 1e24})",
                                         "A budget of executed operations, in place of steps")) {
    if (!flops->is_number() || !(flops->get<double>() >= 1.0 && flops->get<double>() <= 1e24))
      fields.fail_at("flops", quoted(*flops) + ", expected a number 1..1e24");
    schedule.flops = flops->get<double>();
  }
  if (schedule.flops > 0.0) schedule.steps = kMost;
  fields.read("steps", 1, kMost, schedule.steps, "Updates; beside flops: at most");
  fields.read("warmup_steps", 0, kMost, schedule.warmup_steps, "Updates until the learning rate has its height");
  fields.read("warmup_share", 0.0f, 1.0f, schedule.warmup_share, "The same as a share of a budget of flops");
  fields.read("final_share", 0.0f, 1.0f, schedule.final_share, "Of the learning rate, at the end of cosine or wsd");
  fields.read("decay_share", 0.0f, 1.0f, schedule.decay_share, "Of the run, at its end: the decay of wsd");
  fields.read("patience", 0, kMost, schedule.patience, "Evaluations without a better one that end the run; 0: none");
  if (!fields.finish()) return schedule;
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

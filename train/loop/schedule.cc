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
  const auto read_operations = [&](std::string_view key, std::string_view about, double& into) {
    const Json* found = fields.by_hand(key, R"({"type": "number", "minimum": 1, "maximum": 1e24})", about);
    if (found == nullptr) return;
    if (!found->is_number() || !(found->get<double>() >= 1.0 && found->get<double>() <= 1e24))
      fields.fail_at(key, quoted(*found) + ", expected a number 1..1e24");
    into = found->get<double>();
  };
  read_operations("flops", "A budget of executed operations, in place of steps", schedule.flops);
  if (schedule.flops > 0.0) schedule.steps = kMost;
  fields.read("steps", 1, kMost, schedule.steps, "Updates; beside flops: at most");
  fields.read("warmup_steps", 0, kMost, schedule.warmup_steps, "Updates until the learning rate has its height");
  fields.read("warmup_share", 0.0f, 1.0f, schedule.warmup_share, "The same as a share of a budget of flops");
  read_operations("warmup_flops", "The same in operations, in place of warmup_share", schedule.warmup_flops);
  fields.read("final_share", 0.0f, 1.0f, schedule.final_share, "Of the learning rate, at the end of cosine or wsd");
  fields.read("decay_share", 0.0f, 1.0f, schedule.decay_share, "Of the run, at its end: the decay of wsd");
  fields.read("patience", 0, kMost, schedule.patience, "Evaluations without a better one that end the run; 0: none");
  if (!fields.finish()) return schedule;
  if (schedule.warmup_share > 0.0f && schedule.flops == 0.0)
    fields.fail_at("warmup_share", "set, expected warmup_steps, or a budget of flops");
  if (schedule.warmup_steps > 0 && schedule.flops > 0.0)
    fields.fail_at("warmup_steps", "set, expected warmup_share beside a budget of flops");
  if (schedule.warmup_flops > schedule.flops)
    fields.fail_at("warmup_flops", "above flops, expected a part of a budget of flops");
  if (schedule.warmup_flops > 0.0 && schedule.warmup_share > 0.0f)
    fields.fail_at("warmup_flops", "set, expected one of warmup_flops and warmup_share");
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
  const double spent = share_done(schedule, position);
  const double warm =
      schedule.warmup_flops > 0.0 ? schedule.warmup_flops / schedule.flops : static_cast<double>(schedule.warmup_share);
  // The first update would have no rate at all: an update has the rate of the spending that it ends with, which is
  // taken to be that of the mean update so far.
  const double step = static_cast<double>(position.step);
  const double next = position.step == 0 ? 0.5 * warm : std::min(1.0, spent * (step + 1.0) / step);
  if (schedule.warmup_flops > 0.0) {  // in operations: the same bits for every budget
    const double after = position.step == 0 ? 0.5 * schedule.warmup_flops : position.flops * (step + 1.0) / step;
    if (after < schedule.warmup_flops) return after / schedule.warmup_flops;
  } else if (next < warm) {
    return next / warm;
  }
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

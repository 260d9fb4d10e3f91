#include "analyze/experiment.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "moe/json_fields.h"

namespace junto {
namespace {

constexpr std::size_t kMaxBytes = 1 << 20;
constexpr std::int64_t kMost = std::int64_t{1} << 40, kNoiseSeedOffset = 100000;
constexpr std::array<std::string_view, 4> kKinds = {"less", "greater", "no_worse", "equivalent"};

std::string text_of(JsonFields& fields, std::string_view key, bool required) {
  const Json* found = fields.any(key);
  if (found == nullptr && !required) return "";
  if (found == nullptr) fields.fail_at(key, "missing, expected a text");
  if (!found->is_string()) fields.fail_at(key, quoted(*found) + ", expected a text");
  return found->get<std::string>();
}

std::vector<std::string> texts_of(JsonFields& fields, std::string_view key) {
  std::vector<std::string> out;
  const Json* found = fields.any(key);
  if (found == nullptr) return out;
  const bool good = found->is_array() && std::ranges::all_of(*found, [](const Json& one) { return one.is_string(); });
  if (!good) fields.fail_at(key, quoted(*found) + ", expected a list of texts");
  return found->get<std::vector<std::string>>();
}

/// A double, with full precision: margins and rates are compared and printed.
double number_of(JsonFields& fields, std::string_view key, double otherwise, double low, double high) {
  const Json* found = fields.any(key);
  if (found == nullptr) return otherwise;
  if (!found->is_number() || !(found->get<double>() >= low && found->get<double>() <= high)) {
    fields.fail_at(key, quoted(*found) + ", expected a number in " + Json(low).dump() + ".." + Json(high).dump());
  }
  return found->get<double>();
}

std::vector<TextFile> text_files_of(JsonFields& fields, std::string_view key, bool required) {
  std::vector<TextFile> out;
  const Json* found = fields.any(key);
  if (found == nullptr && !required) return out;
  const bool good = found != nullptr && found->is_object() && !found->empty() &&
                    std::ranges::all_of(*found, [](const Json& one) { return one.is_string(); });
  if (!good) fields.fail_at(key, "is no object of file names by domain");
  for (const auto& [domain, path] : found->items()) out.push_back({domain, path.get<std::string>()});
  return out;
}

Arm arm_from(const Json& json, std::string_view where, std::size_t number) {
  JsonFields fields(json, where, "arms[" + std::to_string(number) + "]");
  Arm arm;
  arm.name = text_of(fields, "name", true);
  // Names become parts of file names.
  const bool plain =
      !arm.name.empty() && arm.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_.") == std::string::npos;
  if (!plain) fields.fail_at("name", printable(arm.name) + ", expected a-z, 0-9, - and _");
  arm.about = text_of(fields, "about", true);
  arm.set = texts_of(fields, "set");
  arm.seeds = fields.integer("seeds", 0, kMost).value_or(0);
  arm.tuned_as = text_of(fields, "tuned_as", false);
  arm.trunk = text_of(fields, "trunk", false);
  fields.finish();
  return arm;
}

Claim claim_from(const Json& json, std::string_view where, std::size_t number) {
  JsonFields fields(json, where, "claims[" + std::to_string(number) + "]");
  Claim claim;
  claim.name = text_of(fields, "name", true);
  claim.text = text_of(fields, "text", true);
  claim.arm = text_of(fields, "arm", true);
  claim.against = text_of(fields, "against", false);
  claim.metric = text_of(fields, "metric", true);
  claim.correlate = text_of(fields, "correlate", false);
  claim.correlate_metric = text_of(fields, "correlate_metric", !claim.correlate.empty());
  const auto kind = fields.choice("kind", kKinds);
  if (!kind) fields.fail_at("kind", "missing, expected less, greater, no_worse or equivalent");
  claim.kind = static_cast<Claim::Kind>(*kind);
  claim.margin = number_of(fields, "margin", 0.0, 0.0, 1e12);
  claim.than = number_of(fields, "than", 0.0, -1e12, 1e12);
  claim.relative = fields.boolean("relative").value_or(false);
  fields.finish();
  const bool needs_margin = claim.kind == Claim::Kind::kNoWorse || claim.kind == Claim::Kind::kEquivalent;
  if (needs_margin && claim.margin == 0.0) fields.fail_at("margin", "0, expected how much still counts as no worse");
  if (claim.relative && claim.against.empty()) fields.fail_at("relative", "true, expected against to be relative to");
  return claim;
}

template <class Make>
auto list_of(JsonFields& fields, std::string_view key, std::string_view where, Make make) {
  std::vector<decltype(make(Json(), where, 0))> out;
  const Json* found = fields.any(key);
  if (found == nullptr || !found->is_array() || found->empty()) fields.fail_at(key, "missing or no list");
  for (std::size_t i = 0; i < found->size(); ++i) out.push_back(make((*found)[i], where, i));
  return out;
}

void apply_smoke(const Json& json, std::string_view where, Experiment& experiment) {
  JsonFields fields(json, where, "smoke");
  const Json* recipe = fields.any("recipe");
  if (recipe == nullptr || !recipe->is_object()) fields.fail_at("recipe", "missing, expected what a short run changes");
  experiment.recipe.merge_patch(*recipe);
  experiment.seeds = fields.integer("seeds", 1, kMost).value_or(experiment.seeds);
  for (Arm& arm : experiment.arms) arm.seeds = std::min(arm.seeds, experiment.seeds);
  experiment.log_every = fields.integer("log_every", 1, kMost).value_or(1);
  experiment.evaluate_every = fields.integer("evaluate_every", 1, kMost).value_or(2);
  experiment.tune_spans = fields.integer("tune_spans", 1, kMost).value_or(4);
  experiment.test_spans = fields.integer("test_spans", 1, kMost).value_or(4);
  experiment.texts = text_files_of(fields, "texts", true);
  experiment.held_out = text_files_of(fields, "held_out", false);
  fields.finish();
}

Corruption corruption_from(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "corruption");
  Corruption out;
  out.share = number_of(fields, "share", 0.0, 0.0, 1.0);
  out.token = fields.integer("token", 0, kMost);
  fields.finish();
  if (out.share == 0.0) fields.fail_at("share", "0 or missing, expected the share of tokens to replace");
  return out;
}

[[noreturn]] void fail_at_arm(const JsonFields& fields, const Arm& arm, const std::string& expected,
                              const std::string& found) {
  fields.fail_at("arms", printable(arm.name) + ": trunk: expected " + expected + ", " + found);
}

void check_names(const Experiment& experiment, const JsonFields& fields) {
  for (const Arm& arm : experiment.arms) {
    const auto same = std::ranges::count(experiment.arms, arm.name, &Arm::name);
    if (same > 1) fields.fail_at("arms", printable(arm.name) + " twice, expected names that differ");
    if (!arm.tuned_as.empty()) arm_of(experiment, arm.tuned_as);
    if (arm.trunk.empty()) continue;
    const Arm& trunk = arm_of(experiment, arm.trunk);
    const auto tuned = [](const Arm& one) { return one.tuned_as.empty() ? one.name : one.tuned_as; };
    if (!trunk.trunk.empty()) fail_at_arm(fields, arm, "a trunk", trunk.name + " has one of its own");
    if (tuned(arm) != tuned(trunk)) fail_at_arm(fields, arm, "the trunk's learning rate", "tuned_as is another");
  }
  for (const Claim& claim : experiment.claims) {
    for (const std::string* name : {&claim.arm, &claim.against, &claim.correlate}) {
      if (!name->empty()) arm_of(experiment, *name);
    }
  }
}

}  // namespace

std::string_view claim_kind_name(Claim::Kind kind) {
  return kKinds[static_cast<std::size_t>(kind)];
}

Experiment read_experiment(const std::string& path, bool smoke) {
  const std::string text = read_text_file(path, kMaxBytes);
  const Json json = parse_json(text, path);
  JsonFields fields(json, path, "experiment");
  if (fields.integer("version", 1, 1).value_or(0) != 1) fields.fail_at("version", "missing, expected 1");
  Experiment out;
  Sha256 digest;
  digest.update(text);
  out.sha256 = digest.hex_digest();
  out.slug = text_of(fields, "slug", true);
  out.title = text_of(fields, "title", true);
  out.paper = text_of(fields, "paper", true);
  out.about = text_of(fields, "about", false);
  out.fetch = text_of(fields, "fetch", false);
  const Json* recipe = fields.any("recipe");
  if (recipe == nullptr || !recipe->is_object()) fields.fail_at("recipe", "missing, expected what junto train takes");
  out.recipe = *recipe;
  out.texts = text_files_of(fields, "texts", true);
  out.held_out = text_files_of(fields, "held_out", false);
  out.seeds = fields.integer("seeds", 1, kMost).value_or(out.seeds);
  out.tuning_seeds = fields.integer("tuning_seeds", 1, kMost).value_or(out.tuning_seeds);
  if (const Json* rates = fields.any("learning_rates")) {
    const bool good =
        rates->is_array() && std::ranges::all_of(*rates, [](const Json& rate) { return rate.is_number(); });
    if (!good) fields.fail_at("learning_rates", quoted(*rates) + ", expected a list of numbers");
    out.learning_rates = rates->get<std::vector<double>>();
  }
  out.log_every = fields.integer("log_every", 1, kMost).value_or(out.log_every);
  out.evaluate_every = fields.integer("evaluate_every", 1, kMost).value_or(out.evaluate_every);
  out.tune_spans = fields.integer("tune_spans", 1, kMost).value_or(out.tune_spans);
  out.test_spans = fields.integer("test_spans", 1, kMost).value_or(out.test_spans);
  out.arms = list_of(fields, "arms", path, arm_from);
  out.claims = list_of(fields, "claims", path, claim_from);
  out.noise = text_of(fields, "noise", false);
  if (!out.noise.empty()) {
    Arm again = arm_of(out, out.noise);
    again.tuned_as = again.tuned_as.empty() ? again.name : again.tuned_as;
    again.about = again.name + " again, with other seeds";
    again.trunk.clear();
    again.name = kNoiseArm;
    again.seed_offset = kNoiseSeedOffset;
    out.arms.push_back(std::move(again));
  }
  if (const Json* corruption = fields.any("corruption")) out.corruption = corruption_from(*corruption, path);
  constexpr int kMostDevices = 1 << 16;
  out.devices = static_cast<int>(fields.integer("devices", 1, kMostDevices).value_or(0));
  const Json* for_smoke = fields.any("smoke");
  if (for_smoke == nullptr) fields.fail_at("smoke", "missing, expected what makes a run of seconds");
  fields.finish();
  check_names(out, fields);
  out.smoke = smoke;
  if (smoke) apply_smoke(*for_smoke, path, out);
  return out;
}

const Arm& arm_of(const Experiment& experiment, std::string_view name) {
  const auto found = std::ranges::find(experiment.arms, name, &Arm::name);
  if (found != experiment.arms.end()) return *found;
  std::string names;
  for (const Arm& arm : experiment.arms) names += (names.empty() ? "" : ", ") + arm.name;
  fail(experiment.slug, "has no arm " + printable(name) + ", expected " + names);
}

}  // namespace junto

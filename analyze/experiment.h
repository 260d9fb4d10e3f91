// systems/<slug>/experiment.json: the arms of a comparison, and what is claimed about them before anything runs.
//
//   {"version": 1, "slug": "alf-lb", "title": "...", "paper": "arXiv 2408.15664", "about": "...",
//    "recipe": {...},                        as `junto train` takes it, without data.files, run and seed
//    "fetch": "scripts/fetch-mix",           what brings the texts into the cache
//    "texts": {"python": "mix/python.txt"},  domain: file in the cache
//    "held_out": {"mail": "mix/mail.txt"},   texts that are tested and not trained on; of experiments with traces
//    "seeds": 5, "learning_rates": [0.002, 0.004], "tuning_seeds": 1,
//    "log_every": 10, "evaluate_every": 50, "tune_spans": 64, "test_spans": 256,
//    "arms": [{"name": "aux", "about": "...", "set": ["losses.balance=0.01"], "seeds": 3}],
//             {"name": "half", "about": "...", "set": ["schedule.flops=1e9"], "tuned_as": "whole", "trunk": "whole"}
//    "noise": "aux",                         the arm that runs again with other seeds: the A/A noise floor
//    "claims": [{"name": "...", "text": "...", "arm": "bias", "against": "aux", "metric": "max_violation",
//                "kind": "less", "margin": 0.3}],
//    "devices": 8,                           how long devices would wait for the slowest (analyze/device_step.h)
//    "corruption": {"share": 0.025, "token": 64},   tests with a share of the input tokens replaced (MomentumSMoE)
//    "smoke": {"recipe": {"schedule": {"steps": 4}}, "seeds": 2, "texts": {"docs": "docs/training.md"}}}
//
// Texts that are traces (docs/trace.md) are not read as language: what is trained predicts which experts their tokens
// ask for (train/reproduce/measure_paths.h). smoke.recipe is merged into recipe (RFC 7386); its texts stand in the
// repository. An arm "again" is added for `noise`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace junto {

/// A way to train: the experiment's recipe with some fields set otherwise.
struct Arm {
  std::string name = {}, about = {};
  std::vector<std::string> set = {};  // "a.b=c"
  std::int64_t seeds = 0;             // 0: as many as the experiment has
  std::int64_t seed_offset = 0;       // added to each seed: of the A/A arm
  std::string tuned_as = {};          // whose learning rate it takes; empty: its own
  std::string trunk = {};             // whose run its own is up to its decay (train/reproduce/trunk.h); empty: none's
};

/// One confirmatory contrast. With `against`, the difference is metric(arm) - metric(against) of each seed, divided by
/// metric(against) where `relative`. Without, it is metric(arm) - `than`. With `correlate`, what is compared with
/// `than` is Spearman's correlation over test tokens of the arm's `metric` with the `correlate_metric` of that arm.
struct Claim {
  enum class Kind : std::uint8_t {
    kLess,        // by at least `margin`
    kGreater,     // by at least `margin`
    kNoWorse,     // greater by less than `margin`: for metrics of which less is better
    kEquivalent,  // within -margin .. margin
  };
  std::string name, text, arm, against, metric;
  std::string correlate, correlate_metric;
  Kind kind = Kind::kLess;
  double margin = 0.0, than = 0.0;
  bool relative = false;
};
std::string_view claim_kind_name(Claim::Kind kind);

/// What the text to test is read with once more: a share of its input tokens replaced, targets as they are. 0: not
/// read.
struct Corruption {
  double share = 0.0;
  std::optional<std::int64_t> token = {};  // what stands in their places; none: tokens from anywhere in the text
};

struct TextFile {
  std::string domain, path;
};

struct Experiment {
  std::string slug, title, paper, about, fetch;
  Json recipe;
  std::vector<TextFile> texts;
  std::vector<TextFile> held_out;  // tested alone
  std::int64_t seeds = 5, tuning_seeds = 1;
  std::vector<double> learning_rates;
  std::int64_t log_every = 10, evaluate_every = 50, tune_spans = 64, test_spans = 256;
  std::vector<Arm> arms;  // the A/A arm among them, last
  std::string noise;      // of which arm that is the repetition; empty: none
  std::vector<Claim> claims;
  Corruption corruption;
  int devices = 0;     // on which a layer's experts are thought to stand; 0: not measured
  std::string sha256;  // of the file: what was declared
  bool smoke = false;
};

/// What the A/A arm is called.
inline constexpr std::string_view kNoiseArm = "again";

/// Throws Error naming the file, the field, what is there and what is allowed. With `smoke`, what the experiment says
/// about smoke runs has been applied.
Experiment read_experiment(const std::string& path, bool smoke);

/// The arm of that name; throws Error naming the known ones.
const Arm& arm_of(const Experiment& experiment, std::string_view name);

}  // namespace junto

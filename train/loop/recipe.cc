#include "train/loop/recipe.h"

#include <array>
#include <cmath>

#include "base/error.h"
#include "cli/session.h"
#include "moe/json_fields.h"
#include "train/loop/import.h"

namespace junto {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 40;

std::string parse_checkpoint(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "model");
  const Json* path = fields.any("checkpoint");
  fields.finish();
  if (!path->is_string()) fields.fail_at("checkpoint", quoted(*path) + ", expected a GGUF file, a directory or a name");
  return model_path(path->get<std::string>());
}

BatchOptions parse_batch(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "batch");
  BatchOptions options;
  options.sequences = fields.integer("sequences", 1, 1 << 20).value_or(options.sequences);
  options.length = fields.integer("length", 1, 1 << 20).value_or(options.length);
  options.micro_batches = fields.integer("micro_batches", 1, 1 << 20).value_or(options.micro_batches);
  fields.finish();
  if (options.sequences % options.micro_batches != 0) {
    fields.fail_at("micro_batches", std::to_string(options.micro_batches) + ", expected a divisor of " +
                                        std::to_string(options.sequences) + " (sequences)");
  }
  return options;
}

std::vector<float> parse_balance_weights(const Json& json, int experts, const JsonFields& fields) {
  const auto refuse = [&](const std::string& found) {
    fields.fail_at("balance_weights", found + ", expected a list of " + std::to_string(experts) + " numbers 0..1e6");
  };
  if (!json.is_array()) refuse(quoted(json));
  if (std::ssize(json) != experts) refuse("a list of " + std::to_string(json.size()));
  std::vector<float> out;
  for (const Json& weight : json) {
    if (!weight.is_number() || !(weight.get<double>() >= 0.0 && weight.get<double>() <= 1e6)) {
      refuse("a list with " + quoted(weight));
    }
    out.push_back(weight.get<float>());
  }
  return out;
}

/// load_loss() knows the k best of logits under learned noise, and nothing else.
void check_load_loss(const LanguageModelShape& model, const RouterSpec& router, const JsonFields& fields) {
  const RouterTraining& training = model.router_training;
  const TopK* rule = std::get_if<TopK>(training.select ? &*training.select : &router.select);
  if (training.noise != RouterTraining::Noise::kLearned || !training.noisy_weights || training.temperature != 1.0f) {
    fields.fail_at("load", "set, expected 0 or router_training with learned noise, noisy_weights and temperature 1");
  }
  if (rule == nullptr || rule->k >= router.experts || router.selection_bias || router.entropy_override) {
    fields.fail_at("load", "set, expected 0 or a router with top_k below " + std::to_string(router.experts) +
                               " (experts), without selection_bias and entropy_override");
  }
}

/// What fields of `losses` ask of one another and of the router.
void check_losses(const LossOptions& options, const LanguageModelShape& model, const RouterSpec& router,
                  const JsonFields& fields) {
  const auto refuse = [&](bool wrong, std::string_view field, const std::string& expected) {
    if (wrong) fields.fail_at(field, "set, expected " + expected);
  };
  refuse(options.entropy != 0.0f && router.score != Score::kSoftmax, "entropy", "0 where scores are no softmax");
  const bool logits = router.score == Score::kLogit;
  refuse(options.balance != 0.0f && logits, "balance", "0 where scores are logits");
  refuse(options.sequence_balance != 0.0f && logits, "sequence_balance", "0 where scores are logits");
  refuse(options.importance != 0.0f && logits, "importance", "0 where scores are logits");
  refuse(options.balance_of == LossOptions::BalanceOf::kSingle && !options.balance_weights.empty(), "balance_weights",
         "nothing with balance_of single");
  if (options.load != 0.0f) check_load_loss(model, router, fields);
  refuse(options.orthogonality != 0.0f && router.experts - model.free_experts() < 2, "orthogonality",
         "0 or two experts with weights");
  refuse(options.bias_rate > 0.0f && !router.selection_bias, "bias_rate", "0 or a router with selection_bias");
}

/// `router` is the model's, or that of a stage.
LossOptions parse_losses(const Json& json, const LanguageModelShape& model, const RouterSpec& router,
                         std::string_view where) {
  JsonFields fields(json, where, "losses");
  LossOptions options;
  options.balance =
      fields.number("balance", 0.0f, 1e6f).value_or(router.score == Score::kLogit ? 0.0f : options.balance);
  options.z = fields.number("z", 0.0f, 1e6f).value_or(options.z);
  options.entropy = fields.number("entropy", -1e6f, 1e6f).value_or(options.entropy);
  constexpr std::array<std::string_view, 3> kEntropies = {"shannon", "tsallis", "renyi"};
  options.entropy_kind = static_cast<Entropy>(fields.choice("entropy_kind", kEntropies).value_or(0));
  const std::optional<float> order = fields.number("entropy_order", 1e-3f, 1e3f);
  options.entropy_order = order.value_or(options.entropy_order);
  options.importance = fields.number("importance", 0.0f, 1e6f).value_or(options.importance);
  options.load = fields.number("load", 0.0f, 1e6f).value_or(options.load);
  options.orthogonality = fields.number("orthogonality", 0.0f, 1e6f).value_or(options.orthogonality);
  if (const Json* weights = fields.any("balance_weights")) {
    options.balance_weights = parse_balance_weights(*weights, router.experts, fields);
  }
  constexpr std::array<std::string_view, 2> kBalanceOf = {"all", "single"};
  options.balance_of = static_cast<LossOptions::BalanceOf>(fields.choice("balance_of", kBalanceOf).value_or(0));
  options.sequence_balance = fields.number("sequence_balance", 0.0f, 1e6f).value_or(options.sequence_balance);
  options.bias_rate = fields.number("bias_rate", 0.0f, 1e6f).value_or(options.bias_rate);
  constexpr std::array<std::string_view, 2> kUpdates = {"sign", "proportional"};
  constexpr std::array<std::string_view, 3> kSchedules = {"constant", "inverse_sqrt", "inverse"};
  options.bias_update = static_cast<BiasUpdate>(fields.choice("bias_update", kUpdates).value_or(0));
  options.bias_schedule =
      static_cast<LossOptions::BiasSchedule>(fields.choice("bias_schedule", kSchedules).value_or(0));
  fields.finish();
  if (order && options.entropy_kind == Entropy::kShannon) {
    fields.fail_at("entropy_order", "set, expected nothing without entropy_kind tsallis or renyi");
  }
  check_losses(options, model, router, fields);
  return options;
}

RunOptions parse_run(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "run");
  RunOptions options;
  const Json* folder = fields.any("folder");
  if (folder == nullptr || !folder->is_string() || folder->get<std::string>().empty()) {
    fields.fail_at("folder", (folder == nullptr ? "missing" : quoted(*folder)) + ", expected where the run writes");
  }
  options.folder = folder->get<std::string>();
  options.log_every = fields.integer("log_every", 1, kMost).value_or(options.log_every);
  options.evaluate_every = fields.integer("evaluate_every", 0, kMost).value_or(options.evaluate_every);
  options.evaluate_spans = fields.integer("evaluate_spans", 1, kMost).value_or(options.evaluate_spans);
  options.checkpoint_every = fields.integer("checkpoint_every", 1, kMost).value_or(options.checkpoint_every);
  options.keep_checkpoints = fields.integer("keep_checkpoints", 1, kMost).value_or(options.keep_checkpoints);
  options.huggingface = fields.boolean("huggingface").value_or(options.huggingface);
  options.tensorboard = fields.boolean("tensorboard").value_or(options.tensorboard);
  fields.finish();
  return options;
}

/// Numbers that a ramp may move, by the names of their fields.
struct RampField {
  std::string_view name;
  float& (*of)(Scalars& scalars);
};
constexpr RampField kRampFields[] = {
    {"losses.balance", [](Scalars& s) -> float& { return s.losses.balance; }},
    {"losses.sequence_balance", [](Scalars& s) -> float& { return s.losses.sequence_balance; }},
    {"losses.z", [](Scalars& s) -> float& { return s.losses.z; }},
    {"losses.entropy", [](Scalars& s) -> float& { return s.losses.entropy; }},
    {"losses.importance", [](Scalars& s) -> float& { return s.losses.importance; }},
    {"losses.load", [](Scalars& s) -> float& { return s.losses.load; }},
    {"losses.orthogonality", [](Scalars& s) -> float& { return s.losses.orthogonality; }},
    {"losses.bias_rate", [](Scalars& s) -> float& { return s.losses.bias_rate; }},
    {"optimizer.learning_rate", [](Scalars& s) -> float& { return s.optimizer.learning_rate; }},
    {"optimizer.beta1", [](Scalars& s) -> float& { return s.optimizer.beta1; }},
    {"optimizer.beta2", [](Scalars& s) -> float& { return s.optimizer.beta2; }},
    {"optimizer.weight_decay", [](Scalars& s) -> float& { return s.optimizer.weight_decay; }},
    {"optimizer.clip_norm", [](Scalars& s) -> float& { return s.optimizer.clip_norm; }},
};

std::vector<Ramp> parse_ramps(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "ramps");
  std::vector<Ramp> out;
  for (const RampField& field : kRampFields) {
    const Json* points = fields.any(field.name);
    if (points == nullptr) continue;
    Ramp ramp{.field = std::string(field.name), .points = {}};
    const auto refuse = [&] {
      fields.fail_at(field.name,
                     quoted(*points) + ", expected [[share of the run, value], ...], shares 0..1 ascending");
    };
    if (!points->is_array() || points->empty()) refuse();
    for (const Json& point : *points) {
      if (!point.is_array() || point.size() != 2 || !point[0].is_number() || !point[1].is_number()) refuse();
      const double share = point[0].get<double>();
      if (share < 0.0 || share > 1.0 || (!ramp.points.empty() && share <= ramp.points.back().first)) refuse();
      ramp.points.emplace_back(share, point[1].get<double>());
    }
    out.push_back(std::move(ramp));
  }
  fields.finish();
  return out;
}

/// Every value that a ramp will take must be one that the field itself may have.
void check_ramps(const Recipe& recipe, std::string_view where) {
  for (const Ramp& ramp : recipe.ramps) {
    for (const auto& [share, value] : ramp.points) {
      const std::size_t dot = ramp.field.find('.');
      const std::string object = ramp.field.substr(0, dot), place = std::string(where) + ": ramps";
      Json changed = recipe.json.value(object, Json::object());
      changed[ramp.field.substr(dot + 1)] = value;
      if (object == "losses") {
        parse_losses(changed, recipe.model, recipe.model.router, place);
      } else {
        parse_optimizer(changed, place);
      }
    }
  }
}

}  // namespace

double bias_rate_at(const LossOptions& losses, std::int64_t n) {
  const double rate = losses.bias_rate, updates = static_cast<double>(n);
  if (losses.bias_schedule == LossOptions::BiasSchedule::kInverseSqrt) return rate / std::sqrt(updates);
  return losses.bias_schedule == LossOptions::BiasSchedule::kInverse ? rate / updates : rate;
}

Scalars scalars_at(const Recipe& recipe, double share) {
  Scalars scalars{recipe.losses, recipe.optimizer};
  for (const Ramp& ramp : recipe.ramps) {
    for (const RampField& field : kRampFields) {
      if (field.name == ramp.field) field.of(scalars) = static_cast<float>(value_at(ramp, share));
    }
  }
  return scalars;
}

Recipe parse_recipe(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "recipe");
  Recipe recipe;
  recipe.json = json;
  const Json* version = fields.any("version");
  if (version == nullptr || *version != 1) {
    fields.fail_at("version", (version == nullptr ? "missing" : quoted(*version)) + ", this build reads version 1");
  }
  const Json* name = fields.any("name");
  if (name != nullptr && !name->is_string()) fields.fail_at("name", quoted(*name) + ", expected a text");
  recipe.name = name == nullptr ? "unnamed" : name->get<std::string>();
  recipe.seed = static_cast<std::uint64_t>(fields.integer("seed", 0, kMost).value_or(0));
  const Json nothing = Json::object();
  const auto part = [&](std::string_view key, bool required) -> const Json& {
    const Json* found = fields.any(key);
    if (found == nullptr && required) fields.fail_at(key, "missing");
    return found == nullptr ? nothing : *found;
  };
  if (const Json& model = part("model", true); model.is_object() && model.contains("checkpoint")) {
    recipe.checkpoint = parse_checkpoint(model, where);
    recipe.model = shape_of_checkpoint(recipe.checkpoint);
  } else {
    recipe.model = parse_language_model_shape(model, where);
  }
  recipe.data = parse_token_text(part("data", true), where);
  if (recipe.data.tokenizer.empty() && recipe.data.vocabulary == 0) recipe.data.tokenizer = recipe.checkpoint;
  recipe.batch = parse_batch(part("batch", false), where);
  recipe.losses = parse_losses(part("losses", false), recipe.model, recipe.model.router, where);
  recipe.optimizer = parse_optimizer(part("optimizer", false), where);
  recipe.schedule = parse_schedule(part("schedule", false), where);
  if (const Json* stages = fields.any("stages")) recipe.stages = parse_stages(*stages, recipe.model, where);
  for (const Stage& stage : recipe.stages) {
    if (stage.router) parse_losses(part("losses", false), recipe.model, *stage.router, std::string(where) + ": stages");
  }
  recipe.ramps = parse_ramps(part("ramps", false), where);
  recipe.run = parse_run(part("run", true), where);
  fields.finish();
  check_ramps(recipe, where);
  if (recipe.schedule.patience > 0 && (recipe.run.evaluate_every == 0 || recipe.data.validation_share == 0.0f))
    fields.fail_at("schedule.patience", "set, expected evaluations (run.evaluate_every, data.validation_share)");
  if (recipe.batch.length > recipe.model.context) {
    fields.fail_at("batch.length", std::to_string(recipe.batch.length) + ", expected 1.." +
                                       std::to_string(recipe.model.context) + " (model.context)");
  }
  return recipe;
}

void set_field(Json& recipe, std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  const std::string where = "--set " + std::string(assignment);
  if (equals == std::string_view::npos || equals == 0) fail(where, "expected FIELD.FIELD=VALUE");
  const std::string_view text = assignment.substr(equals + 1);
  Json* place = &recipe;
  for (std::string_view path = assignment.substr(0, equals);;) {
    const std::size_t dot = path.find('.');
    if (!place->is_object() && !place->is_null()) fail(where, "what holds " + printable(path) + " is no object");
    place = &(*place)[std::string(path.substr(0, dot))];
    if (dot == std::string_view::npos) break;
    path.remove_prefix(dot + 1);
  }
  Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  *place = value.is_discarded() ? Json(text) : std::move(value);
}

}  // namespace junto

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
  const auto path = fields.text("checkpoint",
                                "Whose shape, values and tokenizer the run begins with: a GGUF file, a "
                                "directory or a name that junto knows");
  fields.required("checkpoint");
  return fields.finish() ? model_path(*path) : "";
}

BatchOptions parse_batch(const Json& json, std::string_view where) {
  constexpr std::int64_t kLargest = 1 << 20;
  JsonFields fields(json, where, "batch");
  BatchOptions options;
  fields.read("sequences", 1, kLargest, options.sequences, "Of a step");
  fields.read("length", 1, kLargest, options.length, "Tokens of a sequence, at most model.context");
  fields.read("micro_batches", 1, kLargest, options.micro_batches,
              "A divisor of sequences: gradients of so many parts are added up");
  fields.read("recompute_activations", options.recompute_activations,
              "Less memory for more work: backward computes each block's activations again");
  if (const Json* order = fields.any("order", "Which sequences steps read; without: drawn"))
    options.order = parse_sequence_order(*order, options.sequences, where);
  if (!fields.finish()) return options;
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
  refuse(options.balance_of != LossOptions::BalanceOf::kAll && !options.balance_weights.empty(), "balance_weights",
         "nothing with balance_of single or weights");
  refuse(options.load != 0.0f && model.adapters_route(), "load", "0 with routed adapters");
  if (options.load != 0.0f) check_load_loss(model, router, fields);
  refuse(options.orthogonality != 0.0f && model.adapters_route(), "orthogonality", "0 with routed adapters");
  refuse(options.orthogonality != 0.0f && router.experts - model.free_experts() < 2, "orthogonality",
         "0 or two experts with weights");
  refuse(options.bias_rate > 0.0f && !router.selection_bias, "bias_rate", "0 or a router with selection_bias");
}

LossOptions read_losses(JsonFields& fields, const RouterSpec& router) {
  constexpr std::array<std::string_view, 3> kEntropies = {"shannon", "tsallis", "renyi"};
  constexpr std::array<std::string_view, 3> kBalanceOf = {"all", "single", "weights"};
  constexpr std::array<std::string_view, 2> kUpdates = {"sign", "proportional"};
  constexpr std::array<std::string_view, 3> kSchedules = {"constant", "inverse_sqrt", "inverse"};
  constexpr std::string_view kWeights =
      R"({"type": "array", "minItems": 1, "items": {"type": "number", "minimum": 0, "maximum": 1e6}})";
  constexpr float kMostFactor = 1e6f;
  LossOptions options;
  if (router.score == Score::kLogit) options.balance = 0.0f;
  const auto factor = [&](std::string_view key, float min, float& value, std::string_view about) {
    fields.read(key, min, kMostFactor, value, about);
  };
  factor("balance", 0.0f, options.balance, "Of the balance loss; 0 where scores are logits");
  if (const Json* weights = fields.by_hand("balance_weights", kWeights, "Of each expert in the balance loss"))
    options.balance_weights = parse_balance_weights(*weights, router.experts, fields);
  fields.read("balance_of", kBalanceOf, options.balance_of,
              "What balance counts: all slots, those of tokens with one expert, or weights");
  factor("sequence_balance", 0.0f, options.sequence_balance, "Of the balance loss of each sequence by itself");
  factor("z", 0.0f, options.z, "Of the squared log-sum-exp of the logits");
  factor("entropy", -kMostFactor, options.entropy, "Of the scores' entropy: above 0, routers become more certain");
  fields.read("entropy_kind", kEntropies, options.entropy_kind, "Which entropy");
  factor("importance", 0.0f, options.importance, "Of the squared variation of the experts' summed scores");
  factor("load", 0.0f, options.load, "Of the squared variation of their smooth load: top_k with learned noise");
  factor("orthogonality", 0.0f, options.orthogonality, "Of the experts' weights, squared cosines");
  factor("bias_rate", 0.0f, options.bias_rate, "Of loss-free balancing, with a router's selection_bias");
  fields.read("bias_update", kUpdates, options.bias_update, "By the sign of the missing load, or by its share");
  fields.read("bias_schedule", kSchedules, options.bias_schedule, "What becomes of bias_rate over the updates");
  return options;
}

/// `router` is the model's, or that of a stage.
LossOptions parse_losses(const Json& json, const LanguageModelShape& model, const RouterSpec& router,
                         std::string_view where) {
  JsonFields fields(json, where, "losses");
  LossOptions options = read_losses(fields, router);
  const auto order = fields.number("entropy_order", 1e-3f, 1e3f, "Of tsallis and renyi; without: 2");
  options.entropy_order = order.value_or(options.entropy_order);
  if (!fields.finish()) return options;
  if (order && options.entropy_kind == Entropy::kShannon) {
    fields.fail_at("entropy_order", "set, expected nothing without entropy_kind tsallis or renyi");
  }
  check_losses(options, model, router, fields);
  return options;
}

RunOptions parse_run(const Json& json, std::string_view where) {
  JsonFields fields(json, where, "run");
  RunOptions options;
  fields.required("folder", ", expected where the run writes");
  options.folder = fields.text("folder", "Where the run writes", 1).value_or("");
  fields.read("log_every", 1, kMost, options.log_every, "Steps from one line of the log to the next");
  fields.read("evaluate_every", 0, kMost, options.evaluate_every, "Steps from one evaluation to the next; 0: none");
  fields.read("evaluate_spans", 1, kMost, options.evaluate_spans, "Sequences of an evaluation");
  fields.read("checkpoint_every", 1, kMost, options.checkpoint_every, "Steps from one checkpoint to the next");
  fields.read("keep_checkpoints", 1, kMost, options.keep_checkpoints, "The last so many stay");
  fields.read("huggingface", options.huggingface, "Writes a Hugging Face directory too, at the end");
  fields.read("tensorboard", options.tensorboard, "Writes an event file too");
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
    {"router_training.amount", [](Scalars& s) -> float& { return s.router_training.amount; }},
    {"router_training.temperature", [](Scalars& s) -> float& { return s.router_training.temperature; }},
};

std::vector<Ramp> parse_ramps(const Json& json, std::string_view where) {
  constexpr std::string_view kPoints = R"({"oneOf": [
    {"type": "array", "minItems": 1, "items": {"type": "array", "minItems": 2, "maxItems": 2,
     "prefixItems": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "number"}]}},
    {"type": "object", "additionalProperties": false, "required": ["exponential"],
     "properties": {"exponential": {"description": "Points between which equal shares are equal factors",
       "type": "array", "minItems": 1, "items": {"type": "array", "minItems": 2, "maxItems": 2,
       "prefixItems": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "number", "exclusiveMinimum": 0}]}}}}]})";
  JsonFields fields(json, where, "ramps");
  std::vector<Ramp> out;
  for (const RampField& field : kRampFields) {
    const Json* found = fields.by_hand(
        field.name, kPoints, "[[share of the run, value], ...], shares ascending; or {\"exponential\": the same}");
    if (found == nullptr) continue;
    Ramp ramp{.field = std::string(field.name), .points = {}};
    const auto refuse = [&] {
      fields.fail_at(field.name, quoted(*found) +
                                     ", expected [[share of the run, value], ...], shares 0..1 ascending, or "
                                     "{\"exponential\": the same with values above 0}");
    };
    ramp.exponential = found->is_object() && found->size() == 1 && found->contains("exponential");
    const Json* points = ramp.exponential ? &found->at("exponential") : found;
    if (!points->is_array() || points->empty()) refuse();
    for (const Json& point : *points) {
      if (!point.is_array() || point.size() != 2 || !point[0].is_number() || !point[1].is_number()) refuse();
      const double share = point[0].get<double>();
      if (share < 0.0 || share > 1.0 || (!ramp.points.empty() && share <= ramp.points.back().first)) refuse();
      if (ramp.exponential && !(point[1].get<double>() > 0.0)) refuse();
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
    const OptimizerOptions& optimizer = recipe.optimizer;
    if (ramp.field == "optimizer.beta1" && optimizer.kind == OptimizerOptions::Kind::kAdafactor &&
        optimizer.beta1 == 0.0f)
      fail(where,
           "ramps: optimizer.beta1 is set, expected optimizer.beta1 above 0 first: adafactor has no moment then");
    for (const auto& [share, value] : ramp.points) {
      const std::size_t dot = ramp.field.find('.');
      const std::string object = ramp.field.substr(0, dot), place = std::string(where) + ": ramps";
      Json changed = object == "router_training" ? Json::object() : recipe.json.value(object, Json::object());
      changed[ramp.field.substr(dot + 1)] = value;
      if (object == "losses") {
        parse_losses(changed, recipe.model, recipe.model.routing(), place);
      } else if (object == "router_training") {
        parse_router_training(changed, recipe.model.router, place);
      } else {
        parse_optimizer(changed, place);
      }
    }
  }
}

/// {"checkpoint": ...}, or a shape.
void read_model(const Json& json, std::string_view where, bool recording, Recipe& recipe) {
  if (recording || (json.is_object() && json.contains("checkpoint"))) {
    recipe.checkpoint = parse_checkpoint(json, where);
    if (!recording) recipe.model = shape_of_checkpoint(recipe.checkpoint);
  }
  if (recipe.checkpoint.empty()) recipe.model = parse_language_model_shape(json, where);
}

}  // namespace

Scalars scalars_at(const Recipe& recipe, double share) {
  Scalars scalars{recipe.losses, recipe.optimizer, stage_at(recipe.stages, recipe.model, share).router_training};
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
  fields.text("$schema", "Where editors find this schema; not read");
  fields.version(1);
  recipe.name = fields.text("name", "Of the model").value_or("unnamed");
  std::int64_t seed = 0;
  fields.read("seed", 0, kMost, seed, "Of first values, batches and all that is drawn");
  recipe.seed = static_cast<std::uint64_t>(seed);
  const Json nothing = Json::object();
  const auto part = [&](std::string_view key, std::string_view about) -> const Json& {
    const Json* found = fields.any(key, about);
    return found == nullptr ? nothing : *found;
  };
  fields.required("model");
  read_model(part("model", "A shape, or a checkpoint"), where, fields.recording(), recipe);
  if (const Json* adapters = fields.any("adapters", "LoRA of linear layers, over a model that stays as it is"))
    recipe.model.adapters = parse_adapter_shape(*adapters, where);
  if (recipe.model.adapters && !fields.recording()) check_adapters(*recipe.model.adapters, recipe.model, where);
  fields.required("data");
  recipe.data = parse_token_text(part("data", "The texts, and what a token is"), where);
  if (recipe.data.tokenizer.empty() && recipe.data.vocabulary == 0) recipe.data.tokenizer = recipe.checkpoint;
  recipe.batch = parse_batch(part("batch", "What a step reads"), where);
  recipe.placement = parse_placement_grid(part("placement", "How several processes are laid out"), where, "placement");
  const Json& losses = part("losses", "Factors of the losses beside cross entropy; 0: none");
  recipe.losses = parse_losses(losses, recipe.model, recipe.model.routing(), where);
  if (recipe.model.adapters_route() && recipe.model.routes() && !fields.recording())
    parse_losses(losses, recipe.model, recipe.model.router, where);  // before adapters train
  recipe.optimizer = parse_optimizer(part("optimizer", "How weights follow gradients"), where);
  recipe.schedule = parse_schedule(part("schedule", "How long, and the learning rate over it"), where);
  recipe.stages =
      parse_stages(fields.list("stages", "a list", "What changes in mid-run, ascending by from"), recipe.model, where);
  for (const Stage& stage : recipe.stages) {
    if (stage.router) parse_losses(losses, recipe.model, *stage.router, std::string(where) + ": stages");
    if (stage.router_training && recipe.losses.load != 0.0f)
      fields.fail_at("losses.load", "set, expected 0 with router_training in stages");
  }
  recipe.ramps = parse_ramps(part("ramps", "Numbers of losses and optimizer that change over the run"), where);
  fields.required("run");
  recipe.run = parse_run(part("run", "What is written, where and how often"), where);
  if (!fields.finish()) return recipe;
  check_ramps(recipe, where);
  if (recipe.schedule.patience > 0 && (recipe.run.evaluate_every == 0 || recipe.data.validation_share == 0.0f))
    fields.fail_at("schedule.patience", "set, expected evaluations (run.evaluate_every, data.validation_share)");
  if (recipe.batch.order.asks_statistics() && !recipe.model.routes())
    fields.fail_at("batch.order", "by routing, expected drawn or shuffled where no layer routes");
  if (recipe.batch.length > recipe.model.context) {
    fields.fail_at("batch.length", std::to_string(recipe.batch.length) + ", expected 1.." +
                                       std::to_string(recipe.model.context) + " (model.context)");
  }
  return recipe;
}

OrderedJson recipe_schema() {
  const SchemaRecording recording;
  parse_recipe(recording.root(), "recipe");
  return recording.schema("Recipe of a training run", "What junto train reads; docs/training.md says more.");
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

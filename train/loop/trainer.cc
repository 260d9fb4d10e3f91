#include "train/loop/trainer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "compress/tensor_types.h"
#include "train/loop/export.h"
#include "train/loop/export_adapter.h"
#include "train/loop/export_huggingface.h"
#include "train/loop/import.h"
#include "train/loop/recipe_parts.h"
#include "train/nn/losses.h"
#include "train/parallel/parted_parameters.h"
#include "train/parallel/total_of_ranks.h"

namespace junto {
namespace {

/// Nats a token. Of paths (ExpertFlow): each expert of each stage is a yes or no of its own, and a token's are summed;
/// the paper's loss is the mean over them, which the optimiser's steps do not tell apart.
at::Tensor loss_of(const at::Tensor& logits, const TokenBatch& batch) {
  if (!batch.paths.defined()) return at::cross_entropy_loss(logits, batch.targets.reshape({-1}));
  const at::Tensor asked = batch.paths.reshape(logits.sizes()).to(logits.scalar_type());
  return at::binary_cross_entropy_with_logits(logits, asked, {}, {}, at::Reduction::Sum) /
         static_cast<double>(logits.size(0));
}

/// Scores whose rows add up to 1, as losses of balance take them.
at::Tensor shares_of_scores(const RouterSpec& router, const RoutedUnits& routed) {
  if (router.score != Score::kSigmoid) return routed.scores;
  return routed.scores / routed.scores.sum(1, true).clamp_min(1e-20);
}

at::Tensor balance_of_routing(const LossOptions& losses, const RouterSpec& router, const RoutedUnits& routed,
                              Exchange& ranks) {
  const at::Tensor scores = shares_of_scores(router, routed);
  if (losses.balance_of == LossOptions::BalanceOf::kSingle)
    return single_expert_balance_loss(scores, routed.asked(), {}, &ranks);
  if (losses.balance_of == LossOptions::BalanceOf::kWeights)
    return weight_balance_loss(scores, routed.weights, routed.plan, {}, &ranks);
  at::Tensor weights;
  if (!losses.balance_weights.empty()) weights = at::tensor(losses.balance_weights);
  return balance_loss(scores, routed.asked(), LoadShare::kOfUnits, {}, weights, &ranks);
}

/// A model of paths has a head of its own.
void fit_paths(Recipe& recipe, const std::vector<int>& experts) {
  if (experts.empty()) return;
  const auto refuse = [](bool wrong, const std::string& field, const std::string& expected) {
    if (wrong) fail("recipe", field + ", expected " + expected + " with traces in data.files");
  };
  refuse(!recipe.checkpoint.empty(), "model.checkpoint is set", "a shape");
  refuse(recipe.json.at("model").value("tied_embeddings", false), "model.tied_embeddings is true", "false");
  refuse(recipe.run.huggingface, "run.huggingface is true", "false");
  recipe.model.tied_embeddings = false;
  recipe.model.path_experts = experts;
}

/// The model gets a row for each token of the text, or as many more as its recipe says.
Recipe fit_to_text(Recipe recipe, const TokenText& text) {
  fit_paths(recipe, text.train_paths.experts);
  if (recipe.checkpoint.empty() && !recipe.json.at("model").contains("vocabulary"))
    recipe.model.vocabulary = text.vocabulary;
  if (recipe.model.vocabulary < text.vocabulary) {
    fail("recipe", "model.vocabulary is " + std::to_string(recipe.model.vocabulary) + ", expected at least " +
                       std::to_string(text.vocabulary) + ", the tokens of its text");
  }
  return recipe;
}

}  // namespace

Trainer::Trainer(Recipe recipe, Exchange& exchange)
    : exchange_(exchange),
      text_(read_token_text(recipe.data, recipe.batch.length)),
      recipe_(fit_to_text(std::move(recipe), text_)),
      grid_(check_parts(recipe_, exchange_.ranks())),
      passes_(recipe_.batch.order, recipe_.batch.sequences, spans_of(text_.train, recipe_.batch.length),
              (recipe_.model.layers - recipe_.model.dense_layers) * recipe_.model.rounds.count, recipe_.seed),
      model_(std::make_unique<LanguageModel>(recipe_.model, recipe_.seed, share_of(grid_, recipe_.model))),
      optimizer_(recipe_.optimizer, model_->parameters()) {
  if (recipe_.checkpoint.empty()) return;
  if (model_->parted()) {
    LanguageModel whole(recipe_.model, recipe_.seed);
    import_checkpoint(recipe_.checkpoint, whole);
    model_->parameters().values().copy_(
        part_of_flat(whole.parameters().values(), model_->parameters(), *model_->share()));
    copy_selection_biases(whole, *model_);
  } else {
    import_checkpoint(recipe_.checkpoint, *model_);
  }
  if (optimizer_.average.defined()) optimizer_.average.copy_(model_->parameters().values());
}

void Trainer::add_micro_batch(const TokenBatch& batch, const LossOptions& losses, const DrawPlace& draws,
                              StepReport& report, std::vector<at::Tensor>& load) {
  const double share = 1.0 / static_cast<double>(recipe_.batch.micro_batches);
  const bool again = recipe_.batch.recompute_activations;
  const LanguageModel::Output out = model_->forward(
      batch.inputs, &draws, again ? LanguageModel::Activations::kRecomputed : LanguageModel::Activations::kKept,
      &expert_clock_);
  at::Tensor loss = loss_of(out.logits, batch);
  report.loss += loss.item<double>() * share;
  const std::vector<RoutedUnits>& routings = out.routings();
  const RouterSpec& router = out.adapted.empty() ? model_->shape().router : model_->shape().routing();
  const double of_layer = routings.empty() ? 0.0 : 1.0 / static_cast<double>(routings.size());
  const auto add = [&](const at::Tensor& term, double factor, double& sum) {
    loss = loss + term * (factor * of_layer);
    sum += term.item<double>() * share * of_layer;
  };
  for (const RoutedUnits& routed : routings) {
    if (losses.balance != 0.0f)
      add(balance_of_routing(losses, router, routed, exchange_), losses.balance, report.balance);
    if (losses.sequence_balance != 0.0f) {
      const at::Tensor sequence = at::arange(batch.inputs.numel()).div(batch.inputs.size(1), "floor");
      add(sequence_balance_loss(shares_of_scores(router, routed), routed.asked(), sequence, batch.inputs.size(0),
                                LoadShare::kOfSlots),
          losses.sequence_balance, report.sequence_balance);
    }
    if (losses.z != 0.0f) add(z_loss(routed.logits), losses.z, report.z);
    if (losses.entropy != 0.0f) {
      add(router_entropy(routed.scores, losses.entropy_kind, losses.entropy_order), losses.entropy, report.entropy);
    }
    if (losses.importance != 0.0f) {
      add(importance_loss(routed.scores, {}, &exchange_), losses.importance, report.importance);
    }
    if (losses.load != 0.0f) {
      const RouterTraining& training = model_->shape().router_training;
      const int k = std::get<TopK>(training.select ? *training.select : router.select).k;
      add(load_loss(routed.clean_logits, routed.logits, routed.deviation, k, {}, &exchange_), losses.load,
          report.smooth_load);
    }
  }
  (loss * share).backward();
  report.work += count_work(batch, out.routed, load);
  count_adapted(out.adapted, share, report);
  if (several_.defined()) note_sequences(draws.first_unit / batch.inputs.size(1), out.routed);
}

void Trainer::note_sequences(std::int64_t first, const std::vector<RoutedUnits>& routed) {
  auto counts = several_.accessor<float, 2>();
  for (std::size_t routing = 0; routing < routed.size(); ++routing) {
    const RoutePlan& plan = routed[routing].asked();
    for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
      if (plan.experts_of(unit).size() > 1)
        counts[first + unit / recipe_.batch.length][static_cast<std::int64_t>(routing)] += 1.0f;
    }
  }
}

void Trainer::count_adapted(const std::vector<RoutedUnits>& adapted, double share, StepReport& report) const {
  for (const RoutedUnits& routed : adapted) {
    const RoutePlan& plan = routed.plan;
    const double of_row = share / static_cast<double>(adapted.size()) / static_cast<double>(plan.units());
    report.adapter_experts += static_cast<double>(plan.slots()) * of_row;
    for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
      if (std::ssize(plan.experts_of(unit)) == model_->shape().routing().experts) report.adapter_all += of_row;
    }
  }
}

// All ranks' rows are added up first: a step costs what it costs one process.
Ledger Trainer::count_work(const TokenBatch& batch, const std::vector<RoutedUnits>& routed,
                           std::vector<at::Tensor>& load) {
  const LanguageModelShape& shape = model_->shape();
  const auto layers = static_cast<std::int64_t>(routed.size());
  const std::int64_t experts = shape.router.experts;
  at::Tensor counts = at::zeros({layers * experts + 1}, at::kDouble);
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const RoutedUnits& units = routed[static_cast<std::size_t>(layer)];
    counts.narrow(0, layer * experts, experts).copy_(load_of_experts(units.asked(), shape.router.experts));
    counts[layers * experts] += static_cast<double>(weighted_slots(shape, units.plan));
  }
  sum_over_ranks(exchange_, counts);
  const at::Tensor rows = counts.narrow(0, 0, layers * experts).reshape({layers, experts}).to(at::kFloat);
  load.resize(routed.size());
  for (std::size_t layer = 0; layer < load.size(); ++layer) {
    const at::Tensor of_layer = rows[static_cast<std::int64_t>(layer)];
    load[layer] = load[layer].defined() ? load[layer] + of_layer : of_layer;
  }
  const auto busy = (rows.narrow(1, 0, shape.weighted_experts()) > 0).sum().item<std::int64_t>();
  return work_of_batch(shape, batch.inputs.numel() * exchange_.ranks(), batch.inputs.size(1),
                       static_cast<std::int64_t>(counts[layers * experts].item<double>()), busy,
                       recipe_.batch.recompute_activations, adapting());
}

void Trainer::mean_of_losses(StepReport& report) {
  if (exchange_.alone()) return;
  double* const losses[] = {&report.loss,        &report.balance,         &report.sequence_balance,
                            &report.z,           &report.entropy,         &report.importance,
                            &report.smooth_load, &report.adapter_experts, &report.adapter_all};
  std::vector<double> values;
  for (const double* loss : losses) values.push_back(*loss);
  sum_over_ranks(exchange_, std::span<double>(values));
  for (std::size_t i = 0; i < values.size(); ++i) *losses[i] = values[i] / exchange_.ranks();
}

/// Of all ranks, each of whose losses is the mean of its part.
void Trainer::sum_gradients() {
  if (exchange_.alone()) return;
  if (model_->parted()) {
    return sum_parted_gradients(model_->parameters(), *model_->share(), 1.0f / static_cast<float>(exchange_.ranks()));
  }
  at::Tensor gradients = model_->parameters().gradients();
  sum_over_ranks(exchange_, gradients);
  gradients.mul_(1.0 / exchange_.ranks());
}

// Once a step, when finish_gradients() has been: experts' gradients are overwritten in place before that.
void Trainer::add_orthogonality(double factor, StepReport& report) {
  const LanguageModelShape& shape = model_->shape();
  const std::int64_t experts = shape.weighted_experts();
  const double of_layer = 1.0 / static_cast<double>(shape.layers - shape.dense_layers);
  for (std::int64_t layer = shape.dense_layers; layer < shape.layers; ++layer) {
    const LanguageModel::Block& block = model_->blocks()[static_cast<std::size_t>(layer)];
    const at::Tensor loss = orthogonality_loss(
        at::cat({block.expert_gate_up.reshape({experts, -1}), block.expert_down.reshape({experts, -1})}, 1));
    (loss * (factor * of_layer)).backward();
    report.orthogonality += loss.item<double>() * of_layer;
  }
  report.work += work_of_orthogonality(shape);
}

void Trainer::freeze(const std::vector<std::string>& patterns) {
  frozen_.clear();
  const bool adapters = model_->shape().adapters.has_value();
  if (patterns.empty() && !adapters) return;
  bool matched = patterns.empty();
  for (const Parameter& parameter : model_->parameters().all()) {
    const bool named = std::any_of(patterns.begin(), patterns.end(),
                                   [&](const std::string& pattern) { return glob_matches(pattern, parameter.name); });
    matched = matched || named;
    frozen_.push_back(named || (adapters && is_adapter_parameter(parameter.name) != adapting()));
    // The gradients of a base that stays are not computed; those of experts are written in place in any case.
    const bool base = !is_adapter_parameter(parameter.name) && parameter.name.find("_exps.") == std::string::npos;
    if (adapters && base) at::Tensor(parameter.value).set_requires_grad(!adapting());
  }
  if (!matched) fail("recipe", "stages: freeze: no parameter's name matches " + printable(patterns.front()));
}

void Trainer::enter_stage(double share) {
  const StageState now = stage_at(recipe_.stages, recipe_.model, share);
  const std::optional<AdapterShape>& adapters = recipe_.model.adapters;
  const bool adapting = adapters && share >= adapters->from;
  if (now.count == stages_ && adapting_ == adapting) return;
  stages_ = now.count;
  adapting_ = adapting;
  if (!(now.router == model_->shape().router) || now.router_back != model_->shape().router_back) {
    LanguageModelShape shape = model_->shape();
    shape.router = now.router;
    shape.router_training = now.router_training;
    shape.router_back = now.router_back;
    model_ = grown_model(*model_, shape, recipe_.seed + stages_, optimizer_, now.diversity);
  }
  const PlacementGrid grid = fitted(now.placement.value_or(recipe_.placement), exchange_.ranks(), "placement");
  if (grid != grid_ && model_->share()) model_ = moved_model(*model_, share_of(grid, model_->shape()), optimizer_);
  grid_ = grid;
  if (adapters) model_->use_adapters(adapting);
  freeze(now.freeze);
}

std::shared_ptr<const ExpertShare> Trainer::share_of(const PlacementGrid& grid, const LanguageModelShape& shape) const {
  if (exchange_.alone() || shape.dense_layers == shape.layers) return nullptr;
  return make_expert_share(placement_of(grid, shape.weighted_experts()), exchange_);
}

TokenBatch Trainer::next_batch() {
  const BatchOptions& sizes = recipe_.batch;
  if (!sizes.order.has_passes())
    return draw_batch(text_.train, sizes.sequences, sizes.length, recipe_.seed, step(), text_.train_paths);
  return batch_of_spans(text_.train, passes_.spans_of_step(step()), sizes.length, text_.train_paths);
}

StepReport Trainer::train_step() {
  const double began = processor_seconds(), experts_before = expert_clock_.seconds();
  const BatchOptions& sizes = recipe_.batch;
  const double share = share_done();
  enter_stage(share);
  const Scalars scalars = scalars_at(recipe_, share);
  if (!(scalars.router_training == model_->shape().router_training))
    model_->set_routing(model_->shape().router, scalars.router_training);
  Parameters& parameters = model_->parameters();
  const TokenBatch batch = next_batch();
  if (sizes.order.asks_statistics()) several_ = at::zeros({sizes.sequences, passes_.routings()}, at::kFloat);
  StepReport report{.step = step() + 1};
  report.learning_rate =
      static_cast<double>(scalars.optimizer.learning_rate) * learning_rate_share(recipe_.schedule, position());
  std::vector<at::Tensor> load;
  parameters.clear_gradients();
  const std::int64_t part = sizes.sequences / sizes.micro_batches, own = part / exchange_.ranks();
  for (std::int64_t i = 0; i < sizes.micro_batches; ++i) {
    const std::int64_t first = i * part + exchange_.rank() * own;
    const DrawPlace draws{.seed = recipe_.seed, .step = step(), .first_unit = first * sizes.length};
    add_micro_batch(batch.part(first, own), scalars.losses, draws, report, load);
  }
  if (several_.defined()) {
    sum_over_ranks(exchange_, several_);
    passes_.note(step(), several_);
  }
  parameters.finish_gradients();
  sum_gradients();
  mean_of_losses(report);
  if (scalars.losses.orthogonality != 0.0f && model_->shape().dense_layers < model_->shape().layers) {
    add_orthogonality(scalars.losses.orthogonality, report);
  }
  for (std::size_t p = 0; p < frozen_.size(); ++p) {
    if (frozen_[p]) parameters.all()[p].value.grad().zero_();  // the norm is that of what moves
  }
  const double update_began = processor_seconds();
  report.gradient_norm =
      model_->parted() ? parted_gradient_norm(parameters, *model_->share()) : gradient_norm(parameters);
  check_finite(report, batch);
  const double clip = scalars.optimizer.clip_norm;
  const double scale = clip > 0.0 && report.gradient_norm > clip ? clip / report.gradient_norm : 1.0;
  update(optimizer_, scalars.optimizer, parameters, report.learning_rate, scale, frozen_);
  report.update_seconds = processor_seconds() - update_began;
  std::int64_t moving = 0;
  for (std::size_t p = 0; p < parameters.all().size(); ++p) {
    if (frozen_.empty() || !frozen_[p]) moving += parameters.all()[p].whole_count();
  }
  report.work += work_of_update(scalars.optimizer, moving);
  balance(scalars.losses, load, report);
  ledger_ += report.work;
  report.seconds = processor_seconds() - began;
  report.expert_seconds = expert_clock_.seconds() - experts_before;
  return report;
}

void Trainer::balance(const LossOptions& losses, const std::vector<at::Tensor>& load, StepReport& report) {
  const std::vector<LanguageModel::RouterPlace> routers = model_->routers();
  for (const LanguageModel::RouterPlace& router : routers) {
    at::Tensor rows = load[router.routed[0]];
    for (std::size_t i = 1; i < router.routed.size(); ++i) rows = rows + load[router.routed[i]];
    at::Tensor bias = router.selection_bias;
    if (losses.bias_rate > 0.0f) {
      update_selection_bias(bias, rows, bias_rate_at(losses, step()), losses.bias_update);
    }
    rows = rows.to(at::kDouble).contiguous();
    const double mean = rows.mean().item<double>(), layers = static_cast<double>(routers.size());
    if (mean > 0.0) report.busiest += rows.max().item<double>() / mean / layers;
    report.idle += (rows == 0).to(at::kDouble).mean().item<double>() / layers;
    report.load.emplace_back(rows.data_ptr<double>(), rows.data_ptr<double>() + rows.numel());
  }
}

std::int64_t Trainer::state_bytes() const {
  const Parameters& parameters = model_->parameters();
  return static_cast<std::int64_t>(parameters.values().nbytes() + parameters.gradients().nbytes()) + optimizer_.bytes();
}

// Each rank takes a part of every batch; one that is left with nothing computes a sequence that does not count, so that
// all ranks do the same.
double Trainer::evaluate() {
  at::NoGradGuard guard;
  swap_average(optimizer_, model_->parameters());
  double sums[2] = {};  // of losses, of tokens
  for (std::int64_t first = 0; first < recipe_.run.evaluate_spans; first += recipe_.batch.sequences) {
    const TokenBatch batch =
        span_batch(text_.validation, first, std::min(recipe_.batch.sequences, recipe_.run.evaluate_spans - first),
                   recipe_.batch.length, text_.validation_paths);
    if (batch.inputs.numel() == 0) break;
    const std::int64_t all = batch.inputs.size(0), rank = exchange_.rank(), ranks = exchange_.ranks();
    const std::int64_t begin = all * rank / ranks, own = all * (rank + 1) / ranks - begin;
    const std::int64_t from = std::min(begin, all - 1), count = std::max<std::int64_t>(own, 1);
    const TokenBatch part = batch.part(from, count);
    const at::Tensor loss = loss_of(model_->forward(part.inputs).logits, part);
    const double tokens = static_cast<double>(own * batch.inputs.size(1));
    sums[0] += loss.item<double>() * tokens;
    sums[1] += tokens;
  }
  sum_over_ranks(exchange_, std::span<double>(sums));
  swap_average(optimizer_, model_->parameters());
  return sums[1] > 0.0 ? sums[0] / sums[1] : 0.0;
}

void Trainer::note_validation(double loss) {
  const bool better = loss < best_validation_;
  not_better_ = better ? 0 : not_better_ + 1;
  if (better) best_validation_ = loss;
}

void Trainer::export_model(const std::string& folder) {
  swap_average(optimizer_, model_->parameters());
  std::unique_ptr<LanguageModel> whole;
  if (model_->parted()) {
    const at::Tensor values = gathered_flat(model_->parameters().values(), model_->parameters(), *model_->share());
    if (exchange_.rank() == 0) {
      whole = std::make_unique<LanguageModel>(model_->shape(), recipe_.seed);
      whole->parameters().values().copy_(values);
      copy_selection_biases(*model_, *whole);
    }
  }
  if (exchange_.rank() == 0) {
    const LanguageModel& model = whole ? *whole : *model_;
    const std::optional<AdapterShape>& adapters = recipe_.model.adapters;
    const bool base_stayed = !recipe_.checkpoint.empty() && adapters && adapters->from == 0.0;
    const std::string file = folder + "/model.gguf";
    if (!base_stayed) export_gguf(model, text_.tokenizer, file, recipe_.name);
    if (adapters) export_adapter(model, base_stayed ? recipe_.checkpoint : file, folder + "/adapter");
    if (recipe_.run.huggingface) export_huggingface(model, text_, folder + "/huggingface");
  }
  swap_average(optimizer_, model_->parameters());
}

}  // namespace junto

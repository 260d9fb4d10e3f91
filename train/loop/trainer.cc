#include "train/loop/trainer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "compress/tensor_types.h"
#include "train/loop/export.h"
#include "train/loop/export_adapter.h"
#include "train/loop/export_huggingface.h"
#include "train/loop/import.h"
#include "train/loop/recipe_parts.h"
#include "train/nn/losses.h"
#include "train/nn/token_loss.h"
#include "train/parallel/parted_parameters.h"
#include "train/parallel/total_of_ranks.h"

namespace junto {
namespace {

/// Nats a token. Of paths (ExpertFlow): each expert of each stage is a yes or no of its own, and a token's are summed;
/// the paper's loss is the mean over them, which the optimiser's steps do not tell apart.
at::Tensor loss_of(const at::Tensor& logits, const TokenBatch& batch) {
  if (!batch.paths.defined()) return token_loss(logits, batch.targets.reshape({-1}));
  const at::Tensor asked = batch.paths.reshape(logits.sizes()).to(logits.scalar_type());
  return at::binary_cross_entropy_with_logits(logits, asked, {}, {}, at::Reduction::Sum) /
         static_cast<double>(logits.size(0));
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
              recipe_.model.routed_count() * recipe_.model.rounds.count, recipe_.seed),
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

/// One step of language modelling: this rank's part of every part of the step's batch.
class Trainer::LanguageTask final : public Task {
 public:
  LanguageTask(Trainer& trainer, const Scalars& scalars)
      : trainer_(trainer), losses_(scalars.losses), batch_(trainer.next_batch()) {
    const BatchOptions& sizes = trainer.recipe_.batch;
    if (sizes.order.asks_statistics()) several_ = at::zeros({sizes.sequences, trainer.passes_.routings()}, at::kFloat);
  }

  Parameters& parameters() override { return model().parameters(); }
  std::vector<RouterPlace> routers() const override { return model().routers(); }
  TaskLoss compute(std::int64_t step, std::int64_t part) override;
  void complete_gradients(StepReport& report) override;
  double norm_of_gradients() override {
    return model().parted() ? parted_gradient_norm(parameters(), *model().share()) : gradient_norm(parameters());
  }
  [[noreturn]] void diverged(const StepReport& report) override { trainer_.keep_diverged(report, batch_); }

 private:
  LanguageModel& model() const { return *trainer_.model_; }
  Exchange& ranks() const { return trainer_.exchange_; }
  const BatchOptions& sizes() const { return trainer_.recipe_.batch; }
  void count_work(const TokenBatch& batch, const std::vector<RoutedUnits>& routed, TaskLoss& out) const;
  void note_sequences(std::int64_t first, const std::vector<RoutedUnits>& routed);
  void count_adapted(const std::vector<RoutedUnits>& adapted);
  void sum_gradients();
  void mean_of_losses(StepReport& report);
  void add_orthogonality(StepReport& report);

  Trainer& trainer_;
  const LossOptions losses_;
  const TokenBatch batch_;
  at::Tensor several_;  // [batch.sequences, routings], where the order asks: tokens of several experts
  double adapter_experts_ = 0.0, adapter_all_ = 0.0;
};

TaskLoss Trainer::LanguageTask::compute(std::int64_t step, std::int64_t part) {
  const std::int64_t sequences = sizes().sequences / sizes().micro_batches, own = sequences / ranks().ranks();
  const std::int64_t first = part * sequences + ranks().rank() * own, length = sizes().length;
  const TokenBatch batch = batch_.part(first, own);
  const DrawPlace draws{.seed = trainer_.recipe_.seed, .step = step, .first_unit = first * length};
  LanguageModel::Output out = model().forward(
      batch.inputs, &draws,
      sizes().recompute_activations ? LanguageModel::Activations::kRecomputed : LanguageModel::Activations::kKept,
      &trainer_.expert_clock_);
  const LanguageModelShape& shape = model().shape();
  TaskLoss result{.loss = loss_of(out.logits, batch), .routed = {}, .work = {}};
  count_work(batch, out.routed, result);
  count_adapted(out.adapted);
  if (several_.defined()) note_sequences(first, out.routed);
  result.routed.router = out.adapted.empty() ? shape.router : shape.routing();
  if (shape.router_training.select) result.routed.router.select = *shape.router_training.select;
  if (losses_.sequence_balance != 0.0f) {
    result.routed.group_of_unit = at::arange(batch.inputs.numel()).div(length, "floor");
    result.routed.groups = own;
  }
  result.routed.routed = std::move(out.adapted.empty() ? out.routed : out.adapted);
  return result;
}

// Of all ranks' rows together: a step costs what it costs one process.
void Trainer::LanguageTask::count_work(const TokenBatch& batch, const std::vector<RoutedUnits>& routed,
                                       TaskLoss& out) const {
  const LanguageModelShape& shape = model().shape();
  const auto layers = static_cast<std::int64_t>(routed.size());
  const std::int64_t experts = shape.router.experts;
  at::Tensor counts = at::zeros({layers * experts + 1}, at::kDouble);
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const RoutedUnits& units = routed[static_cast<std::size_t>(layer)];
    counts.narrow(0, layer * experts, experts).copy_(load_of_experts(units.asked(), shape.router.experts));
    counts[layers * experts] += static_cast<double>(weighted_slots(shape, units.plan));
  }
  sum_over_ranks(ranks(), counts);
  const at::Tensor rows = counts.narrow(0, 0, layers * experts).reshape({layers, experts}).to(at::kFloat);
  for (std::int64_t layer = 0; layer < layers; ++layer) out.load.push_back(rows[layer]);
  const auto busy = (rows.narrow(1, 0, shape.weighted_experts()) > 0).sum().item<std::int64_t>();
  out.work = work_of_batch(shape, batch.inputs.numel() * ranks().ranks(), batch.inputs.size(1),
                           static_cast<std::int64_t>(counts[layers * experts].item<double>()), busy,
                           sizes().recompute_activations, trainer_.adapting());
}

void Trainer::LanguageTask::note_sequences(std::int64_t first, const std::vector<RoutedUnits>& routed) {
  auto counts = several_.accessor<float, 2>();
  for (std::size_t routing = 0; routing < routed.size(); ++routing) {
    const RoutePlan& plan = routed[routing].asked();
    for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
      if (plan.experts_of(unit).size() > 1)
        counts[first + unit / sizes().length][static_cast<std::int64_t>(routing)] += 1.0f;
    }
  }
}

void Trainer::LanguageTask::count_adapted(const std::vector<RoutedUnits>& adapted) {
  for (const RoutedUnits& routed : adapted) {
    const RoutePlan& plan = routed.plan;
    const double of_row = 1.0 / static_cast<double>(sizes().micro_batches) / static_cast<double>(adapted.size()) /
                          static_cast<double>(plan.units());
    adapter_experts_ += static_cast<double>(plan.slots()) * of_row;
    for (std::int64_t unit = 0; unit < plan.units(); ++unit) {
      if (std::ssize(plan.experts_of(unit)) == model().shape().routing().experts) adapter_all_ += of_row;
    }
  }
}

void Trainer::LanguageTask::complete_gradients(StepReport& report) {
  if (several_.defined()) {
    sum_over_ranks(ranks(), several_);
    trainer_.passes_.note(trainer_.step(), several_);
  }
  report.adapter_experts = adapter_experts_, report.adapter_all = adapter_all_;
  sum_gradients();
  mean_of_losses(report);
  const LanguageModelShape& shape = model().shape();
  if (losses_.orthogonality != 0.0f && shape.routes()) add_orthogonality(report);
}

/// Of all ranks, each of whose losses is the mean of its part.
void Trainer::LanguageTask::sum_gradients() {
  if (ranks().alone()) return;
  if (model().parted()) {
    return sum_parted_gradients(parameters(), *model().share(), 1.0f / static_cast<float>(ranks().ranks()));
  }
  at::Tensor gradients = parameters().gradients();
  sum_over_ranks(ranks(), gradients);
  gradients.mul_(1.0 / ranks().ranks());
}

void Trainer::LanguageTask::mean_of_losses(StepReport& report) {
  if (ranks().alone()) return;
  double* const losses[] = {&report.loss,        &report.balance,         &report.sequence_balance,
                            &report.z,           &report.entropy,         &report.importance,
                            &report.smooth_load, &report.adapter_experts, &report.adapter_all};
  std::vector<double> values;
  for (const double* loss : losses) values.push_back(*loss);
  sum_over_ranks(ranks(), std::span<double>(values));
  for (std::size_t i = 0; i < values.size(); ++i) *losses[i] = values[i] / ranks().ranks();
}

// Once a step, when finish_gradients() has been: experts' gradients are overwritten in place before that.
void Trainer::LanguageTask::add_orthogonality(StepReport& report) {
  const LanguageModelShape& shape = model().shape();
  const std::int64_t experts = shape.weighted_experts();
  const double of_layer = 1.0 / static_cast<double>(shape.routed_count());
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    if (!shape.routed(layer)) continue;
    const LanguageModel::Block& block = model().blocks()[static_cast<std::size_t>(layer)];
    const at::Tensor loss = orthogonality_loss(
        at::cat({block.expert_gate_up.reshape({experts, -1}), block.expert_down.reshape({experts, -1})}, 1));
    (loss * (losses_.orthogonality * of_layer)).backward();
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
  if (exchange_.alone() || !shape.routes()) return nullptr;
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
  const double share = share_done();
  enter_stage(share);
  const Scalars scalars = scalars_at(recipe_, share);
  if (!(scalars.router_training == model_->shape().router_training))
    model_->set_routing(model_->shape().router, scalars.router_training);
  LanguageTask task(*this, scalars);
  StepReport report = run_step(task, optimizer_,
                               {.losses = scalars.losses,
                                .optimizer = scalars.optimizer,
                                .learning_rate = static_cast<double>(scalars.optimizer.learning_rate) *
                                                 learning_rate_share(recipe_.schedule, position()),
                                .parts = recipe_.batch.micro_batches,
                                .frozen = frozen_,
                                .ranks = exchange_});
  ledger_ += report.work;
  report.seconds = processor_seconds() - began;
  report.expert_seconds = expert_clock_.seconds() - experts_before;
  return report;
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

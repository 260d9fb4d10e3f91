#include "train/loop/trainer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "format/safetensors.h"
#include "train/nn/losses.h"

namespace junto {
namespace {

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  return at::cross_entropy_loss(logits, targets.reshape({-1}));
}

TensorToWrite stored(std::string name, const at::Tensor& values, DType type = DType::kF32) {
  const at::Tensor kept = values.detach().contiguous();
  return {.name = std::move(name), .type = type, .shape = kept.sizes().vec(), .produce = [kept](const ByteSink& sink) {
            sink({static_cast<const std::byte*>(kept.data_ptr()), kept.nbytes()});
          }};
}

void restore(const SafetensorsFile& file, const std::string& path, const std::string& name, const at::Tensor& into) {
  const Tensor* found = file.tensors.find(name);
  if (found == nullptr) fail(path, tensor_label(name) + " is missing");
  if (found->type != DType::kF32 || found->shape != into.sizes().vec()) {
    fail(path, tensor_label(name) + " is " + to_string(found->shape) + ", expected " + to_string(into.sizes().vec()) +
                   " of F32");
  }
  std::memcpy(into.data_ptr(), found->bytes.data(), found->bytes.size());
}

std::string metadata_of(const SafetensorsFile& file, const std::string& path, std::string_view key) {
  for (const auto& [name, text] : file.metadata) {
    if (name == key) return text;
  }
  fail(path, "metadata has no " + std::string(key) + ", expected a checkpoint of junto train");
}

/// The model gets a row for each token of the text, or as many more as its recipe says.
Recipe fit_vocabulary(Recipe recipe, const TokenText& text) {
  if (!recipe.json.at("model").contains("vocabulary")) recipe.model.vocabulary = text.vocabulary;
  if (recipe.model.vocabulary < text.vocabulary) {
    fail("recipe", "model.vocabulary is " + std::to_string(recipe.model.vocabulary) + ", expected at least " +
                       std::to_string(text.vocabulary) + ", the tokens of its text");
  }
  return recipe;
}

/// What must be the same for a checkpoint to go on, and what it holds: all but where it is written and how often.
Json what_counts(Json recipe) {
  recipe.erase("run");
  return recipe;
}

}  // namespace

Trainer::Trainer(Recipe recipe)
    : text_(read_token_text(recipe.data, recipe.batch.length)),
      recipe_(fit_vocabulary(std::move(recipe), text_)),
      model_(recipe_.model, recipe_.seed),
      optimizer_(model_.parameters()) {}

void Trainer::add_micro_batch(const TokenBatch& batch, StepReport& report, std::vector<at::Tensor>& load) {
  const LossOptions& losses = recipe_.losses;
  const double share = 1.0 / static_cast<double>(recipe_.batch.micro_batches);
  const LanguageModel::Output out = model_.forward(batch.inputs);
  at::Tensor loss = cross_entropy(out.logits, batch.targets);
  report.loss += loss.item<double>() * share;
  std::int64_t expert_rows = 0;
  const double of_layer = out.routed.empty() ? 0.0 : 1.0 / static_cast<double>(out.routed.size());
  const auto add = [&](const at::Tensor& term, double factor, double& sum) {
    loss = loss + term * (factor * of_layer);
    sum += term.item<double>() * share * of_layer;
  };
  load.resize(out.routed.size());
  for (std::size_t layer = 0; layer < out.routed.size(); ++layer) {
    const RoutedUnits& routed = out.routed[layer];
    expert_rows += routed.plan.slots();
    const at::Tensor rows = load_of_experts(routed.plan, recipe_.model.router.experts);
    load[layer] = load[layer].defined() ? load[layer] + rows : rows;
    if (losses.balance != 0.0f) {
      at::Tensor scores = routed.scores;
      if (recipe_.model.router.score == Score::kSigmoid) scores = scores / scores.sum(1, true).clamp_min(1e-20);
      add(balance_loss(scores, routed.plan), losses.balance, report.balance);
    }
    if (losses.z != 0.0f) add(z_loss(routed.logits), losses.z, report.z);
    if (losses.entropy != 0.0f) add(router_entropy(routed.scores), losses.entropy, report.entropy);
  }
  (loss * share).backward();
  count(batch.inputs.size(0), batch.inputs.size(1), expert_rows);
}

void Trainer::count(std::int64_t sequences, std::int64_t length, std::int64_t expert_rows) {
  const LanguageModelShape& s = recipe_.model;
  const double tokens = static_cast<double>(sequences * length), D = static_cast<double>(s.hidden);
  const double q = static_cast<double>(s.heads * s.head_dim), kv = static_cast<double>(s.kv_heads * s.head_dim);
  double forward = 0.0;
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    forward += tokens * (2 * D * (2 * q + 2 * kv) + 4 * static_cast<double>(length) * q);
    const std::int64_t width = s.routed(layer) ? s.shared_width : s.dense_width;
    forward += tokens * 6 * D * static_cast<double>(width);
    if (s.routed(layer)) forward += tokens * 2 * D * s.router.experts;
  }
  forward += static_cast<double>(expert_rows) * 6 * D * static_cast<double>(s.expert_width);
  forward += tokens * 2 * D * static_cast<double>(s.vocabulary);
  ledger_.tokens += sequences * length;
  ledger_.expert_rows += expert_rows;
  ledger_.flops += 3 * forward;
}

StepReport Trainer::train_step() {
  const BatchOptions& sizes = recipe_.batch;
  const TokenBatch batch = draw_batch(text_.train, sizes.sequences, sizes.length, recipe_.seed, step());
  StepReport report{.step = step() + 1};
  report.learning_rate =
      static_cast<double>(recipe_.optimizer.learning_rate) * learning_rate_share(recipe_.schedule, step());
  std::vector<at::Tensor> load;
  model_.parameters().clear_gradients();
  const std::int64_t part = sizes.sequences / sizes.micro_batches;
  for (std::int64_t i = 0; i < sizes.micro_batches; ++i) {
    add_micro_batch({batch.inputs.narrow(0, i * part, part), batch.targets.narrow(0, i * part, part)}, report, load);
  }
  model_.parameters().finish_gradients();
  report.gradient_norm = gradient_norm(model_.parameters());
  if (!std::isfinite(report.loss) || !std::isfinite(report.gradient_norm)) {
    const std::string path = recipe_.run.folder + "/diverged.safetensors";
    write_safetensors(path,
                      {stored("inputs", batch.inputs, DType::kI64), stored("targets", batch.targets, DType::kI64)},
                      {{"step", std::to_string(report.step)}});
    fail(recipe_.run.folder, "step " + std::to_string(report.step) + ": loss is " + std::to_string(report.loss) +
                                 ", gradient norm " + std::to_string(report.gradient_norm) + "; its batch is in " +
                                 path);
  }
  const double clip = recipe_.optimizer.clip_norm;
  const double scale = clip > 0.0 && report.gradient_norm > clip ? clip / report.gradient_norm : 1.0;
  update(optimizer_, recipe_.optimizer, model_.parameters(), report.learning_rate, scale);
  std::size_t routed = 0;
  for (LanguageModel::Block& block : model_.blocks()) {
    if (!block.router.defined()) continue;
    const at::Tensor& rows = load[routed++];
    if (recipe_.losses.bias_rate > 0.0f) {
      update_selection_bias(block.selection_bias, rows, bias_rate_at(recipe_.losses, step()),
                            recipe_.losses.bias_update);
    }
    const double mean = rows.mean().item<double>(), layers = static_cast<double>(load.size());
    if (mean > 0.0) report.busiest += rows.max().item<double>() / mean / layers;
    report.idle += (rows == 0).to(at::kDouble).mean().item<double>() / layers;
  }
  return report;
}

double Trainer::evaluate() {
  at::NoGradGuard guard;
  double sum = 0.0;
  std::int64_t tokens = 0;
  for (std::int64_t first = 0; first < recipe_.run.evaluate_spans; first += recipe_.batch.sequences) {
    const TokenBatch batch =
        span_batch(text_.validation, first, std::min(recipe_.batch.sequences, recipe_.run.evaluate_spans - first),
                   recipe_.batch.length);
    if (batch.inputs.numel() == 0) break;
    sum += cross_entropy(model_.forward(batch.inputs).logits, batch.targets).item<double>() *
           static_cast<double>(batch.inputs.numel());
    tokens += batch.inputs.numel();
  }
  return tokens > 0 ? sum / static_cast<double>(tokens) : 0.0;
}

void Trainer::save(const std::string& path) const {
  std::vector<TensorToWrite> tensors;
  for (const Parameter& parameter : model_.parameters().all())
    tensors.push_back(stored(parameter.name, parameter.value));
  for (std::size_t layer = 0; layer < model_.blocks().size(); ++layer) {
    const at::Tensor& bias = model_.blocks()[layer].selection_bias;
    if (bias.defined()) tensors.push_back(stored("blk." + std::to_string(layer) + ".exp_probs_b.bias", bias));
  }
  tensors.push_back(stored("optimizer.first", optimizer_.first));
  tensors.push_back(stored("optimizer.second", optimizer_.second));
  const Json state = {
      {"step", step()}, {"tokens", ledger_.tokens}, {"expert_rows", ledger_.expert_rows}, {"flops", ledger_.flops}};
  write_safetensors(path, tensors, {{"recipe", what_counts(recipe_.json).dump()}, {"state", state.dump()}});
}

void Trainer::load(const std::string& path) {
  const SafetensorsFile file = open_safetensors(path);
  const Json recipe = parse_json(metadata_of(file, path, "recipe"), path);
  if (recipe != what_counts(recipe_.json)) {
    const Json difference = Json::diff(recipe, what_counts(recipe_.json));
    fail(path, "is of another recipe, " + printable(difference[0].value("path", "")) +
                   " differs; expected the same, or another run.folder");
  }
  const Json state = parse_json(metadata_of(file, path, "state"), path);
  try {
    optimizer_.step = state.at("step").get<std::int64_t>();
    ledger_ = {state.at("tokens").get<std::int64_t>(), state.at("expert_rows").get<std::int64_t>(),
               state.at("flops").get<double>()};
  } catch (const Json::exception&) {
    fail(path, "metadata: state is " + printable(state.dump()) + ", expected step, tokens, expert_rows and flops");
  }
  for (const Parameter& parameter : model_.parameters().all()) restore(file, path, parameter.name, parameter.value);
  for (std::size_t layer = 0; layer < model_.blocks().size(); ++layer) {
    const at::Tensor& bias = model_.blocks()[layer].selection_bias;
    if (bias.defined()) restore(file, path, "blk." + std::to_string(layer) + ".exp_probs_b.bias", bias);
  }
  restore(file, path, "optimizer.first", optimizer_.first);
  restore(file, path, "optimizer.second", optimizer_.second);
}

}  // namespace junto

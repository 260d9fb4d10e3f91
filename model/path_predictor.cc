#include "model/path_predictor.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace junto {
namespace {

constexpr std::size_t kMostTexts = 16;

std::vector<int> experts_of_stages(const ModelConfig& config) {
  std::vector<int> out;
  for (const BlockSpec& block : config.blocks) {
    if (block.routed) out.insert(out.end(), static_cast<std::size_t>(block.moe.rounds.count), block.moe.router.experts);
  }
  return out;
}

std::string list_text(const std::vector<int>& numbers) {
  return Json(numbers).dump();
}

}  // namespace

std::shared_ptr<const Model> load_path_predictor(const std::string& path) {
  std::shared_ptr<const Model> model = load_model(path);
  if (model->config.path_experts.empty()) fail(path, "is a language model, expected a predictor of paths");
  return model;
}

void expect_paths_of(const Model& paths, const ModelConfig& config, const std::string& where) {
  const std::vector<int> stages = experts_of_stages(config);
  if (paths.config.path_experts != stages) {
    fail(paths.path, "predicts routers of " + list_text(paths.config.path_experts) + " experts, those of " + where +
                         " have " + list_text(stages));
  }
  if (paths.config.vocab_size < config.vocab_size) {
    fail(paths.path, "knows " + std::to_string(paths.config.vocab_size) + " tokens, " + where + " has " +
                         std::to_string(config.vocab_size));
  }
}

std::int64_t path_text_begin(std::int64_t position, std::int64_t context) {
  const std::int64_t half = std::max<std::int64_t>(1, context / 2);
  return position < context ? 0 : (position / half - 1) * half;
}

PathPredictor::PathPredictor(std::shared_ptr<const Model> model, ThreadPool& pool)
    : decoder_(std::move(model), pool, {.kv = DType::kF32}) {}

// The longest text that `tokens` go on from, or an empty one.
PathPredictor::Text& PathPredictor::text_before(std::span<const std::int32_t> tokens) {
  Text* best = nullptr;
  for (Text& text : texts_) {
    const std::vector<std::int32_t>& known = text.sequence.tokens;
    const bool goes_on = known.size() <= tokens.size() && std::equal(known.begin(), known.end(), tokens.begin());
    if (goes_on && (!best || known.size() > best->sequence.tokens.size())) best = &text;
  }
  if (best) return *best;
  if (texts_.size() < kMostTexts) return texts_.emplace_back();
  Text& oldest = *std::ranges::min_element(texts_, {}, &Text::asked_at);
  oldest = {};
  return oldest;
}

std::span<const float> PathPredictor::predict(std::span<const std::int32_t> tokens) {
  if (tokens.empty()) return {};
  const ModelConfig& config = model().config;
  tokens = tokens.subspan(static_cast<std::size_t>(path_text_begin(std::ssize(tokens) - 1, config.context_length)));
  const auto is_known = [&](std::int32_t id) { return id >= 0 && id < config.vocab_size; };
  if (!std::ranges::all_of(tokens, is_known)) return {};
  Text& text = text_before(tokens);
  text.asked_at = ++asks_;
  const auto known = static_cast<std::size_t>(text.sequence.length());
  if (known == tokens.size()) return text.chances;
  const std::span<const float> logits = decoder_.feed(text.sequence, tokens.subspan(known));
  text.chances.resize(logits.size());
  std::ranges::transform(logits, text.chances.begin(), [](float logit) { return 1 / (1 + std::exp(-logit)); });
  return text.chances;
}

}  // namespace junto

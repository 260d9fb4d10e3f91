// For the tests of this room: logits of a model in training and of the engine on what it was exported to.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "format/model_text.h"
#include "generate/forward_rows.h"
#include "model/decoder.h"
#include "train/nn/language_model.h"

namespace junto {

inline LanguageModelShape small_shape() {
  LanguageModelShape shape;
  shape.hidden = 32;
  shape.layers = 3;
  shape.heads = 4;
  shape.kv_heads = 2;
  shape.head_dim = 8;
  shape.context = 64;
  shape.expert_width = 24;
  shape.router = {.experts = 6, .select = TopK{2}, .weigh = Weigh::kRenormalised};
  return shape;
}

/// Initial weights are so small that every model says the same; a spread of 1/sqrt(inputs) makes experts matter.
inline void spread_weights(LanguageModel& model) {
  at::NoGradGuard guard;
  for (const Parameter& parameter : model.parameters().all()) {
    if (parameter.decays)
      parameter.value.detach().mul_(0.7 / std::sqrt(static_cast<double>(parameter.value.size(-1))) / 0.02);
    if (parameter.name.ends_with("norm.bias"))  // 0 at first, by which a bias that is not read would not be seen
      parameter.value.detach().copy_(at::linspace(-0.3, 0.4, parameter.value.numel()));
  }
  for (const RouterPlace& router : model.routers()) {
    const at::Tensor& bias = router.selection_bias;
    if (bias.defined()) bias.copy_(at::linspace(-0.1, 0.1, bias.size(0)));
  }
  for (LanguageModel::Block& block : model.blocks()) {  // LoRA's begin at 0
    if (model.shape().activation.kind == ActivationKind::kIdentity) block.expert_down.normal_(0.0, 0.3);
  }
}

/// The engine's logits of the checkpoint at `path`, loaded with `options`, are the model's, to 1e-4 of the largest.
inline void expect_equal_logits(const LanguageModel& model, const std::string& path, const LoadOptions& options = {}) {
  constexpr std::int64_t kLength = 24;
  const std::int64_t vocabulary = model.shape().vocabulary;
  at::NoGradGuard guard;
  std::vector<std::int32_t> ids(kLength);
  for (std::int64_t i = 0; i < kLength; ++i) ids[i] = static_cast<std::int32_t>((i * 37 + 11) % vocabulary);
  const LanguageModel::Output expected =
      model.forward(at::tensor(std::vector<std::int64_t>(ids.begin(), ids.end()), at::kLong).reshape({1, kLength}));
  const Checkpoint checkpoint = open_checkpoint(path);
  ThreadPool pool(2);
  const std::shared_ptr<const Model> loaded = load_model(checkpoint, options);
  Decoder decoder(loaded, pool, {DType::kF32, ActivationType::kF32});
  Sequence sequence;
  double largest = 0.0, difference = 0.0;
  forward_rows(decoder, sequence, ids, 0, nullptr, [&](std::int64_t first, MatrixView<const float> logits) {
    for (std::int64_t r = 0; r < logits.rows; ++r) {
      for (std::int64_t v = 0; v < logits.cols; ++v) {
        const double found = logits.row(r)[v], wanted = expected.logits.data_ptr<float>()[(first + r) * vocabulary + v];
        largest = std::max(largest, std::abs(wanted));
        difference = std::max(difference, std::abs(found - wanted));
      }
    }
  });
  EXPECT_GT(largest, 0.5);
  EXPECT_LE(difference, 1e-4 * std::max(1.0, largest));
}

}  // namespace junto

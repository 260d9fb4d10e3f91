// A trained model as a Hugging Face directory that transformers loads.
#pragma once

#include <string>

#include "train/data/token_text.h"
#include "train/nn/language_model.h"

namespace junto {

/// Writes config.json, model.safetensors (float32) and the tokenizer's files into `folder`, which is made.
/// Architectures:
///   qwen3_moe, qwen3   norms of q and k (the default); first layers may be dense
///   mixtral, llama     without them; all layers routed, or none
/// Routers: softmax, top-k; renormalised, or raw weights in qwen3_moe. Throws Error naming what else the model has that
/// no published architecture computes (another rule, a shared expert).
void export_huggingface(const LanguageModel& model, const TokenText& text, const std::string& folder);

}  // namespace junto

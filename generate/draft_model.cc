#include "generate/draft_model.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"

namespace junto {

void check_same_vocabulary(const Model& model, const Tokenizer* tokenizer, const Model& draft,
                           const Tokenizer* draft_tokenizer) {
  const std::int64_t size = model.config.vocab_size;
  if (draft.config.vocab_size != size) {
    fail(draft.path, "vocabulary has " + std::to_string(draft.config.vocab_size) + " tokens, expected the " +
                         std::to_string(size) + " of " + model.path);
  }
  if (tokenizer == nullptr || draft_tokenizer == nullptr) return;
  for (std::int32_t id = 0; id < size; ++id) {
    const auto token_of = [id](const Tokenizer& t) { return id < t.vocab_size() ? t.token(id) : std::string_view(); };
    const std::string_view ours = token_of(*tokenizer), theirs = token_of(*draft_tokenizer);
    if (ours == theirs) continue;
    fail(draft.path, "token " + std::to_string(id) + " is " + printable(theirs) + ", expected " + printable(ours) +
                         " as in " + model.path);
  }
}

DraftModel::DraftModel(std::shared_ptr<const Model> model, ThreadPool& pool, DecoderOptions options)
    : decoder_(std::move(model), pool, options) {}

bool DraftModel::fits(std::span<const std::int32_t> tokens, int count) const {
  const std::int64_t length = static_cast<std::int64_t>(tokens.size()) + count;
  return !tokens.empty() && length <= decoder_.model().config.context_length &&
         std::ranges::find(tokens, kNoToken) == tokens.end();
}

// Logits after `tokens`. What was computed before stays as far as it is their beginning; at least one token is fed, as
// its logits are wanted.
std::span<const float> DraftModel::feed(std::span<const std::int32_t> tokens) {
  auto known = std::ranges::mismatch(sequence_.tokens, tokens).in1 - sequence_.tokens.begin();
  if (known == std::ssize(tokens)) --known;
  truncate(sequence_, known);
  return decoder_.feed(sequence_, tokens.subspan(static_cast<std::size_t>(known)));
}

void DraftModel::read(std::span<const std::int32_t> tokens) {
  if (fits(tokens, 0)) feed(tokens);
}

void DraftModel::guess(std::span<const std::int32_t> tokens, int count, const SamplerOptions& sampler, Random random,
                       std::vector<std::int32_t>& out) {
  out.clear();
  if (count <= 0 || !fits(tokens, count)) return;
  history_.assign(tokens.begin(), tokens.end());
  std::span<const float> logits = feed(tokens);
  while (true) {
    // A draft's damaged logits end the guess, not the answer.
    if (!std::ranges::all_of(logits, [](float x) { return std::isfinite(x); })) return;
    out.push_back(sample(logits, sampler, history_, random, scratch_));
    if (static_cast<int>(out.size()) == count) return;
    history_.push_back(out.back());
    logits = decoder_.feed(sequence_, {&out.back(), 1});
  }
}

}  // namespace junto

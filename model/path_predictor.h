// Which experts a token will ask for in every layer, said before the first layer runs: the routing path predictor of
// ExpertFlow (He et al., arXiv 2410.17954). It is a small decoder over the same tokens whose head has an output for
// each expert of each stage instead of one for each token; `junto train` makes it from traces and writes it as a GGUF
// file (junto.paths, model/stored_paths.h).
//
// The paper's is an encoder-decoder (T5) whose encoder reads the prompt and whose decoder reads what is being
// processed; here one causal decoder reads both.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "model/decoder.h"

namespace junto {

/// Throws Error naming the file where it is no predictor of paths, or cannot be read.
std::shared_ptr<const Model> load_path_predictor(const std::string& path);

/// Throws Error naming both files where `paths` predicts other stages than `config` has, or knows fewer tokens.
void expect_paths_of(const Model& paths, const ModelConfig& config, const std::string& where);

/// Where the text begins that is read to predict the token at `position`, with a predictor of that context: half of it
/// at least where there is as much, so that decoding reads a token once in most cases. It follows from the position
/// alone.
std::int64_t path_text_begin(std::int64_t position, std::int64_t context);

/// Predicts token by token; what it gives follows from the tokens alone. Texts of a few sequences are kept, so that
/// each goes on where it was.
class PathPredictor {
 public:
  /// `pool` must outlive it.
  PathPredictor(std::shared_ptr<const Model> model, ThreadPool& pool);

  /// Of the last of `tokens`, which begin with the first of their sequence: chances, 0..1, that it asks for each
  /// expert, stage by stage [outputs]. Empty where one that is read is no token of the predictor's. Valid until the
  /// next call.
  std::span<const float> predict(std::span<const std::int32_t> tokens);

  const Model& model() const { return decoder_.model(); }

 private:
  struct Text {
    Sequence sequence;
    std::vector<float> chances;  // of its last token
    std::int64_t asked_at = 0;
  };
  Text& text_before(std::span<const std::int32_t> tokens);

  Decoder decoder_;
  std::vector<Text> texts_;
  std::int64_t asks_ = 0;
};

}  // namespace junto

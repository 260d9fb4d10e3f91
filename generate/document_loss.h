// How well a model predicts texts made of documents, with the error of the mean that documents, not tokens, allow:
// tokens of one document are alike.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "model/decoder.h"

namespace junto {

struct DocumentLoss {
  double nll = 0;           // summed, nats
  std::int64_t tokens = 0;  // scored
};

struct MeanLoss {
  double nll = 0;             // nats per token
  double standard_error = 0;  // of nll, by document; 0 where there is one document
  std::int64_t tokens = 0;
  std::int64_t documents = 0;
};

/// The parts of `text` between form feeds, blank ones left out.
std::vector<std::string> split_documents(std::string_view text);

struct DocumentOptions {
  int window = 512;                 // positions; windows do not overlap, the last one of a document may be shorter
  std::optional<std::int32_t> bos;  // begins every window and is not scored
  RoutingPolicy policy;
  std::function<void(std::int64_t tokens)> progress;  // called with the tokens done since the last call
};

/// One loss for each document of token ids.
std::vector<DocumentLoss> document_losses(Decoder& decoder, ThreadPool& pool,
                                          std::span<const std::vector<std::int32_t>> documents,
                                          const DocumentOptions& options);

/// The ratio of sums and its standard error with documents as the units (linearised).
MeanLoss mean_loss(std::span<const DocumentLoss> documents);

}  // namespace junto

#include "generate/document_loss.h"

#include <algorithm>
#include <cmath>

#include "generate/forward_rows.h"
#include "generate/perplexity.h"

namespace junto {

std::vector<std::string> split_documents(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\f'), text.size());
    const std::string_view part = text.substr(0, end);
    if (part.find_first_not_of(" \t\r\n") != std::string_view::npos) out.emplace_back(part);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::vector<DocumentLoss> document_losses(Decoder& decoder, ThreadPool& pool,
                                          std::span<const std::vector<std::int32_t>> documents,
                                          const DocumentOptions& options) {
  std::vector<DocumentLoss> out;
  const std::size_t own = static_cast<std::size_t>(options.window) - (options.bos ? 1 : 0);
  std::vector<std::int32_t> ids;
  std::vector<double> scores;
  for (const std::vector<std::int32_t>& document : documents) {
    DocumentLoss loss;
    for (std::size_t begin = 0; begin < document.size(); begin += own) {
      ids.clear();
      if (options.bos) ids.push_back(*options.bos);
      const std::size_t count = std::min(own, document.size() - begin);
      ids.insert(ids.end(), document.begin() + static_cast<std::ptrdiff_t>(begin),
                 document.begin() + static_cast<std::ptrdiff_t>(begin + count));
      if (ids.size() < 2) break;
      Sequence sequence;
      sequence.policy = options.policy;
      const MatrixView<const float> logits = forward_call(decoder, sequence, std::span(ids).first(ids.size() - 1));
      scores.assign(static_cast<std::size_t>(logits.rows), 0.0);
      pool.for_each_block(logits.rows, [&](std::int64_t r, int) {
        scores[r] = negative_log_likelihood(logits.row(r), ids[static_cast<std::size_t>(r) + 1]);
      });
      for (const double score : scores) loss.nll += score;
      loss.tokens += logits.rows;
      if (options.progress) options.progress(static_cast<std::int64_t>(count));
    }
    out.push_back(loss);
  }
  return out;
}

MeanLoss mean_loss(std::span<const DocumentLoss> documents) {
  MeanLoss out;
  double nll = 0;
  for (const DocumentLoss& document : documents) {
    nll += document.nll;
    out.tokens += document.tokens;
    out.documents += document.tokens > 0 ? 1 : 0;
  }
  if (out.tokens == 0) return out;
  out.nll = nll / static_cast<double>(out.tokens);
  if (out.documents < 2) return out;
  double squares = 0;
  for (const DocumentLoss& document : documents) {
    const double residual = document.nll - out.nll * static_cast<double>(document.tokens);
    squares += residual * residual;
  }
  const auto n = static_cast<double>(out.documents);
  out.standard_error = std::sqrt(squares * n / (n - 1)) / static_cast<double>(out.tokens);
  return out;
}

}  // namespace junto

#include "train/data/path_text.h"

#include <algorithm>
#include <string>

#include "analyze/route_trace.h"
#include "analyze/traced_stages.h"
#include "base/error.h"

namespace junto {
namespace {

void append_labels(const TracedStages& stages, std::int64_t token, PathLabels& paths) {
  for (const TracedLayer* router : stages.routers) {
    const std::size_t first = paths.asked.size();
    paths.asked.resize(first + static_cast<std::size_t>(router->experts));
    for (const std::int32_t e : router->plan.experts_of(token)) paths.asked[first + static_cast<std::size_t>(e)] = 1;
  }
}

void check_trace(const RouteTrace& trace, const TracedStages& stages, const std::string& path, TokenText& text) {
  const std::vector<int> experts = experts_of(stages);
  if (experts.empty()) fail(path, "has no routed feed-forward layer");
  if (text.train_paths.empty()) text.train_paths.experts = text.validation_paths.experts = experts;
  if (text.train_paths.experts != experts) {
    fail(path, "has routers of " + Json(experts).dump() + " experts, expected those of the first trace, " +
                   Json(text.train_paths.experts).dump());
  }
  for (const std::int32_t id : trace.token) {
    if (id >= 0 && id < text.vocabulary) continue;
    fail(path, "has token " + std::to_string(id) + ", expected 0.." + std::to_string(text.vocabulary - 1) +
                   ", the vocabulary of data.tokenizer");
  }
}

}  // namespace

void read_path_text(const TokenTextOptions& options, TokenText& text) {
  for (const TextSource& file : options.files) {
    const RouteTrace trace = read_trace(text_path(file.path));
    const TracedStages stages = stages_of(trace);
    check_trace(trace, stages, file.path, text);
    for (std::size_t s = 0; s < trace.sequence_begin.size(); s += kSequencesOfDocument) {
      const std::size_t next = s + kSequencesOfDocument;
      const std::int64_t begin = trace.sequence_begin[s];
      const std::int64_t end = next < trace.sequence_begin.size() ? trace.sequence_begin[next] : trace.tokens();
      const std::string_view bytes(reinterpret_cast<const char*>(trace.token.data() + begin),
                                   static_cast<std::size_t>(end - begin) * sizeof(std::int32_t));
      const bool validates = share_of_document(bytes) < static_cast<double>(options.validation_share);
      TokenIds& part = validates ? text.validation : text.train;
      if (validates) text.validation_begins.push_back(std::ssize(part));
      ++(validates ? text.validation_documents : text.train_documents);
      part.insert(part.end(), trace.token.begin() + begin, trace.token.begin() + end);
      PathLabels& paths = validates ? text.validation_paths : text.train_paths;
      for (std::int64_t t = begin; t < end; ++t) append_labels(stages, t, paths);
    }
  }
}

void split_path_documents(const TokenText& text, bool odd, TokenIds& tokens, PathLabels& paths) {
  const PathLabels& from = text.validation_paths;
  paths.experts = from.experts;
  for (std::size_t d = odd ? 1 : 0; d < text.validation_begins.size(); d += 2) {
    const std::int64_t begin = text.validation_begins[d];
    const std::int64_t end =
        d + 1 < text.validation_begins.size() ? text.validation_begins[d + 1] : std::ssize(text.validation);
    tokens.insert(tokens.end(), text.validation.begin() + begin, text.validation.begin() + end);
    paths.asked.insert(paths.asked.end(), from.asked.begin() + begin * from.outputs(),
                       from.asked.begin() + end * from.outputs());
  }
}

}  // namespace junto

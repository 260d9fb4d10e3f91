// Traces (analyze/route_trace.h) as texts to learn paths from.
#pragma once

#include "train/data/token_text.h"

namespace junto {

/// Sequences of a trace that are one document: what validates shares no passage with what trains.
inline constexpr std::size_t kSequencesOfDocument = 4;

/// Adds the tokens of the traces in `options.files` to `text`, which knows its vocabulary, with what each asked for of
/// feed-forward experts. A document is kSequencesOfDocument sequences of a trace; nothing is put between documents.
/// Throws Error naming the file where it is no trace, of other routers than the first one, without routers, or has a
/// token that the vocabulary does not have.
void read_path_text(const TokenTextOptions& options, TokenText& text);

/// The even or the odd documents of what validates, with their labels.
void split_path_documents(const TokenText& text, bool odd, TokenIds& tokens, PathLabels& paths);

}  // namespace junto

// A text through the model for the logits of all its positions, not only the last one.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "model/decoder.h"

namespace junto {

/// Feeds `ids` to `sequence` in one call and returns the logits [ids, V] of all of them; the view lives until the next
/// call. Throws Error where the tokens exceed the model's context ("text has N tokens, context is M"), and on logits
/// that are not finite, naming the position.
MatrixView<const float> forward_call(Decoder& decoder, Sequence& sequence, std::span<const std::int32_t> ids,
                                     const Hooks* hooks = nullptr);

/// Takes the logits [rows, V] of ids first, first + 1...; the view lives until it returns.
using LogitsSink = std::function<void(std::int64_t first, MatrixView<const float> logits)>;

/// The same, `chunk` ids a call (0: all).
void forward_rows(Decoder& decoder, Sequence& sequence, std::span<const std::int32_t> ids, int chunk,
                  const Hooks* hooks, const LogitsSink& sink);

}  // namespace junto

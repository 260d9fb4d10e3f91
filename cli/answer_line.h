// What an answer cost: the line under it, and the figures of --json.
#pragma once

#include <string>

#include "base/json.h"
#include "cli/session.h"
#include "generate/generate.h"

namespace junto {

/// {"experts_per_token", "share_of_experts", "bytes_per_token", "per_layer": [{"layer", "experts", "experts_per_token",
/// "share_of_experts"}]} of the executed work: prompt and answer; bytes per token are those of decoding where there was
/// any. A dense model has 0 experts per token and no layers.
Json routing_json(const ModelConfig& config, const Generated& answer);

/// {"prefill_tokens_per_s", "decode_tokens_per_s", "first_token_s"}.
Json timings_json(const Generated& answer);

/// {"calls", "guessed", "accepted"}: calls with guessed tokens, and the tokens; see generate/speculate.h.
Json speculation_json(const Generated& answer);

/// "12 + 40 tokens, 35.2 tok/s, first token 0.06 s, 21 of 34 guesses accepted, 2.0 of 8 experts a token, 120 MB, 43 %
/// of 18.2 GB/s, context 52/8192". `bandwidth` is the machine's in bytes per second; 0 leaves its share out.
std::string answer_line(const Session& session, const Generated& answer, std::int64_t used, const ContextLimit& context,
                        double bandwidth);

/// Says that the answer is cut where the user did not ask for that: the context is full, or the default of -n is
/// reached
/// (`asked` is false). Else empty.
std::string ending_note(const Generated& answer, const ContextLimit& context, bool asked);

}  // namespace junto

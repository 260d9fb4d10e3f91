#include "cli/answer_line.h"

#include <cmath>
#include <cstdio>
#include <string>

#include "base/progress.h"
#include "cli/machine.h"
#include "cli/number_text.h"

namespace junto {
namespace {

double ratio(double above, double below) {
  return below > 0 ? above / below : 0;
}

// Of the answer's tokens, however many rows and calls they took; of the prompt's where there is no more.
double bytes_per_token(const Generated& answer) {
  if (answer.decode_tokens > 0) {
    return ratio(static_cast<double>(answer.decode.bytes_read), static_cast<double>(answer.decode_tokens));
  }
  return ratio(static_cast<double>(answer.prefill.bytes_read), static_cast<double>(answer.prefill.rows));
}

}  // namespace

Json routing_json(const ModelConfig& config, const Generated& answer) {
  const DecoderCounters work = answer.prefill + answer.decode;
  Json per_layer = Json::array();
  for (std::size_t b = 0; b < config.blocks.size(); ++b) {
    const BlockSpec& block = config.blocks[b];
    if (!block.routed || b >= work.slots_of_block.size()) continue;
    const int experts = block.moe.router.experts;
    const double per_token =
        ratio(static_cast<double>(work.slots_of_block[b]), static_cast<double>(work.rows_of_block[b]));
    per_layer.push_back({{"layer", block.layer},
                         {"experts", experts},
                         {"experts_per_token", per_token},
                         {"share_of_experts", ratio(per_token, experts)}});
  }
  return {{"experts_per_token", ratio(static_cast<double>(work.routed_slots), static_cast<double>(work.routed_rows))},
          {"share_of_experts", ratio(static_cast<double>(work.routed_slots), static_cast<double>(work.possible_slots))},
          {"bytes_per_token", std::llround(bytes_per_token(answer))},
          {"per_layer", per_layer}};
}

Json timings_json(const Generated& answer) {
  return {{"prefill_tokens_per_s", answer.prefill_tokens_per_second()},
          {"decode_tokens_per_s", answer.decode_tokens_per_second()},
          {"first_token_s", answer.prefill_seconds}};
}

Json speculation_json(const Generated& answer) {
  const SpeculationCount& count = answer.speculation;
  return {{"calls", count.calls}, {"guessed", count.guessed}, {"accepted", count.accepted}};
}

std::string answer_line(const Session& session, const Generated& answer, std::int64_t used, const ContextLimit& context,
                        double bandwidth) {
  const DecoderCounters work = answer.prefill + answer.decode;
  std::string line = std::to_string(answer.prompt_tokens) + " + " + std::to_string(answer.ids.size()) + " tokens, " +
                     fixed(answer.decode_tokens_per_second(), 1) + " tok/s (prompt " +
                     fixed(answer.prefill_tokens_per_second(), 1) + "), first token " +
                     fixed(answer.prefill_seconds, 2) + " s";
  if (answer.speculation.guessed > 0) {
    line += ", " + std::to_string(answer.speculation.accepted) + " of " + std::to_string(answer.speculation.guessed) +
            " guesses accepted";
  }
  if (work.routed_rows > 0) {
    const double per_token = ratio(static_cast<double>(work.routed_slots), static_cast<double>(work.routed_rows));
    const double all = ratio(static_cast<double>(work.possible_slots), static_cast<double>(work.routed_rows));
    line += ", " + fixed(per_token, 1) + " of " + fixed(all, all == static_cast<int>(all) ? 0 : 1) + " experts a token";
  } else {
    line += ", no experts";
  }
  if (is_streaming(*session.model)) line += ", " + streaming_line(*session.model->cache);
  line += ", memory " + format_quantity(static_cast<double>(resident_memory_bytes()), "B");
  const double read = bytes_per_token(answer) * answer.decode_tokens_per_second();
  if (bandwidth > 0 && read > 0) {
    line += ", " + fixed(100 * read / bandwidth, read / bandwidth < 0.1 ? 1 : 0) + " % of " +
            format_quantity(bandwidth, "B") + "/s";
  }
  line += ", context " + std::to_string(used) + "/" + std::to_string(context.tokens);
  if (context.tokens < session.model->config.context_length) {
    line += " (the model's own: " + std::to_string(session.model->config.context_length) + ")";
  }
  return line;
}

std::string ending_note(const Generated& answer, const ContextLimit& context, bool asked) {
  if (answer.ending == Ending::kContextFull) {
    return "the answer is cut: the context of " + std::to_string(context.tokens) + " tokens is full";
  }
  if (answer.ending == Ending::kMaxTokens && !asked) {
    return "the answer is cut after " + std::to_string(answer.ids.size()) + " tokens; -n allows more";
  }
  return "";
}

}  // namespace junto

// junto perplexity: how well a model predicts a text.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/prompt_chunk.h"
#include "cli/session.h"
#include "generate/perplexity.h"

namespace junto {
namespace {

struct PerplexityVerb {
  ModelOptions model;
  std::string file;
  std::string against;
  int context = 512;
  bool bos = false, no_bos = false;
  bool json = false;
};

std::optional<std::int32_t> bos_of(const PerplexityVerb& options, Session& session) {
  if (options.bos && options.no_bos) fail("", "--bos and --no-bos exclude each other");
  const Tokenizer& tokenizer = require_tokenizer(session);
  if (options.no_bos || (!options.bos && !tokenizer.add_bos())) return std::nullopt;
  if (!tokenizer.bos_id()) fail(session.checkpoint.path, "the tokenizer has no BOS token; use --no-bos");
  return tokenizer.bos_id();
}

Session open_reference(const PerplexityVerb& options, const Session& session) {
  ModelOptions reference = options.model;
  reference.path = options.against;
  reference.policy.clear();
  reference.adapters.clear();
  Session opened = open_session(reference, session.pool);
  const std::int64_t own = session.model->config.vocab_size, other = opened.model->config.vocab_size;
  if (own != other) {
    fail(options.against, "vocabulary has " + std::to_string(other) + " tokens, expected " + std::to_string(own) +
                              " as in " + session.checkpoint.path);
  }
  return opened;
}

void print_result(const Perplexity& result, const Session& session, bool json) {
  if (json) {
    Json out = {{"perplexity", result.perplexity},
                {"mean_nll", result.mean_nll},
                {"standard_error", result.standard_error},
                {"tokens", result.tokens}};
    if (result.against) {
      out["mean_kl"] = result.against->mean_kl;
      out["p99_kl"] = result.against->p99_kl;
      out["top1_agreement"] = result.against->top1_agreement;
    }
    if (is_streaming(*session.model)) out["streaming"] = streaming_json(*session.model->cache, session.chunk);
    std::printf("%s\n", out.dump().c_str());
    return;
  }
  std::printf("perplexity %.4f  mean nll %.5f +- %.5f  %lld tokens scored in %lld windows\n", result.perplexity,
              result.mean_nll, result.standard_error, static_cast<long long>(result.tokens),
              static_cast<long long>(result.windows));
  if (is_streaming(*session.model)) std::printf("%s\n", streaming_line(*session.model->cache).c_str());
  if (!result.against) return;
  std::printf("against the reference: mean KL %.6f  99th percentile %.6f  same top token %.2f %%\n",
              result.against->mean_kl, result.against->p99_kl, 100 * result.against->top1_agreement);
}

int run_perplexity(const PerplexityVerb& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  Session session = open_session(options.model);
  const std::int64_t longest = session.model->config.context_length;
  if (options.context > longest) {
    fail("--context", "is " + std::to_string(options.context) + ", expected 2.." + std::to_string(longest) +
                          ", the context of " + session.checkpoint.path);
  }
  std::optional<Session> reference;
  if (!options.against.empty()) reference = open_reference(options, session);

  start_decoder(session, options.context);
  if (reference) start_decoder(*reference, options.context);
  PerplexityOptions measure;
  measure.window = options.context;
  measure.bos = bos_of(options, session);
  measure.chunk = options.model.chunk.value_or(std::min(session.chunk, kPromptChunk));  // logits of all rows
  measure.policy = session.policy;
  const std::vector<std::int32_t> text = require_tokenizer(session).encode(read_text_argument(options.file), false);
  const std::size_t own = static_cast<std::size_t>(options.context) - (measure.bos ? 1 : 0);
  Progress progress("perplexity", text.size() / own * static_cast<std::size_t>(options.context - 1), "tokens");
  measure.progress = [&](std::int64_t tokens) { progress.advance(static_cast<std::uint64_t>(tokens)); };
  const Perplexity result = measure_perplexity(*session.decoder, reference ? reference->decoder.get() : nullptr,
                                               *session.pool, text, measure, options.file);
  print_result(result, session, options.json);
  return 0;
}

}  // namespace

Command perplexity_command() {
  const auto options = std::make_shared<PerplexityVerb>();
  Command command;
  command.name = "perplexity";
  command.about = "How well a model predicts a text, and how far it is from another model";
  command.arguments = model_arguments(options->model);
  const std::vector<Argument> own = {{.name = "-f,--file",
                                      .target = &options->file,
                                      .value = "FILE",
                                      .help = "The text; - is standard input",
                                      .required = true},
                                     {.name = "--context",
                                      .target = &options->context,
                                      .value = "N",
                                      .help = "Tokens of a window (default 512)",
                                      .low = 2},
                                     {.name = "--bos",
                                      .target = &options->bos,
                                      .value = "",
                                      .help = "Begin every window with BOS (it takes a place and is not scored)"},
                                     {.name = "--no-bos",
                                      .target = &options->no_bos,
                                      .value = "",
                                      .help = "No BOS; the default is what the model says"},
                                     {.name = "--against",
                                      .target = &options->against,
                                      .value = "REF",
                                      .help = "A model to compare with: KL divergence and top-1 agreement"},
                                     json_argument(options->json)};
  command.arguments.insert(command.arguments.begin() + 1, own.begin(), own.end());
  command.examples =
      "  junto perplexity model.gguf -f wiki.txt\n"
      "  junto perplexity moe.gguf -f wiki.txt --policy top_k=1 --against moe.gguf --json\n"
      "Windows do not overlap; each is a fresh sequence whose positions from 1 on are scored.\n";
  command.execute = [options] { return run_perplexity(*options); };
  return command;
}

}  // namespace junto

// A model opened for work: what run, chat, logits, perplexity and bench share.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/expert_memory.h"
#include "cli/machine.h"
#include "format/checkpoint.h"
#include "format/model_text.h"
#include "model/decoder.h"

namespace junto {

/// The options that every verb which computes has.
struct ModelOptions {
  std::string path;
  std::string policy;                 // as parse_routing_policy() takes it
  std::vector<std::string> adapters;  // as parse_adapter_request() takes them
  int threads = 0;                    // 0: what the machine gives
  std::optional<int> chunk;           // prompt tokens a call; 0: all; none: chosen
  std::string kv = "f16";
  std::string activations = "q8";
  ExpertMemoryOptions experts;
  bool lazy_experts = true;  // experts come into the kernels' layout when they are first asked for
};

/// MODEL, then --policy, --adapter, --threads, --chunk, --kv, --activations, --expert-memory, --evict and --hot-set.
/// They point into `options`.
std::vector<Argument> model_arguments(ModelOptions& options);

/// Only MODEL.
Argument model_argument(std::string& path);

/// Only --threads.
Argument threads_argument(int& threads);

/// Only --context.
Argument context_argument(std::optional<int>& context);

/// Only --json.
Argument json_argument(bool& json);

struct Session {
  Checkpoint checkpoint;
  std::shared_ptr<Model> model;
  std::shared_ptr<ThreadPool> pool;
  std::shared_ptr<const MemoryPromise> slots;    // for experts that are streamed
  std::shared_ptr<const MemoryPromise> working;  // for the activations of a prompt's calls, where experts are streamed
  int chunk = 0;                                 // prompt tokens a call; 0: all
  bool weights_copied = false;  // weights are interleaved in memory of our own, and the mapped ones not needed
  DecoderOptions decoder_options;
  std::unique_ptr<Decoder> decoder;    // by start_decoder()
  std::optional<Tokenizer> tokenizer;  // by require_tokenizer()
  RoutingPolicy policy;                // checked against the model
};

/// `path`, or the fetched file where it is the name of one ("smollm2") and no file has that name.
std::string model_path(const std::string& path);

/// A file, a directory, or the name of a fetched model. Throws Error as open_checkpoint() does.
Checkpoint open_model_file(const std::string& path);

/// Throws Error naming what is wrong with the file or an option. Another session's `pool` may be shared.
Session open_session(const ModelOptions& options, std::shared_ptr<ThreadPool> pool = nullptr);

/// Makes session.decoder for texts of up to `planned_length` positions (some models choose frequencies by it).
void start_decoder(Session& session, std::int64_t planned_length);

/// Loads session.tokenizer. Throws Error where the checkpoint has none ("a.gguf: no tokenizer; ...") or a damaged one.
const Tokenizer& require_tokenizer(Session& session);

/// The policy that --policy gives, checked against the model. An empty text is the model's own routing.
RoutingPolicy policy_for(const Model& model, std::string_view text);

/// A sequence that routes as --policy says.
Sequence new_sequence(const Session& session);

/// How many tokens a sequence may have: the model's own context, less where memory does not hold the KV rows of all of
/// it, or what was asked for.
struct ContextLimit {
  std::int64_t tokens = 0;
  std::int64_t model_tokens = 0;  // the model's own
  std::int64_t kv_bytes = 0;      // of a full context

  /// "context 8192 tokens (the model's own)".
  std::string describe() const;
};

/// Throws Error where `asked` (--context) exceeds the model's own.
ContextLimit context_limit(const Session& session, std::optional<int> asked);

/// Whole numbers from 0 to limit - 1 in "1,2,3". Throws Error naming `name` and `what` they are ("token ids").
std::vector<std::int64_t> parse_numbers(std::string_view text, std::string_view name, std::string_view what,
                                        std::int64_t limit);

/// Ids in "1,2,3". Throws Error naming `name` on anything else and on ids outside [0, vocabulary).
std::vector<std::int32_t> parse_ids(std::string_view text, std::string_view name, std::int64_t vocabulary);

/// The contents of a file, or of standard input where it is "-", at most 1 GiB; must be UTF-8.
std::string read_text_argument(const std::string& path);

}  // namespace junto

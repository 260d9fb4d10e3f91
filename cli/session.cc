#include "cli/session.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "analyze/simulate.h"
#include "analyze/traced_stages.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/fetch.h"
#include "cli/forecast.h"
#include "cli/machine.h"
#include "cli/prompt_chunk.h"
#include "cli/terminal.h"
#include "format/tokenizer/unicode.h"
#include "model/kv_cache.h"
#include "model/path_predictor.h"
#include "model/working_memory.h"

namespace junto {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;

std::string read_standard_input() {
  std::string text;
  char buffer[1 << 16];
  for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, stdin)) > 0;) {
    text.append(buffer, got);
    if (text.size() > kMaxTextBytes) fail("standard input", "has more than 1 GiB");
  }
  if (std::ferror(stdin) != 0) fail("standard input", "cannot be read");
  return text;
}

}  // namespace

Argument model_argument(std::string& path) {
  return {.name = "MODEL",
          .target = &path,
          .value = "MODEL",
          .help = "GGUF file, Hugging Face directory, or a name: mini comes with Junto, others are fetched",
          .required = true};
}

Argument threads_argument(int& threads) {
  return {.name = "--threads",
          .target = &threads,
          .value = "N",
          .help = "Threads; 0 takes the cores that the process may use",
          .low = 0,
          .high = 1024};
}

Argument context_argument(std::optional<int>& context) {
  return {.name = "--context",
          .target = &context,
          .value = "N",
          .help = "Tokens of prompt and answer; the default is the model's own context or what memory allows",
          .low = 1};
}

Argument json_argument(bool& json) {
  return {.name = "--json", .target = &json, .help = "Print JSON"};
}

std::vector<Argument> model_arguments(ModelOptions& options) {
  std::vector<Argument> arguments = {
      model_argument(options.path),
      {.name = "--policy",
       .target = &options.policy,
       .value = "POLICY",
       .help = "Routing: JSON, @file, or top_k=2,renormalise=true;4-7:top_k=1;8:mask=!3,!5"},
      {.name = "--adapter",
       .target = &options.adapters,
       .value = "FILE",
       .help = "LoRA adapter, plain or routed: a PEFT directory or a GGUF file, with :SCALE to weigh it; may be given "
               "several times"},
      threads_argument(options.threads),
      {.name = "--chunk",
       .target = &options.chunk,
       .value = "N",
       .help =
           "Prompt tokens a call: 0 takes all at once, 1 goes token by token (default 512, of a streamed model as many "
           "as keep its disk busy)",
       .low = 0},
      {.name = "--kv",
       .target = &options.kv,
       .help = "Type of the KV cache (default f16)",
       .choices = {"f32", "f16", "q8_0"}},
      {.name = "--activations",
       .target = &options.activations,
       .help = "How activations meet quantised weights (default q8); plain weights always take f32",
       .choices = {"f32", "q8"}},
  };
  for (Argument& argument : expert_memory_arguments(options.experts)) arguments.push_back(std::move(argument));
  return arguments;
}

namespace {

/// Models that come with Junto: beside the program in a build tree, in share/junto of an installation.
std::string bundled_model(const std::string& name) {
  namespace fs = std::filesystem;
  if (name != "mini") return {};
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* place : {"models", "../share/junto/models"}) {
    const fs::path file = folder / place / "junto-mini.gguf";
    if (!error && fs::exists(file)) return file.lexically_normal().string();
  }
  fail(name, "junto-mini.gguf stands neither in models beside junto nor in ../share/junto/models");
}

}  // namespace

std::string model_path(const std::string& path) {
  if (std::filesystem::exists(path)) return path;
  if (std::string bundled = bundled_model(path); !bundled.empty()) return bundled;
  for (const FetchableModel& model : fetchable_models()) {
    if (model.name != path) continue;
    const std::string cached = cached_path(model, cache_directory());
    if (std::filesystem::exists(cached)) return cached;
    fail(path, "not fetched yet; junto fetch " + path + " does");
  }
  return path;
}

Checkpoint open_model_file(const std::string& path) {
  return open_checkpoint(model_path(path));
}

namespace {

std::shared_ptr<const PastRoutes> routes_for(PrefetchRule rule, const std::string& trace) {
  const bool oracle = rule.rule == Prefetch::kOracle;
  if (trace.empty()) {
    if (oracle) fail("--prefetch", "is oracle, which needs --prefetch-trace FILE, the trace of the same run");
    return nullptr;
  }
  if (!oracle && rule.rule != Prefetch::kTable) {
    fail("--prefetch-trace",
         "is given, but --prefetch is " + std::string(prefetch_name(rule)) + ", expected table or oracle");
  }
  return std::make_shared<const PastRoutes>(past_routes_of(read_trace(trace)));
}

std::shared_ptr<const Model> paths_for(PrefetchRule rule, const std::string& predictor) {
  const bool path = rule.rule == Prefetch::kPath;
  if (path == !predictor.empty()) return path ? load_path_predictor(predictor) : nullptr;
  if (path) fail("--prefetch", "is " + std::string(prefetch_name(rule)) + ", which needs --path-predictor FILE");
  fail("--path-predictor", "is given, but --prefetch is " + std::string(prefetch_name(rule)) + ", expected path");
}

// What a streamed model's prompts are cut into, and the memory that this takes. Half of what is left is the KV cache's.
void cut_prompts(Session& session, std::optional<int> asked, ActivationType activations, const Forecast& found) {
  const Model& model = *session.model;
  const Needs& needs = found.needs;
  const int threads = session.pool->threads();
  if (asked) {
    session.chunk = *asked;
  } else {
    const std::int64_t missing = (needs.expert_count - needs.cached) * needs.slot;
    const double disk_s = found.disk_bytes_per_s > 0 ? static_cast<double>(missing) / found.disk_bytes_per_s : 0;
    const std::int64_t of_head = static_cast<std::int64_t>(model.output.weights.stored_bytes());
    const double row_s = measure_row_s(model, *session.pool, activations, needs.read_per_token - of_head);
    session.chunk =
        choose_prompt_chunk(disk_s, row_s, rows_that_fit(model, activations, threads, available_memory_bytes() / 2));
  }
  if (session.chunk == 0) return;
  session.working = std::make_shared<const MemoryPromise>(working_bytes(model, activations, session.chunk, threads));
}

// Interleaved weights are a second copy, in memory of our own; the mapped file is left to the page cache. They serve Q8
// activations: float rows read the stored form.
void load_for_work(Session& session, const ModelOptions& model, bool float_activations) {
  const ExpertMemoryOptions& experts = model.experts;
  const std::int64_t available = available_memory_bytes();
  StoredBytes stored;
  for (const NamedTensor& named : session.checkpoint.tensors()) stored.all += std::ssize(named.tensor.bytes);
  // Telling experts from the rest means describing the model, which some checkpoints pay with copies of their tensors.
  if (experts.budget != "auto" || stored.all >= available / 2) stored = stored_bytes_of(session.checkpoint);
  LoadOptions options;
  for (const std::string& adapter : model.adapters) options.adapters.push_back(parse_adapter_request(adapter));
  options.evict = parse_evict(experts.evict);
  if (options.evict == Evict::kStatic) {
    if (experts.hot_set.empty()) fail("--evict", "is static, which needs --hot-set FILE, a trace of junto trace");
    options.popularity = popularity_of(read_trace(experts.hot_set));
  } else if (!experts.hot_set.empty()) {
    fail("--hot-set", "is given, but --evict is " + experts.evict + ", expected static");
  }
  options.prefetch = parse_prefetch(experts.prefetch);
  options.past = routes_for(options.prefetch, experts.prefetch_trace);
  options.paths = paths_for(options.prefetch, experts.path_predictor);
  options.verify_reads = experts.verify_reads;
  if (!experts.disk_limit.empty()) options.disk_limit_bytes_per_s = parse_rate(experts.disk_limit, "--disk-limit");
  options.read_engine = parse_read_engine(std::getenv("JUNTO_IO"));
  const ActivationType activations = float_activations ? ActivationType::kF32 : ActivationType::kQ8;
  const bool may_stream = experts.budget == "auto" && stored.experts > 0 && stored.all >= available / 2;
  const std::int64_t working =
      may_stream ? prompt_bytes(session.checkpoint, activations, model.chunk.value_or(0), session.pool->threads()) : 0;
  options.expert_memory = choose_expert_memory(experts, stored, working, available, session.checkpoint.path);
  Forecast found;
  if (options.expert_memory > 0) {
    found =
        forecast_model(session.checkpoint,
                       {.experts = experts, .memory = available, .kv = model.kv, .working = working}, *session.pool);
    const Needs& needs = found.needs;
    print_note(session.checkpoint.path + ": " +
               describe_streaming(stored.experts, needs.cached, needs.slot, needs.expert_count, experts.evict) + "; " +
               describe_forecast(found));
  }
  // Streamed experts lie in slots, and only the rest of the model is copied.
  const std::int64_t copied = options.expert_memory > 0 ? stored.all - stored.experts : stored.all;
  session.weights_copied = !float_activations && copied < available / 2;
  if (session.weights_copied) options.pool = session.pool.get();
  options.lazy_experts = session.weights_copied && model.lazy_experts;
  std::optional<Progress> progress;
  options.progress = [&](std::size_t, std::size_t all) {
    if (!progress) progress.emplace("loading", all, "tensors");
    progress->advance();
  };
  if (options.disk_limit_bytes_per_s > 0 && options.expert_memory == 0) {
    fail("--disk-limit",
         "is for experts that are streamed (--expert-memory); those of " + session.checkpoint.path + " stay in memory");
  }
  if (experts.verify_reads && options.expert_memory == 0) {
    fail("--verify-reads", "is for experts that are streamed (--expert-memory); those of " + session.checkpoint.path +
                               " stay in memory: junto inspect --verify checks the file");
  }
  session.model = load_model(session.checkpoint, options);
  if (!session.model->config.path_experts.empty()) {
    fail(session.checkpoint.path, "predicts routes of another model and no tokens; give it as --path-predictor");
  }
  if (is_streaming(*session.model)) {
    const ExpertCache& cache = *session.model->cache;
    session.slots =
        std::make_shared<const MemoryPromise>(cache.slots() * static_cast<std::int64_t>(cache.slot_bytes()));
    cut_prompts(session, model.chunk, activations, found);
  }
}

}  // namespace

Session open_session(const ModelOptions& options, std::shared_ptr<ThreadPool> pool) {
  Session session;
  session.chunk = options.chunk.value_or(kPromptChunk);
  session.checkpoint = open_model_file(options.path);
  session.pool = pool ? std::move(pool) : std::make_shared<ThreadPool>(options.threads);
  load_for_work(session, options, options.activations == "f32");
  session.policy = policy_for(*session.model, options.policy);
  session.decoder_options.kv = parse_kv_type(options.kv);
  session.decoder_options.activations = options.activations == "f32" ? ActivationType::kF32 : ActivationType::kQ8;
  return session;
}

void start_decoder(Session& session, std::int64_t planned_length) {
  session.decoder_options.planned_length = planned_length;
  session.decoder = std::make_unique<Decoder>(session.model, *session.pool, session.decoder_options);
}

const Tokenizer& require_tokenizer(Session& session) {
  if (!session.tokenizer) session.tokenizer = load_tokenizer(session.checkpoint);
  if (!session.tokenizer) fail(session.checkpoint.path, "no tokenizer; give token ids with --ids");
  return *session.tokenizer;
}

RoutingPolicy policy_for(const Model& model, std::string_view text) {
  RoutingPolicy policy = parse_routing_policy(text, "--policy");
  check_policy(policy, experts_of_layers(model.config), "--policy");
  if (!is_streaming(model)) check_policy_of_resident_experts(policy, "--policy");
  return policy;
}

Sequence new_sequence(const Session& session) {
  Sequence sequence;
  sequence.policy = session.policy;
  return sequence;
}

std::string ContextLimit::describe() const {
  const std::string text = "context " + std::to_string(tokens) + " tokens (";
  const std::string kv = "KV cache up to " + format_quantity(static_cast<double>(kv_bytes), "B");
  if (tokens == model_tokens) return text + "the model's own; " + kv + ")";
  return text + "of the model's " + std::to_string(model_tokens) + "; " + kv + ")";
}

ContextLimit context_limit(const Session& session, std::optional<int> asked) {
  ContextLimit limit;
  limit.model_tokens = session.model->config.context_length;
  const auto bytes_per_token =
      static_cast<std::int64_t>(make_kv_layout(session.model->config, session.decoder_options.kv).bytes_per_position());
  if (asked) {
    if (*asked > limit.model_tokens) {
      fail("--context", "is " + std::to_string(*asked) + ", expected 1.." + std::to_string(limit.model_tokens) +
                            ", the context of " + session.checkpoint.path);
    }
    limit.tokens = *asked;
  } else {
    // Weights are mapped: their pages count as available and are needed. Where they alone exceed memory, a sixteenth of
    // it is left for the cache.
    const std::int64_t available = available_memory_bytes();
    const std::int64_t needed = session.weights_copied ? 0 : static_cast<std::int64_t>(session.model->total_bytes);
    const std::int64_t left = available - needed;
    const std::int64_t budget = std::max(left / 10 * 9, available / 16);
    const std::int64_t fits = bytes_per_token > 0 ? budget / bytes_per_token : limit.model_tokens;
    limit.tokens = std::clamp<std::int64_t>(fits, 1, limit.model_tokens);
  }
  limit.kv_bytes = limit.tokens * bytes_per_token;
  return limit;
}

std::vector<std::int64_t> parse_numbers(std::string_view text, std::string_view name, std::string_view what,
                                        std::int64_t limit) {
  std::vector<std::int64_t> numbers;
  while (true) {
    const std::string_view part = text.substr(0, text.find(','));
    const std::string_view word = part.substr(std::min(part.find_first_not_of(' '), part.size()));
    const std::string entry = "entry " + std::to_string(numbers.size()) + " is ";
    std::int64_t number = -1;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (error != std::errc() || end != word.data() + word.size()) {
      fail(name, entry + "\"" + printable(part) + "\", expected " + std::string(what) + " as in 1,2,3");
    }
    if (number < 0 || number >= limit)
      fail(name, entry + std::to_string(number) + ", expected 0.." + std::to_string(limit - 1));
    numbers.push_back(number);
    if (part.size() == text.size()) return numbers;
    text.remove_prefix(part.size() + 1);
  }
}

std::vector<std::int32_t> parse_ids(std::string_view text, std::string_view name, std::int64_t vocabulary) {
  const std::vector<std::int64_t> numbers = parse_numbers(text, name, "token ids", vocabulary);
  return {numbers.begin(), numbers.end()};
}

std::string read_text_argument(const std::string& path) {
  std::string text = path == "-" ? read_standard_input() : read_text_file(path, kMaxTextBytes);
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);  // byte order mark
  const std::size_t valid = text::valid_utf8_prefix(text);
  if (valid != text.size()) {
    fail(path == "-" ? "standard input" : path, "byte " + std::to_string(valid) + " is not UTF-8");
  }
  return text;
}

}  // namespace junto

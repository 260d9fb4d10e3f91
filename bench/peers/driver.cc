// llama.cpp, or ik_llama.cpp (-DPEER_IK), as a contender of bench/peers/measure: the counterpart of bench/contender.cc,
// with the same commands but `probe`. Written against llama.h; bench/peers/measure compiles it against the library that
// it built. Options beyond the contender's: --flash 0|1, --ubatch N, --repack 0|1, --mmap 0|1.
#include <llama.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

namespace {

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "driver: %s\n", what.c_str());
  std::exit(1);
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Options {
  std::string model, ids, kv = "f16";
  std::map<std::string, int> numbers = {{"--context", 0},  {"--tokens", 1}, {"--threads", 2}, {"--flash", 1},
                                        {"--ubatch", 512}, {"--repack", 1}, {"--mmap", 1}};
  int operator[](const char* name) const { return numbers.at(name); }
};

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    if (name.rfind("--", 0) != 0) {
      options.model = name;
      continue;
    }
    if (++i == count) fail(name + " has no value");
    if (name == "--ids")
      options.ids = arguments[i];
    else if (name == "--kv")
      options.kv = arguments[i];
    else if (options.numbers.count(name))
      options.numbers[name] = std::atoi(arguments[i]);
    else
      fail(name + " is no option of the driver");
  }
  if (options.model.empty() || options.ids.empty()) fail("needs MODEL and --ids FILE");
  return options;
}

ggml_type cache_type(const std::string& name) {
  if (name == "f16") return GGML_TYPE_F16;
  if (name == "q8_0") return GGML_TYPE_Q8_0;
  if (name == "f32") return GGML_TYPE_F32;
  fail("--kv is " + name + ", expected f32, f16 or q8_0");
}

class Contender {
 public:
  explicit Contender(const Options& options) : options_(options) {
    std::ifstream file(options.ids);
    for (std::int32_t id = 0; file >> id;) ids_.push_back(id);
    if (static_cast<int>(ids_.size()) < options["--context"] + options["--tokens"]) fail(options.ids + ": too few ids");
    llama_backend_init();
    load();
    for (int first = 0; first < options["--context"]; first += kBatch) {
      compute(std::min(kBatch, options["--context"] - first), first, first);
    }
  }

  void ready() const {
    std::printf("ready %s\n", llama_print_system_info());
    std::fflush(stdout);
  }

  void go(int step) {
    const int context = options_["--context"], tokens = options_["--tokens"];
    const int steps = (static_cast<int>(ids_.size()) - context) / tokens;
    const double begin = now_s();
    compute(tokens, context + step % steps * tokens, context);
    llama_synchronize(context_);
    const float* logits = llama_get_logits_ith(context_, tokens - 1);
    const double seconds = now_s() - begin;
    if (logits == nullptr) fail("no logits");
    std::printf("%.9f %td\n", seconds, std::max_element(logits, logits + vocabulary_) - logits);
    std::fflush(stdout);
#ifdef PEER_IK
    llama_kv_cache_seq_rm(context_, 0, context, -1);
#else
    llama_memory_seq_rm(llama_get_memory(context_), 0, context, -1);
#endif
  }

 private:
  static constexpr int kBatch = 512;

  void load() {
    llama_model_params model = llama_model_default_params();
    model.n_gpu_layers = 0;
#ifdef PEER_IK
    model.use_mmap = options_["--mmap"] != 0;
    model.repack_tensors = options_["--repack"] != 0;
    model.flash_attn = options_["--flash"] != 0;
    model.type_k = model.type_v = cache_type(options_.kv);
    model.n_ubatch = options_["--ubatch"];
#else
    model.load_mode = options_["--mmap"] != 0 ? LLAMA_LOAD_MODE_MMAP : LLAMA_LOAD_MODE_NONE;
    model.use_extra_bufts = options_["--repack"] != 0;
#endif
    llama_model* loaded = llama_model_load_from_file(options_.model.c_str(), model);
    if (loaded == nullptr) fail(options_.model + " does not load");
    llama_context_params context = llama_context_default_params();
    context.n_ctx = (options_["--context"] + options_["--tokens"] + 255) / 256 * 256;
    context.n_batch = kBatch;
    context.n_ubatch = options_["--ubatch"];
    context.n_threads = context.n_threads_batch = options_["--threads"];
    context.type_k = context.type_v = cache_type(options_.kv);
#ifdef PEER_IK
    context.flash_attn = options_["--flash"] != 0;
    vocabulary_ = llama_n_vocab(loaded);
#else
    context.flash_attn_type = options_["--flash"] != 0 ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    vocabulary_ = llama_vocab_n_tokens(llama_model_get_vocab(loaded));
#endif
    context_ = llama_init_from_model(loaded, context);
    if (context_ == nullptr) fail("the context cannot be made");
    batch_ = llama_batch_init(kBatch, 0, 1);
  }

  /// `count` ids from place `first` of the file at positions from `position` on; logits of the last one.
  void compute(int count, int first, int position) {
    batch_.n_tokens = count;
    for (int i = 0; i < count; ++i) {
      batch_.token[i] = ids_[static_cast<std::size_t>(first + i)];
      batch_.pos[i] = position + i;
      batch_.n_seq_id[i] = 1;
      batch_.seq_id[i][0] = 0;
      batch_.logits[i] = i + 1 == count;
    }
    if (llama_decode(context_, batch_) != 0) fail("llama_decode failed");
  }

  const Options& options_;
  std::vector<std::int32_t> ids_;
  llama_context* context_ = nullptr;
  llama_batch batch_{};
  int vocabulary_ = 0;
};

void quiet(ggml_log_level level, const char* text, void*) {
  if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
}

}  // namespace

int main(int count, char** arguments) {
  llama_log_set(quiet, nullptr);
  const Options options = parse(count, arguments);
  if (options["--tokens"] > 512) fail("--tokens exceeds a batch of 512");
  Contender contender(options);
  contender.ready();
  for (std::string line; std::getline(std::cin, line);) {
    if (line.rfind("go ", 0) != 0) fail("command is " + line + ", expected go I");
    contender.go(std::atoi(line.c_str() + 3));
  }
}

// All that a program outside needs in order to run a model: this, and find_package(junto).
#include <cstdio>

#include "format/model_text.h"
#include "generate/generate.h"

int main(int, char** arguments) try {
  const junto::Checkpoint checkpoint = junto::open_checkpoint(arguments[1]);
  const std::optional<junto::Tokenizer> tokenizer = junto::load_tokenizer(checkpoint);
  junto::ThreadPool pool;
  junto::Decoder decoder(junto::load_model(checkpoint), pool);
  junto::Sequence sequence;
  sequence.policy = junto::parse_routing_policy("top_k=2", "policy");
  const std::vector<std::int32_t> prompt = tokenizer.value().encode(arguments[2], true);
  junto::GenerateOptions options{.max_tokens = 8};
  options.sampler.temperature = 0;
  std::puts(junto::generate(decoder, &*tokenizer, sequence, prompt, options).text.c_str());
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}

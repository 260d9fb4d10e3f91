// How fast text becomes tokens, on one core:
//
//   tokenize TOKENIZER TEXT... [--repeat N]
//
// TOKENIZER is a tokenizer.json, a GGUF file or a Hugging Face directory, TEXT a file. Each text is encoded N times (5)
// from nothing, as any call of Tokenizer::encode is; printed are its size, its tokens and the megabytes (10^6 bytes) a
// second of the median, and of loading the time it took.
#include "cli/tokenize.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace junto {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int run(const std::vector<std::string>& arguments) {
  std::vector<std::string> files;
  int repeat = 5;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] != "--repeat") {
      files.push_back(arguments[i]);
      continue;
    }
    const std::string value = i + 1 < arguments.size() ? arguments[++i] : "";
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), repeat);
    if (error != std::errc() || end != value.data() + value.size() || repeat < 1)
      fail("--repeat", "is \"" + value + "\", expected a number of at least 1");
  }
  if (files.size() < 2) fail("tokenize", "expected TOKENIZER TEXT... [--repeat N]");
  const auto start = std::chrono::steady_clock::now();
  const Tokenizer tokenizer = open_tokenizer(files.front());
  std::printf("%s: loaded in %.3f s\n", files.front().c_str(), seconds_since(start));
  for (std::size_t i = 1; i < files.size(); ++i) {
    const std::string text = read_text_file(files[i], std::size_t{1} << 30);
    std::vector<double> seconds;
    std::size_t tokens = 0;
    for (int n = 0; n < repeat; ++n) {
      const auto before = std::chrono::steady_clock::now();
      tokens = tokenizer.encode(text, false).size();
      seconds.push_back(seconds_since(before));
    }
    std::nth_element(seconds.begin(), seconds.begin() + repeat / 2, seconds.end());
    std::printf("%s: %zu bytes, %zu tokens, %.2f MB/s\n", files[i].c_str(), text.size(), tokens,
                static_cast<double>(text.size()) / 1e6 / seconds[static_cast<std::size_t>(repeat) / 2]);
  }
  return 0;
}

}  // namespace
}  // namespace junto

int main(int argc, char** argv) {
  try {
    return junto::run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tokenize: %s\n", error.what());
    return 1;
  }
}

#include "compress/text_overlap.h"

#include <array>

namespace junto {
namespace {

constexpr std::size_t kWords = 8;

bool in_word(unsigned char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

// Calls take(hash) for every run of eight words: FNV-1a of each word, folded in order.
template <class Take>
void for_each_run(std::string_view text, const Take& take) {
  std::array<std::uint64_t, kWords> recent{};
  std::size_t words = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (!in_word(static_cast<unsigned char>(text[at]))) {
      ++at;
      continue;
    }
    std::uint64_t word = 1469598103934665603ull;
    for (; at < text.size() && in_word(static_cast<unsigned char>(text[at])); ++at) {
      const char c = text[at];
      word = (word ^ static_cast<unsigned char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c)) * 1099511628211ull;
    }
    recent[words++ % kWords] = word;
    if (words < kWords) continue;
    std::uint64_t run = 0;
    for (std::size_t i = 0; i < kWords; ++i) run = (run ^ recent[(words + i) % kWords]) * 0x9e3779b97f4a7c15ull;
    take(run);
  }
}

}  // namespace

void EightGrams::add(std::string_view text) {
  for_each_run(text, [&](std::uint64_t run) { hashes_.insert(run); });
}

std::int64_t EightGrams::shared_with(std::string_view text) const {
  std::int64_t shared = 0;
  for_each_run(text, [&](std::uint64_t run) { shared += hashes_.contains(run) ? 1 : 0; });
  return shared;
}

CleanText without_overlap(std::string_view text, const EightGrams& tests) {
  CleanText out;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t newline = text.find('\n', begin);
    const std::size_t end = newline == std::string_view::npos ? text.size() : newline + 1;
    const std::string_view paragraph = text.substr(begin, end - begin);
    begin = end;
    const bool blank = paragraph.find_first_not_of(" \t\r\n") == std::string_view::npos;
    if (!blank) ++out.paragraphs;
    if (!blank && tests.shared_with(paragraph) > 0) {
      ++out.dropped;
    } else {
      out.text += paragraph;
    }
  }
  out.shared = tests.shared_with(out.text);
  return out;
}

}  // namespace junto

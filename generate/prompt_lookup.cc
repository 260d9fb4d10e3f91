#include "generate/prompt_lookup.h"

#include <algorithm>

#include "model/sequence.h"

namespace junto {

// Of the `length` tokens before `end`.
std::uint64_t PromptLookup::key(std::size_t end, int length) const {
  std::uint64_t hash = 1469598103934665603ull;
  for (std::size_t i = end - static_cast<std::size_t>(length); i < end; ++i) {
    hash = (hash ^ static_cast<std::uint32_t>(tokens_[i])) * 1099511628211ull;
    hash ^= hash >> 29;
  }
  return hash;
}

void PromptLookup::read(std::span<const std::int32_t> tokens) {
  const bool goes_on = tokens.size() >= tokens_.size() && std::equal(tokens_.begin(), tokens_.end(), tokens.begin());
  if (!goes_on) {
    tokens_.clear();
    indexed_ = 0;
    for (auto& places : place_after_) places.clear();
  }
  tokens_.insert(tokens_.end(), tokens.begin() + static_cast<std::ptrdiff_t>(tokens_.size()), tokens.end());
  for (; indexed_ < tokens_.size(); ++indexed_) {
    for (std::size_t i = 0; i < kLengths.size(); ++i) {
      if (indexed_ >= static_cast<std::size_t>(kLengths[i])) place_after_[i][key(indexed_, kLengths[i])] = indexed_;
    }
  }
}

int PromptLookup::guess(int count, std::vector<std::int32_t>& out) const {
  out.clear();
  const std::size_t size = tokens_.size();
  for (std::size_t i = 0; count > 0 && i < kLengths.size(); ++i) {
    const auto length = static_cast<std::size_t>(kLengths[i]);
    if (size < length) continue;
    const auto found = place_after_[i].find(key(size, kLengths[i]));
    if (found == place_after_[i].end()) continue;
    const std::size_t at = found->second;
    const auto end = tokens_.end() - static_cast<std::ptrdiff_t>(length);
    const auto before = tokens_.begin() + static_cast<std::ptrdiff_t>(at - length);
    const bool same = std::equal(end, tokens_.end(), before);  // else two ends have one key
    if (!same || std::find(end, tokens_.end(), kNoToken) != tokens_.end()) continue;
    for (std::size_t k = 0; k < static_cast<std::size_t>(count); ++k) {
      const std::int32_t token = at + k < size ? tokens_[at + k] : out[at + k - size];
      if (token == kNoToken) break;
      out.push_back(token);
    }
    if (!out.empty()) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace junto

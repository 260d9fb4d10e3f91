#include "format/tokenizer/space_cuts.h"

#include <algorithm>

namespace junto::text {

void SpaceCuts::add_token(std::string_view token) {
  constexpr std::string_view space = "\u2581";
  for (std::size_t i = token.find(space, 1); i != std::string_view::npos; i = token.find(space, i + 1)) {
    std::size_t before = i - 1;
    while (before > 0 && (token[before] & 0xC0) == 0x80) --before;
    const char32_t c = decode_utf8(token.data() + before).c;
    if (c != kMetaspace) joined_.push_back(c);
  }
}

void SpaceCuts::enable() {
  std::sort(joined_.begin(), joined_.end());
  joined_.erase(std::unique(joined_.begin(), joined_.end()), joined_.end());
  enabled_ = true;
}

bool SpaceCuts::may_cut_after(char32_t c) const {
  return !std::binary_search(joined_.begin(), joined_.end(), c);
}

}  // namespace junto::text

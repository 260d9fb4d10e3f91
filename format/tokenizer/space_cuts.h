// Where a long piece of SentencePiece text may be cut without changing its tokens.
#pragma once

#include <string_view>
#include <vector>

#include "format/tokenizer/unicode.h"

namespace junto::text {

/// SentencePiece-style BPE takes a whole text as one piece. No merge crosses the place before "▁" (U+2581) where no
/// token has the character on its left followed by "▁": there the text is cut, so that its words can be kept in a cache
/// and long texts stay linear.
class SpaceCuts {
 public:
  /// Learns from one token that merging can make.
  void add_token(std::string_view token);
  /// To be called after the last token; until then nothing is cut.
  void enable();

  /// Calls use(part) for the parts of `piece` in order.
  template <class Use>
  void for_each(std::string_view piece, Use use) const {
    std::size_t begin = 0;
    if (enabled_) {
      char32_t previous = kMetaspace;
      for (std::size_t i = 0; i < piece.size();) {
        const Decoded at = decode_utf8(piece.data() + i);
        if (at.c == kMetaspace && previous != kMetaspace && may_cut_after(previous)) {
          use(piece.substr(begin, i - begin));
          begin = i;
        }
        previous = at.c;
        i += at.size;
      }
    }
    use(piece.substr(begin));
  }

 private:
  static constexpr char32_t kMetaspace = 0x2581;
  bool may_cut_after(char32_t c) const;
  bool enabled_ = false;
  std::vector<char32_t> joined_;  // sorted: characters that some token has before "▁"
};

}  // namespace junto::text

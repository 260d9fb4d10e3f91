#include "format/tokenizer/pre_tokenizer.h"

#include <algorithm>

#include "format/tokenizer/unicode.h"
#include "format/tokenizer/vocabulary.h"

namespace junto::text {

const std::string_view kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

using Piece = Pieces::Piece;

struct Part {
  Span span;
  bool match;
};

bool is_ascii_punctuation(char32_t c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

void find(const Regex& regex, std::string_view text, const Deadline& deadline, std::vector<Span>& matches) {
  regex.find_all(text, deadline, matches);
}

void find(const std::string& literal, std::string_view text, const Deadline&, std::vector<Span>& matches) {
  for (std::size_t i = 0; (i = text.find(literal, i)) != std::string_view::npos; i += literal.size()) {
    matches.push_back({i, i + literal.size()});
  }
}

void find(const AnyOf& any, std::string_view text, const Deadline&, std::vector<Span>& matches) {
  const CharTable& table = CharTable::get();
  for (std::size_t i = 0; i < text.size();) {
    const Decoded at = decode_utf8(text.data() + i);
    if ((table[at.c] & any.flags) != 0 || (any.ascii_punctuation && is_ascii_punctuation(at.c))) {
      matches.push_back({i, i + at.size});
    }
    i += at.size;
  }
}

// Matches and what lies between them, covering the text.
void cover(std::string_view text, const std::vector<Span>& matches, bool invert, std::vector<Part>& parts) {
  std::size_t from = 0;
  for (const Span& match : matches) {
    if (from != match.begin) parts.push_back({{from, match.begin}, invert});
    parts.push_back({match, !invert});
    from = match.end;
  }
  if (from != text.size()) parts.push_back({{from, text.size()}, invert});
}

// Joins parts by the rule of `behavior`; what is left over in `parts` are the pieces.
void join(SplitBehavior behavior, std::vector<Part>& parts) {
  std::vector<Part> joined;
  bool previous = false;
  const auto forward = [&](const Part& part, bool to_previous) {
    if (to_previous && !joined.empty())
      joined.back().span.end = part.span.end;
    else
      joined.push_back(part);
    previous = part.match;
  };
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return;
    case SplitBehavior::kRemoved:
      std::erase_if(parts, [](const Part& part) { return part.match; });
      return;
    case SplitBehavior::kContiguous:
      for (const Part& part : parts) forward(part, part.match == previous);
      break;
    case SplitBehavior::kMergedWithPrevious:
      for (const Part& part : parts) forward(part, part.match && !previous);
      break;
    case SplitBehavior::kMergedWithNext:
      for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        if (part->match && !previous && !joined.empty())
          joined.back().span.begin = part->span.begin;
        else
          joined.push_back(*part);
        previous = part->match;
      }
      std::reverse(joined.begin(), joined.end());
      break;
  }
  parts = std::move(joined);
}

// Cuts one piece; `scratch` vectors are kept between pieces.
struct Cutter {
  const Deadline& deadline;
  std::vector<Span> matches{};
  std::vector<Part> parts{};

  template <class Pattern>
  void cut(const Pattern& pattern, SplitBehavior behavior, bool invert, const Pieces& in, const Piece& piece,
           std::vector<Piece>& out) {
    const std::string_view text = in.view(piece);
    matches.clear();
    find(pattern, text, deadline, matches);
    const auto put = [&](const Span& span) {
      if (span.begin == span.end) return;
      out.push_back({piece.begin + span.begin, piece.begin + span.end, piece.at_start && span.begin == 0});
    };
    if (behavior == SplitBehavior::kIsolated) {  // joins nothing: the way of nearly all tokenizers
      std::size_t from = 0;
      for (const Span& match : matches) {
        put({from, match.begin});
        put(match);
        from = match.end;
      }
      put({from, text.size()});
      return;
    }
    parts.clear();
    cover(text, matches, invert, parts);
    join(behavior, parts);
    for (const Part& part : parts) put(part.span);
  }
};

void apply(const Split& split, const Deadline& deadline, Pieces& pieces) {
  std::vector<Piece> out;
  Cutter cutter{deadline};
  std::visit(
      [&](const auto& pattern) {
        for (const Piece& piece : pieces.pieces) cutter.cut(pattern, split.behavior, split.invert, pieces, piece, out);
      },
      split.pattern);
  pieces.pieces = std::move(out);
}

// Rewrites each piece's text.
template <class Rewrite>
void rewrite(Pieces& pieces, Rewrite rewritten) {
  std::string text;
  text.reserve(pieces.text.size() + pieces.pieces.size());
  for (Piece& piece : pieces.pieces) {
    const std::size_t begin = text.size();
    rewritten(text, pieces.view(piece), piece.at_start);
    piece = {begin, text.size(), piece.at_start};
  }
  pieces.text = std::move(text);
}

void apply(const ByteLevelSplit& step, const Deadline& deadline, Pieces& pieces) {
  if (step.add_prefix_space) {
    rewrite(pieces, [](std::string& out, std::string_view piece, bool) {
      if (!piece.starts_with(' ')) out += ' ';
      out += piece;
    });
  }
  if (step.regex) {
    std::vector<Piece> out;
    Cutter cutter{deadline};
    for (const Piece& piece : pieces.pieces) {
      cutter.cut(*step.regex, SplitBehavior::kIsolated, false, pieces, piece, out);
    }
    pieces.pieces = std::move(out);
  }
  if (step.spell) {
    rewrite(pieces, [](std::string& out, std::string_view piece, bool) {
      for (const char b : piece) out += ByteLevel::get().utf8_of[static_cast<unsigned char>(b)];
    });
  }
}

void apply(const Metaspace& step, const Deadline& deadline, Pieces& pieces) {
  rewrite(pieces, [&](std::string& out, std::string_view piece, bool at_start) {
    const bool prepend =
        step.prepend == Metaspace::Prepend::kAlways || (step.prepend == Metaspace::Prepend::kFirst && at_start);
    if (prepend && !piece.starts_with(' ') && !piece.starts_with(step.replacement)) out += step.replacement;
    for (const char c : piece) {
      if (c == ' ')
        out += step.replacement;
      else
        out += c;
    }
  });
  if (!step.split) return;
  std::vector<Piece> out;
  Cutter cutter{deadline};
  for (const Piece& piece : pieces.pieces) {
    cutter.cut(step.replacement, SplitBehavior::kMergedWithNext, false, pieces, piece, out);
  }
  pieces.pieces = std::move(out);
}

void apply(const FixedLength& step, const Deadline&, Pieces& pieces) {
  std::vector<Piece> out;
  for (const Piece& piece : pieces.pieces) {
    std::size_t begin = piece.begin, chars = 0;
    for (std::size_t i = piece.begin; i < piece.end;) {
      i += utf8_size(pieces.text[i]);
      if (++chars < step.chars && i < piece.end) continue;
      out.push_back({begin, i, piece.at_start && begin == piece.begin});
      begin = i, chars = 0;
    }
  }
  pieces.pieces = std::move(out);
}

}  // namespace

void pre_tokenize(const std::vector<PreTokenizerStep>& steps, const Deadline& deadline, Pieces& pieces) {
  std::erase_if(pieces.pieces, [](const Piece& piece) { return piece.begin == piece.end; });
  for (const PreTokenizerStep& step : steps) {
    std::visit([&](const auto& one) { apply(one, deadline, pieces); }, step);
  }
}

}  // namespace junto::text

#include "format/tokenizer/normalizer.h"

#include "base/error.h"
#include "format/tokenizer/vocabulary.h"

namespace junto::text {
namespace {

struct Limits {
  const Deadline& deadline;
  std::string_view where;
  std::size_t max_bytes;
  void check(std::size_t bytes) const {
    if (bytes > max_bytes) fail(where, "normalizer makes more than " + std::to_string(max_bytes) + " bytes of a text");
  }
};

// Appends to `out` what `put` makes of each character.
template <class Put>
std::string map_chars(std::string_view text, Put put) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const Decoded at = decode_utf8(text.data() + i);
    put(out, at.c);
    i += at.size;
  }
  return out;
}

std::string apply(NormalForm form, std::string text, const Limits&) {
  return normal_form(text, form);
}
std::string apply(LowerCase, std::string text, const Limits&) {
  return lower_case(text);
}
std::string apply(ByteLevelChars, std::string text, const Limits&) {
  return ByteLevel::get().encode(text);
}

std::string apply(const Strip& strip, std::string text, const Limits&) {
  std::size_t begin = 0, end = text.size();
  while (strip.left && begin < end) {
    const Decoded at = decode_utf8(text.data() + begin);
    if (!has_flag(at.c, kSpace)) break;
    begin += at.size;
  }
  while (strip.right && end > begin) {
    std::size_t last = end - 1;
    while ((text[last] & 0xC0) == 0x80) --last;
    if (!has_flag(decode_utf8(text.data() + last).c, kSpace)) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

std::string apply(StripAccents, std::string text, const Limits&) {
  return map_chars(text, [](std::string& out, char32_t c) {
    if (!has_flag(c, kMark)) append_utf8(out, c);
  });
}

std::string apply(Nmt, std::string text, const Limits&) {
  return map_chars(text, [](std::string& out, char32_t c) {
    const bool dropped =
        (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
    const bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                       c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    if (!dropped) append_utf8(out, space ? U' ' : c);
  });
}

std::string apply(CollapseSpaces, std::string text, const Limits&) {
  std::string out;
  for (const char c : text) {
    if (c != ' ' || (!out.empty() && out.back() != ' ')) out.push_back(c);
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::string apply(const Prepend& prepend, std::string text, const Limits&) {
  return text.empty() ? text : prepend.prefix + text;
}

std::string apply(const Replace& replace, std::string text, const Limits& limits) {
  if (text.empty()) return text;  // not even where the pattern matches nothing
  std::string out;
  std::size_t from = 0;
  bool any = false;
  const auto put = [&](std::size_t begin, std::size_t end) {
    any = true;
    out.append(text, from, begin - from);
    out += replace.content;
    from = end;
    limits.check(out.size());
  };
  if (replace.regex) {
    std::vector<Span> matches;
    replace.regex->find_all(text, limits.deadline, matches);
    for (const Span& match : matches) put(match.begin, match.end);
  } else {
    for (std::size_t i = 0; (i = text.find(replace.literal, i)) != std::string::npos; i += replace.literal.size()) {
      put(i, i + replace.literal.size());
    }
  }
  if (!any) return text;
  return out.append(text, from);
}

bool is_chinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

std::string apply(const BertClean& bert, std::string text, const Limits&) {
  if (bert.clean_text) {
    text = map_chars(text, [](std::string& out, char32_t c) {
      const bool space = c == '\t' || c == '\n' || c == '\r' || has_flag(c, kSpace);
      if (c == 0 || c == 0xFFFD || (!(c == '\t' || c == '\n' || c == '\r') && has_flag(c, kControl))) return;
      append_utf8(out, space ? U' ' : c);
    });
  }
  if (bert.chinese_chars) {
    text = map_chars(text, [](std::string& out, char32_t c) {
      if (is_chinese(c)) out += ' ';
      append_utf8(out, c);
      if (is_chinese(c)) out += ' ';
    });
  }
  if (bert.strip_accents) {
    text = map_chars(normal_form(text, NormalForm::kNfd), [](std::string& out, char32_t c) {
      if (!has_flag(c, kNonSpacing)) append_utf8(out, c);
    });
  }
  return bert.lowercase ? lower_case(text) : text;
}

std::string apply(const Charsmap& charsmap, std::string text, const Limits& limits) {
  return charsmap.apply(text, limits.max_bytes);
}

// Whether a step makes nothing of the first character of `text` (not empty).
template <class Step>
bool drops_first(const Step& step, const std::string& text, const Limits& limits) {
  if constexpr (std::is_same_v<Step, Replace>) {
    return !step.regex && step.content.empty() && text.starts_with(step.literal);
  } else {
    return apply(step, text.substr(0, utf8_size(text[0])), limits).empty();
  }
}

}  // namespace

std::string normalize(const std::vector<NormalizerStep>& steps, std::string text, const Deadline& deadline,
                      std::string_view where, bool* lost_start) {
  const Limits limits{deadline, where, text.size() * 64 + (std::size_t{1} << 20)};
  for (const NormalizerStep& step : steps) {
    if (lost_start != nullptr && !text.empty()) {
      *lost_start |= std::visit([&](const auto& one) { return drops_first(one, text, limits); }, step);
    }
    text = std::visit([&](const auto& one) { return apply(one, std::move(text), limits); }, step);
    limits.check(text.size());
  }
  return text;
}

}  // namespace junto::text

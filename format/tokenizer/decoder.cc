#include "format/tokenizer/decoder.h"

#include <algorithm>
#include <array>

#include "format/tokenizer/unicode.h"
#include "format/tokenizer/vocabulary.h"

namespace junto::text {
namespace {

using Tokens = std::vector<std::string>;

std::string joined(const Tokens& tokens, std::string_view between = "") {
  std::string out;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += between;
    out += tokens[i];
  }
  return out;
}

std::string replace_all(const std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return text;
  std::string out;
  std::size_t at = 0;
  for (std::size_t i; (i = text.find(from, at)) != std::string::npos; at = i + from.size()) {
    out.append(text, at, i - at);
    out += to;
  }
  return out.append(text, at);
}

// The byte of a token <0xHH>.
std::optional<char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<char>(value);
}

// English spacing, as transformers cleans it up.
std::string clean_up(std::string text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 11> rules{{{" .", "."},
                                                                                 {" ?", "?"},
                                                                                 {" !", "!"},
                                                                                 {" ,", ","},
                                                                                 {" ' ", "'"},
                                                                                 {" n't", "n't"},
                                                                                 {" 'm", "'m"},
                                                                                 {" do not", " don't"},
                                                                                 {" 's", "'s"},
                                                                                 {" 've", "'ve"},
                                                                                 {" 're", "'re"}}};
  for (const auto& [from, to] : rules) text = replace_all(text, from, to);
  return text;
}

std::string replaced(const DecodeReplace& step, const std::string& token) {
  if (!step.regex) return replace_all(token, step.literal, step.content);
  std::vector<Span> matches;
  step.regex->find_all(token, Deadline(token.size()), matches);
  std::string out;
  std::size_t from = 0;
  for (const Span& match : matches) {
    out.append(token, from, match.begin - from);
    out += step.content;
    from = match.end;
  }
  return out.append(token, from);
}

Tokens apply(const DecodeByteLevel&, Tokens tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += ByteLevel::get().decode(token).value_or(token);
  return {lossy_utf8(bytes)};
}

Tokens apply(const DecodeByteFallback&, Tokens tokens) {
  Tokens out;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) return;
    if (valid_utf8_prefix(run) == run.size())
      out.push_back(run);
    else
      out.insert(out.end(), run.size(), "\uFFFD");
    run.clear();
  };
  for (std::string& token : tokens) {
    if (const auto byte = fallback_byte(token)) {
      run += *byte;
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  return out;
}

Tokens apply(const DecodeFuse&, Tokens tokens) {
  return {joined(tokens)};
}

Tokens apply(const DecodeMetaspace& step, Tokens tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    // At the start every metaspace of the first token goes, not only the leading one (as in tokenizers).
    tokens[i] = replace_all(tokens[i], step.replacement, i == 0 && step.drop_first ? "" : " ");
  }
  return tokens;
}

Tokens apply(const DecodeReplace& step, Tokens tokens) {
  for (std::string& token : tokens) token = replaced(step, token);
  return tokens;
}

Tokens apply(const DecodeStrip& step, Tokens tokens) {
  for (std::string& token : tokens) {
    std::string_view left = token;
    for (std::size_t i = 0; i < step.start && left.starts_with(step.content); ++i)
      left.remove_prefix(step.content.size());
    for (std::size_t i = 0; i < step.stop && left.ends_with(step.content); ++i) left.remove_suffix(step.content.size());
    token = std::string(left);
  }
  return tokens;
}

Tokens apply(const DecodeWordPiece& step, Tokens tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) {
      if (tokens[i].starts_with(step.prefix))
        tokens[i].erase(0, step.prefix.size());
      else
        tokens[i].insert(tokens[i].begin(), ' ');
    }
    if (step.cleanup) tokens[i] = clean_up(std::move(tokens[i]));
  }
  return tokens;
}

Tokens apply(const DecodeBpe& step, Tokens tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = replace_all(tokens[i], step.suffix, i + 1 == tokens.size() ? "" : " ");
  }
  return tokens;
}

Tokens apply(const DecodeCtc& step, Tokens tokens) {
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  Tokens out;
  for (const std::string& token : tokens) {
    std::string text = replace_all(token, step.pad, "");
    if (step.cleanup) text = replace_all(clean_up(std::move(text)), step.delimiter, " ");
    if (!text.empty()) out.push_back(std::move(text));
  }
  return out;
}

// What a step makes of one token in the middle of a text, bytes unchecked.
std::string middle(const DecodeByteLevel&, std::string token) {
  return ByteLevel::get().decode(token).value_or(token);
}
std::string middle(const DecodeByteFallback&, std::string token) {
  const auto byte = fallback_byte(token);
  return byte ? std::string(1, *byte) : token;
}
std::string middle(const DecodeMetaspace& step, std::string token) {
  return replace_all(token, step.replacement, " ");
}
std::string middle(const DecodeReplace& step, std::string token) {
  return replaced(step, token);
}
std::string middle(const DecodeBpe& step, std::string token) {
  return replace_all(token, step.suffix, " ");
}
std::string middle(const DecodeWordPiece& step, std::string token) {
  return apply(step, Tokens{"", std::move(token)}).back();
}
std::string middle(const DecodeCtc& step, std::string token) {
  return joined(apply(step, Tokens{std::move(token)}));
}
std::string middle(const DecodeFuse&, std::string token) {
  return token;
}

}  // namespace

std::string decode_tokens(const std::vector<DecoderStep>& steps, std::vector<std::string> tokens) {
  if (steps.empty()) return joined(tokens, " ");
  for (const DecoderStep& step : steps) {
    tokens = std::visit([&](const auto& one) { return apply(one, std::move(tokens)); }, step);
  }
  return joined(tokens);
}

std::string decode_bytes(const std::vector<DecoderStep>& steps, std::string token) {
  if (steps.empty()) return token.insert(0, 1, ' ');
  bool fused = false;
  bool raw = false;  // bytes of a part of a character: no pattern can be run on them
  for (const DecoderStep& step : steps) {
    fused = fused || std::holds_alternative<DecodeFuse>(step);
    if (raw && std::holds_alternative<DecodeReplace>(step)) continue;
    std::visit(
        [&](const auto& one) {
          // Behind a Fuse, a Strip concerns the ends of the whole text.
          if constexpr (std::is_same_v<std::decay_t<decltype(one)>, DecodeStrip>) {
            if (!fused) token = apply(one, Tokens{std::move(token)}).front();
          } else {
            token = middle(one, std::move(token));
          }
        },
        step);
    raw = raw || valid_utf8_prefix(token) != token.size();
  }
  return token;
}

}  // namespace junto::text

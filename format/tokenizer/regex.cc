#include "format/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"
#include "format/tokenizer/regex_syntax.h"
#include "format/tokenizer/unicode.h"
#include "format/tokenizer/unicode_versions.h"

namespace junto::text {
namespace {

constexpr std::uint32_t kMatchLimit = 10'000'000;  // steps of one match: some tenths of a second
constexpr std::uint32_t kHeapLimitKib = 64 * 1024;
constexpr std::size_t kMaxPatternBytes = 64 * 1024;
constexpr int kMatchesPerDeadlineCheck = 64;

std::string message_of(int code) {
  unsigned char buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// \1, \k<name>: the match depends on which character it is, not only of what kind.
bool has_back_reference(std::string_view pattern) {
  for (std::size_t i = 0; i + 1 < pattern.size(); ++i) {
    if (pattern[i] != '\\') continue;
    const char c = pattern[++i];
    if ((c >= '1' && c <= '9') || c == 'k') return true;
  }
  return false;
}

}  // namespace

struct Regex::Compiled {
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  Compiled() = default;
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;
  ~Compiled() {
    pcre2_match_context_free(context);
    pcre2_code_free(code);
  }
};

Regex::Regex(std::string_view pattern, std::string_view where) : pattern_(pattern), where_(where) {
  if (pattern.size() > kMaxPatternBytes) {
    fail(where, "a pattern has " + std::to_string(pattern.size()) + " bytes, expected at most " +
                    std::to_string(kMaxPatternBytes));
  }
  std::string replaced;
  takes_stand_ins_ = !has_back_reference(pattern) &&
                     !(valid_utf8_prefix(pattern) == pattern.size() && with_stand_ins(pattern, replaced));
  const std::string translated = pcre2_from_oniguruma(pattern, where);
  auto compiled = std::make_shared<Compiled>();
  int error = 0;
  std::size_t offset = 0;
  compiled->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (compiled->code == nullptr) fail(where, "pattern " + printable(pattern, 60) + ": " + message_of(error));
  // Where a pattern cannot be compiled to machine code it is interpreted.
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);
  compiled->context = pcre2_match_context_create(nullptr);
  if (compiled->context == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(compiled->context, kMatchLimit);
  pcre2_set_heap_limit(compiled->context, kHeapLimitKib);
  compiled_ = std::move(compiled);
}

void Regex::find_all(std::string_view text, const Deadline& deadline, std::vector<Span>& matches) const {
  // PCRE2's classes end with Unicode 14. (A pattern that tells characters apart itself does without.)
  std::string replaced;
  if (takes_stand_ins_ && with_stand_ins(text, replaced)) text = replaced;
  // A default view's null pointer would be an error to PCRE2.
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.empty() ? "" : text.data());
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(pcre2_match_data_create(1, nullptr),
                                                                            pcre2_match_data_free);
  if (!data) throw std::bad_alloc();
  const std::size_t* found = pcre2_get_ovector_pointer(data.get());
  std::size_t from = 0;
  std::size_t last_end = static_cast<std::size_t>(-1);
  for (int n = 1; from <= text.size(); ++n) {
    if (n % kMatchesPerDeadlineCheck == 0 && deadline.passed()) {
      fail(where_, "pattern " + printable(pattern_, 60) + " takes too long on this text");
    }
    int status =
        pcre2_match(compiled_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, data.get(), compiled_->context);
    if (status == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its frames on the heap
      status = pcre2_match(compiled_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data.get(),
                           compiled_->context);
    }
    if (status == PCRE2_ERROR_NOMATCH) return;
    if (status < 0) fail(where_, "pattern " + printable(pattern_, 60) + " on this text: " + message_of(status));
    const Span match{found[0], found[1]};
    if (match.begin == match.end && match.end == last_end) {
      from = match.end < text.size() ? match.end + utf8_size(text[match.end]) : match.end + 1;
      continue;
    }
    matches.push_back(match);
    from = last_end = match.end;
  }
}

}  // namespace junto::text

// Published tokenizers write their patterns for Oniguruma (Ruby syntax); Junto matches with PCRE2.
#pragma once

#include <string>
#include <string_view>

namespace junto::text {

/// `pattern` rewritten so that PCRE2 (UTF, UCP, MULTILINE) matches what Oniguruma does: \s \w \b \d \h \v, \uHHHH,
/// script and POSIX property names, nested classes and && in classes, {,n}, {n,m}+ (a repeated interval, not a
/// possessive one), {n}? and (?m) (dot matches newline). Throws Error "`where`: ..." for what cannot be said in PCRE2.
std::string pcre2_from_oniguruma(std::string_view pattern, std::string_view where);

}  // namespace junto::text

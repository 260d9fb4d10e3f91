#include "base/progress.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

namespace junto {
namespace {

std::atomic<ProgressStyle> default_style{ProgressStyle::kAuto};

ProgressStyle resolve(ProgressStyle style, std::FILE* out) {
  if (style == ProgressStyle::kAuto) style = default_style;
  if (style != ProgressStyle::kAuto) return style;
  return isatty(fileno(out)) ? ProgressStyle::kLine : ProgressStyle::kPlain;
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void set_default_progress_style(ProgressStyle style) {
  default_style = style;
}

std::string format_quantity(double value, std::string_view unit) {
  static constexpr const char* kPrefixes[] = {"", "k", "M", "G", "T", "P"};
  std::size_t prefix = 0;
  while (value >= 999.5 && prefix + 1 < std::size(kPrefixes)) value /= 1000, ++prefix;
  const bool whole = prefix == 0 && std::abs(value - std::round(value)) < 1e-6;
  const int decimals = whole || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  char number[32];
  std::snprintf(number, sizeof number, "%.*f", decimals, value);
  const bool joined = unit == "B";  // 1.53 MB, but 1.53k tokens
  return std::string(number) + (joined ? " " : "") + kPrefixes[prefix] + (joined || unit.empty() ? "" : " ") +
         std::string(unit);
}

std::string format_duration(double seconds) {
  const auto s = static_cast<long long>(std::min(std::max(seconds, 0.0), 1e12) + 0.5);
  char text[48];
  if (s < 3600) {
    std::snprintf(text, sizeof text, "%lld:%02lld", s / 60, s % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
  }
  return text;
}

std::string format_progress(std::string_view label, std::uint64_t done, std::uint64_t total, std::string_view unit,
                            double elapsed_s) {
  std::string line(label);
  const auto units = static_cast<double>(done);
  const auto all = static_cast<double>(total);
  if (total > 0) {
    // Rounded down: 100 % means that nothing is left.
    line += "  " + std::to_string(static_cast<int>(std::min(units / all, 1.0) * 100)) + " %";
    line += "  " + format_quantity(units, unit == "B" ? unit : "") + " of " + format_quantity(all, unit);
  } else {
    line += "  " + format_quantity(units, unit);
  }
  if (done == 0 || elapsed_s <= 0) return line;
  const double rate = units / elapsed_s;
  line += "  " + format_quantity(rate, unit) + "/s";
  if (total > done) line += "  " + format_duration((all - units) / rate) + " left";
  return line;
}

Progress::Progress(std::string label, std::uint64_t total, std::string unit, ProgressStyle style)
    : Progress(std::move(label), total, std::move(unit), style, stderr, steady_seconds) {}

Progress::Progress(std::string label, std::uint64_t total, std::string unit, ProgressStyle style, std::FILE* out,
                   std::function<double()> clock)
    : label_(std::move(label)),
      total_(total),
      unit_(std::move(unit)),
      style_(resolve(style, out)),
      out_(out),
      clock_(std::move(clock)),
      interval_s_(style_ == ProgressStyle::kLine ? 0.1 : 5.0),
      start_s_(clock_()),
      next_s_(start_s_ + interval_s_) {}

Progress::~Progress() {
  if (!printed_) return;
  print(clock_());
  if (style_ == ProgressStyle::kLine) std::fputc('\n', out_);
}

void Progress::advance(std::uint64_t units) {
  done_ += units;
  if (style_ == ProgressStyle::kSilent) return;
  const double now_s = clock_();
  if (now_s < next_s_) return;
  // Whoever comes while another thread prints has no need to.
  const std::unique_lock lock(printing_, std::try_to_lock);
  if (!lock || now_s < next_s_) return;
  next_s_ = now_s + interval_s_;
  printed_ = true;
  print(now_s);
}

void Progress::print(double now_s) {
  const std::string text = format_progress(label_, done_, total_, unit_, now_s - start_s_);
  std::fprintf(out_, style_ == ProgressStyle::kLine ? "\r%s\x1b[K" : "%s\n", text.c_str());
  std::fflush(out_);
}

}  // namespace junto

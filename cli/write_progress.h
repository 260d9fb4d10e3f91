// Progress of a file that is being written, as a line on stderr.
#pragma once

#include <optional>
#include <string>

#include "base/progress.h"
#include "format/named_tensors.h"

namespace junto {

/// Joins a writer's callback, which tells how far it is, to a Progress, which is told of steps.
class WriteProgressLine {
 public:
  explicit WriteProgressLine(std::string label) : label_(std::move(label)) {}

  /// Points to this object.
  WriteProgress callback() {
    return [this](std::uint64_t done_bytes, std::uint64_t total_bytes) {
      if (!progress_) progress_.emplace(label_, total_bytes, "B");
      progress_->advance(done_bytes - done_bytes_);
      done_bytes_ = done_bytes;
    };
  }
  /// Ends the line, before something else is printed.
  void finish() { progress_.reset(); }

 private:
  std::string label_;
  std::uint64_t done_bytes_ = 0;
  std::optional<Progress> progress_;
};

}  // namespace junto

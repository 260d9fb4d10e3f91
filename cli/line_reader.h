// Lines from standard input, by hand: a signal must end the waiting, which iostreams do not offer.
#pragma once

#include <string>

namespace junto {

class LineReader {
 public:
  explicit LineReader(int fd) : fd_(fd) {}

  enum class Result { kLine, kEnd, kInterrupted };

  /// Reads up to the next line break, which is not part of `line`; a last line without one counts. kInterrupted where a
  /// signal came while waiting; what was typed of the line is forgotten then.
  Result next(std::string& line);

 private:
  int fd_;
  std::string pending_;
  bool ended_ = false;
};

}  // namespace junto

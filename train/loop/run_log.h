// What a run writes while it goes on: log.jsonl, and events for TensorBoard.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "base/json.h"
#include "train/loop/event_file.h"
#include "train/loop/trainer.h"

namespace junto {

/// log.jsonl has a line for each logged step and each evaluation, flushed; events.out.tfevents.1.junto the same as
/// scalars and the load of each layer's experts as histograms. What a run logged after the checkpoint from which it
/// goes on is dropped from both.
class RunLog {
 public:
  /// Goes on after `step`. Throws Error where the folder cannot be written.
  RunLog(const std::string& folder, std::int64_t step, bool tensorboard);
  void add_step(const StepReport& report, const Trainer& trainer, double tokens_per_s);
  void add_validation(std::int64_t step, double loss);

 private:
  void add(const Json& entry);
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
  std::optional<EventFile> events_;
};

}  // namespace junto

#include "train/loop/run_log.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxLogBytes = std::size_t{1} << 31;

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Json entry_of(const StepReport& report, const Trainer& trainer, double tokens_per_s) {
  const LossOptions& losses = trainer.recipe().losses;
  const Ledger& ledger = trainer.ledger();
  Json entry = {{"step", report.step},
                {"loss", report.loss},
                {"learning_rate", report.learning_rate},
                {"gradient_norm", report.gradient_norm},
                {"tokens", ledger.tokens},
                {"flops", ledger.flops},
                {"bytes", ledger.bytes},
                {"work", to_json(ledger.work)},
                {"step_work", to_json(report.work)},
                {"tokens_per_s", tokens_per_s}};
  if (losses.balance != 0.0f) entry["balance"] = report.balance;
  if (losses.sequence_balance != 0.0f) entry["sequence_balance"] = report.sequence_balance;
  if (losses.z != 0.0f) entry["z"] = report.z;
  if (losses.entropy != 0.0f) entry["entropy"] = report.entropy;
  if (losses.importance != 0.0f) entry["importance"] = report.importance;
  if (losses.load != 0.0f) entry["load"] = report.smooth_load;
  if (losses.orthogonality != 0.0f) entry["orthogonality"] = report.orthogonality;
  if (report.adapter_experts > 0.0) {
    entry["adapter_experts"] = report.adapter_experts;
    entry["adapter_all_experts"] = report.adapter_all;
  }
  if (ledger.expert_rows > 0) {
    entry["expert_rows"] = ledger.expert_rows;
    entry["busiest_expert"] = report.busiest;
    entry["idle_experts"] = report.idle;
  }
  return entry;
}

}  // namespace

RunLog::RunLog(const std::string& folder, std::int64_t step, bool tensorboard) {
  const std::string path = folder + "/log.jsonl";
  if (fs::exists(path)) {
    std::istringstream lines(read_text_file(path, kMaxLogBytes));
    std::string kept;
    for (std::string line; std::getline(lines, line);) {
      const Json entry = Json::parse(line, nullptr, false);
      if (entry.is_object() && entry.value("step", step + 1) <= step) kept += line + "\n";
    }
    AtomicFile file(path);
    file.write(kept);
    file.commit();
  }
  file_.reset(std::fopen(path.c_str(), "a"));
  if (file_ == nullptr) fail(path, std::string("cannot be written: ") + std::strerror(errno));
  if (tensorboard) events_.emplace(folder + "/events.out.tfevents.1.junto", step);
}

void RunLog::add(const Json& entry) {
  std::fprintf(file_.get(), "%s\n", entry.dump().c_str());
  std::fflush(file_.get());
}

void RunLog::add_step(const StepReport& report, const Trainer& trainer, double tokens_per_s) {
  const Json entry = entry_of(report, trainer, tokens_per_s);
  add(entry);
  if (!events_) return;
  std::vector<std::pair<std::string_view, double>> values;
  for (const auto& [key, value] : entry.items()) {
    if (value.is_number() && key != "step") values.emplace_back(key, value.get<double>());
  }
  const double now = wall_time();
  events_->add_scalars(report.step, now, values);
  for (std::size_t layer = 0; layer < report.load.size(); ++layer) {
    events_->add_histogram(report.step, now, "expert_load/layer" + std::to_string(layer), {report.load[layer]});
  }
}

void RunLog::add_validation(std::int64_t step, double loss) {
  add({{"step", step}, {"validation_loss", loss}});
  if (events_)
    events_->add_scalars(step, wall_time(),
                         std::vector<std::pair<std::string_view, double>>{{"validation_loss", loss}});
}

}  // namespace junto

#include "train/reproduce/arm_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <numbers>

#include "base/error.h"
#include "base/file.h"
#include "train/reproduce/measure_devices.h"

namespace junto {
namespace {

constexpr std::size_t kTokensKept = 2048;  // of each domain
constexpr std::size_t kMaxNotesBytes = std::size_t{1} << 28;

/// Bits a byte of `nats` a token.
double bits(double nats, const DomainText& text) {
  return nats / std::numbers::ln2 / text.bytes_per_token;
}

std::int64_t routed_layers(const LanguageModelShape& shape) {
  return shape.routed_count();
}

/// Of a ledger's rows or, with `before`, of those since.
double experts_per_token_of(const Ledger& now, const Ledger& before, std::int64_t layers) {
  const double units = static_cast<double>(now.tokens - before.tokens) * static_cast<double>(layers);
  return units > 0.0 ? static_cast<double>(now.expert_rows - before.expert_rows) / units : 0.0;
}

Json point_of(const StepReport& report, const Trainer& trainer, const Ledger& before) {
  return {{"step", report.step},
          {"loss", report.loss},
          {"tokens", trainer.ledger().tokens},
          {"flops", trainer.ledger().flops},
          {"gradient_norm", report.gradient_norm},
          {"max_violation", report.busiest > 0.0 ? report.busiest - 1.0 : 0.0},
          {"idle_experts", report.idle},
          {"experts_per_token",
           trainer.recipe().model.adapters_route()
               ? report.adapter_experts
               : experts_per_token_of(trainer.ledger(), before, routed_layers(trainer.recipe().model))}};
}

/// `before`: what was measured last, which this replaces.
Json tune_point(const Trainer& trainer, const Experiment& experiment, const std::vector<DomainText>& texts,
                Measured& before) {
  const BatchOptions& batch = trainer.recipe().batch;
  const auto domains = static_cast<double>(texts.size());
  double loss = 0.0, bits_per_byte = 0.0;
  Measured all;
  for (const DomainText& text : texts) {
    const Measured found = measure(trainer.model(), text.tune, experiment.tune_spans, batch.sequences, batch.length);
    loss += found.loss / domains;
    bits_per_byte += bits(found.loss, text) / domains;
    add(all, found);
  }
  const Json point = {{"step", trainer.step()},
                      {"flops", trainer.ledger().flops},
                      {"loss", loss},
                      {"bits_per_byte", bits_per_byte},
                      {"churn", churn(before, all)},
                      {"expert_cosine", expert_cosine(trainer.model())}};
  before = std::move(all);
  return point;
}

/// Slots of experts of a kind, as a share of all.
double share_of_kind(const Measured& measured, const LanguageModelShape& shape, ExpertKind kind) {
  double of_kind = 0.0, all = 0.0;
  for (const std::vector<double>& load : measured.load) {
    for (std::size_t e = 0; e < load.size(); ++e) {
      all += load[e];
      if (shape.kind_of(static_cast<int>(e)) == kind) of_kind += load[e];
    }
  }
  return all > 0.0 ? of_kind / all : 0.0;
}

/// What routing did on the text to test.
void add_routing(const Measured& all, const LanguageModelShape& shape, Json& row) {
  Json& metrics = row["metrics"];
  metrics["max_violation"] = max_violation(all);
  metrics["idle_experts"] = idle_experts(all);
  double experts = 0.0;
  row["layers"] = Json::array();
  for (std::size_t routing = 0; routing < all.load.size(); ++routing) {
    const double of_routing = experts_per_token(all, routing);
    experts += of_routing / static_cast<double>(all.load.size());
    row["layers"].push_back({{"experts_per_token", of_routing}, {"load", all.load[routing]}});
  }
  metrics["experts_per_token"] = experts;
  metrics["rows_per_token"] =
      shape.adapters_route() ? experts : rows_per_token(all, shape.weighted_experts(), routed_layers(shape));
  if (shape.free_experts() > 0) {
    metrics["weighted_max_violation"] = max_violation(of_experts(all, shape.weighted_experts()));
    metrics["share.constant"] = share_of_kind(all, shape, ExpertKind::kConstant);
    metrics["share.copy"] = share_of_kind(all, shape, ExpertKind::kCopy);
    metrics["share.zero"] = share_of_kind(all, shape, ExpertKind::kZero);
  }
  if (shape.rounds.count > 1) {
    metrics["round_repeats"] = round_repeats(all);
    metrics["round_asymmetry"] = round_asymmetry(all);
  }
}

/// The text to test, read here and nowhere else. Domains count alike, whatever their number of tokens.
void read_test(const Trainer& trainer, const Experiment& experiment, const std::vector<DomainText>& texts, Json& row) {
  const BatchOptions& batch = trainer.recipe().batch;
  Json& metrics = row["metrics"];
  Measured all;
  const auto domains = static_cast<double>(texts.size());
  double bits_per_byte = 0.0, corrupted = 0.0;
  std::vector<double> token_loss, token_experts;
  for (const DomainText& text : texts) {
    const auto read = [&](const Corruption& corruption) {
      return measure(trainer.model(), text.test, experiment.test_spans, batch.sequences, batch.length, corruption);
    };
    const Measured found = read({});
    metrics["bits_per_byte." + text.domain] = bits(found.loss, text);
    bits_per_byte += bits(found.loss, text) / domains;
    if (experiment.corruption.share > 0.0) corrupted += bits(read(experiment.corruption).loss, text) / domains;
    double experts = 0.0;
    for (std::size_t routing = 0; routing < found.load.size(); ++routing) experts += experts_per_token(found, routing);
    if (!found.load.empty())
      metrics["experts_per_token." + text.domain] = experts / static_cast<double>(found.load.size());
    const std::size_t kept = std::min(kTokensKept, found.token_loss.size());
    token_loss.insert(token_loss.end(), found.token_loss.begin(), found.token_loss.begin() + kept);
    token_experts.insert(token_experts.end(), found.token_experts.begin(), found.token_experts.begin() + kept);
    add(all, found);
  }
  metrics["bits_per_byte"] = bits_per_byte;
  if (experiment.corruption.share > 0.0) {
    metrics["corrupted_bits_per_byte"] = corrupted;
    metrics["corruption_bits"] = corrupted - bits_per_byte;
  }
  row["test_tokens"] = all.tokens;
  row["token_loss"] = std::move(token_loss);
  row["token_experts"] = std::move(token_experts);
  if (!all.load.empty()) add_routing(all, trainer.model().shape(), row);
}

double seconds_since(std::chrono::steady_clock::time_point then) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - then).count();
}

/// Adds its life to a sum.
class WallTime {
 public:
  explicit WallTime(double& sum) : sum_(sum) {}
  ~WallTime() { sum_ += seconds_since(begin_); }
  WallTime(const WallTime&) = delete;
  WallTime& operator=(const WallTime&) = delete;

 private:
  double& sum_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

std::string notes_path(const std::string& path) {
  return path + ".json";
}

}  // namespace

ArmRun::ArmRun(const Experiment& experiment, const Run& run, const std::vector<DomainText>& texts,
               const std::string& folder)
    : experiment_(experiment),
      texts_(texts),
      run_(run),
      trainer_(parse_recipe(recipe_of(experiment, run, texts, folder), experiment.slug + "/" + run.arm)) {}

void ArmRun::step() {
  const WallTime time(wall_seconds_);
  const StepReport report = trainer_.train_step();
  seconds_ += report.seconds;
  expert_seconds_ += report.expert_seconds;
  positions_.push_back(trainer_.position());
  busiest_.push_back(report.busiest);
  if (counts_devices()) {
    const auto experts = static_cast<std::size_t>(trainer_.model().shape().weighted_experts());
    const Placement placement = placement_in_stretches(static_cast<int>(experts), experiment_.devices);
    for (const std::vector<double>& load : report.load)
      device_rows_ += device_rows(std::span(load).first(experts), placement);
  }
  if (report.step % experiment_.log_every == 0 || trainer_.done()) {
    append_point(curve_, point_of(report, trainer_, since_));
    since_ = trainer_.ledger();
  }
  if (report.step % experiment_.evaluate_every == 0 || trainer_.done()) {
    append_point(tune_, tune_point(trainer_, experiment_, texts_, before_));
  }
}

bool ArmRun::counts_devices() const {
  const LanguageModelShape& shape = trainer_.model().shape();
  return experiment_.devices > 0 && routed_layers(shape) > 0 && shape.weighted_experts() >= experiment_.devices;
}

void ArmRun::add_devices(Json& metrics) const {
  if (!counts_devices()) return;
  const std::int64_t layers = routed_layers(trainer_.recipe().model);
  const double units = static_cast<double>(trainer_.ledger().tokens) * static_cast<double>(layers);
  metrics["training_device_rows"] = device_rows_.slowest * experiment_.devices / units;
  metrics["training_device_wait"] = device_rows_.waiting();
  if (run_.tuning) return;
  const BatchOptions& batch = trainer_.recipe().batch;
  SequenceRows rows;
  for (const DomainText& text : texts_)
    add_sequence_rows(trainer_.model(), text.test, experiment_.test_spans, batch.sequences, batch.length, rows);
  metrics.update(measure_devices(rows, batch.sequences, experiment_.devices, layers));
}

double ArmRun::late_violation() const {
  double sum = 0.0;
  std::int64_t steps = 0;
  for (std::size_t i = 0; i < positions_.size(); ++i) {
    if (share_done(trainer_.recipe().schedule, positions_[i]) > 0.75) sum += busiest_[i] - 1.0, ++steps;
  }
  return sum / static_cast<double>(std::max<std::int64_t>(1, steps));
}

double ArmRun::late_churn() const {
  double sum = 0.0;
  std::int64_t points = 0;
  for (std::size_t i = 0; i < tune_.at("step").size(); ++i) {
    const RunPosition position{.step = tune_["step"][i], .flops = tune_["flops"][i]};
    if (share_done(trainer_.recipe().schedule, position) > 2.0 / 3.0) sum += tune_["churn"][i].get<double>(), ++points;
  }
  return sum / static_cast<double>(std::max<std::int64_t>(1, points));
}

Json ArmRun::finish() {
  const auto begin = std::chrono::steady_clock::now();
  const std::int64_t layers = routed_layers(trainer_.recipe().model);
  const Ledger& ledger = trainer_.ledger();
  Json row = {{"arm", run_.arm},
              {"seed", run_.seed},
              {"tuning", run_.tuning},
              {"learning_rate",
               run_.learning_rate > 0.0 ? Json(run_.learning_rate) : Json(trainer_.recipe().optimizer.learning_rate)},
              {"curve", curve_},
              {"tune", tune_},
              {"parameters", trainer_.model().parameters().count()},  // at the end: experts may grow
              {"tokens", ledger.tokens},
              {"flops", ledger.flops},
              {"own_flops", ledger.flops - flops_of_trunk_},
              {"work", to_json(ledger.work)},
              {"expert_rows", ledger.expert_rows},
              {"step_seconds", seconds_ / static_cast<double>(trainer_.step())},
              {"expert_step_seconds", expert_seconds_ / static_cast<double>(trainer_.step())}};
  row["metrics"] = {{"flops", ledger.flops}, {"tune_bits_per_byte", tune_["bits_per_byte"].back()}};
  if (layers > 0) {
    Json& metrics = row["metrics"];
    const Json& visited = curve_["experts_per_token"];
    metrics["expert_rows"] = ledger.expert_rows;
    metrics["training_experts_per_token"] = experts_per_token_of(ledger, {}, layers);
    metrics["first_experts_per_token"] = visited.front();
    metrics["last_experts_per_token"] = visited.back();
    metrics["fall_of_experts_per_token"] = visited.front().get<double>() - visited.back().get<double>();
    metrics["most_experts_per_token"] = *std::max_element(visited.begin(), visited.end());
    metrics["late_churn"] = late_churn();
    metrics["expert_cosine"] = tune_["expert_cosine"].back();
    metrics["batch_max_violation"] = late_violation();
  }
  if (!run_.tuning) read_test(trainer_, experiment_, texts_, row);
  add_devices(row["metrics"]);
  row["seconds"] = wall_seconds_ + seconds_since(begin);
  return row;
}

// The notes first: where the checkpoint is, they are too.
void ArmRun::save(const std::string& path) const {
  Json notes = {{"step", trainer_.step()},
                {"curve", curve_},
                {"tune", tune_},
                {"since", to_json(since_)},
                {"best", before_.best},
                {"busiest", busiest_},
                {"flops", Json::array()},
                {"seconds", seconds_},
                {"expert_seconds", expert_seconds_},
                {"devices", {device_rows_.slowest, device_rows_.mean}}};
  for (const RunPosition& position : positions_) notes["flops"].push_back(position.flops);
  AtomicFile file(notes_path(path));
  file.write(notes.dump() + "\n");
  file.commit();
  trainer_.save(path);
}

void ArmRun::resume(const std::string& path) {
  trainer_.load(path);
  read_notes(path);
}

void ArmRun::branch_from(const std::string& path) {
  trainer_.branch_from(path);
  read_notes(path);
  flops_of_trunk_ = trainer_.ledger().flops;
}

void ArmRun::read_notes(const std::string& path) {
  const std::string notes_file = notes_path(path);
  const Json notes = parse_json(read_text_file(notes_file, kMaxNotesBytes), notes_file);
  try {
    curve_ = notes.at("curve");
    tune_ = notes.at("tune");
    since_ = ledger_from(notes.at("since"));
    before_.best = notes.at("best").get<std::vector<std::vector<std::int32_t>>>();
    busiest_ = notes.at("busiest").get<std::vector<double>>();
    seconds_ = notes.at("seconds").get<double>();
    expert_seconds_ = notes.at("expert_seconds").get<double>();
    device_rows_ = {notes.at("devices").at(0).get<double>(), notes.at("devices").at(1).get<double>()};
    const auto flops = notes.at("flops").get<std::vector<double>>();
    positions_.clear();
    for (const double spent : flops) positions_.push_back({static_cast<std::int64_t>(positions_.size()) + 1, spent});
    if (notes.at("step") != trainer_.step() || positions_.size() != busiest_.size()) fail(notes_file, "");
  } catch (const std::exception&) {
    fail(notes_file, "is no record of the run whose checkpoint is " + path);
  }
}

void forget_saved(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  std::filesystem::remove(notes_path(path), ignored);
}

}  // namespace junto

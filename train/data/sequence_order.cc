#include "train/data/sequence_order.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "base/error.h"
#include "moe/json_fields.h"

namespace junto {
namespace {

constexpr std::int64_t kMostSequences = 1 << 24;

std::vector<double> several_of_sequences(const PassStatistics& statistics) {
  std::vector<double> sums;
  for (std::int64_t s = 0; s < statistics.sequences; ++s) {
    const std::span<const float> counts = statistics.of(s);
    sums.push_back(std::accumulate(counts.begin(), counts.end(), 0.0));
  }
  return sums;
}

std::vector<std::int64_t> numbers_below(std::int64_t count) {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

double cosine_of(std::span<const float> a, std::span<const float> b) {
  double product = 0.0, a_squares = 0.0, b_squares = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    product += static_cast<double>(a[i]) * b[i];
    a_squares += static_cast<double>(a[i]) * a[i];
    b_squares += static_cast<double>(b[i]) * b[i];
  }
  return product / std::sqrt(a_squares * b_squares);
}

}  // namespace

// Fisher and Yates.
std::vector<std::int64_t> shuffled_numbers(std::int64_t count, Random random) {
  std::vector<std::int64_t> numbers = numbers_below(count);
  for (std::size_t left = numbers.size(); left > 1; --left)
    std::swap(numbers[left - 1], numbers[static_cast<std::size_t>(random.next() % left)]);
  return numbers;
}

std::vector<std::int64_t> order_by_experts(const PassStatistics& statistics) {
  const std::vector<double> several = several_of_sequences(statistics);
  std::vector<std::int64_t> order = numbers_below(statistics.sequences);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return several[static_cast<std::size_t>(a)] < several[static_cast<std::size_t>(b)];
  });
  return order;
}

std::vector<std::int64_t> order_by_similar_routing(const PassStatistics& statistics) {
  std::vector<std::int64_t> order = order_by_experts(statistics);
  if (order.empty()) return order;
  const std::span<const float> reference = statistics.of(order.front());
  if (std::all_of(reference.begin(), reference.end(), [](float count) { return count == 0.0f; })) return order;
  std::vector<double> cosine;  // no sequence has fewer such tokens than the reference, so none has none
  for (std::int64_t s = 0; s < statistics.sequences; ++s) cosine.push_back(cosine_of(statistics.of(s), reference));
  std::stable_sort(order.begin() + 1, order.end(), [&](std::int64_t a, std::int64_t b) {
    return cosine[static_cast<std::size_t>(a)] > cosine[static_cast<std::size_t>(b)];
  });
  return order;
}

SequencePasses::SequencePasses(const SequenceOrder& order, std::int64_t batch, std::int64_t spans,
                               std::int64_t routings, std::uint64_t seed)
    : rule_(order), batch_(batch), routings_(routings), seed_(seed) {
  if (!order.has_passes()) return;
  const std::int64_t most = std::min(spans, kMostSequences) / batch * batch;
  if (most == 0 || order.pass_sequences > most) {
    fail("recipe", "batch.order.pass_sequences is " + std::to_string(std::max(order.pass_sequences, batch)) +
                       ", expected at most " + std::to_string(most) +
                       ", the sequences of batch.length that the text to train on has in whole batches");
  }
  sequences_ = order.pass_sequences > 0 ? order.pass_sequences : most;
  spans_ = shuffled_numbers(spans, Random(seed));  // where a pass is not all of the text: which sequences it has
  spans_.resize(static_cast<std::size_t>(sequences_));
  order_ = at::zeros({sequences_}, at::kFloat);
  several_ = at::zeros({sequences_, routings_}, at::kFloat);
}

void SequencePasses::begin_pass(std::int64_t pass) {
  const PassStatistics noted = {
      sequences_, routings_, {several_.data_ptr<float>(), static_cast<std::size_t>(several_.numel())}};
  std::vector<std::int64_t> numbers;
  if (pass > 0 && rule_.kind == SequenceOrder::Kind::kSimilarRouting) {
    numbers = order_by_similar_routing(noted);
  } else if (pass > 0 && rule_.kind == SequenceOrder::Kind::kFewestExperts) {
    numbers = order_by_experts(noted);
  } else {
    numbers = shuffled_numbers(sequences_, Random(seed_ ^ Random(static_cast<std::uint64_t>(pass) + 1).next()));
  }
  std::copy(numbers.begin(), numbers.end(), order_.data_ptr<float>());
  pass_ = pass;
}

std::vector<std::int64_t> SequencePasses::spans_of_step(std::int64_t step) {
  const std::int64_t pass = step / steps_of_pass(), first = step % steps_of_pass() * batch_;
  if (pass != pass_) begin_pass(pass);
  const float* order = order_.data_ptr<float>();
  std::vector<std::int64_t> out;
  for (std::int64_t i = first; i < first + batch_; ++i) out.push_back(spans_[static_cast<std::size_t>(order[i])]);
  return out;
}

void SequencePasses::note(std::int64_t step, const at::Tensor& several) {
  const at::Tensor numbers = order_.narrow(0, step % steps_of_pass() * batch_, batch_).to(at::kLong);
  several_.index_copy_(0, numbers, several);
}

std::vector<std::pair<std::string, at::Tensor>> SequencePasses::state() const {
  if (!rule_.asks_statistics()) return {};
  return {{"data.order", order_}, {"data.several", several_}};
}

// A pass that is over has left statistics, and no order yet for the next one.
void SequencePasses::go_on(std::int64_t step) {
  pass_ = step > 0 && rule_.asks_statistics() ? (step - 1) / steps_of_pass() : -1;
}

SequenceOrder parse_sequence_order(const Json& json, std::int64_t batch, std::string_view where) {
  constexpr std::array<std::string_view, 4> kKinds = {"drawn", "shuffled", "similar_routing", "fewest_experts"};
  JsonFields fields(json, where, "batch: order");
  SequenceOrder order;
  fields.read("kind", kKinds, order.kind,
              "drawn: sequences begin anywhere; the others make passes over the same sequences: shuffled, or from the "
              "second pass on by how many tokens of each had several experts");
  const auto pass = fields.integer("pass_sequences", 1, kMostSequences,
                                   "Of a pass, a multiple of sequences; without: all that the text has");
  if (!fields.finish()) return order;
  order.pass_sequences = pass.value_or(0);
  if (pass && !order.has_passes()) fields.fail_at("pass_sequences", "set, expected nothing with kind drawn");
  if (order.pass_sequences % batch != 0) {
    fields.fail_at("pass_sequences", std::to_string(order.pass_sequences) + ", expected a multiple of " +
                                         std::to_string(batch) + " (batch.sequences)");
  }
  return order;
}

}  // namespace junto

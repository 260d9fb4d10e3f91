// How fast tokens are decoded, by several models or routing policies in turn, so that what happens to the machine
// happens to all of them:
//
//   decode_steps [--context N] [--turns N] [--tokens N] [--threads N] [--json] MODEL[@POLICY][*SEQUENCES] ...
//
//   decode_steps smollm2 smollm2-moe.gguf@top_k=8 smollm2-moe.gguf@top_k=8*4
//
// A turn feeds `tokens` random ids to each contender, one at a time after `context` others (to each of its sequences,
// in one batch), and does not count the first: it wakes the threads. Ids are the same in a turn and differ from turn to
// turn. Printed are medians over turns, and the median ratio to the first contender's tokens per second with its 95 %
// bootstrap interval.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "cli/session.h"
#include "cli/table.h"

namespace junto {
namespace {

struct Options {
  std::vector<std::string> contenders;
  std::int64_t context = 128, turns = 40, tokens = 8;
  int threads = 0;
  bool json = false;
};

struct Contender {
  std::string name;
  std::size_t count = 1;  // sequences
  RoutingPolicy policy;
  std::shared_ptr<Session> session;  // of all contenders with this model
  std::vector<Sequence> sequences;
  std::vector<double> tokens_per_s;  // by turn
  double bytes_per_token = 0;
};

double median(std::vector<double> values, double at = 0.5) {
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(at * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

using Sessions = std::map<std::string, std::shared_ptr<Session>>;  // by model

Contender open_contender(const std::string& text, const Options& options, Sessions& sessions) {
  Contender contender;
  contender.name = text;
  std::string model = text, policy;
  if (const std::size_t star = model.rfind('*'); star != std::string::npos) {
    contender.count = static_cast<std::size_t>(
        std::max<std::int64_t>(1, parse_numbers(model.substr(star + 1), text, "a number of sequences", 4096).at(0)));
    model.resize(star);
  }
  if (const std::size_t at = model.rfind('@'); at != std::string::npos) {
    policy = model.substr(at + 1);
    model.resize(at);
  }
  std::shared_ptr<Session>& session = sessions[model];
  if (session == nullptr) {
    ModelOptions open;
    open.path = model;
    open.threads = options.threads;
    open.lazy_experts = false;
    session = std::make_shared<Session>(open_session(open));
    start_decoder(*session, options.context + options.tokens + 1);
  }
  contender.session = session;
  contender.policy = policy_for(*session->model, policy);
  return contender;
}

std::int32_t draw_id(const Contender& contender, std::mt19937& generator) {
  return static_cast<std::int32_t>(generator() % static_cast<unsigned>(contender.session->model->config.vocab_size));
}

void feed_context(Contender& contender, const Options& options) {
  for (std::size_t s = 0; s < contender.count; ++s) {
    std::mt19937 generator(static_cast<unsigned>(s));
    std::vector<std::int32_t> ids;
    for (std::int64_t i = 0; i < options.context; ++i) ids.push_back(draw_id(contender, generator));
    Sequence& sequence = contender.sequences.emplace_back();
    sequence.policy = contender.policy;
    if (!ids.empty()) contender.session->decoder->feed(sequence, ids);
  }
}

// One token more for each sequence.
void step(Contender& contender, std::mt19937& generator) {
  std::vector<Sequence*> sequences;
  std::vector<Row> rows(contender.count);
  for (std::size_t s = 0; s < contender.count; ++s) {
    sequences.push_back(&contender.sequences[s]);
    rows[s].sequence = static_cast<int>(s);
    rows[s].token = draw_id(contender, generator);
    rows[s].logits = true;
  }
  Batch batch;
  batch.sequences = sequences;
  batch.rows = rows;
  contender.session->decoder->forward(batch);
}

void take_turn(Contender& contender, const Options& options, unsigned turn) {
  std::mt19937 generator(1000 + turn);
  step(contender, generator);
  contender.session->decoder->reset_counters();
  const double begin = now_s();
  for (std::int64_t i = 0; i < options.tokens; ++i) step(contender, generator);
  const double tokens = static_cast<double>(options.tokens) * static_cast<double>(contender.count);
  contender.tokens_per_s.push_back(tokens / (now_s() - begin));
  contender.bytes_per_token = static_cast<double>(contender.session->decoder->counters().bytes_read) / tokens;
  for (Sequence& sequence : contender.sequences) truncate(sequence, options.context);
}

struct Ratio {
  double middle, low, high;
};

Ratio ratio_of(const Contender& first, const Contender& other) {
  std::vector<double> ratios, medians;
  for (std::size_t t = 0; t < other.tokens_per_s.size(); ++t) {
    ratios.push_back(other.tokens_per_s[t] / first.tokens_per_s[t]);
  }
  std::mt19937 draw(1);
  std::vector<double> sample(ratios.size());
  for (int i = 0; i < 2000; ++i) {
    for (double& ratio : sample) ratio = ratios[draw() % ratios.size()];
    medians.push_back(median(sample));
  }
  return {median(ratios), median(medians, 0.025), median(medians, 0.975)};
}

std::string number(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

void print(const std::vector<Contender>& contenders, const Options& options) {
  Table table;
  table.columns = {{"contender", Align::kLeft}, {"tok/s"}, {"quartiles"}, {"ratio"}, {"95 %"}, {"MB/token"}, {"GB/s"}};
  Json json = Json::array();
  for (const Contender& c : contenders) {
    const Ratio ratio = ratio_of(contenders.front(), c);
    const double speed = median(c.tokens_per_s), low = median(c.tokens_per_s, 0.25),
                 high = median(c.tokens_per_s, 0.75);
    table.rows.push_back({c.name, number(speed, 1), number(low, 1) + " - " + number(high, 1), number(ratio.middle, 3),
                          number(ratio.low, 3) + " - " + number(ratio.high, 3), number(c.bytes_per_token / 1e6, 1),
                          number(c.bytes_per_token * speed / 1e9, 1)});
    json.push_back({{"contender", c.name},
                    {"tokens_per_s", speed},
                    {"quartiles", {low, high}},
                    {"ratio", ratio.middle},
                    {"interval", {ratio.low, ratio.high}},
                    {"bytes_per_token", c.bytes_per_token},
                    {"turns", c.tokens_per_s}});
  }
  std::fputs(options.json ? (json.dump(1) + "\n").c_str() : to_markdown(table).c_str(), stdout);
}

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    if (name == "--json") {
      options.json = true;
    } else if (!name.starts_with("--")) {
      options.contenders.push_back(name);
    } else {
      if (++i == count) fail(name, "has no value");
      const std::int64_t value = parse_numbers(arguments[i], name, "a number", std::int64_t{1} << 31).at(0);
      if (name == "--context")
        options.context = value;
      else if (name == "--turns")
        options.turns = std::max<std::int64_t>(1, value);
      else if (name == "--tokens")
        options.tokens = std::max<std::int64_t>(1, value);
      else if (name == "--threads")
        options.threads = static_cast<int>(value);
      else
        fail(name, "is no option of decode_steps");
    }
  }
  if (options.contenders.empty()) fail("decode_steps", "needs MODEL[@POLICY][*SEQUENCES] ...");
  return options;
}

void run(const Options& options) {
  std::vector<Contender> contenders;
  Sessions sessions;
  for (const std::string& text : options.contenders) contenders.push_back(open_contender(text, options, sessions));
  for (Contender& contender : contenders) {
    feed_context(contender, options);
    take_turn(contender, options, 0);
    contender.tokens_per_s.clear();
  }
  for (std::int64_t turn = 1; turn <= options.turns; ++turn) {
    for (Contender& contender : contenders) take_turn(contender, options, static_cast<unsigned>(turn));
  }
  print(contenders, options);
}

}  // namespace
}  // namespace junto

int main(int count, char** arguments) {
  try {
    junto::run(junto::parse(count, arguments));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "decode_steps: %s\n", error.what());
    return 1;
  }
}

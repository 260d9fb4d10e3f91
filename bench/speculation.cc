// What speculation gains, and what it costs where there is nothing to gain:
//
//   speculation MODEL [--draft MODEL] [--policy POLICY] [--repeat N] [--tokens N] [--threads N] [--json] [--cost]
//
// Texts that repeat themselves (a program written again, a paragraph quoted) and texts that do not; greedy and drawn at
// temperature 1. Each is answered N times plainly and N times with guesses, in turn, by a speculator that has learnt
// nothing yet; the answers must be the same, to the token. Printed is the ratio of the medians of decoding time with
// its 95 % bootstrap interval. --cost prints instead what calls of 1 to 16 rows cost, in terms of one row.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "cli/session.h"
#include "cli/speculation_arguments.h"
#include "generate/forward_rows.h"
#include "generate/generate.h"

namespace junto {
namespace {

struct Options {
  ModelOptions model;
  SpeculationArguments speculation;
  int repeat = 15;
  int tokens = 256;
  bool json = false;
  bool cost = false;
};

constexpr const char* kProgram =
    "def read_lines(path):\n    lines = []\n    with open(path) as file:\n        for line in file:\n"
    "            line = line.strip()\n            if line and not line.startswith(\"#\"):\n"
    "                lines.append(line)\n    return lines\n\n\ndef count_words(lines):\n    counts = {}\n"
    "    for line in lines:\n        for word in line.split():\n            counts[word] = counts.get(word, 0) + 1\n"
    "    return counts\n\n\ndef longest_word(counts):\n    longest = \"\"\n    for word in counts:\n"
    "        if len(word) > len(longest):\n            longest = word\n    return longest\n\n\ndef main():\n"
    "    lines = read_lines(\"words.txt\")\n    counts = count_words(lines)\n"
    "    for word, count in sorted(counts.items()):\n        print(word, count)\n    print(longest_word(counts))\n";
constexpr const char* kParagraph =
    "The lighthouse stood on the last rock before the open sea, and for forty years the same family had kept its lamp. "
    "In winter no boat could land for weeks, so they salted fish, mended nets and read the eleven books they owned, in "
    "turn, until each of them knew every page. On clear nights the youngest daughter wrote down the names of the ships "
    "that passed, and in the morning her father marked them on a chart that hung above the stove. When the harbour "
    "office at last sent a wire to the island, the first message they had to answer was a question about a ship that "
    "had never arrived, and the list of names was all that anybody knew.";

struct Text {
  const char* name;
  std::string prompt;
  float temperature;
  bool repeats;
};

std::vector<Text> texts() {
  const std::string program = kProgram, paragraph = kParagraph;
  return {
      {"a program, again", program + "\n# The same program with another file name:\n\ndef read_lines(path):\n", 0,
       true},
      {"a program, edited",
       "# Version 1\n" + program + "\n# Version 2: the function is called load_lines.\n\n" +
           "def load_lines(path):\n    lines = []\n    with open(path) as file:\n",
       0, true},
      {"a quotation", paragraph + "\n\nThe chapter in full, once more:\n\nThe lighthouse stood on the last rock", 0,
       true},
      {"a story, greedy", "Once upon a time, in a small town by a river, there was a baker who", 0, false},
      {"a story, drawn", "Once upon a time, in a small town by a river, there was a baker who", 1, false},
      {"an essay, drawn", "The history of cartography begins long before paper. The earliest maps that we know", 1,
       false},
      {"a program, drawn", "import os\nimport sys\n\n\ndef main():\n", 1, false},
  };
}

struct Measured {
  std::vector<double> plain_s, guessed_s;
  SpeculationCount count;  // of the last answer
  std::int64_t tokens = 0;
};

double quantile(std::vector<double> values, double q) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

double speed_ratio(const Measured& m) {
  return quantile(m.plain_s, 0.5) / quantile(m.guessed_s, 0.5);
}

std::pair<double, double> interval(const Measured& m) {
  std::mt19937 draw(1);
  std::vector<double> ratios;
  for (int sample = 0; sample < 2000; ++sample) {
    Measured resampled;
    for (std::size_t i = 0; i < m.plain_s.size(); ++i) {
      const std::size_t round = draw() % m.plain_s.size();
      resampled.plain_s.push_back(m.plain_s[round]);
      resampled.guessed_s.push_back(m.guessed_s[round]);
    }
    ratios.push_back(speed_ratio(resampled));
  }
  return {quantile(ratios, 0.025), quantile(ratios, 0.975)};
}

Generated answer(Session& session, const Options& options, const Text& text, Speculator* speculator) {
  GenerateOptions generation;
  generation.max_tokens = options.tokens;
  generation.ignore_eos = true;
  generation.sampler.temperature = text.temperature;
  generation.sampler.top_k = 40;
  generation.seed = 7;
  generation.speculator = speculator;
  Sequence sequence = new_sequence(session);
  return generate(*session.decoder, nullptr, sequence, session.tokenizer->encode(text.prompt, true), generation);
}

Measured measure(Session& session, const Options& options, const Text& text) {
  Measured out;
  answer(session, options, text, nullptr);  // pages and buffers
  for (int i = 0; i < options.repeat; ++i) {
    const auto speculator = make_speculator(options.speculation, session);
    const Generated plain = answer(session, options, text, nullptr);
    const Generated guessed = answer(session, options, text, speculator.get());
    if (plain.ids != guessed.ids) fail(text.name, "answers differ: speculation is broken");
    out.plain_s.push_back(plain.decode_seconds);
    out.guessed_s.push_back(guessed.decode_seconds);
    out.count = guessed.speculation;
    out.tokens = guessed.decode_tokens;
  }
  return out;
}

/// Medians of calls of 1 to 16 rows in turn, in terms of one row.
void print_cost(Session& session, const Options& options) {
  constexpr int kRows = 16;
  std::vector<std::vector<double>> seconds(kRows + 1);
  const std::vector<std::int32_t> ids = session.tokenizer->encode(kParagraph, true);
  Sequence sequence = new_sequence(session);
  forward_call(*session.decoder, sequence, std::span(ids).first(ids.size() - kRows));
  for (int i = 0; i < options.repeat * 4; ++i) {
    for (int rows = 1; rows <= kRows; ++rows) {
      Sequence copy = sequence;
      forward_call(*session.decoder, copy, std::span(ids).subspan(ids.size() - kRows, 1));  // pages of its own
      truncate(copy, sequence.length());
      const auto begin = std::chrono::steady_clock::now();
      forward_call(*session.decoder, copy, std::span(ids).last(kRows).first(static_cast<std::size_t>(rows)));
      seconds[static_cast<std::size_t>(rows)].push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
  }
  const double one = quantile(seconds[1], 0.5);
  Json curve = Json::array();
  for (int rows = 1; rows <= kRows; ++rows) {
    const double ratio = quantile(seconds[static_cast<std::size_t>(rows)], 0.5) / one;
    curve.push_back({{"rows", rows}, {"ratio", ratio}});
    if (!options.json) std::printf("%2d rows  %5.2f\n", rows, ratio);
  }
  if (options.json) std::printf("%s\n", Json({{"one_row_s", one}, {"cost", curve}}).dump(1).c_str());
}

void run(const Options& options) {
  ModelOptions model = options.model;
  model.lazy_experts = false;  // what is measured is not the start
  Session session = open_session(model);
  require_tokenizer(session);
  start_decoder(session, 0);
  if (options.cost) return print_cost(session, options);
  Json report = Json::array();
  for (const Text& text : texts()) {
    const Measured m = measure(session, options, text);
    const auto [low, high] = interval(m);
    report.push_back({{"text", text.name},
                      {"repeats", text.repeats},
                      {"temperature", text.temperature},
                      {"ratio", speed_ratio(m)},
                      {"low", low},
                      {"high", high},
                      {"tokens", m.tokens},
                      {"plain_tokens_per_s", static_cast<double>(m.tokens) / quantile(m.plain_s, 0.5)},
                      {"guessed", m.count.guessed},
                      {"accepted", m.count.accepted},
                      {"calls", m.count.calls}});
    if (options.json) continue;
    std::printf("%-18s %s  plain %6.1f tok/s, with guesses %5.2f x  (95 %%: %.2f to %.2f), %lld of %lld accepted\n",
                text.name, text.repeats ? "repeats" : "       ", report.back()["plain_tokens_per_s"].get<double>(),
                speed_ratio(m), low, high, static_cast<long long>(m.count.accepted),
                static_cast<long long>(m.count.guessed));
    std::fflush(stdout);
  }
  if (options.json) std::printf("%s\n", report.dump(1).c_str());
}

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    if (name == "--json") {
      options.json = true;
    } else if (name == "--cost") {
      options.cost = true;
    } else if (!name.starts_with("--")) {
      options.model.path = name;
    } else if (i + 1 == count) {
      fail(name, "has no value");
    } else if (const std::string value = arguments[++i]; name == "--draft") {
      options.speculation.draft = value;
    } else if (name == "--policy") {
      options.model.policy = value;
    } else {
      const auto number = static_cast<int>(parse_numbers(value, name, "a number", 1 << 30).at(0));
      if (name == "--repeat")
        options.repeat = std::max(1, number);
      else if (name == "--tokens")
        options.tokens = std::max(2, number);
      else if (name == "--threads")
        options.model.threads = number;
      else
        fail(name, "is no option of speculation");
    }
  }
  if (options.model.path.empty()) fail("speculation", "needs MODEL");
  return options;
}

}  // namespace
}  // namespace junto

int main(int count, char** arguments) {
  try {
    junto::run(junto::parse(count, arguments));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "speculation: %s\n", error.what());
    return 1;
  }
}

// Against values that scipy computed: testdata/oracles/statistics.json, recorded by scripts/record-statistics.py.
#include "analyze/paired_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/file.h"
#include "base/json.h"

namespace junto {
namespace {

const Json& recorded() {
  static const std::string path = JUNTO_SOURCE_DIR "/testdata/oracles/statistics.json";
  static const Json json = parse_json(read_text_file(path, 1 << 20), path);
  return json;
}

std::vector<double> numbers(const Json& json) {
  return json.get<std::vector<double>>();
}

void expect_near(double found, double expected, const Json& of) {
  EXPECT_NEAR(found, expected, 1e-10 * std::max(1e-6, std::abs(expected))) << of.dump();
}

TEST(PairedStatistics, DistributionsAreThoseOfScipy) {
  ASSERT_EQ(recorded().at("incomplete_beta").size(), 72u);
  for (const Json& row : recorded().at("incomplete_beta"))
    expect_near(incomplete_beta(row[0], row[1], row[2]), row[3], row);
  for (const Json& row : recorded().at("student_t_cdf")) expect_near(student_t_cdf(row[0], row[1]), row[2], row);
  for (const Json& row : recorded().at("student_t_quantile")) {
    expect_near(student_t_quantile(row[0], row[1]), row[2], row);
  }
}

TEST(PairedStatistics, IntervalsAndPValuesAreThoseOfScipy) {
  ASSERT_EQ(recorded().at("samples").size(), 5u);
  for (const Json& row : recorded().at("samples")) {
    const std::vector<double> values = numbers(row.at("values"));
    const MeanInterval found = mean_interval(values);
    expect_near(found.mean, row.at("mean"), row);
    expect_near(found.deviation, row.at("deviation"), row);
    expect_near(found.low, row.at("low"), row);
    expect_near(found.high, row.at("high"), row);
    expect_near(paired_p(values, row.at("at")), row.at("p"), row);
    expect_near(equivalence_p(values, row.at("margin")), row.at("equivalence_p"), row);
  }
}

TEST(PairedStatistics, HolmAndSpearmanAreAsRecorded) {
  for (const Json& row : recorded().at("holm")) {
    const std::vector<double> found = holm(numbers(row.at("p"))), expected = numbers(row.at("adjusted"));
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) expect_near(found[i], expected[i], row);
  }
  for (const Json& row : recorded().at("spearman")) {
    expect_near(spearman(numbers(row.at("x")), numbers(row.at("y"))), row.at("rho"), row);
  }
}

TEST(PairedStatistics, BootstrapIsWithinItsOwnNoiseOfScipys) {
  const Json& row = recorded().at("bootstrap");
  const Interval found = bootstrap_interval(numbers(row.at("values")), 0.95, 20000, 3);
  EXPECT_NEAR(found.low, row.at("low").get<double>(), 0.02);
  EXPECT_NEAR(found.high, row.at("high").get<double>(), 0.02);
  const Interval again = bootstrap_interval(numbers(row.at("values")), 0.95, 20000, 3);
  EXPECT_EQ(found.low, again.low);
}

TEST(PairedStatistics, APAtTheLevelIsAnIntervalThatTouches) {
  const std::vector<double> values = {0.2, 0.5, 0.1, 0.4, 0.9};
  const MeanInterval interval = mean_interval(values);
  EXPECT_NEAR(paired_p(values, interval.low), 0.05, 1e-12);
  EXPECT_NEAR(equivalence_p(values, mean_interval(values, 0.90).high), 0.05, 1e-9);
}

TEST(PairedStatistics, OneSeedSaysNothingAndEqualSeedsSayAll) {
  EXPECT_EQ(paired_p(std::vector<double>{0.3}), 1.0);
  EXPECT_EQ(mean_interval(std::vector<double>{0.3}).high, std::numeric_limits<double>::infinity());
  EXPECT_EQ(paired_p(std::vector<double>{0.3, 0.3, 0.3}), 0.0);
  EXPECT_EQ(paired_p(std::vector<double>{0.0, 0.0, 0.0}), 1.0);
  EXPECT_EQ(equivalence_p(std::vector<double>{0.0, 0.0, 0.0}, 0.1), 0.0);
  EXPECT_EQ(spearman(std::vector<double>{1, 1, 1}, std::vector<double>{1, 2, 3}), 0.0);
}

}  // namespace
}  // namespace junto

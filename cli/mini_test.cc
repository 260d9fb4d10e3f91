// The model that comes with Junto, as a newcomer meets it: no network, no cache, no file of one's own.
#include <gtest/gtest.h>

#include <cctype>

#include "base/file.h"
#include "base/json.h"
#include "cli/test_program.h"

namespace junto {
namespace {

TEST(Mini, SpeaksOutOfTheBoxAndRoutesTwoOfEight) {
  const Ran ran = run_junto({"run", "mini", "--raw", "-p", "She was very", "-n", "24", "--temp", "0"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  EXPECT_NE(ran.err.find(" 2.0 of 8 experts"), std::string::npos) << ran.err;
  std::size_t letters = 0;
  for (const char c : ran.out) letters += std::isalpha(static_cast<unsigned char>(c)) != 0 || c == ' ' ? 1 : 0;
  EXPECT_GT(letters, 40u) << ran.out;
  EXPECT_GT(letters * 10, ran.out.size() * 8) << ran.out;  // words, not symbols
  EXPECT_EQ(run_junto({"run", "mini", "--raw", "-p", "She was very", "-n", "24", "--temp", "0", "--threads", "1"}).out,
            ran.out);
}

// English that it did not see costs it far less than the same letters in disorder.
TEST(Mini, KnowsEnglishFromNoise) {
  const Scratch scratch;
  std::string english = contents(std::string(JUNTO_SOURCE_DIR) + "/testdata/oracles/text/udhr-eng.txt");
  std::erase_if(english, [](char c) { return static_cast<unsigned char>(c) >= 0x80; });  // what is reversed is a text
  const std::string reversed(english.rbegin(), english.rend());
  const auto nats_a_byte = [&](const char* name, const std::string& text) {
    const Ran ran = run_junto({"perplexity", "mini", "-f", scratch.put(name, text), "--json"});
    EXPECT_EQ(ran.status, 0) << ran.err;
    const Json found = Json::parse(ran.out);
    return found["mean_nll"].get<double>() * found["tokens"].get<double>() / static_cast<double>(text.size());
  };
  const double known = nats_a_byte("english", english), noise = nats_a_byte("noise", reversed);
  EXPECT_LT(known, 1.8);
  EXPECT_GT(noise, 2.5 * known);
}

TEST(Mini, IsSmallEnoughForTheRepository) {
  const std::string path = std::string(JUNTO_SOURCE_DIR) + "/models/junto-mini.gguf";
  EXPECT_LE(MappedFile(path).bytes().size(), 12'000'000u);
}

}  // namespace
}  // namespace junto

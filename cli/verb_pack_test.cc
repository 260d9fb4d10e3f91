#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/test_program.h"

namespace junto {
namespace {

class PackVerb : public testing::Test {
 protected:
  PackVerb() { EXPECT_EQ(run_junto({"quantize", checkpoint_path("olmoe"), source_, "--type", "q4_0"}).status, 0); }
  Ran pack(std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"pack", source_, packed_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_junto(arguments);
  }
  const Scratch scratch_;
  const std::string source_ = scratch_.path("source.gguf"), packed_ = scratch_.path("packed.gguf"),
                    restored_ = scratch_.path("restored.gguf");
};

TEST_F(PackVerb, ReplaceRemovesTheSourceOnceTheNewFileRestoresIt) {
  const std::string before = contents(source_);
  const Ran ran = pack({"--replace", "--json"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(Json::parse(ran.out)["replaced"], true);
  EXPECT_FALSE(std::filesystem::exists(source_));
  ASSERT_EQ(run_junto({"unpack", packed_, restored_}).status, 0);
  EXPECT_EQ(contents(restored_), before);
}

TEST_F(PackVerb, ReplaceKeepsTheSourceWhereNothingWasWritten) {
  EXPECT_NE(refusal_of({"pack", source_, source_, "--replace"}).find("is the source"), std::string::npos);
  EXPECT_NE(pack({"--replace"}).err.find("source.gguf is removed after that"), std::string::npos);
  ASSERT_TRUE(std::filesystem::exists(packed_));
  const Ran again = run_junto({"pack", packed_, restored_, "--replace"});
  EXPECT_EQ(again.status, 1);
  EXPECT_NE(again.err.find("is packed already"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(packed_));
  EXPECT_FALSE(std::filesystem::exists(restored_));
}

TEST_F(PackVerb, InspectCountsTheTypesThatWerePacked) {
  ASSERT_EQ(pack().status, 0);
  const Json source = Json::parse(run_junto({"inspect", source_, "--json"}).out);
  const Json packed = Json::parse(run_junto({"inspect", packed_, "--json", "--verify"}).out);
  EXPECT_EQ(packed["types"], source["types"]);
  EXPECT_EQ(packed["parameters"], source["parameters"]);
  EXPECT_EQ(packed["verification"]["checksums"], 3 * 16);
}

TEST_F(PackVerb, ADamagedExpertIsNamedWhereSomebodyAsks) {
  ASSERT_EQ(pack().status, 0);
  EXPECT_EQ(run_junto({"inspect", packed_, "--verify"}).status, 0);
  const std::string all = contents(packed_);
  std::string damaged = all;
  for (std::size_t at = all.size() - 60000; at < all.size(); at += 512)
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
  scratch_.put("packed.gguf", damaged);
  EXPECT_EQ(run_junto({"inspect", packed_}).status, 0);
  EXPECT_NE(run_junto({"inspect", packed_, "--verify"}).err.find(" of block 2 has CRC-32C "), std::string::npos);
}

TEST_F(PackVerb, VerifiedReadsStopAtADamagedExpertAndChangeNothingOtherwise) {
  ASSERT_EQ(pack().status, 0);
  const std::vector<std::string> run = {
      "run",    packed_,           "--ids", "3,7,11,20,31,44,52,60,71,83,90,101", "-n", "4", "--seed", "1",
      "--json", "--expert-memory", "200KB"};
  const auto with_check = [&] {
    std::vector<std::string> all = run;
    all.push_back("--verify-reads");
    return run_junto(all);
  };
  const Ran plain = run_junto(run), verified = with_check();
  ASSERT_EQ(plain.status, 0) << plain.err;
  ASSERT_EQ(verified.status, 0) << verified.err;
  EXPECT_EQ(Json::parse(verified.out)["ids"], Json::parse(plain.out)["ids"]);
  EXPECT_EQ(Json::parse(verified.out)["streaming"]["verified"], true);
  EXPECT_EQ(Json::parse(plain.out)["streaming"]["verified"], false);

  std::string damaged = contents(packed_);
  for (std::size_t at = damaged.size() / 2; at < damaged.size(); at += 4000)
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
  scratch_.put("packed.gguf", damaged);
  const Ran stopped = with_check();
  EXPECT_EQ(stopped.status, 1);
  EXPECT_NE(stopped.err.find("packed.gguf: expert "), std::string::npos) << stopped.err;
  EXPECT_NE(stopped.err.find(" has CRC-32C "), std::string::npos) << stopped.err;

  EXPECT_NE(refusal_of({"run", source_, "--ids", "3", "-n", "1", "--expert-memory", "200KB", "--verify-reads"})
                .find("junto pack writes them"),
            std::string::npos);
  EXPECT_NE(refusal_of({"run", packed_, "--ids", "3", "-n", "1", "--verify-reads"}).find("stay in memory"),
            std::string::npos);
}

}  // namespace
}  // namespace junto

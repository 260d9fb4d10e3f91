// junto convert, inspect, run and trace on checkpoints that have the names of their authors' code and no other.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/json.h"
#include "cli/test_program.h"
#include "model/test_dynamic_moe.h"
#include "model/test_moe_plus_plus.h"

namespace junto {
namespace {

/// A directory as it was written, with a tokenizer, and the file that `junto convert` makes of it.
class ReleasedCheckpoint {
 public:
  explicit ReleasedCheckpoint(WrittenModel (*write)(const TestDirectory&, const Json&)) {
    write(source_, Json::object());
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"})
      std::filesystem::copy_file(checkpoint_path("llama") + "/" + file, source_.path(file));
    const Ran converted = run_junto({"convert", directory(), gguf()});
    EXPECT_EQ(converted.status, 0) << converted.err;
  }

  const std::string& directory() const { return source_.path(); }
  std::string gguf() const { return scratch_.path("model.gguf"); }

  static Json layer(const std::string& path, int layer) {
    const Ran inspected = run_junto({"inspect", path, "--json"});
    EXPECT_EQ(inspected.status, 0) << inspected.err;
    return Json::parse(inspected.out).at("layers").at(static_cast<std::size_t>(layer));
  }

  void runs_and_traces(const std::string& said) const {
    const auto answer = [](const std::string& path) {
      const Ran ran = run_junto({"run", path, "--raw", "-p", "The engine", "--max-tokens", "8", "--temp", "0"});
      EXPECT_EQ(ran.status, 0) << ran.err;
      return ran.out;
    };
    EXPECT_EQ(answer(gguf()), answer(directory()));
    const Ran traced = run_junto({"trace", gguf(), "--ids", "5,17,40,3,9", "--out", scratch_.path("t")});
    EXPECT_NE(traced.out.find(said), std::string::npos) << traced.out << traced.err;
  }

 private:
  TestDirectory source_;
  Scratch scratch_;
};

TEST(ReleasedCheckpoints, MoePlusPlusConvertsInspectsAndRunsLikeItsDirectory) {
  const ReleasedCheckpoint checkpoint(write_moe_plus_plus);
  for (const std::string& path : {checkpoint.directory(), checkpoint.gguf()}) {
    SCOPED_TRACE(path);
    const Json experts = ReleasedCheckpoint::layer(path, 0).at("experts");
    EXPECT_EQ(experts.at("kinds"), (Json{{"constant", 2}, {"copy", 1}, {"ffn", 5}, {"zero", 1}}));
    EXPECT_EQ(experts.at("input_scale"), 2.0);
    EXPECT_EQ(experts.at("router").at("weightless"), 1);
    EXPECT_EQ(experts.at("router").at("logits_hidden"), 72);
  }
  checkpoint.runs_and_traces("5 tokens in 1 sequences, 3 layers");
}

TEST(ReleasedCheckpoints, DynamicMoeConvertsInspectsAndRunsLikeItsDirectory) {
  const ReleasedCheckpoint checkpoint(write_dynamic_moe);
  for (const std::string& path : {checkpoint.directory(), checkpoint.gguf()}) {
    SCOPED_TRACE(path);
    const Json router = ReleasedCheckpoint::layer(path, 2).at("experts").at("router");
    EXPECT_EQ(router.at("select"),
              (Json{{"rule", "top_p"}, {"p", 0.4}, {"inclusive", true}, {"max_k", 0}, {"strict", true}}));
    EXPECT_EQ(router.at("weigh"), "raw");
    EXPECT_FALSE(ReleasedCheckpoint::layer(path, 1).contains("experts"));
  }
  checkpoint.runs_and_traces("5 tokens in 1 sequences, 2 layers");
}

}  // namespace
}  // namespace junto

// `mpirun junto train`: processes, files and errors.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/json.h"
#include "format/test_directory.h"
#include "train/loop/test_recipe.h"
#include "train/parallel/mpi_exchange.h"

namespace junto {
namespace {

class Mpirun : public testing::Test {
 protected:
  void SetUp() override {
    if (!built_with_mpi()) GTEST_SKIP() << "built without MPI (scripts/setup train)";
  }

  /// The exit status of a command of a shell; 124 after two minutes.
  int run(const std::string& command) {
    const std::string whole = "OMP_NUM_THREADS=1 timeout 120 " + command + " >" + out_ + " 2>" + err_;
    const int status = std::system(whole.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static std::string mpirun(int processes) {
    return std::string(JUNTO_MPIEXEC) + " --allow-run-as-root --oversubscribe -n " + std::to_string(processes) + " ";
  }
  static std::string text_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string recipe(const std::string& name, const Json& changes = Json::object()) const {
    Json json = small_recipe(directory_, lines_to_learn(),
                             {{"data", {{"validation_share", 0.2}}},
                              {"schedule", {{"steps", 30}}},
                              {"run",
                               {{"folder", directory_.path(name)},
                                {"log_every", 1},
                                {"evaluate_every", 10},
                                {"evaluate_spans", 5},
                                {"checkpoint_every", 20}}}});
    json.merge_patch(changes);
    return directory_.put(name + ".json", json.dump());
  }
  /// The numbers of a run's log under `key`, in order.
  std::vector<double> logged(const std::string& name, const char* key) const {
    std::ifstream file(directory_.path(name + "/log.jsonl"));
    std::vector<double> values;
    for (std::string line; std::getline(file, line);) {
      const Json entry = Json::parse(line);
      if (entry.contains(key)) values.push_back(entry[key].get<double>());
    }
    return values;
  }
  void expect_same_log(const std::string& one, const std::string& other) const {
    for (const char* key : {"loss", "balance", "validation_loss"}) {
      const std::vector<double> a = logged(one, key), b = logged(other, key);
      ASSERT_EQ(a.size(), b.size()) << key;
      ASSERT_EQ(a.size(), std::string(key) == "validation_loss" ? 3u : 30u) << key;
      for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5) << other << ", " << key << " " << i;
    }
  }

  const TestDirectory directory_;
  const std::string out_ = directory_.path("out"), err_ = directory_.path("err");
  const std::string junto_ = std::filesystem::path(JUNTO_TRAIN_BINARY).parent_path().string() + "/junto train ";
};

TEST_F(Mpirun, TwoProcessesTrainWhatOneTrains) {
  ASSERT_EQ(run(junto_ + recipe("one")), 0) << text_of(err_);
  ASSERT_EQ(run(mpirun(2) + junto_ + recipe("two")), 0) << text_of(err_);
  expect_same_log("one", "two");
  // One of them speaks and writes.
  const std::string out = text_of(out_), err = text_of(err_);
  EXPECT_NE(out.find("30 steps, 1.92k tokens"), std::string::npos) << out;
  EXPECT_EQ(out.find("model.gguf"), out.rfind("model.gguf")) << out;
  EXPECT_NE(err.find("2 processes"), std::string::npos) << err;
  EXPECT_EQ(err.find("2 processes"), err.rfind("2 processes")) << err;
  EXPECT_TRUE(std::filesystem::exists(directory_.path("two/model.gguf")));
}

// Experts in two parts from the begin, and moved there and back in mid-run.
TEST_F(Mpirun, PartedExpertsTrainWhatOneProcessTrains) {
  ASSERT_EQ(run(junto_ + recipe("one")), 0) << text_of(err_);
  ASSERT_EQ(run(mpirun(2) + junto_ + recipe("two", {{"placement", {{"experts", 2}}}})), 0) << text_of(err_);
  expect_same_log("one", "two");
  const Json stages =
      Json::array({{{"from", 0.3}, {"placement", {{"experts", 2}}}}, {{"from", 0.6}, {"placement", {{"data", 2}}}}});
  ASSERT_EQ(run(mpirun(2) + junto_ + recipe("moved", {{"stages", stages}})), 0) << text_of(err_);
  expect_same_log("one", "moved");
}

TEST_F(Mpirun, KilledAndResumedEndsInTheSameFiles) {
  const Json changes = {{"placement", {{"experts", 2}}},
                        {"schedule", {{"steps", 150}}},
                        {"stages", Json::array({{{"from", 0.3}, {"placement", {{"data", 2}}}}})},
                        {"run", {{"checkpoint_every", 7}}}};
  ASSERT_EQ(run(mpirun(2) + junto_ + recipe("whole", changes)), 0) << text_of(err_);
  const std::string killed = recipe("killed", changes), log = directory_.path("killed/log.jsonl");
  for (const int lines : {12, 70}) {  // experts in parts, and moved together
    // The last of mpirun's children dies as it is, and takes the other with it.
    const std::string kill = mpirun(2) + junto_ + killed + " --resume & m=$!; while kill -0 $m && [ $(cat " + log +
                             " | wc -l) -lt " + std::to_string(lines) +
                             " ]; do sleep 0.01; done; kill -KILL $(cat /proc/$m/task/*/children | tr \" \" " +
                             "\"\\n\" | grep . | tail -n 1); wait $m";
    EXPECT_NE(run("bash -c '" + kill + "'"), 0);
    EXPECT_FALSE(std::filesystem::exists(directory_.path("killed/model.gguf"))) << text_of(err_);
  }
  ASSERT_EQ(run(mpirun(2) + junto_ + killed + " --resume"), 0) << text_of(err_);
  EXPECT_NE(text_of(err_).find("goes on after step "), std::string::npos);
  for (const std::string name : {"/model.gguf", "/checkpoint-0000000150.safetensors"}) {
    const std::string whole = text_of(directory_.path("whole" + name));
    EXPECT_GT(whole.size(), 1000u) << name;
    EXPECT_TRUE(whole == text_of(directory_.path("killed" + name))) << name;
  }
}

TEST_F(Mpirun, WhatEndsOneProcessEndsAll) {
  const std::string good = recipe("good", {{"schedule", {{"steps", 100000}}}});
  // The second cannot read its recipe, and the first would wait for it for ever.
  EXPECT_EQ(run(mpirun(1) + junto_ + good + " : -n 1 " + junto_ + directory_.path("none.json")), 1);
  EXPECT_NE(text_of(err_).find("process 1: "), std::string::npos) << text_of(err_);
  EXPECT_NE(text_of(err_).find("none.json"), std::string::npos) << text_of(err_);
  // Where all have the same to say, one says it.
  EXPECT_EQ(run(mpirun(2) + junto_ + recipe("odd", {{"batch", {{"sequences", 3}}}})), 1);
  const std::string err = text_of(err_);
  EXPECT_NE(err.find("batch.sequences is 3"), std::string::npos) << err;
  EXPECT_EQ(err.find("batch.sequences is 3"), err.rfind("batch.sequences is 3")) << err;
}

}  // namespace
}  // namespace junto

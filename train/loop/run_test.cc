// junto-train as users run it, and as machines end it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/json.h"
#include "format/test_directory.h"
#include "train/loop/event_file.h"
#include "train/loop/test_recipe.h"

namespace junto {
namespace {

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::size_t lines_of(const std::string& path) {
  const std::string text = contents(path);
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

class JuntoTrain : public testing::Test {
 protected:
  JuntoTrain() {
    const Json recipe = small_recipe(directory_, lines_to_learn(),
                                     {{"name", "killed"},
                                      {"model", {{"router", {{"weigh", "renormalised"}}}}},
                                      {"data", {{"validation_share", 0.2}, {"vocabulary", 300}}},
                                      {"optimizer", {{"average", 0.98}}},
                                      {"schedule", {{"steps", 60}, {"patience", 50}}},
                                      {"stages",
                                       {{{"from", 0.3}, {"freeze", {"token_embd.weight"}}},
                                        {{"from", 0.5}, {"experts", 8}, {"freeze", Json::array()}}}},
                                      {"ramps", {{"losses.balance", {{0.2, 0.02}, {0.8, 0.0}}}}},
                                      {"run", {{"log_every", 1}, {"evaluate_every", 20}, {"checkpoint_every", 7}}}});
    recipe_ = directory_.put("recipe.json", recipe.dump());
  }

  pid_t start(std::vector<std::string> arguments) const {
    const std::string out = directory_.path("out"), err = directory_.path("err");
    const pid_t child = fork();
    if (child != 0) return child;
    for (const auto& [path, fd] : {std::pair{out, 1}, std::pair{err, 2}}) {
      if (dup2(open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600), fd) < 0) _exit(126);
    }
    std::vector<char*> argv = {const_cast<char*>(JUNTO_TRAIN_BINARY)};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    execv(JUNTO_TRAIN_BINARY, argv.data());
    _exit(127);
  }
  static int status_of(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  int run(std::vector<std::string> arguments) const { return status_of(start(std::move(arguments))); }
  std::string set_folder(const std::string& name) const { return "run.folder=" + directory_.path(name); }

  const TestDirectory directory_;
  std::string recipe_;
};

TEST_F(JuntoTrain, KilledAndResumedEndsInTheSameFiles) {
  ASSERT_EQ(run({recipe_, "--set", set_folder("whole")}), 0) << contents(directory_.path("err"));
  EXPECT_NE(contents(directory_.path("out")).find("60 steps, 3.84k tokens"), std::string::npos)
      << contents(directory_.path("out"));
  const std::string log = directory_.path("killed/log.jsonl");
  for (const std::size_t lines : {3, 25, 44}) {  // before the first checkpoint, and twice between two
    const pid_t child = start({recipe_, "--set", set_folder("killed"), "--resume"});
    while (lines_of(log) < lines && waitpid(child, nullptr, WNOHANG) == 0) usleep(500);
    kill(child, SIGKILL);
    ASSERT_EQ(status_of(child), 128 + SIGKILL) << contents(directory_.path("err"));
  }
  EXPECT_FALSE(std::filesystem::exists(directory_.path("killed/model.gguf")));
  ASSERT_EQ(run({recipe_, "--set", set_folder("killed"), "--resume"}), 0) << contents(directory_.path("err"));
  EXPECT_NE(contents(directory_.path("err")).find("goes on after step "), std::string::npos);
  for (const std::string name :
       {"/model.gguf", "/checkpoint-0000000056.safetensors", "/checkpoint-0000000060.safetensors"}) {
    const std::string whole = contents(directory_.path("whole" + name));
    EXPECT_GT(whole.size(), 1000u) << name;
    EXPECT_TRUE(whole == contents(directory_.path("killed" + name))) << name;
  }
  // Every step stands once in the log, in order, with the same losses.
  const auto losses = [&](const std::string& folder) {
    std::ifstream file(directory_.path(folder + "/log.jsonl"));
    Json all = Json::array();
    for (std::string line; std::getline(file, line);) {
      Json entry = Json::parse(line);
      entry.erase("tokens_per_s");
      all.push_back(entry);
    }
    return all;
  };
  EXPECT_EQ(losses("whole").size(), 63u);
  EXPECT_EQ(losses("killed"), losses("whole"));
  const auto events = [&](const std::string& folder) {
    std::vector<std::string> all;
    for (const EventValue& value : read_event_file(directory_.path(folder + "/events.out.tfevents.1.junto"))) {
      if (value.tag == "tokens_per_s") continue;
      all.push_back(std::to_string(value.step) + " " + value.tag + " " + std::to_string(value.value) + " " +
                    Json(value.buckets).dump());
    }
    return all;
  };
  EXPECT_GT(events("whole").size(), 600u);
  EXPECT_EQ(events("killed"), events("whole"));
}

TEST_F(JuntoTrain, ASmokeRunIsShortAndMayBeRepeated) {
  for (int time = 0; time < 2; ++time) {
    ASSERT_EQ(run({recipe_, "--smoke"}), 0) << contents(directory_.path("err"));
    EXPECT_NE(contents(directory_.path("out")).find("run-smoke/model.gguf: 10 steps"), std::string::npos)
        << contents(directory_.path("out"));
  }
  EXPECT_FALSE(std::filesystem::exists(directory_.path("run")));
}

TEST_F(JuntoTrain, RefusesToOverwriteARunAndNamesMistakes) {
  ASSERT_EQ(run({recipe_, "--set", "schedule.steps=2"}), 0) << contents(directory_.path("err"));
  EXPECT_EQ(run({recipe_, "--set", "schedule.steps=2"}), 1);
  EXPECT_NE(contents(directory_.path("err")).find("has checkpoints already; expected --resume"), std::string::npos);
  EXPECT_EQ(run({recipe_, "--set", "model.layres=2"}), 1);
  EXPECT_NE(contents(directory_.path("err")).find("layers"), std::string::npos);
  EXPECT_EQ(run({recipe_, "--set", set_folder("none"), "--check"}), 0);
  EXPECT_NE(contents(directory_.path("err")).find("parameters"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(directory_.path("none")));
}

}  // namespace
}  // namespace junto

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/chat.h"
#include "cli/test_program.h"

namespace junto {
namespace {

std::vector<std::string> chat(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {
      "chat",        checkpoint_path("mixtral"), "--json", "-n", "12", "--temp", "1.3", "--min-p", "0", "--seed", "5",
      "--ignore-eos"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::vector<Json> answers(const Ran& ran) {
  EXPECT_EQ(ran.status, 0) << ran.err;
  std::vector<Json> all;
  std::istringstream lines(ran.out);
  for (std::string line; std::getline(lines, line);) all.push_back(Json::parse(line));
  return all;
}

TEST(ChatVerb, AnswersEveryLineOfAPipe) {
  const std::vector<Json> all = answers(run_junto(chat({}), "Hello\nAnd then?\n\n  \nWell"));
  ASSERT_EQ(all.size(), 3u);
  for (const Json& answer : all) EXPECT_EQ(answer["ids"].size(), 12u);
  EXPECT_NE(all[0]["ids"], all[1]["ids"]);
}

TEST(ChatVerb, TextIsStreamedWithTheCostUnderIt) {
  const Ran ran = run_junto({"chat", checkpoint_path("mixtral"), "-n", "5", "--temp", "0"}, "Hello\n");
  ASSERT_EQ(ran.status, 0) << ran.err;
  EXPECT_TRUE(ran.out.ends_with('\n'));
  EXPECT_NE(ran.err.find("context 256 tokens (the model's own"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find(" of 6 experts a token"), std::string::npos) << ran.err;
}

TEST(ChatVerb, SavedConversationGoesOnInAnotherProcess) {
  const Scratch scratch;
  const std::string file = scratch.path("talk.junto");
  const std::vector<Json> whole = answers(run_junto(chat({"--system", "Be brief."}), "Hello\nAnd then?\n"));
  ASSERT_EQ(answers(run_junto(chat({"--system", "Be brief."}), "Hello\n/save " + file + "\n")).size(), 1u);
  const std::vector<Json> rest = answers(run_junto(chat({}), "/load " + file + "\nAnd then?\n"));
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0]["ids"], whole[1]["ids"]);
  // Of another model, of another KV type, damaged: one line.
  EXPECT_NE(refusal_of({"chat", checkpoint_path("olmoe")}, "/load " + file + "\n").find(file), std::string::npos);
  const std::string bytes = contents(file);
  scratch.put("cut", bytes.substr(0, bytes.size() / 2));
  const Ran cut = run_junto(chat({}), "/load " + scratch.path("cut") + "\n");
  EXPECT_EQ(cut.status, 1);
  EXPECT_NE(cut.err.find(scratch.path("cut")), std::string::npos) << cut.err;
}

TEST(ChatVerb, ResetForgets) {
  const std::string greedy = "Hello\n/reset\nHello\n/undo\nHello\n";
  const Ran ran =
      run_junto({"chat", checkpoint_path("mixtral"), "--json", "-n", "8", "--temp", "0", "--ignore-eos"}, greedy);
  const std::vector<Json> all = answers(ran);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0]["ids"], all[1]["ids"]);
  EXPECT_EQ(all[0]["ids"], all[2]["ids"]);
}

TEST(ChatVerb, PolicyHoldsFromTheNextToken) {
  const Ran ran = run_junto(chat({}), "Hello\n/policy top_k=1\nMore\n");
  const std::vector<Json> all = answers(ran);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["routing"]["experts_per_token"], 2.0);
  EXPECT_EQ(all[1]["routing"]["experts_per_token"], 1.0);
  EXPECT_NE(ran.err.find("routing {\"top_k\":1}"), std::string::npos) << ran.err;
}

TEST(ChatVerb, ComputedRowsAreReused) {
  const Ran ran = run_junto({"chat", checkpoint_path("mixtral"), "-n", "8", "--temp", "0", "--ignore-eos"},
                            "Hello there, this is a long first line\nB\n");
  ASSERT_EQ(ran.status, 0);
  // Lines "12 + 8 tokens, ...": what the second question fed is less than all that stands before its answer.
  std::vector<int> fed, used;
  std::istringstream lines(ran.err);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(" + 8 tokens") == std::string::npos) continue;
    fed.push_back(std::stoi(line));
    used.push_back(std::stoi(line.substr(line.rfind("context ") + 8)));
  }
  ASSERT_EQ(fed.size(), 2u) << ran.err;
  EXPECT_EQ(used[0], fed[0] + 8);
  EXPECT_LT(fed[1], used[1] - 8);
  EXPECT_GT(fed[1], 0);
}

TEST(ChatVerb, WarnsWhenTheContextIsNearlyFullAndRefusesMore) {
  const Ran near = run_junto(chat({"--context", "36"}), "Hello there\n");
  ASSERT_EQ(near.status, 0) << near.err;
  EXPECT_NE(near.err.find("junto: warning: "), std::string::npos) << near.err;
  EXPECT_NE(near.err.find("/reset or /undo make room"), std::string::npos);
  const Ran full = run_junto(chat({"--context", "36"}), "Hello there\nand one more line that does not fit\n");
  EXPECT_EQ(full.status, 1);
  EXPECT_NE(full.err.find("junto: conversation: prompt has "), std::string::npos) << full.err;
  EXPECT_NE(full.err.find(" tokens, context is 36\n"), std::string::npos);
}

TEST(ChatVerb, CommandsExplainThemselves) {
  const Ran help = run_junto(chat({}), "/help\n/stats\n/quit\nnever read\n");
  EXPECT_EQ(help.status, 0);
  EXPECT_EQ(help.out, "");
  for (const char* command : {"/help", "/reset", "/undo", "/system", "/policy", "/save", "/load", "/stats", "/quit"}) {
    EXPECT_NE(help.err.find(command), std::string::npos) << command;
  }
  const Ran wrong = run_junto(chat({}), "/rest\n");
  EXPECT_EQ(wrong.status, 1);
  EXPECT_NE(wrong.err.find("junto: no command /rest; did you mean /reset?\n"), std::string::npos) << wrong.err;
  EXPECT_NE(run_junto(chat({}), "/save\n").err.find("/save: needs a file name"), std::string::npos);
  EXPECT_NE(run_junto(chat({}), "/policy 9:top_k=1\n").err.find("junto: --policy"), std::string::npos);
}

TEST(ChatVerb, LongMessagesMayHaveSeveralLines) {
  const auto prompt_tokens = [](const std::string& input) {
    const Ran ran = run_junto({"chat", checkpoint_path("mixtral"), "-n", "1", "--temp", "0"}, input);
    return std::stoi(ran.err.substr(ran.err.find('\n') + 1));
  };
  EXPECT_EQ(prompt_tokens("one\\\ntwo\n"), prompt_tokens("one\\\ntwo"));
  EXPECT_GT(prompt_tokens("one\\\ntwo\n"), prompt_tokens("one\n"));
  const Ran sent =
      run_junto({"tokenize", checkpoint_path("mixtral")}, "<|im_start|>user\n/x<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(prompt_tokens("//x\n"), static_cast<int>(Json::parse(sent.out).size()));
}

TEST(CommonPrefix, IsWhatBothBeginWith) {
  const std::vector<std::int32_t> a = {1, 2, 3}, b = {1, 2, 4, 5}, none = {};
  EXPECT_EQ(common_prefix(a, b), 2u);
  EXPECT_EQ(common_prefix(b, a), 2u);
  EXPECT_EQ(common_prefix(a, a), 3u);
  EXPECT_EQ(common_prefix(a, none), 0u);
}

}  // namespace
}  // namespace junto

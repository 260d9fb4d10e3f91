#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/json.h"
#include "cli/test_program.h"
#include "format/safetensors.h"

namespace junto {
namespace {

using Arguments = std::vector<std::string>;

Arguments operator+(Arguments a, const Arguments& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Json answered(const Arguments& arguments) {
  const Ran ran = run_junto(Arguments{"run"} + arguments + Arguments{"--json"});
  EXPECT_EQ(ran.status, 0) << ran.err;
  return ran.status == 0 ? Json::parse(ran.out) : Json::object();
}

class RunGreedy : public testing::TestWithParam<std::string> {};

TEST_P(RunGreedy, ContinuesAsTheReferenceHoweverThePromptIsCut) {
  const std::string model = checkpoint_path(GetParam());
  const SafetensorsFile expected = open_safetensors(model + "/expected.safetensors");
  const auto ids_of = [&](const char* name, std::size_t count) {
    std::vector<std::int64_t> ids(count);
    std::memcpy(ids.data(), expected.tensors.find(name)->bytes.data(), count * sizeof(std::int64_t));
    return ids;
  };
  std::string prompt;
  for (const std::int64_t id : ids_of("input_ids", 16)) prompt += (prompt.empty() ? "" : ",") + std::to_string(id);
  for (const char* chunk : {"0", "7", "1"}) {
    const Json answer = answered({model, "--ids", prompt, "-n", "24", "--temp", "0", "--ignore-eos", "--kv", "f32",
                                  "--activations", "f32", "--chunk", chunk});
    EXPECT_EQ(answer["ids"].get<std::vector<std::int64_t>>(), ids_of("greedy", 24)) << "chunk " << chunk;
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, RunGreedy,
                         testing::Values("llama", "llama-rope3-tied", "mistral-swa", "qwen3", "mixtral", "olmoe",
                                         "qwen3_moe", "deepseek_v3"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(RunVerb, JsonHasTheDocumentedShape) {
  const Json answer = answered({checkpoint_path("deepseek_v3"), "--ids", "5,6,7", "-n", "4", "--temp", "0"});
  EXPECT_EQ(answer["prompt_ids"], Json({5, 6, 7}));
  EXPECT_EQ(answer["ids"].size(), 4u);
  EXPECT_TRUE(answer["text"].is_string());
  EXPECT_GT(answer["timings"]["prefill_tokens_per_s"].get<double>(), 0);
  EXPECT_GT(answer["timings"]["decode_tokens_per_s"].get<double>(), 0);
  const Json& routing = answer["routing"];
  EXPECT_EQ(routing["experts_per_token"], 4.0);
  EXPECT_EQ(routing["share_of_experts"], 0.25);
  EXPECT_GT(routing["bytes_per_token"].get<std::int64_t>(), 500000);
  ASSERT_EQ(routing["per_layer"].size(), 2u);  // the first layer is dense
  EXPECT_EQ(routing["per_layer"][0]["layer"], 1);
  EXPECT_EQ(routing["per_layer"][0]["experts"], 16);
  EXPECT_EQ(routing["per_layer"][0]["experts_per_token"], 4.0);
}

TEST(RunVerb, DenseModelsHaveNoExperts) {
  const Json routing = answered({checkpoint_path("llama"), "--ids", "5", "-n", "2"})["routing"];
  EXPECT_EQ(routing["experts_per_token"], 0.0);
  EXPECT_EQ(routing["share_of_experts"], 0.0);
  EXPECT_EQ(routing["per_layer"], Json::array());
  EXPECT_GT(routing["bytes_per_token"].get<std::int64_t>(), 0);
}

TEST(RunVerb, PolicyChangesTheExecutedWork) {
  const Arguments base = {checkpoint_path("olmoe"), "--ids", "5,6,7", "-n", "6", "--temp", "0", "--policy"};
  const Json one = answered(base + Arguments{"top_k=1"})["routing"];
  EXPECT_EQ(one["experts_per_token"], 1.0);
  const Json mixed = answered(base + Arguments{R"({"top_k": 2, "layers": {"1": {"top_k": 8}}})"})["routing"];
  EXPECT_EQ(mixed["per_layer"][0]["experts_per_token"], 2.0);
  EXPECT_EQ(mixed["per_layer"][1]["experts_per_token"], 8.0);
  EXPECT_GT(mixed["bytes_per_token"], one["bytes_per_token"]);
}

TEST(RunVerb, PromptGoesThroughTheTemplateUnlessRaw) {
  const std::string model = checkpoint_path("mixtral");
  const auto tokenized = [&](const std::string& text) { return Json::parse(run_junto({"tokenize", model}, text).out); };
  const Arguments base = {model, "-n", "1", "--temp", "0"};
  EXPECT_EQ(answered(base + Arguments{"-p", "Hi"})["prompt_ids"],
            tokenized("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"));
  EXPECT_EQ(answered(base + Arguments{"-p", "Hi", "--system", "Be."})["prompt_ids"],
            tokenized("<|im_start|>system\nBe.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"));
  EXPECT_EQ(answered(base + Arguments{"-p", "Hi", "--raw"})["prompt_ids"], tokenized("Hi"));
  const Scratch scratch;
  EXPECT_EQ(answered(base + Arguments{"-f", scratch.put("prompt", "Hi"), "--raw"})["prompt_ids"], tokenized("Hi"));
  const Ran piped = run_junto(Arguments{"run"} + base + Arguments{"-f", "-", "--raw", "--json"}, "Hi");
  EXPECT_EQ(Json::parse(piped.out)["prompt_ids"], tokenized("Hi"));
}

TEST(RunVerb, SameSeedSameText) {
  const Arguments base = {checkpoint_path("olmoe"), "-p", "Hi", "-n", "30", "--temp", "1.2", "--min-p", "0", "--seed"};
  const Json first = answered(base + Arguments{"7"});
  EXPECT_EQ(answered(base + Arguments{"7"})["ids"], first["ids"]);
  EXPECT_EQ(answered(base + Arguments{"7", "--threads", "1", "--chunk", "1"})["ids"], first["ids"]);
  EXPECT_NE(answered(base + Arguments{"8"})["ids"], first["ids"]);
  const Json likeliest = answered({checkpoint_path("olmoe"), "-p", "Hi", "-n", "30", "--temp", "0"});
  EXPECT_EQ(answered(base + Arguments{"7", "--top-k", "1"})["ids"], likeliest["ids"]);
}

TEST(RunVerb, SpeculationChangesNoToken) {
  const std::string model = checkpoint_path("mixtral");
  const Arguments asked = {model, "--ids", "40,50,60,40,50,60,40,50", "-n", "60", "--seed", "3", "--ignore-eos"};
  const Json plain = answered(asked + Arguments{"--speculate", "off"});
  EXPECT_EQ(plain["speculation"], Json({{"calls", 0}, {"guessed", 0}, {"accepted", 0}}));
  for (const Arguments& how : {Arguments{}, {"--speculate", "ngram"}, {"--draft", checkpoint_path("qwen3")}}) {
    const Json answer = answered(asked + how);
    EXPECT_EQ(answer["ids"], plain["ids"]);
    EXPECT_EQ(answer["text"], plain["text"]);
    EXPECT_LE(answer["speculation"]["accepted"], answer["speculation"]["guessed"]);
  }
  const auto error = [&](const Arguments& how) { return run_junto(Arguments{"run"} + asked + how).err; };
  EXPECT_EQ(error({"--speculate", "draft"}), "junto: --speculate: is draft, which needs --draft MODEL\n");
  EXPECT_EQ(error({"--speculate", "off", "--draft", model}), "junto: --draft: is given, but --speculate is off\n");
}

TEST(RunVerb, EndsAtAnEndTokenUnlessTold) {
  // The bias makes </s> certain.
  const Arguments base = {checkpoint_path("olmoe"), "--ids", "5,6", "-n", "3", "--logit-bias", "2=1000"};
  const Json ended = answered(base);
  EXPECT_EQ(ended["ids"], Json({2}));
  EXPECT_EQ(ended["text"], "");
  EXPECT_EQ(answered(base + Arguments{"--ignore-eos"})["ids"], Json({2, 2, 2}));
}

TEST(RunVerb, StopTextIsNotPrinted) {
  const Arguments base = {"run", checkpoint_path("olmoe"), "--ids", "5,6", "-n", "30", "--temp", "0"};
  const Ran whole = run_junto(base);
  ASSERT_EQ(whole.status, 0) << whole.err;
  ASSERT_GT(whole.out.size(), 12u);
  const std::string stop = whole.out.substr(8, 3);
  EXPECT_EQ(run_junto(base + Arguments{"--stop", stop}).out, whole.out.substr(0, whole.out.find(stop)) + "\n");
}

TEST(RunVerb, LastLineOnStderrTellsTheCost) {
  const Ran ran = run_junto({"run", checkpoint_path("olmoe"), "-p", "Hi", "-n", "5", "--temp", "0"});
  ASSERT_EQ(ran.status, 0);
  EXPECT_EQ(std::ranges::count(ran.err, '\n'), 1) << ran.err;
  for (const char* part :
       {" + 5 tokens", "tok/s", "first token ", "4.0 of 16 experts a token", "memory ", " % of ", "context "}) {
    EXPECT_NE(ran.err.find(part), std::string::npos) << part << "\n" << ran.err;
  }
  EXPECT_EQ(ran.err.find('\033'), std::string::npos) << "no colours where there is no terminal";
}

TEST(RunVerb, ContextEndIsSaidAndAnOverlongPromptIsAnError) {
  const std::string model = checkpoint_path("olmoe");
  const Ran full = run_junto(
      {"run", model, "--ids", "5,6,7", "--context", "10", "-n", "100", "--temp", "0", "--ignore-eos", "--json"});
  ASSERT_EQ(full.status, 0) << full.err;
  EXPECT_EQ(Json::parse(full.out)["ids"].size(), 8u);
  EXPECT_TRUE(full.err.starts_with("the answer is cut: the context of 10 tokens is full\n")) << full.err;
  EXPECT_EQ(refusal_of({"run", model, "--ids", "5,6,7", "--context", "2"}),
            model + ": prompt has 3 tokens, context is 2");
  EXPECT_EQ(refusal_of({"run", model, "--ids", "5", "--context", "257"}),
            "--context: is 257, expected 1..256, the context of " + model);
}

TEST(RunVerb, ShowsWhichExpertTookWhichToken) {
  const Ran ran =
      run_junto({"run", checkpoint_path("olmoe"), "--ids", "42,71,328", "-n", "2", "--temp", "0", "--show-routing"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  EXPECT_NE(ran.out.find("layer 0"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("\nload "), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("█"), std::string::npos) << ran.out;
  const Ran dense = run_junto({"run", checkpoint_path("llama"), "--ids", "42", "-n", "1", "--show-routing"});
  EXPECT_NE(dense.out.find("No layer of this model is routed."), std::string::npos);
}

TEST(RunVerb, MisuseIsOneLine) {
  const std::string model = checkpoint_path("olmoe");
  EXPECT_EQ(refusal_of({"run", model}), "junto run needs one of -p TEXT, --ids 1,2,3 and -f FILE; 0 are given");
  EXPECT_EQ(refusal_of({"run", model, "-p", "a", "--ids", "1"}),
            "junto run needs one of -p TEXT, --ids 1,2,3 and -f FILE; 2 are given");
  EXPECT_EQ(refusal_of({"run", model, "-p", "", "--raw"}), model + ": prompt has no tokens");
  EXPECT_EQ(refusal_of({"run", model, "-p", "a", "--temp", "-1"}), "--temp is -1, expected a number from 0 to 1000000");
  EXPECT_EQ(refusal_of({"run", model, "-p", "a", "--logit-bias", "x"}),
            "--logit-bias: entry is x, expected ID=BIAS as in 15=-100,27=2.5");
  EXPECT_EQ(refusal_of({"run", model, "-p", "a", "--logit-bias", "384=1"}), "--logit-bias: id is 384, expected 0..383");
  EXPECT_EQ(refusal_of({"run", model, "--ids", "1", "--system", "x"}),
            "--system: goes through the chat template, which --ids does not");
  EXPECT_EQ(refusal_of({"run", model, "-p", "a", "--tempp", "1"}),
            "junto run has no option --tempp; did you mean --temp?");
  EXPECT_EQ(refusal_of({"run", "smollm2", "-p", "a"}), "smollm2: not fetched yet; junto fetch smollm2 does");
  EXPECT_TRUE(refusal_of({"run", model, "-p", "a", "--policy", "9:top_k=1"}).starts_with("--policy"))
      << refusal_of({"run", model, "-p", "a", "--policy", "9:top_k=1"});
}

TEST(RunVerb, CtrlCEndsTheAnswerNotTheReport) {
  const Scratch scratch;
  const std::string model = scratch.path("tiny.gguf"), out = scratch.path("out"), err = scratch.path("err");
  ASSERT_EQ(run_junto({"synth", "--preset", "tiny", "--type", "q8_0", "--out", model}).status, 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(open(out.c_str(), O_CREAT | O_WRONLY, 0600), 1);
    dup2(open(err.c_str(), O_CREAT | O_WRONLY, 0600), 2);
    setenv("JUNTO_CACHE", test_cache().c_str(), 1);
    execl(JUNTO_BINARY, "junto", "run", model.c_str(), "--ids", "1,2,3", "-n", "-1", "--ignore-eos", "--threads", "1",
          nullptr);
    _exit(127);
  }
  for (int i = 0; i < 2000 && contents(out).empty(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  kill(child, SIGINT);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
  EXPECT_TRUE(contents(out).ends_with('\n'));
  EXPECT_NE(contents(err).find("tok/s"), std::string::npos) << contents(err);
}

}  // namespace
}  // namespace junto

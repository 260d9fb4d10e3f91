// Verbs that make files, and those that pass text through: wired as the documentation says. What they compute is tested
// beside it.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/json.h"
#include "cli/test_program.h"

namespace junto {
namespace {

TEST(ConvertVerb, WritesAModelThatComputesTheSame) {
  const Scratch scratch;
  const std::string model = checkpoint_path("olmoe"), gguf = scratch.path("olmoe.gguf");
  const Ran ran = run_junto({"convert", model, gguf, "--json"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json report = Json::parse(ran.out);
  EXPECT_EQ(report["architecture"], "olmoe");
  EXPECT_GT(report["tensors"].get<int>(), 30);
  ASSERT_EQ(run_junto({"logits", model, "--ids", "5,6,7", "--out", scratch.path("a"), "--kv", "f32"}).status, 0);
  ASSERT_EQ(run_junto({"logits", gguf, "--ids", "5,6,7", "--out", scratch.path("b"), "--kv", "f32"}).status, 0);
  EXPECT_EQ(contents(scratch.path("a")), contents(scratch.path("b")));
}

TEST(QuantizeVerb, ShrinksAndSaysWhereRowsDoNotFit) {
  const Scratch scratch;
  const std::string small = scratch.path("small.gguf");
  const Ran ran =
      run_junto({"quantize", checkpoint_path("olmoe"), small, "--type", "q4_k", "--keep", "*attn*=q8_0", "--json"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json report = Json::parse(ran.out);
  EXPECT_LT(report["bytes"].get<std::int64_t>(), report["source_bytes"].get<std::int64_t>());
  EXPECT_FALSE(report["notes"].empty()) << "rows of 64 values do not fit blocks of 256";
  const Json inspected = Json::parse(run_junto({"inspect", small, "--json"}).out);
  EXPECT_TRUE(inspected["types"].contains("q8_0"));
}

TEST(QuantizeVerb, MisuseIsOneLine) {
  const Scratch scratch;
  const std::string model = checkpoint_path("olmoe"), out = scratch.path("out.gguf");
  EXPECT_EQ(refusal_of({"quantize", model, out}), "junto quantize needs --type TYPE; see junto quantize --help");
  EXPECT_TRUE(refusal_of({"quantize", model, out, "--type", "q9"}).starts_with("--type: type is q9, expected one of "))
      << refusal_of({"quantize", model, out, "--type", "q9"});
  EXPECT_NE(refusal_of({"quantize", model, out, "--type", "q4_0", "--keep", "noequals"}).find("--keep"),
            std::string::npos);
  EXPECT_NE(refusal_of({"convert", scratch.path("none"), out}).find("no such file"), std::string::npos);
  EXPECT_EQ(refusal_of({"convert", model}), "junto convert needs DST; see junto convert --help");
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(SynthVerb, WritesAModelThatRuns) {
  const Scratch scratch;
  const std::string tiny = scratch.path("tiny.gguf");
  const Ran ran = run_junto(
      {"synth", "--preset", "tiny", "--type", "q8_0", "--out", tiny, "--layers", "2", "--experts", "4", "--json"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json inspected = Json::parse(run_junto({"inspect", tiny, "--json"}).out);
  EXPECT_EQ(inspected["blocks"], 2);
  EXPECT_EQ(inspected["layers"][0]["experts"]["count"], 4);
  EXPECT_EQ(run_junto({"logits", tiny, "--ids", "1,2,3", "--out", scratch.path("logits")}).status, 0);
  EXPECT_TRUE(
      refusal_of({"synth", "--preset", "olmo", "--out", tiny}).starts_with("--preset is olmo, expected olmoe-1b-7b"));
  EXPECT_EQ(refusal_of({"synth", "--preset", "tiny"}), "junto synth needs --out FILE; see junto synth --help");
}

TEST(TemplateVerb, RendersALineForALine) {
  const std::string lines =
      "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"add_generation_prompt\": true}\n"
      "{\"messages\": 3}\n";
  const Ran ran = run_junto({"template", checkpoint_path("olmoe"), "--jsonl"}, lines);
  ASSERT_EQ(ran.status, 0) << ran.err;
  const std::size_t end = ran.out.find('\n');
  EXPECT_EQ(Json::parse(ran.out.substr(0, end))["rendered"], "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_TRUE(Json::parse(ran.out.substr(end + 1)).contains("error"));
  EXPECT_NE(refusal_of({"template", "/no/such/file.jinja", "--jsonl"}).find("/no/such/file.jinja"), std::string::npos);
}

TEST(TokenizeVerb, GoesThereAndBack) {
  const std::string model = checkpoint_path("mixtral"), text = "Hello,\n wörld 日本";
  const Ran ids = run_junto({"tokenize", model}, text);
  ASSERT_EQ(ids.status, 0) << ids.err;
  EXPECT_TRUE(Json::parse(ids.out).is_array());
  EXPECT_EQ(run_junto({"tokenize", model, "--decode"}, ids.out).out, text);
  const Ran lines = run_junto({"tokenize", model + "/tokenizer.json", "--jsonl"}, Json(text).dump() + "\n\"\"\n");
  EXPECT_EQ(lines.out, Json::parse(ids.out).dump() + "\n[]\n");
  EXPECT_NE(refusal_of({"tokenize", model, "--decode"}, "[1, \"x\"]").find("standard input"), std::string::npos);
}

TEST(Program, SaysItsVersionAndHelps) {
  EXPECT_TRUE(run_junto({"--version"}).out.starts_with("junto "));
  const Ran help = run_junto({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const char* verb : {"run", "chat", "logits", "tokenize", "template", "perplexity", "inspect", "convert",
                           "quantize", "synth", "bench", "fetch", "completion"}) {
    EXPECT_NE(help.out.find(std::string("\n  ") + verb + " "), std::string::npos) << verb;
    const Ran own = run_junto({verb, "--help"});
    EXPECT_EQ(own.status, 0) << verb;
    EXPECT_NE(own.out.find("Examples:"), std::string::npos) << verb;
    EXPECT_EQ(own.err, "") << verb;
  }
}

TEST(Program, MisuseIsOneLine) {
  EXPECT_EQ(refusal_of({}), "expected a verb, such as run or chat; see junto --help");
  EXPECT_EQ(refusal_of({"inspct"}), "no verb inspct; did you mean inspect?");
  EXPECT_EQ(refusal_of({"inspect", "x", "--tensor"}), "junto inspect has no option --tensor; did you mean --tensors?");
  EXPECT_EQ(refusal_of({"inspect", "a\nb"}).find('\n'), std::string::npos);
  EXPECT_TRUE(refusal_of({"fetch", "smolm2"}).find("smollm2") != std::string::npos);
}

TEST(Program, CompletionScriptsAreSound) {
  const Ran bash = run_junto({"completion", "bash"});
  ASSERT_EQ(bash.status, 0);
  const Scratch scratch;
  const std::string script = scratch.put(
      "complete.bash", bash.out +
                           "\nCOMP_WORDS=(junto inspect m --te) COMP_CWORD=3\n_junto\necho \"${COMPREPLY[*]}\"\n"
                           "COMP_WORDS=(junto logits m --kv q) COMP_CWORD=4\n_junto\necho \"${COMPREPLY[*]}\"\n"
                           "COMP_WORDS=(junto insp) COMP_CWORD=1\n_junto\necho \"${COMPREPLY[*]}\"\n");
  const std::string command = "bash " + script + " > " + scratch.path("out") + " 2>&1";
  ASSERT_EQ(std::system(command.c_str()), 0) << contents(scratch.path("out"));
  EXPECT_EQ(contents(scratch.path("out")), "--tensors\nq8_0\ninspect\n");
}

}  // namespace
}  // namespace junto

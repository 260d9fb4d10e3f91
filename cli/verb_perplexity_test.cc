#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/test_program.h"

namespace junto {
namespace {

const std::string kText =
    "The club met on Fridays. Each member brought a question, and whoever knew best was asked to answer it; the others "
    "listened, and sometimes they disagreed. A printer knew about paper, a glazier about glass, a surveyor about land, "
    "and a joiner about wood. Nobody knew everything, and nobody had to.";

Json measured(std::vector<std::string> arguments) {
  arguments.push_back("--json");
  const Ran ran = run_junto(arguments);
  EXPECT_EQ(ran.status, 0) << ran.err;
  return ran.status == 0 ? Json::parse(ran.out) : Json::object();
}

TEST(PerplexityVerb, CountsWindowsAndScoresAllButTheFirstPosition) {
  const Scratch scratch;
  const std::string text = scratch.put("text", kText), model = checkpoint_path("mixtral");
  const Json plain = measured({"perplexity", model, "-f", text, "--context", "32", "--no-bos"});
  ASSERT_EQ(plain.size(), 4u);
  const auto tokens = plain["tokens"].get<std::int64_t>();
  EXPECT_EQ(tokens % 31, 0);
  EXPECT_GT(tokens, 31);
  EXPECT_NEAR(plain["perplexity"].get<double>(), std::exp(plain["mean_nll"].get<double>()), 1e-9);
  EXPECT_GT(plain["standard_error"].get<double>(), 0);
  // A random model knows nothing: near the uniform distribution over 384 tokens.
  EXPECT_GT(plain["perplexity"].get<double>(), 100);
  // The default is what the model says, and this one wants none.
  EXPECT_EQ(measured({"perplexity", model, "-f", text, "--context", "32"}), plain);
  EXPECT_EQ(measured({"perplexity", model, "-f", text, "--context", "32", "--chunk", "5"}), plain);
  const Json bos = measured({"perplexity", model, "-f", text, "--context", "32", "--bos"});
  EXPECT_EQ(bos["tokens"].get<std::int64_t>() % 31, 0);
  EXPECT_NE(bos["mean_nll"], plain["mean_nll"]);
}

TEST(PerplexityVerb, AgainstItselfIsNoDivergence) {
  const Scratch scratch;
  const std::string text = scratch.put("text", kText), model = checkpoint_path("olmoe");
  const Json same = measured({"perplexity", model, "-f", text, "--context", "32", "--against", model});
  EXPECT_EQ(same["mean_kl"], 0.0);
  EXPECT_EQ(same["p99_kl"], 0.0);
  EXPECT_NEAR(same["top1_agreement"].get<double>(), 1.0, 1e-12);
  // The policy is the model's, not the reference's.
  const Json fewer =
      measured({"perplexity", model, "-f", text, "--context", "32", "--against", model, "--policy", "top_k=1"});
  EXPECT_GT(fewer["mean_kl"].get<double>(), 0);
  EXPECT_GE(fewer["p99_kl"].get<double>(), fewer["mean_kl"].get<double>());
  EXPECT_LT(fewer["top1_agreement"].get<double>(), 1.0);
}

TEST(PerplexityVerb, MisuseIsOneLine) {
  const Scratch scratch;
  const std::string model = checkpoint_path("olmoe"), text = scratch.put("text", kText),
                    brief = scratch.put("brief", "Hi.");
  const std::string short_text = refusal_of({"perplexity", model, "-f", brief, "--context", "64"});
  EXPECT_TRUE(short_text.starts_with(brief + ": text has ")) << short_text;
  EXPECT_TRUE(short_text.ends_with(" tokens, one window of 64 needs 64")) << short_text;
  EXPECT_EQ(refusal_of({"perplexity", model, "-f", text}),
            "--context: is 512, expected 2..256, the context of " + model);
  EXPECT_EQ(refusal_of({"perplexity", model, "-f", text, "--context", "1"}),
            "--context is 1, expected a whole number, at least 2");
  EXPECT_EQ(refusal_of({"perplexity", model, "-f", text, "--context", "32", "--bos", "--no-bos"}),
            "--bos and --no-bos exclude each other");
  EXPECT_EQ(refusal_of({"perplexity", model, "-f", scratch.put("bytes", "abc\xff\xfe"), "--context", "32"}),
            scratch.path("bytes") + ": byte 3 is not UTF-8");
  EXPECT_NE(refusal_of({"perplexity", model, "-f", scratch.path("none"), "--context", "32"}).find("none"),
            std::string::npos);
}

}  // namespace
}  // namespace junto

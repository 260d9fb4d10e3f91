#include "moe/router_spec.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace junto {
namespace {

std::string error_of(std::string_view text) {
  try {
    parse_router_spec(parse_json(text, "a.gguf"), "a.gguf");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(RouterSpec, EverySpecComesBackFromJson) {
  const std::vector<SelectRule> rules = {TopK{3},
                                         TopP{0.1f, false, 5},
                                         Threshold{-0.3f, 1, 4},
                                         Gap{2},
                                         GroupLimited{3, 4, 2},
                                         GroupLimited{1, 2, 1, GroupLimited::GroupScore::kMax},
                                         SparseMixer{2, 0.02f},
                                         TopP{0.75f, false, 0, 2},
                                         TopP{.p = 0.4f, .strict = true},
                                         Margin{0.2f, 3, true},
                                         Given{.key = Given::Key::kToken, .k = 2, .seed = 7},
                                         Given{.key = Given::Key::kClass, .experts_of_key = {{3, 1}, {}, {7}}},
                                         ExpertChoice{1.5f}};
  int specs = 0;
  for (const SelectRule& rule : rules) {
    for (const Score score : {Score::kSoftmax, Score::kSigmoid, Score::kLogit}) {
      for (const Weigh weigh :
           {Weigh::kRaw, Weigh::kRenormalised, Weigh::kSoftmaxOfChosen, Weigh::kSoftmaxOfAll, Weigh::kConstant}) {
        RouterSpec spec{.experts = 8, .score = score, .select = rule, .weigh = weigh};
        if (std::holds_alternative<SparseMixer>(rule)) {
          spec.score = Score::kLogit;
          spec.weigh = Weigh::kRenormalised;
        } else {
          spec.selection_bias = score == Score::kSigmoid;
        }
        spec.logits = static_cast<LogitsKind>(specs % 3);
        spec.logits_hidden = spec.logits == LogitsKind::kTwoLayer ? 16 : 0;
        spec.logit_residual = specs % 2 == 0;
        if (specs % 4 == 1) spec.prune = Capacity{1.5f, Capacity::Priority::kWeight, Capacity::Drop::kRenormalise};
        if (specs % 8 == 1) spec.prune->shares = {1, 2, 0.5f, 1, 1, 1, 1, 0.1f};
        const bool by_unit = !std::holds_alternative<SparseMixer>(rule) && !std::holds_alternative<ExpertChoice>(rule);
        if (by_unit && specs % 3 == 0) spec.entropy_override = EntropyOverride{Entropy::kRenyi, 2.0f, 0.5f, 0.0f};
        spec.logit_scale = specs % 2 ? 0.1f : 1.0f;
        spec.logit_softcap = specs % 3 ? 30.0f : 0.0f;
        spec.renormalise_eps = specs % 2 ? 1e-20f : 0.0f;
        spec.renormalise_min = specs % 5 ? 1e-12f : 0.0f;
        spec.renormalise_p = specs % 7 ? 1.0f : 2.5f;
        spec.scale = specs % 4 ? 2.5f : 1.0f;
        spec.weight_on = specs % 3 ? WeightOn::kOutput : WeightOn::kInput;
        const std::string text = to_json(spec).dump();
        EXPECT_EQ(parse_router_spec(parse_json(text, "test"), "test"), spec) << text;
        EXPECT_NO_THROW(check_router_spec(spec, "test"));
        ++specs;
      }
    }
  }
  EXPECT_EQ(specs, 195);
}

TEST(RouterSpec, NumbersAreWrittenShort) {
  const RouterSpec spec{.experts = 2, .scale = 0.1f};
  EXPECT_EQ(to_json(spec).dump(),
            R"({"experts":2,"scale":0.1,"score":"softmax","select":{"k":1,"rule":"top_k"},"version":1,"weigh":"raw"})");
}

TEST(RouterSpec, WhatIsUnknownIsRefusedByName) {
  EXPECT_EQ(error_of(R"({"version": 2, "experts": 4})"), "a.gguf: router: version is 2, this build reads version 1");
  EXPECT_EQ(error_of(R"({"experts": 4})"), "a.gguf: router: version is missing, this build reads version 1");
  EXPECT_EQ(error_of(R"({"version": 1, "experts": 4, "score": "softmx"})"),
            R"(a.gguf: router: score is "softmx", did you mean "softmax"?)");
  EXPECT_EQ(error_of(R"({"version": 1, "experts": 4, "renormalize_eps": 1})"),
            R"(a.gguf: router: unknown key "renormalize_eps", did you mean "renormalise_eps"?)");
  EXPECT_EQ(error_of(R"({"version": 1, "experts": 4, "select": {"rule": "topk", "k": 2}})"),
            R"(a.gguf: router: select: rule is "topk", did you mean "top_k"?)");
  EXPECT_EQ(error_of(R"({"version": 1, "experts": 4, "select": {"rule": "top_k", "kk": 2}})"),
            R"(a.gguf: router: select: unknown key "kk", did you mean "k"?)");
  EXPECT_EQ(
      error_of(R"({"version": 1, "experts": 4, "select": {"rule": "expert_choice_by_capacity"}})"),
      "a.gguf: router: select: rule is \"expert_choice_by_capacity\", expected one of top_k, top_p, threshold, gap, "
      "group_limited, sparse_mixer, margin, given, expert_choice");
}

TEST(RouterSpec, ValuesAreChecked) {
  EXPECT_EQ(error_of(R"({"version": 1, "experts": 4, "select": {"rule": "top_k", "k": 5}})"),
            "a.gguf: router: select: k is 5, expected 1..4");
  EXPECT_EQ(error_of(R"({"version": 1, "experts": 8, "select": {"rule": "group_limited", "groups": 3}})"),
            "a.gguf: router: select: groups is 3, expected a divisor of 8 experts");
  EXPECT_EQ(
      error_of(
          R"({"version": 1, "experts": 8, "select": {"rule": "group_limited", "groups": 4, "top_groups": 2, "k": 5}})"),
      "a.gguf: router: select: k is 5, expected 1..4");
  EXPECT_EQ(error_of(R"({"version": 1, "experts": 8, "select": {"rule": "sparse_mixer"}})"),
            "a.gguf: router: score is softmax, expected \"logit\" with sparse_mixer");
  EXPECT_EQ(error_of(R"({"version": 1, "experts": 8, "logits": "two_layer"})"),
            "a.gguf: router: logits_hidden is missing, expected it of two_layer logits");
  EXPECT_EQ(error_of(R"({"version": 1, "experts": 8, "logits_hidden": 4})"),
            "a.gguf: router: logits_hidden is 4, expected it with two_layer logits");
  EXPECT_EQ(error_of(R"({"version": 1, "experts": 2, "prune": {"rule": "capacity", "shares": [1]}})"),
            "a.gguf: router: prune: shares is 1 values, expected 2 numbers above 0");
  EXPECT_EQ(error_of(R"({"version": 1, "experts": 2, "select": {"rule": "given", "experts_of_key": [[0], [2]]}})"),
            "a.gguf: router: select: experts_of_key is an array with 2, expected arrays of different experts 0..1");
  EXPECT_EQ(error_of(R"({"version": 1, "experts": 2, "select": {"rule": "expert_choice"}, "entropy_override": {}})"),
            "a.gguf: router: entropy_override is set, expected a rule by which a unit chooses its experts");
  const std::vector<std::string> hostile = {
      "[]",
      "null",
      "3",
      R"({"version": 1})",
      R"({"version": 1.0, "experts": 4})",
      R"({"version": "1", "experts": 4})",
      R"({"version": 1, "experts": 0})",
      R"({"version": 1, "experts": -1})",
      R"({"version": 1, "experts": 1e9})",
      R"({"version": 1, "experts": 18446744073709551615})",
      R"({"version": 1, "experts": 4, "scale": "2"})",
      R"({"version": 1, "experts": 4, "scale": 1e300})",
      R"({"version": 1, "experts": 4, "selection_bias": 1})",
      R"({"version": 1, "experts": 4, "select": []})",
      R"({"version": 1, "experts": 4, "select": {}})",
      R"({"version": 1, "experts": 4, "select": {"rule": 3}})",
      R"({"version": 1, "experts": 4, "renormalise_p": 0})",
      R"({"version": 1, "experts": 4, "select": {"rule": "threshold", "min_k": 3, "max_k": 2}})",
      R"({"version": 1, "experts": 4, "select": {"rule": "top_p", "p": 1.5}})",
      R"({"version": 1, "experts": 4, "logit_softcap": -1})",
      R"({"version": 1, "experts": 4, "prune": {}})",
      R"({"version": 1, "experts": 4, "prune": {"rule": "capacity", "priority": "age"}})",
      R"({"version": 1, "experts": 4, "prune": {"rule": "capacity", "shares": [1, 1, 0, 1]}})",
      R"({"version": 1, "experts": 4, "entropy_override": {"order": 0}})",
      R"({"version": 1, "experts": 4, "select": {"rule": "given", "experts_of_key": [[1, 1]]}})",
      R"({"version": 1, "experts": 4, "select": {"rule": "given", "experts_of_key": 3}})",
      R"({"version": 1, "experts": 4, "select": {"rule": "expert_choice", "factor": 5}})",
      R"({"version": 1, "experts": 4, "select": {"rule": "top_p", "max_k": 2, "min_k": 3}})"};
  for (const std::string& text : hostile) {
    const std::string error = error_of(text);
    EXPECT_TRUE(error.starts_with("a.gguf: router: ")) << text << " -> " << error;
    EXPECT_EQ(error.find('\n'), std::string::npos);
  }
}

TEST(RouterSpec, SpecsFromArchitecturesAreCheckedToo) {
  RouterSpec spec{.experts = 4, .select = TopK{9}};
  EXPECT_THROW(check_router_spec(spec, "a"), Error);
  spec.select = TopK{2};
  spec.scale = std::nanf("");
  EXPECT_THROW(check_router_spec(spec, "a"), Error);
}

}  // namespace
}  // namespace junto

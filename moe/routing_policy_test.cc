#include "moe/routing_policy.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace junto {
namespace {

RoutingPolicy parse(std::string_view text) {
  return parse_routing_policy(text, "--policy");
}

std::string error_of(std::string_view text) {
  try {
    parse(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string check_error(std::string_view text, const std::vector<int>& experts) {
  try {
    check_policy(parse(text), experts, "--policy");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(RoutingPolicy, ShortFormAndJsonAreTheSame) {
  const RoutingPolicy policy = parse("top_k=2,renormalise=true;4-7:top_k=1;8:mask=!3,!5,offsets=3:-1.5,4:2");
  EXPECT_EQ(policy, parse(R"({"top_k": 2, "renormalise": true, "layers": {"4-7": {"top_k": 1},
      "8": {"mask": ["!3", "!5"], "offsets": {"3": -1.5, "4": 2}}}})"));
  EXPECT_EQ(policy.all, (LayerPolicy{.top_k = 2, .renormalise = true}));
  EXPECT_EQ(policy.layers.size(), 5u);
  EXPECT_EQ(policy.layers.at(5), (LayerPolicy{.top_k = 1}));
  EXPECT_EQ(policy.layers.at(8), (LayerPolicy{.forbidden = {3, 5}, .offsets = {{3, -1.5f}, {4, 2.0f}}}));
}

TEST(RoutingPolicy, ShortFormReadsEveryKey) {
  EXPECT_EQ(parse(" mask = 1 , !2-4, max_experts = 3 ; threshold=.25;renormalise=false ").all,
            (LayerPolicy{
                .threshold = 0.25f, .max_experts = 3, .renormalise = false, .forbidden = {2, 3, 4}, .allowed = {1}}));
  EXPECT_EQ(parse("top_p=0.7").all, (LayerPolicy{.top_p = 0.7f}));
  EXPECT_EQ(parse("offsets=7:1e1,1:-2,top_k=1").all, (LayerPolicy{.top_k = 1, .offsets = {{1, -2.0f}, {7, 10.0f}}}));
  EXPECT_TRUE(parse("").empty());
  EXPECT_TRUE(parse("{}").empty());
}

TEST(RoutingPolicy, MaskTakesNumbersAndStrings) {
  EXPECT_EQ(parse(R"({"mask": [5, "6", "!3", "!3", 5]})").all, (LayerPolicy{.forbidden = {3}, .allowed = {5, 6}}));
}

TEST(RoutingPolicy, ComesBackFromJson) {
  for (const std::string_view text :
       {"", "top_k=2", "top_p=0.1", "threshold=-0.3,max_experts=7", "mask=!1,!2,5;offsets=0:0.1,9:-3",
        "renormalise=false;0:top_k=1;2-4:top_p=0.3;5:top_p=0.3;7:mask=!0-9", "3-5:top_k=1;4:renormalise=true"}) {
    const RoutingPolicy policy = parse(text);
    EXPECT_EQ(parse(to_json(policy).dump()), policy) << text;
  }
  EXPECT_EQ(to_json(parse("2-4:top_p=0.3;5:top_p=0.3")).dump(), R"({"layers":{"2-5":{"top_p":0.3}}})");
}

TEST(RoutingPolicy, LayersOverlayTheWhole) {
  const RoutingPolicy policy = parse("top_k=2,top_p=0.5,mask=!1;3:threshold=0.1,mask=!2");
  EXPECT_EQ(policy.for_layer(0), policy.all);
  EXPECT_EQ(policy.for_layer(3), (LayerPolicy{.top_k = 2, .threshold = 0.1f, .forbidden = {2}}));
}

TEST(RoutingPolicy, OverlappingRangesMayNotSetTheSameKey) {
  EXPECT_EQ(parse("4-7:top_k=1;5:mask=!3").layers.at(5), (LayerPolicy{.top_k = 1, .forbidden = {3}}));
  EXPECT_EQ(error_of("4-7:top_k=1;5:top_k=2"), "--policy: policy: layers 5: top_k of layer 5 is given twice");
  EXPECT_EQ(error_of("top_k=1,top_k=2"), "--policy: policy: top_k is given twice");
  EXPECT_EQ(error_of("top_k=1;top_k=2"), "--policy: policy: top_k is given twice");
}

TEST(RoutingPolicy, MistakesAreNamed) {
  EXPECT_EQ(error_of("topk=2"), R"(--policy: policy: unknown key "topk", did you mean "top_k"?)");
  EXPECT_EQ(error_of("renormalize=true"),
            R"(--policy: policy: unknown key "renormalize", did you mean "renormalise"?)");
  EXPECT_EQ(error_of("top_k=0"), "--policy: policy: top_k is 0, expected 1..65536");
  EXPECT_EQ(error_of("top_k=two"), R"(--policy: policy: top_k is "two", expected 1..65536)");
  EXPECT_EQ(error_of("top_k"), R"(--policy: policy: "top_k" has no =, expected key=value)");
  EXPECT_EQ(error_of("top_k=1,5"), R"(--policy: policy: "5" has no =, expected key=value)");
  EXPECT_EQ(error_of("top_p=1.5"), "--policy: policy: top_p is 1.5, expected a number 0.0..1.0");
  EXPECT_EQ(error_of("top_p=0.5,threshold=0.1"),
            "--policy: policy: top_p and threshold are both given, expected one of them");
  EXPECT_EQ(error_of("8:mask=3x"),
            R"(--policy: policy: layers 8: mask entry is "3x", expected an expert as 3, "3", "!3" or "!3-7")");
  EXPECT_EQ(error_of("7-4:top_k=1"), "--policy: policy: layers 7-4: expected a block number or a range as 4-7");
  EXPECT_EQ(error_of("offsets=3"), R"(--policy: policy: offsets entry is "3", expected expert:offset as 3:-1.5)");
}

TEST(RoutingPolicy, HostileTextIsOneLineOfError) {
  const std::string deep(100000, '[');
  for (const std::string& text : std::vector<std::string>{"{",
                                                          "[]",
                                                          "{\"layers\": []}",
                                                          "{\"layers\": {\"a\": {}}}",
                                                          "{\"layers\": {\"0-99999999999\": {\"top_k\": 1}}}",
                                                          "{\"mask\": \"!3\"}",
                                                          "{\"mask\": [1.5]}",
                                                          "{\"mask\": [-1]}",
                                                          "{\"mask\": [null]}",
                                                          "{\"mask\": [[1]]}",
                                                          "{\"offsets\": [1]}",
                                                          "{\"offsets\": {\"x\": 1}}",
                                                          "{\"offsets\": {\"1\": null}}",
                                                          "{\"offsets\": {\"1\": 1, \"01\": 2}}",
                                                          "{\"top_k\": 1e300}",
                                                          "{\"top_k\": 1.5}",
                                                          "{\"layers\": {\"1\": {\"layers\": {}}}}",
                                                          "=",
                                                          ":",
                                                          "4:5:top_k=1",
                                                          ",",
                                                          "mask=!",
                                                          "mask=-",
                                                          "\xff\xfe",
                                                          "@",
                                                          "@/nonexistent/file",
                                                          "@/tmp",
                                                          "{\"a\":" + deep,
                                                          "top_k=" + std::string(5000, '9'),
                                                          "mask=!0-65535,!0-65535,!0-65535"}) {
    const std::string error = error_of(text);
    EXPECT_FALSE(error.empty()) << text.substr(0, 100);
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_LT(error.size(), 400u) << error;
  }
}

TEST(RoutingPolicy, ReadsAFile) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("junto_policy_" + std::to_string(::getpid()) + ".json");
  std::ofstream(path) << "{\"top_k\": 3}\n";
  EXPECT_EQ(parse("@" + path.string()).all, (LayerPolicy{.top_k = 3}));
  std::ofstream(path) << std::string((1 << 20) + 1, ' ');
  EXPECT_NE(error_of("@" + path.string()), "");
  std::filesystem::remove(path);
}

TEST(CheckPolicy, WhatTheModelDoesNotHaveIsRefused) {
  const std::vector<int> experts = {0, 8, 3};
  EXPECT_EQ(check_error("top_k=8", experts), "");
  EXPECT_EQ(check_error("top_k=9", experts), "--policy: policy: top_k is 9, expected 1..8");
  EXPECT_EQ(check_error("2:top_k=4", experts), "--policy: policy: layer 2: top_k is 4, expected 1..3");
  EXPECT_EQ(check_error("mask=!7", experts), "");
  EXPECT_EQ(check_error("2:mask=!3", experts), "--policy: policy: layer 2: mask names expert 3, expected 0..2");
  EXPECT_EQ(check_error("1:offsets=9:1", experts), "--policy: policy: layer 1: offsets names expert 9, expected 0..7");
  EXPECT_EQ(check_error("3:top_k=1", experts), "--policy: policy: layer 3: the model has layers 0..2");
  EXPECT_EQ(check_error("0:top_k=1", experts),
            "--policy: policy: layer 0: this block is dense, it has no routed experts");
  EXPECT_EQ(check_error("top_k=1", {0, 0}), "--policy: policy: the model has no routed experts");
  EXPECT_EQ(check_error("", {}), "");
}

TEST(RoutingPolicy, ChoicesOfStreamedExpertsAreReadAndOverlaid) {
  const RoutingPolicy policy = parse("prefer_resident=0.25,skip_late=true;3:skip_late=false");
  EXPECT_EQ(policy.all, (LayerPolicy{.prefer_resident = 0.25f, .skip_late = true}));
  EXPECT_EQ(policy.for_layer(3), (LayerPolicy{.prefer_resident = 0.25f, .skip_late = false}));
  EXPECT_EQ(routing_policy_from_json(to_json(policy), "test"), policy);
  EXPECT_NE(error_of("prefer_resident=-0.1").find("prefer_resident"), std::string::npos);
  EXPECT_NE(error_of("skip_late=2").find("skip_late"), std::string::npos);
  EXPECT_NE(error_of("4-7:skip_late=true;5:skip_late=true").find("skip_late of layer 5 is given twice"),
            std::string::npos);
}

TEST(CheckPolicy, ChoicesOfStreamedExpertsAreRefusedByNameWhereExpertsAreInMemory) {
  const auto refusal = [](std::string_view text) -> std::string {
    try {
      check_policy_of_resident_experts(parse(text), "--policy");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(refusal("prefer_resident=0").find("policy: prefer_resident is for experts that are streamed"),
            std::string::npos);
  EXPECT_NE(refusal("2:skip_late=true").find("policy: skip_late is for experts"), std::string::npos);
  EXPECT_EQ(refusal("top_k=1"), "");
}

}  // namespace
}  // namespace junto

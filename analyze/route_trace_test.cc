#include "analyze/route_trace.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "analyze/test_traces.h"
#include "base/error.h"

namespace junto {
namespace {

/// Two sequences, three tokens, a layer of 4 experts and attention experts with wide ids.
RouteTrace small_trace() {
  RouteTrace trace = trace_of_ids(4, {{{3, 1}, {}, {0, 2}}, {{3}, {2}, {1}}});
  trace.layers[0].layer = 5;
  trace.layers[0].expert_bytes = 12288;
  trace.layers[0].plan.weight[0] = -0.75f;
  trace.layers[1].layer = 5;
  trace.layers[1].mixer = true;
  trace.layers[1].experts = 300;
  trace.layers[1].plan.expert[2] = 299;
  trace.token = {17, -1, 151000};
  trace.sequence_begin = {0, 2};
  return trace;
}

std::string refusal(const std::vector<std::byte>& bytes) {
  try {
    parse_trace(bytes, "t");
    return "accepted";
  } catch (const Error& error) {
    return error.what();
  }
}

std::vector<std::byte> bytes_of(const std::string& header, const std::string& body = "", char version = 1) {
  std::string text = "JUNTOTRC" + std::string{version, 0, 0, 0};
  text +=
      std::string{static_cast<char>(header.size() & 255), static_cast<char>(header.size() >> 8), 0, 0} + header + body;
  const auto raw = std::as_bytes(std::span(text));
  return {raw.begin(), raw.end()};
}

std::string header_with(const std::string& tokens, const std::string& sequences, const std::string& layer) {
  return R"({"weights":"f16","tokens":)" + tokens + R"(,"sequences":)" + sequences + R"(,"layers":[)" + layer + "]}";
}

const std::string kLayer = R"({"layer":0,"experts":4,"expert_bytes":0})";

TEST(RouteTrace, ComesBackFromItsBytes) {
  const RouteTrace trace = small_trace();
  const RouteTrace back = parse_trace(serialize_trace(trace), "t");
  EXPECT_EQ(back.source, "a test");
  EXPECT_EQ(back.token, trace.token);
  EXPECT_EQ(back.sequence_begin, trace.sequence_begin);
  ASSERT_EQ(back.layers.size(), 2u);
  for (std::size_t l = 0; l < 2; ++l) {
    EXPECT_EQ(back.layers[l].layer, 5);
    EXPECT_EQ(back.layers[l].mixer, l == 1);
    EXPECT_EQ(back.layers[l].experts, trace.layers[l].experts);
    EXPECT_EQ(back.layers[l].expert_bytes, trace.layers[l].expert_bytes);
    EXPECT_EQ(back.layers[l].plan.offset, trace.layers[l].plan.offset);
    EXPECT_EQ(back.layers[l].plan.expert, trace.layers[l].plan.expert);
    EXPECT_EQ(back.layers[l].plan.weight, trace.layers[l].plan.weight);
  }
}

TEST(RouteTrace, RoundsComeBackAndOlderFilesHaveOne) {
  RouteTrace trace = trace_of_ids(4, {{{3}}, {{1}}, {{2}}});
  trace.layers[1].layer = 0;
  trace.layers[1].round = 1;
  const RouteTrace back = parse_trace(serialize_trace(trace), "t");
  EXPECT_EQ(back.layers[1].round, 1);
  EXPECT_EQ(back.layers[2].round, 0);
  EXPECT_EQ(back.layers[1].name(), "layer 0, round 1");
  EXPECT_EQ(parse_trace(bytes_of(header_with("0", "[]", kLayer)), "t").layers[0].round, 0);
  const std::string second = R"({"layer":0,"round":2,"experts":4,"expert_bytes":0})";
  EXPECT_EQ(refusal(bytes_of(header_with("0", "[]", kLayer + "," + second))),
            "t: layers[1] is round 2 of layer 0, expected after the round before it, with as many experts");
  const std::string other = R"({"layer":1,"round":1,"experts":4,"expert_bytes":0})";
  EXPECT_EQ(refusal(bytes_of(header_with("0", "[]", kLayer + "," + other))),
            "t: layers[1] is round 1 of layer 1, expected after the round before it, with as many experts");
}

TEST(RouteTrace, IdsOfSmallLayersTakeAByte) {
  const auto with = serialize_trace(trace_of_ids(255, {{{1, 2, 3}}})).size();
  const auto without = serialize_trace(trace_of_ids(255, {{{}}})).size();
  EXPECT_EQ(with - without, 3u * (1 + 2));
}

TEST(RouteTrace, WeightsBeyondAHalfStayFinite) {
  RouteTrace trace = small_trace();
  trace.layers[0].plan.weight[0] = 1e9f;
  EXPECT_EQ(parse_trace(serialize_trace(trace), "t").layers[0].plan.weight[0], 65504.0f);
}

TEST(RouteTrace, EveryTruncationIsAnError) {
  const std::vector<std::byte> whole = serialize_trace(small_trace());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(refusal({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}), "accepted") << size;
  }
  std::vector<std::byte> longer = whole;
  longer.push_back(std::byte{0});
  EXPECT_EQ(refusal(longer), "t: has 1 bytes after its last token, expected none");
}

TEST(RouteTrace, ErrorsNameFieldAndLimits) {
  EXPECT_EQ(refusal({}), "t: is no trace: does not begin with JUNTOTRC; see junto trace --help");
  EXPECT_EQ(refusal(bytes_of("{}", "", 9)), "t: has version 9, expected 1");
  EXPECT_EQ(refusal(bytes_of("[]")), "t: header is no JSON object");
  EXPECT_EQ(refusal(bytes_of("{}")), "t: weights are not of the type f16");
  EXPECT_EQ(refusal(bytes_of(header_with("0", "[]", ""))), "t: layers is no list of at least one layer");
  EXPECT_EQ(refusal(bytes_of(header_with("-1", "[]", kLayer))),
            "t: tokens is -1, expected a whole number from 0 to 2147483647");
  EXPECT_EQ(refusal(bytes_of(header_with("1e3", "[]", kLayer))),
            "t: tokens is 1000.0, expected a whole number from 0 to 2147483647");
  EXPECT_EQ(refusal(bytes_of(header_with("2000000000", "[0]", kLayer), "12345678901")),
            "t: tokens is 2000000000, expected at most the 2 that the file holds");
  EXPECT_EQ(refusal(bytes_of(header_with("0", "[]", R"({"layer":0,"experts":0,"expert_bytes":0})"))),
            "t: layers[0].experts is 0, expected a whole number from 1 to 65535");
  EXPECT_EQ(refusal(bytes_of(header_with("0", "[]", R"({"layer":0,"experts":4})"))),
            "t: layers[0].expert_bytes is missing, expected a whole number from 0 to 1099511627776");
  EXPECT_EQ(refusal(bytes_of(header_with("1", "[1]", kLayer), "12345")),
            "t: sequences[0] is 1, expected a whole number from 0 to 0");
  const std::string one = header_with("1", "[0]", kLayer);
  EXPECT_EQ(refusal(bytes_of(one, std::string("abcd\5", 5))), "t: token 0, layer 0: has 5 experts, expected at most 4");
  EXPECT_EQ(refusal(bytes_of(one, std::string("abcd\1\4\0\0", 8))),
            "t: token 0, layer 0: names expert 4, expected 0..3");
  EXPECT_EQ(refusal(bytes_of(one, std::string("abcd\2\3\3\0\0\0\0", 11))), "t: token 0, layer 0: names expert 3 twice");
  EXPECT_EQ(refusal(bytes_of(one, std::string("abcd\1\3\0\x7c", 8))),
            "t: token 0, layer 0: has a weight that is not finite");
  EXPECT_EQ(refusal(bytes_of(one, std::string("abcd\1\3\0", 7))),
            "t: ends at byte " + std::to_string(bytes_of(one).size() + 7) + " within token 0 of 1");
}

}  // namespace
}  // namespace junto

#include "format/text_records.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/random.h"
#include "format/test_directory.h"

namespace junto {
namespace {

using Texts = std::vector<std::string>;

Texts from_csv(std::string_view text, std::string_view column = "text") {
  Texts out;
  read_csv(text, "a.csv", column, [&](std::string_view one) { out.emplace_back(one); });
  return out;
}

Texts from_lines(std::string_view text, std::string_view field = "text") {
  Texts out;
  read_json_lines(text, "a.jsonl", field, [&](std::string_view one) { out.emplace_back(one); });
  return out;
}

std::string csv_error(std::string_view text) {
  return error_of([&] { from_csv(text); });
}
std::string lines_error(std::string_view text) {
  return error_of([&] { from_lines(text); });
}

TEST(Csv, FieldsMayBeQuotedAndHoldAnything) {
  EXPECT_EQ(from_csv("id,text\n1,plain\n2,\"a, b\"\n3,\"two\nlines\"\n4,\"say \"\"so\"\"\"\n5,\n6,\"\"\n"),
            (Texts{"plain", "a, b", "two\nlines", "say \"so\"", "", ""}));
  EXPECT_EQ(from_csv("\"text\"\n\"\"\"\"\n"), Texts{"\""});
  EXPECT_EQ(from_csv("a,body,c\n1,2,3", "body"), Texts{"2"});  // no line end at the end
}

TEST(Csv, MarkCarriageReturnsAndBlankLinesAreNoText) {
  EXPECT_EQ(from_csv("\xEF\xBB\xBFtext,id\r\none,1\r\n\r\n\"t\r\nwo\",2\r\n\n"), (Texts{"one", "t\r\nwo"}));
  EXPECT_EQ(from_csv("text\n"), Texts());
  EXPECT_EQ(from_csv(" text ,x\n a ,b", " text "), Texts{" a "});  // spaces belong to fields (RFC 4180)
}

TEST(Csv, ErrorsNameTheLineAndWhatIsWrong) {
  EXPECT_EQ(csv_error(""), "a.csv: is empty, expected a line with the names of columns");
  EXPECT_EQ(csv_error("id,txt\n1,2"), "a.csv: has no column text, expected one of id, txt");
  EXPECT_EQ(csv_error("text,text\n1,2"), "a.csv: has two columns text, expected one");
  EXPECT_EQ(csv_error("id,text\n1,\"a\nb\"\n2\n"), "a.csv: line 4: has 1 fields, expected 2, as many as columns");
  EXPECT_EQ(csv_error("text\na\n\"b\nc\n"), "a.csv: line 3: a quote is never closed");
  EXPECT_EQ(csv_error("text\na\"b\n"),
            "a.csv: line 2: a quote in a field that is not quoted, expected all of it quoted");
  EXPECT_EQ(csv_error("text\n\"a\nb\"c\n"),
            "a.csv: line 3: text after the closing quote of a field, expected a comma or the line's end");
  EXPECT_EQ(csv_error("text\na\rb\n"), "a.csv: line 2: a carriage return without a line feed, expected it quoted");
  EXPECT_EQ(csv_error("text\na\n\xFF\n"), "a.csv: line 3: not UTF-8");
  EXPECT_EQ(csv_error("text\n\xED\xA0\x80\n"), "a.csv: line 2: not UTF-8");  // a surrogate
}

TEST(Csv, WhatIsQuotedComesBack) {
  Random random(3);
  for (int round = 0; round < 300; ++round) {
    Texts texts;
    std::string file = "n,text\r\n";
    for (int i = 0; i < 20; ++i) {
      std::string text;
      while (random.uniform() < 0.8) text += "a\",\n\r \xC3\xA9"[random.next() % 6];
      texts.push_back(text);
      std::string quoted;
      for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
      file += std::to_string(i) + ",\"" + quoted + (i % 2 == 0 ? "\"\n" : "\"\r\n");
    }
    EXPECT_EQ(from_csv(file), texts);
  }
}

TEST(JsonLines, ALineIsADocument) {
  EXPECT_EQ(from_lines("\xEF\xBB\xBF{\"text\": \"a\\nb\"}\r\n\n  \t\r\n{\"id\": [1, {}], \"text\": \"\\u00e9\"}"),
            (Texts{"a\nb", "\xC3\xA9"}));
  EXPECT_EQ(from_lines("{\"body\": \"x\"}\n", "body"), Texts{"x"});
  EXPECT_EQ(from_lines(""), Texts());
}

TEST(JsonLines, ErrorsNameTheLineAndTheField) {
  EXPECT_EQ(lines_error("{\"text\": \"a\"}\n\n{\"txt\": \"a\"}\n"),
            "a.jsonl: line 3: text is missing, expected a text");
  EXPECT_EQ(lines_error("{\"text\": 5}"), "a.jsonl: line 1: text is number, expected a text");
  EXPECT_EQ(lines_error("[1]\n"), "a.jsonl: line 1: is no object, expected one with \"text\"");
  EXPECT_TRUE(lines_error("{\"text\": \"a\"}\n{\"text\": \"b\n").starts_with("a.jsonl: line 2: not valid JSON: "));
  EXPECT_TRUE(lines_error("{\"text\": \"\xFF\"}").starts_with("a.jsonl: line 1: not valid JSON: "));
  EXPECT_TRUE(lines_error(std::string(100, '[')).find("nested deeper") != std::string::npos);
}

TEST(RecordFormat, FollowsTheNamesEnding) {
  EXPECT_EQ(record_format_of("a/b.jsonl"), RecordFormat::kJsonLines);
  EXPECT_EQ(record_format_of("b.ndjson"), RecordFormat::kJsonLines);
  EXPECT_EQ(record_format_of("cache:b.csv"), RecordFormat::kCsv);
  EXPECT_EQ(record_format_of("csv"), RecordFormat::kNone);
}

}  // namespace
}  // namespace junto

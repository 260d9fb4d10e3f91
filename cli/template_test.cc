#include "cli/template.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

std::string run(const std::string& source, const std::string& lines) {
  std::istringstream in(lines);
  std::ostringstream out;
  EXPECT_EQ(run_template({source}, in, out), 0);
  return out.str();
}

/// A file with the given text that lives as long as the object.
struct TemplateFile {
  explicit TemplateFile(const std::string& text)
      : path((fs::temp_directory_path() / ("junto-template-" + std::to_string(::getpid()) + ".jinja")).string()) {
    std::ofstream(path) << text;
  }
  ~TemplateFile() { fs::remove(path); }
  std::string path;
};

constexpr const char* kUser = R"({"messages": [{"role": "user", "content": "Grüße \"x\""}]})";

TEST(Template, RendersALineForEachLine) {
  const TemplateFile file("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{{ tools }}{{ extra }}");
  EXPECT_EQ(
      run(file.path, std::string(kUser) + "\n\n" + R"({"messages": [], "bos_token": "<s>", "extra": 1.0})" + "\n"),
      "{\"rendered\":\"Grüße \\\"x\\\"None\"}\n{\"rendered\":\"<s>None1.0\"}\n");
}

TEST(Template, ErrorsAreAnswersAndTheNextLineIsRead) {
  const TemplateFile file("{{ raise_exception('no') if not messages }}");
  const std::string answers =
      run(file.path, "{\"messages\": []}\nnot json\n{\"messages\": 1}\n[]\n" + std::string(kUser) + "\n");
  std::istringstream lines(answers);
  std::string line;
  std::vector<OrderedJson> parsed;
  while (std::getline(lines, line)) parsed.push_back(OrderedJson::parse(line));
  ASSERT_EQ(parsed.size(), 5u);
  EXPECT_EQ(parsed[0]["error"], file.path + ":1: no");
  EXPECT_EQ(parsed[1]["error"].get<std::string>().substr(0, 28), "line 2: not valid JSON: pars");
  EXPECT_EQ(parsed[2]["error"], "messages: expected a list of objects");
  EXPECT_EQ(parsed[3]["error"], "input: expected a JSON object a line");
  EXPECT_EQ(parsed[4]["rendered"], "");
}

TEST(Template, ATemplateThatDoesNotParseAnswersEachLine) {
  const TemplateFile file("\n{% if %}");
  const OrderedJson answer = OrderedJson::parse(run(file.path, kUser));
  EXPECT_EQ(answer["error"].get<std::string>().substr(0, file.path.size() + 3), file.path + ":2:");
}

TEST(Template, TakesTheTemplateOfAModel) {
  const std::string model = std::string(JUNTO_SOURCE_DIR) + "/testdata/oracles/checkpoints/llama";
  EXPECT_EQ(run(model, R"({"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": true})"),
            "{\"rendered\":\"<|im_start|>user\\na<|im_end|>\\n<|im_start|>assistant\\n\"}\n");
}

TEST(Template, WithoutATemplateIsAnError) {
  std::istringstream in;
  std::ostringstream out;
  EXPECT_THROW(run_template({"/nonexistent/model"}, in, out), Error);
  EXPECT_THROW(run_template({JUNTO_SOURCE_DIR "/testdata"}, in, out), Error);
}

}  // namespace
}  // namespace junto

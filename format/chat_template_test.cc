// Chat templates against what transformers renders (testdata/templates, testdata/oracles/chat), and their bounds.
#include "format/chat_template.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/sha256.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path << " is missing";
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

OrderedJson read_json(const fs::path& path) {
  return parse_ordered_json(read_text(path), path.string());
}

fs::path testdata() {
  return fs::path(JUNTO_SOURCE_DIR) / "testdata";
}

jinja::RenderOptions at_recorded_time() {
  jinja::RenderOptions options;
  std::tm now{};
  now.tm_year = 126, now.tm_mon = 2, now.tm_mday = 5, now.tm_hour = 14, now.tm_min = 7, now.tm_sec = 9;
  now.tm_wday = 4, now.tm_yday = 63;
  options.now = now;
  return options;
}

/// The rendered text, or "error: " and the message.
std::string outcome(const std::string& source, const OrderedJson& variables = OrderedJson::object(),
                    const jinja::RenderOptions& options = at_recorded_time()) {
  try {
    return ChatTemplate::parse(source, "t").render(variables, options);
  } catch (const Error& error) {
    return std::string("error: ") + error.what();
  }
}

TEST(ChatTemplate, RendersEachFeatureAsJinjaDoes) {
  const OrderedJson table = read_json(testdata() / "templates" / "features.json");
  ASSERT_GT(table["cases"].size(), 500u);
  for (const OrderedJson& test : table["cases"]) {
    const std::string source = test["template"];
    const std::string found = outcome(source, table["variables"]);
    if (test.contains("rendered")) {
      EXPECT_EQ(found, test["rendered"].get<std::string>()) << source;
    } else {
      EXPECT_EQ(found.substr(0, 7), "error: ") << source << "\nexpected " << test["error"];
    }
  }
}

TEST(ChatTemplate, RendersTheOraclesChats) {
  int cases = 0;
  for (const auto& entry : fs::directory_iterator(testdata() / "oracles" / "chat")) {
    const OrderedJson oracle = read_json(entry.path());
    const ChatTemplate chat_template =
        ChatTemplate::parse(oracle["template"].get<std::string>(), entry.path().filename().string());
    for (const OrderedJson& test : oracle["cases"]) {
      ChatInput input;
      input.messages = test["messages"];
      input.tools = test["tools"];
      input.add_generation_prompt = test["add_generation_prompt"];
      input.bos_token = oracle["bos_token"].get<std::string>();
      input.eos_token = oracle["eos_token"].get<std::string>();
      if (test["rendered"].is_null()) {
        EXPECT_THROW(render_chat(chat_template, input), Error) << test["name"];
      } else {
        EXPECT_EQ(render_chat(chat_template, input), test["rendered"].get<std::string>()) << test["name"];
      }
      ++cases;
    }
  }
  EXPECT_GE(cases, 48);
}

fs::path cache() {
  if (const char* directory = std::getenv("JUNTO_CACHE")) return directory;
  if (const char* directory = std::getenv("XDG_CACHE_HOME")) return fs::path(directory) / "junto";
  const char* home = std::getenv("HOME");
  return fs::path(home != nullptr ? home : "/root") / ".cache" / "junto";
}

std::string sha256(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.hex_digest();
}

ChatInput read_case(const OrderedJson& data, const OrderedJson& conversation, const OrderedJson& variant) {
  OrderedJson merged = conversation;
  merged.update(variant);
  ChatInput input;
  input.messages = merged["messages"];
  if (merged.contains("tools")) input.tools = data["tools"][merged["tools"].get<std::string>()];
  if (merged.contains("documents")) input.documents = merged["documents"];
  if (merged.contains("extra")) input.extra = merged["extra"];
  input.add_generation_prompt = merged.value("add_generation_prompt", false);
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  return input;
}

std::vector<ChatInput> read_cases() {
  const OrderedJson data = read_json(testdata() / "templates" / "conversations.json");
  std::vector<ChatInput> inputs;
  for (const OrderedJson& conversation : data["conversations"]) {
    for (const OrderedJson& variant : conversation["variants"])
      inputs.push_back(read_case(data, conversation, variant));
  }
  return inputs;
}

// Every published template (scripts/fetch-templates) on every conversation: the same text, or an error where
// transformers has one. To see a text that differs: scripts/record-templates.py show TEMPLATE CASE.
TEST(ChatTemplate, RendersPublishedTemplatesAsTransformersDoes) {
  const OrderedJson published = read_json(testdata() / "templates" / "published.json");
  const std::vector<ChatInput> inputs = read_cases();
  ASSERT_EQ(inputs.size(), published["cases"].size());
  ASSERT_GE(published["templates"].size(), 64u);
  int texts = 0;
  for (const auto& [name, recorded] : published["templates"].items()) {
    const std::string source = read_text(cache() / "templates" / name);
    ASSERT_EQ(sha256(source), recorded["sha256"].get<std::string>()) << name << ": run scripts/fetch-templates";
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const OrderedJson& expected = recorded["rendered"][i];
      const std::string found = outcome(source, chat_variables(inputs[i]));
      const bool failed = found.starts_with("error: ");
      EXPECT_EQ(failed, expected.is_null()) << name << ", " << published["cases"][i] << ": " << found;
      if (failed || expected.is_null()) continue;
      EXPECT_EQ(sha256(found).substr(0, 32), expected.get<std::string>())
          << name << ", " << published["cases"][i] << ":\n"
          << found;
      ++texts;
    }
  }
  EXPECT_GT(texts, 3000);
}

TEST(ChatTemplate, ErrorsNameTemplateLineAndReason) {
  EXPECT_EQ(outcome("a\n\n{{ raise_exception('no ' ~ 2) }}"), "error: t:3: no 2");
  EXPECT_EQ(outcome("{{ a.b }}"), "error: t:1: 'a' is undefined");
  EXPECT_EQ(outcome("\n{{ d.b.c }}", {{"d", OrderedJson::object()}}), "error: t:2: 'dict object' has no attribute 'b'");
  EXPECT_EQ(outcome("x\n{% if a %}\n"),
            "error: t:2: unexpected end of template, looking for 'elif' or 'else' or 'endif'");
  EXPECT_EQ(outcome("\n{% nosuch %}"), "error: t:2: unknown tag 'nosuch'");
  EXPECT_EQ(outcome("{% block a %}{% endblock %}"), "error: t:1: unknown tag 'block'");
  EXPECT_EQ(outcome("{{ 1 +\n\n }}"), "error: t:3: unexpected 'end of print statement'");
  EXPECT_EQ(outcome("{{ x | nosuch }}"), "error: t:1: No filter named 'nosuch'");
  EXPECT_EQ(outcome("{% macro m() %}\n{{ 1 + 'a' }}{% endmacro %}\n{{ m() }}"),
            "error: t:2: unsupported operand type(s) for +: 'int' and 'str'");
  EXPECT_EQ(outcome("{% macro m() %}\n{% endmacro %}\n{{ m() + 1 }}"),
            "error: t:3: can only concatenate str (not \"int\") to str");
  EXPECT_EQ(outcome("\xff"), "error: t: the template is not valid UTF-8");
  EXPECT_EQ(outcome("{{ 9223372036854775807 + 1 }}"), "error: t:1: an integer leaves the range of 64 bits");
  EXPECT_EQ(outcome("{{ x }}", {{"x", 18446744073709551615u}}).substr(0, 7), "error: ");
}

// Templates that would never end, or fill the memory, stop with an error, in bounded time.
TEST(ChatTemplate, EndlessTemplatesStop) {
  const std::vector<std::string> hostile = {
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% set r = range(100000) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
      "{% set r = range(100000) %}{% for a in r %}{% for b in r %}x{% endfor %}{% endfor %}",
      "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l == "
      "[ns.l[0], 0] }}"
      "{% set a = namespace(l=[1]) %}{% for i in range(60) %}{% set a.l = [a.l, a.l] %}{% endfor %}{{ ns.l == a.l }}",
      "{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l | tojson }}",
      "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}",
      "{{ 'x' * 10000000000 }}",
      "{{ [1] * 10000000000 }}",
      "{{ 'x'.ljust(10000000000) }}",
      "{{ 'x'.center(100000000000) }}",
      "{{ '%99999999s' % 'x' }}",
      "{{ '{:99999999}'.format('x') }}",
      "{{ 'x'.zfill(100000000000) }}",
      "{{ ('x' * 10000000) | replace('', 'y' * 10000000) }}",
      "{{ ('x' * 10000000).replace('x', 'y' * 10000000) }}",
      "{{ ('y' * 10000000).join('x' * 10000000) }}",
      "{{ ('x' * 10000000) | join('y' * 10000000) }}",
      "{% for i in range(100000) %}{{ 'x' * 1000000 }}{% endfor %}",
      "{% for i in range(100000) %}{% set a = ('a' * 1000000).find('b') %}{% endfor %}",
      "{% for i in range(100000) %}{% set a = ('a' * 1000000) == ('a' * 1000000) %}{% endfor %}",
      "{{ ('a' * 20000000).find('a' * 10000000 ~ 'b') }}{{ 1 // 0 }}",
      "{{ ('a' * 20000000).rsplit('b' ~ 'a' * 10000000, 1) | length }}{{ 1 // 0 }}",
      "{{ ('a' * 5000000).strip('b' * 5000000) | length }}{{ 1 // 0 }}",
      "{{ 'x' | indent(1000000) }}",
      "{{ [1] | tojson(indent=1000000) }}",
      "{{ [1] | batch(100000000000, 1) | list }}",
      "{% macro a(n) %}{% for i in range(100000) %}{{ a(n) }}{% endfor %}{% endmacro %}{{ a(1) }}",
      "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      "{% call(x) n() %}{% endcall %}",
      "{{ 2 ** 64 }}",
      "{{ -9223372036854775807 - 2 }}",
      "{{ (-9223372036854775807 - 1) // -1 }}",
      "{{" + std::string(100000, '(') + "1",
      "{{" + std::string(100000, '[') + "1",
      "{{" + std::string(100000, '-') + "1 }}",
      "{{ not " + std::string(1000, '(') + " }}",
      "{% set x = 1" +
          [] {
            std::string s;
            for (int i = 0; i < 100000; ++i) s += "+1";
            return s;
          }() +
          " %}{{ 1 // 0 }}",
      [] {
        std::string s;
        for (int i = 0; i < 100000; ++i) s += "{% if 1 %}";
        return s;
      }(),
      "{{ x" +
          [] {
            std::string s;
            for (int i = 0; i < 100000; ++i) s += "|e";
            return s;
          }() +
          " }}",
      "{{ x" +
          [] {
            std::string s;
            for (int i = 0; i < 100000; ++i) s += ".a";
            return s;
          }() +
          " }}",
      "{{ 1" +
          [] {
            std::string s;
            for (int i = 0; i < 100000; ++i) s += " if 1 else 1";
            return s;
          }() +
          " }}",
      "{{" +
          [] {
            std::string s;
            for (int i = 0; i < 100000; ++i) s += " not";
            return s;
          }() +
          " 1 }}",
  };
  jinja::RenderOptions small;  // the same bounds, sooner
  small.limits.steps = 1'000'000;
  small.limits.memory_bytes = 64 << 20;
  for (std::size_t i = 0; i < hostile.size(); ++i) {
    const std::string& source = hostile[i];
    const auto start = std::chrono::steady_clock::now();
    const std::string found = outcome(source, OrderedJson::object(), i < 4 ? jinja::RenderOptions() : small);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    EXPECT_EQ(found.substr(0, 7), "error: ") << source.substr(0, 200);
    EXPECT_LT(found.size(), 400u);
    EXPECT_LT(elapsed.count(), 60.0) << source.substr(0, 200);
  }
}

TEST(ChatTemplate, LimitsAreOptions) {
  jinja::RenderOptions options;
  options.limits.output_bytes = 10;
  EXPECT_EQ(outcome("{{ 'x' * 10 }}", OrderedJson::object(), options), "xxxxxxxxxx");
  EXPECT_EQ(outcome("{{ 'x' * 11 }}", OrderedJson::object(), options),
            "error: t:1: the output is longer than 10 bytes");
  options.limits.range_items = 3;
  EXPECT_EQ(outcome("{{ range(4) }}", OrderedJson::object(), options).substr(0, 25), "error: t:1: Range too big");
}

// A macro may recurse as deep as Python lets it, and a deep JSON schema is walked.
TEST(ChatTemplate, RecursesIntoDeepInput) {
  OrderedJson deep = 1;
  for (int i = 0; i < 60; ++i) deep = OrderedJson{{"a", deep}};
  EXPECT_EQ(
      outcome("{% macro m(x) %}{% if x is mapping %}{% for k, v in x.items() %}{{ k }}{{ m(v) }}{% endfor %}{% else "
              "%}{{ x }}{% endif %}{% endmacro %}{{ m(d) }}",
              {{"d", deep}}),
      std::string(60, 'a') + "1");
}

TEST(ChatTemplate, LongConversationsAreFast) {
  OrderedJson messages = OrderedJson::array();
  for (int i = 0; i < 2000; ++i)
    messages.push_back({{"role", i % 2 ? "assistant" : "user"}, {"content", std::string(2000, 'x')}});
  ChatInput input;
  input.messages = messages;
  const std::string text = render_chat(
      ChatTemplate::parse("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m.content | length "
                          "%}<{{ m['role'] }}>{{ m.content | trim }}{% endfor %}{{ ns.n }}",
                          "t"),
      input);
  EXPECT_EQ(text.substr(text.size() - 7), "4000000");
}

TEST(ChatTemplate, ReasoningIsOfferedUnderBothNames) {
  ChatInput input;
  input.messages = {{{"role", "assistant"}, {"reasoning", "r"}, {"content", nullptr}}};
  EXPECT_EQ(chat_variables(input)["messages"].dump(),
            R"([{"thinking":"r","role":"assistant","reasoning":"r","content":null,"reasoning_content":"r"}])");
  input.drop_null_entries = true;
  EXPECT_EQ(chat_variables(input)["messages"].dump(),
            R"([{"thinking":"r","role":"assistant","reasoning":"r","reasoning_content":"r"}])");
  input.messages = {1};
  EXPECT_THROW(chat_variables(input), Error);
}

TEST(ChatTemplate, OneTemplateRendersInManyThreads) {
  const ChatTemplate shared = ChatTemplate::parse("{% for i in range(n) %}{{ 'a' ~ i }}{% endfor %}", "t");
  std::vector<std::thread> threads;
  for (int n = 0; n < 4; ++n) {
    threads.emplace_back([&shared, n] {
      for (int i = 0; i < 200; ++i) EXPECT_EQ(shared.render({{"n", n}}).size(), static_cast<std::size_t>(2 * n));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace junto

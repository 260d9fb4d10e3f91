// A recipe that trains within a second, for tests: each says what it changes of it.
#pragma once

#include <string>

#include "base/json.h"
#include "format/test_directory.h"

namespace junto {

/// Sixty lines that differ.
inline std::string lines_to_learn() {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "line " + std::to_string(i * i) + " of a text to learn\n";
  return text;
}

/// Two layers of 32 numbers, four experts of which a token has two, bytes of `text` as tokens, every line a document;
/// then merged with `changes` (a JSON Merge Patch, RFC 7396).
inline Json small_recipe(const TestDirectory& directory, const std::string& text, const Json& changes) {
  Json recipe = {
      {"version", 1},
      {"model",
       {{"hidden", 32},
        {"layers", 2},
        {"heads", 2},
        {"context", 32},
        {"expert_width", 32},
        {"router", {{"version", 1}, {"experts", 4}, {"select", {{"rule", "top_k"}, {"k", 2}}}}}}},
      {"data", {{"files", Json::array({directory.put("text", text)})}, {"separator", "\n"}, {"validation_share", 0}}},
      {"batch", {{"sequences", 4}, {"length", 16}}},
      {"run", {{"folder", directory.path("run")}}}};
  recipe.merge_patch(changes);
  return recipe;
}

}  // namespace junto

// Lossless speculation on the command line: what run and chat share.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/session.h"
#include "generate/speculate.h"

namespace junto {

struct SpeculationArguments {
  std::optional<std::string> from;   // "ngram", "draft", "off"; default: draft where there is one, else ngram
  std::optional<std::string> draft;  // a model
};

std::vector<Argument> speculation_arguments(SpeculationArguments& options);

/// What guesses tokens for `session` (which must have its decoder); null: nothing does. Loads the draft, on the
/// session's threads. Throws Error where the options contradict each other or the draft has another vocabulary.
std::unique_ptr<Speculator> make_speculator(const SpeculationArguments& given, const Session& session);

}  // namespace junto

#include "cli/speculation_arguments.h"

#include <utility>

#include "base/error.h"

namespace junto {

std::vector<Argument> speculation_arguments(SpeculationArguments& options) {
  return {
      {.name = "--speculate",
       .target = &options.from,
       .help = "Guess tokens and check several in one call: the same answer, sooner where guesses come true, off by "
               "itself where they do not (default ngram, from what the text said before; draft with --draft)",
       .choices = {"ngram", "draft", "off"}},
      {.name = "--draft",
       .target = &options.draft,
       .value = "MODEL",
       .help = "A smaller model of the same vocabulary that guesses"}};
}

std::unique_ptr<Speculator> make_speculator(const SpeculationArguments& given, const Session& session) {
  const std::string from = given.from.value_or(given.draft ? "draft" : "ngram");
  if (from == "draft" && !given.draft) fail("--speculate", "is draft, which needs --draft MODEL");
  if (from != "draft" && given.draft) fail("--draft", "is given, but --speculate is " + from);
  if (from == "off") return nullptr;
  if (from == "ngram") return std::make_unique<Speculator>();
  ModelOptions options;
  options.path = *given.draft;
  Session draft = open_session(options, session.pool);
  const std::optional<Tokenizer> tokenizer = load_tokenizer(draft.checkpoint);
  check_same_vocabulary(*session.model, session.tokenizer ? &*session.tokenizer : nullptr, *draft.model,
                        tokenizer ? &*tokenizer : nullptr);
  draft.decoder_options.planned_length = session.decoder_options.planned_length;
  return std::make_unique<Speculator>(std::make_unique<DraftModel>(draft.model, *session.pool, draft.decoder_options));
}

}  // namespace junto

// junto inspect: what a checkpoint holds, and whether it is sound.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/model_report.h"
#include "cli/number_text.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/verify_tensors.h"
#include "format/model_chat.h"
#include "format/packed_experts.h"

namespace junto {
namespace {

struct InspectOptions {
  std::string path;
  bool tensors = false;
  bool verify = false;
  bool json = false;
  int threads = 0;
};

std::string experts_text(const ExpertsReport& experts, const std::string& what) {
  std::string text = std::to_string(experts.count) + " " + what + ", up to " + std::to_string(experts.per_token) +
                     " a token, width " + std::to_string(experts.least_width);
  if (experts.most_width != experts.least_width) text += " to " + std::to_string(experts.most_width);
  text += " (";
  for (std::size_t i = 0; i < experts.types.size(); ++i) text += (i > 0 ? ", " : "") + experts.types[i];
  text += ")";
  if (experts.kinds.size() > 1) {
    for (const auto& [kind, count] : experts.kinds) text += ", " + std::to_string(count) + " " + kind;
  }
  return text + (experts.shared ? ", one shared" : "");
}

void print_layers(const ModelReport& report) {
  for (const LayersReport& one : report.layers) {
    const std::string range = one.first == one.last
                                  ? "layer " + std::to_string(one.first)
                                  : "layers " + std::to_string(one.first) + "-" + std::to_string(one.last);
    std::printf("%s\n  %s\n", range.c_str(), one.mixer.c_str());
    for (const ExpertsReport& experts : one.attention_experts) {
      std::printf("  %s\n  router %s\n", experts_text(experts, "attention experts").c_str(),
                  experts.router.dump().c_str());
    }
    if (one.dense_width > 0)
      std::printf("  feed-forward network, width %lld\n", static_cast<long long>(one.dense_width));
    for (const ExpertsReport& experts : one.experts) {
      std::printf("  %s\n  router %s\n", experts_text(experts, "experts").c_str(), experts.router.dump().c_str());
      for (const auto& [what, value] : experts.layer.items())
        std::printf("  %s %s\n", what.c_str(), value.dump().c_str());
    }
  }
}

void print_report(const ModelReport& report, const Json& extras) {
  std::printf("%s: %s, %s, context %lld, vocabulary %lld, hidden size %lld, %lld blocks\n", report.path.c_str(),
              short_name(report).c_str(), bytes_text(report.bytes).c_str(), static_cast<long long>(report.context),
              static_cast<long long>(report.vocabulary), static_cast<long long>(report.hidden_size),
              static_cast<long long>(report.blocks));
  std::printf("read for each token %s: %s always, %s of %s in experts\n", bytes_text(report.bytes_per_token).c_str(),
              bytes_text(report.always_read_bytes).c_str(),
              bytes_text(report.bytes_per_token - report.always_read_bytes).c_str(),
              bytes_text(report.routed_bytes).c_str());
  print_layers(report);
  Table types{{{"type"}, {"tensors", Align::kRight}, {"values", Align::kRight}, {"size", Align::kRight}}, {}};
  for (const auto& [name, share] : report.types) {
    types.rows.push_back(
        {name, std::to_string(share.tensors), format_parameters(share.values), bytes_text(share.bytes)});
  }
  std::printf("\n%s\n", to_plain(types).c_str());
  if (extras["tokenizer"].is_null()) {
    std::printf("no tokenizer\n");
  } else {
    const Json& tokenizer = extras["tokenizer"];
    std::printf("tokenizer %s, %lld tokens; chat template: %s\n", tokenizer["kind"].get<std::string>().c_str(),
                static_cast<long long>(tokenizer["tokens"].get<std::int64_t>()),
                extras["chat_template"].get<bool>() ? "yes" : "no");
  }
}

/// One that does not parse is one too, of which the user is told.
bool has_chat_template(const Checkpoint& checkpoint) {
  try {
    return load_model_chat(checkpoint).has_value();
  } catch (const Error& error) {
    warn(error.what());
    return true;
  }
}

/// "tokenizer" and "chat_template".
Json describe_text(const Checkpoint& checkpoint) {
  Json tokenizer;
  if (const std::optional<Tokenizer> loaded = load_tokenizer(checkpoint)) {
    tokenizer = {{"kind", tokenizer_kind(checkpoint)}, {"tokens", loaded->vocab_size()}};
    if (loaded->bos_id()) tokenizer["bos"] = *loaded->bos_id();
    if (loaded->eos_id()) tokenizer["eos"] = *loaded->eos_id();
    tokenizer["end_of_generation"] = end_of_generation(checkpoint, &*loaded);
  }
  return {{"tokenizer", tokenizer}, {"chat_template", has_chat_template(checkpoint)}};
}

Json tensor_list(const Checkpoint& checkpoint) {
  Json list = Json::array();
  for (const NamedTensor& named : checkpoint.tensors()) {
    list.push_back({{"name", named.name},
                    {"type", dtype_name(named.tensor.type)},
                    {"shape", named.tensor.shape},
                    {"bytes", named.tensor.bytes.size()}});
  }
  return list;
}

void print_tensors(const Checkpoint& checkpoint) {
  Table table{{{"tensor"}, {"type"}, {"shape"}, {"size", Align::kRight}}, {}};
  for (const NamedTensor& named : checkpoint.tensors()) {
    table.rows.push_back({named.name, std::string(dtype_name(named.tensor.type)), to_string(named.tensor.shape),
                          bytes_text(static_cast<std::int64_t>(named.tensor.bytes.size()))});
  }
  std::printf("\n%s", to_plain(table).c_str());
}

Json to_json(const Verification& verification) {
  Json bad = Json::array();
  for (const BadTensor& one : verification.bad) {
    bad.push_back({{"tensor", one.name}, {"nan", one.nan}, {"infinite", one.infinite}});
  }
  return {{"tensors", verification.tensors},
          {"values", verification.values},
          {"checksums", verification.checksums},
          {"bad", bad}};
}

/// A sound checkpoint is a line; one that is not, an error.
void judge(const Verification& verification, const InspectOptions& options) {
  if (!verification.bad.empty()) {
    const BadTensor& first = verification.bad[0];
    const std::size_t others = verification.bad.size() - 1;
    fail(options.path, tensor_label(first.name) + " has " + std::to_string(first.nan) + " NaN and " +
                           std::to_string(first.infinite) + " infinite values" +
                           (others > 0 ? ", and " + std::to_string(others) + " tensors more are not finite" : ""));
  }
  if (options.json) return;
  std::printf("\nverified: all %s values of %lld tensors are finite\n", format_parameters(verification.values).c_str(),
              static_cast<long long>(verification.tensors));
  if (verification.checksums > 0) {
    std::printf("verified: %lld packed experts have their checksums\n", static_cast<long long>(verification.checksums));
  }
}

int run_inspect(const InspectOptions& options) {
  if (options.json) set_default_progress_style(ProgressStyle::kSilent);
  const Checkpoint checkpoint = open_model_file(options.path);
  const std::shared_ptr<Model> model = load_model(checkpoint);
  const ModelReport report = report_model(checkpoint, *model);
  Json extras = describe_text(checkpoint);
  Verification verification;
  if (options.verify) {
    ThreadPool pool(options.threads);
    verification = verify_tensors(checkpoint, pool);
    verification.checksums = check_packed_experts(checkpoint);
  }
  if (options.json) {
    Json out = to_json(report);
    out.update(extras);
    if (options.tensors) out["tensors"] = tensor_list(checkpoint);
    if (options.verify) out["verification"] = to_json(verification);
    std::printf("%s\n", out.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
  } else {
    print_report(report, extras);
    if (options.tensors) print_tensors(checkpoint);
  }
  if (options.verify) judge(verification, options);
  return 0;
}

}  // namespace

Command inspect_command() {
  const auto options = std::make_shared<InspectOptions>();
  Command command;
  command.name = "inspect";
  command.about = "What a checkpoint holds: layers, experts, routers, types and bytes";
  command.arguments = {model_argument(options->path),
                       {.name = "--tensors", .target = &options->tensors, .value = "", .help = "List all tensors"},
                       {.name = "--verify",
                        .target = &options->verify,
                        .value = "",
                        .help = "Read every tensor: report values that are not finite and packed experts that changed"},
                       threads_argument(options->threads),
                       json_argument(options->json)};
  command.examples =
      "  junto inspect model.gguf\n"
      "  junto inspect testdata/oracles/checkpoints/deepseek_v3 --tensors\n"
      "  junto inspect model.gguf --verify --json\n";
  command.execute = [options] { return run_inspect(*options); };
  return command;
}

}  // namespace junto

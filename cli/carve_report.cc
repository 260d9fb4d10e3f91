#include "cli/carve_report.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/progress.h"
#include "cli/number_text.h"
#include "cli/session.h"
#include "cli/table.h"
#include "compress/carve.h"
#include "compress/gguf_identity.h"
#include "compress/tensor_plan.h"
#include "generate/forward_rows.h"

namespace junto {
namespace {

constexpr int kWindow = 512;
constexpr int kRounds = 7;         // of timing, in turns
constexpr int kPromptTokens = 16;  // before what is timed
constexpr int kTimedTokens = 32;

Session open_session(const std::string& path, const CarveComparison& comparison,
                     const std::shared_ptr<ThreadPool>& pool) {
  ModelOptions options;
  options.path = path;
  options.threads = comparison.threads;
  Session session = open_session(options, pool);
  start_decoder(session, kWindow);
  return session;
}

RoutingPolicy policy_of(const ComparedModel& model) {
  RoutingPolicy policy;
  if (model.kind == ComparedModel::Kind::kCarved) policy.all.top_k = model.top_k;
  return policy;
}

void measure_losses(Session& session, const CarveComparison& comparison, ComparedModel& model) {
  std::uint64_t tokens = 0;
  for (const HeldOutText& text : comparison.texts) {
    for (const auto& document : text.documents) tokens += document.size();
  }
  Progress progress(model.label, tokens, "tokens");
  DocumentOptions options;
  options.window = std::min<int>(kWindow, static_cast<int>(session.model->config.context_length));
  if (const Tokenizer& tokenizer = require_tokenizer(session); tokenizer.add_bos()) options.bos = tokenizer.bos_id();
  options.policy = policy_of(model);
  options.progress = [&](std::int64_t done) { progress.advance(static_cast<std::uint64_t>(done)); };
  std::vector<DocumentLoss> all;
  for (const HeldOutText& text : comparison.texts) {
    const std::vector<DocumentLoss> losses = document_losses(*session.decoder, *session.pool, text.documents, options);
    model.losses.push_back(mean_loss(losses));
    all.insert(all.end(), losses.begin(), losses.end());
  }
  model.loss = mean_loss(all);
}

std::span<const std::int32_t> first_tokens(const CarveComparison& comparison, std::size_t count) {
  const auto& document = comparison.texts.front().documents.front();
  return std::span(document).first(std::min(count, document.size()));
}

// Tokens a second of one decode, and the bytes that a token reads.
double decode_once(Session& session, const CarveComparison& comparison, ComparedModel& model) {
  const auto ids = first_tokens(comparison, kPromptTokens + kTimedTokens);
  const std::size_t prompt = std::min<std::size_t>(kPromptTokens, ids.size() / 2);
  Sequence sequence;
  sequence.policy = policy_of(model);
  session.decoder->feed(sequence, ids.first(prompt));
  session.decoder->reset_counters();
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = prompt; i < ids.size(); ++i) forward_call(*session.decoder, sequence, ids.subspan(i, 1));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const DecoderCounters& counters = session.decoder->counters();
  model.bytes_per_token = static_cast<double>(counters.bytes_read) / static_cast<double>(counters.rows);
  return static_cast<double>(ids.size() - prompt) / seconds;
}

struct Timed {
  Session* session;
  ComparedModel* model;
};

// In turns, so that whatever else the machine does falls on all of them; the median of each, and of its ratio to the
// first one of the same round.
void measure_speeds(const std::vector<Timed>& timed, const CarveComparison& comparison) {
  std::vector<std::vector<double>> rates(timed.size()), ratios(timed.size());
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t i = 0; i < timed.size(); ++i) {
      rates[i].push_back(decode_once(*timed[i].session, comparison, *timed[i].model));
      ratios[i].push_back(rates[i].back() / rates[0].back());
    }
  }
  for (std::size_t i = 0; i < timed.size(); ++i) {
    std::ranges::sort(rates[i]);
    std::ranges::sort(ratios[i]);
    timed[i].model->tokens_per_s = rates[i][kRounds / 2];
    timed[i].model->speed = ratios[i][kRounds / 2];
  }
}

/// A way to quantise the source, and what a token then reads.
struct Recipe {
  TypeRequest types;
  std::string label;
  double bytes_per_token = 0;
};

double planned_bytes(const Checkpoint& checkpoint, const ModelSource& source, const TypeRequest& types) {
  const GgufIdentity identity = identify_for_gguf(checkpoint, source);
  double bytes = 0;
  for (const PlannedTensor& tensor :
       plan_tensors(checkpoint.path, source.tensors, source.config, identity.written, types)) {
    if (tensor.name == "token_embd.weight" && !source.config.tied_embeddings) continue;
    bytes += static_cast<double>(checked_bytes(checkpoint.path, tensor.name, tensor.type, tensor.shape));
  }
  return bytes;
}

// One type for all matrices, perhaps with the head as it is, perhaps with smaller down matrices (whose rows fit blocks
// that those of others do not).
std::vector<Recipe> recipes(const std::string& source_path) {
  const Checkpoint checkpoint = open_model_file(source_path);
  const ModelSource source = describe_model(checkpoint);
  const bool tied = source.config.tied_embeddings;
  const Tensor& head = source.tensors.find(tied ? "token_embd.weight" : "output.weight")->second;
  const std::string head_name = tied ? "token_embd.weight" : "output.weight";
  std::vector<Recipe> out;
  // MXFP4 is for weights that were trained in it: others lose more in it than in Q4_0 and gain 5 % of the bytes.
  for (const char* type :
       {"q8_0", "q6_k", "q5_1", "q5_0", "q5_k", "q4_1", "q4_k", "q4_0", "iq4_nl", "iq4_xs", "q3_k", "q2_k"}) {
    for (const bool keep_head : {false, true}) {
      for (const char* down : {"", "q3_k", "q2_k"}) {
        Recipe recipe;
        recipe.types.type = parse_weight_type(type, "type");
        recipe.label = type;
        if (keep_head) recipe.types.keep.push_back({head_name, head.type});
        if (keep_head) recipe.label += " (head " + std::string(dtype_name(head.type)) + ")";
        if (*down != 0) recipe.types.keep.push_back({"*ffn_down*", parse_weight_type(down, "type")});
        if (*down != 0) recipe.label += std::string(", down ") + down;
        recipe.bytes_per_token = planned_bytes(checkpoint, source, recipe.types);
        out.push_back(std::move(recipe));
      }
    }
  }
  return out;
}

// The largest that reads no more than `bytes`, of one type where there is one (more bytes elsewhere do not make up for
// down matrices of two bits), else the smallest there is.
const Recipe& recipe_for(const std::vector<Recipe>& all, double bytes) {
  for (const bool one_type : {true, false}) {
    const Recipe* best = nullptr;
    for (const Recipe& recipe : all) {
      if (one_type && recipe.label.find("down") != std::string::npos) continue;
      if (recipe.bytes_per_token <= bytes && (!best || recipe.bytes_per_token > best->bytes_per_token)) best = &recipe;
    }
    if (best) return *best;
  }
  return *std::ranges::min_element(all, {}, &Recipe::bytes_per_token);
}

struct TemporaryFile {
  std::string path;
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
};

ComparedModel measure_quantised(const CarveComparison& comparison, const Recipe& recipe, Session& source) {
  const TemporaryFile file{comparison.carved + ".quantised.gguf"};
  ConvertOptions options;
  options.source = comparison.source;
  options.out = file.path;
  options.types = recipe.types;
  options.threads = comparison.threads;
  convert(options);
  ComparedModel model{
      .kind = ComparedModel::Kind::kQuantised, .label = "dense " + recipe.label, .losses = {}, .loss = {}};
  Session session = open_session(file.path, comparison, source.pool);
  ComparedModel again;
  measure_speeds({{&source, &again}, {&session, &model}}, comparison);
  measure_losses(session, comparison, model);
  return model;
}

double largest_difference(Session& a, Session& b, const CarveComparison& comparison) {
  const auto ids = first_tokens(comparison, 128);
  Sequence in_a, in_b;
  const MatrixView<const float> x = forward_call(*a.decoder, in_a, ids), y = forward_call(*b.decoder, in_b, ids);
  double largest = 0;
  for (std::int64_t r = 0; r < x.rows; ++r) {
    for (std::int64_t v = 0; v < x.cols; ++v) largest = std::max(largest, std::abs(double{x.at(r, v)} - y.at(r, v)));
  }
  return largest;
}

std::string percent(double share) {
  return fixed(100 * share, 0) + " %";
}

std::string verdict(const ComparedModel& source, const ComparedModel& carved, const ComparedModel& quantised) {
  const bool carved_wins = carved.loss.nll < quantised.loss.nll;
  std::string line = percent(carved.active) + " active, " + fixed(carved.bytes_per_token / 1e6, 1) +
                     " MB a token: " + (carved_wins ? "carving wins" : "quantising the dense model wins") +
                     ", perplexity " + fixed(std::exp(carved.loss.nll), 2) + " carved, " +
                     fixed(std::exp(quantised.loss.nll), 2) + " as " + quantised.label;
  if (quantised.bytes_per_token > 1.01 * carved.bytes_per_token) {
    line += ", which reads " + fixed(quantised.bytes_per_token / 1e6, 1) + " MB: types go no lower";
  }
  return line + " (source " + fixed(std::exp(source.loss.nll), 2) + ")";
}

}  // namespace

CarveFindings compare_carved(const CarveComparison& comparison) {
  CarveFindings findings;
  Session source = open_session(comparison.source, comparison, nullptr);
  Session carved = open_session(comparison.carved, comparison, source.pool);
  findings.largest_logit_difference = largest_difference(source, carved, comparison);

  ComparedModel dense{.label = "source", .losses = {}, .loss = {}};
  std::vector<ComparedModel> mixtures;
  for (const double share : comparison.shares) {
    const int k = chosen_at(comparison.shape, share);
    if (k < 1) continue;
    mixtures.push_back({.kind = ComparedModel::Kind::kCarved,
                        .label = "carved, top_k=" + std::to_string(k),
                        .active = static_cast<double>(comparison.shape.shared + k) / comparison.shape.experts,
                        .top_k = k,
                        .losses = {},
                        .loss = {}});
  }
  std::vector<Timed> timed = {{&source, &dense}};
  for (ComparedModel& model : mixtures) timed.push_back({&carved, &model});
  measure_speeds(timed, comparison);
  measure_losses(source, comparison, dense);
  for (ComparedModel& model : mixtures) measure_losses(carved, comparison, model);

  const std::vector<Recipe> ladder = recipes(comparison.source);
  findings.models.push_back(dense);
  for (const ComparedModel& model : mixtures) {
    findings.models.push_back(model);
    if (model.active >= 1.0) continue;
    findings.models.push_back(measure_quantised(comparison, recipe_for(ladder, model.bytes_per_token), source));
    findings.verdicts.push_back(verdict(dense, model, findings.models.back()));
  }
  return findings;
}

std::string describe(const CarveFindings& findings, const CarveComparison& comparison) {
  Table table;
  table.columns = {{"model"},
                   {"neurons", Align::kRight},
                   {"MB/token", Align::kRight},
                   {"tokens/s", Align::kRight},
                   {"speed", Align::kRight}};
  for (const HeldOutText& text : comparison.texts) table.columns.push_back({text.name, Align::kRight});
  table.columns.push_back({"all", Align::kRight});
  table.columns.push_back({"nats +- s.e.", Align::kRight});
  for (const ComparedModel& model : findings.models) {
    std::vector<std::string> row = {model.label, percent(model.active), fixed(model.bytes_per_token / 1e6, 1),
                                    fixed(model.tokens_per_s, 1), fixed(model.speed, 2) + "x"};
    for (const MeanLoss& loss : model.losses) row.push_back(fixed(std::exp(loss.nll), 2));
    row.push_back(fixed(std::exp(model.loss.nll), 2));
    row.push_back(fixed(model.loss.nll, 4) + " +- " + fixed(model.loss.standard_error, 4));
    table.rows.push_back(std::move(row));
  }
  const MeanLoss& all = findings.models.front().loss;
  std::string out = to_markdown(table);
  out += "\nPerplexity of " + std::to_string(all.tokens) + " held-out tokens in " + std::to_string(all.documents) +
         " documents, which are the units of the standard errors. Speed: decode, in turns with the source, medians.\n";
  if (findings.models.size() > 1 && findings.models[1].active >= 1.0) {
    const double change = std::exp(findings.models[1].loss.nll - all.nll) - 1;
    out += "All experts chosen: perplexity " + fixed(100 * change, 2) +
           " % from the source's, largest difference of a logit " + fixed(findings.largest_logit_difference, 4) + ".\n";
  }
  for (const std::string& line : findings.verdicts) out += line + "\n";
  return out;
}

Json to_json(const CarveFindings& findings, const CarveComparison& comparison) {
  constexpr const char* kKinds[] = {"source", "carved", "quantised"};
  const auto loss_json = [](const MeanLoss& loss) {
    return Json{{"perplexity", std::exp(loss.nll)},
                {"mean_nll", loss.nll},
                {"standard_error", loss.standard_error},
                {"tokens", loss.tokens},
                {"documents", loss.documents}};
  };
  Json models = Json::array();
  for (const ComparedModel& model : findings.models) {
    Json entry = {{"kind", kKinds[static_cast<int>(model.kind)]},
                  {"label", model.label},
                  {"active", model.active},
                  {"bytes_per_token", model.bytes_per_token},
                  {"tokens_per_s", model.tokens_per_s},
                  {"speed", model.speed},
                  {"all", loss_json(model.loss)}};
    if (model.top_k > 0) entry["top_k"] = model.top_k;
    for (std::size_t t = 0; t < model.losses.size(); ++t) {
      entry["texts"][comparison.texts[t].name] = loss_json(model.losses[t]);
    }
    models.push_back(std::move(entry));
  }
  return {{"models", std::move(models)},
          {"largest_logit_difference", findings.largest_logit_difference},
          {"verdicts", findings.verdicts}};
}

}  // namespace junto

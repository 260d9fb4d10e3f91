#include "train/reproduce/compare.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "analyze/compare.h"
#include "base/error.h"
#include "base/file.h"
#include "train/reproduce/reproduce.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> parts_of(const std::string& list) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t comma = std::min(list.find(',', at), list.size());
    out.push_back(list.substr(at, comma - at));
    at = comma + 1;
  }
  return out;
}

double parse_flops(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !(value >= 1e6 && value <= 1e20)) {
    fail("--flops", "is " + printable(text) + ", expected operations of a run, 1e6..1e20");
  }
  return value;
}

/// Of the cache, or files anywhere: their whole paths less the first slash.
std::vector<TextFile> texts_of(const std::string& data) {
  if (data == "mix") {
    return {{"dictionary", "mix/dictionary.txt"},
            {"fortunes", "mix/fortunes.txt"},
            {"mail", "mix/mail.txt"},
            {"python", "mix/python.txt"}};
  }
  std::vector<TextFile> out;
  for (const std::string& path : parts_of(data)) {
    if (!fs::is_regular_file(path))
      fail("--data", "has " + printable(path) + ", which is no file; expected mix or texts");
    out.push_back({fs::path(path).stem().string(), fs::absolute(path).lexically_normal().relative_path().string()});
  }
  return out;
}

void write(const std::string& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace

int compare(const CompareArguments& given) {
  CompareRequest request;
  request.routers = parts_of(given.routers);
  request.texts = texts_of(given.data);
  request.flops = parse_flops(given.flops);
  request.budgets = given.budgets;
  request.seeds = given.seeds;
  request.smoke = given.smoke;
  const std::string folder = given.runs + "/systems/" + request.slug;
  const std::string experiment = compare_experiment(request).dump(1) + "\n";
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(folder, "cannot be made: " + error.message());
  write(folder + "/experiment.json", experiment);

  ReproduceArguments run;
  run.slug = request.slug;
  run.systems = given.runs + "/systems";
  run.runs = given.runs;
  run.out = given.runs + (given.smoke ? "/compare-smoke.json" : "/compare.json");
  run.budget = given.budget;
  run.threads = given.threads;
  run.smoke = given.smoke;
  run.dry_run = given.dry_run;
  if (given.data != "mix") run.texts = "/";
  const int status = reproduce(run);
  if (status != 0 || given.dry_run) return status;
  const Json result = parse_json(read_text_file(run.out, std::size_t{1} << 28), run.out);
  std::printf("\n%s", describe_comparison(result).c_str());
  const std::string picture = fs::path(run.out).replace_extension(".svg").string();
  write(picture, comparison_picture(result));
  std::printf("%s: bits a byte against executed operations\n", picture.c_str());
  return 0;
}

}  // namespace junto

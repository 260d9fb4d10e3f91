// junto report: results of experiments as one HTML page.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "analyze/gallery.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"

namespace junto {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxBytes = 1 << 28;

struct ReportVerb {
  std::string results = "results", out = "gallery.html", pictures;
};

/// The file, or all *.json of the folder by name.
std::vector<std::string> files_of(const std::string& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".json") out.push_back(entry.path().string());
  }
  std::sort(out.begin(), out.end());
  if (out.empty()) fail(path, "holds no *.json, expected results of junto reproduce");
  return out;
}

void write(const std::string& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

int report(const ReportVerb& given) {
  std::vector<Json> results;
  for (const std::string& path : files_of(given.results)) {
    results.push_back(parse_json(read_text_file(path, kMaxBytes), path));
    check_result(results.back(), path);
    if (given.pictures.empty()) continue;
    const std::string name = given.pictures + "/" + fs::path(path).stem().string();
    write(name + ".svg", loss_picture(results.back()));
  }
  write(given.out, gallery_page(results));
  std::printf("%s: %zu experiment%s\n", given.out.c_str(), results.size(), results.size() == 1 ? "" : "s");
  return 0;
}

}  // namespace

Command report_command() {
  const auto given = std::make_shared<ReportVerb>();
  Command command;
  command.name = "report";
  command.about = "Draw results of `junto reproduce` as one HTML page";
  command.arguments = {{.name = "RESULTS",
                        .target = &given->results,
                        .value = "FILE",
                        .help = "A result, or a folder of them (results)"},
                       {.name = "--out", .target = &given->out, .value = "FILE", .help = "The page (gallery.html)"},
                       {.name = "--pictures",
                        .target = &given->pictures,
                        .value = "DIR",
                        .help = "Each experiment's losses as an SVG file there, too"}};
  command.examples =
      "  junto report --out gallery.html\n"
      "  junto report results/alf-lb.json --out alf-lb.html\n";
  command.execute = [given] { return report(*given); };
  return command;
}

}  // namespace junto

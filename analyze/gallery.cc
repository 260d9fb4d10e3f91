#include "analyze/gallery.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "analyze/paired_statistics.h"
#include "analyze/svg.h"
#include "base/error.h"

namespace junto {
namespace {

constexpr double kWidth = 520, kHeight = 320;
constexpr std::size_t kSeedsForBand = 3;

/// Sorting by a click on a column's title: numbers by data-value, texts by what they say.
constexpr const char* kScript = R"(<script>
document.querySelectorAll('table.sorts th').forEach((title, column) => title.addEventListener('click', () => {
  const body = title.closest('table').tBodies[0], down = title.dataset.down !== 'yes';
  title.closest('tr').querySelectorAll('th').forEach(other => delete other.dataset.down);
  if (down) title.dataset.down = 'yes';
  const value = row => { const cell = row.cells[title.cellIndex], n = Number(cell.dataset.value);
    return cell.dataset.value === undefined || Number.isNaN(n) ? cell.textContent : n; };
  [...body.rows].sort((a, b) => { const x = value(a), y = value(b); return (x > y ? 1 : x < y ? -1 : 0) * (down ? 1 : -1); })
    .forEach(row => body.append(row));
}));
</script>
)";

constexpr const char* kHead = R"(<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Junto: published systems, measured</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px } td, th { padding: 4px 10px; text-align: left; vertical-align: top;
border-bottom: 1px solid #ddd } td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
table.sorts th { cursor: pointer; text-decoration: underline dotted } section { margin-top: 3em; border-top: 2px solid #1f6f8b }
.held { color: #2f6b1d; font-weight: 600 } .contradicted { color: #b3202f; font-weight: 600 } .inconclusive, .not-tested { color: #666 }
.pictures svg { max-width: 100%; height: auto } .small { color: #555; font-size: 13px }
</style>
)";

std::string formatted(const char* format, double value) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string number_cell(double value, const char* format = "%.4g") {
  if (!std::isfinite(value)) return "<td class=\"number\"></td>";
  return "<td class=\"number\" data-value=\"" + formatted("%.10g", value) + "\">" + formatted(format, value) + "</td>";
}

std::string text_cell(const Json& text) {
  return "<td>" + escape_markup(text.get<std::string>()) + "</td>";
}

double number_or_nan(const Json& json) {
  return json.is_number() ? json.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

std::vector<double> values_of(const Json& arm, const std::string& metric) {
  std::vector<double> out;
  for (const Json& run : arm.at("runs")) {
    const Json& metrics = run.at("metrics");
    if (metrics.contains(metric) && metrics[metric].is_number()) out.push_back(metrics[metric]);
  }
  return out;
}

/// What losses are called, and in which unit: of paths (ExpertFlow) bits for all experts of a token.
std::string loss_metric(const Json& result) {
  return result.value("loss_metric", "bits_per_byte");
}
const char* loss_unit(const Json& result) {
  return loss_metric(result) == "path_bits" ? "bits/path" : "bits/byte";
}

/// Mean over an arm's seeds of the tuning curve, point by point. FLOP in units of 1e9.
Series curve_of(const Json& arm, const std::string& metric) {
  Series out{arm.at("name"), {}};
  const Json& runs = arm.at("runs");
  if (runs.empty()) return out;
  const std::size_t points = runs.front().at("tune").at("step").size();
  for (std::size_t i = 0; i < points; ++i) {
    std::vector<double> losses, flops;
    for (const Json& run : runs) {
      if (run.at("tune").at(metric).size() <= i) continue;
      losses.push_back(run["tune"][metric][i]);
      flops.push_back(run["tune"].at("flops").at(i).get<double>() / 1e9);
    }
    const MeanInterval loss = mean_interval(losses);
    const double x = mean_interval(flops).mean;
    out.points.emplace_back(x, loss.mean);
    if (losses.size() >= kSeedsForBand) out.band.push_back({x, loss.low, loss.high});
  }
  return out;
}

std::string claim_row(const Json& result, const Json& claim) {
  const std::string slug = result.at("slug"), verdict = claim.at("verdict");
  std::string style = verdict;
  std::replace(style.begin(), style.end(), ' ', '-');
  const Json& interval = claim.at("interval");
  const bool relative = claim.value("relative", false);
  const double unit = relative ? 100.0 : 1.0;
  const char* format = relative ? "%+.3g %%" : "%+.4g";
  std::string range;
  if (interval.at("low").is_number() && interval.at("high").is_number()) {
    range = formatted(format, unit * interval["low"].get<double>()) + " to " +
            formatted(format, unit * interval["high"].get<double>());
  }
  const std::string against = claim.contains("against") ? " - " + claim["against"].get<std::string>() : "";
  return "<tr><td><a href=\"#" + escape_markup(slug) + "\">" + escape_markup(slug) + "</a></td>" +
         text_cell(claim.at("text")) + "<td class=\"" + escape_markup(style) + "\" title=\"" +
         escape_markup(claim.at("why").get<std::string>()) + "\">" + escape_markup(verdict) + "</td>" +
         text_cell(claim.at("metric").get<std::string>() + ": " + claim.at("arm").get<std::string>() + against) +
         number_cell(unit * interval.at("mean").get<double>(), format) + "<td class=\"number\">" +
         escape_markup(range) + "</td>" +
         number_cell(unit * claim.at("margin").get<double>(), relative ? "%.3g %%" : "%.4g") +
         number_cell(claim.at("adjusted_p").get<double>(), "%.2g") +
         number_cell(interval.at("count").get<double>(), "%.0f") + "</tr>\n";
}

std::string claims_table(const std::vector<Json>& results) {
  std::string out =
      "<table class=\"sorts\"><thead><tr><th>system</th><th>claim, declared before the run</th><th>verdict</th>"
      "<th>contrast</th><th>difference</th><th>95 % interval</th><th>what matters</th><th>p, Holm</th><th>paired "
      "seeds</th>"
      "</tr></thead><tbody>\n";
  for (const Json& result : results) {
    for (const Json& claim : result.at("claims")) out += claim_row(result, claim);
  }
  return out + "</tbody></table>\n";
}

/// What a token costs: rows of experts with weights. Results of before these were counted have experts, which were the
/// same there.
const char* rows_metric(const Json& result) {
  for (const Json& arm : result.at("arms")) {
    if (!values_of(arm, "rows_per_token").empty()) return "rows_per_token";
  }
  return "experts_per_token";
}

std::string arms_table(const Json& result) {
  std::string out =
      "<table class=\"sorts\"><thead><tr><th>arm</th><th>what it is</th><th>learning "
      "rate</th><th>seeds</th><th>" +
      std::string(loss_unit(result)) +
      "</th><th>+-</th><th>MaxVio</th><th>rows/token</th><th>GFLOP</th><th>s</th></tr></thead><tbody>\n";
  for (const Json& arm : result.at("arms")) {
    const MeanInterval loss = mean_interval(values_of(arm, loss_metric(result)));
    const auto mean = [&](const char* metric) {
      const std::vector<double> values = values_of(arm, metric);
      return values.empty() ? std::numeric_limits<double>::quiet_NaN() : mean_interval(values).mean;
    };
    std::vector<double> seconds;
    for (const Json& run : arm.at("runs")) seconds.push_back(run.at("seconds"));
    const double nan = std::numeric_limits<double>::quiet_NaN();
    out += "<tr>" + text_cell(arm.at("name")) + text_cell(arm.at("about")) +
           number_cell(number_or_nan(arm.at("learning_rate"))) + number_cell(loss.count, "%.0f") +
           number_cell(loss.count > 0 ? loss.mean : nan) +
           number_cell(loss.count > 1 ? loss.high - loss.mean : nan, "%.2g") +
           number_cell(mean("max_violation"), "%.3g") + number_cell(mean(rows_metric(result)), "%.3g") +
           number_cell(mean("flops") / 1e9, "%.4g") +
           number_cell(seconds.empty() ? nan : mean_interval(seconds).mean, "%.3g") + "</tr>\n";
  }
  return out + "</tbody></table>\n";
}

std::string provenance(const Json& result) {
  const Json& machine = result.at("machine");
  std::string out = "<p class=\"small\">Commit " + escape_markup(result.at("commit").get<std::string>()) + ", " +
                    escape_markup(machine.at("compiler").get<std::string>()) + ", " +
                    escape_markup(machine.at("blas").get<std::string>()) + "; " +
                    escape_markup(machine.at("processor").get<std::string>()) + ", " +
                    std::to_string(machine.at("threads").get<int>()) +
                    " thread(s). Declared: " + escape_markup(result.at("declared").get<std::string>().substr(0, 16)) +
                    ". Texts:";
  for (const Json& text : result.at("texts")) {
    out += " " + escape_markup(text.at("file").get<std::string>()) + " " +
           escape_markup(text.at("sha256").get<std::string>().substr(0, 12));
  }
  out += ". " + formatted("%.3g", result.at("flops").get<double>() / 1e12) + " TFLOP executed in " +
         formatted("%.1f", result.at("seconds").get<double>() / 60.0) + " minutes of runs.";
  if (result.contains("noise") && result["noise"].contains("metrics")) {
    out += " A/A: " + escape_markup(result["noise"].at("arm").get<std::string>()) + " against itself with other seeds:";
    for (const auto& [metric, interval] : result["noise"]["metrics"].items()) {
      out += " " + escape_markup(metric) + " " + formatted("%+.3g", interval.at("mean").get<double>()) +
             " (deviation " + formatted("%.2g", interval.at("deviation").get<double>()) + ")";
    }
    out += ".";
  }
  return out + "</p>\n";
}

std::string section_of(const Json& result) {
  const std::string slug = escape_markup(result.at("slug").get<std::string>()), paper = result.at("paper");
  std::string link = escape_markup(paper);
  if (paper.starts_with("arXiv ")) {
    link = "<a href=\"https://arxiv.org/abs/" + escape_markup(paper.substr(6)) + "\">" + link + "</a>";
  }
  std::string out = "<section id=\"" + slug + "\"><h2>" + escape_markup(result.at("title").get<std::string>()) +
                    "</h2>\n<p>" + escape_markup(result.at("about").get<std::string>()) + " <span class=\"small\">" +
                    link + "; repeat with <code>junto reproduce " + slug +
                    "</code>; mode: " + escape_markup(result.at("mode").get<std::string>()) + "</span></p>\n";
  out += "<div class=\"pictures\">" + loss_picture(result);
  for (const char* metric :
       {"bits_per_byte", "recall", "recall.held_out", "corrupted_bits_per_byte", "max_violation", rows_metric(result)})
    out += metric_picture(result, metric);
  return out + "</div>\n" + arms_table(result) + claims_table({result}) + provenance(result) + "</section>\n";
}

}  // namespace

void check_result(const Json& result, std::string_view where) {
  if (!result.is_object() || result.value("version", 0) != 1)
    fail(where, "is no result of junto reproduce of version 1");
  for (const char* key : {"slug", "title", "paper", "about", "mode", "declared", "commit", "machine", "texts",
                          "seconds", "flops", "arms", "claims"}) {
    if (!result.contains(key)) fail(where, std::string("has no ") + key + ", expected a result of junto reproduce");
  }
  if (result["mode"] != "full" && result["mode"] != "partial") {
    fail(where,
         "mode is " + printable(result["mode"].dump()) + ", expected full or partial: a smoke run measures nothing");
  }
}

std::string loss_picture(const Json& result) {
  LineChart chart{result.at("title"), "executed GFLOP", loss_unit(result), {}};
  double low = std::numeric_limits<double>::infinity(), high = 0.0;
  for (const Json& arm : result.at("arms")) {
    Series series = curve_of(arm, loss_metric(result));
    for (std::size_t i = 0; i < series.points.size(); ++i) {
      low = std::min(low, series.points[i].second);
      // The fall of the first fifth would leave the rest a flat line.
      if (5 * i >= series.points.size()) high = std::max(high, series.points[i].second);
    }
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  if (chart.series.empty()) return "";
  chart.y_low = low - 0.05 * (high - low);
  chart.y_high = high;
  chart.legend_above = true;
  Svg svg(kWidth, kHeight);
  svg.draw(chart, {0, 0, kWidth, kHeight});
  return svg.finish();
}

std::string metric_picture(const Json& result, const std::string& metric) {
  IntervalChart chart{metric, metric + ", mean over seeds and 95 % interval", {}};
  for (const Json& arm : result.at("arms")) {
    const std::vector<double> values = values_of(arm, metric);
    if (values.empty()) continue;
    const MeanInterval interval = mean_interval(values);
    // Two seeds have an interval that says nothing but "two": it would hide all others.
    const bool few = values.size() < kSeedsForBand;
    const double endless = std::numeric_limits<double>::infinity();
    chart.rows.push_back({arm.at("name"), interval.mean, few ? -endless : interval.low, few ? endless : interval.high});
  }
  const auto differs = [&](const IntervalChart::Row& row) { return row.value != chart.rows.front().value; };
  if (std::none_of(chart.rows.begin(), chart.rows.end(), differs)) return "";
  const double height = 90 + 22 * static_cast<double>(chart.rows.size());
  Svg svg(kWidth, height);
  svg.draw(chart, {0, 0, kWidth, height});
  return svg.finish();
}

std::string gallery_page(const std::vector<Json>& results) {
  std::string out = kHead;
  out +=
      "<h1>Published systems, measured</h1>\n<p>Small models on a CPU, all arms on the same texts, the same grid of "
      "learning "
      "rates, the same seeds, data order and initial values. A claim is held where the 95 % interval of the paired "
      "difference "
      "lies on its side, the mean reaches what matters and the p value survives Holm's correction; what does not hold "
      "at this "
      "scale says so, and says nothing of larger models.</p>\n" +
      claims_table(results);
  for (const Json& result : results) out += section_of(result);
  return out + kScript + "</html>\n";
}

}  // namespace junto

#include "analyze/svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace junto {
namespace {

constexpr const char* kColours[] = {"#1f6f8b", "#d1495b", "#6a994e", "#edae49",
                                    "#8a5a9e", "#555555", "#c77b3a", "#2f4b7c"};
constexpr double kLeft = 56, kTop = 30, kBottom = 42;

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

std::string coordinate(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

/// From white to a dark blue.
std::string shade(double value) {
  const double part = std::clamp(std::isfinite(value) ? value : 0.0, 0.0, 1.0);
  const auto channel = [&](double dark) { return static_cast<int>(std::lround(248 + (dark - 248) * part)); };
  char text[24];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", channel(16), channel(52), channel(92));
  return text;
}

void frame(Svg& svg, const Box& plot, std::string_view title, std::string_view x_label, std::string_view y_label) {
  svg.text(plot.x, plot.y - 10, title, 13);
  svg.text(plot.x + plot.width / 2, plot.y + plot.height + 34, x_label, 11, "middle");
  svg.text(plot.x - 6, plot.y - 10, y_label, 11, "end");
}

Box inner(const Box& box) {
  return {box.x + kLeft, box.y + kTop, box.width - kLeft - 10, box.height - kTop - kBottom};
}

}  // namespace

std::vector<double> ticks(double high, int count) {
  if (!(high > 0) || !std::isfinite(high)) return {0};
  return ticks(0, high, count);
}

std::vector<double> ticks(double low, double high, int count) {
  const double range = high - low;
  if (!(range > 0) || !std::isfinite(range)) return {low};
  const double power = std::pow(10, std::floor(std::log10(range / count)));
  double step = power;
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    step = factor * power;
    if (range / step <= count + 1e-9) break;
  }
  std::vector<double> out;
  const double first = std::ceil(low / step - 1e-9);
  for (int i = 0; (first + i) * step <= high + range * 1e-9; ++i) out.push_back((first + i) * step);
  return out;
}

std::string escape_markup(std::string_view words) {
  std::string out;
  for (const char c : words) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
    }
  }
  return out;
}

void Svg::text(double x, double y, std::string_view words, double size, std::string_view anchor) {
  body_ += "<text x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\" font-size=\"" + number(size) +
           "\" text-anchor=\"" + std::string(anchor) + "\">" + escape_markup(words) + "</text>\n";
}

void Svg::rect(const Box& box, std::string_view fill, std::string_view stroke) {
  body_ += "<rect x=\"" + coordinate(box.x) + "\" y=\"" + coordinate(box.y) + "\" width=\"" + coordinate(box.width) +
           "\" height=\"" + coordinate(box.height) + "\" fill=\"" + std::string(fill) + "\" stroke=\"" +
           std::string(stroke) + "\"/>\n";
}

void Svg::line(const std::vector<std::pair<double, double>>& points, std::string_view colour, bool dashed,
               double width) {
  if (points.empty()) return;
  body_ += "<polyline points=\"";
  for (const auto& [x, y] : points) body_ += coordinate(x) + "," + coordinate(y) + " ";
  body_.pop_back();
  body_ += "\" fill=\"none\" stroke=\"" + std::string(colour) + "\" stroke-width=\"" + number(width) + "\"" +
           (dashed ? " stroke-dasharray=\"5 4\"" : "") + "/>\n";
}

void Svg::area(const std::vector<std::pair<double, double>>& outline, std::string_view colour) {
  if (outline.empty()) return;
  body_ += "<polygon points=\"";
  for (const auto& [x, y] : outline) body_ += coordinate(x) + "," + coordinate(y) + " ";
  body_.pop_back();
  body_ += "\" fill=\"" + std::string(colour) + "\" fill-opacity=\"0.15\" stroke=\"none\"/>\n";
}

void Svg::dot(double x, double y, std::string_view colour) {
  body_ += "<circle cx=\"" + coordinate(x) + "\" cy=\"" + coordinate(y) + "\" r=\"3\" fill=\"" + std::string(colour) +
           "\"/>\n";
}

void Svg::draw(const LineChart& chart, const Box& box) {
  const Box plot = inner(box);
  double x_high = 0, y_high = chart.y_high;
  for (const Series& series : chart.series) {
    for (const auto* points : {&series.points, &series.marks}) {
      for (const auto& [x, y] : *points) {
        x_high = std::max(x_high, x);
        if (chart.y_high <= 0) y_high = std::max(y_high, y);
      }
    }
  }
  if (x_high <= 0) x_high = 1;
  if (y_high <= chart.y_low) y_high = chart.y_low + 1;
  const auto place = [&](std::pair<double, double> point) {
    const double share = std::clamp((point.second - chart.y_low) / (y_high - chart.y_low), 0.0, 1.0);
    return std::pair(plot.x + point.first / x_high * plot.width, plot.y + plot.height - share * plot.height);
  };
  frame(*this, plot, chart.title, chart.x_label, chart.y_label);
  for (const double y : ticks(chart.y_low, y_high, 5)) {
    const double at = place({0, y}).second;
    line({{plot.x, at}, {plot.x + plot.width, at}}, "#dddddd", false, 1);
    text(plot.x - 6, at + 4, number(y), 11, "end");
  }
  for (const double x : ticks(x_high, 6)) text(place({x, 0}).first, plot.y + plot.height + 16, number(x), 11, "middle");
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const std::vector<std::array<double, 3>>& band = chart.series[i].band;
    std::vector<std::pair<double, double>> outline;
    for (const auto& [x, low, high] : band) outline.push_back(place({x, low}));
    for (std::size_t j = band.size(); j-- > 0;) outline.push_back(place({band[j][0], band[j][2]}));
    area(outline, kColours[i % std::size(kColours)]);
  }
  std::size_t longest = 9, named = 0;
  for (const Series& series : chart.series)
    longest = std::max(longest, series.name.size()), named += !series.name.empty();
  const double words = plot.x + plot.width - 1 - 7 * static_cast<double>(longest);
  double legend = chart.legend_above ? plot.y + 15 * static_cast<double>(named) : plot.y + plot.height - 6;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const Series& series = chart.series[i];
    const char* colour = kColours[i % std::size(kColours)];
    std::vector<std::pair<double, double>> points;
    for (const auto& point : series.points) points.push_back(place(point));
    line(points, colour, series.dashed);
    for (const auto& point : series.marks) dot(place(point).first, place(point).second, colour);
    if (series.name.empty()) continue;
    line({{words - 26, legend - 4}, {words - 6, legend - 4}}, colour, series.dashed, 2.5);
    text(words, legend, series.name, 11);
    legend -= 15;
  }
  rect(plot, "none", "#888888");
}

void Svg::draw(const HeatMap& map, const Box& box) {
  const Box plot = inner(box);
  frame(*this, plot, map.title, map.x_label, map.y_label);
  const double height = plot.height / static_cast<double>(std::max<std::size_t>(1, map.values.size()));
  std::size_t columns = 1;
  for (std::size_t row = 0; row < map.values.size(); ++row) {
    columns = std::max(columns, map.values[row].size());
    const double width = plot.width / static_cast<double>(std::max<std::size_t>(1, map.values[row].size()));
    for (std::size_t column = 0; column < map.values[row].size(); ++column) {
      rect({plot.x + static_cast<double>(column) * width, plot.y + static_cast<double>(row) * height, width + 0.3,
            height + 0.3},
           shade(map.values[row][column]));
    }
  }
  text(plot.x - 6, plot.y + 10, "0", 11, "end");
  text(plot.x - 6, plot.y + plot.height, std::to_string(map.values.empty() ? 0 : map.values.size() - 1), 11, "end");
  text(plot.x, plot.y + plot.height + 16, "0", 11, "middle");
  text(plot.x + plot.width, plot.y + plot.height + 16, std::to_string(columns - 1), 11, "end");
  rect(plot, "none", "#888888");
}

void Svg::draw(const IntervalChart& chart, const Box& box) {
  constexpr double kNames = 150;
  const Box plot = {box.x + kNames, box.y + kTop, box.width - kNames - 20, box.height - kTop - kBottom};
  double low = 0, high = 0;
  bool any = false;
  for (const IntervalChart::Row& row : chart.rows) {
    for (const double value : {row.value, row.low, row.high}) {
      if (!std::isfinite(value)) continue;
      low = any ? std::min(low, value) : value, high = any ? std::max(high, value) : value, any = true;
    }
  }
  const double margin = high > low ? 0.06 * (high - low) : std::max(1e-9, 0.05 * std::abs(high));
  low -= margin, high += margin;
  const auto place = [&](double value) { return plot.x + (value - low) / (high - low) * plot.width; };
  text(plot.x, plot.y - 10, chart.title, 13);
  text(plot.x + plot.width / 2, plot.y + plot.height + 34, chart.x_label, 11, "middle");
  for (const double x : ticks(low, high, 5)) {
    line({{place(x), plot.y}, {place(x), plot.y + plot.height}}, "#dddddd", false, 1);
    text(place(x), plot.y + plot.height + 16, number(x), 11, "middle");
  }
  const double height = plot.height / static_cast<double>(std::max<std::size_t>(1, chart.rows.size()));
  for (std::size_t i = 0; i < chart.rows.size(); ++i) {
    const IntervalChart::Row& row = chart.rows[i];
    const char* colour = kColours[i % std::size(kColours)];
    const double y = plot.y + (static_cast<double>(i) + 0.5) * height;
    text(plot.x - 8, y + 4, row.name, 11, "end");
    if (std::isfinite(row.low) && std::isfinite(row.high))
      line({{place(row.low), y}, {place(row.high), y}}, colour, false, 3);
    if (std::isfinite(row.value)) dot(place(row.value), y, colour);
  }
  rect(plot, "none", "#888888");
}

std::string Svg::finish() const {
  const std::string size = number(width_) + "\" height=\"" + number(height_) + "\" viewBox=\"0 0 " + number(width_) +
                           " " + number(height_) + "\"";
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + size +
         " font-family=\"sans-serif\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n" + body_ +
         "</svg>\n";
}

}  // namespace junto

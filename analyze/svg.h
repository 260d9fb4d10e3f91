// Pictures as SVG: line charts and heat maps, nothing that a browser has to run.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace junto {

struct Box {
  double x = 0, y = 0, width = 0, height = 0;
};

struct Series {
  std::string name;  // in the legend; empty: not in it
  std::vector<std::pair<double, double>> points;
  bool dashed = false;
  std::vector<std::pair<double, double>> marks = {};  // dots, such as measurements beside a model's line
  std::vector<std::array<double, 3>> band = {};       // x, low, high: an interval around the line
};

struct LineChart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  double y_high = 0;          // 0: as the values need
  double y_low = 0;           // of the axis; what lies outside is cut off
  bool legend_above = false;  // in the upper right corner: for curves that fall
};

/// Rows of a name, a value and its interval: one dot and one bar each.
struct IntervalChart {
  struct Row {
    std::string name;
    double value = 0, low = 0, high = 0;  // bars that are not finite are not drawn
  };
  std::string title, x_label;
  std::vector<Row> rows;
};

/// values [rows, columns], 0 (light) to 1 (dark); outside of it they are clamped.
struct HeatMap {
  std::string title, x_label, y_label;
  std::vector<std::vector<double>> values;
};

class Svg {
 public:
  Svg(double width, double height) : width_(width), height_(height) {}

  void text(double x, double y, std::string_view words, double size = 12, std::string_view anchor = "start");
  void rect(const Box& box, std::string_view fill, std::string_view stroke = "none");
  void line(const std::vector<std::pair<double, double>>& points, std::string_view colour, bool dashed = false,
            double width = 1.5);
  void dot(double x, double y, std::string_view colour);
  /// A polygon, pale.
  void area(const std::vector<std::pair<double, double>>& outline, std::string_view colour);
  /// Titles, axes, ticks and legend included, within `box`.
  void draw(const LineChart& chart, const Box& box);
  void draw(const HeatMap& map, const Box& box);
  void draw(const IntervalChart& chart, const Box& box);

  /// The whole file.
  std::string finish() const;

 private:
  double width_, height_;
  std::string body_;
};

/// Steps of 1, 2 or 5 times a power of ten, about `count` of them from 0 to `high`.
std::vector<double> ticks(double high, int count);
/// The same from `low`: multiples of the step within low .. high.
std::vector<double> ticks(double low, double high, int count);

/// `words` as text of XML and HTML: no character of it is markup. Control characters become spaces.
std::string escape_markup(std::string_view words);

}  // namespace junto

#include "cli/table.h"

#include <algorithm>

#include "cli/terminal.h"

namespace junto {
namespace {

/// Display width of each column.
std::vector<int> widths_of(const Table& table, int least) {
  std::vector<int> widths;
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    int width = std::max(least, display_width(table.columns[c].title));
    for (const auto& row : table.rows) width = std::max(width, display_width(row[c]));
    widths.push_back(width);
  }
  return widths;
}

std::string padded(const std::string& text, int width, Align align) {
  const std::string space(static_cast<std::size_t>(std::max(0, width - display_width(text))), ' ');
  return align == Align::kRight ? space + text : text + space;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

std::string line(const Table& table, const std::vector<std::string>& cells, const std::vector<int>& widths,
                 std::string_view begin, std::string_view between, std::string_view end) {
  std::string out(begin);
  for (std::size_t c = 0; c < cells.size(); ++c) {
    out += (c == 0 ? "" : std::string(between)) + padded(cells[c], widths[c], table.columns[c].align);
  }
  return out + std::string(end);
}

std::vector<std::string> titles_of(const Table& table) {
  std::vector<std::string> titles;
  for (const Column& column : table.columns) titles.push_back(column.title);
  return titles;
}

}  // namespace

std::string to_markdown(const Table& table) {
  const std::vector<int> widths = widths_of(table, 3);
  std::string out = line(table, titles_of(table), widths, "| ", " | ", " |\n") + "|";
  for (std::size_t c = 0; c < widths.size(); ++c) {
    out += " " + std::string(static_cast<std::size_t>(widths[c] - 1), '-') +
           (table.columns[c].align == Align::kRight ? ":" : "-") + " |";
  }
  out += "\n";
  for (const auto& row : table.rows) out += line(table, row, widths, "| ", " | ", " |\n");
  return out;
}

std::string to_csv(const Table& table) {
  std::string out;
  const auto add = [&](const std::vector<std::string>& cells) {
    for (std::size_t c = 0; c < cells.size(); ++c) out += (c == 0 ? "" : ",") + csv_field(cells[c]);
    out += "\r\n";
  };
  add(titles_of(table));
  for (const auto& row : table.rows) add(row);
  return out;
}

std::string to_plain(const Table& table) {
  const std::vector<int> widths = widths_of(table, 0);
  std::string out;
  const auto add = [&](const std::vector<std::string>& cells) {
    std::string text = line(table, cells, widths, "", "  ", "");
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  add(titles_of(table));
  for (const auto& row : table.rows) add(row);
  return out;
}

}  // namespace junto

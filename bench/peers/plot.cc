#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "results.h"

namespace oncelog::bench {
namespace {

constexpr double kWidth = 560;
constexpr double kHeight = 320;
constexpr double kLeft = 76;
constexpr double kTop = 44;
constexpr double kNames = 190;
constexpr double kNameStep = 18;
// Differ for people who see fewer colours as well (Okabe and Ito), and stand out from white and from black.
constexpr std::array kColours{"#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00",
                              "#56b4e9", "#8c6d31", "#7b61c4", "#888888", "#b33c6b"};

struct Point {
  double x;
  double y;
};

struct Line {
  std::string name;
  std::size_t colour;
  bool dashed;
  std::vector<Point> points;
};

struct Plot {
  std::string title;
  std::string x_title;
  std::string y_title;
  std::vector<Line> lines = {};
  std::vector<std::pair<double, std::string>> x_marks = {};  // Powers of ten where there are none.
};

std::string short_number(double value) {
  for (const auto& [size, letter] : {std::pair{1e9, "G"}, {1e6, "M"}, {1e3, "k"}}) {
    if (value >= size) return fmt::format("{:.3g}{}", value / size, letter);
  }
  return fmt::format("{:.3g}", value);
}

/// A logarithmic axis over whole powers of ten.
class Axis {
 public:
  Axis(const Plot& plot, double Point::*of, double from, double to) : from_(from), to_(to) {
    double least = 1e300;
    double most = 0;
    for (const Line& line : plot.lines) {
      for (const Point& point : line.points) {
        least = std::min(least, point.*of);
        most = std::max(most, point.*of);
      }
    }
    if (most <= 0) least = most = 1;
    // What is a power of ten but for rounding is one.
    low_ = std::floor(std::log10(least) + 1e-6);
    high_ = std::max(low_ + 1, std::ceil(std::log10(most) - 1e-6));
  }

  double at(double value) const { return from_ + (to_ - from_) * (std::log10(value) - low_) / (high_ - low_); }
  std::vector<double> powers() const {
    std::vector<double> powers;
    for (double power = low_; power <= high_; ++power) powers.push_back(std::pow(10, power));
    return powers;
  }

 private:
  double from_;
  double to_;
  double low_ = 0;
  double high_ = 1;
};

void draw_axes(std::string& out, const Plot& plot, const Axis& x, const Axis& y) {
  const auto to = std::back_inserter(out);
  fmt::format_to(to, "<text x='{}' y='20' class='t'>{}</text>\n", kLeft, plot.title);
  for (const double power : y.powers()) {
    fmt::format_to(to, "<path d='M{0} {1:.1f}h{2}' class='g'/><text x='{3}' y='{4:.1f}' class='e'>{5}</text>\n", kLeft,
                   y.at(power), kWidth, kLeft - 6, y.at(power) + 4, short_number(power));
  }
  auto marks = plot.x_marks;
  if (marks.empty()) {
    for (const double power : x.powers()) marks.emplace_back(power, short_number(power));
  }
  for (const auto& [value, name] : marks) {
    fmt::format_to(to, "<path d='M{0:.1f} {1}v{2}' class='g'/><text x='{0:.1f}' y='{3}' class='m'>{4}</text>\n",
                   x.at(value), kTop, kHeight, kTop + kHeight + 18, name);
  }
  fmt::format_to(to, "<text x='{}' y='{}' class='m'>{}</text>\n", kLeft + kWidth / 2, kTop + kHeight + 38,
                 plot.x_title);
  fmt::format_to(to, "<text transform='translate(16,{}) rotate(-90)' class='m'>{}</text>\n", kTop + kHeight / 2,
                 plot.y_title);
}

void draw_lines(std::string& out, const Plot& plot, const Axis& x, const Axis& y) {
  const auto to = std::back_inserter(out);
  double name_at = kTop + 6;
  for (const Line& line : plot.lines) {
    const char* const colour = kColours[line.colour % kColours.size()];
    fmt::format_to(to, "<polyline stroke='{}'{} points='", colour, line.dashed ? " class='d'" : "");
    for (const Point& point : line.points) fmt::format_to(to, "{:.1f},{:.1f} ", x.at(point.x), y.at(point.y));
    out += "'/>\n";
    for (const Point& point : line.points) {
      fmt::format_to(to, "<circle cx='{:.1f}' cy='{:.1f}' r='2.5' fill='{}'/>", x.at(point.x), y.at(point.y), colour);
    }
    const double left = kLeft + kWidth + 12;
    fmt::format_to(to, "\n<path d='M{} {:.1f}h18' stroke='{}' stroke-width='2'{}/><text x='{}' y='{:.1f}'>{}</text>\n",
                   left, name_at - 4, colour, line.dashed ? " class='d'" : "", left + 24, name_at, line.name);
    name_at += kNameStep;
  }
}

/// Text and grid follow the reader's colour scheme; there is no background, so that the page's shows.
std::string to_svg(const Plot& plot) {
  const double height = std::max(kTop + kHeight + 52, kTop + 12 + kNameStep * static_cast<double>(plot.lines.size()));
  std::string out = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='{0}' height='{1}' viewBox='0 0 {0} {1}'>\n"
      "<style>text{{font:12px sans-serif;fill:#24292f}}.t{{font-weight:bold;font-size:14px}}.e{{text-anchor:end}}"
      ".m{{text-anchor:middle}}.g{{stroke:#8c959f;stroke-opacity:.35}}polyline{{fill:none;stroke-width:2}}"
      ".d{{stroke-dasharray:5 4}}@media (prefers-color-scheme:dark){{text{{fill:#d0d7de}}}}</style>\n",
      kLeft + kWidth + kNames, height);
  const Axis x(plot, &Point::x, kLeft, kLeft + kWidth);
  const Axis y(plot, &Point::y, kTop + kHeight, kTop);
  draw_axes(out, plot, x, y);
  draw_lines(out, plot, x, y);
  return out + "</svg>\n";
}

Plot latency_plot(const Results& results) {
  Plot plot{"Latency of a consumer's marks", "share of marks that take no longer", "ns (logarithmic)"};
  for (std::size_t i = 0; i < results.peers.size(); ++i) {
    Line line{results.peers[i].first, i, false, {}};
    const Row* const row = results.find(line.name, "consumer", results.ids.back());
    if (row == nullptr) continue;
    for (const double share : kShares) {
      const double ns = row->quantile_ns(share);
      if (ns > 0) line.points.push_back({1 / (1 - share), ns});
    }
    if (!line.points.empty()) plot.lines.push_back(std::move(line));
  }
  plot.x_marks = {{1, "0"}, {2, "50%"}, {10, "90%"}, {100, "99%"}, {1e3, "99.9%"}, {1e4, "99.99%"}};
  return plot;
}

Plot throughput_plot(const Results& results) {
  Plot plot{"Marks one by one, while a store grows", "ids in the store", "marks a second"};
  for (std::size_t i = 0; i < results.peers.size(); ++i) {
    Line line{results.peers[i].first, i, false, {}};
    for (const Row* const row : results.all(line.name, kCurve)) {
      // Of the largest store only: a smaller one has grown over the same sizes.
      if (row->ids == results.ids.back() && row->held > 0) {
        line.points.push_back({static_cast<double>(row->held), 1e9 / row->value});
      }
    }
    if (!line.points.empty()) plot.lines.push_back(std::move(line));
  }
  return plot;
}

Plot open_plot(const Results& results) {
  Plot plot{"Time to open and to answer: after a crash, and (dashed) after a reboot", "ids in the store", "ms"};
  for (std::size_t i = 0; i < results.peers.size(); ++i) {
    for (const bool reboot : {false, true}) {
      const std::string& name = results.peers[i].first;
      Line line{name + (reboot ? ", reboot" : ""), i, reboot, {}};
      for (const Row* const row : results.all(name, reboot ? "open_reboot" : "open_crash")) {
        line.points.push_back({static_cast<double>(row->held), row->value});
      }
      if (!line.points.empty()) plot.lines.push_back(std::move(line));
    }
  }
  return plot;
}

}  // namespace

void write_plots(const Results& results, const std::filesystem::path& directory) {
  const std::pair<const char*, Plot> plots[] = {{"latency.svg", latency_plot(results)},
                                                {"throughput.svg", throughput_plot(results)},
                                                {"open.svg", open_plot(results)}};
  for (const auto& [name, plot] : plots) {
    std::ofstream out(directory / name);
    out << to_svg(plot);
    if (!out.flush()) throw std::runtime_error("cannot write " + (directory / name).string());
  }
}

}  // namespace oncelog::bench

#pragma once

#include <string>
#include <utility>
#include <vector>

namespace oncelog::soak {

/// One line of a chart: a value for each sample, at the chart's times.
struct Line {
  std::string name;
  std::vector<double> values;
};

/// A small chart: lines over time in one frame, with a linear scale from 0 or a logarithmic one.
struct Chart {
  std::string title;
  std::string unit;
  bool logarithmic = false;
  std::vector<Line> lines;
  std::vector<std::pair<std::string, double>> limits = {};  // Drawn dashed.
};

/// Draws the charts, three to a row, as one SVG image. `seconds` are the samples' times; where there are more than a
/// chart has room for, the largest of neighbouring values is drawn, so that no peak is lost.
std::string to_svg(const std::string& title, const std::vector<double>& seconds, const std::vector<Chart>& charts);

}  // namespace oncelog::soak

#include "chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

namespace oncelog::soak {
namespace {

constexpr double kWidth = 300;
constexpr double kHeight = 150;
constexpr double kLeft = 58;
constexpr double kTop = 34;
constexpr double kColumn = kLeft + kWidth + 22;
constexpr double kRow = kTop + kHeight + 34;
constexpr double kTitle = 30;
constexpr std::size_t kColumns = 3;
constexpr std::size_t kMostPoints = 300;
// Told apart by people who see fewer colours as well (Okabe and Ito).
constexpr std::array<const char*, 5> kColours{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string short_number(double value) {
  for (const auto& [size, letter] : {std::pair{1e9, "G"}, {1e6, "M"}, {1e3, "k"}}) {
    if (value >= size) return fmt::format("{:.3g}{}", value / size, letter);
  }
  return fmt::format("{:.3g}", value);
}

/// The least of 1, 2 and 5 times a power of ten that is not below the value.
double round_up(double value) {
  if (value <= 0) return 1;
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (value <= step * power) return step * power;
  }
  return 10 * power;
}

/// Where values lie in a frame.
class Scale {
 public:
  Scale(const Chart& chart, const std::vector<double>& seconds)
      : logarithmic_(chart.logarithmic), end_(seconds.empty() ? 1 : std::max(seconds.back(), 1.0)) {
    double most = 0;
    double least = 1e300;
    const auto see = [&](double value) {
      most = std::max(most, value);
      if (value > 0) least = std::min(least, value);
    };
    for (const Line& line : chart.lines) std::ranges::for_each(line.values, see);
    for (const auto& limit : chart.limits) see(limit.second);
    if (logarithmic_) {
      low_ = least > most ? 0 : std::floor(std::log10(least));
      high_ = std::max(low_ + 1, most > 0 ? std::ceil(std::log10(most)) : 1);
    } else {
      high_ = round_up(most);
    }
  }

  double x(double second) const { return kLeft + kWidth * second / end_; }
  double y(double value) const {
    const double at = logarithmic_ ? std::max(std::log10(std::max(value, 1e-300)), low_) : value;
    return kTop + kHeight * (1 - (at - low_) / (high_ - low_));
  }
  std::vector<double> marks() const {
    std::vector<double> marks;
    if (logarithmic_) {
      for (double power = low_; power <= high_; ++power) marks.push_back(std::pow(10, power));
    } else {
      for (int i = 0; i <= 4; ++i) marks.push_back(high_ * i / 4);
    }
    return marks;
  }

 private:
  bool logarithmic_;
  double end_;
  double low_ = 0;
  double high_ = 1;
};

void draw(std::string& out, const std::vector<double>& seconds, const Chart& chart) {
  const auto to = std::back_inserter(out);
  const Scale scale(chart, seconds);
  fmt::format_to(to, "<text x='{}' y='14' class='t'>{}</text>\n", kLeft, escaped(chart.title));
  for (const double mark : scale.marks()) {
    fmt::format_to(to, "<path d='M{0} {1:.1f}h{2}' class='g'/><text x='{3}' y='{4:.1f}' class='e'>{5}{6}</text>\n",
                   kLeft, scale.y(mark), kWidth, kLeft - 4, scale.y(mark) + 3, short_number(mark), chart.unit);
  }
  const double minutes = seconds.empty() ? 0 : seconds.back() / 60;
  for (int i = 0; i <= 2; ++i) {
    fmt::format_to(to, "<text x='{:.1f}' y='{}' class='m'>{:.3g}{}</text>\n", kLeft + kWidth * i / 2,
                   kTop + kHeight + 14, minutes * i / 2, i == 2 ? " min" : "");
  }
  for (const auto& [name, value] : chart.limits) {
    fmt::format_to(to, "<path d='M{0} {1:.1f}h{2}' class='l'/><text x='{3}' y='{4:.1f}' class='e'>{5}</text>\n", kLeft,
                   scale.y(value), kWidth, kLeft + kWidth - 2, scale.y(value) - 3, escaped(name));
  }
  double name_at = kLeft;
  for (std::size_t i = 0; i < chart.lines.size(); ++i) {
    const Line& line = chart.lines[i];
    const char* const colour = kColours[i % kColours.size()];
    const std::size_t step = (line.values.size() + kMostPoints - 1) / kMostPoints;
    fmt::format_to(to, "<polyline stroke='{}' points='", colour);
    for (std::size_t at = 0; at < line.values.size(); at += step) {
      const auto end = std::min(at + step, line.values.size());
      const double value = *std::max_element(line.values.begin() + static_cast<std::ptrdiff_t>(at),
                                             line.values.begin() + static_cast<std::ptrdiff_t>(end));
      fmt::format_to(to, "{:.1f},{:.1f} ", scale.x(seconds[at]), scale.y(value));
    }
    fmt::format_to(to, "'/><text x='{}' y='28' fill='{}'>{}</text>\n", name_at, colour, escaped(line.name));
    name_at += 14 + 6.2 * static_cast<double>(line.name.size());
  }
}

}  // namespace

std::string to_svg(const std::string& title, const std::vector<double>& seconds, const std::vector<Chart>& charts) {
  const std::size_t rows = (charts.size() + kColumns - 1) / kColumns;
  std::string out = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='{0}' height='{1}' viewBox='0 0 {0} {1}'>\n"
      "<style>text{{font:11px sans-serif}}.t{{font-weight:bold;font-size:12px}}.e{{text-anchor:end;fill:#555}}"
      ".m{{text-anchor:middle;fill:#555}}.g{{stroke:#ddd}}.l{{stroke:#555;stroke-dasharray:4 3}}"
      "polyline{{fill:none;stroke-width:1.2}}</style>\n"
      "<rect width='100%' height='100%' fill='#fff'/><text x='{2}' y='18' class='t'>{3}</text>\n",
      kColumn * kColumns, kTitle + kRow * static_cast<double>(rows), kLeft, escaped(title));
  for (std::size_t i = 0; i < charts.size(); ++i) {
    fmt::format_to(std::back_inserter(out), "<g transform='translate({},{})'>\n",
                   kColumn * static_cast<double>(i % kColumns), kTitle + kRow * static_cast<double>(i / kColumns));
    draw(out, seconds, charts[i]);
    out += "</g>\n";
  }
  return out + "</svg>\n";
}

}  // namespace oncelog::soak

#include <array>
#include <charconv>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;

namespace {

/// Reads the text format, and throws at whatever breaks its rules; those that promtool does not know of are here too.
class Exposition {
 public:
  using Labels = std::map<std::string, std::string>;

  explicit Exposition(std::string_view text) {
    expect(!text.empty() && text.back() == '\n', "the last line to have an end");
    for (std::size_t end = 0; !text.empty(); text.remove_prefix(end + 1)) {
      end = text.find('\n');
      read_line(text.substr(0, end));
    }
    end_family();
  }

  std::size_t samples() const { return samples_.size(); }
  bool has(const std::string& name) const {
    const auto first = samples_.lower_bound({name, {}});
    return first != samples_.end() && first->first.first == name;
  }
  double at(const std::string& name, const Labels& labels = {}) const {
    const auto found = samples_.find({name, labels});
    expect(found != samples_.end(), "a sample of " + name);
    return found->second;
  }

 private:
  void expect(bool condition, const std::string& sentence) const {
    if (!condition) throw std::runtime_error("expected " + sentence + " in: " + line_);
  }

  static bool is_name(std::string_view text) {
    constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz_";
    return !text.empty() && kLetters.find(text[0]) != std::string_view::npos &&
           text.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789") == std::string_view::npos;
  }

  void read_line(std::string_view line) {
    line_ = line;
    expect(!line.empty(), "no empty line");
    if (line.starts_with("# HELP ")) {
      end_family();
      const std::string_view rest = line.substr(7);
      family_ = rest.substr(0, rest.find(' '));
      expect(is_name(family_) && family_.starts_with("oncelog_"), "a name");
      expect(families_.insert(family_).second, "one place for each family");
      expect(rest.size() > family_.size() + 2 && rest.back() == '.', "a sentence of help");
      type_.clear();
    } else if (line.starts_with("# TYPE ")) {
      expect(type_.empty() && line.substr(7).starts_with(family_ + ' '), "the type right after the help");
      type_ = line.substr(8 + family_.size());
      expect(type_ == "counter" || type_ == "gauge" || type_ == "histogram", "a type");
      expect((type_ == "counter") == family_.ends_with("_total"), "counters, and only these, to end in _total");
      for (const char* suffix : {"_bucket", "_count", "_sum", "_info"}) {
        expect(!family_.ends_with(suffix), "a name that is not a histogram's part");
      }
    } else {
      read_sample(line);
    }
  }

  void read_sample(std::string_view line) {
    expect(!type_.empty(), "a type before the samples");
    const std::size_t name_end = line.find_first_of("{ ");
    const std::string name(line.substr(0, name_end));
    line.remove_prefix(name_end);
    Labels labels;
    if (line[0] == '{') line = read_labels(line.substr(1), labels);
    expect(line[0] == ' ', "a blank before the value");
    line.remove_prefix(1);
    double value = 0;
    const auto [end, failed] = std::from_chars(line.data(), line.data() + line.size(), value);
    expect(failed == std::errc{} && end == line.data() + line.size(), "a number");
    if (type_ != "gauge") expect(value >= 0, "no count below 0");
    if (type_ == "histogram") {
      expect(name == family_ + "_bucket" || name == family_ + "_sum" || name == family_ + "_count",
             "a sample of the family");
      expect(labels.contains("le") == name.ends_with("_bucket"), "a bound for each bucket");
    } else {
      expect(name == family_, "a sample of the family");
    }
    if (labels.contains("le")) read_bucket(labels["le"], value);
    expect(samples_.emplace(std::pair(name, labels), value).second, "each series once");
  }

  std::string_view read_labels(std::string_view line, Labels& labels) {
    while (!line.starts_with('}')) {
      const std::size_t name_end = line.find("=\"");
      expect(name_end != std::string_view::npos, "a label's value");
      const std::string name(line.substr(0, name_end));
      expect(is_name(name), "a label's name");
      line.remove_prefix(name_end + 2);
      std::string value;
      for (;; line.remove_prefix(1)) {
        expect(!line.empty(), "an end of the value");
        if (line[0] == '"') break;
        if (line[0] != '\\') {
          value += line[0];
          continue;
        }
        line.remove_prefix(1);
        expect(line[0] == '\\' || line[0] == '"' || line[0] == 'n', "a known escape");
        value += line[0] == 'n' ? '\n' : line[0];
      }
      expect(labels.emplace(name, value).second, "each label once");
      line.remove_prefix(1);
      if (line.starts_with(',')) line.remove_prefix(1);
    }
    return line.substr(1);
  }

  void read_bucket(const std::string& bound, double count) {
    expect(count >= below_, "buckets that hold what earlier ones hold");
    below_ = count;
    if (bound == "+Inf") return;
    const double up_to = std::stod(bound);
    expect(up_to > bound_, "ascending bounds");
    bound_ = up_to;
  }

  void end_family() {
    if (family_.empty()) return;
    if (type_ == "histogram") {
      expect(at(family_ + "_bucket", {{"le", "+Inf"}}) == at(family_ + "_count"), "all values in the last bucket");
      at(family_ + "_sum");
    } else {
      expect(has(family_), "a sample in each family");
    }
    below_ = bound_ = 0;
  }

  std::string line_;
  std::string family_;
  std::string type_;
  std::set<std::string> families_;
  std::map<std::pair<std::string, Labels>, double> samples_;
  double below_ = 0;  // The count of the bucket before, and its bound.
  double bound_ = 0;
};

constexpr std::string_view kGood =
    "# HELP oncelog_a_total A.\n# TYPE oncelog_a_total counter\noncelog_a_total{b=\"c\"} 1\n";

}  // namespace

TEST_CASE("the reader of the format takes what is right and refuses what is not") {
  CHECK(Exposition(kGood).at("oncelog_a_total", {{"b", "c"}}) == 1);
  const std::string good(kGood);
  CHECK_THROWS(Exposition(good.substr(0, good.size() - 1)));
  CHECK_THROWS(Exposition(good + good));
  CHECK_THROWS(Exposition(good + "oncelog_a_total{b=\"c\"} 2\n"));
  CHECK_THROWS(Exposition(good + "oncelog_b_total 2\n"));
  CHECK_THROWS(Exposition(good + "# HELP oncelog_b B.\n# TYPE oncelog_b gauge\n"));
  CHECK_THROWS(Exposition(good + "oncelog_a_total{b=\"\\c\"} 2\n"));
  CHECK_THROWS(Exposition(good + "# HELP oncelog_b_total \n# TYPE oncelog_b_total counter\noncelog_b_total 1\n"));
  CHECK_THROWS(Exposition(good + "# HELP oncelog_b B.\n# TYPE oncelog_b counter\noncelog_b 1\n"));
  const std::string histogram = "# HELP oncelog_h H.\n# TYPE oncelog_h histogram\noncelog_h_bucket{le=\"1\"} ";
  CHECK_NOTHROW(Exposition(histogram + "1\noncelog_h_bucket{le=\"+Inf\"} 2\noncelog_h_sum 3\noncelog_h_count 2\n"));
  CHECK_THROWS(Exposition(histogram + "1\noncelog_h_bucket{le=\"+Inf\"} 2\noncelog_h_sum 3\noncelog_h_count 3\n"));
  CHECK_THROWS(Exposition(histogram + "3\noncelog_h_bucket{le=\"+Inf\"} 2\noncelog_h_sum 3\noncelog_h_count 2\n"));
  CHECK_THROWS(Exposition(histogram + "1\noncelog_h_bucket{le=\"+Inf\"} 2\noncelog_h_count 2\n"));
  CHECK_THROWS(Exposition(histogram + "1\noncelog_h_sum 3\noncelog_h_count 2\n"));
}

TEST_CASE("the text of a store's metrics keeps to the format, and its figures are those of the metrics") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const Scope scope = store.scope("s");
  for (int i = 0; i < 1000; ++i) scope.mark(std::to_string(i));
  for (int i = 0; i < 200; ++i) scope.contains(std::to_string(10 * i));
  const Claim claim = scope.begin("claimed", std::chrono::hours{1});
  scope.begin("abandoned", std::chrono::hours{1}).abandon();
  store.sync();
  const Metrics metrics = store.metrics();
  const Exposition text(metrics.prometheus());
  for (const std::string prefix : {"oncelog_", "oncelog_process_"}) {
    CHECK(text.at(prefix + "decisions_total", {{"scope", "s"}, {"verdict", "fresh"}}) == 1002);
    CHECK(text.at(prefix + "checks_total", {{"scope", "s"}, {"answer", "known"}}) == 100);
    CHECK(text.at(prefix + "checks_total", {{"scope", "s"}, {"answer", "unknown"}}) == 100);
    CHECK(text.at(prefix + "claims_ended_total", {{"scope", "s"}, {"end", "abandoned"}}) == 1);
    CHECK(text.at(prefix + "mark_duration_seconds_count") == 1000 / 64);
    CHECK(text.at(prefix + "check_duration_seconds_count") == 200 / 64);
  }
  CHECK(text.at("oncelog_records_total") == 1000);
  CHECK(text.at("oncelog_claims_held") == 1);
  CHECK(text.at("oncelog_ids") == 1000);
  CHECK(text.at("oncelog_unflushed_bytes") == 0);
  CHECK(text.at("oncelog_retention_seconds") == 86'400);
  CHECK(text.at("oncelog_flush_duration_seconds_count") == static_cast<double>(metrics.flushes));
  CHECK(text.at("oncelog_flush_size_bytes_sum") == static_cast<double>(metrics.flushed_bytes));
  CHECK(text.at("oncelog_process_failing") == 0);
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  CHECK(text.at("oncelog_known_since_timestamp_seconds") == doctest::Approx(now - 86'400).epsilon(1e-6));
}

TEST_CASE("the host's figures come alone when they are asked for alone") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  store.scope("s").mark("a");
  const std::string host = store.metrics().prometheus(MetricsOf::host);
  CHECK(Exposition(host).at("oncelog_decisions_total", {{"scope", "s"}, {"verdict", "fresh"}}) == 1);
  CHECK(host.find("oncelog_process_") == std::string::npos);
}

TEST_CASE("every scope's name can be told from all others in a label, whatever bytes it is of") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const std::array<std::string, 8> names{
      "plain", "with \"quotes\", {braces} and a \\", "two\nlines", "n", "caf\xc3\xa9", "\xf0\x9f\x93\xa6", "0xff",
      "\\n"};
  for (const std::string& name : names) store.scope(name).mark("a");
  // No UTF-8: a stray byte, one that is missing, an overlong form, a surrogate, beyond the last character.
  const std::array<std::pair<std::string, std::string>, 6> bytes{{{"\xff", "ff"},
                                                                  {"caf\xc3", "636166c3"},
                                                                  {"\xc3(", "c328"},
                                                                  {"\xc0\xaf", "c0af"},
                                                                  {"\xed\xa0\x80", "eda080"},
                                                                  {"\xf4\x90\x80\x80", "f4908080"}}};
  for (const auto& [name, hex] : bytes) store.scope(name).mark("a");
  for (int i = 0; i < 60; ++i) store.scope("one of many " + std::to_string(i)).mark("a");
  const Exposition text(store.metrics().prometheus());
  const auto fresh = [&](const std::string& label, const std::string& value) {
    return text.at("oncelog_decisions_total", {{label, value}, {"verdict", "fresh"}});
  };
  for (const std::string& name : names) CHECK(fresh("scope", name) == 1);
  for (const auto& [name, hex] : bytes) CHECK(fresh("scope_hex", hex) == 1);
  CHECK(fresh("scope", "") == 74 - 63);
}

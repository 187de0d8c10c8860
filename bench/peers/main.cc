/// oncelog beside other stores of processed ids: the same work, on one machine, in one run. tools/bench runs it.
///
///   bench_peers [--quick] [--ids=N,...] [--peers=NAME,...] [--queries=N] [--durable=N] [--row-ms=N] [--load-ms=N]
///               [--directory=PARENT] [--out=DIR]
///   bench_peers --list     the peers that it was built with, and what is missing for others
///
/// Each peer and size is measured by a process of its own (--one=NAME), which starts further ones (--worker=NAME).

#include <fmt/format.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>

#include "child.h"
#include "machine.h"
#include "peer.h"
#include "plan.h"
#include "results.h"
#include "share.h"
#include "workloads.h"

namespace oncelog::bench {
namespace {

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A signal asks for the end. Children get theirs from the terminal, or are killed with their object.
volatile sig_atomic_t interrupted = 0;

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };  // Without SA_RESTART: reading from a child ends.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
}

using Options = std::map<std::string, std::string>;

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    const std::size_t equals = argument.find('=');
    if (!argument.starts_with("--")) throw UsageError("not an option: " + argument);
    options[argument.substr(2, equals - 2)] = equals == std::string::npos ? "" : argument.substr(equals + 1);
  }
  return options;
}

std::size_t number_of(const std::string& text) {
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number == 0)
    throw UsageError("not a number: " + text);
  return number;
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, ',');) words.push_back(word);
  return words;
}

const PeerKind& kind_of(const std::string& name) {
  const auto found = std::ranges::find(peer_kinds(), name, &PeerKind::name);
  if (found == peer_kinds().end()) throw UsageError("no such peer here: " + name + "; see --list");
  return *found;
}

Plan plan_of(const Options& options) {
  Plan plan;
  for (const PeerKind& kind : peer_kinds()) {
    if (kind.by_default) plan.peers.push_back(kind.name);
  }
  if (options.contains("quick")) {
    plan.ids = {10'000, 100'000};
    plan.row_limit = std::chrono::milliseconds{300};
  }
  for (const auto& [name, value] : options) {
    if (name == "ids") {
      plan.ids.clear();
      for (const std::string& word : words_of(value)) plan.ids.push_back(number_of(word));
      std::ranges::sort(plan.ids);
    } else if (name == "peers") {
      plan.peers = words_of(value);
      for (const std::string& peer : plan.peers) kind_of(peer);
    } else if (name == "queries") {
      plan.queries = number_of(value);
    } else if (name == "durable") {
      plan.durable = number_of(value);
    } else if (name == "row-ms") {
      plan.row_limit = std::chrono::milliseconds{number_of(value)};
    } else if (name == "load-ms") {
      plan.load_limit = std::chrono::milliseconds{number_of(value)};
    } else if (name == "directory") {
      plan.directory = value;
    } else if (name == "out") {
      plan.out = value;
    } else if (name != "quick" && name != "one" && name != "worker" && name != "list") {
      throw UsageError("no such option: --" + name);
    }
  }
  if (plan.ids.empty() || plan.peers.empty()) throw UsageError("nothing to measure");
  return plan;
}

int run_list() {
  for (const PeerKind& kind : peer_kinds()) {
    std::cout << kind.name << (kind.by_default ? "" : " (only where --peers names it)") << '\n';
  }
  for (const std::string& missing : missing_peers()) std::cout << "missing " << missing << '\n';
  return 0;
}

/// What --one does: the rows go to standard output, a line each.
int run_one(const Plan& plan, const std::string& name) {
  // A buffer that is freed goes back to the system, so that the memory of a peer can be told.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
  const std::unique_ptr<Peer> peer = kind_of(name).make();
  Workloads(plan, name, *peer, plan.ids.front(), plan.directory, [](const Row& row) {
    std::cout << row.to_line() << std::endl;
  }).run();
  return 0;
}

/// Waits for what a child has left running when it was killed: its directory can only be removed after that.
struct OrphansEnd {
  OrphansEnd() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }
  OrphansEnd(const OrphansEnd&) = delete;
  OrphansEnd& operator=(const OrphansEnd&) = delete;
  ~OrphansEnd() {
    while (::wait(nullptr) > 0 || errno == EINTR) {
    }
  }
};

/// Returns whether it came to its end. What was measured until then stays.
bool measure(Results& results, const Plan& plan, const std::string& peer, std::size_t ids) {
  const ScratchDir scratch(plan.directory);
  // The server may run as another user.
  std::filesystem::permissions(scratch.path(), std::filesystem::perms::others_exec, std::filesystem::perm_options::add);
  const OrphansEnd orphans_end;
  std::cerr << fmt::format("{} with {} ids", peer, ids) << std::flush;
  const Clock::time_point begin = Clock::now();
  Child child({"--one=" + peer, fmt::format("--ids={}", ids), fmt::format("--queries={}", plan.queries),
               fmt::format("--durable={}", plan.durable), fmt::format("--row-ms={}", plan.row_limit.count()),
               fmt::format("--load-ms={}", plan.load_limit.count()),
               "--directory=" + (scratch.path() / "store").string()});
  while (const auto line = child.read_line()) results.rows.push_back(Row::from_line(*line));
  const bool done = interrupted == 0 && child.wait() == 0;
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  std::cerr << fmt::format("{}: {:.0f} s\n", done ? "" : " FAILED", seconds);
  return done;
}

void write(const std::filesystem::path& file, const std::string& text) {
  std::ofstream out(file);
  out << text;
  if (!out.flush()) throw std::runtime_error("cannot write " + file.string());
}

/// Exit code 1: some answer was wrong, or a peer has failed.
int run_all(const Plan& plan) {
  std::filesystem::create_directories(plan.out);
  catch_signals();
  Results results;
  results.date = today();
  results.facts = machine_facts(plan.directory);
  const std::string load_before = load_average();
  results.ids = plan.ids;
  for (const std::string& peer : plan.peers) results.peers.emplace_back(peer, kind_of(peer).make()->version());
  int code = 0;
  for (const std::size_t ids : plan.ids) {
    for (const std::string& peer : plan.peers) {
      if (!measure(results, plan, peer, ids)) code = 1;
      if (interrupted != 0) throw std::runtime_error("interrupted; nothing is written");
    }
  }
  results.facts.emplace_back("load average before and after", load_before + " and " + load_average());
  write(plan.out / "README.md", to_markdown(results));
  write(plan.out / "results.json", to_json(results));
  write_plots(results, plan.out);
  std::cerr << "written to " << plan.out.string() << '\n';
  for (const Row& row : results.rows) {
    if (row.wrong == 0) continue;
    std::cerr << fmt::format("{}, {} with {} ids: {} wrong answers\n", row.peer, row.work, row.ids, row.wrong);
    code = 1;
  }
  return code;
}

int run(const Options& options) {
  const Plan plan = plan_of(options);
  if (options.contains("list")) return run_list();
  if (options.contains("one") || options.contains("worker")) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (options.contains("one")) return run_one(plan, options.at("one"));
  if (options.contains("worker")) {
    const std::unique_ptr<Peer> peer = kind_of(options.at("worker")).make();
    return run_worker(*peer, plan.directory.string(), plan.ids.front());
  }
  return run_all(plan);
}

}  // namespace
}  // namespace oncelog::bench

int main(int count, char** arguments) {
  try {
    ::signal(SIGPIPE, SIG_IGN);  // A server that dies is an error of its connection.
    return oncelog::bench::run(oncelog::bench::parse(count, arguments));
  } catch (const oncelog::bench::UsageError& error) {
    std::cerr << "bench_peers: " << error.what() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "bench_peers: " << error.what() << '\n';
    return 3;
  }
}

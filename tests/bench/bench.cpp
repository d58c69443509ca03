// Dumps and restores processes of several sizes, to tmpfs, and prints how long that takes beside limits that
// are measured in the same run, taking turns: times by themselves say little on a machine that others use
// too. Medians, after one round that isn't counted. Nothing is asserted.
//
//   godwit_bench [--rounds N] [CASE...]     cases: small many large runc-shell runc-redis
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/bench/limits.h"
#include "tests/bench/runc.h"
#include "tests/bench/samples.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"

namespace godwit::bench {

namespace {

constexpr size_t kMegabyte = 1 << 20;

struct Case {
  const char* name;
  const char* title;
  size_t processes;
  size_t bytes;  // of each process
  int rounds;
  const char* wanted;
};

constexpr Case kCases[] = {
    {"small", "1 process of 1 MB", 1, kMegabyte, 21, "empty program + 3 ms; frozen 1.5 ms"},
    {"many", "100 processes of 10 MB", 100, 10 * kMegabyte, 5, "1.5 x copying + 0.5 ms a process; 10 files"},
    {"large", "1 process of 2 GB", 1, 2048 * kMegabyte, 5, "1.3 x copying"},
};

struct Result {
  Case what{};
  Samples empty, copy_out, copy_in, copy_in_touched, dump, frozen, restore;
  size_t files = 0;
};

/// A number in `"name": 123`.
double json_number(const std::string& json, const std::string& name) {
  const size_t at = json.find("\"" + name + "\":");
  return at == std::string::npos ? 0 : strtod(json.c_str() + at + name.size() + 3, nullptr);
}

std::vector<Region> regions_in(const std::string& ready, size_t bytes) {
  std::vector<Region> regions;
  std::istringstream lines(e2e::try_read(ready).value_or(""));
  pid_t pid = 0;
  std::string address;
  while (lines >> pid >> address) {
    regions.push_back({pid, strtoull(address.c_str(), nullptr, 16), bytes});
  }
  return regions;
}

std::vector<std::string> payload_files(const std::string& directory) {
  const e2e::Outcome listed = e2e::run({"/usr/bin/find", directory, "-type", "f", "-name", "pages*"});
  return e2e::lines_of(listed.output);
}

void one_round(Result& result, pid_t root, const std::vector<Region>& regions, const std::string& directory,
               bool counted) {
  Result round;
  const std::string image = directory + "/checkpoint";
  const std::string copy = directory + "/copy";
  round.empty.add(time_command({EMPTY_PROGRAM}));
  round.copy_out.add(copy_out(regions, copy));
  unlink(copy.c_str());
  std::vector<pid_t> tree = e2e::tree_of(root);
  std::string report;
  // A task that runs on stands still from freeze to thaw; one that is ended has no thaw.
  time_command({GODWIT_BINARY, "dump", "-t", std::to_string(root), "-D", image, "--json", "--leave-running"},
               &report);
  round.frozen.add(json_number(report, "frozen_ns") / 1e9);
  e2e::run({"/bin/rm", "-rf", image});
  round.dump.add(
      time_command({GODWIT_BINARY, "dump", "-t", std::to_string(root), "-D", image, "--json"}, &report));
  if (!e2e::wait_until_gone(tree)) {
    throw error("the dumped tree did not go away");
  }
  result.files = e2e::lines_of(e2e::run({"/usr/bin/find", image, "-type", "f"}).output).size();
  round.copy_in.add(copy_in(payload_files(image), false));
  round.copy_in_touched.add(copy_in(payload_files(image), true));
  round.empty.add(time_command({EMPTY_PROGRAM}));
  round.restore.add(time_command({GODWIT_BINARY, "restore", "-D", image, "--detach"}));
  e2e::run({"/bin/rm", "-rf", image});
  if (counted) {
    result.empty.take(round.empty);
    result.copy_out.take(round.copy_out);
    result.copy_in.take(round.copy_in);
    result.copy_in_touched.take(round.copy_in_touched);
    result.dump.take(round.dump);
    result.frozen.take(round.frozen);
    result.restore.take(round.restore);
  }
}

Result run_case(const Case& what, int rounds) {
  const e2e::Reaper reaper;
  const e2e::TemporaryDirectory directory;
  Result result;
  result.what = what;
  const std::string ready = directory / "ready";
  const pid_t root =
      e2e::launch({TARGET_PROGRAM, ready, std::to_string(what.processes), std::to_string(what.bytes)});
  if (!e2e::wait_until([&] { return regions_in(ready, what.bytes).size() == what.processes; }, 120)) {
    throw error("the target of the benchmark did not get ready");
  }
  const std::vector<Region> regions = regions_in(ready, what.bytes);
  for (int round = 0; round <= rounds; ++round) {
    // What was restored is what the next round dumps.
    one_round(result, root, regions, directory.path(), round > 0);
    fprintf(stderr, "%s: round %d of %d\n", what.title, round, rounds);
  }
  return result;
}

void print_small(const Result& result) {
  const double empty = result.empty.median();
  for (const auto& [name, samples] :
       {std::pair("dump", &result.dump), std::pair("restore", &result.restore)}) {
    fmt::print("| {}, {} | {} | empty program {} | + {} | {} | + 3 ms |\n", result.what.title, name,
               ms(samples->median()), ms(empty), ms(samples->median() - empty),
               std::string(name) == "dump" ? ms(result.frozen.median()) + " (wanted 1.5 ms)" : "");
  }
}

void print_copying(const Result& result, double factor, double per_process) {
  const double allowance = per_process * static_cast<double>(result.what.processes);
  const std::string and_allowance = allowance > 0 ? fmt::format(" + {}", ms(allowance)) : "";
  const auto row = [&](const char* name, const Samples& took, const char* limit_name, const Samples& limit,
                       const std::string& frozen) {
    fmt::print("| {}, {} | {} | {} {} | x {:.2f}{} | {} | x {:.1f}{} |\n", result.what.title, name,
               ms(took.median()), limit_name, ms(limit.median()),
               (took.median() - allowance) / limit.median(), and_allowance, frozen, factor, and_allowance);
  };
  row("dump", result.dump, "copying", result.copy_out, ms(result.frozen.median()));
  row("restore", result.restore, "copying into fresh memory", result.copy_in, "");
  row("restore", result.restore, "copying, memory touched first", result.copy_in_touched, "");
}

constexpr struct {
  const char* name;
  bool busy;
  int rounds;
} kRuncCases[] = {{"runc-shell", false, 11}, {"runc-redis", true, 5}};

void print(const std::vector<Result>& results, const std::string& more_rows) {
  fmt::print(
      "| work | whole command | limit | found | frozen | wanted at most |\n|---|---|---|---|---|---|\n");
  for (const Result& result : results) {
    if (std::string(result.what.name) == "small") {
      print_small(result);
    } else if (std::string(result.what.name) == "many") {
      print_copying(result, 1.5, 0.0005);
    } else {
      print_copying(result, 1.3, 0);
    }
  }
  fmt::print("{}", more_rows);
  for (const Result& result : results) {
    fmt::print("\n{}: {} files in the checkpoint, medians of {} rounds; wanted: {}.", result.what.title,
               result.files, result.dump.values.size(), result.what.wanted);
  }
  fmt::print("\n");
}

int main_with(const std::vector<std::string>& words) {
  int rounds = 0;
  std::vector<std::string> names;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--rounds" && i + 1 < words.size()) {
      rounds = std::stoi(words[++i]);
    } else {
      names.push_back(words[i]);
    }
  }
  const auto wanted = [&](const char* name) {
    return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
  };
  std::vector<Result> results;
  for (const Case& what : kCases) {
    if (wanted(what.name)) {
      results.push_back(run_case(what, rounds > 0 ? rounds : what.rounds));
    }
  }
  std::string runc_rows;
  for (const auto& what : kRuncCases) {
    if (wanted(what.name)) {
      const int of = rounds > 0 ? rounds : what.rounds;
      runc_rows += measure_runc(
          what.busy, of, [&](int round) { fprintf(stderr, "%s: round %d of %d\n", what.name, round, of); });
    }
  }
  print(results, runc_rows);
  return 0;
}

}  // namespace

}  // namespace godwit::bench

int main(int argc, char** argv) {
  try {
    return godwit::bench::main_with({argv + 1, argv + argc});
  } catch (const godwit::Error& e) {
    fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}

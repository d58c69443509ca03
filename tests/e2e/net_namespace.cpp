#include "tests/e2e/net_namespace.h"

#include <linux/sched.h>
#include <regex.h>
#include <sched.h>

#include <algorithm>

#include "kernel/error.h"
#include "tests/e2e/proc.h"

namespace godwit::e2e {

namespace {

LaunchOptions in_own_net() {
  LaunchOptions options;
  options.namespaces = CLONE_NEWNET;
  return options;
}

/// regex(3), since g++ 12 warns of its own std::regex where sanitizers are on.
class Pattern {
 public:
  explicit Pattern(const char* text) {
    if (::regcomp(&compiled_, text, REG_EXTENDED) != 0) {
      throw error("'{}' isn't a pattern", text);
    }
  }
  ~Pattern() { ::regfree(&compiled_); }
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  [[nodiscard]] std::string replaced(const std::string& line, const char* by) const {
    std::string result;
    const char* at = line.c_str();
    for (regmatch_t match; ::regexec(&compiled_, at, 1, &match, 0) == 0; at += match.rm_eo) {
      result.append(at, static_cast<size_t>(match.rm_so)).append(by);
    }
    return result + at;
  }

 private:
  regex_t compiled_{};
};

/// Without what differs from one look to the next.
std::string at_rest(const std::string& line) {
  static const Pattern kCounts(
      "(valid_lft|preferred_lft) [1-9][0-9]*sec|expires [0-9]+sec|(hello|tcn|topology_change|gc)_timer "
      "+[0-9.]+|"
      "(hold|message_age|forward_delay)_timer +[0-9.]+|refcnt [0-9]+| used [0-9/]+|"
      "dead( linkdown)?");  // the latter depends on when the kernel comes to look at the carrier
  // The other end of a pair elsewhere has a number there.
  static const Pattern kElsewhere("@if[0-9]+");
  return kElsewhere.replaced(kCounts.replaced(line, "*"), "@elsewhere");
}

std::vector<std::string> differences(const std::vector<std::string>& before,
                                     const std::vector<std::string>& after) {
  std::vector<std::string> lines;
  std::vector<std::string> one_side;
  std::ranges::set_difference(before, after, std::back_inserter(one_side));
  for (const std::string& line : one_side) {
    lines.push_back("lost: " + line);
  }
  one_side.clear();
  std::ranges::set_difference(after, before, std::back_inserter(one_side));
  for (const std::string& line : one_side) {
    lines.push_back("new: " + line);
  }
  return lines;
}

/// Carriers come, and IPv6 addresses settle, a moment after devices are up.
bool is_settled(pid_t pid) {
  const Outcome addresses = run_in_net(pid, "ip -6 addr show tentative; ip -o link");
  if (!addresses.ok()) {
    return false;
  }
  for (const std::string& line : lines_of(addresses.output)) {
    const bool up = line.find(",UP") != std::string::npos || line.find("<UP") != std::string::npos;
    if (line.find("tentative") != std::string::npos ||
        (up && line.find("LOWER_UP") != std::string::npos && line.find("state DOWN") != std::string::npos)) {
      return false;
    }
  }
  return true;
}

}  // namespace

Outcome run_in_net(pid_t pid, const std::string& script) {
  return run({"/usr/bin/nsenter", "-t", std::to_string(pid), "-n", "/bin/sh", "-ec",
              "PATH=/usr/sbin:/sbin:$PATH; " + script});
}

std::vector<std::string> net_view(pid_t pid) {
  // One line a thing; -o puts what belongs to a device into its line.
  const Outcome seen = run_in_net(
      pid,
      "ip -o -d link; ip -o addr; ip -4 -o route show table all; ip -6 -o route show table all; ip -4 rule; "
      "ip -6 rule; ip neigh show nud permanent; ip neigh show proxy; ip addrlabel; bridge fdb; "
      "bridge -d -o link; tc qdisc; "
      // Some can only be written, or have no value.
      "grep -rs '' /proc/sys/net || true");
  if (!seen.ok()) {
    throw error("cannot look into the network namespace of {}: {}", pid, seen.words());
  }
  std::vector<std::string> lines;
  for (const std::string& line : lines_of(seen.output)) {
    lines.push_back(at_rest(line));
  }
  std::ranges::sort(lines);
  return lines;
}

NetWorkload::NetWorkload(const std::string& script) : workload_("heartbeat", 0, {}, in_own_net()) {
  const Outcome furnished = run_in_net(workload_.root(), script);
  if (!furnished.ok()) {
    throw error("cannot furnish the network namespace: {}", furnished.words());
  }
}

void NetWorkload::round_trip(const std::vector<std::string>& dump_options,
                             const std::vector<std::string>& restore_options) {
  ASSERT_TRUE(wait_until([&] { return is_settled(workload_.root()); }));
  const std::vector<std::string> before = net_view(workload_.root());
  const TemporaryDirectory images;
  const Outcome dumped = dump(workload_.root(), images / "1", dump_options);
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  const Restored restored = restore(images / "1", restore_options);
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(restored.outcome.output.find("warning"), std::string::npos) << restored.outcome.output;
  workload_.set_root(restored.root);
  std::vector<std::string> after;
  const bool same = wait_until(
      [&] {
        after = net_view(workload_.root());
        return after == before;
      },
      10);
  EXPECT_TRUE(same) << joined(differences(before, after));
}

}  // namespace godwit::e2e
